//! A streaming standby of a cluster, which hears of it over a way of its own: cut that, and it lags.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use super::port;
use super::postgres::{ADMINISTRATOR, PASSWORD, Postgres, as_its_user, is_ready, run};
use super::process::Process;

/// The standby, or what it was promoted to. Stopped and removed when dropped.
#[derive(Debug)]
pub(in super::super) struct Standby {
    // In this order: the process, its data.
    process: Process,
    data: Data,
    bin: PathBuf,
    port: u16,
}

/// A folder beside its primary's.
#[derive(Debug)]
struct Data(PathBuf);

impl Drop for Data {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Standby {
    /// Copies the primary as it runs, and follows it through whatever listens at `way`.
    pub(in super::super) fn of(primary: &Postgres, way: &str) -> Self {
        let data = Data(primary.home().join("standby"));
        run(Command::new("setpriv")
            .current_dir("/")
            .args(as_its_user())
            .arg(primary.bin().join("pg_basebackup"))
            .args([
                "--checkpoint=fast",
                "--no-sync",
                "--wal-method=stream",
                "--dbname",
                &primary.url(),
                "--pgdata",
            ])
            .arg(&data.0));
        let (host, through) = way.split_once(':').expect("an address");
        let primary_conninfo = format!("host={host} port={through} user={ADMINISTRATOR} password={PASSWORD}");
        let mut file = std::fs::File::options()
            .append(true)
            .open(data.0.join("postgresql.conf"))
            .expect("it was copied");
        writeln!(file, "primary_conninfo = '{primary_conninfo}'").expect("a file");
        std::fs::write(data.0.join("standby.signal"), "").expect("a folder of ours");

        let (bin, port) = (primary.bin().to_owned(), port::free());
        let mut program: Vec<OsString> = as_its_user().into_iter().map(OsString::from).collect();
        program.extend([bin.join("postgres").into(), "-D".into(), data.0.clone().into()]);
        program.extend(["-p".into(), port.to_string().into()]);
        let mut process = Process::start(&program, &primary.home().with_file_name("standby.log"));
        process.wait_until(|| is_ready(&bin, port)).expect("a standby that starts");
        Self { process, data, bin, port }
    }

    /// `host:port`.
    pub(in super::super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Makes a primary of it, from what it has heard, and waits until it is one.
    pub(in super::super) fn promote(&self) {
        run(Command::new("setpriv")
            .current_dir("/")
            .args(as_its_user())
            .arg(self.bin.join("pg_ctl"))
            .args(["promote", "--wait", "--silent", "--pgdata"])
            .arg(&self.data.0));
    }

    /// Ends it as a crash does.
    pub(in super::super) fn kill(self) {
        self.process.kill();
    }
}

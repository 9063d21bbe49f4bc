//! A PostgreSQL cluster, which keeps its port and its data when it is killed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tempfile::TempDir;

use super::disk::SmallDisk;
use super::process::{PATIENCE, Process};
use super::{folder, is_root, port, setting};

/// As `./dev` runs it.
const CONFIGURATION: &str = include_str!("../../../deploy/postgres/dev.conf");
pub(super) const ADMINISTRATOR: &str = "rollbook_admin";
pub(super) const PASSWORD: &str = "throwaway";

/// The cluster, running or not.
#[derive(Debug)]
pub(in super::super) struct Postgres {
    // In this order: the process, the disk, the folder that it is mounted on.
    process: Mutex<Option<Process>>,
    disk: Option<SmallDisk>,
    folder: TempDir,
    bin: PathBuf,
    port: u16,
}

impl Postgres {
    /// A new cluster, on a disk that can be filled where this process may mount one.
    pub(super) fn launch() -> Self {
        let folder = folder("postgres", |folder| {
            let reached =
                Command::new("setpriv").args(as_its_user()).args(["test", "-x"]).arg(folder).status();
            reached.is_ok_and(|status| status.success())
        });
        let bin = setting("TEST_POSTGRES_BIN");
        let home = folder.path().join("home");
        std::fs::create_dir(&home).expect("a folder of ours");
        let disk = is_root().then(|| SmallDisk::mount(&home));
        let password = home.join("password");
        std::fs::write(&password, PASSWORD).expect("a folder of ours");
        if is_root() {
            run(Command::new("chown").args(["-R", "postgres:"]).arg(&home));
        }
        let initdb = bin.join("initdb");
        run(Command::new("setpriv")
            .current_dir("/")
            .args(as_its_user())
            .arg(initdb)
            .args(["-U", ADMINISTRATOR, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
            .args([&format!("--pwfile={}", password.display()), "-D"])
            .arg(home.join("data")));
        let file = home.join("data/postgresql.conf");
        let given = std::fs::read_to_string(&file).expect("initdb made it");
        // Small segments of log, so that a small disk takes them; and standbys, which read that log.
        let own = "max_wal_size = 256MB\nshared_buffers = 64MB\nwal_level = replica\nmax_wal_senders = 4\n";
        std::fs::write(&file, format!("{given}\n{CONFIGURATION}\n{own}")).expect("a file");
        let postgres = Self { process: Mutex::new(None), disk, folder, bin, port: port::free() };
        postgres.start();
        postgres
    }

    /// `host:port`.
    pub(in super::super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A superuser's URL.
    pub(in super::super) fn url(&self) -> String {
        format!("postgres://{ADMINISTRATOR}:{PASSWORD}@{}/postgres", self.address())
    }

    /// Starts it if it is not running, and waits until it takes connections.
    pub(in super::super) fn start(&self) {
        let mut process = self.lock();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if process
                .as_mut()
                .is_some_and(|process| process.wait_until(|| is_ready(&self.bin, self.port)).is_ok())
            {
                return;
            }
            // Also when a killed server's backends are not all gone yet: it refuses to start beside them.
            let said = process.as_ref().map(Process::said).unwrap_or_default();
            assert!(Instant::now() < deadline, "PostgreSQL does not start: {said}");
            *process = Some(self.started());
        }
    }

    /// Ends it as a crash does. Its backends notice, and go.
    pub(in super::super) fn kill(&self) {
        self.lock().take().expect("it is running").kill();
    }

    /// Stops it in order: who is connected is thrown out.
    pub(in super::super) fn stop(&self) {
        let status = self.lock().take().expect("it is running").stop("INT");
        assert!(status.success(), "{status}");
    }

    /// Keeps a copy of the cluster as it is now. It is stopped meanwhile.
    pub(in super::super) fn set_a_copy_aside(&self) {
        self.stop();
        run(Command::new("rm").arg("-rf").arg(self.copy()));
        run(Command::new("cp").arg("-a").arg(self.data()).arg(self.copy()));
        self.start();
    }

    /// Goes on from that copy, as after a restore: what was written since is forgotten.
    pub(in super::super) fn go_back_to_the_copy(&self) {
        self.stop();
        run(Command::new("rm").arg("-rf").arg(self.data()));
        run(Command::new("mv").arg(self.copy()).arg(self.data()));
        self.start();
    }

    /// Reads its settings again.
    pub(in super::super) fn reload(&self) {
        self.lock().as_ref().expect("it is running").signal("HUP");
    }

    /// Its disk, if it can be filled.
    pub(in super::super) fn disk(&self) -> Option<&SmallDisk> {
        self.disk.as_ref()
    }

    /// Where its data is, and there is room for a standby's.
    pub(super) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The programs that it is of.
    pub(super) fn bin(&self) -> &Path {
        &self.bin
    }

    fn started(&self) -> Process {
        let mut program: Vec<OsString> = as_its_user().into_iter().map(OsString::from).collect();
        program.extend([self.bin.join("postgres").into(), "-D".into(), self.data().into()]);
        program.extend(["-p".into(), self.port.to_string().into()]);
        Process::start(&program, &self.folder.path().join("log"))
    }

    fn data(&self) -> PathBuf {
        self.home().join("data")
    }

    fn copy(&self) -> PathBuf {
        self.home().join("copy")
    }

    fn lock(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a cluster takes connections.
pub(super) fn is_ready(bin: &Path, port: u16) -> bool {
    let port = port.to_string();
    let asked = Command::new(bin.join("pg_isready")).args(["-q", "-h", "127.0.0.1", "-p", &port]).status();
    asked.is_ok_and(|status| status.success())
}

/// PostgreSQL refuses to run as root: what `setpriv` is told then.
pub(super) fn as_its_user() -> Vec<String> {
    if is_root() {
        ["--reuid=postgres", "--regid=postgres", "--init-groups"].map(str::to_owned).to_vec()
    } else {
        Vec::new()
    }
}

pub(super) fn run(command: &mut Command) {
    let done = command.output().expect("it is there");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

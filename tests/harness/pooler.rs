//! A PgBouncer of a test's own in front of the tests' server.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Site;

/// To whom a server session is lent, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lending {
    /// To a connection, for its life.
    Session,
    /// To a transaction.
    Transaction,
}

/// A running PgBouncer. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Pooler {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Pooler {
    /// Starts one that knows the logins of `site`, as its URLs have them.
    pub(crate) fn start(site: &Site, lending: Lending) -> Self {
        // Not below the target folder: PgBouncer does not run as root, and another user may not get there.
        let folder = tempfile::Builder::new().prefix("rollbook-pooler.").tempdir().expect("a folder");
        let open = |path: &std::path::Path, mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(path, mode).expect("a file of ours");
        };
        open(folder.path(), 0o755);
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            let mut file = std::fs::File::create(&path).expect("a folder of ours");
            file.write_all(text.as_bytes()).expect("a file of ours");
            open(&path, 0o644);
            path.display().to_string()
        };
        let (superuser, password) = site.superusers_login();
        let [intake, loader] = ["intake", "loader"].map(|role| site.role(role));
        let logins = write(
            "logins",
            &format!(
                "\"{superuser}\" \"{password}\"\n\"{intake}\" \"intake password\"\n\"{loader}\" \"loader password\"\n"
            ),
        );
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let (host, server_port) = site.address().split_once(':').expect("host:port");
        let mode = match lending {
            Lending::Session => "session",
            Lending::Transaction => "transaction",
        };
        let settings = write(
            "pgbouncer.ini",
            &format!(
                "[databases]\n* = host={host} port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                 unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {logins}\npool_mode = {mode}\n\
                 default_pool_size = 20\nmax_client_conn = 200\nlogfile =\npidfile =\n"
            ),
        );
        let program = std::env::var("TEST_PGBOUNCER")
            .unwrap_or_else(|_| panic!("TEST_PGBOUNCER is not set: run ./dev test"));
        let is_root = Command::new("id").arg("-u").output().expect("id runs").stdout == b"0\n";
        let mut command = Command::new("setpriv");
        if is_root {
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
        }
        command.arg(program).arg(settings).stdin(Stdio::null()).stdout(Stdio::null());
        // What it says stays among the test's own output.
        let process = command.spawn().expect("PgBouncer is installed");
        let mut pooler = Self { process, port, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "PgBouncer does not listen");
            assert!(pooler.process.try_wait().expect("a child of ours").is_none(), "PgBouncer ended");
            std::thread::sleep(Duration::from_millis(20));
        }
        pooler
    }

    /// The same URL by way of this pooler.
    pub(crate) fn through(&self, site: &Site, url: &str) -> String {
        url.replace(site.address(), &format!("127.0.0.1:{}", self.port))
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

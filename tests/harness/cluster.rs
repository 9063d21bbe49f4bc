//! A PostgreSQL cluster of one test's own, for what cannot be set on the server that all tests share.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::NoTls;

/// A running cluster. Dropping it kills its processes and removes its data.
#[derive(Debug)]
pub(crate) struct Cluster {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Cluster {
    /// Makes and starts one. `configure` may put files into the data folder, and gives lines for `postgresql.conf` and
    /// the first lines of `pg_hba.conf`.
    pub(crate) fn start(configure: impl FnOnce(&Path) -> (&'static str, &'static str)) -> Self {
        let bin = std::env::var("TEST_POSTGRES_BIN")
            .unwrap_or_else(|_| panic!("TEST_POSTGRES_BIN is not set: run ./dev test"));
        // Not below the target folder: PostgreSQL does not run as root, and another user may not get there.
        let folder = tempfile::Builder::new().prefix("rollbook-cluster.").tempdir().expect("a folder");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(folder.path(), open).expect("a folder of ours");
        let data = folder.path().join("data");
        std::fs::write(folder.path().join("password"), "throwaway").expect("a folder of ours");
        let password = format!("--pwfile={}", folder.path().join("password").display());
        run(as_its_user(&format!("{bin}/initdb"))
            .args([
                "-U",
                "rollbook_admin",
                "-A",
                "scram-sha-256",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ])
            .args([&password, "-D"])
            .arg(&data));
        let (settings, doors) = configure(&data);
        let given = std::fs::read_to_string(data.join("postgresql.conf")).expect("initdb made it");
        let own = "listen_addresses = 'localhost'\nunix_socket_directories = ''\nfsync = off\nshared_buffers = 16MB\n";
        std::fs::write(data.join("postgresql.conf"), format!("{given}\n{own}{settings}")).expect("a file");
        let given = std::fs::read_to_string(data.join("pg_hba.conf")).expect("initdb made it");
        std::fs::write(data.join("pg_hba.conf"), format!("{doors}{given}")).expect("a file");
        if is_root() {
            run(Command::new("chown").args(["-R", "postgres:"]).arg(&data));
        }
        for key in std::fs::read_dir(&data).expect("a folder").flatten().map(|entry| entry.path()) {
            if key.extension().is_some_and(|extension| extension == "key") {
                let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                std::fs::set_permissions(&key, private).expect("a file of ours");
            }
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let port = listener.expect("a port").port();
        let process = as_its_user(&format!("{bin}/postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it is there");
        let mut cluster = Self { process, port, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(60);
        let is_ready = || {
            let mut asked = Command::new(format!("{bin}/pg_isready"));
            let asked = asked.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]).status();
            asked.is_ok_and(|status| status.success())
        };
        while !is_ready() {
            assert!(Instant::now() < deadline, "PostgreSQL does not start");
            assert!(cluster.process.try_wait().expect("a child of ours").is_none(), "PostgreSQL ended");
            std::thread::sleep(Duration::from_millis(50));
        }
        cluster
    }

    /// `login` with its password, at one of the server's names, in the database `postgres`.
    pub(crate) fn url(&self, host: &str, login: &str, parameters: &str) -> String {
        format!("postgres://{login}@{host}:{}/postgres?{parameters}", self.port)
    }

    /// Does something as the superuser.
    pub(crate) async fn execute(&self, sql: &str) {
        let url = self.url("127.0.0.1", "rollbook_admin:throwaway", "sslmode=disable");
        let (client, driver) = tokio_postgres::connect(&url, NoTls).await.expect("the superuser logs in");
        let driver = tokio::spawn(driver);
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        drop(client);
        let _ = driver.await;
    }
}

impl Drop for Cluster {
    /// An immediate shutdown: its backends go, too.
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "QUIT", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().expect("id runs").stdout == b"0\n"
}

fn as_its_user(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    command.arg(program).current_dir("/");
    command
}

fn run(command: &mut Command) {
    let done = command.output().expect("it is there");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

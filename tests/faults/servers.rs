//! One PostgreSQL cluster and one Kafka node that belong to this process, so that a test may kill them.

mod disk;
mod kafka;
mod port;
mod postgres;
mod process;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

pub(super) use disk::SmallDisk;
pub(super) use kafka::{Kafka, SESSION, Side};
pub(super) use postgres::Postgres;

/// A pair of servers, stopped and removed when dropped.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) postgres: Postgres,
    pub(super) kafka: Kafka,
}

impl Servers {
    /// The pair that tests share. It lives for as long as one of them holds it: all tests that wait for their turn do.
    pub(super) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Servers>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let servers = Arc::new(Self::start());
            *shared = Arc::downgrade(&servers);
            servers
        })
    }

    fn start() -> Self {
        let kafka = Kafka::launch();
        let postgres = Postgres::launch();
        kafka.is_up();
        Self { postgres, kafka }
    }

    /// Puts right whatever the last test left wrong.
    pub(super) fn make_well(&self) {
        self.kafka.start();
        if let Some(disk) = self.postgres.disk() {
            disk.grow();
        }
        self.postgres.start();
    }
}

/// A setting of the test run.
fn setting(name: &str) -> PathBuf {
    std::env::var_os(name)
        .unwrap_or_else(|| panic!("{name} is not set: run ./dev test or ./dev faults"))
        .into()
}

/// PostgreSQL refuses to run as root, and only root mounts a disk.
fn is_root() -> bool {
    Command::new("id").arg("-u").output().expect("id runs").stdout == b"0\n"
}

/// A folder for a server's data, removed with it: below the target folder, or where the system keeps what is temporary
/// if the server's user cannot get there.
fn folder(name: &str, can_reach: impl Fn(&Path) -> bool) -> TempDir {
    let make = |parent: &Path| {
        let folder = tempfile::Builder::new().prefix(name).tempdir_in(parent).expect("a folder");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(folder.path(), open).expect("a folder of ours");
        folder
    };
    let near = make(Path::new(env!("CARGO_TARGET_TMPDIR")));
    if can_reach(near.path()) { near } else { make(&std::env::temp_dir()) }
}

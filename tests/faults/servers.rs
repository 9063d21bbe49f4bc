//! PostgreSQL clusters and Kafka nodes that belong to this process, so that a test may kill them.

mod data_folder;
mod disk;
mod kafka;
mod port;
mod postgres;
mod process;
mod standby;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, Weak};

use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

pub(super) use data_folder::DataFolder;
pub(super) use disk::SmallDisk;
pub(super) use kafka::{Kafka, Side, WITH_RULES};
pub(super) use postgres::Postgres;
pub(super) use standby::Standby;

/// One of each, stopped and removed when dropped.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) postgres: Postgres,
    pub(super) kafka: Kafka,
}

impl Servers {
    /// One of the pairs that tests share, and the turn on it. A pair lives for as long as a test holds it, and all that
    /// wait for their turn do.
    pub(super) async fn shared() -> (Arc<Self>, MutexGuard<'static, ()>) {
        struct Pair(std::sync::Mutex<Weak<Servers>>, Mutex<()>);
        // Tests of faults mostly wait, so two can be at it at once.
        static PAIRS: [Pair; 2] =
            [const { Pair(std::sync::Mutex::new(Weak::new()), Mutex::const_new(())) }; 2];
        static NEXT: AtomicUsize = AtomicUsize::new(0);

        let Pair(shared, turn) = &PAIRS[NEXT.fetch_add(1, Ordering::Relaxed) % PAIRS.len()];
        let servers = {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.upgrade().unwrap_or_else(|| {
                let servers = Arc::new(Self::start());
                *shared = Arc::downgrade(&servers);
                servers
            })
        };
        let turn = turn.lock().await;
        servers.make_well();
        (servers, turn)
    }

    fn start() -> Self {
        let kafka = Kafka::launch();
        let postgres = Postgres::launch();
        kafka.is_up();
        Self { postgres, kafka }
    }

    /// Puts right whatever the last test left wrong.
    fn make_well(&self) {
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

/// A folder for a server's data, removed with it, or by `./dev` if this process is killed: below the target folder, or
/// where the system keeps what is temporary if the server's user cannot get there.
fn folder(name: &str, can_reach: impl Fn(&Path) -> bool) -> TempDir {
    let name = format!("{name}.{}.", std::process::id());
    let make = |parent: &Path| {
        let folder = tempfile::Builder::new().prefix(&name).tempdir_in(parent).expect("a folder");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(folder.path(), open).expect("a folder of ours");
        folder
    };
    let near = make(Path::new(env!("CARGO_TARGET_TMPDIR")));
    if can_reach(near.path()) { near } else { make(&std::env::temp_dir()) }
}

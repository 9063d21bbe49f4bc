//! A server as a child of this process.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take to start or to stop.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A running child. It is signalled by its id only until it was waited for, so that the id is never somebody else's.
/// Dropping it kills it, and the system does if this process is killed itself.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program, which writes to a log of its own.
    pub(super) fn start(program: &[impl AsRef<OsStr>], log: &Path) -> Self {
        let file = File::create(log).expect("a log");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).args(program).env_clear().env("PATH", path());
        command.current_dir("/").stdin(Stdio::null()).stdout(file.try_clone().expect("a file")).stderr(file);
        Self { child: spawn(command), log: log.to_owned() }
    }

    /// Waits until the server works. An error: it has ended.
    pub(super) fn wait_until(&mut self, is_up: impl Fn() -> bool) -> Result<(), ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(ended) = self.child.try_wait().expect("a child of ours") {
                return Err(ended);
            }
            if is_up() {
                return Ok(());
            }
            assert!(Instant::now() < deadline, "a server does not start\n{}", self.said());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it is there.
    pub(super) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }

    /// What it wrote to its log.
    pub(super) fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends a signal, by its name.
    pub(super) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Ends it as a crash does.
    pub(super) fn kill(mut self) {
        self.end_now();
    }

    /// Asks it to end with a signal, and waits until it has.
    pub(super) fn stop(mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "a server does not stop\n{}", self.said());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn end_now(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end_now();
    }
}

fn path() -> OsString {
    std::env::var_os("PATH").expect("a PATH")
}

/// The system's promise to kill a child holds for the thread that started it, and a test's thread ends before the
/// servers that it may have started for all.
fn spawn(command: Command) -> Child {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static STARTER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in orders {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, answered) = mpsc::channel();
    starter.send((command, answer)).expect("the thread never ends");
    answered.recv().expect("the thread never ends").expect("a program that is there")
}

//! A process of the demo's, which does not outlive it: not even where the demo is killed, or its terminal is closed.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Becomes a program, and leaves behind who sends it a signal when standard input ends. That is a pipe of ours, which the
/// system closes however we end. Its reader is no child of the program: PostgreSQL looks after its children.
const UNTIL_INPUT_ENDS: &str =
    r#"( { read -r _; kill -"$0" $$; } <&3 2>/dev/null & ) 3<&0; exec "$@" </dev/null"#;
/// How long a part that is dropped may take to end: twice what PostgreSQL gives its own processes.
const DROPPED: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// A part that runs. It is ended in its own order by [`Part::stop`] and by our end, and at once when it is dropped.
#[derive(Debug)]
pub(super) struct Part {
    child: Child,
    at_once: Signal,
}

impl Part {
    /// A program that this signal ends in its own order, to be given its words and started by [`Part::start`].
    pub(super) fn command(program: &Path, signal: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", UNTIL_INPUT_ENDS, signal]).arg(program);
        command
    }

    /// `at_once` ends it without its own order. For a program that takes of the system what outlasts a process, as
    /// PostgreSQL takes shared memory, that is no `KILL`: nobody would give it back.
    pub(super) fn start(command: &mut Command, at_once: Signal) -> io::Result<Self> {
        // Ctrl-C in our terminal is for us.
        let child = command.stdin(Stdio::piped()).process_group(0).kill_on_drop(true).spawn()?;
        Ok(Self { child, at_once })
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it has ended by itself.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        // Not `wait`: that closes the pipe, which would end it.
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends it. `None`: it took too long, and was ended at once.
    pub(super) async fn stop(mut self, patience: Duration) -> Option<ExitStatus> {
        drop(self.child.stdin.take());
        timeout(patience, self.child.wait()).await.ok()?.ok()
    }
}

impl Drop for Part {
    /// Blocks until it is gone. What does not go is killed.
    fn drop(&mut self) {
        let id = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let Some(id) = id.filter(|_| !self.has_ended()) else { return };
        // It may have been stopped, and would take note of nothing.
        for signal in [self.at_once, Signal::CONT] {
            let _ended = kill_process(id, signal);
        }
        let deadline = Instant::now() + DROPPED;
        while !self.has_ended() && Instant::now() < deadline {
            thread::sleep(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_dropped_ends_by_its_own_signal_even_while_it_is_stopped() {
        let folder = tempfile::tempdir().expect("a folder");
        let (ready, gone) = (folder.path().join("ready"), folder.path().join("gone"));
        let script = format!(
            "trap 'echo > {}; exit 0' QUIT; echo > {}; while :; do sleep 0.01; done",
            gone.display(),
            ready.display()
        );
        let mut command = Part::command(Path::new("/bin/sh"), "TERM");
        let part = Part::start(command.args(["-c", &script]), Signal::QUIT).expect("a shell");
        while !ready.exists() {
            tokio::time::sleep(PAUSE).await;
        }
        let id = part.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).expect("it runs");
        kill_process(id, Signal::STOP).expect("it runs");
        drop(part);
        assert!(gone.exists(), "it was killed");
    }
}

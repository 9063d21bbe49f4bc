//! A process of the demo's, which does not outlive it: not even where the demo is killed, or its terminal is closed.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Becomes a program, and leaves behind who sends it a signal when standard input ends. That is a pipe of ours, which the
/// system closes however we end. Its reader is no child of the program: PostgreSQL looks after its children.
const UNTIL_INPUT_ENDS: &str =
    r#"( { read -r _; kill -"$0" $$; } <&3 2>/dev/null & ) 3<&0; exec "$@" </dev/null"#;

/// A part that runs. It is ended in its own order by [`Part::stop`] and by our end, and at once when it is dropped.
#[derive(Debug)]
pub(super) struct Part {
    child: Child,
}

impl Part {
    /// A program that this signal ends in its own order, to be given its words and started by [`Part::start`].
    pub(super) fn command(program: &Path, signal: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", UNTIL_INPUT_ENDS, signal]).arg(program);
        command
    }

    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        // Ctrl-C in our terminal is for us.
        let child = command.stdin(Stdio::piped()).process_group(0).kill_on_drop(true).spawn()?;
        Ok(Self { child })
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it. `None`: it took too long, and was killed.
    pub(super) async fn stop(mut self, patience: Duration) -> Option<ExitStatus> {
        drop(self.child.stdin.take());
        if let Ok(ended) = timeout(patience, self.child.wait()).await {
            return ended.ok();
        }
        let _gone = self.child.kill().await;
        None
    }
}

//! A listener whose failures to accept neither spin nor fill the log.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

/// After a failure that is ours, usually for want of file descriptors: the next attempt would fail like it.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two lines about such failures.
const QUIET: Duration = Duration::from_secs(10);

/// Hands out connections.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    /// Whose connections cannot be accepted.
    name: &'static str,
    said_at: Option<Instant>,
}

impl Listener {
    /// A listener that the log knows by this name.
    pub fn new(listener: TcpListener, name: &'static str) -> Self {
        Self { listener, name, said_at: None }
    }

    /// Waits for the next connection, however often accepting fails.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection.
    pub async fn accept(&mut self) -> TcpStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    self.complain(&error);
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn complain(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.said_at.is_none_or(|said_at| now.duration_since(said_at) >= QUIET) {
            self.said_at = Some(now);
            tracing::warn!(%error, listener = self.name, "connections cannot be accepted");
        }
    }
}

/// The client was gone before it was accepted; the next one has nothing to do with that.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}

//! A listener whose failures to accept neither spin nor fill the log.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::Complaints;

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
    complaints: Complaints,
}

impl Listener {
    /// A listener that the log knows by this name.
    pub fn new(listener: TcpListener, name: &'static str) -> Self {
        Self { listener, name, complaints: Complaints::once_in(QUIET) }
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

    fn complain(&self, error: &io::Error) {
        if let Some(unwritten) = self.complaints.hear(self.name, Instant::now()) {
            tracing::warn!(%error, listener = self.name, unwritten, "connections cannot be accepted");
        }
    }
}

/// The client was gone before it was accepted; the next one has nothing to do with that.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}

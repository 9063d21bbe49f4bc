//! The listener: connections up to a cap, until the drain.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::{Intake, connection};
use crate::ops::Heartbeat;

/// After a failed accept, usually for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the loop shows that it turns.
const BEAT: Duration = Duration::from_secs(1);
/// So many refused connections are waited for at a time, until they have read why.
const LISTENING_TO_REFUSALS: usize = 64;
/// What a refused connection may still send, and for how long.
const REFUSED_BYTES: u64 = 64 * 1024;
const REFUSED_PATIENCE: Duration = Duration::from_secs(1);
/// The reply of a connection too many, in the form of every other problem. It was never parsed, so it has no id.
const TOO_MANY: &str = concat!(
    "HTTP/1.1 503 Service Unavailable\r\n",
    "content-type: application/problem+json\r\n",
    "access-control-allow-origin: *\r\n",
    "access-control-expose-headers: retry-after\r\n",
    "retry-after: 2\r\n",
    "connection: close\r\n",
    "content-length: 176\r\n",
    "\r\n",
    r#"{"type":"urn:rollbook:problem:overloaded","title":"The service is overloaded","status":503,"#,
    r#""code":"overloaded","detail":"too many connections are open","request_id":null}"#,
);

/// Accepts until the drain; each connection is a task that the drain waits for.
pub(super) async fn accept(intake: &Arc<Intake>, listener: TcpListener, heartbeat: Heartbeat) {
    let slots = Arc::new(Semaphore::new(intake.settings.connections as usize));
    let refusals = Arc::new(Semaphore::new(LISTENING_TO_REFUSALS));
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stream = tokio::select! {
            () = intake.closing.cancelled() => return,
            _ = beat.tick() => {
                heartbeat.beat();
                continue;
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(PAUSE).await;
                    continue;
                }
            },
        };
        match Arc::clone(&slots).try_acquire_owned() {
            Ok(slot) => {
                // Replies are written whole; waiting for more to send only delays them. A socket that is gone says so.
                let _ = stream.set_nodelay(true);
                let intake_of_connection = Arc::clone(intake);
                intake.tasks.spawn(async move {
                    connection::serve(intake_of_connection, stream).await;
                    drop(slot);
                });
            }
            Err(_) => {
                if let Ok(slot) = Arc::clone(&refusals).try_acquire_owned() {
                    intake.tasks.spawn(async move {
                        // It may hang up or never finish; it has been told, or did not care.
                        let _ = timeout(REFUSED_PATIENCE, refuse(stream)).await;
                        drop(slot);
                    });
                }
            }
        }
    }
}

/// Says why, and takes in what the client had begun to send: a reset would lose the reply.
async fn refuse(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(TOO_MANY.as_bytes()).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(REFUSED_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}

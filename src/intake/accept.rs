//! The listener: connections up to a cap, until the drain.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval};

use super::patience::Patience;
use super::{Intake, connection};
use crate::ops::Heartbeat;
use crate::ops::listener::Listener;

/// How often the loop shows that it turns.
const BEAT: Duration = Duration::from_secs(1);

/// Accepts until the drain, and then whom the kernel has already let in; each connection is a task that the drain waits for.
pub(super) async fn accept(intake: &Arc<Intake>, listener: TcpListener, heartbeat: Heartbeat) {
    let mut listener = Listener::new(listener, "intake");
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stream = tokio::select! {
            () = intake.closing.cancelled() => break,
            _ = beat.tick() => {
                heartbeat.beat();
                continue;
            }
            stream = listener.accept() => stream,
        };
        begin(intake, stream);
    }
    // They believe that they are connected, and have perhaps sent a request.
    while let Some(stream) = listener.accept().now_or_never() {
        begin(intake, stream);
    }
}

/// Serves a connection, or turns it away, as a task of its own.
fn begin(intake: &Arc<Intake>, stream: TcpStream) {
    // Replies are written whole; waiting for more to send only delays them. A socket that is gone says so later.
    let _ = stream.set_nodelay(true);
    let of_connection = Arc::clone(intake);
    let patience = Patience::new(intake.settings.header_timeout, intake.settings.idle_timeout);
    if let Some(visitor) = intake.places.enter(Arc::new(patience)) {
        intake.tasks.spawn(connection::serve(of_connection, stream, visitor));
    } else if let Some(place) = intake.places.leave() {
        intake.tasks.spawn(async move {
            connection::turn_away(of_connection, stream).await;
            drop(place);
        });
    }
}

//! The body as it arrives: capped in size and time, piece by piece or collected into one buffer.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};

use super::budget::Reservation;
use super::problem::{BodyForm, Problem};
use crate::config::intake::IntakeSettings;

/// What a body says of its length before it comes; 0 when it says nothing.
pub(super) fn declared_bytes(body: &Incoming) -> usize {
    usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX)
}

/// Refuses a body that need not be read to be too large.
pub(super) fn check_declared_length(body: &Incoming, settings: &IntakeSettings) -> Result<(), Problem> {
    if declared_bytes(body) > settings.max_body_bytes { Err(too_large(settings)) } else { Ok(()) }
}

/// A body on its way.
pub(super) struct Arriving<'r> {
    body: &'r mut Incoming,
    settings: &'r IntakeSettings,
    /// The request's, not the body's.
    started: Instant,
    wire_bytes: usize,
}

impl<'r> Arriving<'r> {
    pub(super) fn new(body: &'r mut Incoming, settings: &'r IntakeSettings, started: Instant) -> Self {
        Self { body, settings, started, wire_bytes: 0 }
    }

    /// The next piece; `None` when it is all there.
    ///
    /// # Cancel safety
    /// No piece is lost. Nothing was accepted yet: a request that goes away half-way leaves nothing behind.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let limit = self.settings.body_timeout;
        timeout_at(self.started + limit, self.next_chunk()).await.unwrap_or(Err(Problem::SlowBody { limit }))
    }

    /// All of it, in one piece.
    pub(super) async fn collect(&mut self, reservation: &mut Reservation) -> Result<Bytes, Problem> {
        let mut collected = Collected::Nothing;
        while let Some(chunk) = self.next().await? {
            reservation.cover(self.wire_bytes)?;
            collected = collected.and(chunk);
        }
        Ok(collected.into_bytes())
    }

    /// Bytes that came so far.
    pub(super) fn wire_bytes(&self) -> usize {
        self.wire_bytes
    }

    async fn next_chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        while let Some(frame) = self.body.frame().await {
            let frame =
                frame.map_err(|_| Problem::BadBody("the body ended before it was complete".to_owned()))?;
            // Trailers say nothing to us.
            let Ok(chunk) = frame.into_data() else { continue };
            self.wire_bytes += chunk.len();
            if self.wire_bytes > self.settings.max_body_bytes {
                return Err(too_large(self.settings));
            }
            return Ok(Some(chunk));
        }
        Ok(None)
    }
}

fn too_large(settings: &IntakeSettings) -> Problem {
    Problem::BodyTooLarge { form: BodyForm::Wire, limit: settings.max_body_bytes }
}

/// A body that came in one piece is used where it lies; only the second piece makes a buffer.
enum Collected {
    Nothing,
    OnePiece(Bytes),
    Buffer(Vec<u8>),
}

impl Collected {
    /// Room is made for what came and not for what was declared: thousands of clients may declare and send little.
    fn and(self, chunk: Bytes) -> Self {
        match self {
            Self::Nothing => Self::OnePiece(chunk),
            Self::OnePiece(first) => {
                let mut buffer = Vec::with_capacity(first.len() + chunk.len());
                buffer.extend_from_slice(&first);
                buffer.extend_from_slice(&chunk);
                Self::Buffer(buffer)
            }
            Self::Buffer(mut buffer) => {
                buffer.extend_from_slice(&chunk);
                Self::Buffer(buffer)
            }
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Nothing => Bytes::new(),
            Self::OnePiece(piece) => piece,
            Self::Buffer(buffer) => Bytes::from(buffer),
        }
    }
}

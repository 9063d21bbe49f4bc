//! The body as it arrives: one buffer, capped in size and time.

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

/// Reads a body to its end, counted from `started`.
///
/// # Cancel safety
/// Nothing was accepted yet: a request that goes away half-way leaves nothing behind.
pub(super) async fn read(
    body: &mut Incoming,
    settings: &IntakeSettings,
    reservation: &mut Reservation,
    started: Instant,
) -> Result<Bytes, Problem> {
    let limit = settings.body_timeout;
    timeout_at(started + limit, collect(body, settings, reservation))
        .await
        .unwrap_or(Err(Problem::SlowBody { limit }))
}

async fn collect(
    body: &mut Incoming,
    settings: &IntakeSettings,
    reservation: &mut Reservation,
) -> Result<Bytes, Problem> {
    let declared = declared_bytes(body).min(settings.max_body_bytes);
    let mut collected = Collected::Nothing;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| Problem::BadBody("the body ended before it was complete".to_owned()))?;
        let Ok(chunk) = frame.into_data() else { continue };
        let length = collected.len() + chunk.len();
        if length > settings.max_body_bytes {
            return Err(too_large(settings));
        }
        reservation.cover(length)?;
        collected = collected.and(chunk, declared);
    }
    Ok(collected.into_bytes())
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
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::OnePiece(piece) => piece.len(),
            Self::Buffer(buffer) => buffer.len(),
        }
    }

    fn and(self, chunk: Bytes, declared: usize) -> Self {
        match self {
            Self::Nothing => Self::OnePiece(chunk),
            Self::OnePiece(first) => {
                let mut buffer = Vec::with_capacity(declared.max(first.len() + chunk.len()));
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

//! The body as it arrives: capped in size and time, piece by piece or collected into one buffer.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::allowance::{Allowance, SizeLimit};
use super::budget::Reservation;
use super::problem::Problem;

/// What a body says of its length before it comes; 0 when it says nothing.
pub(super) fn declared_bytes(body: &Incoming) -> usize {
    usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX)
}

/// A body on its way.
pub(super) struct Arriving<'r> {
    body: &'r mut Incoming,
    allowance: Allowance,
    /// The request's, not the body's.
    started: Instant,
    /// Its connection's place is wanted for another one.
    sent_away: &'r CancellationToken,
    /// The drain is about to end.
    last_call: &'r CancellationToken,
    wire_bytes: usize,
}

impl<'r> Arriving<'r> {
    pub(super) fn new(
        body: &'r mut Incoming,
        allowance: Allowance,
        started: Instant,
        sent_away: &'r CancellationToken,
        last_call: &'r CancellationToken,
    ) -> Self {
        Self { body, allowance, started, sent_away, last_call, wire_bytes: 0 }
    }

    /// The next piece; `None` when it is all there.
    ///
    /// # Cancel safety
    /// No piece is lost. Nothing was accepted yet: a request that goes away half-way leaves nothing behind.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let (limit, sent_away, last_call) = (self.allowance.timeout, self.sent_away, self.last_call);
        let end = self.started + limit;
        let next = async {
            tokio::select! {
                biased;
                next = self.next_chunk() => next,
                () = sent_away.cancelled() => Err(Problem::Overloaded),
                () = last_call.cancelled() => Err(Problem::Draining),
            }
        };
        timeout_at(end, next).await.unwrap_or(Err(Problem::SlowBody { limit }))
    }

    /// All of it, in one piece.
    pub(super) async fn collect(&mut self, reservation: &mut Reservation) -> Result<Bytes, Problem> {
        let mut collected = Collected::Nothing;
        while let Some(chunk) = self.next().await? {
            reservation.cover(collected.bytes_with(&chunk, self.allowance.wire))?;
            collected = collected.and(chunk, self.allowance.wire);
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
            self.allowance.wire.check(self.wire_bytes)?;
            return Ok(Some(chunk));
        }
        Ok(None)
    }
}

/// A body that came in one piece is used where it lies; only the second piece makes a buffer.
enum Collected {
    Nothing,
    OnePiece(Bytes),
    Buffer(Vec<u8>),
}

impl Collected {
    /// Room is made for what came and not for what was declared: thousands of clients may declare and send little.
    fn and(self, chunk: Bytes, limit: SizeLimit) -> Self {
        let room = self.bytes_with(&chunk, limit);
        match self {
            Self::Nothing => Self::OnePiece(chunk),
            Self::OnePiece(first) => {
                let mut buffer = Vec::with_capacity(room);
                buffer.extend_from_slice(&first);
                buffer.extend_from_slice(&chunk);
                Self::Buffer(buffer)
            }
            Self::Buffer(mut buffer) => {
                buffer.reserve_exact(room - buffer.len());
                buffer.extend_from_slice(&chunk);
                Self::Buffer(buffer)
            }
        }
    }

    /// What it takes with another piece. A buffer grows to twice its size, so that little is copied, and not beyond the
    /// most that there may be.
    fn bytes_with(&self, chunk: &Bytes, limit: SizeLimit) -> usize {
        match self {
            Self::Nothing => chunk.len(),
            Self::OnePiece(first) => first.len() + chunk.len(),
            Self::Buffer(buffer) => {
                let needed = buffer.len() + chunk.len();
                if needed <= buffer.capacity() {
                    buffer.capacity()
                } else {
                    (buffer.capacity() * 2).min(limit.bytes()).max(needed)
                }
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

//! NDJSON, judged while it arrives: nothing is kept of it but verdicts, records and a line that is not complete yet.
//!
//! What is wrong with a body is known only at its end, because what comes later may weigh more (see the contract's
//! order of errors). So a fault is remembered, and the rest is still looked at for what would be reported instead.

use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use futures_util::poll;
use hyper::HeaderMap;

use super::batch::Receipt;
use super::body::Arriving;
use super::budget::Reservation;
use super::check::{Judged, Judging};
use super::problem::Problem;
use super::resolve::{self, Authorized};
use super::turn::Owner;
use super::unpack::Unpacker;
use super::{Intake, decode};
use crate::event::{Clock, Defaults, Envelope, Lines, RawEvent};
use crate::tenant::{Directory, Tenant};

/// One body, as far as it came.
pub(super) struct Stream {
    /// Who sends it, and what became of its events; or what will be wrong with the request if its body is good.
    judging: Result<(Tenant, Judging), Problem>,
    /// Gone when what came cannot be unpacked any further.
    unpacker: Option<Unpacker>,
    /// Gone when what came cannot be cut any further.
    lines: Option<Lines>,
    /// The heaviest fault so far.
    fault: Option<Problem>,
}

impl Stream {
    /// A body of which nothing came. Whose it is stands in its headers.
    pub(super) fn begin(
        receipt: Receipt,
        headers: &HeaderMap,
        authorized: Option<Authorized>,
        directory: &Directory,
        unpacker: Unpacker,
    ) -> Self {
        let judging = decode::sent_at(headers).and_then(|sent_at| {
            let tenant = resolve::resolve(headers, authorized, &Envelope::default(), directory)?;
            let clock = Clock { received_at: receipt.at, sent_at };
            let judging = Judging::new(&tenant, receipt.id, clock);
            Ok((tenant, judging))
        });
        Self { judging, unpacker: Some(unpacker), lines: Some(Lines::default()), fault: None }
    }

    /// Takes in what arrives, to its end. While more is waited for, what is kept is reserved; what is there only in
    /// between is bounded by the number of threads.
    ///
    /// # Cancel safety
    /// Nothing was accepted yet.
    pub(super) async fn read(
        mut self,
        intake: &Intake,
        owner: Owner,
        arriving: &mut Arriving<'_>,
        reservation: &mut Reservation,
    ) -> Result<(Tenant, Judged), Problem> {
        let mut room = Room { intake, request: reservation, unpacked: None };
        while let Some(chunk) = room.wait(self.kept(), arriving.next()).await?? {
            let kept = self.kept();
            // What cannot be unpacked any further is only thrown away.
            let most_bytes = self.unpacker.as_ref().map_or(0, |unpacker| unpacker.most_bytes(chunk.len()));
            let working = intake.turns.work(owner, most_bytes, move || {
                self.feed(chunk);
                self
            });
            self = room.wait(kept, working).await??;
        }
        if let Some(unpacked_bytes) = self.unpacked_so_far() {
            intake.meter.count_body(arriving.wire_bytes(), unpacked_bytes);
        }
        self.finish()
    }

    /// What it keeps between two pieces.
    fn kept(&self) -> Kept {
        Kept {
            judged_bytes: self.judging.as_ref().map_or(0, |(_, judging)| judging.kept_bytes()),
            unpacked_bytes: self.unpacker.as_ref().map_or(0, Unpacker::held_bytes)
                + self.lines.as_ref().map_or(0, Lines::held_bytes),
        }
    }

    /// More of the body.
    pub(super) fn feed(&mut self, chunk: Bytes) {
        let Some(unpacker) = &mut self.unpacker else { return };
        match unpacker.feed(chunk) {
            Ok(unpacked) => self.cut(&unpacked),
            Err(problem) => {
                self.unpacker = None;
                self.fault = Some(problem);
            }
        }
    }

    fn cut(&mut self, unpacked: &[u8]) {
        let Some(lines) = &mut self.lines else { return };
        if let Err(error) = lines.feed(unpacked, |event| take(&mut self.judging, event)) {
            self.lines = None;
            self.fault = Some(error.into());
        }
    }

    /// How much came out of what arrived; `None`: it could not be unpacked.
    fn unpacked_so_far(&self) -> Option<usize> {
        self.unpacker.as_ref().map(Unpacker::unpacked_bytes)
    }

    /// The body ends here.
    pub(super) fn finish(mut self) -> Result<(Tenant, Judged), Problem> {
        if let Some(unpacker) = self.unpacker {
            unpacker.finish()?;
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if let Some(lines) = self.lines {
            lines.finish(|event| take(&mut self.judging, event))?;
        }
        let (tenant, judging) = self.judging?;
        Ok((tenant, judging.finish()))
    }
}

/// What a stream keeps while more of it is waited for.
#[derive(Clone, Copy)]
struct Kept {
    /// Records and verdicts.
    judged_bytes: usize,
    /// What a small body can unpack to: the decoder, and a line that is not complete.
    unpacked_bytes: usize,
}

/// What one body has reserved.
struct Room<'r> {
    intake: &'r Intake,
    request: &'r mut Reservation,
    /// What a little on the wire can grow to has a budget of its own: it must not shut everybody else out.
    unpacked: Option<Reservation>,
}

impl Room<'_> {
    /// Waits, and if it comes to waiting reserves what is kept meanwhile.
    async fn wait<T>(&mut self, kept: Kept, what: impl Future<Output = T>) -> Result<T, Problem> {
        let mut what = pin!(what);
        if let Poll::Ready(done) = poll!(&mut what) {
            return Ok(done);
        }
        self.request.cover(kept.judged_bytes)?;
        match (&mut self.unpacked, kept.unpacked_bytes) {
            (Some(reservation), bytes) => reservation.cover(bytes)?,
            (None, 0) => {}
            (unpacked, bytes) => unpacked.insert(self.intake.unpacked.reserve(0)?).cover(bytes)?,
        }
        Ok(what.await)
    }
}

fn take(judging: &mut Result<(Tenant, Judging), Problem>, event: RawEvent<'_>) {
    if let Ok((_, judging)) = judging {
        judging.take(&Defaults::default(), [event]);
    }
}

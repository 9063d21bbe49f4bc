//! NDJSON that is not packed, judged while it arrives: nothing is kept of it but verdicts, records and a line that is not
//! complete yet. What is packed is collected first: that takes no more than arrived of it, where a decoder that waits may
//! take many times as much.
//!
//! What is wrong with a body is known only at its end, because what comes later may weigh more (see the contract's
//! order of errors). So a fault is remembered, and the rest is still looked at for what would be reported instead.

use std::pin::pin;
use std::task::Poll;

use futures_util::poll;
use hyper::HeaderMap;

use super::batch::Receipt;
use super::body::Arriving;
use super::budget::Reservation;
use super::check::{Judged, Judging};
use super::problem::Problem;
use super::resolve::{self, Authorized};
use super::turn::Owner;
use super::{Intake, decode};
use crate::event::{Clock, Defaults, Envelope, Lines, RawEvent};
use crate::tenant::{Directory, Tenant};

/// One body, as far as it came.
pub(super) struct Stream {
    /// Who sends it, and what became of its events; or what will be wrong with the request if its body is good.
    judging: Result<(Tenant, Judging), Problem>,
    /// Or why what came cannot be cut any further.
    lines: Result<Lines, Problem>,
}

impl Stream {
    /// A body of which nothing came. Whose it is stands in its headers.
    pub(super) fn begin(
        receipt: Receipt,
        headers: &HeaderMap,
        authorized: Option<Authorized>,
        directory: &Directory,
    ) -> Self {
        let judging = decode::sent_at(headers).and_then(|sent_at| {
            let tenant = resolve::resolve(headers, authorized, &Envelope::default(), directory)?;
            let clock = Clock { received_at: receipt.at, sent_at };
            let judging = Judging::new(&tenant, receipt, clock);
            Ok((tenant, judging))
        });
        Self { judging, lines: Ok(Lines::default()) }
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
        while let Some(chunk) = reserved(reservation, self.kept_bytes(), arriving.next()).await?? {
            let kept_bytes = self.kept_bytes();
            let working = intake.turns.work(owner, chunk.len(), move || {
                self.feed(&chunk);
                self
            });
            self = reserved(reservation, kept_bytes, working).await??;
        }
        intake.meter.count_body(arriving.wire_bytes(), arriving.wire_bytes());
        self.finish()
    }

    /// What it keeps between two pieces: records, verdicts, and a line that is not complete.
    fn kept_bytes(&self) -> usize {
        self.judging.as_ref().map_or(0, |(_, judging)| judging.kept_bytes())
            + self.lines.as_ref().map_or(0, Lines::held_bytes)
    }

    /// More of the body, unpacked.
    pub(super) fn feed(&mut self, piece: &[u8]) {
        let Ok(lines) = &mut self.lines else { return };
        if let Err(error) = lines.feed(piece, |event| take(&mut self.judging, event)) {
            self.lines = Err(error.into());
        }
    }

    /// The body ends here.
    pub(super) fn finish(mut self) -> Result<(Tenant, Judged), Problem> {
        self.lines?.finish(|event| take(&mut self.judging, event))?;
        let (tenant, judging) = self.judging?;
        Ok((tenant, judging.finish()))
    }
}

/// Waits, and if it comes to waiting reserves what is kept meanwhile.
async fn reserved<T>(
    reservation: &mut Reservation,
    kept_bytes: usize,
    what: impl Future<Output = T>,
) -> Result<T, Problem> {
    let mut what = pin!(what);
    if let Poll::Ready(done) = poll!(&mut what) {
        return Ok(done);
    }
    reservation.cover(kept_bytes)?;
    Ok(what.await)
}

fn take(judging: &mut Result<(Tenant, Judging), Problem>, event: RawEvent<'_>) {
    if let Ok((_, judging)) = judging {
        judging.take(&Defaults::default(), [event]);
    }
}

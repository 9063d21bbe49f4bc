//! One organization's records of one partition, in order, one transaction in flight.
//!
//! A lane opens by reading its schema's watermark and whether records are held, and is then in one of three states:
//!
//! - [`live`]: records become batches, batches become transactions;
//! - [`held`]: its schema cannot take records; they are held in the control schema, and a probe drains them;
//! - [`unattributed`]: its organization was removed, or never was; positions and counts are written down.
//!
//! Records wait in `pending` until they are safe, and only then leave it. So whatever happens in between, opening again
//! and going on with what is pending is always right: what the watermark covers by then is passed over.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;

use super::arrived::Arrived;
use super::held_record::{Opening, open};
use super::owner::{Nobody, Owner, owner_of};
use super::position::Watermark;
use super::unreadable::MOST_RECORDS;
use super::writer::Refusal;
use super::writer::Statements;
use crate::store::Backoff;

mod held;
mod hold;
mod home;
mod live;
mod spill;
mod unattributed;

pub(super) use home::Home;

/// A lane that hears nothing for so long ends; the next record opens it anew.
const IDLE: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Lane {
    pub(super) home: Home,
    pub(super) incoming: UnboundedReceiver<Arrived>,
    pub(super) pending: VecDeque<Arrived>,
}

/// What a state comes to.
enum Next {
    /// What the lane knows of its schema is out of date.
    Reopen,
    /// The schema cannot take records, for this reason.
    Hold(String),
    /// There is no schema.
    Unattributed(Nobody),
    /// Stopped, idle, or nobody sends any more.
    End,
}

/// What waiting for a record came to.
enum Heard {
    Record(Arrived),
    /// It was waited for long enough.
    Due,
    /// Stopped, or nothing will come any more.
    Nothing,
    /// Records of this lane are held.
    FoundHeld,
}

impl Lane {
    /// Lives until stopped, idle, or no longer sent to.
    pub(super) async fn run(mut self) {
        let mut next = Next::Reopen;
        loop {
            next = match next {
                Next::Reopen => self.in_schema().await,
                Next::Hold(reason) => self.held(reason).await,
                Next::Unattributed(nobody) => self.unattributed(nobody).await,
                Next::End => return,
            }
        }
    }

    /// Opens the schema, waiting for as long as the server is away, and works on it.
    async fn in_schema(&mut self) -> Next {
        let mut backoff = Backoff::for_server();
        loop {
            let refused = match owner_of(&self.home.shared, self.home.organization).await {
                Ok(Owner::Nobody(nobody)) => return Next::Unattributed(nobody),
                Ok(Owner::Unusable(reason)) => return Next::Hold(reason),
                Ok(Owner::Schema(statements)) => match self.open(&statements).await {
                    Ok(Opening { any_held: true, .. }) => {
                        return Next::Hold("records before these are held".to_owned());
                    }
                    Ok(Opening { any_held: false, watermark }) => {
                        watermark.into_iter().for_each(|watermark| self.home.see(watermark));
                        return self.live(&statements, watermark).await;
                    }
                    Err(refused) => refused,
                },
                Err(refused) => refused,
            };
            match self.home.judge(refused).await {
                Refusal::Schema(reason) | Refusal::Slow(reason) => return Next::Hold(reason),
                Refusal::Server(reason) => self.home.shared.condition.server.lost(&reason),
                Refusal::Again(_) => {}
            }
            if self.home.wait(backoff.next()).await.is_break() {
                return Next::End;
            }
        }
    }

    async fn open(&self, statements: &Statements) -> Result<Opening, Refusal> {
        let home = &self.home;
        let mut client = home.shared.pool.get().await?;
        let opening = open(&mut client, statements, home.organization, home.position).await?;
        client.give_back();
        home.shared.condition.server.answered();
        Ok(opening)
    }

    /// Waits for a record until `due`.
    async fn hear(&mut self, due: Instant) -> Heard {
        tokio::select! {
            biased;
            () = self.home.stop.cancelled() => Heard::Nothing,
            () = self.home.found_held.notified() => Heard::FoundHeld,
            arrived = self.incoming.recv() => arrived.map_or(Heard::Nothing, Heard::Record),
            () = tokio::time::sleep_until(due.into()) => Heard::Due,
        }
    }

    /// Passes over what the schema already has.
    fn pass_over_covered(&mut self, watermark: Option<Watermark>) {
        let home = &self.home;
        self.pending.retain(|arrived| {
            let covered = Watermark::covers(watermark.as_ref(), arrived.record.offset);
            if covered {
                home.finish(arrived);
            }
            !covered
        });
    }

    /// The first pending records are safe.
    fn finish_first(&mut self, count: usize) {
        for arrived in self.pending.drain(..count) {
            self.home.finish(&arrived);
        }
    }
}

/// Takes what has come meanwhile, as long as one statement can have it all.
fn take_what_came(incoming: &mut UnboundedReceiver<Arrived>, waiting: &mut VecDeque<Arrived>) {
    while waiting.len() < MOST_RECORDS
        && let Ok(more) = incoming.try_recv()
    {
        waiting.push_back(more);
    }
}

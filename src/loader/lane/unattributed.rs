//! A lane without a schema: its organization was removed, or nobody ever had the id.

use std::time::{Duration, Instant};

use super::super::owner::Nobody;
use super::super::unreadable::{self, MOST_RECORDS, Unreadable};
use super::super::writer::Refusal;
use super::{Heard, Lane, Next, take_what_came};
use crate::store::Backoff;

/// A lane without a schema has nothing to remember, and ids that nobody has may be any number.
const SOON: Duration = Duration::from_secs(1);

impl Lane {
    pub(super) async fn unattributed(&mut self, nobody: Nobody) -> Next {
        let mut backoff = Backoff::for_server();
        loop {
            while !self.pending.is_empty() {
                match self.write_down_some(nobody).await {
                    Ok(()) => backoff.reset(),
                    Err(refused) => {
                        self.home.shared.condition.server.lost(refused.reason());
                        if self.home.wait(backoff.next()).await.is_break() {
                            return Next::End;
                        }
                    }
                }
            }
            match self.hear(Instant::now() + SOON).await {
                Heard::Record(arrived) => {
                    self.pending.push_back(arrived);
                    take_what_came(&mut self.incoming, &mut self.pending);
                }
                // Closed, the channel still gives what was sent before.
                Heard::Due => self.incoming.close(),
                Heard::Nothing => return Next::End,
                // Removal deletes what is held, and nobody unknown has anything.
                Heard::FoundHeld => {}
            }
        }
    }

    /// The first that are pending, as many as one statement should take.
    async fn write_down_some(&mut self, nobody: Nobody) -> Result<(), Refusal> {
        let (mut bytes, mut events) = (0, 0);
        let mut unreadable = Vec::new();
        for arrived in self.pending.iter().take(MOST_RECORDS) {
            if bytes >= self.home.shared.settings.hold_bytes() {
                break;
            }
            let (reason, record) = match nobody {
                Nobody::Removed => ("the organization was removed", None),
                Nobody::Unknown => {
                    ("no organization ever had this id", Some(arrived.record.bytes.as_slice()))
                }
            };
            unreadable.push(Unreadable {
                position: self.home.position,
                offset: arrived.record.offset,
                organization: Some(self.home.organization),
                events: i32::try_from(arrived.events).ok(),
                reason,
                record,
            });
            bytes += record.map_or(0, <[u8]>::len);
            events += arrived.events;
        }
        unreadable::try_write(&self.home.shared, &unreadable).await?;
        let count = unreadable.len();
        match nobody {
            Nobody::Removed => self.home.outcomes.unattributed(events),
            Nobody::Unknown => (0..count).for_each(|_| self.home.outcomes.unreadable()),
        }
        self.finish_first(count);
        Ok(())
    }
}

//! A lane without a schema: its organization was removed, or nobody ever had the id.

use std::time::Instant;

use super::super::owner::Nobody;
use super::super::refusal::Refusal;
use super::super::unreadable::{self, Unreadable};
use super::{Heard, IDLE, Lane, Next};
use crate::store::Backoff;

impl Lane {
    pub(super) async fn unattributed(&mut self, nobody: Nobody) -> Next {
        let mut backoff = Backoff::for_server();
        loop {
            while !self.pending.is_empty() {
                match self.write_down_first(nobody).await {
                    Ok(()) => backoff.reset(),
                    Err(refused) => {
                        self.home.shared.condition.server.lost(refused.reason());
                        if self.home.wait(backoff.next()).await.is_break() {
                            return Next::End;
                        }
                    }
                }
            }
            match self.hear(Instant::now() + IDLE).await {
                Heard::Record(arrived) => self.pending.push_back(arrived),
                // Closed, the channel still gives what was sent before.
                Heard::Due => self.incoming.close(),
                Heard::Nothing => return Next::End,
                // Removal deletes what is held, and nobody unknown has anything.
                Heard::FoundHeld => {}
            }
        }
    }

    async fn write_down_first(&mut self, nobody: Nobody) -> Result<(), Refusal> {
        let Some(arrived) = self.pending.front() else { return Ok(()) };
        let (reason, record) = match nobody {
            Nobody::Removed => ("the organization was removed", None),
            Nobody::Unknown => ("no organization ever had this id", Some(arrived.record.bytes.as_slice())),
        };
        let unreadable = Unreadable {
            position: self.home.position,
            offset: arrived.record.offset,
            organization: Some(self.home.organization),
            events: i32::try_from(arrived.events).ok(),
            reason,
            record,
        };
        unreadable::try_write(&self.home.shared, &unreadable).await?;
        match nobody {
            Nobody::Removed => self.home.outcomes.unattributed(arrived.events),
            Nobody::Unknown => self.home.outcomes.unreadable(),
        }
        if let Some(arrived) = self.pending.pop_front() {
            self.home.finish(&arrived);
        }
        Ok(())
    }
}

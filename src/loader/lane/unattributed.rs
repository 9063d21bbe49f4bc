//! A lane without a schema: its organization was removed, or nobody ever had the id.

use super::super::backoff::Backoff;
use super::super::owner::Nobody;
use super::super::refusal::Refusal;
use super::super::unreadable::{self, Unreadable};
use super::{Lane, Next, finish};

impl Lane {
    pub(super) async fn unattributed(&mut self, nobody: Nobody) -> Next {
        let mut backoff = Backoff::for_server();
        loop {
            while !self.pending.is_empty() {
                match self.write_down_first(nobody).await {
                    Ok(()) => backoff.reset(),
                    Err(refused) => {
                        self.shared.condition.server.lost(refused.reason());
                        if self.wait(backoff.next()).await.is_break() {
                            return Next::End;
                        }
                    }
                }
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Next::End,
                arrived = self.incoming.recv() => match arrived {
                    Some(arrived) => self.pending.push_back(arrived),
                    None => return Next::End,
                },
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
            position: self.position,
            offset: arrived.record.offset,
            organization: Some(self.organization),
            events: i32::try_from(arrived.events).ok(),
            reason,
            record,
        };
        unreadable::try_write(&self.shared, &unreadable).await?;
        match nobody {
            Nobody::Removed => self.outcomes.unattributed(arrived.events),
            Nobody::Unknown => self.outcomes.unreadable(),
        }
        if let Some(arrived) = self.pending.pop_front() {
            finish(&self.progress, arrived.record.offset);
        }
        Ok(())
    }
}

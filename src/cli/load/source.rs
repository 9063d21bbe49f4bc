//! Where events come from, and how they become batches.

use tokio::sync::mpsc::Sender;

use super::batch::{Batch, Batcher};
use super::replay::{Replay, ReplayError};
use super::sessions::Generator;

/// One event after another.
pub(super) enum Source {
    Sessions(Box<Generator>),
    File(Replay),
}

impl Source {
    /// The next event, as the index of its organization and its JSON.
    fn next_event(&mut self) -> Result<Option<(usize, &str)>, ReplayError> {
        match self {
            Self::Sessions(generator) => {
                let event = generator.next_event();
                Ok(Some((event.organization, event.json)))
            }
            Self::File(replay) => replay.next_event(),
        }
    }

    /// Makes batches of at most `limit` events until nobody wants them. Blocks while the channel is full.
    pub(super) fn feed(
        mut self,
        limit: u64,
        mut batcher: Batcher,
        batches: &Sender<Batch>,
    ) -> Result<(), ReplayError> {
        for _ in 0..limit {
            let Some((organization, event)) = self.next_event()? else { break };
            let Some(batch) = batcher.push(organization, event) else { continue };
            if batches.blocking_send(batch).is_err() {
                return Ok(());
            }
        }
        for batch in batcher.finish() {
            if batches.blocking_send(batch).is_err() {
                break;
            }
        }
        Ok(())
    }
}

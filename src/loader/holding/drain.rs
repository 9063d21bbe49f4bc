//! Held records drained beside the lanes, with the loader's own protocol and limits: by a person, or because their
//! generation is over.

use std::time::Duration;

use tokio_postgres::Client;

use super::drain_held::{DrainError, drain_some};
use crate::config::loader::TransactionLimits;
use crate::loader::lane::{BatchLimits, Size};
use crate::loader::overdue::end_overdue;
use crate::loader::owner::refuse_version;
use crate::loader::position::Position;
use crate::loader::writer::{Refusal, Statements, WriteError};
use crate::store::Backoff;
use crate::tenant::{RolePrefix, Tenant};

pub use super::drain_held::Drained;
pub use crate::loader::writer::Fates;

/// A loader at work on the same organization is waited for this often.
const MOST_WAITS: u32 = 10;

/// Why records stay held.
#[derive(Debug, thiserror::Error)]
pub enum NotDrained {
    /// The schema refuses.
    #[error("the schema still refuses: {0}")]
    Refused(String),
    /// A loader drains the organization at this moment, or wrote to it in between.
    #[error("a loader is at work on this organization: {0}")]
    Busy(String),
    /// Postgres cannot be used.
    #[error("Postgres cannot be used: {0}")]
    Server(String),
}

/// Stores what is held for an organization in one partition of one generation, batch after batch, and tells `each` what
/// became of it. The connection's login must be one that may become the organization's role.
///
/// # Errors
/// See [`NotDrained`]; what was told before is stored all the same, and the connection is of no further use.
pub async fn drain_partition(
    client: &mut Client,
    tenant: &Tenant,
    roles: &RolePrefix,
    transaction: &TransactionLimits,
    (generation, partition): (i32, i32),
    mut each: impl FnMut(&Drained),
) -> Result<(), NotDrained> {
    refuse_version(tenant).map_err(NotDrained::Refused)?;
    let statements = Statements::new(tenant, roles, transaction);
    let position = Position { generation, partition };
    let all = BatchLimits { rows: transaction.batch_rows, bytes: transaction.hold_bytes() };
    let mut size = Size::default();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let mut waits = 0;
    loop {
        let limits = size.of(all);
        match drain_some(client, &statements, tenant.id(), position, limits).await {
            Ok(None) => return Ok(()),
            Ok(Some(drained)) => {
                each(&drained);
                size.passed();
                waits = 0;
                backoff.reset();
            }
            Err(error) => {
                // A COPY that is refused at its beginning leaves the connection out of step, see `store/pool.rs`.
                let is_in_step = !matches!(error, DrainError::Write(WriteError::CopyRefused(_)));
                match Refusal::from(error) {
                    // Many records may take too long where one does not. A person waits: the smallest is tried at once.
                    Refusal::Slow(_) if limits.rows > 1 && is_in_step => size.was_too_much(1),
                    Refusal::Schema(reason) | Refusal::Slow(reason) => {
                        return Err(NotDrained::Refused(reason));
                    }
                    Refusal::Server(reason) => return Err(NotDrained::Server(reason)),
                    Refusal::Again(reason) if waits == MOST_WAITS => return Err(NotDrained::Busy(reason)),
                    Refusal::Again(_) => {
                        waits += 1;
                        // The drain's lock may be with a loader that will never go on. Where this login may not end its
                        // connection, it stays there.
                        let _ = end_overdue(client).await;
                        tokio::time::sleep(backoff.next()).await;
                    }
                }
            }
        }
    }
}

//! What a lane finds in its schema where it has nothing to write.

use tokio_postgres::{Client, IsolationLevel};

use crate::loader::position::{Position, Watermark};
use crate::loader::writer::{Statements, WriteError, any_held, watermark};
use crate::tenant::OrganizationId;

/// How a lane finds its schema.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::loader) struct Opening {
    /// The schema's watermark for the partition.
    pub(in crate::loader) watermark: Option<Watermark>,
    /// Whether records are held that come before anything new.
    pub(in crate::loader) any_held: bool,
}

/// Reads the watermark and whether records are held, in one snapshot. Read a moment apart, with a drain in between, they
/// would only cost the lane a flush that finds the watermark moved, and another opening.
pub(in crate::loader) async fn open(
    client: &mut Client,
    statements: &Statements,
    organization: OrganizationId,
    position: Position,
) -> Result<Opening, WriteError> {
    let transaction =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
    if statements.are_for_another(transaction.client()).await? {
        return Err(WriteError::OtherServer);
    }
    let any_held = any_held(transaction.client(), position, organization).await?;
    transaction.batch_execute(&statements.enter_role).await?;
    let watermark =
        watermark(transaction.client(), &statements.read_watermark, position, organization).await?;
    transaction.commit().await?;
    Ok(Opening { watermark, any_held })
}

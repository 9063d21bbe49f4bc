//! Records held under a generation that is over: no partition of today has a lane for them, and they are drained all
//! the same. Any loader may; the drain's own lock keeps two from doing it at once.

use std::time::Instant;

use tokio_postgres::types::Type;

use super::drain::drain_partition;
use crate::loader::Shared;
use crate::loader::ask::Unanswered;
use crate::loader::outcome::Outcomes;
use crate::tenant::{OrganizationId, RecordOwner};

/// Tries once to drain all of them. What a schema still refuses stays held until the next time.
pub(in crate::loader) async fn drain_former_generations(shared: &Shared) -> Result<(), Unanswered> {
    const FORMER: &str = "SELECT DISTINCT generation, partition, organization_id FROM rollbook.held_record \
         WHERE generation < $1 ORDER BY generation";
    // One that is still at it tries everything that this one would.
    let Ok(_alone) = shared.draining_former.try_lock() else { return Ok(()) };
    let former = shared
        .read(async |client| Ok(client.query_typed(FORMER, &[(&shared.generation, Type::INT4)]).await?))
        .await?;
    for row in former {
        let (generation, partition): (i32, i32) = (row.get(0), row.get(1));
        let organization = OrganizationId(row.get(2));
        // Removal deletes what is held.
        let Some(RecordOwner::Tenant(tenant)) = shared.directory.of_record(organization) else { continue };
        let outcomes = Outcomes::new(shared.label(organization));
        let mut begun = Instant::now();
        let place = (generation, partition);
        // Bounded by its own time-outs; where it fails, that is said, and the next look finds out about the server.
        let Ok(mut client) = shared.pool.get().await else { return Err(Unanswered::Lost) };
        let drained = drain_partition(
            &mut client,
            &tenant,
            &shared.roles,
            &shared.settings.transaction,
            place,
            |drained| {
                outcomes.drained(drained, begun.elapsed());
                begun = Instant::now();
            },
        )
        .await;
        match drained {
            Ok(()) => {
                client.give_back();
                tracing::info!(organization.id = %organization, generation, partition,
                    "records held under an earlier generation are drained");
            }
            Err(error) => tracing::warn!(organization.id = %organization, generation, partition, %error,
                "records held under an earlier generation stay held"),
        }
    }
    Ok(())
}

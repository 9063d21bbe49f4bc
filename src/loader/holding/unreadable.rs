//! Records that belong in no schema: written down with their position, so that nothing vanishes.

use tokio_postgres::types::Type;
use tokio_postgres::{Error, GenericClient};
use uuid::Uuid;

use crate::loader::position::Position;
use crate::tenant::OrganizationId;

/// One such record.
#[derive(Debug)]
pub(in crate::loader) struct Unreadable<'a> {
    pub(in crate::loader) position: Position,
    pub(in crate::loader) offset: i64,
    /// What it names, where that can be read.
    pub(in crate::loader) organization: Option<OrganizationId>,
    /// How many events it carries, where that can be read.
    pub(in crate::loader) events: Option<i32>,
    pub(in crate::loader) reason: &'a str,
    /// Its bytes; `None` for a removed organization, whose data is not kept.
    pub(in crate::loader) record: Option<&'a [u8]>,
}

/// Writes them down in one statement, each once however often it is read.
pub(in crate::loader) async fn write_down(
    client: &impl GenericClient,
    unreadable: &[Unreadable<'_>],
) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO rollbook.unreadable_record \
         (generation, partition, log_offset, organization_id, events, reason, record, seen_at) \
         SELECT generation, partition, log_offset, organization_id, events, reason, record, now() \
         FROM unnest($1, $2, $3, $4, $5, $6, $7) AS records \
             (generation, partition, log_offset, organization_id, events, reason, record) \
         ON CONFLICT DO NOTHING";
    let generations: Vec<i32> = unreadable.iter().map(|one| one.position.generation).collect();
    let partitions: Vec<i32> = unreadable.iter().map(|one| one.position.partition).collect();
    let offsets: Vec<i64> = unreadable.iter().map(|one| one.offset).collect();
    let organizations: Vec<Option<Uuid>> =
        unreadable.iter().map(|one| one.organization.map(|id| id.0)).collect();
    let events: Vec<Option<i32>> = unreadable.iter().map(|one| one.events).collect();
    let reasons: Vec<&str> = unreadable.iter().map(|one| one.reason).collect();
    let records: Vec<Option<&[u8]>> = unreadable.iter().map(|one| one.record).collect();
    client
        .execute_typed(
            INSERT,
            &[
                (&generations, Type::INT4_ARRAY),
                (&partitions, Type::INT4_ARRAY),
                (&offsets, Type::INT8_ARRAY),
                (&organizations, Type::UUID_ARRAY),
                (&events, Type::INT4_ARRAY),
                (&reasons, Type::TEXT_ARRAY),
                (&records, Type::BYTEA_ARRAY),
            ],
        )
        .await
        .map(|_| ())
}

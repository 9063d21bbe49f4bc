//! The SQL of one organization's schema: built once a lane, every name qualified and quoted.

use crate::config::loader::LoaderSettings;
use crate::store::quoted;
use crate::tenant::{RolePrefix, Tenant};

use super::copy::COLUMNS;
use super::insert;

/// What a lane says to its schema.
#[derive(Debug)]
pub(in crate::loader) struct Statements {
    /// Inside a transaction: becomes the organization's role, with nothing on the search path and bounded waits.
    /// Deferred constraints are checked at once, so that the rows to blame can be told.
    pub(in crate::loader) become_role: String,
    /// `$1` generation, `$2` partition, `$3` organization: another one's watermark must never be taken for its own.
    pub(in crate::loader) read_watermark: String,
    /// The same, and locks it.
    pub(in crate::loader) lock_watermark: String,
    /// `$1` generation, `$2` partition, `$3` organization, `$4` next offset, `$5` record id. No row: somebody was faster.
    pub(in crate::loader) first_watermark: String,
    /// As [`Self::first_watermark`], and `$6` stored, `$7` duplicate, `$8` dead to add to the totals.
    pub(in crate::loader) move_watermark: String,
    /// `$1` ids: those that are there.
    pub(in crate::loader) stored_ids: String,
    /// An array a column.
    pub(in crate::loader) insert_rows: String,
    /// COPY, binary.
    pub(in crate::loader) copy_rows: String,
    /// `$1` event id, `$2` generation, `$3` partition, `$4` offset, `$5` SQLSTATE, `$6` reason, `$7` row, `$8` record.
    pub(in crate::loader) dead_letter: String,
}

impl Statements {
    pub(in crate::loader) fn new(tenant: &Tenant, roles: &RolePrefix, settings: &LoaderSettings) -> Self {
        let role = quoted(&roles.writer_role(tenant.slug()));
        let schema = quoted(&tenant.organization().schema_name);
        let (statement_ms, lock_ms) =
            (settings.statement_timeout.as_millis(), settings.lock_timeout.as_millis());
        Self {
            become_role: format!(
                "SET LOCAL ROLE {role}; SET LOCAL search_path = ''; SET LOCAL statement_timeout = {statement_ms}; \
                 SET LOCAL lock_timeout = {lock_ms}; SET CONSTRAINTS ALL IMMEDIATE"
            ),
            read_watermark: format!(
                "SELECT next_offset, last_record_id FROM {schema}.ingest_watermark \
                 WHERE generation = $1 AND partition = $2 AND organization_id = $3"
            ),
            lock_watermark: format!(
                "SELECT next_offset, last_record_id FROM {schema}.ingest_watermark \
                 WHERE generation = $1 AND partition = $2 AND organization_id = $3 FOR UPDATE"
            ),
            first_watermark: format!(
                "INSERT INTO {schema}.ingest_watermark \
                 (generation, partition, organization_id, next_offset, last_record_id, stored, duplicate, dead, updated_at) \
                 VALUES ($1, $2, $3, $4, $5, 0, 0, 0, now()) ON CONFLICT DO NOTHING"
            ),
            move_watermark: format!(
                "UPDATE {schema}.ingest_watermark SET organization_id = $3, next_offset = $4, last_record_id = $5, \
                 stored = stored + $6, duplicate = duplicate + $7, dead = dead + $8, updated_at = now() \
                 WHERE generation = $1 AND partition = $2"
            ),
            stored_ids: format!("SELECT event_id FROM {schema}.event WHERE event_id = ANY($1)"),
            insert_rows: insert::statement(&schema),
            copy_rows: format!("COPY {schema}.event ({COLUMNS}) FROM STDIN (FORMAT binary)"),
            dead_letter: format!(
                "INSERT INTO {schema}.dead_letter \
                 (event_id, generation, partition, log_offset, sqlstate, reason, event, record, dead_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, now())"
            ),
        }
    }
}

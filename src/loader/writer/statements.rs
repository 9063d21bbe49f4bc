//! The SQL of one organization's schema, every name qualified and quoted.

use tokio_postgres::{Client, Error};

use crate::config::loader::TransactionLimits;
use crate::loader::server::SYNCHRONOUS;
use crate::loader::server::ServerIdentity;
use crate::store::quoted;
use crate::tenant::{RolePrefix, Tenant};

use super::copy::COLUMNS;
use super::insert;

/// What the loader says to an organization's schema.
#[derive(Debug)]
pub(in crate::loader) struct Statements {
    /// The server that they are for, where that matters.
    server: Option<ServerIdentity>,
    /// Begins a transaction with nothing on the search path, bounded waits, and a commit that a crash does not forget.
    /// Deferred constraints are checked at once, so that the rows to blame can be told.
    pub(super) begin: String,
    /// Becomes the organization's role for the rest of the transaction.
    pub(super) become_role: String,
    /// Both.
    pub(super) begin_in_role: String,
    /// Both, in a transaction that was begun otherwise.
    pub(in crate::loader) enter_role: String,
    /// `$1` generation, `$2` partition, `$3` organization: another one's watermark must never be taken for its own.
    pub(in crate::loader) read_watermark: String,
    /// The same, and locks it.
    pub(super) lock_watermark: String,
    /// `$1` generation, `$2` partition, `$3` organization, `$4` next offset, `$5` record id, and the totals: `$6` stored,
    /// `$7` duplicate, `$8` dead. Violates its key where somebody was faster, and fails where no row was made: the commit may
    /// be on its way already.
    pub(in crate::loader) first_watermark: String,
    /// The same for one that is there: the totals are added to its own.
    pub(super) move_watermark: String,
    /// `$1` ids: those that are there.
    pub(super) stored_ids: String,
    /// Whether Postgres takes a COPY into `event`.
    pub(super) may_copy: String,
    /// Fails as an INSERT would, which needs a unique id to tell duplicates by: COPY does not ask for one, and what a batch comes
    /// to must not depend on its size.
    pub(super) may_insert: String,
    /// An array a column.
    pub(in crate::loader) insert_rows: String,
    /// COPY, binary.
    pub(super) copy_rows: String,
    /// `$1` event id, `$2` generation, `$3` partition, `$4` offset, `$5` SQLSTATE, `$6` reason, `$7` row, `$8` record.
    pub(super) dead_letter: String,
}

impl Statements {
    pub(in crate::loader) fn new(tenant: &Tenant, roles: &RolePrefix, limits: &TransactionLimits) -> Self {
        let role = quoted(&roles.writer_role(tenant.slug()));
        let schema = quoted(&tenant.organization().schema_name);
        let (statement_ms, lock_ms) = (limits.statement_timeout.as_millis(), limits.lock_timeout.as_millis());
        let bounds = format!(
            "SET LOCAL search_path = ''; SET LOCAL statement_timeout = {statement_ms}; \
             SET LOCAL lock_timeout = {lock_ms}; SET CONSTRAINTS ALL IMMEDIATE; {SYNCHRONOUS}"
        );
        let become_role = format!("SET LOCAL ROLE {role}");
        Self {
            server: None,
            begin: format!("BEGIN; {bounds}"),
            begin_in_role: format!("BEGIN; {bounds}; {become_role}"),
            enter_role: format!("{bounds}; {become_role}"),
            become_role,
            read_watermark: format!(
                "SELECT next_offset, last_record_id FROM {schema}.ingest_watermark \
                 WHERE generation = $1 AND partition = $2 AND organization_id = $3"
            ),
            lock_watermark: format!(
                "SELECT next_offset, last_record_id FROM {schema}.ingest_watermark \
                 WHERE generation = $1 AND partition = $2 AND organization_id = $3 FOR UPDATE"
            ),
            first_watermark: format!(
                "WITH made AS ( \
                     INSERT INTO {schema}.ingest_watermark \
                     (generation, partition, organization_id, next_offset, last_record_id, stored, duplicate, dead, updated_at) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now()) RETURNING 1) \
                 SELECT 1 / count(*) FROM made"
            ),
            move_watermark: format!(
                "WITH moved AS ( \
                     UPDATE {schema}.ingest_watermark SET organization_id = $3, next_offset = $4, last_record_id = $5, \
                     stored = stored + $6, duplicate = duplicate + $7, dead = dead + $8, updated_at = now() \
                     WHERE generation = $1 AND partition = $2 RETURNING 1) \
                 SELECT 1 / count(*) FROM moved"
            ),
            may_copy: may_copy(&schema),
            may_insert: format!(
                "EXPLAIN INSERT INTO {schema}.event (event_id) SELECT NULL WHERE false \
                 ON CONFLICT (event_id) DO NOTHING"
            ),
            // One look into the index for each, whatever the planner knows of the table: of `= ANY` with thousands of ids it
            // makes a scan of the table, of a join at times, too (see `docs/decisions/`).
            stored_ids: format!(
                "SELECT id FROM unnest($1) AS asked (id) WHERE (SELECT true FROM {schema}.event WHERE event_id = id)"
            ),
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

impl Statements {
    /// For this server alone: what is written that does not build on a known watermark asks, in its transaction, which
    /// server it is.
    pub(in crate::loader) fn on(self, server: &ServerIdentity) -> Self {
        Self { server: Some(server.clone()), ..self }
    }

    /// Whether this is another server than the one that they are for.
    pub(in crate::loader) async fn are_for_another(&self, client: &Client) -> Result<bool, Error> {
        match &self.server {
            Some(server) => Ok(ServerIdentity::of(client).await? != *server),
            None => Ok(false),
        }
    }
}

/// Where COPY is refused (a policy, a view), or passes over what an INSERT meets (rules), rows go by INSERT however many they
/// are.
fn may_copy(schema: &str) -> String {
    let event = format!("{schema}.event").replace('\'', "''");
    format!(
        "SELECT relkind IN ('r', 'p') AND NOT relhasrules AND NOT row_security_active(oid) \
         FROM pg_catalog.pg_class WHERE oid = '{event}'::pg_catalog.regclass"
    )
}

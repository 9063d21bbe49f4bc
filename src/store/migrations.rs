//! The migrations that this binary carries, and how they run.
//!
//! refinery keeps a history table in each schema. All that a schema lacks runs in one transaction, with what is done in
//! Rust afterwards because it needs the schema's name (grants, the CHECK that pins the organization): plain SQL files
//! cannot name `org_<slug>`, so they run with the schema as the transaction's `search_path`.

use std::sync::LazyLock;

use refinery::{Migration, Runner};
use refinery_core::traits::r#async::{AsyncMigrate, AsyncQuery, AsyncTransaction};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_postgres::{GenericClient, Transaction};

use super::change::Change;
use super::{Error, roles};

#[allow(missing_docs, unreachable_pub, reason = "written by refinery's macro")]
mod control_files {
    refinery::embed_migrations!("migrations/control");
}
#[allow(missing_docs, unreachable_pub, reason = "written by refinery's macro")]
mod tenant_files {
    refinery::embed_migrations!("migrations/tenant");
}

/// The newest migration of `rollbook` that this binary carries.
pub const CONTROL_SCHEMA_VERSION: i32 = 13;
/// The newest migration of an organization's schema that this binary carries. The loader knows this version.
pub const TENANT_SCHEMA_VERSION: i32 = 8;

/// The control schema.
pub(super) const CONTROL_SCHEMA: &str = "rollbook";
/// Where refinery remembers what ran.
pub(super) const HISTORY: &str = "refinery_schema_history";

/// Brings `rollbook` up to date.
pub(super) static CONTROL: LazyLock<Runner> = LazyLock::new(control_files::migrations::runner);
/// Brings one organization's schema up to date.
pub(super) static TENANT: LazyLock<Runner> = LazyLock::new(tenant_files::migrations::runner);

/// Runs what is missing in `schema`, as the owner of the database. Afterwards the change is again what it was.
pub(super) async fn run(change: &Change<'_>, runner: &Runner, schema: &str) -> Result<(), Error> {
    let (path, role) = (roles::quoted(schema), roles::quoted(&change.by.owner));
    // Where `pg_temp` is not named it comes first, before Postgres' own.
    change.batch_execute(&format!("SET LOCAL search_path = {path}, pg_temp; SET LOCAL ROLE {role}")).await?;
    let failed = |source| Error::Migration { schema: schema.to_owned(), source: Box::new(source) };
    runner.run_async(&mut Within(change)).await.map_err(failed)?;
    Ok(change.batch_execute("SET LOCAL ROLE NONE; SET LOCAL search_path = ''").await?)
}

/// One `migrate` at a time: by the history, which nobody but the owner may lock so. A schema that has none has nothing to migrate
/// yet, or is being made.
pub(super) async fn keep_others_out(change: &Change<'_>, schema: &str) -> Result<(), tokio_postgres::Error> {
    let history = format!("{}.{HISTORY}", roles::quoted(schema));
    let is_there = change.query_one("SELECT to_regclass($1) IS NOT NULL", &[&history]).await?;
    match is_there.get(0) {
        true => change.batch_execute(&format!("LOCK TABLE {history} IN SHARE ROW EXCLUSIVE MODE")).await,
        false => Ok(()),
    }
}

/// A transaction that is already under way, as refinery takes connections: it would begin its own on those.
struct Within<'a>(&'a Transaction<'a>);

impl AsyncTransaction for Within<'_> {
    type Error = tokio_postgres::Error;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &'a mut self,
        queries: T,
    ) -> Result<usize, Self::Error> {
        let mut executed = 0;
        for query in queries {
            self.0.batch_execute(query).await?;
            executed += 1;
        }
        Ok(executed)
    }
}

impl AsyncQuery<Vec<Migration>> for Within<'_> {
    async fn query<'a>(&'a mut self, query: &'a str) -> Result<Vec<Migration>, Self::Error> {
        let rows = self.0.query(query, &[]).await?;
        // Time and checksum are refinery's own writing; an unreadable one is a history that somebody made up, and then
        // the checksum says that it is another migration.
        let applied = rows.iter().map(|row| {
            let at = OffsetDateTime::parse(row.get(2), &Rfc3339).unwrap_or(OffsetDateTime::UNIX_EPOCH);
            let checksum = row.get::<_, &str>(3).parse().unwrap_or_default();
            Migration::applied(row.get(0), row.get(1), at, checksum)
        });
        Ok(applied.collect())
    }
}

impl AsyncMigrate for Within<'_> {}

/// What the history of a schema says, line for line, in which exactly this release's migrations ran.
pub(super) fn whole_tenant_history() -> String {
    let mut ran: Vec<_> = TENANT.get_migrations().iter().collect();
    ran.sort_by_key(|migration| migration.version());
    let line = |one: &&Migration| format!("{} {} {}", one.version(), one.name(), one.checksum());
    ran.iter().map(line).collect::<Vec<_>>().join(", ")
}

/// The newest migration that ran in `schema`; 0: none.
pub(super) async fn version(client: &impl GenericClient, schema: &str) -> Result<i32, tokio_postgres::Error> {
    let history = format!("{}.{HISTORY}", roles::quoted(schema));
    let exists: bool = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&history]).await?.get(0);
    if !exists {
        return Ok(0);
    }
    Ok(client.query_one(&format!("SELECT coalesce(max(version), 0) FROM {history}"), &[]).await?.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_those_of_the_newest_files() {
        let newest = |runner: &Runner| runner.get_migrations().iter().map(refinery::Migration::version).max();
        assert_eq!(newest(&CONTROL), Some(CONTROL_SCHEMA_VERSION));
        assert_eq!(newest(&TENANT), Some(TENANT_SCHEMA_VERSION));
    }
}

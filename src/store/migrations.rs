//! The migrations that this binary carries, and how they run.
//!
//! refinery keeps a history table in each schema, and runs each file in a transaction of its own. Plain SQL files
//! cannot name `org_<slug>`, so they run with the schema as `search_path`; what needs its name (grants, the CHECK that
//! pins the organization) is done in Rust afterwards.

use std::sync::LazyLock;

use refinery::Runner;
use tokio_postgres::{Client, GenericClient};

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
pub const CONTROL_SCHEMA_VERSION: i32 = 9;
/// The newest migration of an organization's schema that this binary carries. The loader knows this version.
pub const TENANT_SCHEMA_VERSION: i32 = 4;

/// The control schema.
pub(super) const CONTROL_SCHEMA: &str = "rollbook";
/// Where refinery remembers what ran.
const HISTORY: &str = "refinery_schema_history";

/// Brings `rollbook` up to date.
pub(super) static CONTROL: LazyLock<Runner> = LazyLock::new(control_files::migrations::runner);
/// Brings one organization's schema up to date.
pub(super) static TENANT: LazyLock<Runner> = LazyLock::new(tenant_files::migrations::runner);

/// Runs what is missing in `schema`, as `owner`. The connection is left as an administrator's always is.
pub(super) async fn run(
    client: &mut Client,
    runner: &Runner,
    schema: &str,
    owner: &str,
) -> Result<(), Error> {
    let (path, role) = (roles::quoted(schema), roles::quoted(owner));
    client.batch_execute(&format!("SET search_path = {path}; SET ROLE {role}")).await?;
    let outcome = runner.run_async(client).await;
    let reset = client.batch_execute("RESET ROLE; SET search_path = ''").await;
    let failed = |source| Error::Migration { schema: schema.to_owned(), source: Box::new(source) };
    outcome.map_err(failed)?;
    Ok(reset?)
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

//! `rollbook setup`: the control schema, the service's logins with exactly their rights, and the log's generation.
//!
//! Every step looks before it makes, so that setup can be repeated: after a crash, to change a password, to name other
//! logins, to bring the control schema to a newer release's version, or to follow the database to another owner.

mod generation;
mod handover;
mod logins;
mod ownership;

use serde_json::json;
use tokio_postgres::GenericClient;

use super::migrations::{self, CONTROL_SCHEMA};
use super::roles::{self, Mark};
use super::{Admin, Error, Installation, installation, retry, trail};
use crate::config::DatabaseUrl;
use crate::tenant::RolePrefix;

pub use generation::{LogIdentity, NewGeneration};

/// What setup is asked to make.
#[derive(Debug)]
pub struct Plan {
    /// Login of intake, with its password.
    pub intake: DatabaseUrl,
    /// Login of the loader, with its password.
    pub loader: DatabaseUrl,
    /// Prefix of role names; `None`: what it was, and none the first time.
    pub prefix: Option<RolePrefix>,
    /// The log that the watermarks will speak of.
    pub log: LogIdentity,
    /// Whether that log is a new one.
    pub new_generation: NewGeneration,
}

/// What stands after setup.
#[derive(Debug)]
pub struct Outcome {
    /// What later commands work with.
    pub installation: Installation,
    /// The log's current generation.
    pub generation: i32,
}

/// Sets the database up, or brings it up to date.
///
/// # Errors
/// Everything that [`Error`] says of roles, schemas and rights. What was done until then stays, and is found again.
pub async fn setup(admin: &mut Admin, plan: &Plan) -> Result<Outcome, Error> {
    admin.locked("setup", async |admin| set_up(admin, plan).await).await
}

async fn set_up(admin: &mut Admin, plan: &Plan) -> Result<Outcome, Error> {
    logins::refuse_superusers(admin, plan).await?;
    control_schema(admin).await?;

    let former = installation::find(&admin.client).await?;
    if let Some(former) = &former {
        former.refuse_other_prefix(plan.prefix.as_ref())?;
    }
    let prefix = former.as_ref().map(|former| former.prefix.clone()).or_else(|| plan.prefix.clone());
    let installation = Installation {
        prefix: prefix.unwrap_or_default(),
        intake_login: plan.intake.user().to_owned(),
        loader_login: plan.loader.user().to_owned(),
    };

    let mark = Mark::of_installation(admin.database());
    roles::ensure_role(admin, &installation.readers_role(), &mark).await?;
    logins::ensure(admin, &plan.intake).await?;
    logins::ensure_loader(admin, &plan.loader).await?;
    ownership::share_roles(admin, &installation).await?;
    retry::on_conflict(async || close_to_the_public(admin, &installation).await).await?;
    retry::on_conflict(async || logins::grant(admin, &installation, former.as_ref()).await).await?;
    retry::on_conflict(async || handover::hand_over(admin, &installation, former.as_ref()).await).await?;
    let generation = finish(admin, &installation, plan).await?;
    Ok(Outcome { installation, generation })
}

async fn control_schema(admin: &mut Admin) -> Result<(), Error> {
    let found = migrations::version(&admin.client, CONTROL_SCHEMA).await?;
    if found > super::CONTROL_SCHEMA_VERSION {
        let (known, hint) = (super::CONTROL_SCHEMA_VERSION, "use a newer release");
        return Err(Error::ControlVersion { found, known, hint });
    }
    let mark = Mark::of_installation(admin.database());
    roles::ensure_schema(admin, CONTROL_SCHEMA, &mark).await?;
    ownership::follow_the_database(admin).await?;
    admin.run_migrations(&migrations::CONTROL, CONTROL_SCHEMA).await
}

/// Whoever may log in to the cluster may not even connect here, unless a role of ours says so.
async fn close_to_the_public(admin: &mut Admin, installation: &Installation) -> Result<(), Error> {
    let database = roles::quoted(admin.database());
    let readers = roles::quoted(&installation.readers_role());
    // Some drop it from every database that they make.
    let has_public = "SELECT to_regnamespace('public') IS NOT NULL";
    let in_public = match admin.client.query_one(has_public, &[]).await?.get(0) {
        true => "REVOKE CREATE ON SCHEMA public FROM PUBLIC; ",
        false => "",
    };
    admin
        .client
        .batch_execute(&format!(
            "REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC; {in_public}\
             REVOKE ALL ON SCHEMA {CONTROL_SCHEMA} FROM PUBLIC; \
             GRANT CONNECT ON DATABASE {database} TO {readers}"
        ))
        .await?;
    Ok(())
}

/// The last step, in one transaction: what was told is kept, and the generation declared.
async fn finish(admin: &mut Admin, installation: &Installation, plan: &Plan) -> Result<i32, Error> {
    let transaction = admin.client.transaction().await?;
    installation::save(&transaction, installation).await?;
    let generation = generation::declare(&transaction, &plan.log, plan.new_generation).await?;
    let what = json!({
        "intake_login": installation.intake_login,
        "loader_login": installation.loader_login,
        "role_prefix": installation.prefix.as_str(),
        "log": plan.log.to_string(),
        "generation": generation,
    });
    trail::record(&transaction, &admin.operator, "setup", None, &what).await?;
    transaction.commit().await?;
    Ok(generation)
}

/// Whether a role of that name exists.
async fn role_exists(client: &impl GenericClient, role: &str) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";
    Ok(client.query_one(sql, &[&role]).await?.get(0))
}

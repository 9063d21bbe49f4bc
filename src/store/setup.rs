//! `rollbook setup`: the control schema, the service's logins with exactly their rights, and the log's generation.
//!
//! All of it is one transaction, but for following the database to another owner. Every step looks before it makes, so
//! that setup can be repeated: to change a password, to name other logins, to bring the control schema to a newer
//! release's version, to go on under another name of the database.

mod claim;
mod generation;
mod handover;
mod logins;
mod ownership;
mod public;

use serde_json::json;
use uuid::Uuid;

use super::change::Change;
use super::migrations::{self, CONTROL_SCHEMA};
use super::roles::{self, Found, Mark, role_exists};
use super::server::{self, Purpose};
use super::{Admin, Error, Installation, installation, retry};
use crate::config::DatabaseUrl;
use crate::tenant::RolePrefix;

use claim::{Claim, Unmarked};
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
/// Everything that [`Error`] says of servers, roles, schemas and rights. Then nothing was made.
pub async fn setup(admin: &mut Admin, plan: &Plan) -> Result<Outcome, Error> {
    set_up(admin, plan, Unmarked::Refuse).await
}

/// The same, and takes logins that exist and that nobody marked for this installation's: their passwords become those of
/// the URLs.
///
/// # Errors
/// As [`setup`].
pub async fn setup_adopting(admin: &mut Admin, plan: &Plan) -> Result<Outcome, Error> {
    set_up(admin, plan, Unmarked::Adopt).await
}

async fn set_up(admin: &mut Admin, plan: &Plan, unmarked: Unmarked) -> Result<Outcome, Error> {
    let misfits = server::misfits(&admin.client, Purpose::Writing).await?;
    if !misfits.is_empty() {
        return Err(Error::UnfitServer(misfits.into_iter().map(|misfit| misfit.what).collect()));
    }
    let found = migrations::version(&admin.client, CONTROL_SCHEMA).await?;
    if found > super::CONTROL_SCHEMA_VERSION {
        let (known, hint) = (super::CONTROL_SCHEMA_VERSION, "use a newer release");
        return Err(Error::ControlVersion { found, known, hint });
    }
    ownership::follow_the_database(admin).await?;
    retry::on_conflict(async || {
        let change = admin.begin().await?;
        keep_others_out(&change).await?;
        let outcome = make(&change, plan, unmarked).await?;
        change.commit().await?;
        Ok(outcome)
    })
    .await
}

/// One setup at a time. The very first has nothing to lock yet: two of those meet where they make the control schema, and one
/// begins again.
async fn keep_others_out(change: &Change<'_>) -> Result<(), Error> {
    let is_there = "SELECT to_regclass('rollbook.installation') IS NOT NULL";
    if change.query_one(is_there, &[]).await?.get(0) {
        change.batch_execute("LOCK TABLE rollbook.installation IN SHARE ROW EXCLUSIVE MODE").await?;
    }
    Ok(())
}

async fn make(change: &Change<'_>, plan: &Plan, unmarked: Unmarked) -> Result<Outcome, Error> {
    logins::refuse_superusers(change, plan).await?;
    let id = control_schema(change).await?;

    let former = installation::find(&**change).await?;
    if let Some(former) = &former {
        former.refuse_other_prefix(plan.prefix.as_ref())?;
    }
    let prefix = former.as_ref().map(|former| former.prefix.clone()).or_else(|| plan.prefix.clone());
    let installation = Installation {
        prefix: prefix.unwrap_or_default(),
        intake_login: plan.intake.user().to_owned(),
        loader_login: plan.loader.user().to_owned(),
    };

    let claim = Claim { mark: Mark::of_installation(id), former: former.as_ref(), unmarked };
    claim.ensure_readers_role(change, &installation.readers_role()).await?;
    logins::ensure(change, &plan.intake, &claim).await?;
    logins::ensure_loader(change, &plan.loader, &claim).await?;
    ownership::share_roles(change, &installation, id).await?;
    public::close_database(change, &installation).await?;
    public::close_what_reaches_others(change, &installation, former.as_ref()).await?;
    logins::grant(change, &installation, former.as_ref()).await?;
    handover::hand_over(change, &installation, former.as_ref()).await?;
    let generation = finish(change, &installation, id, plan).await?;
    Ok(Outcome { installation, generation })
}

/// Makes the control schema or brings it up to date, and gives what names the installation for good.
async fn control_schema(change: &Change<'_>) -> Result<Uuid, Error> {
    let new = Uuid::new_v4();
    let comment = match roles::find_schema(&**change, CONTROL_SCHEMA, &Mark::of_installation(new)).await? {
        Found::SomebodyElses(Some(comment)) if comment.starts_with(Mark::OF_ANY_INSTALLATION) => comment,
        Found::SomebodyElses(None) if is_restored_without_comments(change).await? => String::new(),
        _ => {
            roles::ensure_schema(change, CONTROL_SCHEMA, &Mark::of_installation(new)).await?;
            String::new()
        }
    };
    migrations::run(change, &migrations::CONTROL, CONTROL_SCHEMA).await?;
    // The row is what the database itself says; a comment can be an earlier release's, or lost in a dump.
    let id = installation::id(&**change).await?.or_else(|| Mark::installation_in(&comment)).unwrap_or(new);
    roles::mark_schema(change, CONTROL_SCHEMA, &Mark::of_installation(id)).await?;
    Ok(id)
}

/// A dump can leave comments out. What then tells ours from anybody's is whose it is: nobody but the owner of the database
/// makes something as the owner of the database.
async fn is_restored_without_comments(change: &Change<'_>) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace \
                                   JOIN pg_database ON datname = current_database() \
                              WHERE nspname = $1 AND nspowner = datdba \
                                AND relname = 'installation' AND relowner = datdba)";
    Ok(change.query_one(sql, &[&CONTROL_SCHEMA]).await?.get(0))
}

/// The last step: what was told is kept, and the generation declared.
async fn finish(
    change: &Change<'_>,
    installation: &Installation,
    id: Uuid,
    plan: &Plan,
) -> Result<i32, Error> {
    installation::save(&**change, installation, id).await?;
    let generation = generation::declare(change, &plan.log, plan.new_generation).await?;
    let what = json!({
        "intake_login": installation.intake_login,
        "loader_login": installation.loader_login,
        "role_prefix": installation.prefix.as_str(),
        "log": plan.log.to_string(),
        "generation": generation,
    });
    change.record("setup", None, &what).await?;
    Ok(generation)
}

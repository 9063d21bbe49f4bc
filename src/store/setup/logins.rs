//! The service's two logins, with exactly the rights that they need.
//!
//! A login that is the administrator's own is left alone: for development, one login can be all three.

use postgres_protocol::password::scram_sha_256;

use tokio_postgres::error::SqlState;

use super::claim::{self, Claim};
use super::{Plan, role_exists};
use crate::config::DatabaseUrl;
use crate::store::change::Change;
use crate::store::roles::{self, Found, literal, quoted};
use crate::store::{Error, Installation, connect};

/// What each login may do with the control schema. The loader has no rights on any organization's tables.
const INTAKE: &[&str] = &["SELECT ON rollbook.organization", "SELECT ON rollbook.write_key"];
const LOADER: &[&str] = &[
    "SELECT ON rollbook.organization",
    "SELECT ON rollbook.log",
    "SELECT, INSERT, DELETE ON rollbook.held_record",
    "SELECT, INSERT, UPDATE ON rollbook.partition_anchor",
    "INSERT ON rollbook.unreadable_record",
];

/// Refuses before anything is made: the password of a superuser is never ours to set.
pub(super) async fn refuse_superusers(change: &Change<'_>, plan: &Plan) -> Result<(), Error> {
    for login in [plan.intake.user(), plan.loader.user()] {
        let sql = "SELECT FROM pg_roles WHERE rolname = $1 AND rolsuper";
        let is_superuser = change.query_opt(sql, &[&login]).await?.is_some();
        if is_superuser && login != change.by.login {
            return Err(Error::LoginIsSuperuser { login: login.to_owned() });
        }
    }
    Ok(())
}

/// Makes a login with the name and password of a URL, or sets the password of the one that is there and ours.
pub(super) async fn ensure(change: &Change<'_>, url: &DatabaseUrl, claim: &Claim<'_>) -> Result<(), Error> {
    if url.user() == change.by.login {
        return Ok(());
    }
    let login = quoted(url.user());
    let others = match claim.on_login(change, url.user()).await? {
        Found::Nothing => {
            roles::make_role(change, url.user(), "LOGIN NOINHERIT", &claim.mark).await?;
            None
        }
        _ => other_database(change, url.user()).await?,
    };
    if let Some(password) = url.password() {
        match others {
            // A copy of this database, or what it is a copy of: whoever works there keeps working.
            Some(other) if !takes_password(url).await => {
                return Err(Error::LoginServesAnother { login: url.user().to_owned(), other });
            }
            Some(_) => {}
            None => {
                // Hashed here, so that the password is in no statement that a server might log.
                let verifier = literal(&scram_sha_256(password));
                change.batch_execute(&format!("ALTER ROLE {login} LOGIN PASSWORD {verifier}")).await?;
            }
        }
    }
    // Every name in our statements is qualified; a table of the same name elsewhere must never be found.
    Ok(change.batch_execute(&format!("ALTER ROLE {login} SET search_path = ''")).await?)
}

/// As [`ensure`]; and what a loader needs: no rights that it did not ask for, no transaction left standing, no statement
/// without an end, and none of it (nor its locks) kept for a host that is gone.
pub(super) async fn ensure_loader(
    change: &Change<'_>,
    url: &DatabaseUrl,
    claim: &Claim<'_>,
) -> Result<(), Error> {
    ensure(change, url, claim).await?;
    if url.user() == change.by.login {
        return Ok(());
    }
    let login = quoted(url.user());
    let sql = format!(
        "ALTER ROLE {login} NOINHERIT; \
         ALTER ROLE {login} SET idle_in_transaction_session_timeout = '10s'; \
         ALTER ROLE {login} SET statement_timeout = '10s'; ALTER ROLE {login} SET lock_timeout = '10s'; \
         ALTER ROLE {login} SET tcp_keepalives_idle = 10; ALTER ROLE {login} SET tcp_keepalives_interval = 5; \
         ALTER ROLE {login} SET tcp_keepalives_count = 3"
    );
    Ok(change.batch_execute(&sql).await?)
}

/// Another database of the cluster whose list of rights lets this login in.
async fn other_database(change: &Change<'_>, login: &str) -> Result<Option<String>, Error> {
    Ok(change.query_opt(claim::OTHER_DATABASE, &[&login]).await?.map(|row| row.get(0)))
}

/// Whether the URL's password is the login's already. Postgres looks at it before it looks at the database.
async fn takes_password(url: &DatabaseUrl) -> bool {
    match connect(url).await {
        Ok(_) => true,
        Err(Error::Connect { source, .. }) => source.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE),
        Err(_) => false,
    }
}

/// Gives both logins their rights and nothing else; takes everything from logins that `former` named and the
/// installation no longer does.
pub(super) async fn grant(
    change: &Change<'_>,
    installation: &Installation,
    former: Option<&Installation>,
) -> Result<(), Error> {
    let own = &change.by.login;
    let database = quoted(&change.by.database);
    let (intake, loader) = (&installation.intake_login, &installation.loader_login);
    let former = former.map(|former| [&former.intake_login, &former.loader_login]).into_iter().flatten();
    for login in former.filter(|login| ![intake, loader, own].contains(login)) {
        if role_exists(change, login).await? {
            change.batch_execute(&revoke_all(&database, login)).await?;
        }
    }
    for (login, rights) in [(intake, INTAKE), (loader, LOADER)] {
        if login == own {
            continue;
        }
        change.batch_execute(&revoke_all(&database, login)).await?;
        let to = quoted(login);
        change
            .batch_execute(&format!(
                "GRANT CONNECT ON DATABASE {database} TO {to}; GRANT USAGE ON SCHEMA rollbook TO {to}"
            ))
            .await?;
        for right in rights {
            change.batch_execute(&format!("GRANT {right} TO {to}")).await?;
        }
    }
    Ok(())
}

fn revoke_all(database: &str, login: &str) -> String {
    let login = quoted(login);
    format!(
        "REVOKE ALL ON DATABASE {database} FROM {login}; REVOKE ALL ON SCHEMA rollbook FROM {login}; \
         REVOKE ALL ON ALL TABLES IN SCHEMA rollbook FROM {login};"
    )
}

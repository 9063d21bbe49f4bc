//! The service's two logins, with exactly the rights that they need.
//!
//! A login that is the administrator's own is left alone: for development, one login can be all three.

use postgres_protocol::password::scram_sha_256;

use super::{Plan, role_exists};
use crate::config::DatabaseUrl;
use crate::store::roles::{self, literal, quoted};
use crate::store::{Admin, Error, Installation, retry};

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
pub(super) async fn refuse_superusers(admin: &Admin, plan: &Plan) -> Result<(), Error> {
    for login in [plan.intake.user(), plan.loader.user()] {
        let sql = "SELECT FROM pg_roles WHERE rolname = $1 AND rolsuper";
        let is_superuser = admin.client.query_opt(sql, &[&login]).await?.is_some();
        if is_superuser && login != admin.login() {
            return Err(Error::LoginIsSuperuser { login: login.to_owned() });
        }
    }
    Ok(())
}

/// Makes a login with the name and password of a URL, or sets the password of the one that is there.
pub(super) async fn ensure(admin: &mut Admin, url: &DatabaseUrl) -> Result<(), Error> {
    if url.user() == admin.login() {
        return Ok(());
    }
    retry::on_conflict(async || {
        let share = admin.must_share_roles().then(|| admin.owner().to_owned());
        let transaction = admin.client.transaction().await?;
        let login = quoted(url.user());
        if !role_exists(&transaction, url.user()).await? {
            transaction.batch_execute(&format!("CREATE ROLE {login} LOGIN NOINHERIT")).await?;
            roles::share_role(&transaction, url.user(), share.as_deref()).await?;
        }
        if let Some(password) = url.password() {
            // Hashed here, so that the password is in no statement that a server might log.
            let verifier = literal(&scram_sha_256(password));
            transaction.batch_execute(&format!("ALTER ROLE {login} LOGIN PASSWORD {verifier}")).await?;
        }
        // Every name in our statements is qualified; a table of the same name elsewhere must never be found.
        transaction.batch_execute(&format!("ALTER ROLE {login} SET search_path = ''")).await?;
        Ok(transaction.commit().await?)
    })
    .await
}

/// As [`ensure`]; and what a loader needs: no rights that it did not ask for, no transaction left standing, no statement
/// without an end, and none of it (nor its locks) kept for a host that is gone.
pub(super) async fn ensure_loader(admin: &mut Admin, url: &DatabaseUrl) -> Result<(), Error> {
    ensure(admin, url).await?;
    if url.user() == admin.login() {
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
    retry::on_conflict(async || Ok(admin.client.batch_execute(&sql).await?)).await
}

/// Gives both logins their rights and nothing else; takes everything from logins that `former` named and the
/// installation no longer does.
pub(super) async fn grant(
    admin: &mut Admin,
    installation: &Installation,
    former: Option<&Installation>,
) -> Result<(), Error> {
    let own = admin.login().to_owned();
    let database = quoted(admin.database());
    let transaction = admin.client.transaction().await?;

    let (intake, loader) = (&installation.intake_login, &installation.loader_login);
    let former = former.map(|former| [&former.intake_login, &former.loader_login]).into_iter().flatten();
    for login in former.filter(|login| ![intake, loader, &own].contains(login)) {
        if role_exists(&transaction, login).await? {
            transaction.batch_execute(&revoke_all(&database, login)).await?;
        }
    }
    for (login, rights) in [(intake, INTAKE), (loader, LOADER)] {
        if *login == own {
            continue;
        }
        transaction.batch_execute(&revoke_all(&database, login)).await?;
        let to = quoted(login);
        transaction
            .batch_execute(&format!(
                "GRANT CONNECT ON DATABASE {database} TO {to}; GRANT USAGE ON SCHEMA rollbook TO {to}"
            ))
            .await?;
        for right in rights {
            transaction.batch_execute(&format!("GRANT {right} TO {to}")).await?;
        }
    }
    Ok(transaction.commit().await?)
}

fn revoke_all(database: &str, login: &str) -> String {
    let login = quoted(login);
    format!(
        "REVOKE ALL ON DATABASE {database} FROM {login}; REVOKE ALL ON SCHEMA rollbook FROM {login}; \
         REVOKE ALL ON ALL TABLES IN SCHEMA rollbook FROM {login};"
    )
}

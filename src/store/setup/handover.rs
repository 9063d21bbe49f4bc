//! When another login becomes the loader, the way into every organization goes from the one to the other.

use tokio_postgres::Transaction;

use super::role_exists;
use crate::store::roles::quoted;
use crate::store::{Admin, Error, Installation, grants};

/// Moves the memberships in one transaction; nothing, where the loader's login stays what it was.
pub(super) async fn hand_over(
    admin: &mut Admin,
    installation: &Installation,
    former: Option<&Installation>,
) -> Result<(), Error> {
    let Some(former) = former.map(|former| &former.loader_login) else { return Ok(()) };
    if *former == installation.loader_login {
        return Ok(());
    }
    let writers = "SELECT rolname::text FROM pg_roles, rollbook.organization \
                   WHERE rolname = $1 || 'org_' || slug AND state <> 'removed'";
    let writers = admin.client.query(writers, &[&installation.prefix.as_str()]).await?;
    let writers: Vec<String> = writers.iter().map(|row| row.get(0)).collect();
    let grants: Vec<String> =
        writers.iter().map(|writer| grants::membership(admin, installation, writer)).collect();
    let login = admin.login().to_owned();

    let transaction = admin.client.transaction().await?;
    if role_exists(&transaction, former).await? {
        for writer in &writers {
            transaction.batch_execute(&format!("REVOKE {} FROM {}", quoted(writer), quoted(former))).await?;
        }
        refuse_if_still_a_member(&transaction, &login, former, &writers).await?;
    }
    for grant in grants {
        transaction.batch_execute(&grant).await?;
    }
    Ok(transaction.commit().await?)
}

/// From PostgreSQL 16 on a membership can only be taken by whoever gave it, or more than that; Postgres merely warns.
async fn refuse_if_still_a_member(
    transaction: &Transaction<'_>,
    login: &str,
    former: &str,
    writers: &[String],
) -> Result<(), Error> {
    let sql = "SELECT pg_get_userbyid(roleid)::text FROM pg_auth_members \
               WHERE pg_get_userbyid(member) = $1 AND pg_get_userbyid(roleid) = ANY ($2) LIMIT 1";
    let left = transaction.query_opt(sql, &[&former, &writers]).await?;
    left.map_or(Ok(()), |row| {
        let missing = format!(
            "the right to take `{}` from `{former}`, which another administrator gave it: run setup as a superuser",
            row.get::<_, &str>(0)
        );
        Err(Error::AdministratorLacks { login: login.to_owned(), missing: vec![missing] })
    })
}

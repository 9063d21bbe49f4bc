//! When another login becomes the loader, the way into every organization goes from the one to the other.

use super::role_exists;
use crate::store::change::Change;
use crate::store::roles::quoted;
use crate::store::{Error, Installation, grants};

/// Moves the memberships; nothing, where the loader's login stays what it was.
pub(super) async fn hand_over(
    change: &Change<'_>,
    installation: &Installation,
    former: Option<&Installation>,
) -> Result<(), Error> {
    let Some(former) = former.map(|former| &former.loader_login) else { return Ok(()) };
    if *former == installation.loader_login {
        return Ok(());
    }
    let writers = "SELECT rolname::text FROM pg_roles, rollbook.organization \
                   WHERE rolname = $1 || 'org_' || slug AND state <> 'removed'";
    let writers = change.query(writers, &[&installation.prefix.as_str()]).await?;
    let writers: Vec<String> = writers.iter().map(|row| row.get(0)).collect();
    if role_exists(change, former).await? {
        for writer in &writers {
            change.batch_execute(&format!("REVOKE {} FROM {}", quoted(writer), quoted(former))).await?;
        }
        refuse_if_still_a_member(change, former, &writers).await?;
    }
    for writer in &writers {
        change.batch_execute(&grants::membership(change, installation, writer)).await?;
    }
    Ok(())
}

/// From PostgreSQL 16 on a membership can only be taken by whoever gave it, or more than that; Postgres merely warns.
async fn refuse_if_still_a_member(
    change: &Change<'_>,
    former: &str,
    writers: &[String],
) -> Result<(), Error> {
    let sql = "SELECT pg_get_userbyid(roleid)::text FROM pg_auth_members \
               WHERE pg_get_userbyid(member) = $1 AND pg_get_userbyid(roleid) = ANY ($2) LIMIT 1";
    let left = change.query_opt(sql, &[&former, &writers]).await?;
    left.map_or(Ok(()), |row| {
        let missing = format!(
            "the right to take `{}` from `{former}`, which another administrator gave it: run setup as a superuser",
            row.get::<_, &str>(0)
        );
        Err(Error::AdministratorLacks { login: change.by.login.clone(), missing: vec![missing] })
    })
}

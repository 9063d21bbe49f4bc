//! When another login becomes the loader, the way into every organization goes from the one to the other.

use tokio_postgres::types::ToSql;

use super::role_exists;
use crate::store::change::Change;
use crate::store::roles::{Mark, quoted};
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
    let writers: [&(dyn ToSql + Sync); 3] =
        [&installation.prefix.as_str(), &Mark::OF_ANY_ORGANIZATION, former];
    let writers = change.query(WRITERS, &writers).await?;
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

/// `$1` the prefix, `$2` how an organization's mark begins, `$3` the former login. A name alone is no writer of ours; one that lost
/// its mark is, where the former login is a member of it.
const WRITERS: &str = "
    SELECT rolname::text FROM pg_roles AS writer JOIN rollbook.organization ON rolname = $1 || 'org_' || slug,
         LATERAL shobj_description(writer.oid, 'pg_authid') AS mark
    WHERE state <> 'removed'
      AND (mark = $2 || id
           OR mark IS NULL AND EXISTS (SELECT FROM pg_auth_members
                                       WHERE roleid = writer.oid AND pg_get_userbyid(member) = $3))";

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

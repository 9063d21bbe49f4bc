//! When the database was given to another owner, what setup and provisioning made in it goes along.
//!
//! Postgres changes the owner of the database alone. The new one could then not even read the control schema, although
//! it has all that is asked of an administrator.

use crate::store::roles::{self, Mark, quoted};
use crate::store::{Admin, Error, Installation, retry};

/// Gives the owner of the database what belongs to another in schemas of ours, in one transaction; nothing, where it
/// has everything already. What somebody else made there stays theirs.
pub(super) async fn follow_the_database(admin: &mut Admin) -> Result<(), Error> {
    retry::on_conflict(async || {
        let owner = quoted(admin.owner());
        let mark = Mark::of_installation(admin.database());
        let transaction = admin.client.transaction().await?;
        for row in transaction.query(LEFT_BEHIND, &[&mark.as_str(), &Mark::OF_ANY_ORGANIZATION]).await? {
            transaction.batch_execute(&format!("ALTER {} OWNER TO {owner}", row.get::<_, &str>(0))).await?;
        }
        Ok(transaction.commit().await?)
    })
    .await
}

/// `$1` the mark of the control schema, `$2` how those of organizations begin. A mark is no proof: who may create schemas
/// may write one, and must not have a function of theirs made the administrator's. So only what the control schema's owner
/// has, or a superuser, goes along. Tables, views and free sequences are all `TABLE` here; those of a column go with their
/// table. Names are qualified, for nothing is on an administrator's path.
const LEFT_BEHIND: &str = "
    WITH ours AS (
        SELECT n.oid, nspname, nspowner FROM pg_namespace n, pg_database
        WHERE datname = current_database() AND nspowner <> datdba
          AND nspowner IN (SELECT nspowner FROM pg_namespace WHERE nspname = 'rollbook'
                           UNION ALL SELECT oid FROM pg_roles WHERE rolsuper)
          AND (obj_description(n.oid, 'pg_namespace') = $1
               OR starts_with(obj_description(n.oid, 'pg_namespace'), $2)))
    SELECT format('SCHEMA %I', nspname) FROM ours
    UNION ALL
    SELECT format('TABLE %s', c.oid::regclass) FROM pg_class c JOIN ours ON relnamespace = ours.oid
    WHERE relowner = nspowner AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid
                         AND refobjsubid > 0 AND deptype IN ('a', 'i'))
    UNION ALL
    SELECT format('ROUTINE %s', p.oid::regprocedure) FROM pg_proc p JOIN ours ON pronamespace = ours.oid
    WHERE proowner = nspowner";

/// Lets a new owner grant and drop the roles that were made before it came (see [`Admin::must_share_roles`]).
pub(super) async fn share_roles(admin: &mut Admin, installation: &Installation) -> Result<(), Error> {
    if !(admin.is_superuser() && admin.must_share_roles()) {
        return Ok(());
    }
    let owner = admin.owner().to_owned();
    let mark = Mark::of_installation(admin.database());
    let logins = [&installation.intake_login, &installation.loader_login];
    let transaction = admin.client.transaction().await?;
    let unshared = transaction
        .query(UNSHARED, &[&mark.as_str(), &Mark::OF_ANY_ORGANIZATION, &logins.as_slice(), &owner])
        .await?;
    for row in unshared {
        roles::share_role(&transaction, row.get(0), Some(&owner)).await?;
    }
    Ok(transaction.commit().await?)
}

/// `$1` and `$2` as above, `$3` the service's logins, `$4` the owner.
const UNSHARED: &str = "
    SELECT rolname::text FROM pg_roles AS made
    WHERE (rolname = ANY ($3) OR shobj_description(made.oid, 'pg_authid') = $1
           OR shobj_description(made.oid, 'pg_authid') IN (SELECT $2 || id FROM rollbook.organization))
      AND rolname <> $4
      AND NOT EXISTS (SELECT FROM pg_auth_members
                      WHERE roleid = made.oid AND pg_get_userbyid(member) = $4 AND admin_option)";

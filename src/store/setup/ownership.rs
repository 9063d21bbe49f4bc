//! When the database was given to another owner, what setup and provisioning made in it goes along.
//!
//! Postgres changes the owner of the database alone. The new one could then not even read the control schema, although
//! it has all that is asked of an administrator.

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::store::change::Change;
use crate::store::roles::{self, Mark, quoted};
use crate::store::{Admin, Error, Installation, retry};

/// Gives the owner of the database what belongs to another in schemas of ours; nothing, where it has everything already.
/// What somebody else made there stays theirs. Each schema is one transaction, for each table takes locks until its end, and
/// the control schema comes last: as long as it is the former owner's, a setup that was interrupted is one to repeat.
pub(super) async fn follow_the_database(admin: &mut Admin) -> Result<(), Error> {
    let owner = quoted(&admin.who().owner);
    let marks: [&(dyn ToSql + Sync); 2] = [&Mark::OF_ANY_INSTALLATION, &Mark::OF_ANY_ORGANIZATION];
    let schemas = admin.client.query(LEFT_BEHIND, &marks).await?;
    for schema in schemas {
        let things: Vec<String> = schema.get(0);
        let hand_over: String =
            things.iter().map(|thing| format!("ALTER {thing} OWNER TO {owner}; ")).collect();
        retry::on_conflict(async || {
            let change = admin.begin().await?;
            super::keep_others_out(&change).await?;
            change.batch_execute(&hand_over).await?;
            change.commit().await
        })
        .await?;
    }
    Ok(())
}

/// `$1` how the mark of the control schema begins, `$2` how those of organizations do. A mark is no proof: who may create schemas
/// may write one, and must not have a function of theirs made the administrator's. So only what a former administrator
/// has goes along: the control schema's owner, or a superuser; and who was neither superuser nor could make roles was none.
/// Tables, views and free sequences are all `TABLE` here; those of a column go with their table. Names are qualified, for
/// nothing is on an administrator's path.
const LEFT_BEHIND: &str = "
    WITH ours AS (
        SELECT n.oid, nspname, nspowner FROM pg_namespace n, pg_database
        WHERE datname = current_database() AND nspowner <> datdba
          AND nspowner IN (SELECT oid FROM pg_roles WHERE rolsuper OR rolcreaterole
                             AND oid = (SELECT nspowner FROM pg_namespace WHERE nspname = 'rollbook'))
          AND (nspname = 'rollbook' AND starts_with(obj_description(n.oid, 'pg_namespace'), $1)
               OR starts_with(obj_description(n.oid, 'pg_namespace'), $2))),
    things AS (
        SELECT nspname, format('SCHEMA %I', nspname) AS thing FROM ours
        UNION ALL
        SELECT nspname, format('TABLE %s', c.oid::regclass) FROM pg_class c JOIN ours ON relnamespace = ours.oid
        WHERE relowner = nspowner AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
          AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid
                             AND refobjsubid > 0 AND deptype IN ('a', 'i'))
        UNION ALL
        SELECT nspname, format('ROUTINE %s', p.oid::regprocedure) FROM pg_proc p JOIN ours ON pronamespace = ours.oid
        WHERE proowner = nspowner)
    SELECT array_agg(thing) FROM things GROUP BY nspname ORDER BY nspname = 'rollbook', nspname";

/// Lets a new owner grant and drop the roles that were made before it came (see
/// [`Administrator::must_share_roles`](crate::store::admin::Administrator::must_share_roles)).
pub(super) async fn share_roles(
    change: &Change<'_>,
    installation: &Installation,
    id: Uuid,
) -> Result<(), Error> {
    if !(change.by.is_superuser && change.by.must_share_roles()) {
        return Ok(());
    }
    let mark = Mark::of_installation(id);
    let logins = [&installation.intake_login, &installation.loader_login];
    let unshared = change
        .query(UNSHARED, &[&mark.as_str(), &Mark::OF_ANY_ORGANIZATION, &logins.as_slice(), &change.by.owner])
        .await?;
    for row in unshared {
        roles::share_role(change, row.get(0)).await?;
    }
    Ok(())
}

/// `$1` the installation's mark, `$2` how those of organizations begin, `$3` the service's logins, `$4` the owner. A
/// superuser's own login is not ours to share.
const UNSHARED: &str = "
    SELECT rolname::text FROM pg_roles AS made
    WHERE (rolname = ANY ($3) OR shobj_description(made.oid, 'pg_authid') = $1
           OR shobj_description(made.oid, 'pg_authid') IN (SELECT $2 || id FROM rollbook.organization))
      AND rolname <> $4 AND NOT rolsuper
      AND NOT EXISTS (SELECT FROM pg_auth_members
                      WHERE roleid = made.oid AND pg_get_userbyid(member) = $4 AND admin_option)";

//! What everybody may do in a database by Postgres' own rules, and may not in an installation's.

use super::role_exists;
use crate::store::change::Change;
use crate::store::migrations::CONTROL_SCHEMA;
use crate::store::roles::quoted;
use crate::store::{Error, Installation};

/// Whoever may log in to the cluster may not even connect here, unless a role of ours says so.
pub(super) async fn close_database(change: &Change<'_>, installation: &Installation) -> Result<(), Error> {
    let database = quoted(&change.by.database);
    let readers = quoted(&installation.readers_role());
    // Some drop it from every database that they make.
    let has_public = "SELECT to_regnamespace('public') IS NOT NULL";
    let in_public = match change.query_one(has_public, &[]).await?.get(0) {
        true => "REVOKE CREATE ON SCHEMA public FROM PUBLIC; ",
        false => "",
    };
    change
        .batch_execute(&format!(
            "REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC; {in_public}\
             REVOKE ALL ON SCHEMA {CONTROL_SCHEMA} FROM PUBLIC; \
             GRANT CONNECT ON DATABASE {database} TO {readers}"
        ))
        .await?;
    Ok(())
}

/// Takes from everybody what Postgres gives everybody, and what reaches beyond one's own schema: advisory locks, of which one
/// analyst's session could take so many that the server has none left for anybody; and large objects, which outlive their
/// organization and can be shown to all. Only a superuser may; without it the administrator's and the loader's work goes on all
/// the same.
pub(super) async fn close_what_reaches_others(
    change: &Change<'_>,
    installation: &Installation,
    former: Option<&Installation>,
) -> Result<(), Error> {
    let loader = &installation.loader_login;
    if !change.by.is_superuser {
        return give_what_draining_takes(change, loader).await;
    }
    let functions = change.query(REACHING_OTHERS, &[]).await?;
    let all: Vec<&str> = functions.iter().map(|row| row.get(0)).collect();
    let locks: Vec<&str> = functions.iter().filter(|row| row.get(1)).map(|row| row.get(0)).collect();
    let mut from = vec!["PUBLIC".to_owned()];
    if let Some(former) = former.map(|former| &former.loader_login).filter(|former| *former != loader)
        && role_exists(change, former).await?
    {
        from.push(quoted(former));
    }
    let (owner, loader) = (quoted(&change.by.owner), quoted(loader));
    change
        .batch_execute(&format!(
            "REVOKE EXECUTE ON FUNCTION {all} FROM {from}; \
             GRANT EXECUTE ON FUNCTION {locks} TO {owner} WITH GRANT OPTION; GRANT EXECUTE ON FUNCTION {locks} TO {loader}",
            all = all.join(", "),
            from = from.join(", "),
            locks = locks.join(", "),
        ))
        .await?;
    Ok(())
}

/// The owner gives on what a superuser's setup gave it; without such a setup everybody has it.
async fn give_what_draining_takes(change: &Change<'_>, loader: &str) -> Result<(), Error> {
    const LOCK: &str = "pg_catalog.pg_try_advisory_xact_lock(bigint)";
    let has = "SELECT has_function_privilege($1, $2, 'EXECUTE'), \
                      has_function_privilege($3, $2, 'EXECUTE WITH GRANT OPTION')";
    let has = change.query_one(has, &[&loader, &LOCK, &change.by.owner]).await?;
    let grant = format!("GRANT EXECUTE ON FUNCTION {LOCK} TO {}", quoted(loader));
    match (has.get(0), has.get(1)) {
        (true, _) => Ok(()),
        (false, true) => Ok(change.batch_execute(&grant).await?),
        (false, false) => {
            let missing =
                format!("what `{loader}` needs to drain held records and only a superuser can give: {grant}");
            Err(Error::AdministratorLacks { login: change.by.login.clone(), missing: vec![missing] })
        }
    }
}

/// Each with its arguments, and whether it is about advisory locks.
const REACHING_OTHERS: &str = "
    SELECT oid::regprocedure::text, proname ~ 'advisory' FROM pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace
      AND (proname ~ '^pg_(try_)?advisory_(xact_)?lock(_shared)?$' OR proname IN ('lo_creat', 'lo_create', 'lo_from_bytea'))";

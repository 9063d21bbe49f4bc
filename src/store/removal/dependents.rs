//! What would go with a schema and is not in it.

use tokio_postgres::GenericClient;

/// In Postgres' words, sorted; empty: nothing.
pub(super) async fn list(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Vec<String>, tokio_postgres::Error> {
    Ok(client.query(OUTSIDE, &[&schema]).await?.iter().map(|row| row.get(0)).collect())
}

/// `$1` the schema. As Postgres itself goes about a DROP … CASCADE: what depends on something that goes, goes; and of
/// what is only an inner part of another, such as a view's rule, the whole goes. What goes because it belongs to
/// something inside (an index, a trigger) is inside; what belongs to something else that goes is named by that.
const OUTSIDE: &str = "
    WITH RECURSIVE going (classid, objid, objsubid) AS (
        SELECT 'pg_namespace'::regclass::oid, oid, 0 FROM pg_namespace WHERE nspname = $1
        UNION
        SELECT next.* FROM going, LATERAL (
            SELECT classid, objid, objsubid FROM pg_depend
            WHERE refclassid = going.classid AND refobjid = going.objid
              AND (going.objsubid = 0 OR refobjsubid = going.objsubid)
            UNION ALL
            SELECT refclassid, refobjid, refobjsubid FROM pg_depend
            WHERE classid = going.classid AND objid = going.objid AND deptype = 'i') AS next),
    inside (classid, objid) AS (
        SELECT 'pg_namespace'::regclass::oid, oid FROM pg_namespace WHERE nspname = $1
        UNION
        SELECT d.classid, d.objid FROM pg_depend d JOIN inside ON refclassid = inside.classid AND refobjid = inside.objid
        WHERE (deptype IN ('a', 'i', 'P', 'S') AND NOT EXISTS (
                   SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                   WHERE d.classid = 'pg_class'::regclass AND c.oid = d.objid AND nspname <> $1
                     AND nspname <> 'pg_toast')
               OR inside.classid = 'pg_namespace'::regclass AND d.classid <> 'pg_extension'::regclass)
          AND d.objsubid = 0),
    outside AS (
        SELECT * FROM going WHERE (classid, objid) NOT IN (SELECT * FROM inside))
    SELECT DISTINCT pg_describe_object(classid, objid, objsubid)
    FROM outside
    WHERE NOT EXISTS (
        SELECT FROM pg_depend d JOIN outside AS whole
            ON d.refclassid = whole.classid AND d.refobjid = whole.objid
               AND (whole.objsubid = 0 OR d.refobjsubid = whole.objsubid)
        WHERE d.classid = outside.classid AND d.objid = outside.objid AND d.deptype IN ('a', 'i', 'P', 'S', 'e')
          AND (whole.classid, whole.objid) IS DISTINCT FROM (outside.classid, outside.objid))
    ORDER BY 1";

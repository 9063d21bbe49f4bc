//! Trouble stays at home: one organization's schema is broken, locked or slow, and its neighbour is measured.

use std::time::{Duration, Instant};

use rollbook::config::log::LogKind;
use rollbook::event::UnixMillis;

use super::{Clients, Ground, Habit};
use crate::harness::{Service, eventually};

// The others differ in what they break alone, and take their time.
on_each_log![
    a_schema_that_is_renamed_hurts_no_neighbour,
    a_table_that_is_locked_hurts_no_neighbour,
    a_flood_over_the_memory_of_a_lane_hurts_no_neighbour,
];

/// How the neighbour fares for a while.
#[derive(Clone, Copy, Debug)]
struct Fares {
    rows_per_second: f64,
    /// How old the newest row is, in the worst of many looks.
    oldest: Duration,
}

/// Long enough for a lock or a statement to time out meanwhile.
const WHILE: Duration = Duration::from_secs(4);

async fn birch_fares(ground: &Ground) -> Fares {
    let client = ground.superuser().await;
    let look = "SELECT count(*), (extract(epoch FROM max(received_at)) * 1000)::bigint FROM org_birch.event";
    let look = async || {
        let row = client.query_one(look, &[]).await.expect("the neighbour's schema is well");
        let age_ms = UnixMillis::now().0 - row.get::<_, i64>(1);
        (row.get::<_, i64>(0), Duration::from_millis(age_ms.max(0).unsigned_abs()))
    };
    let (started, (before, mut oldest)) = (Instant::now(), look().await);
    let mut rows = before;
    while started.elapsed() < WHILE {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (now, age) = look().await;
        (rows, oldest) = (now, oldest.max(age));
    }
    let gained = u32::try_from(rows - before).expect("few");
    Fares { rows_per_second: f64::from(gained) / started.elapsed().as_secs_f64(), oldest }
}

/// Acme's schema is hurt under load and healed, and birch, in the same partition or another, goes on as before.
async fn only_acme_suffers<T>(log: LogKind, hurt: impl AsyncFnOnce(&Ground) -> T, heal: &str) {
    let ground = Ground::on(log, &["acme", "birch"]).await;
    let running = ground.running().await;
    only_acme_suffers_with(ground, running, hurt, ACME_IS_HELD, heal).await;
}

/// Above 0 once acme is hurt: its records are held.
const ACME_IS_HELD: &str = "SELECT count(*) FROM rollbook.held_record";
/// The same: it is late.
const ACME_IS_LATE: &str =
    "SELECT (now() - max(received_at) > interval '3 s')::integer::bigint FROM org_acme.event";

async fn only_acme_suffers_with<T>(
    ground: Ground,
    (intake, _loader): (Option<Service>, Service),
    hurt: impl AsyncFnOnce(&Ground) -> T,
    is_hurt: &str,
    heal: &str,
) {
    if let Some(intake) = &intake {
        intake.becomes_ready().await;
    }
    let mut clients = Clients::new();
    for organization in &ground.organizations {
        clients.add(ground.client(organization), Habit::Retries, 40, Duration::from_millis(20));
    }
    ground.gains(400).await;
    let calm = birch_fares(&ground).await;
    let trouble = hurt(&ground).await;
    eventually("acme is hurt", async || ground.number(is_hurt).await > 0).await;
    let meanwhile = birch_fares(&ground).await;
    drop(trouble);
    ground.execute(heal).await;
    ground.gains(400).await;
    let all = ground.reckon(clients).await;
    assert_eq!((all.dead, all.failures), (0, 0), "{all:?}");

    eprintln!(
        "the neighbour: {:.0} rows/s, {:?} at the oldest; meanwhile {:.0} rows/s ({:+.1} %), {:?}",
        calm.rows_per_second,
        calm.oldest,
        meanwhile.rows_per_second,
        (meanwhile.rows_per_second / calm.rows_per_second - 1.0) * 100.0,
        meanwhile.oldest,
    );
    // The promise is a tenth of the rate and none of the freshness, and the figures above are for whoever measures on a
    // machine of their own. What no noise excuses is a neighbour that waits for what acme waits for.
    assert!(meanwhile.rows_per_second > 0.0, "{calm:?} {meanwhile:?}");
    assert!(meanwhile.oldest < calm.oldest + Duration::from_secs(8), "{calm:?} {meanwhile:?}");
}

/// Says something of the role that writes acme's rows, whatever prefix it has.
macro_rules! on_the_writer {
    ($said:literal) => {
        concat!(
            "DO $$ BEGIN EXECUTE format('",
            $said,
            " %I', (SELECT rolname FROM pg_roles WHERE rolname LIKE '%org_acme')); END $$"
        )
    };
}

async fn broken_by(log: LogKind, sql: &'static str, heal: &str) {
    only_acme_suffers(log, async |ground: &Ground| ground.execute(sql).await, heal).await;
}

async fn a_schema_that_is_renamed_hurts_no_neighbour(log: LogKind) {
    broken_by(log, "ALTER SCHEMA org_acme RENAME TO gone", "ALTER SCHEMA gone RENAME TO org_acme").await;
}

#[tokio::test]
async fn a_column_that_is_dropped_hurts_no_neighbour() {
    // No event here has the column, so that nothing is lost by dropping it.
    broken_by(
        LogKind::Kafka,
        "ALTER TABLE org_acme.event DROP COLUMN attempt CASCADE",
        "ALTER TABLE org_acme.event ADD COLUMN attempt smallint",
    )
    .await;
}

#[tokio::test]
async fn a_privilege_that_is_revoked_hurts_no_neighbour() {
    let (revoke, grant) = (
        on_the_writer!("REVOKE INSERT ON org_acme.event FROM"),
        on_the_writer!("GRANT INSERT ON org_acme.event TO"),
    );
    broken_by(LogKind::Kafka, revoke, grant).await;
}

#[tokio::test]
async fn a_schema_whose_version_is_unknown_hurts_no_neighbour() {
    broken_by(
        LogKind::Kafka,
        "UPDATE rollbook.organization SET schema_version = schema_version + 1000 WHERE slug = 'acme'",
        "UPDATE rollbook.organization SET schema_version = schema_version - 1000 WHERE slug = 'acme'",
    )
    .await;
}

async fn a_table_that_is_locked_hurts_no_neighbour(log: LogKind) {
    let hurt = async |ground: &Ground| {
        let locker = ground.superuser().await;
        locker.batch_execute("BEGIN; LOCK TABLE org_acme.event").await.expect("a lock");
        locker
    };
    only_acme_suffers(log, hurt, "SELECT").await;
}

#[tokio::test]
async fn a_schema_that_is_slow_hurts_no_neighbour() {
    broken_by(
        LogKind::Kafka,
        "CREATE FUNCTION org_acme.doze() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$; \
         CREATE TRIGGER doze BEFORE INSERT ON org_acme.event FOR EACH STATEMENT EXECUTE FUNCTION org_acme.doze()",
        "DROP FUNCTION org_acme.doze() CASCADE",
    )
    .await;
}

async fn a_flood_over_the_memory_of_a_lane_hurts_no_neighbour(log: LogKind) {
    let ground = Ground::on(log, &["acme", "birch"]).await;
    let little = ground.loader_to_be().env("ROLLBOOK_LOADER_LANE_MEMORY_BYTES", "131072");
    let loader = ground.start(little).await;
    loader.becomes_ready().await;
    let intake = match log {
        LogKind::Kafka => Some(ground.intake().await),
        LogKind::Embedded => None,
    };
    // Acme takes every statement, but more slowly than its records come.
    let hurt = async |ground: &Ground| {
        ground
            .execute(
                "CREATE FUNCTION org_acme.dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$; \
                 CREATE TRIGGER dawdle BEFORE INSERT ON org_acme.event FOR EACH STATEMENT EXECUTE FUNCTION org_acme.dawdle()",
            )
            .await;
    };
    let heal = "DROP FUNCTION org_acme.dawdle() CASCADE";
    only_acme_suffers_with(ground, (intake, loader), hurt, ACME_IS_LATE, heal).await;
}

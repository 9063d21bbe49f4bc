//! How a held lane comes back by itself: in parts that are small enough, and whatever goes on coming.

use super::super::lane::Turn;
use super::driver::Driver;
use super::events::{event, events, record};
use super::site::Site;

/// Each row takes fifty milliseconds, and a statement a second at most: what is held as a whole would never be drained.
#[tokio::test]
async fn what_takes_too_long_as_a_whole_is_drained_in_parts() {
    let site = Site::with(&["acme"]).await;
    let acme = site.id("acme");
    site.execute(
        "CREATE FUNCTION org_acme.slow() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_catalog.pg_sleep(0.05); RETURN NEW; END'; \
         CREATE TRIGGER slow BEFORE INSERT ON org_acme.event FOR EACH ROW EXECUTE FUNCTION org_acme.slow()",
    )
    .await;
    let shared = site.shared_with(site.organizations(), |settings| {
        settings.transaction.batch_rows = 60;
        settings.transaction.lock_timeout = std::time::Duration::from_millis(500);
        settings.transaction.statement_timeout = std::time::Duration::from_secs(1);
    });
    let mut driver = Driver::new(&shared);
    driver.give_all((0..12_u32).map(|offset| {
        let ids = 100 * u128::from(offset);
        record(acme, offset.into(), &events(ids..ids + 5))
    }));
    driver.until("they are drained", |driver| driver.turns_of(acme).contains(&&Turn::Drained)).await;
    let turns = driver.turns_of(acme);
    assert!(
        matches!(turns[..], [Turn::Held(reason), Turn::Drained] if reason.starts_with("57014: ")),
        "{turns:?}"
    );
    assert_eq!((site.held().await.len(), site.totals("acme").await), (0, vec!["3|12|60|0|0".to_owned()]));
}

/// Records go on coming without a pause: there is always one pending.
#[tokio::test]
async fn a_schema_that_is_well_again_is_drained_though_its_records_go_on_coming() {
    let site = Site::with(&["acme"]).await;
    let acme = site.id("acme");
    site.execute("ALTER TABLE org_acme.event RENAME TO away").await;
    let shared = site.shared(site.organizations());
    let mut driver = Driver::new(&shared);
    driver.give(record(acme, 0, &[event(0)]));
    driver.until("it is held", |driver| !driver.turns_of(acme).is_empty()).await;
    site.execute("ALTER TABLE org_acme.away RENAME TO event").await;
    let mut next = 1_u32;
    while !driver.turns_of(acme).contains(&&Turn::Drained) {
        driver.give(record(acme, next.into(), &[event(next.into())]));
        next += 1;
        let given = i64::from(next);
        driver
            .until("all but the last is safe", |driver| {
                driver.partition().low_water() >= given - 1 || driver.turns_of(acme).len() > 1
            })
            .await;
        assert!(next < 100_000, "it is never drained");
    }
    driver.until_all_is_safe().await;
    assert_eq!(site.contents("acme").await[0], i64::from(next));
}

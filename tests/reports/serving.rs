//! The role `reporter` of a running service.

use rollbook::report::ReportError;
use serde_json::Value;

use super::{Row, a_site, catch_up, insert};
use crate::harness::{Form, Service, Site, eventually, played};

#[tokio::test]
async fn what_is_sent_is_in_the_reports_and_the_service_tells_how_far_they_are() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("").env("ROLLBOOK_REPORT_PERIOD_SECONDS", "1")).await;
    service.post(&acme, Form::Json, &played(5)).await.accepts(5);
    site.loaded("acme", 5).await;
    eventually("five plays in the reports", async || {
        site.number("SELECT coalesce(sum(plays), 0)::bigint FROM org_acme.report_day").await == 5
    })
    .await;
    assert_eq!(service.metric("rollbook_report_events_total").await, 5.0);
    assert!(service.metric("rollbook_report_run_seconds_count").await >= 1.0);
    assert_eq!(service.metric("rollbook_report_lag_seconds").await, 0.0);

    // A threshold of one's own.
    site.execute(&insert(&[Row::ready(1000), Row::watched(&[(0, 500)])])).await;
    let completed = "SELECT coalesce(sum(completed_viewers), 0)::bigint FROM org_acme.report_content";
    let set = site.run("org set acme --completion 0.5 --json").await.done().json();
    assert_eq!(set["completion"], 0.5);
    eventually("half of it is enough", async || site.number(completed).await == 1).await;
    service.stop().await;
}

#[tokio::test]
async fn no_lock_that_any_login_may_take_keeps_a_turn_from_its_events() {
    let (site, reports) = a_site().await;
    let analyst = site.superuser().await;
    analyst
        .batch_execute(
            "SELECT pg_advisory_lock('org_acme.report_build'::regclass::oid::integer, build) FROM generate_series(1, 20) AS build",
        )
        .await
        .expect("locks");
    site.execute(&insert(&[Row::new("video.played")])).await;
    assert_eq!(catch_up(&reports, &site.loader().await).await, 1);
}

#[tokio::test]
async fn what_a_trigger_raises_is_the_schemas_trouble_and_no_other_reporters_work() {
    let (site, reports) = a_site().await;
    for code in ["23505", "22012"] {
        site.execute(&format!(
            "CREATE OR REPLACE FUNCTION org_acme.refuse() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$; \
             CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON org_acme.report_day_sum \
                 FOR EACH ROW EXECUTE FUNCTION org_acme.refuse(); \
             {insert}",
            insert = insert(&[Row::new("video.played")])
        ))
        .await;
        let refused = reports.turn(&site.loader().await).await;
        assert!(matches!(refused, Err(ReportError::Schema(_))), "{code}: {refused:?}");
    }
}

#[tokio::test]
async fn an_organization_whose_report_tables_are_locked_or_gone_delays_no_other_and_is_told_in_status() {
    let site = Site::with(&["acme", "birch", "cedar"]).await;
    site.execute("DROP TABLE org_cedar.report_viewer_content CASCADE").await;
    let mut locker = site.superuser().await;
    let lock = locker.transaction().await.expect("a transaction");
    lock.batch_execute("LOCK TABLE org_birch.report_content_sum IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("a lock");
    for slug in ["acme", "birch", "cedar"] {
        site.execute(&insert(&[Row::new("video.played")]).replace("org_acme", &format!("org_{slug}"))).await;
    }
    let service = Service::ready(
        site.serve("--role reporter")
            .without("ROLLBOOK_KAFKA_BROKERS")
            .env("ROLLBOOK_REPORT_PERIOD_SECONDS", "1"),
    )
    .await;
    let events = |slug: &str| format!("SELECT events FROM org_{slug}.report_state");
    eventually("acme's reports", async || site.number(&events("acme")).await == 1).await;
    site.execute("UPDATE org_birch.report_state SET taken_until = now() - interval '1 hour'").await;
    let items = site.run("status --json").await.done().items();
    let said = |slug: &str| -> Value {
        items.iter().find(|item| item["organization"] == slug).expect("an item")["reports"].clone()
    };
    assert_eq!((said("acme"), said("birch")), ("current".into(), "behind".into()));
    assert_eq!((site.number(&events("birch")).await, site.number(&events("cedar")).await), (0, 0));
    lock.rollback().await.expect("the lock is gone");
    eventually("birch's reports", async || site.number(&events("birch")).await == 1).await;
    service.stop().await;
}

#[tokio::test]
async fn two_organizations_whose_turns_take_minutes_delay_no_other() {
    let site = Site::with(&["acme", "birch", "cedar"]).await;
    let one_more = async |slug: &str| {
        site.execute(&insert(&[Row::new("video.played")]).replace("org_acme", &format!("org_{slug}"))).await;
    };
    for slug in ["birch", "cedar"] {
        site.execute(&format!(
            "CREATE FUNCTION org_{slug}.doze() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN PERFORM pg_sleep(3600); RETURN NEW; END $$; \
             CREATE TRIGGER doze BEFORE INSERT ON org_{slug}.report_viewer_content FOR EACH ROW EXECUTE FUNCTION org_{slug}.doze()"
        ))
        .await;
        one_more(slug).await;
    }
    let service =
        Service::ready(site.serve("--role reporter").env("ROLLBOOK_REPORT_PERIOD_SECONDS", "1")).await;
    let dozing = async || {
        site.texts(
            "SELECT pid || ' ' || query_start FROM pg_stat_activity \
             WHERE datname = current_database() AND wait_event = 'PgSleep' ORDER BY pid",
        )
        .await
    };
    // Both are at work for as long as acme's takes; each time that they are broken off they are given longer.
    let mut events = 0;
    eventually("acme's are taken in while both are at work", async || {
        let before = dozing().await;
        one_more("acme").await;
        events += 1;
        eventually("acme's reports", async || {
            site.number("SELECT events FROM org_acme.report_state").await == events
        })
        .await;
        before.len() == 2 && before == dozing().await
    })
    .await;
    assert!(service.metric("rollbook_report_lag_seconds").await > 0.0, "what waits is told");
    service.stop().await;
}

/// Who waits for reports waits for `taken_until`.
#[tokio::test]
async fn each_turn_says_until_when_also_where_nothing_is_new() {
    let (site, reports) = a_site().await;
    let loader = site.loader().await;
    site.execute(&insert(&[Row::new("video.played")])).await;
    catch_up(&reports, &loader).await;
    let (moment, until) =
        (site.texts("SELECT now()::text").await, "SELECT taken_until::text FROM org_acme.report_state");
    assert!(site.texts(until).await < moment);
    catch_up(&reports, &loader).await;
    assert!(site.texts(until).await > moment);
}

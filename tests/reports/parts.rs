//! How summaries are kept: what shares a row, what has no room there, and what an earlier release left.

use std::time::Duration;

use rollbook::report::{ReportError, Slices};

use super::{Row, a_site, catch_up, differences, insert, small};
use crate::harness::{Service, Site, eventually};

async fn is_what_it_should_be(site: &Site) {
    assert_eq!(differences(&site.superuser().await, "0.9").await, Vec::<String>::new());
}

/// Of two viewers with two contents, in this session and on this day.
fn visits(session: u32, day: u32) -> Vec<Row> {
    let at = format!("2026-11-{day:02} 12:00:00+00");
    let of = |(viewer, content)| {
        let from = i32::try_from(session).expect("few") * 45_000;
        let watched = Row::watched(&[(from, from + 60_000), (from + 10_000, from + 20_000)]);
        let answered = Row { elapsed_ms: Some(from), ..Row::answered(r#"{"choice": "1"}"#) };
        [watched, answered]
            .map(|row| Row { session: format!("s \"{session}\\\\"), ..row.by(viewer).of(content).at(&at) })
    };
    [("ann", "c"), ("ben", "c"), ("ann", "d")].into_iter().flat_map(of).collect()
}

#[tokio::test]
async fn sessions_beyond_the_first_few_are_counted_once_on_each_of_their_days() {
    let (site, reports) = a_site().await;
    let loader = site.loader().await;
    for (reports, days) in [(reports.clone(), 1..3), (reports.in_slices(small()), 2..4)] {
        for day in days {
            for sessions in [0..3, 2..14, 0..20] {
                let rows: Vec<Row> = sessions.flat_map(|session| visits(session, day)).collect();
                site.execute(&insert(&rows)).await;
                catch_up(&reports, &loader).await;
                is_what_it_should_be(&site).await;
            }
        }
    }
    assert!(site.number("SELECT count(*) FROM org_acme.report_further_session").await > 0);
    assert_eq!(site.number("SELECT max(sessions) FROM org_acme.report_day").await, 40);
}

#[tokio::test]
async fn what_an_earlier_release_kept_is_gone_on_with_as_it_is() {
    let (site, reports) = a_site().await;
    let loader = site.loader().await;
    let some = |sessions: std::ops::Range<u32>| -> Vec<Row> {
        sessions.flat_map(|session| visits(session, 3)).collect()
    };
    site.execute(&insert(&some(0..4))).await;
    catch_up(&reports, &loader).await;
    site.execute(
        "INSERT INTO org_acme.report_step \
             SELECT build, content_id, s.second, s.viewers, s.times \
             FROM org_acme.report_curve, unnest(seconds, viewers, times) AS s (second, viewers, times); \
         INSERT INTO org_acme.report_elapsed \
             SELECT build, content_id, item_id, ms, count(*) \
             FROM org_acme.report_elapsed_part, unnest(elapsed_ms) AS ms GROUP BY 1, 2, 3, 4; \
         INSERT INTO org_acme.report_further_session \
             SELECT build, content_id, viewer_id, unnest(session_ids) FROM org_acme.report_viewer_content; \
         DELETE FROM org_acme.report_curve; DELETE FROM org_acme.report_elapsed_part; \
         UPDATE org_acme.report_viewer_content SET session_ids = '{}', session_days = '{}'",
    )
    .await;
    is_what_it_should_be(&site).await;
    for sessions in [2..6, 3..12] {
        site.execute(&insert(&some(sessions))).await;
        catch_up(&reports, &loader).await;
        is_what_it_should_be(&site).await;
    }
}

#[tokio::test]
async fn a_row_that_is_none_of_ours_is_the_trouble_of_its_organization_alone() {
    let (site, reports) = a_site().await;
    let loader = site.loader().await;
    for damage in [
        "report_viewer_content SET session_ids = '{NULL}'",
        "report_curve SET times = '{NULL}'",
        "report_curve SET seconds = '{{0},{60}}'",
    ] {
        let (damaged, _) = damage.split_once(' ').expect("a table");
        site.execute(&insert(&visits(1, 1))).await;
        catch_up(&reports, &loader).await;
        site.execute(&format!(
            "CREATE TABLE org_acme.whole AS SELECT * FROM org_acme.{damaged}; UPDATE org_acme.{damage}"
        ))
        .await;
        site.execute(&insert(&visits(1, 1))).await;
        let turn = reports.turn(&loader).await;
        assert!(matches!(turn, Err(ReportError::Unreadable(..))), "{damage}: {turn:?}");
        site.execute(&format!(
            "DELETE FROM org_acme.{damaged}; INSERT INTO org_acme.{damaged} SELECT * FROM org_acme.whole; \
             DROP TABLE org_acme.whole"
        ))
        .await;
        catch_up(&reports, &loader).await;
        is_what_it_should_be(&site).await;
    }
}

/// Answers to one item, which took so many times in all.
async fn answer(site: &Site, answers: u32, times: u32) {
    site.execute(&format!(
        "INSERT INTO org_acme.event (event_id, type, session_id, viewer_id, content_id, item_id, occurred_at, client_occurred_at, \
             received_at, answer, elapsed_ms) \
         SELECT gen_random_uuid(), 'item.answered', 's', 'v' || n % 10, 'c', 'i', now(), now(), now(), '{{\"choice\": \"1\"}}', \
             n % {times} * 17 \
         FROM generate_series(1, {answers}) AS n"
    ))
    .await;
}

#[tokio::test]
async fn times_that_answers_took_are_kept_about_as_often_as_they_differ() {
    let (site, reports) = a_site().await;
    let reports = reports.in_slices(Slices { loose_times: 100, ..Slices::default() });
    let loader = site.loader().await;
    let kept = "SELECT sum(cardinality(elapsed_ms))::bigint FROM org_acme.report_elapsed_part";
    for (answers, times) in [(60, 50), (60, 50), (90, 50), (3_000, 2_000), (1_900, 2_000), (200, 2_000)] {
        answer(&site, answers, times).await;
        catch_up(&reports, &loader).await;
        is_what_it_should_be(&site).await;
        let most = i64::from(times + (times / 2).max(100));
        assert!(site.number(kept).await < most, "{answers} answers more");
    }
    let counted = "SELECT count(*) FROM org_acme.report_elapsed_part WHERE part < 0";
    assert_eq!(site.number(counted).await, 2, "of a thousand each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_events_of_viewings_that_are_large_take_little_memory() {
    let site = Site::with(&["acme"]).await;
    site.execute(
        "INSERT INTO org_acme.report_viewer_content \
             (build, content_id, viewer_id, sessions, plays, watched, unique_ms, watched_ms, first_at, last_at) \
         SELECT 1, 'c', 'v' || n, 0, 0, watched, 10000, 10000, now(), now() \
         FROM (SELECT range_agg(int4range(n * 1000, n * 1000 + 10)) AS watched FROM generate_series(1, 1000) AS n) AS one, \
              generate_series(1, 1000) AS n",
    )
    .await;
    let service =
        Service::ready(site.serve("--role reporter").env("ROLLBOOK_REPORT_PERIOD_SECONDS", "1")).await;
    let before = service.memory_bytes("VmHWM");
    site.execute(
        "INSERT INTO org_acme.event (event_id, type, session_id, viewer_id, content_id, occurred_at, client_occurred_at, \
             received_at, watched) \
         SELECT gen_random_uuid(), 'video.heartbeat', 's', 'v' || n, 'c', now(), now(), now(), '{\"[5,7)\"}' \
         FROM generate_series(1, 1000) AS n",
    )
    .await;
    let events = "SELECT events FROM org_acme.report_state";
    eventually("they are in", async || site.number(events).await == 1_000).await;
    let more = service.memory_bytes("VmHWM").saturating_sub(before);
    eprintln!("{} MiB more", more >> 20);
    assert!(more < 48 << 20, "{more} bytes");
    assert_eq!(
        site.number("SELECT count(*) FROM org_acme.report_viewing WHERE unique_ms = 10002").await,
        1_000
    );
    service.stop().await;
}

/// How many rows of `event` statements have looked at, as far as sessions that have ended told.
async fn looked_at(site: &Site) -> i64 {
    site.number(
        "SELECT (seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_all_tables WHERE relid = 'org_acme.event'::regclass",
    )
    .await
}

#[tokio::test]
async fn slices_after_one_that_is_too_large_are_read_once() {
    let (site, reports) = a_site().await;
    let reports = reports.in_slices(Slices { gathered_bytes: 4_000, ..Slices::default() });
    let mut read = Vec::new();
    for _ in 0..2 {
        let rows: Vec<Row> = (0..50).flat_map(|session| visits(session, 1)).collect();
        site.execute(&insert(&rows)).await;
        let before = looked_at(&site).await;
        let loader = site.loader().await;
        assert_eq!(reports.turn(&loader).await.expect("a turn").added, 300);
        drop(loader);
        eventually("its session has told", async || looked_at(&site).await > before).await;
        read.push(looked_at(&site).await - before);
    }
    // The rows before are looked at again, for no index tells them from new ones yet.
    assert_eq!(read, [600, 600]);
}

#[tokio::test]
async fn too_much_for_memory_that_takes_too_long_is_told_as_that() {
    let (site, reports) = a_site().await;
    site.execute(
        "INSERT INTO org_acme.event (event_id, type, session_id, viewer_id, content_id, occurred_at, client_occurred_at, received_at) \
         SELECT gen_random_uuid(), 'video.played', 's' || n, 'v', 'c', now(), now(), now() FROM generate_series(1, 200000) AS n",
    )
    .await;
    let reports = reports.in_slices(Slices { gathered_bytes: 400, ..Slices::default() });
    let loader = site.loader().await;
    let turn = reports.clone().with_patience(Duration::from_millis(50)).turn(&loader).await;
    assert!(matches!(turn, Err(ReportError::TooLong(_))), "{turn:?}");
}

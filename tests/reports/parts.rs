//! How summaries are kept: what shares a row, what has no room there, and what an earlier release left.

use std::time::Duration;

use rollbook::report::{ReportError, Slices};

use super::{Row, a_site, catch_up, differences, insert, small};
use crate::harness::Site;

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

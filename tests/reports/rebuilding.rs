//! Making the summaries again: after deletions, for schemas that were there before, beside those who read.

use rollbook::report::{Progress, rebuild};

use super::{Row, a_site, catch_up, differences, insert, small};
use crate::harness::{Site, eventually};

async fn is_what_it_should_be(site: &Site) {
    assert_eq!(differences(&site.superuser().await, "0.9").await, Vec::<String>::new());
}

fn some() -> Vec<Row> {
    let viewers = ["ann", "ben", "cid"];
    let rows = (0..300)
        .zip(viewers.iter().cycle())
        .map(|(n, viewer)| Row::watched(&[(n * 10, n * 10 + 500)]).by(viewer));
    rows.chain([Row::ready(3000), Row::answered(r#"{"choice": "1"}"#)]).collect()
}

#[tokio::test]
async fn what_was_deleted_is_gone_after_a_rebuild_and_readers_see_the_old_ones_until_it_is_done() {
    let (site, reports) = a_site().await;
    let reports = reports.in_slices(small());
    let (admin, loader) = (site.superuser().await, site.loader().await);
    site.execute(&insert(&some())).await;
    catch_up(&reports, &loader).await;
    site.execute("DELETE FROM org_acme.event WHERE viewer_id = 'ben'").await;
    catch_up(&reports, &loader).await;
    let viewers = "SELECT viewers FROM org_acme.report_content";
    assert_eq!(site.number(viewers).await, 4);

    let mut told = Vec::new();
    let mut build = Box::pin(rebuild(&admin, &reports, |progress| told.push(progress)));
    // Its first steps, and then no more of them: as long as it is not done the old ones are read.
    let begun = tokio::time::timeout(std::time::Duration::from_millis(1), &mut build).await;
    if begun.is_err() {
        let seen = site.number(viewers).await;
        let done =
            site.number("SELECT count(*) FROM org_acme.report_state WHERE rebuilt_at IS NOT NULL").await;
        assert_eq!(seen == 4, done == 0, "all of the old ones, or all of the new ones");
    }
    build.await.expect("a rebuild");
    assert_eq!(told.last(), Some(&Progress::Done));
    assert_eq!(site.number(viewers).await, 3);
    is_what_it_should_be(&site).await;
    reports.clear(&admin).await.expect("cleared");
    assert_eq!(site.number("SELECT count(*) FROM org_acme.report_build").await, 1);
    assert_eq!(site.number("SELECT count(DISTINCT build) FROM org_acme.report_viewer_content").await, 1);
}

#[tokio::test]
async fn a_rebuild_that_was_given_up_half_way_is_finished_by_a_reporter() {
    let (site, reports) = a_site().await;
    let reports = reports.in_slices(small());
    let loader = site.loader().await;
    site.execute(&insert(&some())).await;
    catch_up(&reports, &loader).await;
    let admin = site.superuser().await;
    let mut steps = 0;
    let mut build = Box::pin(rebuild(&admin, &reports, |_| steps += 1));
    let _ = futures_util::poll!(&mut build);
    drop(build);
    drop(admin);
    site.execute("DELETE FROM org_acme.event WHERE viewer_id = 'ben'").await;
    // Whether it had begun or not: after another one all is well.
    rebuild(&site.superuser().await, &reports, |_| ()).await.expect("a rebuild");
    catch_up(&reports, &loader).await;
    is_what_it_should_be(&site).await;
}

#[tokio::test]
async fn a_rebuild_whose_place_another_takes_goes_on_with_that_one() {
    let (site, reports) = a_site().await;
    let reports = reports.in_slices(small());
    for _ in 0..10 {
        site.execute(&insert(&some())).await;
    }
    let (one, other) = (site.superuser().await, site.superuser().await);
    let begun = tokio::sync::Notify::new();
    let first = rebuild(&one, &reports, |_| begun.notify_one());
    let second = async {
        begun.notified().await;
        rebuild(&other, &reports, |_| ()).await
    };
    let (first, second) = tokio::join!(first, second);
    first.expect("the first");
    second.expect("the second");
    is_what_it_should_be(&site).await;
}

/// A reporter holds a build for as long as its step takes.
#[tokio::test]
async fn a_rebuild_waits_for_the_step_of_the_one_that_it_takes_the_place_of() {
    let (site, reports) = a_site().await;
    site.execute(&insert(&some())).await;
    catch_up(&reports, &site.loader().await).await;
    site.execute(
        "INSERT INTO org_acme.report_build (build, state, system_identifier, next_txid, end_block) \
         SELECT 7, 'building', system_identifier, 0, 1 FROM pg_control_system()",
    )
    .await;
    let (step, admin) = (site.superuser().await, site.superuser().await);
    let hold = "BEGIN; UPDATE org_acme.report_build SET next_block = 1 WHERE build = 7";
    step.batch_execute(hold).await.expect("a step");
    let rebuilding = {
        let reports = reports.clone();
        tokio::spawn(async move { rebuild(&admin, &reports, |_| ()).await })
    };
    // Longer than a reporter waits for any lock.
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
                 AND clock_timestamp() - query_start > interval '1 second'";
    eventually("the rebuild waits", async || site.number(waits).await == 1).await;
    step.batch_execute("COMMIT").await.expect("the step ends");
    rebuilding.await.expect("no panic").expect("a rebuild");
    catch_up(&reports, &site.loader().await).await;
    is_what_it_should_be(&site).await;
}

#[tokio::test]
async fn a_full_schema_of_the_release_before_gets_its_reports_and_event_is_not_rewritten() {
    let (site, reports) = a_site().await;
    site.execute(&format!(
        "DROP TABLE org_acme.report_state, org_acme.report_build, {tables} CASCADE; \
         DROP INDEX org_acme.event_stored; ALTER TABLE org_acme.event DROP COLUMN stored_in; \
         DELETE FROM org_acme.refinery_schema_history WHERE version > 4; \
         UPDATE rollbook.organization SET schema_version = 4; {insert}",
        tables = site
            .texts("SELECT 'org_acme.' || relname FROM pg_class WHERE relnamespace = 'org_acme'::regnamespace \
                    AND relkind = 'r' AND relname LIKE 'report%' AND relname NOT IN ('report_state', 'report_build')")
            .await
            .join(", "),
        insert = insert(&some()),
    ))
    .await;
    let file = "SELECT pg_relation_filenode('org_acme.event')::bigint";
    let before = site.number(file).await;
    let items = site.run("migrate --json").await.done().items();
    assert_eq!(items[0]["outcome"], "migrated");
    assert_eq!(site.number(file).await, before, "not rewritten");
    let valid =
        "SELECT count(*) FROM pg_index WHERE indexrelid = 'org_acme.event_stored'::regclass AND indisvalid";
    assert_eq!(site.number(valid).await, 1);
    assert_eq!(site.number("SELECT count(*) FROM org_acme.report_content").await, 0);
    assert_eq!(
        site.number("SELECT extract(epoch FROM taken_until)::bigint FROM org_acme.report_state").await,
        0
    );

    site.execute(&insert(&[Row::new("video.played")])).await;
    catch_up(&reports, &site.loader().await).await;
    is_what_it_should_be(&site).await;
    assert_eq!(
        site.number("SELECT count(*) FROM org_acme.report_state WHERE rebuilt_at IS NOT NULL").await,
        1
    );
}

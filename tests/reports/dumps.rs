//! A dump in another cluster brings transactions along that are not this one's.

use super::{Row, a_site, catch_up, differences, insert, small};

/// As if a row came with a dump from a cluster that was so many transactions further.
fn ahead(transactions: i64) -> String {
    format!(
        "INSERT INTO org_acme.event (event_id, type, session_id, viewer_id, content_id, occurred_at, client_occurred_at, \
         received_at, stored_in) SELECT gen_random_uuid(), 'video.played', 's', 'v', 'c', now(), now(), now(), \
         txid_snapshot_xmax(txid_current_snapshot()) + {transactions} + n FROM generate_series(1, 50) AS n"
    )
}

#[tokio::test]
async fn it_is_noticed_and_each_row_is_taken_once_also_when_this_cluster_has_come_as_far() {
    let (site, reports) = a_site().await;
    let reports = reports.in_slices(small());
    let (superuser, loader) = (site.superuser().await, site.loader().await);
    superuser.batch_execute(&insert(&[Row::new("video.played"), Row::ready(5)])).await.expect("rows");
    catch_up(&reports, &loader).await;

    for sql in [
        insert(&[Row::new("video.played"), Row::watched(&[(0, 900)])]),
        ahead(40),
        // Some that this cluster has had already.
        ahead(-100),
        "UPDATE org_acme.report_build SET system_identifier = 1".to_owned(),
    ] {
        superuser.batch_execute(&sql).await.expect("a dump that was restored");
    }
    catch_up(&reports, &loader).await;
    assert_eq!(differences(&superuser, "0.9").await, Vec::<String>::new(), "all of it is in");
    assert_eq!(
        site.number("SELECT count(*) FROM org_acme.report_build").await,
        1,
        "and nothing of the old ones"
    );

    // This cluster's transactions come to the numbers that the rows claim, and pass them; with savepoints among them.
    for round in 0..40 {
        let row = Row::watched(&[(round, round + 10)]);
        let sql = format!("BEGIN; SELECT txid_current(); SAVEPOINT s; {}; RELEASE s; COMMIT", insert(&[row]));
        superuser.batch_execute(&sql).await.expect("a row of this cluster's own");
        for _ in 0..4 {
            superuser.batch_execute("SELECT txid_current()").await.expect("a transaction");
        }
        catch_up(&reports, &loader).await;
        assert_eq!(
            site.number("SELECT events - (SELECT count(*) FROM org_acme.event) FROM org_acme.report_state")
                .await,
            0,
            "round {round}"
        );
    }
    assert_eq!(differences(&superuser, "0.9").await, Vec::<String>::new());
}

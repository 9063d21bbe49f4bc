//! The writer sabotaged: it resolves consistently wrong, role and schema both. Postgres alone stands in between.

use super::super::holding::{HoldOutcome, ToHold, drain_some, hold};
use super::super::lane::{BatchLimits, Expected};
use super::super::position::Watermark;
use super::super::writer::{FlushError, Flushed, Scope, Way, WriteError, flush, scope_of, sqlstate};
use super::events::{event, events, record, record_bytes, source};
use super::site::{POSITION, Site, prepared, record_id};
use crate::tenant::Organization;

/// What the snapshot would say if acme's row carried birch's names.
fn acme_as_birch(site: &Site) -> Organization {
    Organization { id: site.id("acme"), ..site.organization("birch").clone() }
}

fn refused(outcome: Result<Flushed, FlushError>) -> tokio_postgres::Error {
    match outcome {
        Err(FlushError::Refused(WriteError::Postgres(error))) => error,
        other => panic!("{other:?}"),
    }
}

const ALL: BatchLimits = BatchLimits { rows: usize::MAX, bytes: usize::MAX };

#[tokio::test]
async fn a_batch_in_the_wrong_schema_is_refused_by_the_watermark_even_with_the_right_role_for_it() {
    let site = Site::with(&["acme", "birch"]).await;
    let statements = site.statements_of(acme_as_birch(&site));
    // Neither a first flush nor one that finds birch's own watermark may come through.
    for birchs_own in [None, Some(Watermark::after(0, record_id(0)))] {
        if birchs_own.is_some() {
            let own = source(site.id("birch"), 0, events(0..3));
            site.flush("birch", None, own).await.expect("birch's own");
        }
        let before = (site.contents("birch").await, site.totals("birch").await);
        for count in [2, 200] {
            let batch = prepared(source(site.id("acme"), 1, events(10..10 + count)));
            let mut loader = site.loader().await;
            let error = refused(
                flush(&mut loader, &statements, Expected::Watermark(None), &batch, Way::Direct).await,
            );
            assert_eq!((sqlstate(&error), scope_of(&error)), ("23514", Scope::Tenant), "{error:?}");
            // Nor does knowing where birch stands help: it is not acme's watermark.
            if birchs_own.is_some() {
                let expected = Expected::Watermark(birchs_own);
                let stale = flush(&mut loader, &statements, expected, &batch, Way::Direct).await;
                assert_eq!(stale.expect("an answer"), Flushed::Stale { found: None });
            }
        }
        assert_eq!((site.contents("birch").await, site.totals("birch").await), before);
        assert_eq!(site.contents("acme").await, [0, 0, 0]);
    }
}

#[tokio::test]
async fn the_lane_of_a_sabotaged_writer_holds_its_records_and_loses_none() {
    let site = Site::with(&["acme", "birch"]).await;
    let (acme, birch) = (site.id("acme"), site.organization("birch").clone());
    // Birch is ahead of acme's records in the log: its watermark must not be taken for acme's.
    site.flush("birch", None, source(birch.id, 50, events(0..3))).await.expect("birch's own");
    let before = (site.contents("birch").await, site.totals("birch").await);

    let lying = site.shared(vec![acme_as_birch(&site), birch]);
    let records =
        [9, 10, 60].map(|offset| record(acme, offset, &[event(100 + offset.unsigned_abs() as u128)]));
    let safe = site.through_a_lane(&lying, records.into()).await;

    assert_eq!(safe, 61, "held is safe");
    assert_eq!((site.contents("birch").await, site.totals("birch").await), before);
    assert_eq!(site.contents("acme").await, [0, 0, 0]);
    let held = site.held().await;
    assert_eq!(held.len(), 3, "{held:?}");
    assert!(held[0].starts_with("9|1|23514: "), "{held:?}");

    // The bug is found; what is held goes where it belongs.
    let mut loader = site.loader().await;
    let drained = drain_some(&mut loader, &site.statements("acme"), acme, POSITION, ALL).await;
    assert_eq!(drained.expect("a drain").map(|drained| drained.fates.stored), Some(3));
    assert_eq!(site.totals("acme").await, ["3|61|3|0|0"]);
    assert_eq!(site.contents("birch").await, before.0);
}

#[tokio::test]
async fn a_sabotaged_drain_stores_nothing_and_deletes_nothing() {
    let site = Site::with(&["acme", "birch"]).await;
    let acme = site.id("acme");
    site.flush("birch", None, source(site.id("birch"), 50, events(0..3))).await.expect("birch's own");
    let mut loader = site.loader().await;
    let bytes = record_bytes(acme, &[event(100)]);
    // Below birch's watermark, and above it.
    for offset in [9, 60] {
        let to_hold = [ToHold { offset, bytes: &bytes, events: 1 }];
        let held = hold(&loader, acme, POSITION, &to_hold, "a test").await.expect("held");
        assert_eq!(held, HoldOutcome::Held);
        let drained =
            drain_some(&mut loader, &site.statements_of(acme_as_birch(&site)), acme, POSITION, ALL).await;
        assert!(drained.is_err(), "offset {offset}: {drained:?}");
    }
    assert_eq!(site.held().await, ["9|1|a test", "60|1|a test"]);
    assert_eq!(site.contents("birch").await, [3, 0, 1]);
    assert_eq!(site.contents("acme").await, [0, 0, 0]);
}

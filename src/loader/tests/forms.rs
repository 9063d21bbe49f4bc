//! An event has three forms on its way into a table: a row of an INSERT, a row of a COPY, and a dead letter that is
//! replayed. Read back, they are the same, column by column.

use super::super::position::Watermark;
use super::super::writer::{COLUMNS, Fates};
use super::events::{any_events, event, source};
use super::site::{Site, record_id};
use crate::event::{Event, UnixMillis};

/// Enough for COPY in one flush.
const ROWS: usize = 400;

async fn store(site: &Site, slug: &str, events: &[Event<'static>], at_a_time: usize) {
    let mut expected = None;
    for (offset, part) in (0_i64..).zip(events.chunks(at_a_time)) {
        let flushed = site.flush(slug, expected, source(site.id(slug), offset, part.to_vec())).await;
        let stored = match flushed.expect("stored") {
            Some(Fates { stored, duplicate: 0, dead }) => stored + dead,
            other => panic!("{other:?}"),
        };
        assert_eq!(stored, part.len() as u64);
        expected = Some(Watermark::after(offset, record_id(offset)));
    }
}

async fn stored_rows(site: &Site, slug: &str) -> Vec<String> {
    site.texts(&format!("SELECT ROW ({COLUMNS})::text FROM org_{slug}.event ORDER BY event_id")).await
}

#[tokio::test]
async fn insert_copy_and_a_replayed_dead_letter_store_the_same() {
    let site = Site::with(&["inserted", "copied", "dead"]).await;
    let mut events = any_events(ROWS);
    // The ends of what a record can carry.
    for (n, at) in [UnixMillis::MIN, UnixMillis(-1), UnixMillis(0), UnixMillis(1), UnixMillis::MAX]
        .into_iter()
        .enumerate()
    {
        events.push(Event { client_occurred_at: at, occurred_at: at, ..event(10_000 + n as u128) });
    }
    store(&site, "inserted", &events, 100).await;
    store(&site, "copied", &events, events.len()).await;
    site.execute(
        "CREATE FUNCTION org_dead.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT ON org_dead.event FOR EACH ROW EXECUTE FUNCTION org_dead.refuse()",
    )
    .await;
    store(&site, "dead", &events, 16).await;

    let inserted = stored_rows(&site, "inserted").await;
    assert_eq!(inserted.len(), events.len());
    for (copied, inserted) in stored_rows(&site, "copied").await.iter().zip(&inserted) {
        assert_eq!(copied, inserted);
    }
    let as_records = site.number("SELECT count(*) FROM org_dead.dead_letter WHERE event IS NULL").await;
    assert_eq!(as_records, 0);
    let replayed = site
        .texts(&format!(
            "SELECT ROW ({COLUMNS})::text FROM \
                 (SELECT (jsonb_populate_record(NULL::org_dead.event, event)).* FROM org_dead.dead_letter) AS dead \
             ORDER BY event_id"
        ))
        .await;
    for (replayed, inserted) in replayed.iter().zip(&inserted) {
        assert_eq!(replayed, inserted);
    }
    assert_eq!(replayed.len(), inserted.len());
}

#[tokio::test]
async fn what_is_stored_is_what_was_sent() {
    let site = Site::with(&["acme"]).await;
    let events = any_events(ROWS);
    store(&site, "acme", &events, ROWS).await;
    let columns = "type, session_id, viewer_id, content_id, item_id, \
         (extract(epoch FROM occurred_at) * 1000)::bigint, (extract(epoch FROM client_occurred_at) * 1000)::bigint, \
         seq, position_ms, rate, watched::text, played_ms, correct, score, attempt, elapsed_ms, \
         (extract(epoch FROM received_at) * 1000)::bigint, answer IS NULL, details IS NULL";
    let client = site.superuser().await;
    for event in &events {
        let sql = format!("SELECT {columns} FROM org_acme.event WHERE event_id = $1");
        let row = client.query_one(&sql, &[&event.id]).await.expect("its row");
        let texts = [&event.type_name, &event.session_id, &event.viewer_id, &event.content_id];
        for (column, text) in texts.into_iter().enumerate() {
            assert_eq!(row.get::<_, &str>(column), text);
        }
        assert_eq!(row.get::<_, Option<&str>>(4), event.item_id.as_deref());
        assert_eq!(row.get::<_, i64>(5), event.occurred_at.0);
        assert_eq!(row.get::<_, i64>(6), event.client_occurred_at.0);
        assert_eq!(row.get::<_, Option<i64>>(7), event.seq.map(i64::from));
        assert_eq!(row.get::<_, Option<i32>>(8), event.position_ms.map(u32::cast_signed));
        assert_eq!(row.get::<_, Option<f32>>(9), event.rate);
        let ranges = event.watched.as_ref().map(|ranges| {
            let ranges: Vec<_> = ranges.iter().map(|(start, end)| format!("\"[{start},{end})\"")).collect();
            format!("{{{}}}", ranges.join(","))
        });
        assert_eq!(row.get::<_, Option<String>>(10), ranges);
        assert_eq!(row.get::<_, Option<i32>>(11), event.played_ms.map(u32::cast_signed));
        assert_eq!(row.get::<_, Option<bool>>(12), event.correct);
        assert_eq!(row.get::<_, Option<f32>>(13), event.score);
        assert_eq!(row.get::<_, Option<i16>>(14), event.attempt.map(u16::cast_signed));
        assert_eq!(row.get::<_, Option<i32>>(15), event.elapsed_ms.map(u32::cast_signed));
        assert_eq!(row.get::<_, i64>(16), super::events::RECEIVED.0);
        assert_eq!((row.get(17), row.get(18)), (event.answer.is_none(), event.details.is_none()));
    }
}

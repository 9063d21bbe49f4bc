//! Rows that Postgres refuses, kept with the reason where the organization can see them.

use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::Error;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::rows::{Row, postgres_text};
use super::ways::Target;

/// One refused row.
#[derive(Debug)]
pub(super) struct DeadRow<'a> {
    /// The row.
    pub(super) row: &'a Row<'a>,
    /// Why, for machines.
    pub(super) sqlstate: &'a str,
    /// Why, for people.
    pub(super) reason: String,
}

/// Writes the dead letter in the transaction that stores the rest. The row is kept by column; where jsonb refuses it
/// too, as a record of its own.
pub(super) async fn write(target: Target<'_>, dead: &DeadRow<'_>) -> Result<(), Error> {
    let client = target.client;
    client.batch_execute("SAVEPOINT dead").await?;
    let columns = by_column(dead.row).ok();
    if columns.is_some() && insert(target, dead, columns, None).await.is_ok() {
        return client.batch_execute("RELEASE SAVEPOINT dead").await;
    }
    client.batch_execute("ROLLBACK TO SAVEPOINT dead; RELEASE SAVEPOINT dead").await?;
    insert(target, dead, None, Some(dead.row.as_record())).await
}

async fn insert(
    target: Target<'_>,
    dead: &DeadRow<'_>,
    columns: Option<String>,
    record: Option<Vec<u8>>,
) -> Result<(), Error> {
    let Target { client, statements, position } = target;
    client
        .execute_typed(
            &statements.dead_letter,
            &[
                (&dead.row.id(), Type::UUID),
                (&position.generation, Type::INT4),
                (&position.partition, Type::INT4),
                (&dead.row.log_offset, Type::INT8),
                (&dead.sqlstate, Type::TEXT),
                (&dead.reason, Type::TEXT),
                (&columns, Type::TEXT),
                (&record, Type::BYTEA),
            ],
        )
        .await
        .map(|_| ())
}

/// The row by column, in the form that `jsonb_populate_record` reads back.
#[derive(Serialize)]
struct Columns<'a> {
    event_id: Uuid,
    r#type: &'a str,
    session_id: &'a str,
    viewer_id: &'a str,
    content_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_id: Option<&'a str>,
    occurred_at: String,
    client_occurred_at: String,
    received_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watched: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    played_ms: Option<u32>,
    /// Raw, as `details`: numbers in it keep their exact value.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correct: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    elapsed_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a RawValue>,
}

fn by_column(row: &Row<'_>) -> serde_json::Result<String> {
    let event = &row.event;
    // JSON has no word for them, and what would be written is `null`: another event than was sent.
    if [event.rate, event.score].into_iter().flatten().any(|number| !number.is_finite()) {
        return Err(serde::ser::Error::custom("a number that is none in JSON"));
    }
    let ranges = |intervals: &[(u32, u32)]| {
        intervals.iter().map(|(start, end)| format!("[{start},{end})")).collect::<Vec<_>>()
    };
    serde_json::to_string(&Columns {
        event_id: event.id,
        r#type: &event.type_name,
        session_id: &event.session_id,
        viewer_id: &event.viewer_id,
        content_id: &event.content_id,
        item_id: event.item_id.as_deref(),
        occurred_at: postgres_text(event.occurred_at),
        client_occurred_at: postgres_text(event.client_occurred_at),
        received_at: postgres_text(row.received_at),
        seq: event.seq,
        position_ms: event.position_ms,
        rate: event.rate,
        watched: event.watched.as_deref().map(ranges),
        played_ms: event.played_ms,
        answer: event.answer.as_deref().map(serde_json::from_str).transpose()?,
        correct: event.correct,
        score: event.score,
        attempt: event.attempt,
        elapsed_ms: event.elapsed_ms,
        details: event.details.as_deref().map(serde_json::from_str).transpose()?,
    })
}

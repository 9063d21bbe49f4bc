//! Reading the reports, as the command line shows them.

use std::time::SystemTime;

use serde::Serialize;
use tokio_postgres::{Client, Row, Transaction};

use crate::store::{look, quoted};

/// One row of `report_content`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the columns of the view, which the view says more of")]
pub struct Content {
    pub content_id: String,
    pub duration_ms: Option<i64>,
    pub viewers: i64,
    pub sessions: i64,
    pub plays: i64,
    pub unique_ms: i64,
    pub watched_ms: i64,
    pub average_completion: Option<f32>,
    pub completed_viewers: i64,
    pub items: i64,
    pub answers: i64,
    pub first_at: String,
    pub last_at: String,
}

/// One row of `report_retention`, of one content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the columns of the view, which the view says more of")]
pub struct Second {
    pub second: i32,
    pub viewers: i64,
    pub times: i64,
}

/// One row of `report_item`, of one content, with its rows of `report_option`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the columns of the view, which the view says more of")]
pub struct Item {
    pub item_id: String,
    pub shown_viewers: i64,
    pub answered_viewers: i64,
    pub skipped_viewers: i64,
    pub revised_viewers: i64,
    pub attempts: i64,
    pub first_correct_viewers: i64,
    pub last_correct_viewers: i64,
    pub first_accuracy: Option<f32>,
    pub last_accuracy: Option<f32>,
    pub median_elapsed_ms: Option<f64>,
    pub p90_elapsed_ms: Option<f64>,
    pub options: Vec<Choice>,
}

/// One row of `report_option`, of one item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the columns of the view, which the view says more of")]
pub struct Choice {
    pub choice: String,
    pub first_viewers: i64,
    pub last_viewers: i64,
}

/// What the reports say of one content, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sheet {
    /// The content.
    pub content: Content,
    /// Its curve, from second 0 on without a gap.
    pub retention: Vec<Second>,
    /// Its items, by id.
    pub items: Vec<Item>,
}

/// Every content of a schema, the most watched first.
///
/// # Errors
/// Postgres, or the schema has no reports.
pub async fn contents(client: &mut Client, schema: &str) -> Result<Vec<Content>, tokio_postgres::Error> {
    let transaction = look(client).await?;
    let sql = format!(
        "SELECT * FROM {}.report_content ORDER BY viewers DESC, watched_ms DESC, content_id",
        quoted(schema)
    );
    Ok(transaction.query(&sql, &[]).await?.iter().map(content).collect())
}

/// What is said of one content; `None`: no event names it.
///
/// # Errors
/// As [`contents`].
pub async fn sheet(
    client: &mut Client,
    schema: &str,
    content_id: &str,
) -> Result<Option<Sheet>, tokio_postgres::Error> {
    let transaction = look(client).await?;
    // The tables of one moment, whatever a reporter does meanwhile.
    transaction.batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
    let of = |columns: &str, view: &str, order: &str| {
        let schema = quoted(schema);
        format!("SELECT {columns} FROM {schema}.{view} WHERE content_id = $1 ORDER BY {order}")
    };
    let found = transaction.query_opt(&of("*", "report_content", "1"), &[&content_id]).await?;
    let Some(content) = found.as_ref().map(content) else { return Ok(None) };
    let seconds = of("second, viewers, times", "report_retention", "second");
    let retention = transaction.query(&seconds, &[&content_id]).await?;
    let second = |row: &Row| Second { second: row.get(0), viewers: row.get(1), times: row.get(2) };
    let items = items(&transaction, content_id, &of).await?;
    Ok(Some(Sheet { content, retention: retention.iter().map(second).collect(), items }))
}

async fn items(
    transaction: &Transaction<'_>,
    content_id: &str,
    of: &impl Fn(&str, &str, &str) -> String,
) -> Result<Vec<Item>, tokio_postgres::Error> {
    let rows = transaction.query(&of("*", "report_item", "item_id"), &[&content_id]).await?;
    let mut items: Vec<Item> = rows.iter().map(item).collect();
    let options = of("*", "report_option", "item_id, first_viewers DESC, choice");
    for row in transaction.query(&options, &[&content_id]).await? {
        let item_id: &str = row.get("item_id");
        if let Some(item) = items.iter_mut().find(|item| item.item_id == item_id) {
            item.options.push(Choice {
                choice: row.get("choice"),
                first_viewers: row.get("first_viewers"),
                last_viewers: row.get("last_viewers"),
            });
        }
    }
    Ok(items)
}

fn content(row: &Row) -> Content {
    Content {
        content_id: row.get("content_id"),
        duration_ms: row.get("duration_ms"),
        viewers: row.get("viewers"),
        sessions: row.get("sessions"),
        plays: row.get("plays"),
        unique_ms: row.get("unique_ms"),
        watched_ms: row.get("watched_ms"),
        average_completion: row.get("average_completion"),
        completed_viewers: row.get("completed_viewers"),
        items: row.get("items"),
        answers: row.get("answers"),
        first_at: time(row.get("first_at")),
        last_at: time(row.get("last_at")),
    }
}

fn item(row: &Row) -> Item {
    Item {
        item_id: row.get("item_id"),
        shown_viewers: row.get("shown_viewers"),
        answered_viewers: row.get("answered_viewers"),
        skipped_viewers: row.get("skipped_viewers"),
        revised_viewers: row.get("revised_viewers"),
        attempts: row.get("attempts"),
        first_correct_viewers: row.get("first_correct_viewers"),
        last_correct_viewers: row.get("last_correct_viewers"),
        first_accuracy: row.get("first_accuracy"),
        last_accuracy: row.get("last_accuracy"),
        median_elapsed_ms: row.get("median_elapsed_ms"),
        p90_elapsed_ms: row.get("p90_elapsed_ms"),
        options: Vec::new(),
    }
}

/// UTC, milliseconds. A moment that no event of intake's can have is told as nothing.
fn time(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map(|at| format!("{at:.3}")).unwrap_or_default()
}

//! The reports: at any moment what their definitions give over the events that are in, whoever stored those, in whatever
//! order, and whatever happens to those who keep them.

mod command;
mod definitions;
mod dumps;
mod exporting;
mod parts;
mod queries;
mod random;
mod rebuilding;
mod serving;

use rollbook::report::{Reports, Slices, Turn};
use tokio_postgres::Client;

use crate::harness::Site;

/// The organization of these tests.
const SLUG: &str = "acme";

/// A site with one organization, and who keeps its reports.
async fn a_site() -> (Site, Reports) {
    let site = Site::with(&[SLUG]).await;
    let reports = Reports::new("org_acme", &site.role("org_acme"), "0.9".parse().expect("a threshold"));
    (site, reports)
}

/// Slices that a test's few rows fill.
fn small() -> Slices {
    Slices { events: 7, blocks: 1, cleared: 5, fetched: 3, gathered_bytes: 400, loose_times: 3 }
}

/// Turns until nothing is left to do, as a reporter that nobody disturbs has them.
async fn catch_up(reports: &Reports, client: &Client) -> u64 {
    let mut added = 0;
    for _ in 0..10_000 {
        let turn = reports.turn(client).await.expect("a turn");
        added += turn.added;
        if turn == (Turn { has_more: false, ..turn }) {
            return added;
        }
    }
    panic!("there is always more to do");
}

/// What the reports wrongly have and lack, in words; nothing: they are what their definitions give over all events.
async fn differences(client: &Client, completion: &str) -> Vec<String> {
    let mut sql = include_str!("reports/differences.sql").to_owned();
    for (name, definition) in [
        ("{viewing}", include_str!("reports/reference/viewing.sql")),
        ("{duration}", include_str!("reports/reference/duration.sql")),
        ("{answer}", include_str!("reports/reference/answer.sql")),
        ("{retention}", include_str!("reports/reference/retention.sql")),
        ("{item}", include_str!("reports/reference/item.sql")),
        ("{option}", include_str!("reports/reference/option.sql")),
        ("{day}", include_str!("reports/reference/day.sql")),
    ] {
        sql = sql.replace(name, definition);
    }
    let sql = sql.replace("{schema}", "org_acme").replace("{completion}", completion);
    client.batch_execute("SET jit = off").await.expect("a setting");
    let rows = client.query(&sql, &[]).await.expect("the definitions");
    rows.iter().map(|row| row.get(0)).collect()
}

/// A row of `event`: what is left out is as in most.
#[derive(Clone, Debug)]
struct Row {
    id: u128,
    kind: &'static str,
    session: String,
    viewer: String,
    content: String,
    item: Option<String>,
    at: String,
    seq: Option<i64>,
    /// As Postgres writes a list of ranges.
    watched: Option<String>,
    answer: Option<String>,
    correct: Option<bool>,
    score: Option<f32>,
    elapsed_ms: Option<i32>,
    details: Option<String>,
}

impl Row {
    fn new(kind: &'static str) -> Self {
        Self {
            id: rand::random(),
            kind,
            session: "s".to_owned(),
            viewer: "v".to_owned(),
            content: "c".to_owned(),
            item: kind.starts_with("item.").then(|| "i".to_owned()),
            at: "2026-11-22 12:00:00+00".to_owned(),
            seq: None,
            watched: None,
            answer: None,
            correct: None,
            score: None,
            elapsed_ms: None,
            details: None,
        }
    }

    fn watched(intervals: &[(i32, i32)]) -> Self {
        let parts: Vec<String> = intervals.iter().map(|(from, to)| format!("\"[{from},{to})\"")).collect();
        Self { watched: Some(format!("{{{}}}", parts.join(","))), ..Self::new("video.heartbeat") }
    }

    fn answered(answer: &str) -> Self {
        Self { answer: Some(answer.to_owned()), ..Self::new("item.answered") }
    }

    fn ready(duration_ms: i64) -> Self {
        Self { details: Some(format!(r#"{{"duration_ms": {duration_ms}}}"#)), ..Self::new("video.ready") }
    }

    fn by(self, viewer: &str) -> Self {
        Self { viewer: viewer.to_owned(), ..self }
    }

    fn of(self, content: &str) -> Self {
        Self { content: content.to_owned(), ..self }
    }

    fn at(self, at: &str) -> Self {
        Self { at: at.to_owned(), ..self }
    }

    fn values(&self) -> String {
        fn text(value: Option<&str>) -> String {
            value.map_or("NULL".to_owned(), |value| format!("'{value}'"))
        }
        fn plain<T: ToString>(value: Option<T>) -> String {
            value.map_or("NULL".to_owned(), |value| value.to_string())
        }
        format!(
            "('{id}', '{kind}', '{session}', '{viewer}', '{content}', {item}, '{at}', '{at}', now(), {seq}, {watched}, \
             {answer}, {correct}, {score}, {elapsed}, {details})",
            id = uuid::Uuid::from_u128(self.id),
            kind = self.kind,
            session = self.session,
            viewer = self.viewer,
            content = self.content,
            item = text(self.item.as_deref()),
            at = self.at,
            seq = plain(self.seq),
            watched = text(self.watched.as_deref()),
            answer = text(self.answer.as_deref()),
            correct = plain(self.correct),
            score = plain(self.score),
            elapsed = plain(self.elapsed_ms),
            details = text(self.details.as_deref()),
        )
    }
}

/// The statement that stores rows, as a person would write it: the columns of the contract.
fn insert(rows: &[Row]) -> String {
    let values: Vec<String> = rows.iter().map(Row::values).collect();
    format!(
        "INSERT INTO org_acme.event (event_id, type, session_id, viewer_id, content_id, item_id, occurred_at, \
         client_occurred_at, received_at, seq, watched, answer, correct, score, elapsed_ms, details) VALUES {}",
        values.join(", ")
    )
}

//! An organization's events, by the time that they were received, as a stream: CSV as Postgres writes it, or Parquet.
//!
//! Memory is bounded: Postgres sorts, and what it sends is written as it comes; Parquet gathers one row group.

mod parquet;

use std::io::{self, Write};

use ::parquet::errors::ParquetError;
use futures_util::{StreamExt, TryStreamExt};
use tokio_postgres::Client;

use crate::store::{look, quoted};

/// Which events: half-open, by `received_at`, in milliseconds since 1970 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Those received then, and later.
    pub since_ms: Option<i64>,
    /// Those received before.
    pub until_ms: Option<i64>,
}

/// Why an export broke off.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Postgres.
    #[error("the events cannot be read")]
    Postgres(#[from] tokio_postgres::Error),
    /// Where they go.
    #[error("the events cannot be written")]
    Io(#[from] io::Error),
    /// The format takes no such value.
    #[error("the events cannot be written as Parquet")]
    Parquet(#[source] ParquetError),
}

/// What the writer of the format says of where it writes to is no matter of the format.
impl From<ParquetError> for ExportError {
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::External(source) => match source.downcast() {
                Ok(error) => Self::Io(*error),
                Err(other) => Self::Parquet(ParquetError::External(other)),
            },
            error => Self::Parquet(error),
        }
    }
}

impl ExportError {
    /// Whether it was the reader who had enough.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl Span {
    /// The events, in order: who is received with others at once goes by id.
    fn from(self, schema: &str) -> String {
        let bound = |sign: &str, ms: Option<i64>| {
            let ms = ms?;
            Some(format!("received_at {sign} timestamptz 'epoch' + {ms} * interval '1 ms'"))
        };
        let bounds: Vec<String> =
            [bound(">=", self.since_ms), bound("<", self.until_ms)].into_iter().flatten().collect();
        let bounds = if bounds.is_empty() { "true".to_owned() } else { bounds.join(" AND ") };
        format!("FROM {}.event WHERE {bounds} ORDER BY event.received_at, event_id", quoted(schema))
    }
}

/// Times as the service writes them. The form without a zone is the only one that `to_char` has in UTC.
fn time(column: &str) -> String {
    format!("to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS {column}")
}

/// Writes CSV with a header, and tells how many rows there were. `tell` hears of bytes as they are written.
///
/// # Errors
/// What was written so far is no whole export.
pub async fn csv(
    client: &mut Client,
    schema: &str,
    span: Span,
    out: &mut impl Write,
    tell: impl Fn(u64),
) -> Result<u64, ExportError> {
    let transaction = look(client).await?;
    // A login may have a limit; this takes as long as there are events.
    transaction.batch_execute("SET LOCAL statement_timeout = 0").await?;
    let (occurred, client_occurred, received) =
        (time("occurred_at"), time("client_occurred_at"), time("received_at"));
    let sql = format!(
        "COPY (SELECT event_id, type, session_id, viewer_id, content_id, item_id, {occurred}, {client_occurred}, {received}, \
                      seq, position_ms, rate, watched, played_ms, answer, correct::text, score, attempt, elapsed_ms, details \
               {from}) TO STDOUT (FORMAT csv, HEADER)",
        from = span.from(schema),
    );
    let stream = transaction.copy_out(&sql).await?;
    let mut chunks = std::pin::pin!(stream);
    // Postgres sends each row by itself, and the header as one.
    let mut sent = 0_u64;
    while let Some(chunk) = chunks.try_next().await? {
        out.write_all(&chunk)?;
        tell(chunk.len() as u64);
        sent += 1;
    }
    out.flush()?;
    Ok(sent.saturating_sub(1))
}

/// Writes a Parquet file: a column for each of `event`'s, with types and statistics, and tells how many rows there were.
/// `tell` hears of rows as they are read.
///
/// # Errors
/// What was written so far is no Parquet file.
pub async fn parquet(
    client: &mut Client,
    schema: &str,
    span: Span,
    out: impl Write + Send,
    tell: impl Fn(u64),
) -> Result<u64, ExportError> {
    let transaction = look(client).await?;
    transaction.batch_execute("SET LOCAL statement_timeout = 0").await?;
    let sql = format!("SELECT {} {}", parquet::COLUMNS, span.from(schema));
    let rows = transaction.query_raw(&sql, Vec::<i32>::new()).await?;
    let mut rows = std::pin::pin!(rows);
    let mut file = parquet::File::begin(out)?;
    let mut read = 0_u64;
    while let Some(row) = rows.next().await {
        file.push(&row?)?;
        tell(1);
        read += 1;
    }
    file.finish()?;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_who_had_enough_is_known_through_the_format() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(ExportError::from(ParquetError::from(gone)).is_broken_pipe());
        assert!(!ExportError::from(ParquetError::EOF("early".to_owned())).is_broken_pipe());
    }
}

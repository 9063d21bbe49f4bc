//! A dead letter back into a row: what `loader::dead_letter` wrote, read again.

use tokio_postgres::types::Type;
use tokio_postgres::{Error, Transaction};

use super::writer::{COLUMNS, insert_rows, insert_statement, rows_of};
use crate::log::record::RecordView;
use crate::store::dead_letters::Inserted;

/// Puts the letter's event into `event` of `schema` (quoted), unless its id is there: from the letter's columns, or from
/// `record` where it has one.
///
/// # Errors
/// Postgres, which may refuse the row again.
pub async fn insert_letter(
    transaction: &Transaction<'_>,
    schema: &str,
    letter: i64,
    record: Option<Vec<u8>>,
) -> Result<Inserted, Error> {
    let inserted = match record {
        None => insert_columns(transaction, schema, letter).await?,
        Some(record) => {
            let mut rows = Vec::new();
            let decoded = RecordView::parse(&record).is_ok_and(|view| rows_of(&view, 0, &mut rows).is_ok());
            if !decoded || rows.len() != 1 {
                return Ok(Inserted::Unreadable);
            }
            insert_rows(transaction.client(), &insert_statement(schema), &rows).await?
        }
    };
    Ok(if inserted == 0 { Inserted::Duplicate } else { Inserted::New })
}

async fn insert_columns(transaction: &Transaction<'_>, schema: &str, letter: i64) -> Result<u64, Error> {
    let sql = format!(
        "INSERT INTO {schema}.event ({COLUMNS}) SELECT {COLUMNS} FROM jsonb_populate_record( \
             NULL::{schema}.event, (SELECT event FROM {schema}.dead_letter WHERE id = $1)) \
         ON CONFLICT (event_id) DO NOTHING"
    );
    transaction.execute_typed(&sql, &[(&letter, Type::INT8)]).await
}

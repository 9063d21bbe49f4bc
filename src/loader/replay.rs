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
    if inserted > 0 {
        return Ok(Inserted::New);
    }
    Ok(if is_there(transaction, schema, letter).await? { Inserted::Duplicate } else { Inserted::Swallowed })
}

/// Whether the letter's event is in the table: that no row was inserted does not say so.
async fn is_there(transaction: &Transaction<'_>, schema: &str, letter: i64) -> Result<bool, Error> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM {schema}.event JOIN {schema}.dead_letter USING (event_id) WHERE id = $1)"
    );
    Ok(transaction.query_typed_one(&sql, &[(&letter, Type::INT8)]).await?.get(0))
}

async fn insert_columns(transaction: &Transaction<'_>, schema: &str, letter: i64) -> Result<u64, Error> {
    let sql = format!(
        "INSERT INTO {schema}.event ({COLUMNS}) SELECT {COLUMNS} FROM jsonb_populate_record( \
             NULL::{schema}.event, (SELECT event FROM {schema}.dead_letter WHERE id = $1)) \
         ON CONFLICT (event_id) DO NOTHING"
    );
    transaction.execute_typed(&sql, &[(&letter, Type::INT8)]).await
}

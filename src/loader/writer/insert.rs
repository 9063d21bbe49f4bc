//! Small batches: one `INSERT … SELECT unnest(…) ON CONFLICT DO NOTHING`, an array a column.

use std::error::Error;
use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use tokio_postgres::Client;
use tokio_postgres::types::{IsNull, ToSql, Type, accepts, to_sql_checked};

use super::copy::COLUMNS;
use super::rows::{Row, postgres_micros};
use crate::event::UnixMillis;

/// The SQL of it, for a schema whose name is quoted already.
pub(in crate::loader) fn statement(schema: &str) -> String {
    format!(
        "INSERT INTO {schema}.event ({COLUMNS}) \
         SELECT a, b, c, d, e, f, g, h, i, j, k, l, m::int4range[], n, o::jsonb, p, q, r, s, t::jsonb \
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) \
         AS rows (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t) \
         ON CONFLICT (event_id) DO NOTHING"
    )
}

/// Inserts what is not there yet with a [`statement`]; gives back how many rows were.
pub(in crate::loader) async fn insert_rows(
    client: &Client,
    statement: &str,
    rows: &[Row<'_>],
) -> Result<u64, tokio_postgres::Error> {
    macro_rules! column {
        (|$event:ident| $value:expr) => {
            rows.iter()
                .map(|row| {
                    let $event = &row.event;
                    $value
                })
                .collect::<Vec<_>>()
        };
    }
    let id = column!(|event| event.id);
    let type_name = column!(|event| event.type_name.as_ref());
    let session_id = column!(|event| event.session_id.as_ref());
    let viewer_id = column!(|event| event.viewer_id.as_ref());
    let content_id = column!(|event| event.content_id.as_ref());
    let item_id = column!(|event| event.item_id.as_deref());
    let occurred_at = column!(|event| Time(event.occurred_at));
    let client_occurred_at = column!(|event| Time(event.client_occurred_at));
    let received_at: Vec<_> = rows.iter().map(|row| Time(row.received_at)).collect();
    let seq = column!(|event| event.seq.map(i64::from));
    let position_ms = column!(|event| event.position_ms.map(u32::cast_signed));
    let rate = column!(|event| event.rate);
    let watched = column!(|event| event.watched.as_deref().map(ranges_literal));
    let played_ms = column!(|event| event.played_ms.map(u32::cast_signed));
    let answer = column!(|event| event.answer.as_deref());
    let correct = column!(|event| event.correct);
    let score = column!(|event| event.score);
    let attempt = column!(|event| event.attempt.map(u16::cast_signed));
    let elapsed_ms = column!(|event| event.elapsed_ms.map(u32::cast_signed));
    let details = column!(|event| event.details.as_deref());
    let columns: [(&(dyn ToSql + Sync), Type); 20] = [
        (&id, Type::UUID_ARRAY),
        (&type_name, Type::TEXT_ARRAY),
        (&session_id, Type::TEXT_ARRAY),
        (&viewer_id, Type::TEXT_ARRAY),
        (&content_id, Type::TEXT_ARRAY),
        (&item_id, Type::TEXT_ARRAY),
        (&occurred_at, Type::TIMESTAMPTZ_ARRAY),
        (&client_occurred_at, Type::TIMESTAMPTZ_ARRAY),
        (&received_at, Type::TIMESTAMPTZ_ARRAY),
        (&seq, Type::INT8_ARRAY),
        (&position_ms, Type::INT4_ARRAY),
        (&rate, Type::FLOAT4_ARRAY),
        (&watched, Type::TEXT_ARRAY),
        (&played_ms, Type::INT4_ARRAY),
        (&answer, Type::TEXT_ARRAY),
        (&correct, Type::BOOL_ARRAY),
        (&score, Type::FLOAT4_ARRAY),
        (&attempt, Type::INT2_ARRAY),
        (&elapsed_ms, Type::INT4_ARRAY),
        (&details, Type::TEXT_ARRAY),
    ];
    client.execute_typed(statement, &columns).await
}

/// A time as COPY writes it. Arithmetic in SQL (`interval * bigint`) goes through a float, which is microseconds off a few
/// thousand years from now.
#[derive(Debug)]
struct Time(UnixMillis);

impl ToSql for Time {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i64(postgres_micros(self.0));
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

/// Intervals as the text of an `int4range[]`: an array of ranges cannot be unnested one range list a row.
fn ranges_literal(intervals: &[(u32, u32)]) -> String {
    let mut text = String::from("{");
    for (index, (start, end)) in intervals.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(text, "{comma}\"[{start},{end})\"").expect("writing to a String does not fail");
    }
    text.push('}');
    text
}

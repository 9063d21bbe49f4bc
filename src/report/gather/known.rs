//! What the tables hold of viewings, looked up as many at a time as there is memory for.

use std::pin::pin;

use futures_util::TryStreamExt as _;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::column;
use super::names::{Place, Texts};
use super::table::Table;
use super::viewings::Entry;
use crate::report::ReportError;
use crate::report::interval::Union;

pub(super) const UNREADABLE: ReportError = ReportError::unreadable("report_viewer_content");

/// Each by its number here.
const KNOWN: &str = "SELECT (key.n - 1)::integer, o.ctid, o.sessions, o.unique_ms, o.watched, o.session_ids, o.session_days \
     FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS key (content_id, viewer_id, n) \
     CROSS JOIN LATERAL (SELECT r.ctid, r.* FROM {schema}.report_viewer_content AS r \
                         WHERE r.build = {build} AND r.content_id = key.content_id AND r.viewer_id = key.viewer_id LIMIT 1) AS o";

/// What a viewing's row holds; of one that has none, nothing.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) place: Option<Place>,
    pub(super) sessions: i64,
    pub(super) unique_ms: i64,
    pub(super) watched: Union,
    pub(super) session_ids: Vec<String>,
    pub(super) session_days: Vec<i32>,
}

impl Known {
    fn read(row: &Row) -> Result<Self, ReportError> {
        Ok(Self {
            place: Some(row.try_get(1)?),
            sessions: row.try_get(2)?,
            unique_ms: row.try_get(3)?,
            watched: row.try_get(4)?,
            session_ids: row.try_get(5)?,
            session_days: row.try_get(6)?,
        })
    }
}

/// Viewings with what is known of them, and those that are to be looked up again, because the others' rows took all the room.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) known: Vec<(Entry<'a>, Known)>,
    pub(super) left: Vec<Entry<'a>>,
}

/// Looks some viewings up. At least one is found; both parts are in the order that they came in.
pub(super) async fn look_up<'a>(
    table: &Table<'_>,
    names: &Texts<'_>,
    viewings: Vec<Entry<'a>>,
) -> Result<Found<'a>, ReportError> {
    let contents = column(&viewings, |((content, _), _)| names.contents[*content]);
    let viewers = column(&viewings, |((_, viewer), _)| names.viewers[*viewer]);
    let columns = [(&contents as _, Type::TEXT_ARRAY), (&viewers as _, Type::TEXT_ARRAY)];
    let mut rows = pin!(table.stream(KNOWN, &columns).await?);
    let mut all: Vec<Option<Known>> =
        std::iter::repeat_with(|| Some(Known::default())).take(viewings.len()).collect();
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        let n = usize::try_from(row.try_get::<_, i32>(0)?).ok();
        let known = n.and_then(|n| all.get_mut(n)).ok_or(UNREADABLE)?;
        *known = if bytes == 0 || bytes < table.held_bytes { Some(Known::read(&row)?) } else { None };
        bytes += row.raw_size_bytes();
    }
    let mut found = Found { known: Vec::with_capacity(viewings.len()), left: Vec::new() };
    for (viewing, known) in viewings.into_iter().zip(all) {
        match known {
            Some(known) => found.known.push((viewing, known)),
            None => found.left.push(viewing),
        }
    }
    Ok(found)
}

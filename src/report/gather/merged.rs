//! Viewings as they are to be: what is new, merged with what the tables hold.

use std::fmt::Write as _;

use tokio_postgres::types::{ToSql, Type};

use super::curves::Curves;
use super::days::Days;
use super::known::{Known, UNREADABLE};
use super::names::{Moment, Place, Texts};
use super::table::Table;
use super::viewings::{Entry, Key, Viewing};
use super::{ROWS, column};
use crate::report::ReportError;
use crate::report::interval::Union;

/// So many of a viewing's sessions stand in its own row.
const OWN_SESSIONS: usize = 8;

/// Of sessions that no viewing's row holds, those that are new.
const FURTHER: &str = "INSERT INTO {schema}.report_further_session (build, content_id, viewer_id, session_id) \
     SELECT {build}, content_id, viewer_id, session_id \
     FROM unnest($1::text[], $2::text[], $3::text[]) AS each (content_id, viewer_id, session_id) \
     ON CONFLICT DO NOTHING RETURNING content_id, viewer_id";
const ADD: &str = "INSERT INTO {schema}.report_viewer_content (build, content_id, viewer_id, sessions, plays, watched, unique_ms, \
         watched_ms, first_at, last_at, session_ids, session_days) \
     SELECT {build}, content_id, viewer_id, sessions, plays, watched, unique_ms, watched_ms, first_at, last_at, \
         session_ids::text[], session_days::integer[] \
     FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::int4multirange[], $6::bigint[], $7::bigint[], \
                 $8::timestamptz[], $9::timestamptz[], $10::text[], $11::text[]) \
         AS new (content_id, viewer_id, sessions, plays, watched, unique_ms, watched_ms, first_at, last_at, session_ids, session_days)";
const KEEP: &str = "UPDATE {schema}.report_viewer_content AS kept \
     SET sessions = kept.sessions + new.sessions, plays = kept.plays + new.plays, \
         watched = new.watched, unique_ms = new.unique_ms, watched_ms = kept.watched_ms + new.watched_ms, \
         first_at = least(kept.first_at, new.first_at), last_at = greatest(kept.last_at, new.last_at), \
         session_ids = coalesce(new.session_ids::text[], kept.session_ids), \
         session_days = coalesce(new.session_days::integer[], kept.session_days) \
     FROM unnest($1::tid[], $2::bigint[], $3::bigint[], $4::int4multirange[], $5::bigint[], $6::bigint[], \
                 $7::timestamptz[], $8::timestamptz[], $9::text[], $10::text[]) \
         AS new (place, sessions, plays, watched, unique_ms, watched_ms, first_at, last_at, session_ids, session_days) \
     WHERE kept.ctid = new.place";

/// A viewing's row, as it is to be.
#[derive(Debug)]
pub(super) struct Merged<'a> {
    pub(super) key: Key,
    pub(super) new: &'a Viewing,
    place: Option<Place>,
    pub(super) new_sessions: i64,
    pub(super) was_unique_ms: i64,
    pub(super) unique_ms: i64,
    pub(super) watched_ms: i64,
    watched: Union,
    /// If they changed: the sessions of its own, and their days, as Postgres writes arrays.
    own_sessions: Option<(String, String)>,
}

impl<'a> Merged<'a> {
    /// Merges what is known of viewings with what is new of them.
    pub(super) async fn all(
        table: &Table<'_>,
        viewings: Vec<(Entry<'a>, Known)>,
        names: &Texts<'_>,
        curves: &mut Curves,
        days: &mut Days,
    ) -> Result<Vec<Self>, ReportError> {
        let mut merged = Vec::with_capacity(viewings.len());
        let mut further = Vec::new();
        for ((key, viewing), known) in viewings {
            let further = |session| further.push((merged.len(), session));
            let one = Self::of(key, viewing, known, names, curves, days, further);
            merged.push(one);
        }
        for some in further.chunks(ROWS) {
            count_further(table, names, &mut merged, some).await?;
        }
        Ok(merged)
    }

    fn of(
        key: Key,
        new: &'a mut Viewing,
        mut known: Known,
        names: &Texts<'_>,
        curves: &mut Curves,
        days: &mut Days,
        mut further: impl FnMut(usize),
    ) -> Self {
        let (content, viewer) = key;
        let watched_ms = new.parts.iter().map(|(from, to)| i64::from(*to) - i64::from(*from)).sum();
        new.parts.iter().for_each(|span| curves.watched_once_more(content, *span));
        let (watched, gained) = known.watched.and(&mut new.parts);
        gained.iter().for_each(|span| curves.watched_by_one_more(content, *span));
        let gained_ms: i64 = gained.iter().map(|(from, to)| i64::from(*to) - i64::from(*from)).sum();

        let (mut new_sessions, mut are_other) = (0, known.place.is_none());
        for (session, day) in &new.visits {
            let id = names.sessions[*session];
            match known.session_ids.iter().position(|known| known == id) {
                Some(n) if known.session_days.get(n) == Some(&day.number()) => continue,
                Some(n) => {
                    known.session_days.resize(known.session_ids.len(), day.number());
                    known.session_days[n] = day.number();
                    are_other = true;
                }
                // Its row has room, and holds all that there are.
                None if known.session_ids.len() < OWN_SESSIONS
                    && i64::try_from(known.session_ids.len()) == Ok(known.sessions + new_sessions) =>
                {
                    known.session_ids.push(id.to_owned());
                    known.session_days.push(day.number());
                    new_sessions += 1;
                    are_other = true;
                }
                None => further(*session),
            }
            days.visit(*day, viewer, *session);
        }
        let own_sessions = are_other.then(|| (texts(&known.session_ids), numbers(&known.session_days)));
        Self {
            key,
            new,
            place: known.place,
            new_sessions,
            was_unique_ms: known.unique_ms,
            unique_ms: known.unique_ms + gained_ms,
            watched_ms,
            watched,
            own_sessions,
        }
    }

    pub(super) fn is_new(&self) -> bool {
        self.place.is_none()
    }

    /// Writes them.
    pub(super) async fn write(
        table: &Table<'_>,
        names: &Texts<'_>,
        merged: &[Self],
    ) -> Result<(), ReportError> {
        let (new, kept): (Vec<&Self>, Vec<&Self>) = merged.iter().partition(|one| one.is_new());
        let contents = column(&new, |one| names.contents[one.key.0]);
        let viewers = column(&new, |one| names.viewers[one.key.1]);
        let places = column(&kept, |one| one.place);
        let (added, changed) = (Columns::of(&new), Columns::of(&kept));
        let mut add: Vec<(&(dyn ToSql + Sync), Type)> =
            vec![(&contents, Type::TEXT_ARRAY), (&viewers, Type::TEXT_ARRAY)];
        add.extend(added.all());
        let mut keep: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&places, Type::TID_ARRAY)];
        keep.extend(changed.all());
        tokio::try_join!(table.write_all(ADD, new.len(), &add), table.write_all(KEEP, kept.len(), &keep))?;
        Ok(())
    }
}

/// What both statements are given.
struct Columns<'a> {
    sessions: Vec<i64>,
    plays: Vec<i64>,
    watched: Vec<&'a Union>,
    unique_ms: Vec<i64>,
    watched_ms: Vec<i64>,
    first_at: Vec<Moment>,
    last_at: Vec<Moment>,
    session_ids: Vec<Option<&'a str>>,
    session_days: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(merged: &[&'a Merged<'_>]) -> Self {
        Self {
            sessions: column(merged, |one| one.new_sessions),
            plays: column(merged, |one| one.new.plays),
            watched: column(merged, |one| &one.watched),
            unique_ms: column(merged, |one| one.unique_ms),
            watched_ms: column(merged, |one| one.watched_ms),
            first_at: column(merged, |one| one.new.first_at),
            last_at: column(merged, |one| one.new.last_at),
            session_ids: column(merged, |one| one.own_sessions.as_ref().map(|(ids, _)| ids.as_str())),
            session_days: column(merged, |one| one.own_sessions.as_ref().map(|(_, days)| days.as_str())),
        }
    }

    fn all(&self) -> [(&(dyn ToSql + Sync), Type); 9] {
        [
            (&self.sessions, Type::INT8_ARRAY),
            (&self.plays, Type::INT8_ARRAY),
            (&self.watched, Type::INT4MULTI_RANGE_ARRAY),
            (&self.unique_ms, Type::INT8_ARRAY),
            (&self.watched_ms, Type::INT8_ARRAY),
            (&self.first_at, Type::TIMESTAMPTZ_ARRAY),
            (&self.last_at, Type::TIMESTAMPTZ_ARRAY),
            (&self.session_ids, Type::TEXT_ARRAY),
            (&self.session_days, Type::TEXT_ARRAY),
        ]
    }
}

/// Sessions that their viewing's row has no room for, by the viewing's place in `merged`.
async fn count_further(
    table: &Table<'_>,
    names: &Texts<'_>,
    merged: &mut [Merged<'_>],
    further: &[(usize, usize)],
) -> Result<(), ReportError> {
    let contents = column(further, |(n, _)| names.contents[merged[*n].key.0]);
    let viewers = column(further, |(n, _)| names.viewers[merged[*n].key.1]);
    let sessions = column(further, |(_, session)| names.sessions[*session]);
    let columns: [(&(dyn ToSql + Sync), Type); 3] =
        [(&contents, Type::TEXT_ARRAY), (&viewers, Type::TEXT_ARRAY), (&sessions, Type::TEXT_ARRAY)];
    for row in table.query(FURTHER, &columns).await? {
        let (content, viewer): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        let at = merged.binary_search_by_key(&(content, viewer), |one| {
            (names.contents[one.key.0], names.viewers[one.key.1])
        });
        merged[at.map_err(|_| UNREADABLE)?].new_sessions += 1;
    }
    Ok(())
}

/// An array of texts, as Postgres reads it.
fn texts(texts: &[String]) -> String {
    let quoted: Vec<String> =
        texts.iter().map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    format!("{{{}}}", quoted.join(","))
}

fn numbers(numbers: &[i32]) -> String {
    let mut array = String::from("{");
    for (n, number) in numbers.iter().enumerate() {
        let _infallible = write!(array, "{}{number}", if n == 0 { "" } else { "," });
    }
    array + "}"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_written_as_postgres_reads_them() {
        assert_eq!(texts(&[]), "{}");
        assert_eq!(
            texts(&[r#"a"b\c"#.to_owned(), "NULL".to_owned(), String::new()]),
            r#"{"a\"b\\c","NULL",""}"#
        );
        assert_eq!(numbers(&[i32::MIN, 0, 7]), "{-2147483648,0,7}");
    }
}

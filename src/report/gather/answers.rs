//! What viewers did with items.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::names::{Moment, Texts};
use super::table::Table;
use super::times::Times;
use super::{ENTRY_BYTES, column, stretches};
use crate::report::ReportError;

const ADD: &str = include_str!("../sql/answering.sql");

/// What an event says that a viewer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Shown,
    Answered,
    Skipped,
    Revised,
    /// Another `item.*`: it names the item, no more.
    Other,
}

impl Act {
    /// `None`: the type is not of an item.
    pub(super) fn of(kind: &str) -> Option<Self> {
        Some(match kind.strip_prefix("item.")? {
            "shown" => Self::Shown,
            "answered" => Self::Answered,
            "skipped" => Self::Skipped,
            "revised" => Self::Revised,
            _ => Self::Other,
        })
    }
}

/// An answer, but for its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// In the contract's order: time, seq (-1: none), id.
    pub(super) place: (Moment, i64, Uuid),
    pub(super) correct: Option<bool>,
    pub(super) score: Option<f32>,
    pub(super) elapsed_ms: Option<i32>,
}

/// Of one viewer with one item.
#[derive(Debug, Default)]
pub(super) struct Acts {
    shown: bool,
    skipped: bool,
    revised: bool,
    attempts: i64,
    first: Option<(Answer, Option<Box<str>>)>,
    last: Option<(Answer, Option<Box<str>>)>,
}

impl Acts {
    fn text_bytes(&self) -> usize {
        let texts = [&self.first, &self.last].into_iter().flatten();
        texts.filter_map(|(_, text)| text.as_deref()).map(str::len).sum()
    }
}

/// By numbers: the content, the item and the viewer.
type Key = (usize, usize, usize);

#[derive(Debug, Default)]
pub(super) struct Answers {
    acts: HashMap<Key, Acts, RandomState>,
    times: Times,
    /// Of texts that were kept, those that are not any more included.
    text_bytes: usize,
}

impl Answers {
    pub(super) fn note(&mut self, key: Key, act: Act) {
        let acts = self.acts.entry(key).or_default();
        match act {
            Act::Shown => acts.shown = true,
            Act::Answered => acts.attempts += 1,
            Act::Skipped => acts.skipped = true,
            Act::Revised => acts.revised = true,
            Act::Other => {}
        }
    }

    pub(super) fn answered(&mut self, key: Key, answer: Answer, text: Option<&str>) {
        let acts = self.acts.entry(key).or_default();
        let is_first = acts.first.as_ref().is_none_or(|(first, _)| answer.place < first.place);
        let is_last = acts.last.as_ref().is_none_or(|(last, _)| answer.place > last.place);
        for (is_it, kept) in [(is_first, &mut acts.first), (is_last, &mut acts.last)] {
            if is_it {
                *kept = Some((answer, text.map(Box::from)));
                self.text_bytes += text.map_or(0, str::len);
            }
        }
        if let Some(elapsed_ms) = answer.elapsed_ms {
            self.times.add((key.0, key.1), elapsed_ms);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.acts.len() * (size_of::<Acts>() + ENTRY_BYTES) + self.times.bytes() + self.text_bytes
    }

    /// Adds them to those that are kept.
    pub(super) async fn write(&self, table: &Table<'_>, names: &Texts<'_>) -> Result<(), ReportError> {
        let mut sorted: Vec<(&Key, &Acts)> = self.acts.iter().collect();
        let of = |key: &Key| (names.contents[key.0], names.items[key.1], names.viewers[key.2]);
        // In the order of the table's key, by bytes: neighbours share a page.
        sorted.sort_unstable_by_key(|(key, _)| of(key));
        for some in stretches(&sorted, table.held_bytes, |(_, acts)| acts.text_bytes()) {
            write_some(table, names, some).await?;
        }
        self.times.write(table, names).await
    }
}

async fn write_some(table: &Table<'_>, names: &Texts<'_>, some: &[(&Key, &Acts)]) -> Result<(), ReportError> {
    let (keys, acts) = (|| some.iter().map(|(key, _)| *key), || some.iter().map(|(_, acts)| *acts));
    let firsts = || acts().map(|acts| acts.first.as_ref());
    let lasts = || acts().map(|acts| acts.last.as_ref());
    let columns: [(&(dyn ToSql + Sync), Type); 20] = [
        (&column(keys(), |key| names.contents[key.0]), Type::TEXT_ARRAY),
        (&column(keys(), |key| names.items[key.1]), Type::TEXT_ARRAY),
        (&column(keys(), |key| names.viewers[key.2]), Type::TEXT_ARRAY),
        (&column(acts(), |acts| acts.shown), Type::BOOL_ARRAY),
        (&column(acts(), |acts| acts.skipped), Type::BOOL_ARRAY),
        (&column(acts(), |acts| acts.revised), Type::BOOL_ARRAY),
        (&column(acts(), |acts| acts.attempts), Type::INT8_ARRAY),
        (&column(firsts(), |first| first.map(|(answer, _)| answer.place.0)), Type::TIMESTAMPTZ_ARRAY),
        (&column(firsts(), |first| first.map(|(answer, _)| answer.place.1)), Type::INT8_ARRAY),
        (&column(firsts(), |first| first.map(|(answer, _)| answer.place.2)), Type::UUID_ARRAY),
        (&column(firsts(), |first| first.and_then(|(_, text)| text.as_deref())), Type::TEXT_ARRAY),
        (&column(firsts(), |first| first.and_then(|(answer, _)| answer.correct)), Type::BOOL_ARRAY),
        (&column(firsts(), |first| first.and_then(|(answer, _)| answer.score)), Type::FLOAT4_ARRAY),
        (&column(lasts(), |last| last.map(|(answer, _)| answer.place.0)), Type::TIMESTAMPTZ_ARRAY),
        (&column(lasts(), |last| last.map(|(answer, _)| answer.place.1)), Type::INT8_ARRAY),
        (&column(lasts(), |last| last.map(|(answer, _)| answer.place.2)), Type::UUID_ARRAY),
        (&column(lasts(), |last| last.and_then(|(_, text)| text.as_deref())), Type::TEXT_ARRAY),
        (&column(lasts(), |last| last.and_then(|(answer, _)| answer.correct)), Type::BOOL_ARRAY),
        (&column(lasts(), |last| last.and_then(|(answer, _)| answer.score)), Type::FLOAT4_ARRAY),
        (&column(lasts(), |last| last.and_then(|(answer, _)| answer.elapsed_ms)), Type::INT4_ARRAY),
    ];
    table.write(ADD, &columns).await
}

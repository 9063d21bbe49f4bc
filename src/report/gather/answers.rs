//! What viewers did with items.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::names::{Moment, Texts};
use super::table::Table;
use super::{ENTRY_BYTES, column};
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

/// By numbers: the content, the item and the viewer.
type Key = (usize, usize, usize);

#[derive(Debug, Default)]
pub(super) struct Answers {
    acts: HashMap<Key, Acts, RandomState>,
    /// By content and item: how long answers took.
    elapsed: HashMap<(usize, usize), Vec<i32>, RandomState>,
    /// How many those are.
    times: usize,
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
            self.elapsed.entry((key.0, key.1)).or_default().push(elapsed_ms);
            self.times += 1;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.acts.len() * (size_of::<Acts>() + ENTRY_BYTES)
            + self.elapsed.len() * ENTRY_BYTES
            + self.times * 2 * size_of::<i32>()
            + self.text_bytes
    }

    /// Adds them to those that are kept: the acts are the statement's first twenty arrays. Five more are the times that answers
    /// took: one list, and each item's stretch of it.
    pub(super) async fn write(&self, table: &Table<'_>, names: &Texts<'_>) -> Result<(), ReportError> {
        if self.acts.is_empty() {
            return Ok(());
        }
        let mut sorted: Vec<(&Key, &Acts)> = self.acts.iter().collect();
        let of = |key: &Key| (names.contents[key.0], names.items[key.1], names.viewers[key.2]);
        // In the order of the table's key, by bytes: neighbours share a page.
        sorted.sort_unstable_by_key(|(key, _)| of(key));
        let (keys, acts) = (|| sorted.iter().map(|(key, _)| *key), || sorted.iter().map(|(_, acts)| *acts));
        let firsts = || acts().map(|acts| acts.first.as_ref());
        let lasts = || acts().map(|acts| acts.last.as_ref());
        let (mut elapsed, mut stretches) =
            (Vec::with_capacity(self.times), Vec::with_capacity(self.elapsed.len()));
        let end = |elapsed: &Vec<i32>| i32::try_from(elapsed.len()).unwrap_or(i32::MAX);
        for (item, times) in &self.elapsed {
            let first = end(&elapsed).saturating_add(1);
            elapsed.extend(times);
            stretches.push((item, first, end(&elapsed)));
        }
        let columns: [(&(dyn ToSql + Sync), Type); 25] = [
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
            (&column(&stretches, |((content, _), ..)| names.contents[*content]), Type::TEXT_ARRAY),
            (&column(&stretches, |((_, item), ..)| names.items[*item]), Type::TEXT_ARRAY),
            (&column(&stretches, |(_, first, _)| *first), Type::INT4_ARRAY),
            (&column(&stretches, |(.., last)| *last), Type::INT4_ARRAY),
            (&elapsed, Type::INT4_ARRAY),
        ];
        table.write(ADD, &columns).await
    }
}

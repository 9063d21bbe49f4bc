//! How long answers to items took. They are appended as they come, which touches one row an item; where many have come since
//! they were last counted, at least half as many as differ, they are counted again. So each answer costs about three times what it
//! takes to count one, and who reads them reads no more than about one and a half times as many as differ.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tokio_postgres::types::{ToSql, Type};

use super::names::Texts;
use super::table::Table;
use super::{ENTRY_BYTES, ROWS, column};
use crate::report::ReportError;

const ADD: &str = include_str!("../sql/elapsed.sql");
const COUNT: &str = include_str!("../sql/counting.sql");
/// Items whose times are counted after a statement that adds some, at most: what is overdue then is so the next time.
const COUNTED: &str = "16";

/// By numbers: the content and the item.
type Key = (usize, usize);

#[derive(Debug, Default)]
pub(super) struct Times {
    elapsed_ms: HashMap<Key, Vec<i32>, RandomState>,
    /// Of all.
    times: usize,
}

impl Times {
    pub(super) fn add(&mut self, key: Key, elapsed_ms: i32) {
        self.elapsed_ms.entry(key).or_default().push(elapsed_ms);
        self.times += 1;
    }

    /// A list has room for twice its length; and each is sent as eight bytes.
    pub(super) fn bytes(&self) -> usize {
        self.elapsed_ms.len() * (size_of::<(Key, Vec<i32>)>() + ENTRY_BYTES)
            + self.times * 4 * size_of::<i32>()
    }

    /// Adds them to those that are kept, whose items have their rows.
    pub(super) async fn write(&self, table: &Table<'_>, names: &Texts<'_>) -> Result<(), ReportError> {
        let mut sorted: Vec<(&Key, &Vec<i32>)> = self.elapsed_ms.iter().collect();
        sorted.sort_unstable_by_key(|(key, _)| (names.contents[key.0], names.items[key.1]));
        for some in sorted.chunks(ROWS) {
            write_some(table, names, some).await?;
        }
        Ok(())
    }
}

/// One list, and each item's stretch of it; then those are counted of which that is due.
async fn write_some(
    table: &Table<'_>,
    names: &Texts<'_>,
    some: &[(&Key, &Vec<i32>)],
) -> Result<(), ReportError> {
    let (mut elapsed_ms, mut ends) = (Vec::new(), Vec::with_capacity(some.len()));
    let end = |elapsed_ms: &Vec<i32>| i32::try_from(elapsed_ms.len()).unwrap_or(i32::MAX);
    for (_, times) in some {
        let first = end(&elapsed_ms).saturating_add(1);
        elapsed_ms.extend_from_slice(times);
        ends.push((first, end(&elapsed_ms)));
    }
    let columns: [(&(dyn ToSql + Sync), Type); 5] = [
        (&column(some, |(key, _)| names.contents[key.0]), Type::TEXT_ARRAY),
        (&column(some, |(key, _)| names.items[key.1]), Type::TEXT_ARRAY),
        (&column(&ends, |(first, _)| *first), Type::INT4_ARRAY),
        (&column(&ends, |(_, last)| *last), Type::INT4_ARRAY),
        (&elapsed_ms, Type::INT4_ARRAY),
    ];
    let add = ADD.replace("{loose_times}", &table.loose_times.to_string()).replace("{most}", COUNTED);
    let due = table.query(&add, &columns).await?;
    if due.is_empty() {
        return Ok(());
    }
    let contents: Vec<&str> = due.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let items: Vec<&str> = due.iter().map(|row| row.try_get(1)).collect::<Result<_, _>>()?;
    table.write(COUNT, &[(&contents, Type::TEXT_ARRAY), (&items, Type::TEXT_ARRAY)]).await
}

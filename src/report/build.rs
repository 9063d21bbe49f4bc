//! A set of summaries, and which rows of `event` are in it.

use std::fmt::Write as _;

use tokio_postgres::SimpleQueryRow;

use super::ReportError;
use crate::tenant::Completion;

/// What a build is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The views show it.
    Current,
    /// A rebuild makes it.
    Building,
    /// To be deleted.
    Old,
}

/// One row of `report_build`.
#[derive(Clone, Debug)]
pub(super) struct Build {
    pub(super) number: i32,
    pub(super) state: State,
    /// Whether its transactions are this cluster's: a dump that was restored brings those of another one along.
    is_at_home: bool,
    /// Rows of older transactions are in, but for those of `open`. `None`: nothing is in.
    next_txid: Option<i64>,
    /// Older transactions that had not ended.
    open: Vec<i64>,
    foreign: Option<Foreign>,
    pub(super) next_block: i64,
    pub(super) end_block: i64,
    pub(super) completion: Completion,
}

/// Rows that came with a dump and claim transactions which this cluster had not begun then. What they claim says nothing,
/// so their place in time is that of the tuple.
#[derive(Clone, Copy, Debug)]
struct Foreign {
    from: i64,
    until: i64,
}

/// What a transaction sees.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// Older transactions have ended, but for those of `open`.
    pub(super) next_txid: i64,
    pub(super) open: Vec<i64>,
}

/// How [`Build::read`] and [`Snapshot::read`] find the columns.
pub(super) const COLUMNS: &str = "b.build, b.state, b.system_identifier = c.system_identifier AS is_at_home, b.next_txid, \
     array_to_string(b.open_txids, ',') AS open_txids, b.foreign_from, b.foreign_until, b.next_block, b.end_block, \
     trim_scale(b.completion) AS completion, txid_snapshot_xmax(txid_current_snapshot()) AS now_txid, \
     array_to_string(ARRAY(SELECT txid_snapshot_xip(txid_current_snapshot())), ',') AS now_open";

impl Build {
    /// # Errors
    /// The row is none that we wrote.
    pub(super) fn read(row: &SimpleQueryRow) -> Result<Self, ReportError> {
        let state = match row.get("state") {
            Some("current") => State::Current,
            Some("building") => State::Building,
            Some("old") => State::Old,
            _ => return Err(ReportError::unreadable("a build is in no known state")),
        };
        let foreign = number(row, "foreign_from")?.zip(number(row, "foreign_until")?);
        Ok(Self {
            number: required(row, "build")?,
            state,
            is_at_home: row.get("is_at_home") == Some("t"),
            next_txid: number(row, "next_txid")?,
            open: numbers(row, "open_txids")?,
            foreign: foreign.map(|(from, until)| Foreign { from, until }),
            next_block: required(row, "next_block")?,
            end_block: required(row, "end_block")?,
            completion: required(row, "completion")?,
        })
    }

    /// Whether new rows can be added to it; otherwise a rebuild has to come first.
    pub(super) fn is_usable(&self) -> bool {
        self.is_at_home && self.next_txid.is_some()
    }

    /// Whether rows of `event` are still found by their place.
    pub(super) fn is_in_table(&self) -> bool {
        self.next_block < self.end_block
    }

    /// The first transaction whose rows no turn has looked for yet.
    pub(super) fn next_txid(&self) -> i64 {
        self.next_txid.unwrap_or_default()
    }

    /// The condition on rows that `now` sees and that are not in, of transactions before `until`.
    pub(super) fn new_rows(&self, now: &Snapshot, until: i64) -> String {
        let next = self.next_txid();
        let mut rows = match self.open.as_slice() {
            [] => format!("stored_in >= {next}"),
            open => format!("(stored_in >= {next} OR stored_in = ANY ({}))", array(open)),
        };
        let _ = write!(rows, " AND stored_in < {until}");
        if let Some(Foreign { from, until }) = self.foreign {
            let tuple = tuple_txid(now);
            let _ = write!(
                rows,
                " AND stored_in <> ALL ({}) AND (stored_in < {from} OR stored_in > {until} OR {tuple} >= {from})",
                array(&now.open)
            );
        }
        rows
    }

    /// The condition on rows between two blocks of `event` that were there when the build began.
    pub(super) fn rows_in_table(&self, now: &Snapshot, until_block: i64) -> String {
        let (next, from_block) = (self.next_txid(), self.next_block);
        let mut seen =
            format!("stored_in IS NULL OR stored_in < {next} AND stored_in <> ALL ({})", array(&self.open));
        if let Some(Foreign { from, until }) = self.foreign {
            let tuple = tuple_txid(now);
            let _ = write!(seen, " OR stored_in BETWEEN {from} AND {until} AND {tuple} < {from}");
        }
        format!("ctid >= '({from_block},0)' AND ctid < '({until_block},0)' AND ({seen})")
    }
}

impl Snapshot {
    /// # Errors
    /// The row is none that we wrote.
    pub(super) fn read(row: &SimpleQueryRow) -> Result<Self, ReportError> {
        Ok(Self { next_txid: required(row, "now_txid")?, open: numbers(row, "now_open")? })
    }

    /// What of `open` is older than `until`: the cursor after a slice that ends there.
    pub(super) fn open_before(&self, until: i64) -> String {
        let open: Vec<i64> = self.open.iter().copied().filter(|txid| *txid < until).collect();
        array(&open)
    }
}

/// The transaction that wrote a tuple. A tuple has its lower half only: the latest one that has ended is meant.
fn tuple_txid(now: &Snapshot) -> String {
    let next = now.next_txid;
    format!("{next} - (({next} - event.xmin::text::bigint) & 4294967295)")
}

pub(super) fn array(numbers: &[i64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    format!("'{{{}}}'::bigint[]", numbers.join(","))
}

fn number<T: std::str::FromStr>(
    row: &SimpleQueryRow,
    column: &'static str,
) -> Result<Option<T>, ReportError> {
    let text = row.get(column);
    text.map(|text| text.parse().map_err(|_| ReportError::unreadable(column))).transpose()
}

pub(super) fn required<T: std::str::FromStr>(
    row: &SimpleQueryRow,
    column: &'static str,
) -> Result<T, ReportError> {
    number(row, column)?.ok_or(ReportError::unreadable(column))
}

fn numbers(row: &SimpleQueryRow, column: &'static str) -> Result<Vec<i64>, ReportError> {
    let text = row.get(column).unwrap_or_default();
    let numbers = text.split(',').filter(|number| !number.is_empty()).map(str::parse);
    numbers.collect::<Result<_, _>>().map_err(|_| ReportError::unreadable(column))
}

//! What a lane asks of a writer, and what it is told of it.

use std::time::Instant;

use super::super::position::Watermark;

/// What a lane wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loader) enum Wants {
    /// A writer, as soon as it is its turn.
    Writer,
    /// Nothing before this moment; then it is to be asked again.
    NotBefore(Instant),
    /// Nothing, until it is told something.
    Nothing,
}

/// What a writer does for a lane: one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::loader) enum Task {
    /// Read the watermark and whether records are held; nothing is to be written.
    Open,
    /// Store the first pending records.
    Flush {
        /// How many.
        records: usize,
        /// Where the schema's watermark should be.
        expected: Expected,
        /// Whether ids that are stored already are looked for before the rows are copied.
        look_for_duplicates: bool,
    },
    /// Hold the first pending records, for this reason.
    Hold {
        /// How many.
        records: usize,
        /// For people.
        reason: String,
    },
    /// Store the first held records.
    Drain {
        /// Up to so many events of them, and one record at least.
        rows: usize,
    },
    /// Write the first pending records down as unreadable.
    WriteDown {
        /// How many.
        records: usize,
        /// Why they have no schema.
        nobody: Nobody,
    },
}

/// Where a flush expects the watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loader) enum Expected {
    /// The lane has not read it: the flush opens the schema, and writes if nothing is held, none of the batch is covered, and
    /// the watermark is no lower than this one, which the database once confirmed: what is lower was forgotten.
    AtLeast(Option<Watermark>),
    /// Where the lane left it (`None`: there is none yet).
    Watermark(Option<Watermark>),
}

/// Why records have no schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loader) enum Nobody {
    /// The organization was removed: its data is not kept.
    Removed,
    /// No organization ever had this id: the bytes are kept, a person should look.
    Unknown,
    /// The record does not say whose it is: it cannot be decoded.
    Undecodable,
}

/// The database confirmed that records are stored.
#[must_use = "records leave a lane only against a receipt"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loader) struct Receipt {
    records: usize,
    found: Option<Watermark>,
    watermark: Watermark,
}

impl Receipt {
    /// For a transaction whose commit the database has answered: how many of the task's first records it stored, where it
    /// found the watermark, and where it left it.
    pub(in crate::loader) fn committed(
        records: usize,
        found: Option<Watermark>,
        watermark: Watermark,
    ) -> Self {
        Self { records, found, watermark }
    }

    pub(super) fn records(self) -> usize {
        self.records
    }

    pub(super) fn found(self) -> Option<Watermark> {
        self.found
    }

    pub(super) fn watermark(self) -> Watermark {
        self.watermark
    }
}

/// The database confirmed that records are held, or written down.
#[must_use = "records leave a lane only against a receipt"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loader) struct Kept(());

impl Kept {
    /// For a statement of the control schema that the database has answered.
    pub(in crate::loader) fn confirmed() -> Self {
        Self(())
    }
}

/// What a task came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::loader) enum Told {
    /// Its first records are stored.
    Flushed {
        /// The proof.
        receipt: Receipt,
        /// Whether ids were there already.
        met_duplicates: bool,
    },
    /// The watermark is here, and nothing is held. Nothing was written.
    Found(Option<Watermark>),
    /// Records of the lane are held. Nothing was written.
    FoundHeld,
    /// Its records are held.
    Held(Kept),
    /// Its records are written down.
    WrittenDown(Kept),
    /// The first of its records does not decode; that one is written down, and nothing else was done.
    Undecodable(Kept),
    /// Held records were stored and are held no longer.
    Drained {
        /// What they take.
        bytes: usize,
    },
    /// What stood in a drain's way was ended. Nothing was drained.
    Cleared,
    /// A drain found none.
    NoneHeld,
    /// There is no schema.
    Gone(Nobody),
    /// The answer to the commit was lost: only the watermark knows.
    Unconfirmed,
    /// The writer gave the task up for others' sake: it took too long, and there is no more room for what is slow.
    PutBack,
    /// It did not happen.
    Refused(Refused),
}

/// Why a task did not happen, by what is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::loader) enum Refused {
    /// The server, or the way to it: the same once more, when it answers.
    Server,
    /// The organization is newer than the snapshot of organizations: the same in a moment.
    NotYet,
    /// A lost race: the same at once, a few times.
    Again(String),
    /// The schema: its records are held.
    Schema(String),
    /// The same, because it took too long: less is tried at a time. Unless most others say so, too: then it is the server.
    Slow(String),
}

impl Task {
    /// How many of the first pending records it takes.
    pub(in crate::loader) fn records(&self) -> usize {
        match self {
            Self::Flush { records, .. } | Self::Hold { records, .. } | Self::WriteDown { records, .. } => {
                *records
            }
            Self::Open | Self::Drain { .. } => 0,
        }
    }
}

/// What became of a lane that people should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::loader) enum Turn {
    /// Its records are held from now on, for this reason.
    Held(String),
    /// What was held is stored.
    Drained,
    /// Its schema has forgotten what it once confirmed.
    WentBack,
}

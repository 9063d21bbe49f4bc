//! A batch made ready before a connection is there: record bytes become COPY bytes in one pass.
//!
//! What a record says of itself is judged here, before anything of it goes out: whether it decodes, whether it is the
//! lane's, whether this release may load it. A batch ends before the first record that is unfit, so that records leave a
//! lane in order; the lane meets the unfit one at the front of the next batch.

use std::collections::HashSet;

use bytes::Bytes;
use foldhash::fast::RandomState;
use uuid::Uuid;

use super::copy::{CopyRows, RowEncoder};
use super::rows::{Row, rows_of};
use crate::loader::position::{Position, Watermark};
use crate::log::record::{FORMAT, RecordView};
use crate::tenant::OrganizationId;

/// One record as it came from the log.
#[derive(Clone, Debug)]
pub(in crate::loader) struct Source<B> {
    /// Its offset in the partition.
    pub(in crate::loader) offset: i64,
    /// `rollbook.v1.Record`.
    pub(in crate::loader) bytes: B,
}

/// Why a record goes into no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::loader) enum Unfit {
    /// It, or one of its events, does not decode: nothing that intake wrote. It is written down, with its bytes.
    #[error("{}", Self::UNDECODABLE)]
    Undecodable,
    /// It names another organization than the one whose lane it is in: the loader routed it wrongly, or the held record
    /// was changed. A person should look.
    #[error("it names another organization, {named}")]
    Foreign {
        /// Which.
        named: OrganizationId,
    },
    /// A newer release wrote something into it that this one would lose.
    #[error(
        "a newer release wrote it in format {format}, and this one reads formats up to {FORMAT}: \
         use the newer release; loaders first"
    )]
    Newer {
        /// What a reader of it must know.
        format: u32,
    },
}

impl Unfit {
    /// Why such a record is written down.
    pub(in crate::loader) const UNDECODABLE: &str = "its events cannot be decoded";
}

/// An [`Unfit`] record, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record at offset {offset} cannot be loaded: {why}")]
pub(in crate::loader) struct UnfitRecord {
    /// Where it stands in the partition.
    pub(in crate::loader) offset: i64,
    /// What is wrong with it.
    pub(in crate::loader) why: Unfit,
}

/// The rows of some records that follow one another in a lane, ready to be written.
#[derive(Debug)]
pub(in crate::loader) struct Prepared<B> {
    /// The organization that the records name. It goes into the watermark, where the schema's CHECK compares it with
    /// the one it was made for.
    pub(super) organization: OrganizationId,
    /// Where the records stand in the log.
    pub(super) position: Position,
    /// For the ways that need a row as it is: few rows, and looking for refused ones.
    records: Vec<Source<B>>,
    /// The first row of each id.
    pub(super) rows: CopyRows,
    /// How many more rows there were.
    pub(super) repeated: u64,
    /// The offset of the first record.
    pub(super) first_offset: i64,
    /// The watermark once they are stored.
    pub(super) next: Watermark,
}

impl<B: AsRef<[u8]>> Prepared<B> {
    /// Takes records from the front of a lane of `organization` until one is unfit. `None`: there was no record.
    ///
    /// # Errors
    /// The first record is unfit.
    pub(in crate::loader) fn take(
        organization: OrganizationId,
        position: Position,
        records: impl IntoIterator<Item = Source<B>>,
    ) -> Result<Option<Self>, UnfitRecord> {
        let mut taken = Taken::default();
        let mut sources: Vec<Source<B>> = Vec::new();
        let mut next = None;
        for source in records {
            match taken.add(organization, source.bytes.as_ref()) {
                Ok((named, record_id)) => next = Some((named, Watermark::after(source.offset, record_id))),
                Err(why) if next.is_none() => return Err(UnfitRecord { offset: source.offset, why }),
                Err(_) => break,
            }
            sources.push(source);
        }
        let (Some((organization, next)), Some(first)) = (next, sources.first()) else { return Ok(None) };
        Ok(Some(Self {
            organization,
            position,
            first_offset: first.offset,
            rows: taken.encoder.finish(),
            repeated: taken.repeated,
            next,
            records: sources,
        }))
    }

    /// How many records are in it.
    pub(in crate::loader) fn records(&self) -> usize {
        self.records.len()
    }

    /// How many events are in it, repeated ones too.
    pub(in crate::loader) fn events(&self) -> usize {
        self.rows.len() + usize::try_from(self.repeated).unwrap_or(usize::MAX)
    }

    /// How many rows are in it, each id once.
    pub(in crate::loader) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// All that a COPY of it is sent, for those who compare with it.
    pub(in crate::loader) fn copy_frames(&self) -> Vec<Bytes> {
        self.rows.whole()
    }

    /// Bytes of memory that it takes beside its records.
    pub(in crate::loader) fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    /// The watermark once it is stored.
    #[cfg(test)]
    pub(in crate::loader) fn next(&self) -> Watermark {
        self.next
    }

    /// The first row of each id, as it is.
    pub(super) fn decode(&self) -> Vec<Row<'_>> {
        const DECODED_BEFORE: &str = "every record was decoded when it was taken";
        let mut rows = Vec::with_capacity(self.events());
        for source in &self.records {
            let view = RecordView::parse(source.bytes.as_ref()).expect(DECODED_BEFORE);
            rows_of(&view, source.offset, &mut rows).expect(DECODED_BEFORE);
        }
        if self.repeated > 0 {
            let mut seen = HashSet::with_capacity(self.rows.len());
            rows.retain(|row| seen.insert(row.id()));
        }
        rows
    }
}

/// What was taken so far.
#[derive(Default)]
struct Taken {
    encoder: RowEncoder,
    /// Keyed at random: clients choose the ids.
    seen: HashSet<Uuid, RandomState>,
    repeated: u64,
}

impl Taken {
    /// Adds every row of a record, or none. Gives the organization that it names, and its id.
    fn add(&mut self, lane: OrganizationId, bytes: &[u8]) -> Result<(OrganizationId, Uuid), Unfit> {
        let view = RecordView::parse(bytes).map_err(|_| Unfit::Undecodable)?;
        fit(&view, lane)?;
        let (before, repeated) = (self.encoder.mark(), self.repeated);
        for event in view.events() {
            let Ok(event) = event else {
                self.encoder.go_back_to(before);
                self.repeated = repeated;
                return Err(Unfit::Undecodable);
            };
            if self.seen.insert(event.id) {
                self.encoder.push(&event, view.received_at);
            } else {
                self.repeated += 1;
            }
        }
        Ok((view.organization_id, view.record_id))
    }
}

/// Whether a lane of this organization may load the record. The one place that judges a record by what it says of itself.
fn fit(view: &RecordView<'_>, lane: OrganizationId) -> Result<(), Unfit> {
    if view.organization_id != lane {
        return Err(Unfit::Foreign { named: view.organization_id });
    }
    if view.is_newer() {
        return Err(Unfit::Newer { format: view.format });
    }
    Ok(())
}

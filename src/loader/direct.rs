//! Records into a schema without a log in front: the loader's own encoding and its own transaction, for benches.

use bytes::Bytes;
use tokio_postgres::Client;

use super::lane::Expected;
use super::position::{Position, Watermark};
use super::writer::{Flushed, Prepared, Source, Statements, Way, flush};
use crate::config::loader::LoaderSettings;
use crate::tenant::{OrganizationId, RolePrefix, Tenant};

/// A partition that no log has.
const POSITION: Position = Position { generation: 1, partition: 0 };

/// Records made ready to be written.
#[derive(Debug)]
pub struct DirectBatch {
    prepared: Prepared<Bytes>,
}

impl DirectBatch {
    /// Encodes the rows of an organization's records that begin at this offset as COPY sends them.
    ///
    /// # Errors
    /// A record does not decode or names another organization, or there is none.
    pub fn new(organization: OrganizationId, first_offset: i64, records: Vec<Bytes>) -> anyhow::Result<Self> {
        let count = records.len();
        let sources = (first_offset..).zip(records).map(|(offset, bytes)| Source { offset, bytes });
        let prepared = Prepared::take(organization, POSITION, sources)?;
        let prepared = prepared.ok_or_else(|| anyhow::anyhow!("no records"))?;
        anyhow::ensure!(prepared.records() == count, "a record is unfit");
        Ok(Self { prepared })
    }

    /// How many rows it has, each id once.
    pub fn rows(&self) -> usize {
        self.prepared.rows()
    }

    /// Bytes of memory that it takes beside its records.
    pub fn bytes(&self) -> usize {
        self.prepared.bytes()
    }

    /// What COPY is sent: its header, the rows in messages, its trailer.
    pub fn copy_frames(&self) -> Vec<Bytes> {
        self.prepared.copy_frames()
    }
}

/// Which way large batches go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectWay {
    /// COPY at once; a duplicate makes it begin anew.
    Copy,
    /// Ask first which ids are there.
    AskFirst,
}

/// What a flush came to.
#[derive(Clone, Copy, Debug)]
pub struct DirectOutcome {
    /// Rows that are new.
    pub stored: u64,
    /// Whether others were there before: then asking first is the cheaper way for a while.
    pub has_met_duplicates: bool,
}

/// One organization's schema, and how far it has come in a partition that no log has.
#[derive(Debug)]
pub struct DirectWriter {
    statements: Statements,
    watermark: Option<Watermark>,
}

impl DirectWriter {
    /// For an organization whose schema has seen nothing yet.
    pub fn new(tenant: &Tenant, roles: &RolePrefix, settings: &LoaderSettings) -> Self {
        Self { statements: Statements::new(tenant, roles, &settings.transaction), watermark: None }
    }

    /// The offset of the next record.
    pub fn next_offset(&self) -> i64 {
        self.watermark.map_or(0, |watermark| watermark.next_offset)
    }

    /// Stores a batch in one flush.
    ///
    /// # Errors
    /// Postgres refuses, or somebody else wrote to the schema.
    pub async fn write(
        &mut self,
        client: &mut Client,
        batch: &DirectBatch,
        way: DirectWay,
    ) -> anyhow::Result<DirectOutcome> {
        let way = match way {
            DirectWay::Copy => Way::Direct,
            DirectWay::AskFirst => Way::AskFirst,
        };
        let expected = Expected::Watermark(self.watermark);
        match flush(client, &self.statements, expected, &batch.prepared, way).await? {
            Flushed::Committed(committed) => {
                self.watermark = Some(committed.to);
                let (stored, has_met_duplicates) = (committed.fates.stored, committed.has_met_duplicates);
                Ok(DirectOutcome { stored, has_met_duplicates })
            }
            Flushed::Stale { .. } | Flushed::Held => anyhow::bail!("somebody else moved the watermark"),
        }
    }
}

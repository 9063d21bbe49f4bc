//! Records into a schema without a log in front: the loader's own encoding and its own transaction, for benches.

use tokio_postgres::Client;

use super::position::{Position, Watermark};
use super::writer::{Expected, Flushed, Limits, Prepared, Source, Statements, Way, flush};
use crate::config::loader::LoaderSettings;
use crate::tenant::{OrganizationId, RolePrefix, Tenant};

/// A partition that no log has.
const POSITION: Position = Position { generation: 1, partition: 0 };
const NO_LIMITS: Limits = Limits { rows: usize::MAX, bytes: usize::MAX };

/// Records made ready to be written.
#[derive(Debug)]
pub struct DirectBatch<'a> {
    prepared: Prepared<&'a [u8]>,
}

impl<'a> DirectBatch<'a> {
    /// Encodes the rows of an organization's records that begin at this offset as COPY sends them.
    ///
    /// # Errors
    /// A record does not decode or names another organization, or there is none.
    pub fn new(
        organization: OrganizationId,
        first_offset: i64,
        records: &'a [Vec<u8>],
    ) -> anyhow::Result<Self> {
        let sources =
            (first_offset..).zip(records).map(|(offset, bytes)| Source { offset, bytes: bytes.as_slice() });
        let prepared = Prepared::take(organization, POSITION, sources, NO_LIMITS)?;
        let prepared = prepared.ok_or_else(|| anyhow::anyhow!("no records"))?;
        anyhow::ensure!(prepared.records() == records.len(), "a record is unfit");
        Ok(Self { prepared })
    }

    /// Bytes of memory that it takes beside its records.
    pub fn bytes(&self) -> usize {
        self.prepared.bytes()
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

/// One organization's schema, and how far it has come in a partition that no log has.
#[derive(Debug)]
pub struct DirectWriter {
    statements: Statements,
    watermark: Option<Watermark>,
}

impl DirectWriter {
    /// For an organization whose schema has seen nothing yet.
    pub fn new(tenant: &Tenant, roles: &RolePrefix, settings: &LoaderSettings) -> Self {
        Self { statements: Statements::new(tenant, roles, settings), watermark: None }
    }

    /// The offset of the next record.
    pub fn next_offset(&self) -> i64 {
        self.watermark.map_or(0, |watermark| watermark.next_offset)
    }

    /// Stores a batch in one flush, and gives back how many rows are new.
    ///
    /// # Errors
    /// Postgres refuses, or somebody else wrote to the schema.
    pub async fn write(
        &mut self,
        client: &mut Client,
        batch: &DirectBatch<'_>,
        way: DirectWay,
    ) -> anyhow::Result<u64> {
        let way = match way {
            DirectWay::Copy => Way::Direct,
            DirectWay::AskFirst => Way::AskFirst,
        };
        let expected = Expected::Known(self.watermark);
        match flush(client, &self.statements, expected, &batch.prepared, way).await? {
            Flushed::Committed(committed) => {
                self.watermark = Some(committed.to);
                Ok(committed.fates.stored)
            }
            Flushed::Stale { .. } | Flushed::Held => anyhow::bail!("somebody else moved the watermark"),
        }
    }
}

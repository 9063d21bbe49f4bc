//! Records into a schema without a log in front: the loader's own encoding and its own transaction, for benches.

use bytes::Bytes;
use tokio_postgres::Client;
use uuid::Uuid;

use super::writer::copy::CopyEncoder;
use super::writer::flush::{Flushed, SealedBatch, flush};
use super::position::{Position, Watermark};
use super::writer::record_rows::rows_of;
use super::writer::rows::Row;
use super::writer::statements::Statements;
use crate::config::loader::LoaderSettings;
use crate::log::record::RecordView;
use crate::tenant::{RolePrefix, Tenant};

/// Encodes the rows of records as COPY would send them, and gives back how many bytes that are.
///
/// # Errors
/// A record does not decode.
pub fn encode_copy(records: &[Vec<u8>]) -> anyhow::Result<usize> {
    let mut encoder = CopyEncoder::new();
    let chunks: usize =
        rows(records)?.iter().filter_map(|row| encoder.push(row)).map(|chunk: Bytes| chunk.len()).sum();
    Ok(chunks + encoder.finish().len())
}

/// One organization's schema, and how far it has come in a partition that no log has.
#[derive(Debug)]
pub struct DirectWriter {
    statements: Statements,
    tenant: Tenant,
    position: Position,
    watermark: Option<Watermark>,
}

impl DirectWriter {
    /// For an organization whose schema has seen nothing yet.
    pub fn new(tenant: Tenant, roles: &RolePrefix, settings: &LoaderSettings) -> Self {
        let statements = Statements::new(&tenant, roles, settings);
        let position = Position { generation: 1, partition: 0 };
        Self { statements, tenant, position, watermark: None }
    }

    /// Stores records in one flush, and gives back how many rows are new.
    ///
    /// # Errors
    /// A record does not decode, Postgres refuses, or somebody else wrote to the schema.
    pub async fn write(&mut self, client: &mut Client, records: &[Vec<u8>]) -> anyhow::Result<u64> {
        let offset = self.watermark.map_or(0, |watermark| watermark.next_offset);
        let next = Watermark::after(offset, Uuid::now_v7());
        let rows = rows(records)?;
        let batch = SealedBatch::new(self.tenant.id(), self.position, rows, next);
        match flush(client, &self.statements, self.watermark, &batch).await? {
            Flushed::Committed(fates) => {
                self.watermark = Some(next);
                Ok(fates.stored)
            }
            Flushed::Stale => anyhow::bail!("somebody else moved the watermark"),
        }
    }
}

fn rows(records: &[Vec<u8>]) -> anyhow::Result<Vec<Row<'_>>> {
    let mut rows = Vec::new();
    for record in records {
        rows_of(&RecordView::parse(record)?, 0, &mut rows)?;
    }
    Ok(rows)
}

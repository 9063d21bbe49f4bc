//! Events in a schema, as the loader puts them there.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use rollbook::loader::direct::{DirectBatch, DirectWay, DirectWriter};
use rollbook::report::Reports;
use rollbook::tenant::Organization;
use tokio_postgres::Client;

use crate::process::{cpu_seconds, float};
use crate::site::{BenchSite, EVENTS_A_RECORD, Records};

/// Rows of a batch of the loader.
pub(crate) const BATCH_EVENTS: usize = 10_000;

/// Which events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `video.*` and `session.ended`.
    Watch,
    /// All, as viewers make them: a fifth is about items.
    Mixed,
}

/// Batches of an organization, each event once.
pub(crate) fn batches(organization: &Organization, kind: Kind, events: usize) -> Vec<Vec<Bytes>> {
    let mut records = Records::new();
    if kind == Kind::Watch {
        records.keeps = |json| !json.contains(r#""type":"item."#);
    }
    let records: Vec<Bytes> =
        (0..events / EVENTS_A_RECORD).map(|_| records.next(organization.id).into()).collect();
    records.chunks(BATCH_EVENTS / EVENTS_A_RECORD).map(<[Bytes]>::to_vec).collect()
}

/// A connection whose CPU is watched.
pub(crate) struct Watched {
    pub(crate) client: Client,
    pid: i32,
    used: f64,
}

impl Watched {
    pub(crate) async fn connect(site: &BenchSite) -> Result<Self> {
        let client = site.connect().await;
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        let used = cpu_seconds(&pid.to_string())?;
        Ok(Self { client, pid, used })
    }

    /// The server's CPU for it since it was connected, in seconds.
    pub(crate) fn cpu(&self) -> Result<f64> {
        Ok(cpu_seconds(&self.pid.to_string())? - self.used)
    }
}

/// Writes batches, one after the other, no faster than `rate` events a second; gives the seconds.
pub(crate) async fn load(
    client: &mut Client,
    writer: &mut DirectWriter,
    organization: &Organization,
    batches: Vec<Vec<Bytes>>,
    rate: Option<f64>,
) -> Result<f64> {
    let started = Instant::now();
    let mut written = 0;
    for records in batches {
        if let Some(rate) = rate {
            let due = started + Duration::from_secs_f64(float(written) / rate);
            tokio::time::sleep_until(due.into()).await;
        }
        let batch = DirectBatch::new(organization.id, writer.next_offset(), records)?;
        written += batch.rows();
        writer.write(client, &batch, DirectWay::Copy).await?;
    }
    Ok(started.elapsed().as_secs_f64())
}

/// The reports of an organization, kept by its own role.
pub(crate) fn reports(site: &BenchSite, organization: &Organization) -> Reports {
    let role = site.prefix.writer_role(&organization.slug);
    Reports::new(&organization.schema_name, &role, organization.completion)
}

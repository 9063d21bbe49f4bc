//! What it takes to export an organization's events.

use std::io;
use std::time::Instant;

use anyhow::Result;
use rollbook::report::{Span, export_csv, export_parquet};
use tokio_postgres::Client;

use crate::process::{forget_peak, memory_mib};
use crate::report::Section;

pub(crate) async fn rates(
    section: &mut Section,
    client: &mut Client,
    schema: &str,
    events: f64,
) -> Result<()> {
    section.line("Exporting them all, written to nowhere; memory is this process's, at its peak, above what it had before. Target: 100 000 events/s.");
    section.line("");
    section.head(&["format", "events/s", "MiB more"]);
    for format in ["csv", "parquet"] {
        forget_peak()?;
        let before = memory_mib("VmRSS")?;
        let started = Instant::now();
        let _rows = match format {
            "csv" => export_csv(client, schema, Span::default(), &mut io::sink(), |_| {}).await?,
            _ => export_parquet(client, schema, Span::default(), io::sink(), |_| {}).await?,
        };
        let rate = events / started.elapsed().as_secs_f64();
        let more = memory_mib("VmHWM")? - before;
        section.row(&[format.to_owned(), format!("{rate:.0}"), format!("{more:.0}")]);
    }
    section.line("");
    Ok(())
}

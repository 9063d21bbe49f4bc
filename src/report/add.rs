//! Adding events to a build: they are read once, gathered here, and what they come to is written.

use std::time::Instant;

use tokio_postgres::Client;

use super::build::Build;
use super::gather::{COLUMNS, Gathered};
use super::{ReportError, Reports, Slices};

/// What is gathered, added to the summaries; and what follows from it.
const WATCHING: &str = include_str!("sql/watching.sql");
const JUDGING: &str = include_str!("sql/judging.sql");
const ANSWERING: &str = include_str!("sql/answering.sql");

impl Reports {
    /// Within a transaction: takes the build, does `first`, and adds the rows for which a condition holds; gives how many, for
    /// the build to count. Where there is neither, nothing is done, and the build is not taken.
    pub(super) async fn add(
        &self,
        client: &Client,
        build: &Build,
        completion: &str,
        rows: &str,
        first: &str,
    ) -> Result<u64, ReportError> {
        let started = Instant::now();
        let (schema, lock) = (&self.schema, self.lock(build));
        let Slices { fetched: most, gathered_bytes, .. } = self.slices;
        let declare =
            format!("DECLARE taken NO SCROLL CURSOR FOR SELECT {COLUMNS} FROM {schema}.event WHERE {rows}");
        client.batch_execute(&declare).await?;
        let fetch = format!("FETCH {most} FROM taken");
        let mut fetched = client.query_typed(&fetch, &[]).await?;
        if fetched.is_empty() && first.is_empty() {
            return Ok(0);
        }
        client.batch_execute(&format!("{lock} {first}")).await?;
        let fill = |sql: &str| {
            sql.replace("{schema}", schema)
                .replace("{build}", &build.number.to_string())
                .replace("{completion}", completion)
        };
        let (watching, answering) = (fill(WATCHING), fill(ANSWERING));
        let mut added = 0;
        while !fetched.is_empty() {
            let mut gathered = Gathered::default();
            while !fetched.is_empty() && gathered.bytes() < gathered_bytes {
                // The server knows how long a statement takes, and not how many of them a turn has.
                if started.elapsed() > self.patience {
                    return Err(ReportError::TooLong(None));
                }
                let is_last = fetched.len() < most;
                added += fetched.len() as u64;
                // The server reads on while these are gathered.
                let (next, gathering) = tokio::join!(
                    async { if is_last { Ok(Vec::new()) } else { client.query_typed(&fetch, &[]).await } },
                    async { fetched.iter().try_for_each(|row| gathered.add(row)) },
                );
                gathering.map_err(|_| ReportError::Unreadable("a column of `event` has another type"))?;
                fetched = next?;
            }
            gathered.send(client, &watching, &answering).await?;
        }
        client.batch_execute(&fill(JUDGING)).await?;
        Ok(added)
    }
}

//! Adding events to a build: they are read once, gathered here, and what they come to is written.

use std::pin::pin;
use std::time::Instant;

use futures_util::StreamExt as _;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::build::Build;
use super::gather::{COLUMNS, Gathered, Table};
use super::{ReportError, Reports, Slices};
use crate::tenant::Completion;

/// What is gathered may take so many times what is held of the rows that it is merged with.
const HELD: usize = 16;
const JUDGING: &str = include_str!("sql/judging.sql");

impl Reports {
    /// Within a transaction: takes the build, does `first`, and adds the rows for which a condition holds; gives how many, for
    /// the build to count. Where there is neither, the build is taken and nothing else is done.
    pub(super) async fn add(
        &self,
        client: &Client,
        build: &Build,
        completion: Completion,
        rows: &str,
        first: &str,
    ) -> Result<u64, ReportError> {
        let schema = &self.schema;
        // Before a row is read: another reporter would read them in vain.
        client.batch_execute(&self.lock(build)).await.map_err(ReportError::of_the_build)?;
        let events = format!("SELECT {COLUMNS} FROM {schema}.event WHERE {rows}");
        let gathered = match self.width.is_too_much() {
            true => None,
            false => self.gather(client, &events).await?,
        };
        if matches!(gathered, Some((_, 0))) && first.is_empty() {
            return Ok(0);
        }
        if !first.is_empty() {
            client.batch_execute(first).await?;
        }
        let Slices { gathered_bytes, loose_times, .. } = self.slices;
        let table =
            Table { client, schema, build: build.number, held_bytes: gathered_bytes / HELD, loose_times };
        let added = match gathered {
            Some((_, 0)) => 0,
            Some((gathered, events)) => {
                gathered.write(&table, completion).await?;
                events
            }
            None => self.add_by_parts(&table, completion, &events).await?,
        };
        let judging = table.sql(JUDGING).replace("{completion}", &completion.to_string());
        client.batch_execute(&judging).await?;
        Ok(added)
    }

    /// Events, and how many they are, read in one go; `None`: they take too much memory.
    async fn gather(&self, client: &Client, events: &str) -> Result<Option<(Gathered, u64)>, ReportError> {
        let mut gathered = Gathered::default();
        let (mut read, mut are_too_many) = (0, false);
        let mut rows = pin!(client.query_typed_raw(events, Vec::<(i32, Type)>::new()).await?);
        while let Some(row) = rows.next().await {
            // To the end: it is here that a statement which takes too long says so.
            let row = row?;
            if are_too_many {
                continue;
            }
            gathered.add(&row)?;
            read += 1;
            if gathered.bytes() > self.slices.gathered_bytes {
                are_too_many = true;
                gathered = Gathered::default();
            }
        }
        Ok((!are_too_many).then_some((gathered, read)))
    }

    /// Adds events of which no more are held in memory than may be, however many there are: what is gathered is written in
    /// between. A cursor costs the server more than reading in one go, so it is for slices after one that was too large, and
    /// for that one itself, which is then read a second time.
    async fn add_by_parts(
        &self,
        table: &Table<'_>,
        completion: Completion,
        events: &str,
    ) -> Result<u64, ReportError> {
        let started = Instant::now();
        let client = table.client;
        let Slices { fetched: most, gathered_bytes, .. } = self.slices;
        client.batch_execute(&format!("DECLARE taken NO SCROLL CURSOR FOR {events}")).await?;
        let fetch = format!("FETCH {most} FROM taken");
        let mut fetched = client.query_typed(&fetch, &[]).await?;
        let (mut added, mut are_too_many) = (0, false);
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
                gathering?;
                fetched = next?;
            }
            are_too_many |= gathered.bytes() >= gathered_bytes;
            gathered.write(table, completion).await?;
        }
        self.width.found(are_too_many);
        Ok(added)
    }
}

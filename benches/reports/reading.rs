//! What it takes to read reports of many events, as the organization's own reader.

use std::time::Instant;

use anyhow::{Context as _, Result};
use tokio_postgres::Client;

use crate::exporting;
use crate::keeping::rebuilt;
use crate::loading::{Kind, Watched, batches, load, reports};
use crate::process::float;
use crate::report::{Section, median};
use crate::site::BenchSite;

/// Events of simulated viewers; the others are copies under other names.
const ORIGINALS: usize = 400_000;
const ROUNDS: usize = 21;
/// Copies of other viewers on other days, of other contents too but for the most watched: a thousand contents after 25.
const COPY: &str = "INSERT INTO {schema}.event (event_id, type, session_id, viewer_id, content_id, item_id, occurred_at, \
         client_occurred_at, received_at, seq, position_ms, rate, watched, played_ms, answer, correct, score, attempt, elapsed_ms, details) \
     SELECT (lpad(to_hex({copy}), 8, '0') || substr(event_id::text, 9))::uuid, type, session_id || '-{copy}', viewer_id || '-{copy}', \
         CASE content_id WHEN 'video-000' THEN content_id ELSE content_id || '-{copy}' END, item_id, \
         occurred_at - interval '{copy} days', client_occurred_at - interval '{copy} days', received_at, seq, position_ms, rate, watched, \
         played_ms, answer, correct, score, attempt, elapsed_ms, details \
     FROM {schema}.event WHERE session_id NOT LIKE '%-%-%-%-%-%' LIMIT {events}";

/// Figure, statement, its limit in milliseconds.
const QUESTIONS: [(&str, &str, u32); 5] = [
    (
        "the curve of the most watched video",
        "SELECT * FROM {schema}.report_retention WHERE content_id = 'video-000'",
        50,
    ),
    ("its items", "SELECT * FROM {schema}.report_item WHERE content_id = 'video-000'", 50),
    ("its options", "SELECT * FROM {schema}.report_option WHERE content_id = 'video-000'", 50),
    ("`report_content` of all contents", "SELECT * FROM {schema}.report_content", 200),
    (
        "a day of `report_day`",
        "SELECT * FROM {schema}.report_day WHERE day = (SELECT max(day) FROM {schema}.report_day)",
        50,
    ),
];
/// What a curve would cost without reports.
const WITHOUT: &str = "SELECT count(*), sum(upper(watched[1]) - lower(watched[1])) FROM {schema}.event WHERE content_id = 'video-000'";

pub(crate) async fn many(section: &mut Section, events: usize) -> Result<()> {
    let site = BenchSite::with(1).await;
    let organization = &site.organizations[0];
    let schema = &organization.schema_name;
    let mut loader = Watched::connect(&site).await?;
    let originals = batches(organization, Kind::Mixed, ORIGINALS);
    load(&mut loader.client, &mut site.writer(organization), organization, originals, None).await?;
    let mut made = ORIGINALS;
    for copy in 1.. {
        let wanted = ORIGINALS.min(events - made);
        if wanted == 0 {
            break;
        }
        let copy = COPY.replace("{schema}", schema).replace("{copy}", &copy.to_string());
        let copied = loader.client.execute(&copy.replace("{events}", &wanted.to_string()), &[]).await?;
        made += usize::try_from(copied)?;
    }
    loader.client.batch_execute(&format!("VACUUM ANALYZE {schema}.event")).await?;
    let reports = reports(&site, organization);
    let (rate, cpu) = rebuilt(&site, &reports, events).await?;
    section.line(&format!(
        "Reading them, {events} events in one organization (rebuilt at {rate:.0} events/s, {cpu:.2} s of CPU a million), as its \
         reader; each {ROUNDS} times:"
    ));
    section.line("");
    section.head(&["what", "rows", "first ms", "median ms", "limit ms"]);
    let reader = site.connect().await;
    let role = site.prefix.reader_role(&organization.slug);
    reader.batch_execute(&format!("SET ROLE {role}")).await?;
    for (name, sql, limit_ms) in QUESTIONS {
        let (rows, first, middle) = asked(&reader, &sql.replace("{schema}", schema), ROUNDS).await?;
        section.row(&[
            name.to_owned(),
            rows.to_string(),
            format!("{first:.1}"),
            format!("{middle:.1}"),
            limit_ms.to_string(),
        ]);
    }
    let (_, first, middle) = asked(&reader, &WITHOUT.replace("{schema}", schema), 3).await?;
    section.row(&[
        "without reports: how much of that video was watched, from `event`".to_owned(),
        "1".to_owned(),
        format!("{first:.0}"),
        format!("{middle:.0}"),
        String::new(),
    ]);
    section.line("");
    exporting::rates(section, &mut loader.client, schema, float(events)).await?;
    site.drop_database().await;
    Ok(())
}

/// How many rows there are, and milliseconds until the last: the first time, and the median.
async fn asked(reader: &Client, sql: &str, rounds: usize) -> Result<(usize, f64, f64)> {
    let mut rows = 0;
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let started = Instant::now();
        rows = reader.query(sql, &[]).await?.len();
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let first = *times.first().context("a round")?;
    Ok((rows, first, median(times)))
}

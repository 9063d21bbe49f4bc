//! Looks at the service from outside, as an operator would: its metrics, and what stands in the schemas.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_postgres::Client;

use crate::config::DatabaseUrl;
use crate::ops::AdminClient;
use crate::ops::client::AnswerLimits;
use crate::ops::metrics::catalogue::{FRESHNESS, INTAKE_EVENTS, INTAKE_REJECTIONS, LOADER_EVENTS, LOG_BYTES};
use crate::store;

/// How long what is asked may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
const LIMITS: AnswerLimits = AnswerLimits { patience: PATIENCE, most_bytes: 4 * 1024 * 1024 };

/// What was seen at one moment. Numbers are totals since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// By school, in its order.
    pub(super) schools: Vec<SchoolSeen>,
    /// Refused events by code.
    pub(super) rejections: BTreeMap<String, u64>,
    /// Events by the upper bound, in seconds, of how long they took to be visible; cumulative.
    pub(super) freshness: Vec<(f64, u64)>,
    /// What the embedded log takes on disk; `None`: the log is another one.
    pub(super) log_bytes: Option<u64>,
    /// Viewers of each second of the lesson, from its first second on.
    pub(super) curve: Vec<u64>,
}

/// What was seen of one school.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct SchoolSeen {
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    pub(super) stored: u64,
    pub(super) duplicate: u64,
    /// Events in records that wait for the schema, now.
    pub(super) held: u64,
}

/// Asks, each time anew.
pub(super) struct Observer {
    operator: SocketAddr,
    database: Client,
    names: Vec<String>,
    curve_of: Lesson,
}

/// Whose curve is drawn.
#[derive(Clone, Debug)]
pub(super) struct Lesson {
    pub(super) schema: String,
    pub(super) content: String,
}

impl Observer {
    pub(super) async fn new(
        operator: SocketAddr,
        database: &DatabaseUrl,
        names: Vec<String>,
        curve_of: Lesson,
    ) -> Result<Self, store::Error> {
        let database = store::connect(database).await?;
        Ok(Self { operator, database, names, curve_of })
    }

    /// Where something does not answer, what it would have told stays as it was.
    pub(super) async fn look(&self, before: &Seen) -> Seen {
        let mut seen = before.clone();
        seen.schools.resize(self.names.len(), SchoolSeen::default());
        if let Some(text) = get(self.operator, "/metrics").await {
            read_metrics(&text, &self.names, &mut seen);
        }
        if let Ok(Ok(held)) = timeout(PATIENCE, self.held()).await {
            for (school, name) in seen.schools.iter_mut().zip(&self.names) {
                school.held = held.get(name).copied().unwrap_or(0);
            }
        }
        if let Ok(Ok(curve)) = timeout(PATIENCE, self.curve()).await {
            seen.curve = curve;
        }
        seen
    }

    async fn held(&self) -> Result<BTreeMap<String, u64>, tokio_postgres::Error> {
        let held = "SELECT o.slug, sum(h.events)::bigint FROM rollbook.held_record h \
                    JOIN rollbook.organization o ON o.id = h.organization_id GROUP BY 1";
        let rows = self.database.query(held, &[]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get::<_, i64>(1).unsigned_abs())).collect())
    }

    async fn curve(&self) -> Result<Vec<u64>, tokio_postgres::Error> {
        let Lesson { schema, content } = &self.curve_of;
        let curve = format!(
            "SELECT second, viewers FROM {}.report_retention WHERE content_id = $1 ORDER BY second",
            store::quoted(schema)
        );
        let mut viewers = Vec::new();
        for row in self.database.query(&curve, &[content]).await? {
            let second = usize::try_from(row.get::<_, i32>(0)).unwrap_or_default();
            viewers.resize(second + 1, 0);
            viewers[second] = row.get::<_, i64>(1).unsigned_abs();
        }
        Ok(viewers)
    }
}

/// One page of a process of ours; `None`: it does not answer.
pub(super) async fn get(addr: SocketAddr, page: &str) -> Option<String> {
    let (_status, body) = AdminClient::new(addr, LIMITS).get(page).await.ok()?;
    Some(String::from_utf8_lossy(&body).into_owned())
}

/// A sample of the text format: `name{label="value",…} number`.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').map_or((series, ""), |(name, rest)| (name, rest));
        Some(Self { name, labels: labels.trim_end_matches('}'), value: value.parse().ok()? })
    }

    /// Values of ours have neither commas nor quotes in them.
    fn label(&self, name: &str) -> Option<&'a str> {
        let pairs = self.labels.split(',').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find_map(|(key, value)| (key == name).then(|| value.trim_matches('"')))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    fn count(&self) -> u64 {
        self.value as u64
    }
}

fn read_metrics(text: &str, names: &[String], seen: &mut Seen) {
    let held: Vec<u64> = seen.schools.iter().map(|school| school.held).collect();
    seen.schools = held.into_iter().map(|held| SchoolSeen { held, ..SchoolSeen::default() }).collect();
    let mut freshness: BTreeMap<u64, (f64, u64)> = BTreeMap::new();
    for sample in text.lines().filter(|line| !line.starts_with('#')).filter_map(Sample::parse) {
        let school = sample.label("organization").and_then(|slug| names.iter().position(|name| name == slug));
        match (sample.name, school) {
            (INTAKE_EVENTS, Some(at)) => match sample.label("verdict") {
                Some("accepted") => seen.schools[at].accepted += sample.count(),
                Some("rejected") => seen.schools[at].rejected += sample.count(),
                _ => {}
            },
            (LOADER_EVENTS, Some(at)) => match sample.label("fate") {
                Some("stored") => seen.schools[at].stored += sample.count(),
                Some("duplicate") => seen.schools[at].duplicate += sample.count(),
                _ => {}
            },
            (INTAKE_REJECTIONS, _) => {
                let code = sample.label("code").unwrap_or_default().to_owned();
                seen.rejections.insert(code, sample.count());
            }
            (LOG_BYTES, _) => seen.log_bytes = Some(sample.count()),
            (name, _) if name.strip_suffix("_bucket") == Some(FRESHNESS) => {
                let bound = sample.label("le").and_then(|le| le.parse::<f64>().ok()).unwrap_or(f64::INFINITY);
                let counted = freshness.entry(bound.to_bits()).or_insert((bound, 0));
                counted.1 += sample.count();
            }
            _ => {}
        }
    }
    seen.freshness = freshness.into_values().collect();
}

/// When something was seen.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pub(super) at: Instant,
    pub(super) seen: Seen,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_by_school_and_the_rest_is_passed_over() {
        let text = "# HELP rollbook_intake_events_total x\n\
            rollbook_intake_events_total{organization=\"acme\",verdict=\"accepted\"} 70\n\
            rollbook_intake_events_total{organization=\"acme\",verdict=\"rejected\"} 2\n\
            rollbook_intake_events_total{organization=\"other\",verdict=\"accepted\"} 9\n\
            rollbook_loader_events_total{organization=\"acme\",fate=\"stored\"} 66\n\
            rollbook_loader_events_total{organization=\"acme\",fate=\"duplicate\"} 4\n\
            rollbook_intake_rejections_total{code=\"too_old\"} 2\n\
            rollbook_log_bytes 4096\n\
            rollbook_freshness_seconds_bucket{le=\"0.01\"} 5\n\
            rollbook_freshness_seconds_bucket{le=\"+Inf\"} 7\n\
            nonsense\n";
        let mut seen =
            Seen { schools: vec![SchoolSeen { held: 3, ..SchoolSeen::default() }], ..Seen::default() };
        read_metrics(text, &["acme".to_owned()], &mut seen);
        let expected = SchoolSeen { accepted: 70, rejected: 2, stored: 66, duplicate: 4, held: 3 };
        assert_eq!(seen.schools, [expected]);
        assert_eq!(seen.rejections.get("too_old"), Some(&2));
        assert_eq!(seen.log_bytes, Some(4096));
        assert_eq!(seen.freshness, [(0.01, 5), (f64::INFINITY, 7)]);
    }
}

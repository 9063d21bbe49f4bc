//! What the process counts and measures, for Prometheus.
//!
//! Every metric is a line of [`catalogue`]. Rooms write through the `metrics` crate with the names given there; what
//! is written before [`Exporter::install`] is lost. A label's values are a fixed list, except an organization's: see
//! [`organization_label`].

pub mod catalogue;
pub mod exposition;
mod organizations;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use super::{Health, stderr};
use crate::tenant::Directory;
use catalogue::{BUILD_INFO, CATALOGUE, Kind, READY, SNAPSHOT_AGE_SECONDS, STDERR_LINES_LOST};
pub use organizations::{MAX_ORGANIZATIONS, OTHER, organization_label};

/// How often samples that nobody scraped are folded into their histograms.
const UPKEEP_PERIOD: Duration = Duration::from_secs(1);

/// A process has one recorder; who installs it again is given the same.
static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Renders the process's metrics; cheap to clone.
#[derive(Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
    refresh: Vec<Arc<dyn Fn() + Send + Sync>>,
}

impl Exporter {
    /// Makes this process record what the catalogue lists.
    ///
    /// # Errors
    /// Another recorder was there first.
    pub fn install() -> Result<Self, BuildError> {
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = match &*installed {
            Some(handle) => handle.clone(),
            None => installed.insert(install_recorder()?).clone(),
        };
        Ok(Self { handle, refresh: Vec::new() })
    }

    /// Reports how old the snapshot of organizations is, from its first one on.
    #[must_use]
    pub fn with_snapshot_age(mut self, directory: Arc<Directory>) -> Self {
        self.refresh.push(Arc::new(move || {
            if let Some(taken_at) = directory.taken_at() {
                let age = Instant::now().saturating_duration_since(taken_at);
                gauge!(SNAPSHOT_AGE_SECONDS).set(age.as_secs_f64());
            }
        }));
        self
    }

    /// Reports for each role whether it would take work.
    #[must_use]
    pub fn with_readiness(mut self, health: Health) -> Self {
        self.refresh.push(Arc::new(move || {
            for (role, is_ready) in health.readiness().by_role() {
                gauge!(READY, "role" => role.as_str()).set(f64::from(u8::from(is_ready)));
            }
        }));
        self
    }

    /// Everything, in the text format of Prometheus.
    pub fn render(&self) -> String {
        self.refresh.iter().for_each(|refresh| refresh());
        counter!(STDERR_LINES_LOST).absolute(stderr::lost());
        self.handle.render()
    }

    /// Keeps what the histograms hold back bounded while nobody scrapes, until `stop`.
    pub async fn upkeep(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(UPKEEP_PERIOD);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            self.handle.run_upkeep();
        }
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}

fn install_recorder() -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in &CATALOGUE {
        if let Kind::Histogram(buckets) = metric.kind {
            builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)?;
        }
    }
    let handle = builder.install_recorder()?;
    CATALOGUE.iter().for_each(catalogue::Metric::describe);
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metrics_name_stands_once_in_the_code() {
        fn names_in(folder: &std::path::Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).expect("our own sources") {
                let path = entry.expect("our own sources").path();
                if path.is_dir() {
                    names_in(&path, found);
                } else if !path.to_string_lossy().contains("/tests") {
                    let text = std::fs::read_to_string(&path).expect("our own sources");
                    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
                    let named =
                        CATALOGUE.iter().filter(|metric| text.contains(&format!("\"{}\"", metric.name)));
                    found.extend(named.map(|metric| format!("{}: {}", path.display(), metric.name)));
                }
            }
        }
        let mut found = Vec::new();
        names_in(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        let elsewhere: Vec<_> = found.iter().filter(|place| !place.contains("catalogue.rs: ")).collect();
        assert!(elsewhere.is_empty(), "{elsewhere:#?}");
        assert_eq!(found.len(), CATALOGUE.len(), "the others are in the catalogue");
    }

    #[test]
    fn the_age_of_the_snapshot_appears_with_the_first_one() {
        let directory = Arc::new(Directory::default());
        let exporter =
            Exporter::install().expect("the only recorder").with_snapshot_age(Arc::clone(&directory));
        assert!(exporter.render().contains("rollbook_build_info{version="));
        let taken_at = Instant::now() - Duration::from_secs(7);
        directory.replace(crate::tenant::Snapshot::new([], [], taken_at));
        assert!(exporter.render().contains("\nrollbook_snapshot_age_seconds 7."));
    }
}

//! Spans of the service: exported by a build with the feature `otlp`, where the environment names a collector.

#[cfg(feature = "otlp")]
mod exported {
    use std::time::Duration;

    use crate::config::Faults;
    use crate::config::otlp::OtlpSettings;
    use crate::ops::spans;

    /// What the collector gets for the last spans, behind the drain.
    const LAST_SPANS: Duration = Duration::from_secs(2);

    pub(in crate::cli::serve) fn settings(faults: &mut Faults) -> Option<OtlpSettings> {
        match OtlpSettings::from_environment() {
            Ok(settings) => settings,
            Err(wrong) => {
                for fault in wrong {
                    faults.note(Err::<(), _>(fault));
                }
                None
            }
        }
    }

    pub(in crate::cli::serve) fn start(settings: Option<OtlpSettings>) {
        if let Some(settings) = settings {
            spans::start(settings);
        }
    }

    pub(in crate::cli::serve) async fn finish() {
        spans::finish(LAST_SPANS).await;
    }
}

#[cfg(not(feature = "otlp"))]
mod nowhere {
    use crate::config::Faults;
    use crate::config::otlp::{OtlpSettings, is_asked_for};

    pub(in crate::cli::serve) fn settings(_faults: &mut Faults) -> Option<OtlpSettings> {
        None
    }

    /// Variables that were set for all programs of a machine are no mistake; whoever waits for spans should know.
    pub(in crate::cli::serve) fn start(_settings: Option<OtlpSettings>) {
        if is_asked_for() {
            tracing::warn!(
                "OTEL_EXPORTER_OTLP_ENDPOINT is set, and this build exports no spans: it lacks the feature `otlp`"
            );
        }
    }

    pub(in crate::cli::serve) async fn finish() {}
}

#[cfg(feature = "otlp")]
pub(super) use exported::{finish, settings, start};
#[cfg(not(feature = "otlp"))]
pub(super) use nowhere::{finish, settings, start};

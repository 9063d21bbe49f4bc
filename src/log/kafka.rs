//! The log on Apache Kafka, by librdkafka.

use std::time::Duration;

use rdkafka::ClientConfig;

use crate::config::log::LogSettings;

pub(super) mod consumer;
pub(super) mod continuity;
pub(super) mod offsets;
pub(super) mod publisher;
pub(super) mod scan;
pub(super) mod standing;
pub mod topic;

/// How long a question to the brokers may take before it counts as unanswered.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// What every client of ours has in common. The operator's own properties go first, so that ours win.
fn client_config(settings: &LogSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("client.id", "rollbook");
    for (name, value) in &settings.properties {
        config.set(name, value);
    }
    config.set("bootstrap.servers", &settings.brokers);
    config
}

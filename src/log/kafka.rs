//! The log on Apache Kafka, by librdkafka.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::config::log::KafkaSettings;

mod complaints;
mod consumer;
mod listening;
mod offsets;
mod publisher;
mod refusal;
mod scan;
pub(super) mod topic;

pub(in crate::log) use consumer::Consumer;
pub(in crate::log) use publisher::Publisher;
pub(in crate::log) use scan::Scanner;

/// How long a question to the brokers may take before it counts as unanswered.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// A topic and the group that loads it; cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::log) struct KafkaLog {
    settings: Arc<KafkaSettings>,
    group: Arc<str>,
    /// Whether the broker has shown that it does not know the group protocol `consumer`.
    is_classic: Arc<AtomicBool>,
}

impl KafkaLog {
    pub(super) fn new(settings: &KafkaSettings, group: &str) -> Self {
        let settings = Arc::new(settings.clone());
        Self { settings, group: group.into(), is_classic: Arc::default() }
    }

    pub(super) fn settings(&self) -> &KafkaSettings {
        &self.settings
    }
}

/// What every client of ours has in common. The operator's own properties go first, so that ours win; each is there by
/// librdkafka's own name for it, so that one with a default of ours has to be asked for by that name (see [`default`]).
fn client_config(settings: &KafkaSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in &settings.properties {
        config.set(name, value);
    }
    default(&mut config, "client.id", "rollbook");
    config
        .set("metadata.broker.list", &settings.brokers)
        // A producer's default is to make a topic that is not there, with whatever the broker thinks fit: `setup` makes it.
        .set("allow.auto.create.topics", "false");
    // We listen to what it says, whatever of it is written down: why a broker cannot be reached, that a commit failed.
    let is_debugging = config.get("debug").is_some();
    config.set_log_level(if is_debugging { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
    config
}

/// Sets what the operator has not set. `name` is librdkafka's own, never an alias.
fn default(config: &mut ClientConfig, name: &str, value: &str) {
    if config.get(name).is_none() {
        config.set(name, value);
    }
}

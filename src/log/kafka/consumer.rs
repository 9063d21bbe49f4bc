//! Takes records of the partitions that the group gives us.
//!
//! One thread polls, always: the group session stays alive whatever the database does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::mpsc;

use super::{KafkaLog, client_config, default};
use crate::config::log::GroupProtocol;
use crate::log::ConsumerSettings;
use crate::log::consume::{Assignment, ConsumeError, Delivery, PartitionEnds, Start};
use group::{DEBUGGED, Group};
use receive::receive;

mod commits;
mod group;
mod membership;
mod receive;

/// The broker does not know the group protocol `consumer` (KIP-848).
#[derive(Debug, thiserror::Error)]
#[error("the broker does not know the group protocol `consumer`: set ROLLBOOK_KAFKA_GROUP_PROTOCOL=classic")]
struct NoConsumerProtocol;

/// A member of the group. Dropping it leaves the group.
pub(in crate::log) struct Consumer {
    log: KafkaLog,
    wanted: GroupProtocol,
    shared: Arc<BaseConsumer<Group>>,
    /// `None` is the end: librdkafka's context holds a sender for as long as the consumer lives.
    deliveries: mpsc::UnboundedReceiver<Option<Delivery>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), KafkaError>>>,
}

impl Consumer {
    /// Joins the group and starts to take records.
    ///
    /// # Errors
    /// librdkafka does not take the settings.
    pub(in crate::log) fn start(log: &KafkaLog, settings: &ConsumerSettings) -> Result<Self, KafkaError> {
        let (sender, deliveries) = mpsc::unbounded_channel();
        let topic = log.settings.topic.as_str();
        let wanted = settings.consume.kafka_group_protocol;
        let protocol = match wanted {
            GroupProtocol::Auto if log.is_classic.load(Ordering::Relaxed) => GroupProtocol::Classic,
            wanted => wanted,
        };
        let config = consumer_config(log, settings, protocol);
        let is_debugged = log.settings.properties.iter().any(|(name, _)| name == "debug");
        let group = Group::new(topic.to_owned(), is_debugged, protocol, sender);
        let shared: Arc<BaseConsumer<Group>> = Arc::new(config.create_with_context(group)?);
        shared.subscribe(&[topic])?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("log-consumer".to_owned())
            .spawn({
                let (shared, stop, budget) = (Arc::clone(&shared), Arc::clone(&stop), settings.budget_bytes);
                move || {
                    let ended = receive(&shared, &stop, budget);
                    let _ = shared.context().sender.send(None);
                    ended
                }
            })
            .map_err(|_| KafkaError::ClientCreation("no thread for the consumer".to_owned()))?;
        Ok(Self { log: log.clone(), wanted, shared, deliveries, stop, thread: Some(thread) })
    }

    /// See [`crate::log::Consumer::next`].
    pub(in crate::log) async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await.flatten()
    }

    pub(in crate::log) fn try_next(&mut self) -> Option<Delivery> {
        match self.deliveries.try_recv() {
            Ok(Some(delivery)) => Some(delivery),
            // The end is for `next` to tell.
            Ok(None) => {
                let _ = self.shared.context().sender.send(None);
                None
            }
            Err(_) => None,
        }
    }

    pub(in crate::log) fn start_at(&self, assignment: &Assignment, starts: &[Start]) {
        let group = self.shared.context();
        if let Err(error) = group.start_at(&self.shared, assignment, starts) {
            tracing::error!(%error, "a rebalance failed; this consumer gives up its partitions");
            let _ = group.failed.set(error);
        }
    }

    pub(in crate::log) fn commit(&self, next_offsets: &[(i32, i64)]) {
        self.shared.context().commit(&self.shared, next_offsets);
    }

    pub(in crate::log) fn has_commits_to_repeat(&self) -> bool {
        self.shared.context().has_commits_to_repeat()
    }

    pub(in crate::log) fn ends(&self) -> Arc<HashMap<i32, PartitionEnds>> {
        self.shared.context().ends.load_full()
    }

    pub(in crate::log) fn is_member(&self) -> bool {
        self.shared.context().membership.is_member()
    }

    pub(in crate::log) fn stop_reading(&self, partition: i32) {
        if let Err(error) = self.shared.context().stop_reading(&self.shared, partition) {
            tracing::warn!(partition, %error, "a partition could not be paused; what comes of it is dropped");
        }
    }

    pub(in crate::log) fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for the thread of a consumer that was closed, or that handed over its last delivery.
    ///
    /// # Errors
    /// What made the consumer end, if it was not [`Consumer::close`].
    pub(in crate::log) async fn ended(self) -> Result<(), ConsumeError> {
        let (log, wanted) = (self.log.clone(), self.wanted);
        let Err(error) = self.joined().await else { return Ok(()) };
        let is_unknown = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::UnsupportedVersion | RDKafkaErrorCode::UnsupportedFeature)
        );
        if !is_unknown {
            return Err(ConsumeError::Failed(error.into()));
        }
        let is_first = !log.is_classic.swap(true, Ordering::Relaxed);
        if wanted == GroupProtocol::Auto && is_first {
            tracing::info!("the broker does not know the group protocol `consumer`; joining with `classic`");
            return Err(ConsumeError::OtherWay);
        }
        Err(ConsumeError::Failed(NoConsumerProtocol.into()))
    }

    async fn joined(mut self) -> Result<(), KafkaError> {
        self.close();
        let Some(thread) = self.thread.take() else { return Ok(()) };
        // Leaving the group may wait for brokers that are away: off the async threads.
        let joined = tokio::task::spawn_blocking(move || {
            let ended = thread.join();
            drop(self);
            ended
        })
        .await;
        joined.ok().and_then(Result::ok).unwrap_or(Err(KafkaError::Canceled))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn consumer_config(
    log: &KafkaLog,
    settings: &ConsumerSettings,
    protocol: GroupProtocol,
) -> rdkafka::ClientConfig {
    let mut config = client_config(&log.settings);
    // The fetch queue sits before our budget: keep it small beside it.
    default(&mut config, "queued.max.messages.kbytes", "16384");
    config
        .set("group.id", &*log.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("statistics.interval.ms", "1000");
    if let Some(id) = &settings.consume.kafka_instance_id {
        config.set("group.instance.id", id);
    }
    match protocol {
        GroupProtocol::Auto | GroupProtocol::Consumer => {
            let asked_for = config.get("debug").map(|asked_for| format!("{asked_for},")).unwrap_or_default();
            config
                .set("group.protocol", "consumer")
                .set("debug", format!("{asked_for}{DEBUGGED}"))
                .set_log_level(RDKafkaLogLevel::Debug)
        }
        GroupProtocol::Classic => config
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", settings.consume.kafka_session_timeout_ms.to_string()),
    };
    config
}

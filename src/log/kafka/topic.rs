//! Looks at the topic that holds the records, and makes it where it is not there.

use std::collections::HashMap;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{ASK_TIMEOUT, client_config};
use crate::config::log::{KafkaSettings, TopicArgs};
use crate::log::Ensured;
use reach::{Found, find};

mod differences;
mod reach;

/// The broker makes as many copies as it thinks fit.
const BROKERS_DEFAULT: i32 = -1;

/// Why there is no usable topic.
#[derive(Debug, thiserror::Error)]
pub(in crate::log) enum TopicError {
    /// Kafka did not answer, or refused.
    #[error("Kafka: {doing}")]
    Kafka {
        /// What was asked of it.
        doing: &'static str,
        /// Its answer.
        #[source]
        source: KafkaError,
    },
    /// No broker can be asked anything.
    #[error("Kafka cannot be reached: {reason}")]
    Unreachable {
        /// As librdkafka tells it.
        reason: String,
    },
    /// Kafka refused to make the topic.
    #[error("Kafka does not make the topic `{topic}`: {code}")]
    Refused {
        /// The topic.
        topic: String,
        /// Kafka's reason.
        code: RDKafkaErrorCode,
    },
    /// A compacted topic keeps one record per organization and eats the rest.
    #[error(
        "the topic `{topic}` has cleanup.policy={policy}: compaction would eat accepted events, set it to delete"
    )]
    Compacted {
        /// The topic.
        topic: String,
        /// As found.
        policy: String,
    },
}

/// Makes the topic if it is not there, with `cleanup.policy=delete`, the retention asked for, and
/// `min.insync.replicas=2` from three copies on. One that is there needs no right but to look at it. Safe to repeat.
///
/// # Errors
/// See [`TopicError`].
pub(in crate::log) async fn ensure(
    settings: &KafkaSettings,
    args: &TopicArgs,
) -> Result<Ensured, TopicError> {
    if let Some(found) = look(settings).await? {
        return compare(settings, args, &found).await;
    }
    match make(settings, args).await? {
        Made::Now { partitions } => Ok(Ensured { partitions, differences: Vec::new(), unread: None }),
        Made::Meanwhile => match look(settings).await? {
            Some(found) => compare(settings, args, &found).await,
            None => {
                let code = RDKafkaErrorCode::UnknownTopicOrPartition;
                Err(TopicError::Refused { topic: settings.topic.clone(), code })
            }
        },
    }
}

/// Removes the topic; one that is not there is removed.
///
/// # Errors
/// Kafka does not answer, or refuses.
pub(in crate::log) async fn remove(settings: &KafkaSettings) -> Result<(), TopicError> {
    let admin = admin(settings)?;
    let removed =
        admin.delete_topics(&[&settings.topic], &options()).await.map_err(asked("removing the topic"))?;
    match removed.into_iter().next() {
        None | Some(Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition))) => Ok(()),
        Some(Err((_, code))) => {
            Err(TopicError::Kafka { doing: "removing the topic", source: KafkaError::AdminOp(code) })
        }
    }
}

async fn look(settings: &KafkaSettings) -> Result<Option<Found>, TopicError> {
    let settings = settings.clone();
    let asking = tokio::task::spawn_blocking(move || find(&settings)).await;
    asking.unwrap_or(Err(TopicError::Kafka { doing: "asking for the topic", source: KafkaError::Canceled }))
}

/// Who made it.
enum Made {
    Now {
        partitions: usize,
    },
    /// Another process was quicker.
    Meanwhile,
}

async fn make(settings: &KafkaSettings, args: &TopicArgs) -> Result<Made, TopicError> {
    let admin = admin(settings)?;
    let copies = match args.kafka_replication {
        Some(copies) => Some(copies),
        None => default_copies(&admin).await,
    };
    let retention_ms = (u64::from(args.kafka_retention_hours) * 3_600_000).to_string();
    let replication = TopicReplication::Fixed(copies.unwrap_or(BROKERS_DEFAULT));
    let mut new = NewTopic::new(&settings.topic, args.partitions.log_partitions, replication)
        .set("cleanup.policy", "delete")
        .set("retention.ms", &retention_ms);
    if copies.is_some_and(|copies| copies >= 3) {
        new = new.set("min.insync.replicas", "2");
    }
    let results = admin.create_topics([&new], &options()).await.map_err(asked("making the topic"))?;
    match results.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(Made::Meanwhile),
        Some(Err((topic, code))) => Err(TopicError::Refused { topic, code }),
        Some(Ok(_)) | None => {
            Ok(Made::Now { partitions: usize::try_from(args.partitions.log_partitions).unwrap_or_default() })
        }
    }
}

async fn compare(settings: &KafkaSettings, args: &TopicArgs, found: &Found) -> Result<Ensured, TopicError> {
    let admin = admin(settings)?;
    let (of_topic, unread) = match described(&admin, ResourceSpecifier::Topic(&settings.topic)).await {
        Ok(of_topic) => (of_topic, None),
        Err(KafkaError::AdminOp(code)) => (HashMap::new(), Some(code.to_string())),
        Err(error) => return Err(asked("asking for the topic's settings")(error)),
    };
    if let Some(policy) = of_topic.get("cleanup.policy").filter(|policy| policy.contains("compact")) {
        return Err(TopicError::Compacted { topic: settings.topic.clone(), policy: policy.clone() });
    }
    let default_copies = default_copies(&admin).await;
    let differences = differences::differences(found, &of_topic, args, default_copies);
    Ok(Ensured { partitions: found.partitions, differences, unread })
}

/// The brokers' `default.replication.factor`, where we may ask for it: so that `min.insync.replicas` can follow it.
async fn default_copies(admin: &AdminClient<DefaultClientContext>) -> Option<i32> {
    let metadata = admin.inner().fetch_metadata(None, ASK_TIMEOUT).ok()?;
    let broker = metadata.brokers().first()?.id();
    let of_broker = described(admin, ResourceSpecifier::Broker(broker)).await.ok()?;
    of_broker.get("default.replication.factor")?.parse().ok()
}

/// Settings with the values that the brokers apply. A refusal is a [`KafkaError::AdminOp`].
async fn described(
    admin: &AdminClient<DefaultClientContext>,
    what: ResourceSpecifier<'_>,
) -> Result<HashMap<String, String>, KafkaError> {
    let described = admin.describe_configs([&what], &options()).await?;
    let resource = described.into_iter().next().ok_or(KafkaError::Canceled)?.map_err(KafkaError::AdminOp)?;
    Ok(resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
}

fn admin(settings: &KafkaSettings) -> Result<AdminClient<DefaultClientContext>, TopicError> {
    client_config(settings).create().map_err(asked("making a client"))
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ASK_TIMEOUT)).operation_timeout(Some(ASK_TIMEOUT))
}

fn asked(doing: &'static str) -> impl FnOnce(KafkaError) -> TopicError {
    move |source| TopicError::Kafka { doing, source }
}

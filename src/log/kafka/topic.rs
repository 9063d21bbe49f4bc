//! Makes the topic that holds the records, or looks at the one that is there.

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{ASK_TIMEOUT, client_config};
use crate::config::log::{LogSettings, TopicArgs};

/// What [`ensure`] found or did.
#[derive(Debug, PartialEq, Eq)]
pub enum Ensured {
    /// The topic was made with this many partitions.
    Created {
        /// As asked for.
        partitions: usize,
    },
    /// It was there. Its partitions stay as they are: more of them would move organizations to other partitions.
    Existed {
        /// As found.
        partitions: usize,
    },
}

/// Why there is no usable topic.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// Kafka did not answer, or refused.
    #[error("Kafka: {doing}")]
    Kafka {
        /// What was asked of it.
        doing: &'static str,
        /// Its answer.
        #[source]
        source: KafkaError,
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

/// Makes the topic with `cleanup.policy=delete`, the retention asked for, and `min.insync.replicas=2` from three copies
/// on. Safe to repeat.
///
/// # Errors
/// See [`TopicError`].
pub async fn ensure(settings: &LogSettings, topic: &TopicArgs) -> Result<Ensured, TopicError> {
    let admin: AdminClient<DefaultClientContext> =
        client_config(settings).create().map_err(asked("making a client"))?;
    let replication = match topic.kafka_replication {
        Some(copies) => copies,
        None => default_replication(&admin).await?,
    };
    let retention_ms = (u64::from(topic.kafka_retention_hours) * 3_600_000).to_string();
    let mut new = NewTopic::new(&settings.topic, topic.log_partitions, TopicReplication::Fixed(replication))
        .set("cleanup.policy", "delete")
        .set("retention.ms", &retention_ms);
    if replication >= 3 {
        new = new.set("min.insync.replicas", "2");
    }
    let results = admin.create_topics([&new], &options()).await.map_err(asked("making the topic"))?;
    match results.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {
            refuse_compaction(&admin, &settings.topic).await?;
            let partitions = partitions(settings, admin).await?;
            Ok(Ensured::Existed { partitions })
        }
        Some(Err((topic, code))) => Err(TopicError::Refused { topic, code }),
        Some(Ok(_)) | None => {
            Ok(Ensured::Created { partitions: usize::try_from(topic.log_partitions).unwrap_or_default() })
        }
    }
}

/// The broker's `default.replication.factor`: asked for, so that `min.insync.replicas` can follow it.
async fn default_replication(admin: &AdminClient<DefaultClientContext>) -> Result<i32, TopicError> {
    let metadata =
        admin.inner().fetch_metadata(None, ASK_TIMEOUT).map_err(asked("asking for the brokers"))?;
    let broker = metadata.brokers().first().map_or(0, |broker| broker.id());
    let configs = admin
        .describe_configs([&ResourceSpecifier::Broker(broker)], &options())
        .await
        .map_err(asked("asking for the broker's defaults"))?;
    Ok(entry(configs, "default.replication.factor").and_then(|copies| copies.parse().ok()).unwrap_or(1))
}

async fn refuse_compaction(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<(), TopicError> {
    let configs = admin
        .describe_configs([&ResourceSpecifier::Topic(topic)], &options())
        .await
        .map_err(asked("asking for the topic's settings"))?;
    match entry(configs, "cleanup.policy") {
        Some(policy) if policy.contains("compact") => {
            Err(TopicError::Compacted { topic: topic.to_owned(), policy })
        }
        _ => Ok(()),
    }
}

async fn partitions(
    settings: &LogSettings,
    admin: AdminClient<DefaultClientContext>,
) -> Result<usize, TopicError> {
    let topic = settings.topic.clone();
    let asking = tokio::task::spawn_blocking(move || {
        let metadata = admin.inner().fetch_metadata(Some(&topic), ASK_TIMEOUT)?;
        Ok(metadata.topics().first().map_or(0, |topic| topic.partitions().len()))
    });
    match asking.await {
        Ok(answer) => answer.map_err(asked("asking for the topic's partitions")),
        Err(_) => Err(TopicError::Kafka {
            doing: "asking for the topic's partitions",
            source: KafkaError::Canceled,
        }),
    }
}

fn entry(configs: Vec<Result<ConfigResource, RDKafkaErrorCode>>, name: &str) -> Option<String> {
    let resource = configs.into_iter().next()?.ok()?;
    resource.get(name)?.value.clone()
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ASK_TIMEOUT)).operation_timeout(Some(ASK_TIMEOUT))
}

fn asked(doing: &'static str) -> impl FnOnce(KafkaError) -> TopicError {
    move |source| TopicError::Kafka { doing, source }
}

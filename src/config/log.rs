//! The log: which one, where it is, and how it is made.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::ArgPredicate;
use clap::{Args, ValueEnum};

use super::{ConfigError, Idle};

mod properties;

pub use properties::RawProperties;

/// Flags and variables of everything that touches the log.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// Which log keeps accepted records: `kafka`, or `embedded`, in files of this process alone. Default: `kafka` where
    /// ROLLBOOK_KAFKA_BROKERS is set.
    // A default that the command line library knows, so that it stands among the settings in effect.
    #[arg(
        long = "log",
        env = "ROLLBOOK_LOG",
        value_name = "LOG",
        default_value_if("kafka_brokers", ArgPredicate::IsPresent, "kafka")
    )]
    pub kind: Option<LogKind>,

    /// Folder of the embedded log. One process has it at a time; it is made where it is not there.
    #[arg(long, env = "ROLLBOOK_DATA_DIR", value_name = "FOLDER", default_value = "./rollbook-data")]
    pub data_dir: PathBuf,

    /// Where Kafka is.
    #[command(flatten)]
    pub brokers: BrokersArgs,

    /// Topic that holds the records. A service keeps to one topic: watermarks speak of its offsets.
    #[arg(long, env = "ROLLBOOK_KAFKA_TOPIC", value_name = "TOPIC", default_value = "rollbook.events")]
    pub kafka_topic: String,
}

/// Flags and variables of every connection to Kafka.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log")]
pub struct BrokersArgs {
    /// Kafka bootstrap servers as host:port, separated by commas.
    #[arg(long, env = "ROLLBOOK_KAFKA_BROKERS", value_name = "HOST:PORT,…")]
    pub kafka_brokers: Option<String>,

    /// Any librdkafka properties as name=value, separated by commas: `security.protocol=…,sasl.mechanism=…`. A comma
    /// inside a value is written `\,`, a backslash `\\`. The ones that the guarantees rest on are refused by name.
    #[arg(
        long,
        env = "ROLLBOOK_KAFKA_PROPERTIES",
        value_name = "NAME=VALUE,…",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub kafka_properties: RawProperties,
}

/// Into how many parts a new log is divided.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log")]
pub struct PartitionsArg {
    /// Partitions of a log that is made new: the most loaders that can share the work. An embedded log that was
    /// made with another number is refused.
    #[arg(long, env = "ROLLBOOK_LOG_PARTITIONS", value_name = "N", default_value_t = 12,
          value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub log_partitions: i32,
}

/// How much the embedded log keeps.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log")]
pub struct RetentionArg {
    /// Bytes of the embedded log on disk. What is loaded is kept as long as they allow; what is not loaded is never dropped, and
    /// where it takes all of them batches are answered 503 until the loader has caught up.
    #[arg(long, env = "ROLLBOOK_LOG_RETENTION_BYTES", value_name = "BYTES", default_value_t = 1024 * 1024 * 1024,
          value_parser = clap::value_parser!(u64).range(1024 * 1024..))]
    pub log_retention_bytes: u64,
}

/// Flags and variables of making the topic.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Topic")]
pub struct TopicArgs {
    /// Into how many parts it is divided.
    #[command(flatten)]
    pub partitions: PartitionsArg,

    /// Copies of each partition; the broker's own default when not set. From 3 on, `min.insync.replicas` is 2.
    #[arg(long, env = "ROLLBOOK_KAFKA_REPLICATION", value_name = "N",
          value_parser = clap::value_parser!(i32).range(1..=100))]
    pub kafka_replication: Option<i32>,

    /// Hours that the topic keeps records. Records older than this that were never loaded are lost, out loud.
    #[arg(long, env = "ROLLBOOK_KAFKA_RETENTION_HOURS", value_name = "HOURS", default_value_t = 168,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub kafka_retention_hours: u32,
}

/// Flags and variables of the producing end.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Publishing")]
pub struct PublishArgs {
    /// Milliseconds until a record that Kafka has not acknowledged is given up; the request is then answered with
    /// `retry` or 503. Keep it below the time that clients wait.
    #[arg(long, env = "ROLLBOOK_KAFKA_PUBLISH_TIMEOUT_MS", value_name = "MS", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(100..=300_000))]
    pub kafka_publish_timeout_ms: u32,
}

/// The loaders' consumer group.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Consuming")]
pub struct GroupArg {
    /// Consumer group: loaders of one group share the partitions out.
    #[arg(long, env = "ROLLBOOK_KAFKA_GROUP", value_name = "GROUP", default_value = "rollbook-loader")]
    pub kafka_group: String,
}

/// Flags and variables of the consuming end.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Consuming")]
pub struct ConsumeArgs {
    /// Which group.
    #[command(flatten)]
    pub group: GroupArg,

    /// How loaders share partitions out: `consumer` is the broker-side protocol of Kafka 4 (KIP-848), `classic` the one
    /// that older brokers know, `auto` the first of them that the broker knows.
    #[arg(long, env = "ROLLBOOK_KAFKA_GROUP_PROTOCOL", value_name = "PROTOCOL", default_value = "auto")]
    pub kafka_group_protocol: GroupProtocol,

    /// A name that this loader keeps over restarts and that no other loader of the group has: one that is back within the
    /// session timeout then gets its own partitions again, without a rebalance of the others. None unless set.
    #[arg(long, env = "ROLLBOOK_KAFKA_INSTANCE_ID", value_name = "ID")]
    pub kafka_instance_id: Option<String>,

    /// Milliseconds without a heartbeat after which a loader's partitions go to another. Only with `classic`: with
    /// `consumer` the broker decides.
    #[arg(long, env = "ROLLBOOK_KAFKA_SESSION_TIMEOUT_MS", value_name = "MS", default_value_t = 45_000,
          value_parser = clap::value_parser!(u32).range(1_000..=3_600_000))]
    pub kafka_session_timeout_ms: u32,
}

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogKind {
    /// Apache Kafka, or anything that speaks its protocol.
    Kafka,
    /// One process, on local disk.
    Embedded,
}

/// Which consumer group protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GroupProtocol {
    /// `consumer` where the broker knows it, else `classic`.
    Auto,
    /// KIP-848: the broker assigns.
    Consumer,
    /// A member of the group assigns.
    Classic,
}

/// Which log, and where it is: checked.
#[derive(Clone, Debug)]
pub enum LogSettings {
    /// A topic.
    Kafka(KafkaSettings),
    /// Files of one process.
    Embedded(EmbeddedSettings),
}

/// Where the topic is.
#[derive(Clone)]
pub struct KafkaSettings {
    /// Kafka bootstrap servers.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Further librdkafka properties, by librdkafka's own names; none that the guarantees rest on.
    pub properties: Vec<(String, String)>,
}

/// Where the embedded log is, and how large.
#[derive(Clone, Debug)]
pub struct EmbeddedSettings {
    /// Its folder.
    pub folder: PathBuf,
    /// Into how many parts it is divided.
    pub partitions: u32,
    /// The bytes that it may take.
    pub retention_bytes: u64,
}

/// There is one embedded log an installation, so that its name says nothing.
pub const EMBEDDED_NAME: &str = "embedded";

impl LogSettings {
    /// What the control schema knows the log by: its kind and its name.
    pub fn identity(&self) -> (&'static str, &str) {
        match self {
            Self::Kafka(settings) => ("kafka", &settings.topic),
            Self::Embedded(_) => ("embedded", EMBEDDED_NAME),
        }
    }
}

impl KafkaSettings {
    /// The properties as ROLLBOOK_KAFKA_PROPERTIES takes them.
    pub fn written_properties(&self) -> String {
        let escaped = |text: &str| text.replace('\\', r"\\").replace(',', r"\,");
        let written = self.properties.iter().map(|(name, value)| format!("{name}={}", escaped(value)));
        written.collect::<Vec<_>>().join(",")
    }
}

impl TopicArgs {
    /// As by default, but divided into so many parts.
    pub fn with_partitions(log_partitions: i32) -> Self {
        let partitions = PartitionsArg { log_partitions };
        Self { partitions, kafka_replication: None, kafka_retention_hours: 168 }
    }
}

impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.properties.iter().map(|(name, _)| name).collect();
        f.debug_struct("KafkaSettings")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("properties", &names)
            .finish()
    }
}

impl LogArgs {
    /// Which log is meant.
    ///
    /// # Errors
    /// None is.
    pub fn kind(&self) -> Result<LogKind, ConfigError> {
        match self.kind {
            Some(kind) => Ok(kind),
            None if self.brokers.is_set() => Ok(LogKind::Kafka),
            None => Err(ConfigError::NoLog),
        }
    }

    /// Which log, and where it is, for who only looks at it.
    ///
    /// # Errors
    /// No log is meant, no brokers, or a property that is not the operator's to set.
    pub fn look(&self) -> Result<LogSettings, ConfigError> {
        self.with(1, u64::MAX)
    }

    /// Which log, and how it is made.
    ///
    /// # Errors
    /// No log is meant, no brokers, or a property that is not the operator's to set.
    pub fn set_up(&self, partitions: &PartitionsArg) -> Result<LogSettings, ConfigError> {
        self.with(partitions.log_partitions.unsigned_abs(), u64::MAX)
    }

    /// Which log, and all that a process needs that serves it.
    ///
    /// # Errors
    /// No log is meant, no brokers, or a property that is not the operator's to set.
    pub fn resolve(
        &self,
        partitions: &PartitionsArg,
        retention: &RetentionArg,
    ) -> Result<LogSettings, ConfigError> {
        self.with(partitions.log_partitions.unsigned_abs(), retention.log_retention_bytes)
    }

    fn with(&self, partitions: u32, retention_bytes: u64) -> Result<LogSettings, ConfigError> {
        match self.kind()? {
            LogKind::Kafka => self.kafka().map(LogSettings::Kafka),
            LogKind::Embedded => {
                let folder = self.data_dir.clone();
                Ok(LogSettings::Embedded(EmbeddedSettings { folder, partitions, retention_bytes }))
            }
        }
    }

    fn kafka(&self) -> Result<KafkaSettings, ConfigError> {
        self.brokers.with_topic(&self.kafka_topic)
    }

    /// What has no effect beside the rest.
    pub fn idle(&self) -> Option<Idle> {
        let is_embedded = matches!(self.kind(), Ok(LogKind::Embedded));
        let why = "is the embedded log's alone, and the log is not that one (--log embedded)";
        Idle::if_so(!is_embedded, &["data_dir", "log_retention_bytes"], why)
    }

    /// What has no effect because no log is meant, for a command that does without one.
    pub fn idle_without_log(&self) -> Option<Idle> {
        let why = "is of a Kafka that is not named (--kafka-brokers)";
        Idle::if_so(self.kind().is_err(), &["kafka_topic", "kafka_properties", "kafka_group"], why)
    }
}

impl BrokersArgs {
    fn is_set(&self) -> bool {
        self.kafka_brokers.as_deref().is_some_and(|brokers| !brokers.trim().is_empty())
    }

    /// A topic there.
    ///
    /// # Errors
    /// No brokers, or a property that is not the operator's to set.
    pub fn with_topic(&self, topic: &str) -> Result<KafkaSettings, ConfigError> {
        let brokers = self.kafka_brokers.as_deref().unwrap_or_default().trim();
        if !self.is_set() {
            return Err(ConfigError::Missing { missing: "ROLLBOOK_KAFKA_BROKERS".to_owned() });
        }
        let properties = self.kafka_properties.parse().map_err(|why| ConfigError::Invalid {
            variable: "ROLLBOOK_KAFKA_PROPERTIES",
            flag: "--kafka-properties",
            why,
        })?;
        Ok(KafkaSettings { brokers: brokers.to_owned(), topic: topic.to_owned(), properties })
    }
}

impl ConsumeArgs {
    /// What has no effect beside the rest.
    pub fn idle(&self) -> Option<Idle> {
        let is_brokers = self.kafka_group_protocol == GroupProtocol::Consumer;
        let why = "is decided by the broker where the group's protocol is `consumer`";
        Idle::if_so(is_brokers, &["kafka_session_timeout_ms"], why)
    }
}

impl PublishArgs {
    /// How long a record may stay unacknowledged.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.kafka_publish_timeout_ms.into())
    }
}

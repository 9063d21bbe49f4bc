//! librdkafka properties that an operator may set beside our own settings.
//!
//! librdkafka knows some properties by several names, and takes those of a topic with `topic.` before them, too. Here each
//! gets the one name that librdkafka itself keeps it under, so that neither a refusal nor a default can be gone around
//! by another spelling: clients of ours are given no property under two names.

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "kafka")]
use rdkafka::{ClientConfig, error::KafkaError, types::RDKafkaConfRes};

/// Properties as written. They may hold passwords: nothing prints them.
#[derive(Clone)]
pub struct RawProperties(String);

impl FromStr for RawProperties {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for RawProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawProperties(…)")
    }
}

/// Other names of properties, and the names that librdkafka keeps them under.
const ALIASES: [(&str, &str); 10] = [
    ("acks", "request.required.acks"),
    ("auto.commit.enable", "enable.auto.commit"),
    ("bootstrap.servers", "metadata.broker.list"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
];

/// What exactly-once, placement, the settings of our own or our waiting for answers rests on, by librdkafka's own names.
const PROTECTED: [&str; 33] = [
    // What an acknowledgement means, and that there is one for every record.
    "request.required.acks",
    "enable.idempotence",
    "enable.gapless.guarantee",
    "transactional.id",
    "max.in.flight.requests.per.connection",
    "queuing.strategy",
    "msg_order_cmp",
    "message.timeout.ms",
    "delivery.report.only.error",
    "dr_cb",
    "dr_msg_cb",
    // Which partition is whose.
    "partitioner",
    "partitioner_cb",
    // Offsets, and what is read at them.
    "enable.auto.commit",
    "auto.commit.interval.ms",
    "enable.auto.offset.store",
    "offset.store.method",
    "offset.store.path",
    "offset.store.sync.interval.ms",
    "auto.offset.reset",
    "isolation.level",
    "enable.partition.eof",
    "check.crcs",
    // The log is the one that `setup` made, and its group the one of our settings.
    "metadata.broker.list",
    "allow.auto.create.topics",
    "group.id",
    "group.protocol",
    "group.protocol.type",
    "group.instance.id",
    "partition.assignment.strategy",
    "session.timeout.ms",
    // How the consumer learns what it is told by events and statistics.
    "statistics.interval.ms",
    "enabled_events",
];

/// The name that librdkafka keeps a property under.
fn own_name(name: &str) -> &str {
    // Properties of all topics that begin so by themselves.
    let is_global = name.starts_with("topic.metadata.") || name == "topic.blacklist";
    let name = name.strip_prefix("topic.").filter(|_| !is_global).unwrap_or(name);
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, own)| own)
}

impl RawProperties {
    /// The properties by librdkafka's own names. An error names an entry by its place or its name, and never repeats a
    /// value, which may be a password.
    pub(super) fn parse(&self) -> Result<Vec<(String, String)>, String> {
        let mut properties: Vec<(String, String)> = Vec::new();
        for (index, entry) in entries(&self.0)?.into_iter().enumerate() {
            let entry = entry.trim();
            if entry.is_empty() {
                continue;
            }
            let (written, value) = entry
                .split_once('=')
                .ok_or_else(|| format!("has an entry without `=`: entry {}", index + 1))?;
            let (written, value) = (written.trim(), value.trim());
            let name = own_name(written);
            if PROTECTED.contains(&name) {
                return Err(format!("sets `{written}`, which the guarantees rest on and nobody can change"));
            }
            if properties.iter().any(|(known, _)| known == name) {
                return Err(format!("sets `{written}` twice, maybe under another name of it"));
            }
            refuse_unless_taken(written, name, value)?;
            properties.push((name.to_owned(), value.to_owned()));
        }
        Ok(properties)
    }
}

/// Cuts at commas, but for those that a backslash stands before; so a backslash needs one of its own.
fn entries(text: &str) -> Result<Vec<String>, String> {
    let mut entries = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let place = entries.len();
        let entry = &mut entries[place - 1];
        match letter {
            ',' => entries.push(String::new()),
            '\\' => match letters.next() {
                Some(escaped @ (',' | '\\')) => entry.push(escaped),
                Some(_) | None => {
                    return Err(format!(
                        r"has a backslash before neither `,` nor `\`: entry {place}; write a backslash as `\\`"
                    ));
                }
            },
            other => entry.push(other),
        }
    }
    Ok(entries)
}

/// A build without librdkafka has nobody to ask, and no use for it.
#[cfg(not(feature = "kafka"))]
fn refuse_unless_taken(written: &str, _name: &str, _value: &str) -> Result<(), String> {
    Err(format!("sets `{written}`, and this build of rollbook has no Kafka"))
}

/// Asks librdkafka now: when a client is made, its complaint would repeat the value.
#[cfg(feature = "kafka")]
fn refuse_unless_taken(written: &str, name: &str, value: &str) -> Result<(), String> {
    match ClientConfig::new().set(name, value).create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
            Err(format!("sets `{written}`, which librdkafka does not know"))
        }
        Err(_) => Err(format!("sets `{written}` to something that this build of librdkafka does not take")),
    }
}

#[cfg(all(test, feature = "kafka"))]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
        text.parse::<RawProperties>().expect("every text is taken").parse()
    }

    fn pairs(expected: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        Ok(expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn properties_that_the_guarantees_rest_on_are_refused_by_every_name() {
        let aliases = ALIASES.iter().filter(|(_, own)| PROTECTED.contains(own)).map(|(alias, _)| *alias);
        for name in PROTECTED.into_iter().chain(aliases) {
            for written in [name.to_owned(), format!("topic.{name}")] {
                let refused = parse(&format!("client.id=a, {written}=1")).expect_err(&written);
                assert!(refused.contains(&format!("`{written}`")), "{refused}");
            }
        }
    }

    #[test]
    fn librdkafka_keeps_each_alias_under_the_name_that_we_say() {
        // Two values that each property takes: one of them is not its default.
        let values = |own: &str| match own {
            "request.required.acks" => ["0", "1"],
            "enable.auto.commit" => ["true", "false"],
            "compression.codec" => ["gzip", "lz4"],
            "sasl.mechanisms" => ["PLAIN", "GSSAPI"],
            "metadata.broker.list" => ["a:1", "b:2"],
            _ => ["3001", "3002"],
        };
        for (alias, own) in ALIASES {
            for value in values(own) {
                let config = ClientConfig::new().set(alias, value).create_native_config();
                let kept = config.expect(alias).get(if alias == "auto.commit.enable" { alias } else { own });
                assert_eq!(kept.expect(own).trim_end_matches('\0'), value, "{alias}");
            }
        }
    }

    #[test]
    fn a_property_is_known_by_one_name_however_it_is_written() {
        let expected = pairs(&[("compression.codec", "zstd"), ("queue.buffering.max.ms", "5")]);
        for written in
            ["compression.type=zstd,linger.ms=5", "topic.compression.codec=zstd, queue.buffering.max.ms=5"]
        {
            assert_eq!(parse(written), expected, "{written}");
        }
        let global = pairs(&[("topic.metadata.refresh.interval.ms", "60000")]);
        assert_eq!(parse("topic.metadata.refresh.interval.ms=60000"), global);
        let refused = parse("sasl.mechanism=PLAIN,sasl.mechanisms=hunter2").expect_err("the same twice");
        assert!(refused.contains("`sasl.mechanisms` twice") && !refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn a_comma_and_a_backslash_can_be_written() {
        let expected = pairs(&[("sasl.password", r"a,b\c=d"), ("client.id", "x")]);
        assert_eq!(parse(r"sasl.password=a\,b\\c=d,client.id=x,"), expected);
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_place_and_not_shown() {
        for written in [
            "client.id=a,hunter2",
            r"client.id=a,sasl.password=hunter2\x",
            r"client.id=a,sasl.password=hunter2\",
        ] {
            let refused = parse(written).expect_err(written);
            assert!(refused.contains("entry 2") && !refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn a_property_that_librdkafka_does_not_take_is_named_and_its_value_is_not_shown() {
        for name in ["sasl.pasword", "security.protocol", "linger.ms"] {
            let refused = parse(&format!("{name}=hunter2")).expect_err(name);
            assert!(refused.contains(&format!("`{name}`")) && !refused.contains("hunter2"), "{refused}");
        }
    }
}

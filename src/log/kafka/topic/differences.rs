//! How a topic that was there differs from the one that `setup` would have made.

use std::collections::HashMap;

use super::reach::Found;
use crate::config::log::TopicArgs;
use crate::log::Difference;

/// A batch of the producer may be this large before it is compressed: one record of the largest size, or many. It is
/// librdkafka's own limit (`batch.size`, `message.max.bytes`).
const BATCH_BYTES: u64 = 1_000_000;

/// Compares. `settings` are the topic's own as the brokers apply them; one that they do not tell is not compared.
/// `default_copies` is how many copies the brokers make if nobody says, where they say it.
pub(super) fn differences(
    found: &Found,
    settings: &HashMap<String, String>,
    args: &TopicArgs,
    default_copies: Option<i32>,
) -> Vec<Difference> {
    let number = |name: &str| settings.get(name).and_then(|value| value.parse::<i64>().ok());
    let mut differences = Vec::new();
    let mut differs = |setting, found: String, wanted: String, consequence| {
        differences.push(Difference { setting, found, wanted, consequence });
    };

    let wanted = usize::try_from(args.partitions.log_partitions).unwrap_or_default();
    if found.partitions != wanted {
        let consequence = if found.partitions < wanted {
            "fewer loaders can share the work; more partitions would move organizations to others"
        } else {
            "it stays as it is"
        };
        differs("partitions", found.partitions.to_string(), wanted.to_string(), consequence);
    }
    let copies = args.kafka_replication.or(default_copies).and_then(|copies| usize::try_from(copies).ok());
    if let Some(wanted) = copies.filter(|wanted| *wanted != found.copies) {
        let consequence = if found.copies < wanted {
            "accepted events are lost with fewer brokers than you may think"
        } else {
            "each event is kept more often"
        };
        differs("replication", found.copies.to_string(), wanted.to_string(), consequence);
    }
    if let Some(in_sync) = number("min.insync.replicas") {
        let copies = i64::try_from(found.copies).unwrap_or(i64::MAX);
        if in_sync > copies {
            let most = copies.to_string();
            differs("min.insync.replicas", in_sync.to_string(), most, "nothing can be accepted");
        } else if found.copies >= 3 && in_sync < 2 {
            let consequence = "an event counts as accepted when only one broker has it";
            differs("min.insync.replicas", in_sync.to_string(), "2".to_owned(), consequence);
        } else if found.copies >= 3 && in_sync > 2 {
            let consequence = "fewer brokers may be away before nothing can be accepted";
            differs("min.insync.replicas", in_sync.to_string(), "2".to_owned(), consequence);
        }
    }
    let wanted = i64::from(args.kafka_retention_hours) * 3_600_000;
    if let Some(kept) = number("retention.ms").filter(|kept| *kept != wanted) {
        let consequence = if (0..wanted).contains(&kept) {
            "events that wait longer than this to be loaded are lost"
        } else {
            "the brokers' disks keep events for longer"
        };
        differs("retention.ms", kept.to_string(), wanted.to_string(), consequence);
    }
    if let Some(kept) = number("retention.bytes").filter(|kept| *kept >= 0) {
        let consequence = "in a partition that outgrows this, events are lost that were not loaded yet";
        differs("retention.bytes", kept.to_string(), "-1".to_owned(), consequence);
    }
    if let Some(taken) = number("max.message.bytes").filter(|taken| taken.unsigned_abs() < BATCH_BYTES) {
        let consequence =
            "batches beyond it are refused, and their senders hear 503 for as long as it stands";
        differs("max.message.bytes", taken.to_string(), format!("{BATCH_BYTES} or more"), consequence);
    }
    if settings.get("unclean.leader.election.enable").is_some_and(|value| value == "true") {
        let consequence = "a broker that lags may become leader, and accepted events are lost";
        differs("unclean.leader.election.enable", "true".to_owned(), "false".to_owned(), consequence);
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::log::PartitionsArg;

    fn args() -> TopicArgs {
        TopicArgs {
            partitions: PartitionsArg { log_partitions: 12 },
            kafka_replication: None,
            kafka_retention_hours: 168,
        }
    }

    fn named(found: &Found, settings: &[(&str, &str)], default_copies: Option<i32>) -> Vec<&'static str> {
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let differences = differences(found, &settings, &args(), default_copies);
        differences.iter().map(|difference| difference.setting).collect()
    }

    #[test]
    fn a_topic_as_setup_makes_it_differs_in_nothing() {
        let settings = [
            ("min.insync.replicas", "2"),
            ("retention.ms", "604800000"),
            ("retention.bytes", "-1"),
            ("max.message.bytes", "1048588"),
            ("unclean.leader.election.enable", "false"),
        ];
        assert!(named(&Found { partitions: 12, copies: 3 }, &settings, Some(3)).is_empty());
        assert!(named(&Found { partitions: 12, copies: 3 }, &[], None).is_empty(), "what is not told");
    }

    #[test]
    fn everything_that_may_cost_events_is_said() {
        let settings = [
            ("min.insync.replicas", "1"),
            ("retention.ms", "3600000"),
            ("retention.bytes", "1000000"),
            ("max.message.bytes", "100000"),
            ("unclean.leader.election.enable", "true"),
        ];
        let said = named(&Found { partitions: 1, copies: 3 }, &settings, Some(1));
        let expected = [
            "partitions",
            "replication",
            "min.insync.replicas",
            "retention.ms",
            "retention.bytes",
            "max.message.bytes",
            "unclean.leader.election.enable",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn more_copies_than_there_are_cannot_be_in_sync() {
        assert_eq!(
            named(&Found { partitions: 12, copies: 1 }, &[("min.insync.replicas", "2")], Some(1)),
            ["min.insync.replicas"]
        );
    }
}

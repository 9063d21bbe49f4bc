//! Whether the group's coordinator counts a consumer in, as its statistics tell.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::Statistics;

use crate::config::log::GroupProtocol;

/// What a member of the broker-side protocol sends for as long as it is one.
const HEARTBEAT: &str = "ConsumerGroupHeartbeat";
/// The second heartbeat is only sent once the first was answered; what refuses one for good ends the consumer.
const PROOF: i64 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Membership {
    protocol: GroupProtocol,
    is_member: AtomicBool,
    /// Heartbeats sent before the present wait for partitions began.
    sent_before: Mutex<i64>,
}

impl Membership {
    pub(super) fn new(protocol: GroupProtocol) -> Self {
        Self { protocol, is_member: AtomicBool::new(false), sent_before: Mutex::new(0) }
    }

    /// With partitions, or with none because others have them all.
    pub(super) fn is_member(&self) -> bool {
        self.is_member.load(Ordering::Relaxed)
    }

    pub(super) fn see(&self, statistics: &Statistics) {
        let heartbeats = statistics.brokers.values().filter_map(|broker| broker.req.get(HEARTBEAT)).sum();
        let group = statistics.cgrp.as_ref();
        let (state, join_state) =
            group.map_or(("", ""), |group| (group.state.as_str(), group.join_state.as_str()));
        self.is_member.store(self.judge(state, join_state, heartbeats), Ordering::Relaxed);
    }

    /// librdkafka is `steady` once partitions were assigned. Under the classic protocol that may be none; under the
    /// broker-side one a member without any stays as it was at the start, `init`, and only its heartbeats tell that it
    /// is counted in.
    fn judge(&self, state: &str, join_state: &str, heartbeats: i64) -> bool {
        let mut sent_before = self.sent_before.lock().unwrap_or_else(PoisonError::into_inner);
        match (state, join_state, self.protocol) {
            ("up", "init", GroupProtocol::Auto | GroupProtocol::Consumer) => {
                heartbeats >= *sent_before + PROOF
            }
            (_, join_state, _) => {
                *sent_before = heartbeats;
                state == "up" && join_state == "steady"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_got_no_partition_is_one_by_its_second_heartbeat() {
        let membership = Membership::new(GroupProtocol::Consumer);
        let judge = |state, join_state, heartbeats| membership.judge(state, join_state, heartbeats);
        assert!(!judge("query-coord", "init", 0));
        assert!(!judge("up", "init", 1), "sent, and maybe not answered");
        assert!(judge("up", "init", 2));
        assert!(!judge("wait-broker-transport", "init", 2), "the coordinator is away");
        assert!(!judge("up", "init", 3), "sent, and maybe not answered");
        assert!(judge("up", "init", 4));
        assert!(!judge("up", "wait-assign-call", 4));
        assert!(judge("up", "steady", 5));
        assert!(!judge("up", "init", 5), "its partitions were lost, and it joins afresh");
    }

    #[test]
    fn a_member_of_the_classic_protocol_has_been_told_what_it_gets() {
        let membership = Membership::new(GroupProtocol::Classic);
        let judge = |state, join_state, heartbeats| membership.judge(state, join_state, heartbeats);
        assert!(!judge("up", "init", 100) && !judge("up", "wait-join", 100));
        assert!(judge("up", "steady", 0));
    }
}

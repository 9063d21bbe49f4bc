//! Whether the group's coordinator counts a consumer in, as its statistics tell.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::Statistics;

use crate::config::log::GroupProtocol;

/// How librdkafka calls its connection to the coordinator, which carries heartbeats and commits only.
const COORDINATOR: &str = "GroupCoordinator";
/// The first answer may only promise what the second brings.
const ENOUGH: u64 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Membership {
    protocol: GroupProtocol,
    is_member: AtomicBool,
    /// What the coordinator had answered when it was first seen that we wait for partitions.
    answers_before: Mutex<Option<u64>>,
}

impl Membership {
    pub(super) fn new(protocol: GroupProtocol) -> Self {
        Self { protocol, is_member: AtomicBool::new(false), answers_before: Mutex::default() }
    }

    /// With partitions, or with none because others have them all.
    pub(super) fn is_member(&self) -> bool {
        self.is_member.load(Ordering::Relaxed)
    }

    pub(super) fn see(&self, statistics: &Statistics) {
        let coordinator = statistics.brokers.values().filter(|broker| broker.name.starts_with(COORDINATOR));
        let answers = coordinator.map(|broker| broker.rx).sum();
        let group = statistics.cgrp.as_ref();
        let (state, join_state) =
            group.map_or(("", ""), |group| (group.state.as_str(), group.join_state.as_str()));
        self.is_member.store(self.judge(state, join_state, answers), Ordering::Relaxed);
    }

    /// librdkafka is `steady` once partitions were assigned. Under the classic protocol that may be none; under the
    /// broker-side one a member that never got any stays as it was at the start, `init`. There the next answers tell:
    /// what refuses a heartbeat for good ends the consumer, and while one is unanswered no other is sent.
    fn judge(&self, state: &str, join_state: &str, answers: u64) -> bool {
        let mut before = self.answers_before.lock().unwrap_or_else(PoisonError::into_inner);
        match (state, join_state, self.protocol) {
            ("up", "init", GroupProtocol::Auto | GroupProtocol::Consumer) => {
                answers >= *before.get_or_insert(answers) + ENOUGH
            }
            (_, join_state, _) => {
                *before = None;
                state == "up" && join_state == "steady"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_got_no_partition_is_one_when_the_coordinator_answers_it() {
        let membership = Membership::new(GroupProtocol::Consumer);
        let judge = |state, join_state, answers| membership.judge(state, join_state, answers);
        assert!(!judge("query-coord", "init", 0));
        assert!(!judge("up", "init", 3), "these may be of the connection's beginning");
        assert!(!judge("up", "init", 4), "partitions may come with the next one");
        assert!(judge("up", "init", 5));
        assert!(judge("up", "init", 5), "until the next heartbeat");
        assert!(!judge("wait-broker-transport", "init", 5), "the coordinator is away");
        assert!(!judge("up", "init", 7));
        assert!(judge("up", "init", 9));
        assert!(!judge("up", "wait-assign-call", 9));
        assert!(judge("up", "steady", 10));
        assert!(!judge("up", "init", 10), "its partitions were lost, and it joins afresh");
    }

    #[test]
    fn a_member_of_the_classic_protocol_has_been_told_what_it_gets() {
        let membership = Membership::new(GroupProtocol::Classic);
        let judge = |state, join_state, answers| membership.judge(state, join_state, answers);
        assert!(!judge("up", "init", 1) && !judge("up", "init", 100) && !judge("up", "wait-join", 100));
        assert!(judge("up", "steady", 0));
    }
}

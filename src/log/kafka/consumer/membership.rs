//! Whether the group's coordinator counts a consumer in, as its statistics tell.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::Statistics;

use crate::config::log::GroupProtocol;

/// How librdkafka calls its connection to the coordinator, which carries heartbeats and commits only.
const COORDINATOR: &str = "GroupCoordinator";
/// The first answer may only promise what the second brings.
const ENOUGH: u64 = 2;
/// A member whose partitions are being shared out anew is one meanwhile: when another leaves or comes, a second or so. One
/// that is left without an answer for longer than this consumes nothing.
const REBALANCE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Membership {
    protocol: GroupProtocol,
    is_member: AtomicBool,
    seen: Mutex<Seen>,
}

/// What the statistics told before.
#[derive(Debug, Default)]
struct Seen {
    /// What the coordinator had answered when it was first seen that we wait for partitions.
    answers_before: Option<u64>,
    /// When it was last seen that we are a member and nothing is being shared out.
    settled_at: Option<Instant>,
}

impl Membership {
    pub(super) fn new(protocol: GroupProtocol) -> Self {
        Self { protocol, is_member: AtomicBool::new(false), seen: Mutex::default() }
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
        self.is_member.store(self.judge(state, join_state, answers, Instant::now()), Ordering::Relaxed);
    }

    /// librdkafka is `steady` once partitions were assigned. Under the classic protocol that may be none; under the
    /// broker-side one a member that never got any stays as it was at the start, `init`. There the next answers tell:
    /// what refuses a heartbeat for good ends the consumer, and while one is unanswered no other is sent.
    fn judge(&self, state: &str, join_state: &str, answers: u64, now: Instant) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if state != "up" {
            *seen = Seen::default();
            return false;
        }
        let is_settled = match (join_state, self.protocol) {
            ("init", GroupProtocol::Auto | GroupProtocol::Consumer) => {
                let is_answered = answers >= *seen.answers_before.get_or_insert(answers) + ENOUGH;
                if !is_answered {
                    // Its partitions were lost, if it had any: it joins afresh.
                    seen.settled_at = None;
                }
                is_answered
            }
            (join_state, _) => {
                seen.answers_before = None;
                join_state == "steady"
            }
        };
        if is_settled {
            seen.settled_at = Some(now);
        }
        seen.settled_at.is_some_and(|settled_at| now.duration_since(settled_at) < REBALANCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_got_no_partition_is_one_when_the_coordinator_answers_it() {
        let membership = Membership::new(GroupProtocol::Consumer);
        let now = Instant::now();
        let judge = |state, join_state, answers| membership.judge(state, join_state, answers, now);
        assert!(!judge("query-coord", "init", 0));
        assert!(!judge("up", "init", 3), "these may be of the connection's beginning");
        assert!(!judge("up", "init", 4), "partitions may come with the next one");
        assert!(judge("up", "init", 5));
        assert!(judge("up", "init", 5), "until the next heartbeat");
        assert!(!judge("wait-broker-transport", "init", 5), "the coordinator is away");
        assert!(!judge("up", "init", 7));
        assert!(judge("up", "init", 9));
        assert!(judge("up", "steady", 10));
        assert!(!judge("up", "init", 10), "its partitions were lost, and it joins afresh");
        assert!(!judge("up", "wait-assign-call", 12), "it has none yet");
    }

    #[test]
    fn a_member_of_the_classic_protocol_has_been_told_what_it_gets() {
        let membership = Membership::new(GroupProtocol::Classic);
        let judge = |state, join_state, answers| membership.judge(state, join_state, answers, Instant::now());
        assert!(!judge("up", "init", 1) && !judge("up", "init", 100) && !judge("up", "wait-join", 100));
        assert!(judge("up", "steady", 0));
    }

    #[test]
    fn a_member_is_one_while_partitions_are_shared_out_anew_but_not_for_ever() {
        for (protocol, sharing_out) in [
            (GroupProtocol::Consumer, "wait-assign-call"),
            (GroupProtocol::Consumer, "wait-incr-unassign-to-complete"),
            (GroupProtocol::Classic, "wait-join"),
            (GroupProtocol::Classic, "init"),
        ] {
            let membership = Membership::new(protocol);
            let start = Instant::now();
            let judge = |state, join_state, after| membership.judge(state, join_state, 0, start + after);
            let second = Duration::from_secs(1);
            assert!(!judge("up", sharing_out, Duration::ZERO), "it is no member yet");
            assert!(judge("up", "steady", second));
            assert!(judge("up", sharing_out, second * 2), "{protocol:?}, {sharing_out}");
            assert!(!judge("up", sharing_out, second + REBALANCE), "it waits in vain");
            assert!(judge("up", "steady", REBALANCE * 2));
            assert!(!judge("query-coord", sharing_out, REBALANCE * 2), "the coordinator is away");
            assert!(!judge("up", sharing_out, REBALANCE * 2), "and whether it is still one is not known");
        }
    }
}

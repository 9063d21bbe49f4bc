//! Which commits Kafka has not taken, so that they are asked for again.

use std::collections::HashMap;

/// The last commit that was asked for in each partition of ours.
#[derive(Debug, Default)]
pub(super) struct Commits {
    asked: HashMap<i32, i64>,
    /// Kafka did not take one, and says not by itself which: all are asked for again, which costs nothing.
    failed: bool,
}

impl Commits {
    /// What to ask for now: these, or after a failure the last of every partition.
    pub(super) fn ask(&mut self, next_offsets: &[(i32, i64)]) -> Vec<(i32, i64)> {
        self.asked.extend(next_offsets.iter().copied());
        if std::mem::take(&mut self.failed) {
            self.asked.iter().map(|(partition, next_offset)| (*partition, *next_offset)).collect()
        } else {
            next_offsets.to_vec()
        }
    }

    /// A commit failed.
    pub(super) fn failed(&mut self) {
        self.failed = true;
    }

    /// Whether one failed and was not asked for again yet.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// These partitions are another's: what was said of them is not ours to repeat.
    pub(super) fn forget(&mut self, partitions: &[i32]) {
        self.asked.retain(|partition, _| !partitions.contains(partition));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(commits: &mut Commits, next_offsets: &[(i32, i64)]) -> Vec<(i32, i64)> {
        let mut asked = commits.ask(next_offsets);
        asked.sort_unstable();
        asked
    }

    #[test]
    fn what_failed_is_asked_for_with_the_next_round_unless_there_is_something_newer() {
        let mut commits = Commits::default();
        assert_eq!(ask(&mut commits, &[(0, 5), (1, 7)]), [(0, 5), (1, 7)]);
        assert_eq!(ask(&mut commits, &[(1, 8)]), [(1, 8)]);
        commits.failed();
        assert_eq!(ask(&mut commits, &[(1, 9)]), [(0, 5), (1, 9)]);
        assert_eq!(ask(&mut commits, &[]), []);
    }

    #[test]
    fn what_was_said_of_a_partition_that_is_anothers_by_now_is_forgotten() {
        let mut commits = Commits::default();
        ask(&mut commits, &[(0, 5), (1, 7)]);
        commits.failed();
        commits.forget(&[0]);
        assert_eq!(ask(&mut commits, &[]), [(1, 7)]);
    }
}

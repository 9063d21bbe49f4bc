//! Which commits Kafka has not taken, so that they are asked for again.

use std::collections::HashMap;

/// The last commit that was asked for in each partition of ours.
#[derive(Debug, Default)]
pub(super) struct Commits {
    asked: HashMap<i32, Asked>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    next_offset: i64,
    failed: bool,
}

impl Commits {
    /// What to ask for now: these, and those that failed and that nothing newer has replaced.
    pub(super) fn ask(&mut self, next_offsets: &[(i32, i64)]) -> Vec<(i32, i64)> {
        for (partition, next_offset) in next_offsets {
            self.asked.insert(*partition, Asked { next_offset: *next_offset, failed: true });
        }
        let to_ask = self.asked.iter_mut().filter(|(_, asked)| asked.failed);
        to_ask
            .map(|(partition, asked)| {
                asked.failed = false;
                (*partition, asked.next_offset)
            })
            .collect()
    }

    /// Kafka did not take these. An older one does not matter once a newer was asked for.
    pub(super) fn failed(&mut self, next_offsets: &[(i32, i64)]) {
        for (partition, next_offset) in next_offsets {
            if let Some(asked) = self.asked.get_mut(partition) {
                asked.failed |= asked.next_offset == *next_offset;
            }
        }
    }

    /// These partitions are another's: what failed there is not ours to say any more.
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
    fn what_failed_is_asked_for_with_the_next_round() {
        let mut commits = Commits::default();
        assert_eq!(ask(&mut commits, &[(0, 5), (1, 7)]), [(0, 5), (1, 7)]);
        commits.failed(&[(0, 5), (1, 7)]);
        assert_eq!(ask(&mut commits, &[(1, 9)]), [(0, 5), (1, 9)]);
        assert_eq!(ask(&mut commits, &[]), []);
    }

    #[test]
    fn an_older_failure_never_takes_a_newer_commit_back() {
        let mut commits = Commits::default();
        ask(&mut commits, &[(0, 5)]);
        ask(&mut commits, &[(0, 9)]);
        commits.failed(&[(0, 5)]);
        assert_eq!(ask(&mut commits, &[]), []);
    }

    #[test]
    fn what_failed_in_a_partition_that_is_anothers_by_now_is_forgotten() {
        let mut commits = Commits::default();
        ask(&mut commits, &[(0, 5), (1, 7)]);
        commits.failed(&[(0, 5), (1, 7)]);
        commits.forget(&[0]);
        assert_eq!(ask(&mut commits, &[]), [(1, 7)]);
    }
}

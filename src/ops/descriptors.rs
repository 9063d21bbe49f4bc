//! File descriptors: how many the process may have, and what that leaves for clients.
//!
//! A connection that finds no descriptor is not refused: it hangs in the kernel's queue, and so do probes, scrapes and
//! whatever else opens a socket. So intake lets in no more connections than fit beside everything else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Intake's listener and those whom it tells that they are too many, the operator's connections, the log's clients with
/// a socket for each broker, Postgres beside the loader's writers, and what is open anyway.
const RESERVE: u64 = 64 + 64 + 128 + 32;
/// Where hardly anything is allowed, clients still get this part of it.
const LEAST_PART: u64 = 4;

/// Raises the process's own limit to the most that the system allows it, and gives what it is then; `None`: no limit.
pub fn raise_limit() -> Option<u64> {
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: now.maximum, ..now };
    // A system that refuses leaves the limit as it was, which is what counts.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current
}

/// How many of the `wanted` client connections fit under `limit` beside the reserve and so many `others`.
pub fn connections_that_fit(wanted: u32, limit: Option<u64>, others: u32) -> u32 {
    let Some(limit) = limit else { return wanted };
    let room = limit.saturating_sub(RESERVE + u64::from(others)).max(limit / LEAST_PART).max(1);
    wanted.min(u32::try_from(room).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_the_reserve_leaves_and_never_more_than_was_set() {
        assert_eq!(connections_that_fit(4_096, None, 4), 4_096);
        assert_eq!(connections_that_fit(4_096, Some(524_288), 4), 4_096);
        assert_eq!(connections_that_fit(4_096, Some(1_024), 4), 1_024 - 288 - 4);
        assert_eq!(connections_that_fit(4_096, Some(256), 4), 64);
        assert_eq!(connections_that_fit(10, Some(1_024), 4), 10);
    }
}

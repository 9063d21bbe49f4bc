//! Ports that stay a server's own while it is away.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

/// Nobody listens at them yet, so that only we know whose they are.
static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A free port of this machine that was not given before, below those that the system hands out by itself: nobody gets
/// it while its server is down.
pub(super) fn free() -> u16 {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    loop {
        let port = rand::random_range(30_000..32_700);
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
}

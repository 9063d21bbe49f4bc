//! Ports that stay a server's own while it is away.

use std::net::TcpListener;

/// A free port of this machine, below those that the system hands out by itself: nobody gets it while its server is
/// down.
pub(super) fn free() -> u16 {
    loop {
        let port = rand::random_range(30_000..32_700);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

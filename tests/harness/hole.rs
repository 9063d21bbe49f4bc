//! A door that opens and behind which nobody is.

use std::net::{SocketAddr, TcpListener};

/// Takes connections, as the kernel does for a program that is paused, and says nothing.
#[derive(Debug)]
pub(crate) struct Hole(TcpListener);

impl Hole {
    pub(crate) fn open() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }

    pub(crate) fn port(&self) -> u16 {
        self.address().port()
    }
}

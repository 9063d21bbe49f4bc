//! TLS for Postgres connections, with libpq's meanings of `sslmode`.

#[cfg(not(feature = "tls"))]
mod none;
#[cfg(feature = "tls")]
mod openssl;

#[cfg(not(feature = "tls"))]
pub(super) use none::{Connector, connector};
#[cfg(feature = "tls")]
pub(super) use openssl::{Connector, connector};

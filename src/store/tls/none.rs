//! For builds without TLS, whose PostgreSQL is on the same machine: what asks for TLS is refused.

use tokio_postgres::NoTls;

use crate::config::database::{TlsPolicy, Verify};
use crate::store::Error;

/// The driver answers `sslmode=require` itself: it has no TLS.
pub(in crate::store) type Connector = NoTls;

/// No connector, for URLs that can do without.
pub(in crate::store) fn connector(policy: &TlsPolicy) -> Result<Connector, Error> {
    if policy.verify == Verify::Nothing && policy.own.is_none() {
        return Ok(NoTls);
    }
    Err(Error::Tls("this build of rollbook has no TLS: build it with the feature `tls`".to_owned()))
}

//! Asks a running process for a page of its operator's: the other end of [`admin`](super::admin).

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

/// Keeps its connection from one page to the next.
#[derive(Debug)]
pub struct AdminClient {
    addr: SocketAddr,
    http: Client<HttpConnector, Empty<Bytes>>,
    limits: AnswerLimits,
}

/// What one answer may take: anything may listen there.
#[derive(Clone, Copy, Debug)]
pub struct AnswerLimits {
    /// From the question to the last byte.
    pub patience: Duration,
    /// Of the body.
    pub most_bytes: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Nothing listens there, or it says nothing.
    #[error(transparent)]
    Nobody(#[from] hyper_util::client::legacy::Error),
    /// Not within the patience.
    #[error("it takes too long")]
    Slow,
    /// It breaks off, or is too large.
    #[error(transparent)]
    Unreadable(Box<dyn Error + Send + Sync>),
}

impl AdminClient {
    /// Asks the process whose operator's listener has this address. One that listens on every address of its machine is
    /// asked at its own.
    pub fn new(addr: SocketAddr, limits: AnswerLimits) -> Self {
        let http = Client::builder(TokioExecutor::new()).build_http();
        Self { addr: reachable(addr), http, limits }
    }

    /// Where it asks.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The answer, whatever its status, to the question for a path with its query.
    ///
    /// # Errors
    /// There is none within the limits.
    ///
    /// # Cancel safety
    /// Dropping the future drops the question.
    pub async fn get(&self, page: &str) -> Result<(StatusCode, Bytes), NoAnswer> {
        timeout(self.limits.patience, self.ask(page)).await.unwrap_or(Err(NoAnswer::Slow))
    }

    async fn ask(&self, page: &str) -> Result<(StatusCode, Bytes), NoAnswer> {
        let uri: Uri = format!("http://{}{page}", self.addr).parse().map_err(unreadable)?;
        let (head, body) = self.http.get(uri).await?.into_parts();
        let body =
            Limited::new(body, self.limits.most_bytes).collect().await.map_err(NoAnswer::Unreadable)?;
        Ok((head.status, body.to_bytes()))
    }
}

fn unreadable(error: impl Error + Send + Sync + 'static) -> NoAnswer {
    NoAnswer::Unreadable(error.into())
}

fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_on_every_address_is_asked_at_its_own() {
        for (listens, asked) in
            [("0.0.0.0:9090", "127.0.0.1:9090"), ("[::]:9090", "[::1]:9090"), ("10.0.0.7:1", "10.0.0.7:1")]
        {
            assert_eq!(reachable(listens.parse().expect("an address")).to_string(), asked);
        }
    }
}

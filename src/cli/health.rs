//! `rollbook health`: asks a running service how it is, where no other program is there to ask it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::StatusCode;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use super::failure::chain;
use super::{Failure, output};
use crate::config::ops::AdminAddr;

/// The service answers from memory. One that takes longer is not well.
const PATIENCE: Duration = Duration::from_secs(5);
/// A body of a few roles and reasons; whatever else listens there may send anything.
const MOST_BYTES: usize = 64 * 1024;

/// What `health` takes.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Asks whether it would take work now (`/readyz`). Default: whether it makes progress (`/healthz`), which is what a
    /// restart can mend.
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    address: AdminAddr,
}

impl Arguments {
    /// Prints what the service says of itself, and fails where it is not well or does not answer.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let path = if self.ready { "/readyz" } else { "/healthz" };
        let url = format!("http://{}{path}", reachable(self.address.admin_addr));
        let (status, body) = timeout(PATIENCE, ask(&url, MOST_BYTES))
            .await
            .map_err(|_| unanswered(&url, "it takes too long"))??;
        let said = String::from_utf8_lossy(&body);
        match status {
            StatusCode::OK => {
                output::say(&format!("{}\n", said.trim_end()));
                Ok(())
            }
            StatusCode::SERVICE_UNAVAILABLE => Err(Failure::new("unwell", said.trim_end())),
            other => Err(unanswered(&url, &format!("what listens there answers {other}"))),
        }
    }
}

/// Asks a service for one of its operator's pages, of so many bytes at most.
pub(super) async fn ask(url: &str, most_bytes: usize) -> Result<(StatusCode, Bytes), Failure> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let uri = url.parse().map_err(|error| unanswered(url, &chain(&error)))?;
    let response = client.get(uri).await.map_err(|error| unanswered(url, &chain(&error)))?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, most_bytes).collect().await;
    let body = body.map_err(|error| unanswered(url, &error.to_string()))?;
    Ok((head.status, body.to_bytes()))
}

fn unanswered(url: &str, why: &str) -> Failure {
    Failure::new("no_answer", format!("no service answers at {url}: {why}"))
}

/// A service that listens on every address of its machine is asked at its own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
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

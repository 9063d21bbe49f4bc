//! The clients: as cheap as they can be, for they share the machine with what is measured.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::batches::{Case, Packing};
use super::server::{EVENTS, Process};

/// Each waits for its reply before it sends again.
pub(crate) const CONNECTIONS: usize = 64;

/// What each connection sends, over and over: a batch of its own, so that neither compression nor caches see one text only.
pub(crate) struct Load {
    requests: Vec<Vec<u8>>,
    events: usize,
    /// What stands in the reply of a server that took all of it.
    accepted: String,
}

/// What came of a load.
pub(crate) struct Measured {
    pub(crate) cpu_seconds_a_million: f64,
    /// With what the process took that keeps the log.
    pub(crate) cpu_seconds_with_log: f64,
    pub(crate) events_a_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Load {
    pub(crate) fn new(case: &Case, server: &Process) -> Self {
        let encoding = match case.packing {
            Packing::Plain => "",
            Packing::Gzip => "content-encoding: gzip\r\n",
        };
        let request = |_| {
            let body = case.batch().wire;
            let head = format!(
                "POST /v1/events HTTP/1.1\r\nhost: bench\r\ncontent-type: {}\r\norganization: acme\r\n\
                 authorization: Bearer {}\r\n{encoding}{EVENTS}: {}\r\ncontent-length: {}\r\n\r\n",
                case.content_type(),
                server.key,
                case.events,
                body.len()
            );
            [head.as_bytes(), &body].concat()
        };
        Self {
            requests: (0..CONNECTIONS).map(request).collect(),
            events: case.events,
            accepted: format!(r#""accepted":{},"duplicate":0,"rejected":0,"retry":0"#, case.events),
        }
    }

    /// Sends until both times are over, and measures during the second.
    pub(crate) async fn run(
        self,
        server: &Process,
        warm_up: Duration,
        measured: Duration,
    ) -> anyhow::Result<Measured> {
        let start = Instant::now() + warm_up;
        let end = start + measured;
        let mut connections = JoinSet::new();
        for request in self.requests {
            let stream = TcpStream::connect(&server.address).await?;
            stream.set_nodelay(true)?;
            connections.spawn(send(stream, request, self.accepted.clone(), start, end));
        }
        tokio::time::sleep_until(start.into()).await;
        let (before, broker_before) = (server.cpu_seconds()?, server.broker_cpu_seconds()?);
        let started = Instant::now();
        tokio::time::sleep_until(end.into()).await;
        let (cpu_seconds, took) = (server.cpu_seconds()? - before, started.elapsed());
        let broker_cpu_seconds = server.broker_cpu_seconds()? - broker_before;
        let mut latencies = Histogram::<u64>::new(3)?;
        while let Some(sent) = connections.join_next().await {
            latencies.add(sent??)?;
        }
        let events = latencies.len() as f64 * self.events as f64;
        let quantile_ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
        Ok(Measured {
            cpu_seconds_a_million: cpu_seconds / events * 1e6,
            cpu_seconds_with_log: (cpu_seconds + broker_cpu_seconds) / events * 1e6,
            events_a_second: events / took.as_secs_f64(),
            p50_ms: quantile_ms(0.5),
            p99_ms: quantile_ms(0.99),
        })
    }
}

/// Gives the microseconds that each reply took which came between `start` and `end`.
async fn send(
    mut stream: TcpStream,
    request: Vec<u8>,
    accepted: String,
    start: Instant,
    end: Instant,
) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = Histogram::new(3)?;
    let mut reply = Vec::new();
    let mut now = Instant::now();
    while now < end {
        let sent = now;
        stream.write_all(&request).await?;
        read_reply(&mut stream, &mut reply).await?;
        ensure!(
            memchr::memmem::find(&reply, accepted.as_bytes()).is_some(),
            "not every event was accepted: {}",
            String::from_utf8_lossy(&reply)
        );
        now = Instant::now();
        if (start..end).contains(&now) {
            latencies.record(u64::try_from((now - sent).as_micros())?)?;
        }
    }
    Ok(latencies)
}

async fn read_reply(stream: &mut TcpStream, reply: &mut Vec<u8>) -> anyhow::Result<()> {
    reply.clear();
    loop {
        ensure!(stream.read_buf(reply).await? > 0, "closed early");
        let Some(head_end) = memchr::memmem::find(reply, b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&reply[..head_end])?;
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.and_then(|length| length.parse().ok()).context("a length")?;
        if reply.len() >= head_end + 4 + length {
            return Ok(());
        }
    }
}

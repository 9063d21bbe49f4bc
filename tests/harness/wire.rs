//! One connection that says exactly what it is told to: for clients that stop half-way or say too much.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Organization, Reply};

/// A connection over HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// The head of a batch of an organization's own, with these headers besides.
pub(crate) fn batch_head(organization: &Organization, headers: &[(&str, &str)]) -> Vec<u8> {
    let Organization { slug, key, .. } = organization;
    let mut head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\norganization: {slug}\r\nauthorization: Bearer {key}\r\n"
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    (head + "\r\n").into_bytes()
}

impl Wire {
    /// Connects, or not.
    pub(crate) async fn open(address: &str) -> std::io::Result<Self> {
        Ok(Self { stream: TcpStream::connect(address).await?, read: Vec::new() })
    }

    /// Sends these bytes; that the other end is gone is seen when reading.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next reply, `100 Continue` included; `None` when the connection ended before it.
    pub(crate) async fn reply(&mut self) -> Option<Reply> {
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.read.split_off(end + 4);
                break String::from_utf8(std::mem::replace(&mut self.read, rest)).expect("a head in ASCII");
            }
            self.more().await?;
        };
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status: StatusCode = status.expect("a status line");
        let headers: HeaderMap = head.lines().filter_map(header).collect();
        let length = headers.get("content-length").map_or(0, |length| {
            length.to_str().ok().and_then(|length| length.parse().ok()).expect("a length")
        });
        while self.read.len() < length {
            self.more().await?;
        }
        let rest = self.read.split_off(length);
        let body = Bytes::from(std::mem::replace(&mut self.read, rest));
        let json = serde_json::from_slice(&body).unwrap_or_default();
        Some(Reply { status, headers, json, body })
    }

    /// Reads to the connection's end, and gives what came before it.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        // A reset is an end, too.
        let _ = self.stream.read_to_end(&mut self.read).await;
        self.read
    }

    async fn more(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.read).await.unwrap_or(0);
        (read > 0).then_some(())
    }
}

fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(": ")?;
    Some((name.parse().ok()?, value.parse().ok()?))
}

//! An HTTP/1.1 client that writes exactly what it is told to.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Member;

const LONGEST_WAIT: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    head: String,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find_map(|(other, value)| other.eq_ignore_ascii_case(name).then_some(value))
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// The problem's code, or `ok`.
    pub(super) fn code(&self) -> String {
        if self.status == 200 {
            "ok".to_owned()
        } else {
            self.json()["code"].as_str().expect("a code").to_owned()
        }
    }
}

/// A request in the making.
#[derive(Clone)]
pub(super) struct Asking {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Asking {
    /// A JSON batch with key and tag in the headers.
    pub(super) fn batch(member: &Member, body: impl Into<Vec<u8>>) -> Self {
        Self {
            method: "POST".to_owned(),
            path: "/v1/events".to_owned(),
            headers: Vec::new(),
            body: body.into(),
        }
        .with("content-type", "application/json")
        .with("authorization", &format!("Bearer {}", member.key))
        .with("organization", &member.slug)
    }

    pub(super) fn get(path: &str) -> Self {
        Self { method: "GET".to_owned(), path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// Sets a header, or takes it away when `value` is empty.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        if !value.is_empty() {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nhost: intake\r\n", self.method, self.path).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if !self.headers.iter().any(|(name, _)| name == "content-length" || name == "transfer-encoding") {
            bytes.extend_from_slice(format!("content-length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    pub(super) async fn send(&self, address: SocketAddr) -> Reply {
        let mut wire = Wire::open(address).await;
        wire.write(&self.bytes()).await;
        wire.reply().await
    }
}

/// One connection.
pub(super) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    pub(super) async fn open(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.expect("a listener"), read: Vec::new() }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("an open connection");
    }

    /// Closes the client's half of the connection.
    pub(super) async fn say_no_more(&mut self) {
        self.stream.shutdown().await.expect("an open connection");
    }

    /// The next reply on this connection.
    pub(super) async fn reply(&mut self) -> Reply {
        timeout(LONGEST_WAIT, self.next()).await.expect("a reply in time").expect("a reply")
    }

    /// The next reply on this connection, to a request whose reply has no body.
    pub(super) async fn head(&mut self) -> Reply {
        timeout(LONGEST_WAIT, self.next_head()).await.expect("a reply in time").expect("a reply")
    }

    /// Waits until the server closes; what came before that is dropped.
    pub(super) async fn closed(&mut self) {
        let mut rest = Vec::new();
        // A reset is a close, too.
        let _ = timeout(LONGEST_WAIT, self.stream.read_to_end(&mut rest)).await.expect("a close in time");
    }

    async fn next_head(&mut self) -> Option<Reply> {
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.read.split_off(end + 4);
                let head = std::mem::replace(&mut self.read, rest);
                break String::from_utf8(head).expect("a head in ASCII");
            }
            self.more().await?;
        };
        let status = head.split(' ').nth(1)?.parse().expect("a status");
        Some(Reply { status, head, body: Vec::new() })
    }

    async fn next(&mut self) -> Option<Reply> {
        let reply = self.next_head().await?;
        let length = reply.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        while self.read.len() < length {
            self.more().await?;
        }
        let rest = self.read.split_off(length);
        Some(Reply { body: std::mem::replace(&mut self.read, rest), ..reply })
    }

    async fn more(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.read).await.expect("an open connection");
        (read > 0).then_some(())
    }
}

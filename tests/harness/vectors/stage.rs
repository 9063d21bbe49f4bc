//! The service in the condition that a vector asks for: arranged for real.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use hyper::{HeaderMap, StatusCode};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Condition, Listener, Request, Vector};
use crate::harness::{Form, Http, Organization, Reply, Rollbook, Service, Site, eventually};

/// A site with the organizations that the vectors speak of, and a service that is ready.
pub(super) struct Stage {
    site: Site,
    ready: Service,
    limited: Organization,
    names: BTreeMap<&'static str, String>,
}

/// A request with its body filled in and packed.
struct Message<'v> {
    request: &'v Request,
    body: Vec<u8>,
}

impl Stage {
    pub(super) async fn set_up() -> Self {
        let site = Site::set_up().await;
        let slugs = ["acme", "birch", "suspended_school", "fenced_school", "limited_school"];
        let made = join_all(slugs.iter().map(|slug| site.organization(slug))).await;
        let [acme, birch, suspended, fenced, limited] =
            <[Organization; 5]>::try_from(made).expect("one for each slug");
        let revoked = site.run("key add acme --json").await.done().json();
        let text = |name: &str| revoked[name].as_str().expect("key add says it").to_owned();
        site.run(&format!("key revoke {}", text("key_id"))).await.done();
        site.run("org suspend suspended_school").await.done();
        site.run("org set fenced_school --origin https://play.example.org").await.done();
        site.run("org set limited_school --rate-limit 1").await.done();
        let nobody = rollbook::tenant::WriteKey::generate().expect("randomness");
        let names = BTreeMap::from([
            ("acme.key", acme.key),
            ("birch.key", birch.key),
            ("suspended_school.key", suspended.key),
            ("fenced_school.key", fenced.key),
            ("limited_school.key", limited.key.clone()),
            ("revoked.key", text("key")),
            ("nobody.key", nobody.reveal().to_owned()),
        ]);
        let ready = Service::ready(site.serve("--role intake")).await;
        Self { site, ready, limited, names }
    }

    /// The plain body of a vector's request, and the reply that it gets in the condition that it asks for.
    pub(super) async fn play(&self, vector: &Vector) -> (Vec<u8>, Reply) {
        let plain = vector.request.plain(&self.names);
        let message = Message { request: &vector.request, body: vector.request.pack(&plain) };
        let reply = self.reply(vector.service, &message).await;
        (plain, reply)
    }

    async fn reply(&self, condition: Condition, message: &Message<'_>) -> Reply {
        match condition {
            Condition::Ready => self.send(&self.ready, message).await,
            Condition::Exhausted => {
                self.ready.post(&self.limited, Form::Json, &vec![json!({}); 500]).await;
                self.send(&self.ready, message).await
            }
            Condition::Starting => {
                let away = "postgres://intake:pw@127.0.0.1:1/nowhere";
                let serve = self.serve().env("ROLLBOOK_INTAKE_DATABASE_URL", away);
                self.send(&Service::start(serve).await, message).await
            }
            Condition::Overloaded => {
                let service = Service::ready(self.serve().env("ROLLBOOK_HTTP_CONNECTIONS", "1")).await;
                let only = Http::new(service.intake().address());
                assert_eq!(only.get("/healthz").await.status, StatusCode::OK);
                let reply = self.send(&service, message).await;
                drop(only);
                reply
            }
            Condition::LogUnavailable => {
                let serve = self
                    .serve()
                    .env("ROLLBOOK_KAFKA_BROKERS", "127.0.0.1:1")
                    .env("ROLLBOOK_KAFKA_PUBLISH_TIMEOUT_MS", "500");
                let service = Service::start(serve).await;
                eventually("organizations are loaded", async || {
                    let ready = service.intake().get("/readyz").await.json;
                    ready["intake"]["reason"].to_string().contains("the log is unavailable")
                })
                .await;
                self.send(&service, message).await
            }
            Condition::LogPartlyUnavailable => {
                self.limit_messages("100000").await;
                let reply = self.send(&self.ready, message).await;
                self.limit_messages("1048588").await;
                reply
            }
            Condition::SlowBody => {
                let service = Service::ready(self.serve().env("ROLLBOOK_BODY_TIMEOUT_MS", "300")).await;
                let mut stream = connect(&service).await;
                let bytes = self.bytes(message);
                stream.write_all(&bytes[..bytes.len() - message.body.len() / 2]).await.expect("open");
                read(stream).await
            }
            Condition::Draining => self.drain(message).await,
        }
    }

    fn serve(&self) -> Rollbook {
        self.site.serve("--role intake")
    }

    async fn send(&self, service: &Service, message: &Message<'_>) -> Reply {
        let request = message.request;
        let http = match request.listener {
            Listener::Intake => service.intake(),
            Listener::Admin => &service.admin,
        };
        let headers = request.headers(&self.names);
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        http.send(&request.method, &request.path, &headers, message.body.clone()).await
    }

    /// Begins the request, lets the process begin to end, and sends the rest.
    async fn drain(&self, message: &Message<'_>) -> Reply {
        let service = Service::ready(self.serve()).await;
        let mut stream = connect(&service).await;
        let bytes = self.bytes(message);
        stream.write_all(&bytes[..20]).await.expect("open");
        // A later connection's reply shows that this one was accepted.
        assert_eq!(service.intake().get("/healthz").await.status, StatusCode::OK);
        service.terminate().await;
        let address = service.intake().address();
        eventually("nobody listens any more", async || TcpStream::connect(address).await.is_err()).await;
        stream.write_all(&bytes[20..]).await.expect("open");
        read(stream).await
    }

    /// The whole request as HTTP/1.1 writes it.
    fn bytes(&self, message: &Message<'_>) -> Vec<u8> {
        let Message { request, body } = message;
        let mut head = format!("{} {} HTTP/1.1\r\nhost: rollbook\r\n", request.method, request.path);
        for (name, value) in request.headers(&self.names) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        [head.as_bytes(), body].concat()
    }

    /// How large a message the topic takes from now on.
    async fn limit_messages(&self, bytes: &str) {
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", self.site.brokers())
            .create()
            .expect("a client of the broker");
        let limit =
            AlterConfig::new(ResourceSpecifier::Topic(&self.site.database)).set("max.message.bytes", bytes);
        let altered = admin.alter_configs([&limit], &AdminOptions::new()).await.expect("a broker");
        assert!(altered.iter().all(Result::is_ok), "{altered:?}");
    }
}

async fn connect(service: &Service) -> TcpStream {
    TcpStream::connect(service.intake().address()).await.expect("a listener")
}

/// A reply behind which the connection is closed.
async fn read(mut stream: TcpStream) -> Reply {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("a reply, and the end");
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("the head's end");
    let body = bytes.split_off(end + 4);
    let head = String::from_utf8(bytes).expect("a head in ASCII");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers: HeaderMap = fields
        .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
        .collect::<Vec<(hyper::header::HeaderName, hyper::header::HeaderValue)>>()
        .into_iter()
        .collect();
    Reply::new(status, headers, body.into())
}

//! The real listener on a port of its own, over real TCP. Nothing here needs a log: what would be published ends in
//! `log_unavailable`, because the broker that these tests name does not exist.

mod bodies;
mod client;
mod connections;
mod drain;
mod lines;
mod neighbours;
mod order;
mod replies;
mod strangers;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Server;
use crate::config::intake::IntakeArgs;
use crate::config::log::{KafkaSettings, LogSettings};
use crate::config::ops::DrainSettings;
use crate::log::{Log, Publisher};
use crate::ops::Health;
use crate::ops::metrics::Exporter;
use crate::tenant::{Directory, Organization, OrganizationId, Snapshot, State, WriteKey};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    intake: IntakeArgs,
}

/// An organization and its key.
#[derive(Clone)]
struct Member {
    slug: String,
    key: String,
}

/// A running intake.
struct Room {
    address: SocketAddr,
    health: Health,
    exporter: Exporter,
    stop: CancellationToken,
    server: JoinHandle<anyhow::Result<()>>,
}

impl Room {
    async fn open(flags: &[&str], organizations: Vec<(Organization, WriteKey)>) -> Self {
        let directory = Arc::new(Directory::default());
        let keys: Vec<_> = organizations.iter().map(|(o, key)| (key.digest(), o.id)).collect();
        let organizations = organizations.into_iter().map(|(organization, _)| organization);
        directory.replace(Snapshot::new(organizations, keys, Instant::now()));
        Self::open_with(flags, directory, Duration::ZERO).await
    }

    async fn open_with(flags: &[&str], directory: Arc<Directory>, pause: Duration) -> Self {
        let exporter = Exporter::install().expect("the only recorder");
        let flags = Flags::parse_from([&["test"], flags].concat());
        let settings = flags.intake.resolve().expect("settings that go together");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let health = Health::new();
        let server = Server {
            settings,
            drain: DrainSettings { limit: Duration::from_secs(5), pause },
            directory,
            publisher: no_log(),
            health: health.clone(),
        };
        let stop = CancellationToken::new();
        let server = tokio::spawn(server.run(listener, stop.clone()));
        Self { address, health, exporter, stop, server }
    }

    /// One sample of the metrics of this process, zero when there is none.
    fn metric(&self, sample: &str) -> f64 {
        let text = self.exporter.render();
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }
}

fn no_log() -> Publisher {
    let settings = LogSettings::Kafka(KafkaSettings {
        brokers: "127.0.0.1:1".to_owned(),
        topic: "nowhere".to_owned(),
        properties: Vec::new(),
    });
    let log = Log::open(&settings, "nobody").expect("nothing is opened yet");
    log.publisher(Duration::from_millis(200)).expect("settings that librdkafka takes")
}

fn organization(slug: &str) -> (Organization, WriteKey) {
    let organization = Organization {
        id: OrganizationId(Uuid::now_v7()),
        slug: slug.parse().expect("a slug"),
        schema_name: format!("org_{slug}"),
        state: State::Active,
        schema_version: 1,
        completion: crate::tenant::Completion::default(),
        rate_limit: None,
        origins: Vec::new(),
    };
    (organization, WriteKey::generate().expect("randomness"))
}

fn member((organization, key): &(Organization, WriteKey)) -> Member {
    Member { slug: organization.slug.to_string(), key: key.reveal().to_owned() }
}

/// A room with one organization in it.
async fn room_of_one(flags: &[&str], slug: &str) -> (Room, Member) {
    let acme = organization(slug);
    let member = member(&acme);
    (Room::open(flags, vec![acme]).await, member)
}

/// A JSON batch in which every event is refused: answered without the log.
fn refused_batch(events: usize) -> String {
    format!(r#"{{"events":[{}]}}"#, vec!["{}"; events].join(","))
}

/// A JSON batch of one good event.
fn good_batch() -> String {
    let id = Uuid::now_v7();
    let now = crate::event::UnixMillis::now();
    format!(
        r#"{{"events":[{{"id":"{id}","type":"video.played","occurred_at":"{now}",
            "session_id":"s","viewer_id":"v","content_id":"c"}}]}}"#
    )
}

fn limited(mut organization: (Organization, WriteKey), events_per_second: u32) -> (Organization, WriteKey) {
    organization.0.rate_limit = NonZeroU32::new(events_per_second);
    organization
}

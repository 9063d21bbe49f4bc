//! `rollbook load`: sends events through intake's front door, as players would, and tells what became of them.
//!
//! In reading order: a `source` (simulated [`sessions`] or the `replay` of a file) fills batches on a thread of
//! its own; `drive` takes each when its `pace` says so; a `delivery` gets it to intake, again where intake asks
//! for that; the `tally` counts verdicts, and the `report` prints them. It knows of intake what any client knows:
//! the contract.

pub(super) mod batch;
pub(super) mod client;
mod delivery;
mod drive;
pub(super) mod intake_url;
pub(super) mod keyring;
mod pace;
#[cfg(test)]
mod peer;
mod progress;
mod replay;
pub(super) mod reply;
mod report;
pub mod sessions;
mod source;
mod tally;

use std::num::{NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::{Failure, output};
use crate::config::{ConfigError, Faults, Output, Secret};
use crate::event::UnixMillis;
use crate::ops::chain;
use crate::ops::descriptors;
use batch::Batcher;
use client::{Encoding, IntakeClient};
use delivery::Courier;
use drive::{Queue, drive};
use intake_url::IntakeUrl;
use keyring::Keyring;
use pace::{Pace, Schedule};
use progress::Progress;
use replay::{Changes, Ids, Replay, ReplayError, Survey};
use report::Report;
use sessions::{Generator, Settings};
use source::Source;
use tally::Tally;

/// How many events are sent when nothing says how many.
const DEFAULT_EVENTS: u64 = 10_000;
/// Reckoned with when only the time is known.
const EVENTS_IN_OPEN_END: u64 = 1_000_000;
const KEYS_VARIABLE: &str = "ROLLBOOK_LOAD_KEYS";
/// Enough that a connection never waits for a batch to be made.
const BATCHES_AHEAD: usize = 64;

/// What `load` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    output: Output,
    /// Where intake listens, such as http://127.0.0.1:8080. No default.
    #[arg(long, value_name = "URL", env = "ROLLBOOK_LOAD_URL")]
    url: IntakeUrl,
    /// An organization and its write key, as `org add` and `key add` print it. Repeated: each organization, the
    /// busiest first. In the environment: separated by commas. No default.
    #[arg(long = "key", value_name = "SLUG=KEY", env = KEYS_VARIABLE, required = true,
          value_delimiter = ',', hide_env_values = true)]
    keys: Vec<Secret>,
    /// Sends so many events. Default: 10000, or as many as fit into --seconds; with --from, all of the file.
    #[arg(long, value_name = "N")]
    events: Option<NonZeroU64>,
    /// Begins nothing new after so many seconds. Default: no limit.
    #[arg(long, value_name = "N")]
    seconds: Option<NonZeroU32>,
    /// Sends so many events a second, whether or not earlier ones were answered (open loop); latency counts from
    /// when a request was due. Default: as fast as they are answered (closed loop).
    #[arg(long, value_name = "EVENTS_PER_SECOND")]
    rate: Option<NonZeroU32>,
    /// Requests under way at once, each on a connection that is kept.
    #[arg(long, value_name = "N", default_value = "8")]
    connections: NonZeroU16,
    /// Events a request; all are of one organization. The last request of each may have fewer.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    batch: u16,
    /// How often the same events are sent before they are given up: after 429, 503, a verdict `retry` or no reply,
    /// each time later, or when `Retry-After` says.
    #[arg(long, value_name = "N", default_value = "10")]
    tries: NonZeroU32,
    /// Compresses requests.
    #[arg(long)]
    gzip: bool,
    /// The same seed gives the same viewers doing the same, up to the present moment. Default: a new one each time,
    /// which is printed.
    #[arg(long, value_name = "N", conflicts_with = "from")]
    seed: Option<u64>,
    /// Sends the events of a file, one JSON object a line with its `organization`, plain or gzip, in their order.
    /// Default: simulated viewers.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Moves all times of the file by the same so that the last of them is now.
    #[arg(long, requires = "from")]
    shift_to_now: bool,
    /// Gives every event of the file a new id, so that it can be sent again as something new.
    #[arg(long, requires = "from")]
    fresh_ids: bool,
}

/// What is sent, and how much of it.
struct Supply {
    source: Source,
    /// No more events than this.
    limit: u64,
    /// How many there will be, if that is known.
    total: Option<u64>,
    /// Repeats the run, if it is one that can be.
    seed: Option<u64>,
}

impl Arguments {
    /// What is wrong with the settings.
    pub(super) fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        faults.note(self.keyring());
        faults
    }

    fn keyring(&self) -> Result<Keyring, ConfigError> {
        Keyring::parse(&self.keys).map_err(|why| ConfigError::Invalid {
            variable: KEYS_VARIABLE,
            flag: "--key",
            why,
        })
    }

    pub(super) async fn run(self) -> Result<(), Failure> {
        descriptors::raise_limit();
        let keyring = self.keyring()?;
        let supply = self.supply(&keyring)?;
        let seed = supply.seed;
        let started = Instant::now();
        let (tally, fed) = tokio::select! {
            done = self.send(&keyring, supply, started) => done,
            () = second_interrupt() => {
                let message = "stopped at once: what became of the requests under way is not known";
                return Err(Failure::new("interrupted", message));
            }
        };
        let took = started.elapsed();
        output::one(self.output, &Report::new(&tally, took), |_| report::text(&tally, took, seed));
        fed?;
        if tally.failed_requests > 0 {
            return Err(Failure::new("failed_requests", report::failures(&tally)));
        }
        Ok(())
    }

    fn supply(&self, keyring: &Keyring) -> Result<Supply, ReplayError> {
        match &self.from {
            Some(path) => self.file(path, keyring),
            None => Ok(self.sessions(keyring)),
        }
    }

    fn file(&self, path: &Path, keyring: &Keyring) -> Result<Supply, ReplayError> {
        let limit = self.events.map_or(u64::MAX, NonZeroU64::get);
        let survey = Survey::of(path, keyring.organizations(), limit)?;
        let shift_ms = match survey.last {
            Some(last) if self.shift_to_now => replay::shift_to(UnixMillis::now(), last),
            _ => 0,
        };
        let ids = if self.fresh_ids { Ids::Fresh } else { Ids::Kept };
        let replay = Replay::open(path, keyring.organizations(), Changes { shift_ms, ids })?;
        Ok(Supply {
            source: Source::File(replay),
            // A file that has grown since is sent as far as it was looked at.
            limit: survey.events,
            total: Some(survey.events),
            seed: None,
        })
    }

    fn sessions(&self, keyring: &Keyring) -> Supply {
        let by_time = self.seconds.map(|seconds| {
            self.rate.map(|rate| u64::from(rate.get()).saturating_mul(u64::from(seconds.get())))
        });
        let (limit, total) = match (self.events.map(NonZeroU64::get), by_time) {
            (Some(events), _) => (events, Some(events)),
            (None, Some(at_rate)) => (u64::MAX, at_rate),
            (None, None) => (DEFAULT_EVENTS, Some(DEFAULT_EVENTS)),
        };
        let seed = self.seed.unwrap_or_else(rand::random);
        let generator = Generator::new(Settings {
            seed,
            organizations: keyring.count(),
            expected_events: total.unwrap_or(EVENTS_IN_OPEN_END),
            now: UnixMillis::now(),
        });
        Supply { source: Source::Sessions(Box::new(generator)), limit, total, seed: Some(seed) }
    }

    /// Sends everything. What was counted stands beside what kept the source from giving all of it.
    async fn send(
        &self,
        keyring: &Keyring,
        supply: Supply,
        started: Instant,
    ) -> (Tally, Result<(), ReplayError>) {
        let connections = NonZeroUsize::from(self.connections);
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let batcher = Batcher::new(keyring.count().get(), usize::from(self.batch));
        // Ends by itself when its source does, or when `drive` has dropped the other end of the channel.
        let feeding = tokio::task::spawn_blocking(move || supply.source.feed(supply.limit, batcher, &sender));
        let slots = Arc::new(Semaphore::new(connections.get()));
        let pace = self.rate.map_or(Pace::AsFastAsAnswered, Pace::EventsPerSecond);
        let queue = Queue::new(batches, Schedule::new(pace, started), Arc::clone(&slots));
        let encoding = if self.gzip { Encoding::Gzip } else { Encoding::Plain };
        let client = Arc::new(IntakeClient::new(self.url.clone(), keyring, encoding));
        let courier = Courier { client, slots, tries: self.tries };

        let progress = Progress::begin(supply.total);
        let tally = drive(queue, courier, connections, self.stop(), |tally| progress.show(tally)).await;
        progress.finish();
        (tally, feeding.await.expect("the source neither panics nor is aborted"))
    }

    /// Done when nothing new is to be begun: the time is up, or someone pressed Ctrl-C.
    async fn stop(&self) {
        let time_is_up = async {
            match self.seconds {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds.get().into())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time_is_up => {}
            () = interrupt() => {}
        }
    }
}

async fn second_interrupt() {
    interrupt().await;
    interrupt().await;
}

async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Nobody can tell us: then Ctrl-C ends the process as it always did.
        std::future::pending::<()>().await;
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        let code = match error {
            ReplayError::Unreadable { .. } => "unreadable_file",
            ReplayError::BadLine { .. } => "bad_line",
        };
        Self::new(code, chain(&error))
    }
}

//! The door: where it listens, and what it lets in at a time.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;

use super::ConfigError;

/// Flags and variables of intake.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Intake")]
pub struct IntakeArgs {
    /// Address that takes batches, HTTP/1.1 and HTTP/2 without TLS: that ends at the load balancer.
    #[arg(long, env = "ROLLBOOK_HTTP_ADDR", value_name = "IP:PORT", default_value = "0.0.0.0:8080")]
    pub http_addr: SocketAddr,

    /// Connections open at a time. One more takes the place of one that has shown no key or rests; where there is none, it
    /// is answered 503 and closed.
    #[arg(long, env = "ROLLBOOK_HTTP_CONNECTIONS", value_name = "N", default_value_t = 4_096,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub http_connections: u32,

    /// Requests at a time on one HTTP/2 connection. The client waits with one more.
    #[arg(long, env = "ROLLBOOK_HTTP_STREAMS", value_name = "N", default_value_t = 128,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub http_streams: u32,

    /// Milliseconds that a request's headers may take. Then the connection is closed.
    #[arg(long, env = "ROLLBOOK_HEADER_TIMEOUT_MS", value_name = "MS", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(10..=3_600_000))]
    pub header_timeout_ms: u32,

    /// Milliseconds that a request's body may take in all, counted from its headers. Then the reply is 408. Without a
    /// live key in `Authorization` it is 10 000 at most.
    #[arg(long, env = "ROLLBOOK_BODY_TIMEOUT_MS", value_name = "MS", default_value_t = 30_000,
          value_parser = clap::value_parser!(u32).range(10..=3_600_000))]
    pub body_timeout_ms: u32,

    /// Milliseconds that a connection may stay open between requests. Keep it above the load balancer's own idle
    /// time, or it will now and then send a request into a closing connection.
    #[arg(long, env = "ROLLBOOK_IDLE_TIMEOUT_MS", value_name = "MS", default_value_t = 75_000,
          value_parser = clap::value_parser!(u32).range(10..=3_600_000))]
    pub idle_timeout_ms: u32,

    /// Bytes of one body as it arrives. A larger one is answered 413. Without a live key in `Authorization` it is
    /// 65 536 at most.
    #[arg(long, env = "ROLLBOOK_MAX_BODY_BYTES", value_name = "BYTES", default_value_t = 512 * 1024,
          value_parser = clap::value_parser!(u32).range(1_024..=64 * 1024 * 1024))]
    pub max_body_bytes: u32,

    /// Bytes of one body unpacked. A larger one is answered 413, and is not unpacked any further. Without a live key in
    /// `Authorization` it is 524 288 at most.
    #[arg(long, env = "ROLLBOOK_MAX_UNPACKED_BYTES", value_name = "BYTES", default_value_t = 2 * 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(1_024..=64 * 1024 * 1024))]
    pub max_unpacked_bytes: u32,

    /// Bytes of all unanswered requests together, each counted with its body and 16 KiB more. Past this, requests
    /// are answered 503: it is what bounds intake's memory. Those of one organization hold at most as much of it as is
    /// still free: half when it is alone.
    #[arg(long, env = "ROLLBOOK_IN_FLIGHT_BYTES", value_name = "BYTES", default_value_t = 64 * 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub in_flight_bytes: u32,

    /// Bytes, counted likewise, of the requests that have not shown a live key yet: those without `Authorization`, until
    /// their body is read and names one. Past this they are answered 503; whoever shows a key is not touched. Raise it
    /// where most clients send their key in the body (`navigator.sendBeacon`).
    #[arg(long, env = "ROLLBOOK_STRANGERS_IN_FLIGHT_BYTES", value_name = "BYTES", default_value_t = 16 * 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(i64::from(LEAST_STRANGERS_BYTES)..))]
    pub strangers_in_flight_bytes: u32,

    /// Events a second that an organization without a limit of its own may send, in bursts of at least 500; more is
    /// answered 429. Each process counts for itself: with three of them an organization may send three times as much. No
    /// limit when not set.
    #[arg(long, env = "ROLLBOOK_DEFAULT_RATE_LIMIT", value_name = "EVENTS/S")]
    pub default_rate_limit: Option<NonZeroU32>,
}

/// What intake works with: checked.
#[derive(Clone, Debug)]
pub struct IntakeSettings {
    /// Connections open at a time.
    pub connections: u32,
    /// Requests at a time on one HTTP/2 connection.
    pub streams_per_connection: u32,
    /// For a request's headers.
    pub header_timeout: Duration,
    /// Between two requests of a connection.
    pub idle_timeout: Duration,
    /// Of each request's body.
    pub bodies: Bodies,
    /// Of all unanswered requests together that have shown a live key.
    pub in_flight_bytes: u32,
    /// Of all others.
    pub strangers_in_flight_bytes: u32,
    /// Events a second, for organizations without a limit of their own.
    pub default_rate_limit: Option<NonZeroU32>,
}

/// What bodies may be.
#[derive(Clone, Copy, Debug)]
pub struct Bodies {
    /// Of requests that name a live key in their headers.
    pub keyed: BodyLimits,
    /// Of all others.
    pub strangers: BodyLimits,
}

/// What the body of one request may be.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// For all of it, counted from the request's headers.
    pub timeout: Duration,
    /// As it arrives.
    pub max_bytes: usize,
    /// Unpacked.
    pub max_unpacked_bytes: usize,
}

/// What an unanswered request is counted with beside its body: headers, tasks and verdicts.
pub const REQUEST_BYTES: u32 = 16 * 1024;

/// Of a body whose sender is not known: 64 KiB is what browsers send of a page that is going away.
const STRANGERS: BodyLimits =
    BodyLimits { timeout: Duration::from_secs(10), max_bytes: 64 * 1024, max_unpacked_bytes: 512 * 1024 };
/// Room for one of them.
const LEAST_STRANGERS_BYTES: u32 = 64 * 1024 + REQUEST_BYTES;

impl IntakeArgs {
    /// The limits.
    ///
    /// # Errors
    /// Two of them contradict each other.
    pub fn resolve(&self) -> Result<IntakeSettings, ConfigError> {
        let (wire, unpacked, in_flight) =
            (self.max_body_bytes, self.max_unpacked_bytes, self.in_flight_bytes);
        let mut contradictions = Vec::new();
        // A body that is sent as it is could never be read.
        if unpacked < wire {
            contradictions.push(format!(
                "ROLLBOOK_MAX_UNPACKED_BYTES ({unpacked}) must not be below ROLLBOOK_MAX_BODY_BYTES ({wire})"
            ));
        }
        // The largest body would always be answered 503.
        if in_flight < unpacked + REQUEST_BYTES {
            contradictions.push(format!(
                "ROLLBOOK_IN_FLIGHT_BYTES ({in_flight}) must be at least ROLLBOOK_MAX_UNPACKED_BYTES ({unpacked}) and \
                 another {REQUEST_BYTES}"
            ));
        }
        ConfigError::refuse(&contradictions)?;
        let keyed = BodyLimits {
            timeout: Duration::from_millis(self.body_timeout_ms.into()),
            max_bytes: wire as usize,
            max_unpacked_bytes: unpacked as usize,
        };
        Ok(IntakeSettings {
            connections: self.http_connections,
            streams_per_connection: self.http_streams,
            header_timeout: Duration::from_millis(self.header_timeout_ms.into()),
            idle_timeout: Duration::from_millis(self.idle_timeout_ms.into()),
            bodies: Bodies::new(keyed),
            in_flight_bytes: self.in_flight_bytes,
            strangers_in_flight_bytes: self.strangers_in_flight_bytes,
            default_rate_limit: self.default_rate_limit,
        })
    }
}

impl Bodies {
    /// A stranger's may be no more than a known client's.
    pub fn new(keyed: BodyLimits) -> Self {
        Self { keyed, strangers: keyed.at_most(STRANGERS) }
    }
}

impl BodyLimits {
    fn at_most(self, other: Self) -> Self {
        Self {
            timeout: self.timeout.min(other.timeout),
            max_bytes: self.max_bytes.min(other.max_bytes),
            max_unpacked_bytes: self.max_unpacked_bytes.min(other.max_unpacked_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        intake: IntakeArgs,
    }

    fn settings(flags: &[&str]) -> Result<IntakeSettings, ConfigError> {
        let command = Command::try_parse_from([&["test"], flags].concat()).expect("flags that clap takes");
        command.intake.resolve()
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let settings = settings(&[]).expect("defaults");
        let limits =
            |of: BodyLimits| (of.timeout.as_secs(), of.max_bytes / 1024, of.max_unpacked_bytes / 1024);
        assert_eq!(settings.header_timeout.as_secs(), 10);
        assert_eq!(limits(settings.bodies.keyed), (30, 512, 2 * 1024));
        assert_eq!(limits(settings.bodies.strangers), (10, 64, 512));
        assert_eq!(settings.default_rate_limit, None);
    }

    #[test]
    fn a_stranger_never_has_more_than_who_is_known() {
        let flags = ["--max-body-bytes", "2048", "--max-unpacked-bytes", "4096", "--body-timeout-ms", "500"];
        let of = settings(&flags).expect("settings that go together").bodies.strangers;
        assert_eq!((of.timeout.as_millis(), of.max_bytes, of.max_unpacked_bytes), (500, 2048, 4096));
    }

    #[test]
    fn contradictions_name_both_settings() {
        let smaller = settings(&["--max-unpacked-bytes", "2048", "--max-body-bytes", "4096"]);
        assert_eq!(
            smaller.expect_err("smaller unpacked").to_string(),
            "ROLLBOOK_MAX_UNPACKED_BYTES (2048) must not be below ROLLBOOK_MAX_BODY_BYTES (4096)"
        );
        let no_room = settings(&["--in-flight-bytes", "4096"]).expect_err("no room for one body");
        assert_eq!(
            no_room.to_string(),
            "ROLLBOOK_IN_FLIGHT_BYTES (4096) must be at least ROLLBOOK_MAX_UNPACKED_BYTES (2097152) and another 16384"
        );
    }
}

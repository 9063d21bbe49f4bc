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

    /// Connections open at a time. One more is answered 503 and closed.
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

    /// Milliseconds that a request's body may take in all, counted from its headers. Then the reply is 408.
    #[arg(long, env = "ROLLBOOK_BODY_TIMEOUT_MS", value_name = "MS", default_value_t = 30_000,
          value_parser = clap::value_parser!(u32).range(10..=3_600_000))]
    pub body_timeout_ms: u32,

    /// Milliseconds that a connection may stay open between requests. Keep it above the load balancer's own idle
    /// time, or it will now and then send a request into a closing connection.
    #[arg(long, env = "ROLLBOOK_IDLE_TIMEOUT_MS", value_name = "MS", default_value_t = 75_000,
          value_parser = clap::value_parser!(u32).range(10..=3_600_000))]
    pub idle_timeout_ms: u32,

    /// Bytes of one body as it arrives. A larger one is answered 413.
    #[arg(long, env = "ROLLBOOK_MAX_BODY_BYTES", value_name = "BYTES", default_value_t = 512 * 1024,
          value_parser = clap::value_parser!(u32).range(1_024..=64 * 1024 * 1024))]
    pub max_body_bytes: u32,

    /// Bytes of one body unpacked. A larger one is answered 413, and is not unpacked any further.
    #[arg(long, env = "ROLLBOOK_MAX_UNPACKED_BYTES", value_name = "BYTES", default_value_t = 2 * 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(1_024..=64 * 1024 * 1024))]
    pub max_unpacked_bytes: u32,

    /// Bytes of all unanswered requests together, each counted with its body and 16 KiB more. Past this, requests
    /// are answered 503: it is what bounds intake's memory.
    #[arg(long, env = "ROLLBOOK_IN_FLIGHT_BYTES", value_name = "BYTES", default_value_t = 64 * 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub in_flight_bytes: u32,

    /// Events a second that an organization without a limit of its own may send, in bursts of at least 500; more is
    /// answered 429. No limit when not set.
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
    /// For a request's body, counted from its headers.
    pub body_timeout: Duration,
    /// Between two requests of a connection.
    pub idle_timeout: Duration,
    /// Of one body as it arrives.
    pub max_body_bytes: usize,
    /// Of one body unpacked.
    pub max_unpacked_bytes: usize,
    /// Of all unanswered requests together.
    pub in_flight_bytes: u32,
    /// Events a second, for organizations without a limit of their own.
    pub default_rate_limit: Option<NonZeroU32>,
}

/// What an unanswered request is counted with beside its body: headers, tasks and verdicts.
pub const REQUEST_BYTES: u32 = 16 * 1024;

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
        Ok(IntakeSettings {
            connections: self.http_connections,
            streams_per_connection: self.http_streams,
            header_timeout: Duration::from_millis(self.header_timeout_ms.into()),
            body_timeout: Duration::from_millis(self.body_timeout_ms.into()),
            idle_timeout: Duration::from_millis(self.idle_timeout_ms.into()),
            max_body_bytes: wire as usize,
            max_unpacked_bytes: unpacked as usize,
            in_flight_bytes: self.in_flight_bytes,
            default_rate_limit: self.default_rate_limit,
        })
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
        assert_eq!((settings.max_body_bytes, settings.max_unpacked_bytes), (512 * 1024, 2 * 1024 * 1024));
        assert_eq!((settings.header_timeout.as_secs(), settings.body_timeout.as_secs()), (10, 30));
        assert_eq!(settings.default_rate_limit, None);
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

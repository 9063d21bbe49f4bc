//! The loader: how batches are cut, and what it may use.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;

use super::ConfigError;

/// Flags and variables of what bounds one transaction of the loader, also one that drains what is held.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Loader")]
pub struct TransactionArgs {
    /// Rows that close an organization's batch. Larger batches cost the database less a row, and repeat more after a
    /// crash.
    #[arg(long, env = "ROLLBOOK_LOADER_BATCH_ROWS", value_name = "ROWS", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub loader_batch_rows: u32,

    /// Bytes of records that close an organization's batch.
    #[arg(long, env = "ROLLBOOK_LOADER_BATCH_BYTES", value_name = "BYTES", default_value_t = 8 * 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(1..=1_073_741_824))]
    pub loader_batch_bytes: u32,

    /// Milliseconds that one statement of the loader may take, 10 000 at most; then the organization's records are held.
    #[arg(long, env = "ROLLBOOK_LOADER_STATEMENT_TIMEOUT_MS", value_name = "MS", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(100..=10_000))]
    pub loader_statement_timeout_ms: u32,

    /// Milliseconds that the loader waits for a lock in an organization's schema; then its records are held.
    #[arg(long, env = "ROLLBOOK_LOADER_LOCK_TIMEOUT_MS", value_name = "MS", default_value_t = 2_000,
          value_parser = clap::value_parser!(u32).range(10..=10_000))]
    pub loader_lock_timeout_ms: u32,
}

/// Flags and variables of the loader.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Loader")]
pub struct LoaderArgs {
    /// One transaction.
    #[command(flatten)]
    pub transaction: TransactionArgs,

    /// Milliseconds that an organization's rows may wait for more of them: an upper bound that nothing reaches, for a writer
    /// that is free takes what is there, and while all are busy waiting is no choice.
    #[arg(long, env = "ROLLBOOK_LOADER_BATCH_AGE_MS", value_name = "MS", default_value_t = 200,
          value_parser = clap::value_parser!(u32).range(0..=600_000))]
    pub loader_batch_age_ms: u32,

    /// Database connections that write batches, two at least; each is one transaction at a time. There may be
    /// three times as many beside them, for transactions that take long.
    #[arg(long, env = "ROLLBOOK_LOADER_CONNECTIONS", value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub loader_connections: u32,

    /// Bytes of records taken from the log and not yet stored, and a quarter of a KiB beside each, over which
    /// records stay in the log.
    #[arg(long, env = "ROLLBOOK_LOADER_MEMORY_BYTES", value_name = "BYTES", default_value_t = 128 * 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(1_048_576..))]
    pub loader_memory_bytes: u32,

    /// Bytes of one organization's records in one partition that may wait in memory; what comes beyond them stays in the
    /// log, and is taken from there when there is room; its neighbours do not wait.
    #[arg(long, env = "ROLLBOOK_LOADER_LANE_MEMORY_BYTES", value_name = "BYTES", default_value_t = 16 * 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(65_536..))]
    pub loader_lane_memory_bytes: u32,

    /// Seconds between two looks whether the log is still the one that was loaded: how long a topic that was deleted and
    /// made anew under a running loader may go unnoticed.
    #[arg(long, env = "ROLLBOOK_LOADER_LOG_CHECK_SECONDS", value_name = "S", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub loader_log_check_seconds: u32,

    /// Seconds that a partition with records may stand still, while Postgres and the log answer, before `/healthz` says
    /// so.
    #[arg(long, env = "ROLLBOOK_LOADER_STUCK_SECONDS", value_name = "S", default_value_t = 120,
          value_parser = clap::value_parser!(u32).range(5..=86_400))]
    pub loader_stuck_seconds: u32,
}

/// What bounds one transaction: checked.
#[derive(Clone, Copy, Debug)]
pub struct TransactionLimits {
    /// Rows that close a batch.
    pub batch_rows: usize,
    /// Bytes of records that close a batch.
    pub batch_bytes: usize,
    /// Bound of one statement.
    pub statement_timeout: Duration,
    /// Bound of waiting for a lock.
    pub lock_timeout: Duration,
}

/// The loader's limits: checked.
#[derive(Clone, Debug)]
pub struct LoaderSettings {
    /// Of one transaction.
    pub transaction: TransactionLimits,
    /// Connections that write.
    pub connections: NonZeroU32,
    /// Bytes taken and not yet stored, over which records stay in the log.
    pub memory_bytes: usize,
    /// Bytes of one lane, over which its records stay in the log.
    pub lane_memory_bytes: usize,
    /// Time between two looks at the log.
    pub log_check: Duration,
    /// Longest time that a partition may stand still.
    pub stuck_after: Duration,
}

impl LoaderSettings {
    /// Connections beside [`Self::connections`] for transactions that take long: what is slow at a time in one of so many
    /// schemas delays no other.
    pub fn slow_connections(&self) -> usize {
        self.connections.get() as usize * 3
    }

    /// The most connections that a loader has: those above, as many that are being cancelled, and a few for what it asks
    /// of the control schema.
    pub fn most_connections(&self) -> NonZeroU32 {
        self.connections.saturating_mul(NonZeroU32::MIN.saturating_add(4)).saturating_add(4)
    }
}

impl TransactionLimits {
    /// Bytes of records that one statement holds or drains: a batch, within what Postgres takes in one message.
    pub fn hold_bytes(&self) -> usize {
        const MOST: usize = 64 * 1024 * 1024;
        self.batch_bytes.min(MOST)
    }
}

impl TransactionArgs {
    /// The limits.
    ///
    /// # Errors
    /// Two of them contradict each other.
    pub fn resolve(&self) -> Result<TransactionLimits, ConfigError> {
        ConfigError::refuse(&Vec::from_iter(self.contradiction()))?;
        Ok(self.limits())
    }

    fn contradiction(&self) -> Option<String> {
        let (lock_ms, statement_ms) = (self.loader_lock_timeout_ms, self.loader_statement_timeout_ms);
        (lock_ms >= statement_ms).then(|| {
            format!(
                "ROLLBOOK_LOADER_LOCK_TIMEOUT_MS ({lock_ms}) must be below ROLLBOOK_LOADER_STATEMENT_TIMEOUT_MS ({statement_ms})"
            )
        })
    }

    fn limits(&self) -> TransactionLimits {
        TransactionLimits {
            batch_rows: self.loader_batch_rows as usize,
            batch_bytes: self.loader_batch_bytes as usize,
            statement_timeout: Duration::from_millis(self.loader_statement_timeout_ms.into()),
            lock_timeout: Duration::from_millis(self.loader_lock_timeout_ms.into()),
        }
    }
}

impl LoaderArgs {
    /// The limits.
    ///
    /// # Errors
    /// Two of them contradict each other.
    pub fn resolve(&self) -> Result<LoaderSettings, ConfigError> {
        let mut contradictions = Vec::from_iter(self.transaction.contradiction());
        if self.loader_lane_memory_bytes > self.loader_memory_bytes {
            contradictions.push(format!(
                "ROLLBOOK_LOADER_LANE_MEMORY_BYTES ({}) must not be above ROLLBOOK_LOADER_MEMORY_BYTES ({})",
                self.loader_lane_memory_bytes, self.loader_memory_bytes
            ));
        }
        ConfigError::refuse(&contradictions)?;
        Ok(LoaderSettings {
            transaction: self.transaction.limits(),
            connections: NonZeroU32::new(self.loader_connections).unwrap_or(NonZeroU32::MIN),
            memory_bytes: self.loader_memory_bytes as usize,
            lane_memory_bytes: self.loader_lane_memory_bytes as usize,
            log_check: Duration::from_secs(self.loader_log_check_seconds.into()),
            stuck_after: Duration::from_secs(self.loader_stuck_seconds.into()),
        })
    }
}

//! Hands records to this process's own log.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::gauge;
use tokio_util::sync::CancellationToken;

use super::LocalLog;
use crate::log::embedded::AppendError;
use crate::log::publish::{Meter, PublishError, Told};
use crate::log::{SealedRecord, partition_of};
use crate::ops::metrics::catalogue::{LOG_BYTES, LOG_LIMIT_BYTES, LOG_UNLOADED_BYTES};
use crate::tenant::Tenant;

/// A disk that takes longer than this to sync is as good as gone; the record may be in the log all the same.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// How often the log's condition is looked at.
const PROBE_PERIOD: Duration = Duration::from_secs(1);
/// How soon it is looked again whether all is written.
const FLUSH_PAUSE: Duration = Duration::from_millis(2);

/// The producing end; cheap to clone.
#[derive(Clone)]
pub(in crate::log) struct Publisher {
    log: LocalLog,
    meter: Arc<Meter>,
}

impl Publisher {
    pub(in crate::log) fn new(log: &LocalLog) -> Self {
        Self { log: log.clone(), meter: Arc::new(Meter::new()) }
    }

    /// The log has a record when it is synced.
    pub(in crate::log) fn publish(&self, tenant: &Tenant, sealed: SealedRecord, told: Told) {
        let pending = self.meter.begin(sealed.bytes.len(), told);
        let partitions = self.log.partitions().unsigned_abs();
        let partition = partition_of(tenant.slug().as_str(), partitions).cast_signed();
        let meter = Arc::clone(&self.meter);
        let began = Instant::now();
        let told = move |appended: Result<i64, AppendError>| {
            // Whoever waited has given up by then.
            let in_time = began.elapsed() <= LONGEST_WAIT;
            let appended =
                if in_time { appended.map_err(PublishError::from) } else { Err(PublishError::TimedOut) };
            meter.finish(pending, appended.map(drop));
        };
        self.log.engine.append(partition, sealed.bytes, Box::new(told));
    }

    pub(in crate::log) fn longest_wait(&self) -> Duration {
        LONGEST_WAIT
    }

    pub(in crate::log) fn trouble(&self) -> Option<String> {
        self.log.engine.trouble().map(|trouble| trouble.to_string())
    }

    pub(in crate::log) async fn probe(self, stop: CancellationToken) {
        let (bytes, unloaded, limit) =
            (gauge!(LOG_BYTES), gauge!(LOG_UNLOADED_BYTES), gauge!(LOG_LIMIT_BYTES));
        limit.set(as_f64(self.log.retention_bytes));
        let mut trouble = None;
        loop {
            bytes.set(as_f64(self.log.engine.bytes()));
            unloaded.set(as_f64(self.log.engine.unloaded_bytes()));
            let now = self.trouble();
            if now != trouble {
                let folder = &self.log.folder;
                match &now {
                    None => tracing::info!(log = "writable", ?folder, "the log changed its condition"),
                    Some(reason) => {
                        tracing::warn!(log = "unwritable", reason, ?folder, "the log changed its condition");
                    }
                }
                trouble = now;
            }
            tokio::select! {
                () = tokio::time::sleep(PROBE_PERIOD) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    pub(in crate::log) fn flush(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        while self.log.engine.waiting_bytes() > 0 {
            if Instant::now() > deadline {
                tracing::error!("records are still unwritten as the process ends");
                return;
            }
            std::thread::sleep(FLUSH_PAUSE);
        }
    }
}

impl From<AppendError> for PublishError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::QueueFull => Self::QueueFull,
            error @ AppendError::Disk(_) => Self::Failed(error.into()),
            error @ (AppendError::Full | AppendError::Closed | AppendError::Unfit { .. }) => {
                Self::NotTaken(error.into())
            }
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("log", &self.log).finish_non_exhaustive()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

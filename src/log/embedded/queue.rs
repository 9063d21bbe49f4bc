//! What waits for the appender: records, bounded in bytes, and what else it is to do.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::trouble::AppendError;

/// Records that wait take no more.
pub(super) const MAX_WAITING_BYTES: usize = 128 << 20;

/// What a caller gives to be told by.
pub(super) type Callback = Box<dyn FnOnce(Result<i64, AppendError>) + Send>;

/// Who is told what became of a record: exactly once, however the appender ends.
pub(super) struct Told(Option<Callback>);

impl Told {
    pub(super) fn new(callback: Callback) -> Self {
        Self(Some(callback))
    }

    /// Tells.
    pub(super) fn tell(mut self, outcome: Result<i64, AppendError>) {
        self.call(outcome);
    }

    fn call(&mut self, outcome: Result<i64, AppendError>) {
        let Some(callback) = self.0.take() else { return };
        // The others are told all the same.
        if catch_unwind(AssertUnwindSafe(|| callback(outcome))).is_err() {
            tracing::error!("the code that waited for a record of the log panicked");
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // The appender has panicked: it may have written the record.
        self.call(Err(AppendError::Disk(Arc::new(io::Error::other("the thread that writes has ended")))));
    }
}

/// A record on its way into the log.
pub(super) struct Waiting {
    pub(super) partition: usize,
    pub(super) bytes: Bytes,
    pub(super) told: Told,
}

/// What the appender finds to do.
#[derive(Default)]
pub(super) struct Work {
    pub(super) records: Vec<Waiting>,
    /// Whether no more will come.
    pub(super) closing: bool,
}

#[derive(Default)]
struct Inside {
    records: Vec<Waiting>,
    /// Of records that wait, and of those that the appender has taken and not settled.
    bytes: usize,
    closing: bool,
    /// What is loaded has changed, or the appender is called for another reason.
    called: bool,
}

/// The records that wait.
#[derive(Default)]
pub(super) struct Queue {
    inside: Mutex<Inside>,
    bell: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lines a record up, or tells at once why not.
    pub(super) fn push(&self, waiting: Waiting) {
        let mut inside = self.lock();
        let refused = match inside.bytes + waiting.bytes.len() > MAX_WAITING_BYTES {
            _ if inside.closing => AppendError::Closed,
            true => AppendError::QueueFull,
            false => {
                inside.bytes += waiting.bytes.len();
                let idle = inside.records.is_empty();
                inside.records.push(waiting);
                drop(inside);
                if idle {
                    self.bell.notify_one();
                }
                return;
            }
        };
        drop(inside);
        waiting.told.tell(Err(refused));
    }

    /// Waits for something to do, or so long.
    pub(super) fn take(&self, patience: Option<Duration>) -> Work {
        let mut inside = self.lock();
        while inside.records.is_empty() && !inside.closing && !inside.called {
            inside = match patience {
                None => self.bell.wait(inside).unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let woken = self.bell.wait_timeout(inside, patience);
                    let (inside, waited) = woken.unwrap_or_else(PoisonError::into_inner);
                    if waited.timed_out() {
                        return Work { records: Vec::new(), closing: inside.closing };
                    }
                    inside
                }
            };
        }
        inside.called = false;
        Work { records: std::mem::take(&mut inside.records), closing: inside.closing }
    }

    /// A record of so many bytes waits no more.
    pub(super) fn settled(&self, bytes: usize) {
        let mut inside = self.lock();
        inside.bytes = inside.bytes.saturating_sub(bytes);
    }

    /// Bytes of the records that wait.
    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// The appender looks around.
    pub(super) fn call(&self) {
        self.lock().called = true;
        self.bell.notify_one();
    }

    /// No record is taken any more.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.bell.notify_one();
    }

    /// Tells those who wait that nobody writes any more.
    pub(super) fn abandon(&self) {
        let mut inside = self.lock();
        inside.closing = true;
        let abandoned = std::mem::take(&mut inside.records);
        drop(inside);
        abandoned.into_iter().for_each(|waiting| waiting.told.tell(Err(AppendError::Closed)));
    }
}

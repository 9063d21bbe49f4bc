//! Takes records of this process's own log: all partitions, for as long as the consumer lives.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::LocalLog;
use crate::log::PartitionEnds;
use crate::log::consume::{
    Assignment, ConsumeError, Delivery, LogRecord, Revocation, Start, Taken, released,
};
use crate::log::embedded::{Cursor, CursorError, Frame};
use crate::ops::Complaints;

/// How long the thread waits for a record before it looks whether it is still wanted.
const WAIT: Duration = Duration::from_millis(100);
/// A disk that refused is asked again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// The only assignment there is.
const ASSIGNMENT: u64 = 1;

/// The consuming end. Dropping it ends the thread that reads.
pub(in crate::log) struct Consumer {
    log: LocalLog,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    orders: std_mpsc::Sender<Order>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the owner tells the thread.
enum Order {
    Start(HashMap<i32, i64>),
    Stop(i32),
}

/// The thread that reads.
struct Reader {
    log: LocalLog,
    deliveries: mpsc::UnboundedSender<Delivery>,
    orders: std_mpsc::Receiver<Order>,
    stop: Arc<AtomicBool>,
    taken: Taken,
    budget_bytes: usize,
    complaints: Complaints,
}

impl Consumer {
    /// Starts the thread.
    ///
    /// # Errors
    /// There is none to be had.
    pub(in crate::log) fn start(log: &LocalLog, budget_bytes: usize) -> std::io::Result<Self> {
        let (sender, deliveries) = mpsc::unbounded_channel();
        let (orders, to_do) = std_mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let reader = Reader {
            log: log.clone(),
            deliveries: sender,
            orders: to_do,
            stop: Arc::clone(&stop),
            taken: Taken::default(),
            budget_bytes,
            complaints: Complaints::now_and_then(),
        };
        let thread =
            std::thread::Builder::new().name("log-consumer".to_owned()).spawn(move || reader.run())?;
        Ok(Self { log: log.clone(), deliveries, orders, stop, thread: Some(thread) })
    }

    pub(in crate::log) async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    pub(in crate::log) fn try_next(&mut self) -> Option<Delivery> {
        self.deliveries.try_recv().ok()
    }

    pub(in crate::log) fn start_at(&self, assignment: &Assignment, starts: &[Start]) {
        let start_of = |partition| {
            let start = starts.iter().find(|start| start.partition == partition)?.next_offset;
            start.or_else(|| Some(self.log.ends_of(partition)?.start))
        };
        let first = |partition| self.log.ends_of(partition).map_or(0, |ends| ends.start);
        let starts: HashMap<i32, i64> = assignment
            .partitions
            .iter()
            .map(|partition| (*partition, start_of(*partition).unwrap_or_else(|| first(*partition))))
            .collect();
        // Also where an earlier consumer was further: what lies between is wanted again.
        self.commit(&starts.iter().map(|(partition, start)| (*partition, *start)).collect::<Vec<_>>());
        let _ended = self.orders.send(Order::Start(starts));
    }

    /// Below these the log may forget.
    pub(in crate::log) fn commit(&self, next_offsets: &[(i32, i64)]) {
        self.log.engine.loaded(next_offsets);
    }

    pub(in crate::log) fn ends(&self) -> Arc<HashMap<i32, PartitionEnds>> {
        let all = 0..self.log.partitions();
        Arc::new(all.filter_map(|partition| Some((partition, self.log.ends_of(partition)?))).collect())
    }

    pub(in crate::log) fn stop_reading(&self, partition: i32) {
        let _ended = self.orders.send(Order::Stop(partition));
    }

    pub(in crate::log) fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(in crate::log) async fn ended(mut self) -> Result<(), ConsumeError> {
        self.close();
        let Some(thread) = self.thread.take() else { return Ok(()) };
        // Nobody answers a revocation that comes now.
        drop(self);
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        match joined {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ConsumeError::Failed("the thread that reads the log ended".into())),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Reader {
    fn run(self) {
        let partitions: Vec<i32> = (0..self.log.partitions()).collect();
        self.deliver(Delivery::Assigned(Assignment { partitions: partitions.clone(), number: ASSIGNMENT }));
        self.read();
        let (revocation, answered) = Revocation::new(partitions);
        if self.deliver(Delivery::Revoked(revocation)) {
            self.log.engine.loaded(&released(&answered));
        }
    }

    fn read(&self) {
        let mut cursor: Option<Cursor> = None;
        while !self.stop.load(Ordering::Relaxed) {
            match &mut cursor {
                // Nothing is read before the owner says from where.
                None => match self.orders.recv_timeout(WAIT) {
                    Ok(Order::Start(starts)) => cursor = Some(self.log.engine.cursor(&starts)),
                    Ok(Order::Stop(_)) | Err(std_mpsc::RecvTimeoutError::Timeout) => {}
                    Err(std_mpsc::RecvTimeoutError::Disconnected) => return,
                },
                Some(cursor) => {
                    while let Ok(order) = self.orders.try_recv() {
                        // The answer to an assignment that was answered changes nothing.
                        if let Order::Stop(partition) = order {
                            cursor.stop(partition);
                        }
                    }
                    self.taken.wait_for_room(self.budget_bytes, || self.stop.load(Ordering::Relaxed));
                    if !self.step(cursor) {
                        return;
                    }
                }
            }
        }
    }

    /// Says whether anybody listens.
    fn step(&self, cursor: &mut Cursor) -> bool {
        match cursor.next(WAIT) {
            Ok(None) => true,
            Ok(Some(Frame { partition, offset, bytes })) => {
                let charge = self.taken.charge(bytes.len());
                self.deliver(Delivery::Record(LogRecord { partition, offset, bytes, _charge: charge }))
            }
            Err(error @ (CursorError::Damaged { .. } | CursorError::Gone { .. })) => {
                tracing::error!(%error, "a partition of the log is read no further");
                self.deliver(Delivery::OutOfRange)
            }
            Err(CursorError::Io(error)) => {
                if let Some(unwritten) = self.complaints.hear("read", Instant::now()) {
                    tracing::error!(%error, unwritten, "the log could not be read; trying again");
                }
                std::thread::sleep(AGAIN);
                true
            }
        }
    }

    fn deliver(&self, delivery: Delivery) -> bool {
        self.deliveries.send(delivery).is_ok()
    }
}

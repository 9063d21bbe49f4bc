//! The way of ended spans to the collector: a bounded queue, one batch at a time, and lines at a bounded rate about what
//! was lost.
//!
//! Whoever gives a span away never waits and hears nothing: what finds the queue full is lost, and counted. A collector that is
//! away or hangs fills the queue, and that is all it does. Nothing here makes a span, so none is made of exporting.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::post::{NotTaken, Post};
use super::{EXPORTER, Span, message};
use crate::config::otlp::{OtlpSettings, Sampler, SpanQueue};
use crate::ops::Complaints;

/// Between two attempts at a batch at first; each pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// From now on the spans of this process are exported, for as long as its runtime lives.
pub fn start(settings: OtlpSettings) {
    EXPORTER.get_or_init(|| Exporter::start(settings));
}

/// Gives the collector the last spans, and waits no longer than `limit` for it to take them.
pub async fn finish(limit: Duration) {
    if let Some(exporter) = EXPORTER.get() {
        exporter.finish(limit).await;
    }
}

/// Takes the spans of one process.
pub(super) struct Exporter {
    sampler: Sampler,
    queue: mpsc::Sender<Span>,
    losses: Arc<Losses>,
    stop: CancellationToken,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Exporter {
    fn start(settings: OtlpSettings) -> Self {
        let (queue, spans) = mpsc::channel(settings.queue.most_spans);
        let losses = Arc::new(Losses {
            collector: settings.collector(),
            waiting: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            complaints: Complaints::now_and_then(),
        });
        let stop = CancellationToken::new();
        tracing::info!(collector = losses.collector, "spans are exported");
        let sampler = settings.sampler;
        let worker = Worker {
            spans,
            queue: settings.queue,
            patience: settings.patience,
            losses: Arc::clone(&losses),
            stop: stop.clone(),
            encoder: message::Encoder::new(&settings.resource),
            post: Post::new(settings),
        };
        // The process waits for it in `finish`, after everything that makes spans.
        let worker = Mutex::new(Some(tokio::spawn(worker.run())));
        Self { sampler, queue, losses, stop, worker }
    }

    pub(super) fn samples(&self, trace: Uuid, callers: Option<bool>) -> bool {
        self.sampler.keeps(trace, callers)
    }

    pub(super) fn take(&self, span: Span) {
        self.losses.waiting.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(span).is_err() {
            self.losses.waiting.fetch_sub(1, Ordering::Relaxed);
            self.losses.lose(1, "full", "the collector takes fewer than there are, and the queue is full");
        }
    }

    async fn finish(&self, limit: Duration) {
        self.stop.cancel();
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut worker) = worker else { return };
        if timeout(limit, &mut worker).await.is_err() {
            worker.abort();
            let spans = self.losses.waiting.load(Ordering::Relaxed);
            tracing::warn!(
                collector = self.losses.collector,
                spans,
                "the collector did not take the last spans in time"
            );
        }
    }
}

/// What was lost so far, and what is said of it.
struct Losses {
    collector: String,
    /// Given away, and neither taken by the collector nor lost yet.
    waiting: AtomicU64,
    lost: AtomicU64,
    complaints: Complaints,
}

impl Losses {
    fn lose(&self, spans: u64, kind: &str, reason: &str) {
        let lost = self.lost.fetch_add(spans, Ordering::Relaxed) + spans;
        if self.complaints.hear(kind, Instant::now()).is_some() {
            tracing::warn!(
                collector = self.collector,
                reason,
                lost,
                "spans are lost on their way to the collector"
            );
        }
    }
}

/// Posts one batch after the other.
struct Worker {
    spans: mpsc::Receiver<Span>,
    queue: SpanQueue,
    patience: Duration,
    losses: Arc<Losses>,
    stop: CancellationToken,
    encoder: message::Encoder,
    post: Post,
}

impl Worker {
    /// Until it is to stop and has nothing left.
    async fn run(mut self) {
        let mut batch = Vec::new();
        while self.gather(&mut batch).await {
            let spans = batch.len() as u64;
            let body = self.encoder.encode(batch.drain(..));
            match self.deliver(body).await {
                Ok(()) => {}
                Err(NotTaken::Partly { spans: refused, why }) => self.losses.lose(refused, "partly", &why),
                Err(NotTaken::Now(why) | NotTaken::Ever(why)) => self.losses.lose(spans, "away", &why),
            }
            self.losses.waiting.fetch_sub(spans, Ordering::Relaxed);
        }
    }

    /// The next batch; `false`: there is none, and will be none.
    async fn gather(&mut self, batch: &mut Vec<Span>) -> bool {
        let most = self.queue.batch_spans;
        tokio::select! {
            biased;
            _ = self.spans.recv_many(batch, most) => {}
            () = self.stop.cancelled() => {
                // What was given away before this is still there to be taken.
                self.spans.close();
                self.spans.recv_many(batch, most).await;
            }
        }
        let full = async {
            while batch.len() < most && self.spans.recv_many(batch, most - batch.len()).await > 0 {}
        };
        tokio::select! {
            () = full => {}
            () = tokio::time::sleep(self.queue.delay) => {}
            () = self.stop.cancelled() => {}
        }
        !batch.is_empty()
    }

    /// Tries until the collector takes it, will never take it, or patience ends; only once after the end was asked for.
    async fn deliver(&self, body: Vec<u8>) -> Result<(), NotTaken> {
        let body = self.post.packed(body);
        let deadline = Instant::now() + self.patience;
        let mut why = format!("no answer within {} ms", self.patience.as_millis());
        let mut pause = FIRST_PAUSE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match timeout(left, self.post.send(body.clone())).await {
                Ok(Err(NotTaken::Now(reason))) => why = reason,
                Ok(done) => return done,
                Err(_) => return Err(NotTaken::Now(why)),
            }
            if Instant::now() + pause >= deadline {
                return Err(NotTaken::Now(why));
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause *= 2,
                () = self.stop.cancelled() => return Err(NotTaken::Now(why)),
            }
        }
    }
}

//! More than the service can take: what it takes it takes as fast as ever, and the rest is told so at once.
//!
//! Capacity is measured first, by clients that each wait for their reply; then three times as much is offered by
//! clients that wait for nobody. Service, Kafka and clients share one machine, so the clients are made cheap: one
//! packed batch, made beforehand, is sent over and over.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::harness::{Form, Organization, Service, Site, Wire, batch_head, played};

/// Clients that wait for their replies: enough to keep every core busy.
const WAITING_CLIENTS: usize = 32;
/// Requests that the impatient ones have under way at most; one more is not sent, and counted.
const MOST_UNDER_WAY: usize = 2_000;
const MOST_MEMORY: u64 = 400 * 1024 * 1024;

/// What is sent, and what was answered.
struct Load {
    address: String,
    request: Vec<u8>,
    idle: Mutex<Vec<Wire>>,
    under_way: AtomicUsize,
    replies: Mutex<Replies>,
}

#[derive(Default)]
struct Replies {
    accepted: Vec<Duration>,
    refused: Vec<Duration>,
    /// Connections that ended without a reply.
    unanswered: usize,
    unsent: usize,
    others: Vec<u16>,
}

impl Load {
    fn new(service: &Service, organization: &Organization) -> Arc<Self> {
        let (headers, body) = Form::Gzip.pack(&organization.slug, &organization.key, &played(500));
        let length = body.len().to_string();
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .filter(|(name, _)| *name != "authorization")
            .map(|(name, value)| (*name, value.as_str()))
            .chain([("content-length", length.as_str())])
            .collect();
        Arc::new(Self {
            address: service.intake().address().to_owned(),
            request: [batch_head(organization, &headers), body].concat(),
            idle: Mutex::default(),
            under_way: AtomicUsize::new(0),
            replies: Mutex::default(),
        })
    }

    async fn send_one(&self) {
        let started = Instant::now();
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let wire = match idle {
            Some(wire) => Ok(wire),
            None => Wire::open(&self.address).await,
        };
        let mut answered = None;
        if let Ok(mut wire) = wire {
            wire.write(&self.request).await;
            answered = wire.reply().await.map(|reply| (reply, wire));
        }
        let took = started.elapsed();
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((reply, wire)) = answered else {
            replies.unanswered += 1;
            return;
        };
        match reply.status.as_u16() {
            200 => replies.accepted.push(took),
            429 | 503 => replies.refused.push(took),
            other => replies.others.push(other),
        }
        if reply.headers.get("connection").is_none() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(wire);
        }
    }

    fn take_replies(&self) -> Replies {
        std::mem::take(&mut *self.replies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Batches a second that are accepted when every client waits for its reply.
    async fn capacity(self: &Arc<Self>, time: Duration) -> f64 {
        let mut clients = JoinSet::new();
        let started = Instant::now();
        for _ in 0..WAITING_CLIENTS {
            let load = Arc::clone(self);
            clients.spawn(async move {
                while started.elapsed() < time {
                    load.send_one().await;
                }
            });
        }
        while clients.join_next().await.is_some() {}
        let replies = self.take_replies();
        replies.assert_only_answers();
        replies.a_second(replies.accepted.len(), started.elapsed())
    }

    /// Offers so many batches a second, whatever becomes of them.
    async fn offer(self: &Arc<Self>, a_second: f64, time: Duration) -> Replies {
        let started = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        let mut clients = JoinSet::new();
        let mut sent = 0.0;
        while started.elapsed() < time {
            tick.tick().await;
            while sent < started.elapsed().as_secs_f64() * a_second {
                sent += 1.0;
                if self.under_way.load(Ordering::Relaxed) >= MOST_UNDER_WAY {
                    self.replies.lock().unwrap_or_else(PoisonError::into_inner).unsent += 1;
                    continue;
                }
                self.under_way.fetch_add(1, Ordering::Relaxed);
                let load = Arc::clone(self);
                clients.spawn(async move {
                    load.send_one().await;
                    load.under_way.fetch_sub(1, Ordering::Relaxed);
                });
            }
            while clients.try_join_next().is_some() {}
        }
        // What counts is what was answered in time; the rest is only waited for.
        let replies = self.take_replies();
        while clients.join_next().await.is_some() {}
        replies
    }
}

impl Replies {
    fn a_second(&self, count: usize, time: Duration) -> f64 {
        f64::from(u32::try_from(count).expect("few")) / time.as_secs_f64()
    }

    fn assert_only_answers(&self) {
        assert!(self.others.is_empty(), "{:?}", self.others);
        assert_eq!(self.unanswered, 0, "every request is answered");
    }
}

fn median(durations: &mut [Duration]) -> Duration {
    durations.sort_unstable();
    durations.get(durations.len() / 2).copied().unwrap_or_default()
}

/// What came of three times the capacity: goodput as a part of capacity, and how long a refusal took.
struct Outcome {
    ratio: f64,
    refusal: Duration,
}

async fn overload(measure: Duration, offer: Duration) -> Outcome {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("--role intake")).await;
    let load = Load::new(&service, &acme);
    load.capacity(measure / 4).await;
    let capacity = load.capacity(measure).await;
    let mut replies = load.offer(capacity * 3.0, offer).await;
    replies.assert_only_answers();
    let goodput = replies.a_second(replies.accepted.len(), offer);
    let outcome = Outcome { ratio: goodput / capacity, refusal: median(&mut replies.refused) };
    let memory = service.memory_bytes("VmHWM");
    let publish_seconds = service.metric("rollbook_log_publish_seconds_sum").await
        / service.metric("rollbook_log_publish_seconds_count").await;
    eprintln!(
        "capacity {capacity:.0} batches of 500 a second; three times as much offered: {goodput:.0} accepted ({:.2}), \
         in {:?} at the median, {:.0} refused in {:?}, {} not sent; {publish_seconds:.3} s for \
         the log on average; {} MiB at most",
        outcome.ratio,
        median(&mut replies.accepted),
        replies.a_second(replies.refused.len(), offer),
        outcome.refusal,
        replies.unsent,
        memory / 1024 / 1024
    );
    assert!(memory < MOST_MEMORY, "{memory} bytes");
    assert_eq!(service.admin.get("/readyz").await.status, 200, "it is none the worse for it");
    service.stop().await;
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_times_the_load_is_answered_and_costs_no_memory() {
    let outcome = overload(Duration::from_secs(2), Duration::from_secs(3)).await;
    assert!(outcome.ratio > 0.0, "nothing was accepted");
}

/// The figures that we promise: of a release build on a machine that does nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes more than a minute, and an idle machine"]
async fn for_a_minute_three_times_the_load_leaves_goodput_and_refusals_are_quick() {
    let outcome = overload(Duration::from_secs(10), Duration::from_secs(60)).await;
    assert!(outcome.ratio >= 0.8, "goodput is {:.2} of capacity", outcome.ratio);
    assert!(outcome.refusal < Duration::from_millis(50), "a refusal takes {:?}", outcome.refusal);
}

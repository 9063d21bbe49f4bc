//! Simulated classrooms: viewers of one lesson a school who report what they watch as it happens, among others who watch
//! other videos. Some of their players are not quite right: they send things twice, or too late.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::cli::load::batch::{Batch, Batcher};
use crate::cli::load::client::{Encoding, IntakeClient};
use crate::cli::load::intake_url::IntakeUrl;
use crate::cli::load::keyring::Keyring;
use crate::cli::load::sessions::{Generator, Settings};
use crate::event::UnixMillis;
use crate::tenant::{Slug, WriteKey};

/// The video whose curve is drawn.
pub(super) const LESSON: &str = "fractions-101";
const LESSON_MS: u32 = 300_000;
/// Where most rewind once: the explanation is too fast there.
const HARD_PART: (u32, u32) = (118_000, 150_000);
/// A second of ours is so many of theirs: nobody watches a demo for five minutes.
const FASTER: u32 = 12;
const TICK: Duration = Duration::from_millis(500);
/// Viewers of the lesson, by school.
const SEATS: [usize; 3] = [90, 50, 25];
/// Events of others in a tick, of all schools together.
const OTHERS: u32 = 250;
/// The same in a flood.
const FLOOD: u32 = 8_000;
/// How long a flood lasts.
const FLOOD_TICKS: u32 = 12;
/// No request has more.
const MOST_EVENTS: usize = 250;
const DAY_MS: i64 = 86_400_000;

/// What the person at the keyboard says.
#[derive(Debug, Default)]
pub(super) struct Controls {
    is_paused: AtomicBool,
    flood_ticks: AtomicU32,
}

impl Controls {
    pub(super) fn toggle_pause(&self) {
        self.is_paused.fetch_xor(true, Ordering::Relaxed);
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }

    pub(super) fn flood(&self) {
        self.flood_ticks.store(FLOOD_TICKS, Ordering::Relaxed);
    }

    pub(super) fn is_flooding(&self) -> bool {
        self.flood_ticks.load(Ordering::Relaxed) > 0
    }

    fn others_of_this_tick(&self) -> u32 {
        let flood =
            self.flood_ticks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if flood.is_ok() { FLOOD } else { OTHERS }
    }
}

/// Runs until `stop`; then no request is under way any more.
pub(super) async fn run(
    keys: Vec<(Slug, WriteKey)>,
    url: IntakeUrl,
    controls: Arc<Controls>,
    stop: CancellationToken,
) {
    let keyring = Keyring::of(keys);
    let client = Arc::new(IntakeClient::new(url, &keyring, Encoding::Plain));
    let mut classes: Vec<Class> =
        SEATS.iter().take(keyring.count().get()).enumerate().map(Class::new).collect();
    let mut others = Others::new(keyring.count());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut requests = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        while requests.try_join_next().is_some() {}
        if controls.is_paused() {
            continue;
        }
        let of_classes = classes.iter_mut().flat_map(Class::tick);
        let batches: Vec<Batch> = of_classes.chain(others.tick(controls.others_of_this_tick())).collect();
        for batch in batches {
            let client = Arc::clone(&client);
            // What is not taken now is lost to the demo, and to nobody else: only what is accepted is promised.
            requests.spawn(async move { client.send(&batch).await });
        }
    }
    while requests.join_next().await.is_some() {}
}

/// One school's viewers of the lesson.
struct Class {
    school: usize,
    /// Schools do not all have their trouble in the same tick.
    offset: u32,
    seats: Vec<Viewer>,
    random: SmallRng,
    ticks: u32,
    next_viewer: u64,
}

struct Viewer {
    id: String,
    session: String,
    seq: u32,
    at_ms: u32,
    leaves_at_ms: u32,
    rewinds: bool,
    /// Comes in later than the others.
    waits_ticks: u32,
}

impl Class {
    fn new((school, seats): (usize, &usize)) -> Self {
        let mut class = Self {
            school,
            offset: u32::try_from(school).unwrap_or_default(),
            seats: Vec::new(),
            random: SmallRng::seed_from_u64(school as u64),
            ticks: 0,
            next_viewer: 0,
        };
        class.seats = (0..12).cycle().take(*seats).map(|waits_ticks| class.comes_in(waits_ticks)).collect();
        class
    }

    fn comes_in(&mut self, waits_ticks: u32) -> Viewer {
        self.next_viewer += 1;
        let stays = self.random.random_range(0..100);
        let leaves_at_ms = match stays {
            0..14 => self.random.random_range(8_000..40_000),
            14..40 => self.random.random_range(60_000..LESSON_MS),
            _ => LESSON_MS,
        };
        Viewer {
            id: format!("viewer-{}-{}", self.school, self.next_viewer),
            session: Uuid::new_v4().to_string(),
            seq: 0,
            at_ms: 0,
            leaves_at_ms,
            rewinds: self.random.random_ratio(2, 5),
            waits_ticks,
        }
    }

    /// What all of them report now, in batches; every now and then one twice, as after a lost reply.
    fn tick(&mut self) -> Vec<Batch> {
        self.ticks += 1;
        let mut batch = Batch::new(self.school);
        for seat in 0..self.seats.len() {
            if let Some(event) = self.seats[seat].tick() {
                batch.push(&event.to_string());
            }
            if self.seats[seat].is_gone() {
                let waits = self.random.random_range(2..20);
                self.seats[seat] = self.comes_in(waits);
            }
        }
        if self.ticks % 9 == self.offset {
            batch.push(&self.late().to_string());
        }
        if batch.is_empty() {
            return Vec::new();
        }
        let is_sent_again = self.ticks % 8 == 4 + self.offset;
        let again = is_sent_again.then(|| batch.clone());
        std::iter::once(batch).chain(again).collect()
    }

    /// A tablet that was in a drawer for six weeks.
    fn late(&self) -> Value {
        let mut event = self.seats[0].event("video.played");
        event["occurred_at"] = json!(UnixMillis::now().0 - 42 * DAY_MS);
        event
    }
}

impl Viewer {
    fn tick(&mut self) -> Option<Value> {
        if self.waits_ticks > 0 {
            self.waits_ticks -= 1;
            return None;
        }
        if self.seq == 0 {
            self.seq = 1;
            let mut ready = self.event("video.ready");
            ready["duration_ms"] = json!(LESSON_MS);
            return Some(ready);
        }
        let step_ms = u32::try_from(TICK.as_millis()).unwrap_or(500) * FASTER;
        let from = self.at_ms;
        self.at_ms = (from + step_ms).min(self.leaves_at_ms);
        self.seq += 1;
        let kind = if self.at_ms == LESSON_MS { "video.ended" } else { "video.heartbeat" };
        let mut event = self.event(kind);
        event["watched"] = json!([[from, self.at_ms]]);
        event["position_ms"] = json!(self.at_ms);
        if self.rewinds && (HARD_PART.1..HARD_PART.1 + step_ms).contains(&self.at_ms) {
            self.rewinds = false;
            self.at_ms = HARD_PART.0;
        }
        Some(event)
    }

    fn is_gone(&self) -> bool {
        self.at_ms >= self.leaves_at_ms
    }

    fn event(&self, kind: &str) -> Value {
        json!({
            "id": Uuid::now_v7(),
            "type": kind,
            "occurred_at": UnixMillis::now().0,
            "session_id": self.session,
            "viewer_id": self.id,
            "content_id": LESSON,
            "seq": self.seq,
        })
    }
}

/// Everybody else.
struct Others {
    generator: Generator,
    schools: usize,
}

impl Others {
    fn new(schools: NonZeroUsize) -> Self {
        let settings = Settings {
            seed: rand::random(),
            organizations: schools,
            expected_events: 200_000,
            now: UnixMillis::now(),
        };
        Self { generator: Generator::new(settings), schools: schools.get() }
    }

    fn tick(&mut self, events: u32) -> Vec<Batch> {
        let mut batcher = Batcher::new(self.schools, MOST_EVENTS);
        let mut batches = Vec::new();
        for _ in 0..events {
            let event = self.generator.next_event();
            batches.extend(batcher.push(event.organization, event.json));
        }
        batches.extend(batcher.finish());
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_watches_the_lesson_through_and_others_come_after_it() {
        let mut class = Class::new((0, &40));
        let (mut ended, mut sessions) = (0, std::collections::HashSet::new());
        for _ in 0..200 {
            for batch in class.tick() {
                let events: Vec<Value> =
                    serde_json::from_str(&format!("[{}]", batch.joined())).expect("JSON");
                for event in events {
                    ended += usize::from(event["type"] == "video.ended");
                    sessions.insert(event["session_id"].to_string());
                    let watched = event["watched"][0].as_array().cloned().unwrap_or_default();
                    assert!(watched.is_empty() || watched[0].as_u64() <= watched[1].as_u64(), "{event}");
                }
            }
        }
        assert!(ended > 20, "{ended}");
        assert!(sessions.len() > 60, "{}", sessions.len());
    }

    #[test]
    fn a_flood_ends_by_itself() {
        let controls = Controls::default();
        assert_eq!(controls.others_of_this_tick(), OTHERS);
        controls.flood();
        let ticks = (0..100).take_while(|_| controls.others_of_this_tick() == FLOOD).count();
        assert_eq!(ticks, FLOOD_TICKS as usize);
        assert!(!controls.is_flooding());
    }
}

//! Who is watching when: sessions begin, run side by side, and report in time order.

use std::collections::BTreeMap;

use rand::RngExt;
use uuid::Uuid;

use super::catalogue::Video;
use super::profile::Profile;
use super::step::Step;
use super::zipf::Zipf;
use super::{Random, Settings};

/// A class sits down at the same video within a minute.
const CLASS_SIZE: u32 = 30;
const CLASS_WITHIN_MS: i64 = 60_000;
/// Each arrival of this number is a class: counted, not drawn, so that a short run has its share of them too.
const CLASS_EVERY: u64 = 100;
/// Viewers of an organization: some of them come more than once.
const VIEWERS: u64 = 5_000;
/// What an arrival comes to on average, classes and sessions that `now` cuts off included. It is about 53, and taken a
/// little lower so that the expected events are there before the time is used up.
const EVENTS_PER_ARRIVAL: i64 = 48;

const HOUR_MS: i64 = 3_600_000;
/// Far from the 30 days after which intake calls an event too old.
const LONGEST_SPAN_MS: i64 = 7 * 24 * HOUR_MS;
/// What goes into an hour before the span grows: some 4 000 viewers at once.
const EVENTS_PER_HOUR: i64 = 1_000_000;
/// Bounds how many viewers are there at once, and with them the memory, whatever is expected.
const SHORTEST_MEAN_GAP_MS: i64 = 100;

/// One viewer at one video.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mount {
    pub(super) session_id: Uuid,
    pub(super) organization: usize,
    pub(super) viewer: u64,
    pub(super) video: Video,
    pub(super) time_form: TimeForm,
}

/// How a client writes times: the contract has two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeForm {
    Millis,
    Rfc3339,
}

/// A step of a session at its time.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) mount: Mount,
    pub(super) at_ms: i64,
    pub(super) seq: u32,
    pub(super) step: Step,
}

/// A mount with what is still to be reported of it.
#[derive(Debug)]
struct Session {
    mount: Mount,
    started_ms: i64,
    next_seq: u32,
    /// The next one is last.
    steps: Vec<Step>,
}

/// Every session that is going on.
#[derive(Debug)]
pub(super) struct Timeline {
    zipf: Zipf,
    begins_ms: i64,
    ends_ms: i64,
    mean_gap_ms: i64,
    next_arrival_ms: i64,
    /// By when it reports next; ties go to the older session, so that the order depends on nothing else.
    live: BTreeMap<(i64, u64), Session>,
    arrivals: u64,
    sessions: u64,
}

impl Timeline {
    pub(super) fn new(settings: &Settings) -> Self {
        let events = i64::try_from(settings.expected_events).unwrap_or(i64::MAX);
        let span_ms = (events / EVENTS_PER_HOUR).saturating_mul(HOUR_MS).clamp(HOUR_MS, LONGEST_SPAN_MS);
        let arrivals = events / EVENTS_PER_ARRIVAL + 1;
        let begins_ms = settings.now.0.saturating_sub(span_ms);
        Self {
            zipf: Zipf::new(settings.organizations),
            begins_ms,
            ends_ms: settings.now.0,
            mean_gap_ms: (span_ms / arrivals).max(SHORTEST_MEAN_GAP_MS),
            next_arrival_ms: begins_ms,
            live: BTreeMap::new(),
            arrivals: 0,
            sessions: 0,
        }
    }

    /// What happens next anywhere.
    pub(super) fn next_moment(&mut self, random: &mut Random) -> Moment {
        loop {
            while self.live.first_key_value().is_none_or(|((due_ms, _), _)| *due_ms >= self.next_arrival_ms) {
                self.arrive(random);
            }
            if let Some(moment) = self.pop_moment() {
                if moment.at_ms <= self.ends_ms {
                    return moment;
                }
                self.begin_anew();
            }
        }
    }

    fn pop_moment(&mut self) -> Option<Moment> {
        let ((at_ms, number), mut session) = self.live.pop_first()?;
        let step = session.steps.pop()?;
        let moment = Moment { mount: session.mount, at_ms, seq: session.next_seq, step };
        session.next_seq += 1;
        self.schedule(number, session);
        Some(moment)
    }

    /// The time up to now is used up: from its beginning again, with other viewers.
    fn begin_anew(&mut self) {
        self.live.clear();
        self.next_arrival_ms = self.begins_ms;
    }

    fn arrive(&mut self, random: &mut Random) {
        let at_ms = self.next_arrival_ms;
        let organization = self.zipf.draw(random);
        let video = Video::draw(random);
        self.arrivals += 1;
        if self.arrivals % CLASS_EVERY == CLASS_EVERY / 2 {
            for _ in 0..CLASS_SIZE {
                let sits_down_ms = at_ms + random.random_range(0..CLASS_WITHIN_MS);
                self.begin(Profile::Attentive, organization, video, sits_down_ms, random);
            }
        } else {
            self.begin(Profile::draw(random), organization, video, at_ms, random);
        }
        self.next_arrival_ms += random.random_range(1..=self.mean_gap_ms * 2);
    }

    fn begin(
        &mut self,
        profile: Profile,
        organization: usize,
        video: Video,
        started_ms: i64,
        random: &mut Random,
    ) {
        let session_id = uuid::Builder::from_random_bytes(random.random()).into_uuid();
        let viewer = random.random_range(0..VIEWERS);
        let time_form = if random.random_ratio(1, 4) { TimeForm::Rfc3339 } else { TimeForm::Millis };
        let mount = Mount { session_id, organization, viewer, video, time_form };
        let mut steps = profile.perform(video, random);
        steps.reverse();
        self.sessions += 1;
        self.schedule(self.sessions, Session { mount, started_ms, next_seq: 1, steps });
    }

    /// Puts a session where its next step belongs; one that has none is over.
    fn schedule(&mut self, number: u64, session: Session) {
        if let Some(next) = session.steps.last() {
            let due_ms = session.started_ms + i64::from(next.after_ms);
            self.live.insert((due_ms, number), session);
        }
    }
}

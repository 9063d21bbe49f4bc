//! Viewers as a player reports them: whole sessions, interleaved as they would happen, as JSON text.
//!
//! Everything comes from one seed and one `now`: the same settings give the same bytes. What is in a session follows
//! from a simulated playhead (`playback`), so that watched intervals, positions and times agree with each other.
//! Events come in time order, so that their version-7 ids nearly do too, as in real traffic.
//!
//! Benches and tests use the [`Generator`] as the load command does; it knows nothing of requests.

mod catalogue;
mod event_json;
mod playback;
mod profile;
mod step;
mod timeline;
mod zipf;

use std::num::NonZeroUsize;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use crate::event::UnixMillis;
use timeline::Timeline;

/// Its output is the same on every platform and in every release, which the standard generator does not promise.
type Random = Xoshiro256PlusPlus;

/// What a [`Generator`] makes.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// How many organizations there are; the first is the busiest, in Zipf order.
    pub organizations: NonZeroUsize,
    /// About how many events will be taken. It decides how many viewers are there at once: that many events fill the
    /// time up to `now`. When more are taken, that time is gone through again with other viewers.
    pub expected_events: u64,
    /// No event is later than this.
    pub now: UnixMillis,
}

/// Viewer sessions without end.
#[derive(Debug)]
pub struct Generator {
    random: Random,
    timeline: Timeline,
    json: String,
}

/// One event, complete in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneratedEvent<'a> {
    /// Whose it is, counted from 0.
    pub organization: usize,
    /// A JSON object as contract 1.2 wants it.
    pub json: &'a str,
}

impl Generator {
    /// Starts at the beginning of what `settings` describe.
    pub fn new(settings: Settings) -> Self {
        Self {
            random: Random::seed_from_u64(settings.seed),
            timeline: Timeline::new(&settings),
            json: String::new(),
        }
    }

    /// The next event. It lives in a buffer that the one after it takes over.
    pub fn next_event(&mut self) -> GeneratedEvent<'_> {
        let moment = self.timeline.next_moment(&mut self.random);
        self.json.clear();
        event_json::write(&mut self.json, &moment, &mut self.random);
        GeneratedEvent { organization: moment.mount.organization, json: &self.json }
    }
}

#[cfg(test)]
mod tests;

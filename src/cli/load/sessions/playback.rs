//! A player with a playhead and a clock: what a viewer does goes in, what the player reports comes out.
//!
//! Invariants: every millisecond of media that was played is in exactly one reported interval, once something that
//! carries intervals is reported; without rate changes the intervals add up to `played_ms`.

use super::step::{Intervals, Rate, Step, Watch, What};

/// Players report every so much of playing.
const HEARTBEAT_MS: u32 = 15_000;

/// One mount of one player.
#[derive(Debug)]
pub(super) struct Playback {
    duration_ms: u32,
    now_ms: u32,
    position_ms: u32,
    played_ms: u32,
    since_heartbeat_ms: u32,
    rate: Rate,
    /// The last one is open: it ends at the playhead.
    unreported: Intervals,
    steps: Vec<Step>,
}

/// Whether a seek reports what was watched before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtSeek {
    ReportWatched,
    KeepForLater,
}

impl Playback {
    pub(super) fn new(duration_ms: u32) -> Self {
        Self {
            duration_ms,
            now_ms: 0,
            position_ms: 0,
            played_ms: 0,
            since_heartbeat_ms: 0,
            rate: Rate::NORMAL,
            unreported: vec![(0, 0)],
            steps: Vec::new(),
        }
    }

    /// Everything reported, in time order.
    pub(super) fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    pub(super) fn duration_ms(&self) -> u32 {
        self.duration_ms
    }

    pub(super) fn position_ms(&self) -> u32 {
        self.position_ms
    }

    /// Reports something that does not touch the playhead.
    pub(super) fn report(&mut self, what: What) {
        self.steps.push(Step { after_ms: self.now_ms, position_ms: self.position_ms, rate: self.rate, what });
    }

    /// Lets wall time pass while nothing plays.
    pub(super) fn wait(&mut self, wall_ms: u32) {
        self.now_ms += wall_ms;
    }

    pub(super) fn ready(&mut self) {
        self.report(What::Ready { duration_ms: self.duration_ms });
    }

    pub(super) fn play(&mut self) {
        self.since_heartbeat_ms = 0;
        self.report(What::Played);
    }

    /// Plays on up to a place, or to the end, with heartbeats on the way.
    pub(super) fn watch_until(&mut self, position_ms: u32) {
        let target_ms = position_ms.min(self.duration_ms);
        while self.position_ms < target_ms {
            let to_target_ms = self.rate.wall_ms(target_ms - self.position_ms);
            let wall_ms = to_target_ms.min(HEARTBEAT_MS - self.since_heartbeat_ms);
            let media_ms = self.rate.media_ms(wall_ms);
            self.advance(wall_ms, (self.position_ms + media_ms).min(target_ms));
            if self.since_heartbeat_ms == HEARTBEAT_MS {
                self.since_heartbeat_ms = 0;
                let watch = self.take_watch();
                self.report(What::Heartbeat(watch));
            }
        }
    }

    /// Plays on for so much of the video.
    pub(super) fn watch(&mut self, media_ms: u32) {
        self.watch_until(self.position_ms + media_ms);
    }

    pub(super) fn pause(&mut self) {
        let watch = self.take_watch();
        self.report(What::Paused(watch));
    }

    pub(super) fn end(&mut self) {
        let watch = self.take_watch();
        self.report(What::Ended(watch));
    }

    /// The page is closed, and the player gets to say so.
    pub(super) fn leave(&mut self) {
        let watch = self.take_watch();
        self.report(What::SessionEnded(watch));
    }

    pub(super) fn seek(&mut self, to_ms: u32, at_seek: AtSeek) {
        let from_ms = self.position_ms;
        let to_ms = to_ms.min(self.duration_ms);
        let watched = match at_seek {
            AtSeek::ReportWatched => Some(self.take_watched()),
            AtSeek::KeepForLater => None,
        };
        self.position_ms = to_ms;
        self.unreported.push((to_ms, to_ms));
        self.report(What::Seeked { from_ms, to_ms, watched });
    }

    pub(super) fn change_rate(&mut self, to: Rate) {
        let from = std::mem::replace(&mut self.rate, to);
        self.report(What::RateChanged { from, to });
    }

    fn advance(&mut self, wall_ms: u32, position_ms: u32) {
        self.now_ms += wall_ms;
        self.played_ms += wall_ms;
        self.since_heartbeat_ms += wall_ms;
        self.position_ms = position_ms;
        if let Some((_, end_ms)) = self.unreported.last_mut() {
            *end_ms = position_ms;
        }
    }

    fn take_watch(&mut self) -> Watch {
        Watch { watched: self.take_watched(), played_ms: self.played_ms }
    }

    fn take_watched(&mut self) -> Intervals {
        let open = (self.position_ms, self.position_ms);
        let mut watched = std::mem::replace(&mut self.unreported, vec![open]);
        watched.retain(|(start_ms, end_ms)| start_ms < end_ms);
        watched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intervals(playback: Playback) -> Vec<Intervals> {
        let carried = |step: Step| match step.what {
            What::Paused(watch) | What::Heartbeat(watch) | What::Ended(watch) => Some(watch.watched),
            What::Seeked { watched, .. } => watched,
            _ => None,
        };
        playback.into_steps().into_iter().filter_map(carried).collect()
    }

    #[test]
    fn heartbeats_and_the_pause_share_out_what_was_played() {
        let mut playback = Playback::new(60_000);
        playback.play();
        playback.watch(32_000);
        playback.pause();
        assert_eq!(intervals(playback), [[(0, 15_000)], [(15_000, 30_000)], [(30_000, 32_000)]]);
    }

    #[test]
    fn what_a_seek_keeps_for_later_comes_with_the_next_report() {
        let mut playback = Playback::new(60_000);
        playback.play();
        playback.watch(2_000);
        playback.seek(40_000, AtSeek::KeepForLater);
        playback.seek(50_000, AtSeek::KeepForLater);
        playback.watch(3_000);
        playback.pause();
        assert_eq!(intervals(playback), [[(0, 2_000), (50_000, 53_000)]]);
    }

    #[test]
    fn at_double_rate_the_playhead_covers_twice_the_time() {
        let mut playback = Playback::new(60_000);
        playback.change_rate(Rate::MENU[3]);
        playback.play();
        playback.watch_until(60_000);
        assert_eq!((playback.position_ms, playback.played_ms), (60_000, 30_000));
    }
}

//! How different people watch.

use rand::RngExt;

use super::Random;
use super::catalogue::{Item, Judged, Video};
use super::playback::{AtSeek, Playback};
use super::step::{Rate, Step, What};

/// A way of watching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// Watches to the end and answers four questions on the way.
    Attentive,
    /// Jumps about, skips every question.
    Scrubber,
    /// Is gone after twelve seconds, without a word.
    Bouncer,
    /// Lets it run for ten minutes.
    Passive,
}

impl Profile {
    pub(super) fn draw(random: &mut Random) -> Self {
        match random.random_range(0..100) {
            0..50 => Self::Attentive,
            50..65 => Self::Scrubber,
            65..80 => Self::Bouncer,
            _ => Self::Passive,
        }
    }

    /// Plays one session through.
    pub(super) fn perform(self, video: Video, random: &mut Random) -> Vec<Step> {
        let mut player = Playback::new(video.duration_ms());
        match self {
            Self::Attentive => attentive(&mut player, video, random),
            Self::Scrubber => scrubber(&mut player, video, random),
            Self::Bouncer => bouncer(&mut player),
            Self::Passive => passive(&mut player, random),
        }
        player.into_steps()
    }
}

fn attentive(player: &mut Playback, video: Video, random: &mut Random) {
    start(player, random);
    let part_ms = player.duration_ms() / 5;
    for number in 1..=4 {
        player.watch(part_ms);
        player.pause();
        answer(player, video.item(number), random);
        player.play();
        if random.random_ratio(1, 12) {
            player.change_rate(Rate::MENU[random.random_range(0..Rate::MENU.len())]);
        }
    }
    player.watch_until(player.duration_ms());
    player.end();
    if random.random_ratio(3, 4) {
        player.wait(random.random_range(500..20_000));
        player.leave();
    }
}

/// A wrong answer is sometimes thought over once.
fn answer(player: &mut Playback, item: Item, random: &mut Random) {
    player.report(What::ItemShown(item));
    let mut elapsed_ms = 0;
    for number in 1..=2 {
        let attempt = item.attempt(random);
        elapsed_ms += think(player, random);
        player.report(What::OptionSelected(item, attempt));
        elapsed_ms += think(player, random);
        player.report(What::Answered { item, attempt, number, elapsed_ms });
        let thinks_again = attempt.judged == Some(Judged::Wrong) && number == 1 && random.random_ratio(1, 3);
        if !thinks_again {
            break;
        }
        elapsed_ms += think(player, random);
        player.report(What::Revised { item, elapsed_ms });
    }
    elapsed_ms += think(player, random);
    player.report(What::Closed { item, elapsed_ms });
}

fn think(player: &mut Playback, random: &mut Random) -> u32 {
    let wall_ms = random.random_range(400..9_000);
    player.wait(wall_ms);
    wall_ms
}

fn scrubber(player: &mut Playback, video: Video, random: &mut Random) {
    start(player, random);
    for number in 1..=10 {
        player.watch(random.random_range(1_500..9_000));
        let at_seek = if random.random_ratio(1, 2) { AtSeek::ReportWatched } else { AtSeek::KeepForLater };
        player.seek(random.random_range(0..player.duration_ms()), at_seek);
        match number {
            2 => player.report(What::FullscreenChanged { on: true }),
            9 => player.report(What::FullscreenChanged { on: false }),
            _ => {}
        }
        if number <= 6 {
            let item = video.item(number);
            player.report(What::ItemShown(item));
            let elapsed_ms = think(player, random);
            player.report(What::Skipped { item, elapsed_ms });
        }
    }
    player.watch(random.random_range(1_500..9_000));
    player.pause();
    if random.random_ratio(1, 2) {
        player.leave();
    }
}

fn bouncer(player: &mut Playback) {
    player.play();
    player.watch(12_000);
    player.pause();
}

fn passive(player: &mut Playback, random: &mut Random) {
    const TEN_MINUTES_MS: u32 = 600_000;
    start(player, random);
    let until_ms = player.duration_ms().min(TEN_MINUTES_MS);
    player.watch_until(until_ms / 3);
    if random.random_ratio(1, 3) {
        player.report(What::QualityChanged { from: "auto", to: "720p" });
    }
    player.watch_until(until_ms / 2);
    player.pause();
    player.wait(random.random_range(5_000..90_000));
    player.play();
    if random.random_ratio(1, 20) {
        player.report(What::Error { code: "network", message: "segment 17 could not be fetched" });
    }
    player.watch_until(until_ms);
    if player.position_ms() == player.duration_ms() {
        player.end();
    }
    if random.random_ratio(3, 4) {
        player.leave();
    }
}

fn start(player: &mut Playback, random: &mut Random) {
    player.ready();
    player.wait(random.random_range(300..4_000));
    player.play();
    if random.random_ratio(1, 10) {
        let stall_ms = random.random_range(100..3_000);
        player.wait(stall_ms);
        player.report(What::Buffered { stall_ms });
    }
}

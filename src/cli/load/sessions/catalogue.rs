//! The videos that are watched, and the questions in them.

use std::fmt;

use rand::RngExt;

use super::Random;

const VIDEOS: u16 = 40;
const SHORTEST_MS: u32 = 180_000;

/// A video. Every organization has the same ones under the same names, as foreign organizations may.
#[derive(Clone, Copy, Debug)]
pub(super) struct Video(u16);

impl Video {
    /// Some videos are watched more than others.
    pub(super) fn draw(random: &mut Random) -> Self {
        Self(random.random_range(0..VIDEOS).min(random.random_range(0..VIDEOS)))
    }

    /// 3 to 13 minutes.
    pub(super) fn duration_ms(self) -> u32 {
        let number = u32::from(self.0);
        SHORTEST_MS + number * 7 % 10 * 60_000 + number * 1_337
    }

    pub(super) fn course(self) -> u16 {
        self.0 / 8
    }

    pub(super) fn lesson(self) -> u16 {
        self.0 % 8
    }

    /// One of its questions.
    pub(super) fn item(self, number: u16) -> Item {
        Item { video: self, number }
    }
}

impl fmt::Display for Video {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "video-{:03}", self.0)
    }
}

/// A question in a video.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    video: Video,
    number: u16,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-q{}", self.video, self.number)
    }
}

/// What a viewer answers: one of the five kinds of contract 1.2.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// An option by its number.
    Choice(u16),
    /// Options by their bits, lowest first.
    Choices(u8),
    /// JSON text of a string, quotes included.
    Text(&'static str),
    /// Hundredths.
    Number(u16),
    /// True or false.
    Bool(bool),
}

/// An answer and what the player makes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) answer: Answer,
    /// `None` where no machine can tell.
    pub(super) judged: Option<Judged>,
}

/// How an answer was marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Right,
    HalfRight,
    Wrong,
}

/// Escapes and scripts that a JSON reader must get right.
const TEXTS: [&str; 4] = [
    r#""because the area doubles when both sides grow""#,
    r#""parce que l’aire est multipliée par deux""#,
    r#""it is \"the sum\" of both\n(see 2.1)""#,
    r#""両方の辺が伸びるから \ud83d\ude42""#,
];

impl Item {
    pub(super) fn kind(self) -> &'static str {
        match self.form() {
            0 => "single_choice",
            1 => "multiple_choice",
            2 => "free_text",
            3 => "numeric",
            _ => "true_false",
        }
    }

    /// Two answers out of three are right.
    pub(super) fn attempt(self, random: &mut Random) -> Attempt {
        let right = random.random_ratio(2, 3);
        let judged = Some(if right { Judged::Right } else { Judged::Wrong });
        let off_by = if right { 0 } else { random.random_range(1..=3) };
        let secret = self.video.0 + self.number;
        match self.form() {
            0 => Attempt { answer: Answer::Choice(1 + (secret + off_by) % 4), judged },
            1 => multiple_choice(off_by),
            2 => Attempt { answer: Answer::Text(TEXTS[random.random_range(0..TEXTS.len())]), judged: None },
            3 => Attempt { answer: Answer::Number(secret * 125 + off_by), judged },
            _ => Attempt { answer: Answer::Bool(secret.is_multiple_of(2) == right), judged },
        }
    }

    fn form(self) -> u16 {
        (self.video.0 + self.number) % 5
    }
}

/// The first and the third option are right; ticking one of them, or none at all, happens too.
fn multiple_choice(off_by: u16) -> Attempt {
    let (ticked, judged) = match off_by {
        0 => (0b0101, Judged::Right),
        1 => (0b0001, Judged::HalfRight),
        2 => (0b1010, Judged::Wrong),
        _ => (0, Judged::Wrong),
    };
    Attempt { answer: Answer::Choices(ticked), judged: Some(judged) }
}

//! What is drawn, as text: at the size of an old terminal, a wide one, and one that is far too small.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::observe::{Moment, SchoolSeen, Seen};
use super::*;

/// A demo after three seconds, with `river_college` broken.
fn picture() -> Picture {
    let start = Instant::now();
    let names = ["maple_school", "river_college", "harbor_academy"].map(str::to_owned).to_vec();
    let mut picture = Picture::new(names, "embedded", 256 << 20, "fractions-101").started_at(start, start);
    for second in 0..=12_u64 {
        let school = |rate: u64| {
            let accepted = (1..=second).map(|second| rate * (second % 4 + 1)).sum::<u64>();
            SchoolSeen { accepted, stored: accepted, duplicate: second, rejected: second / 2, held: 0 }
        };
        let mut schools = vec![school(300), school(120), school(40)];
        schools[1].held = 52 * second;
        let seen = Seen {
            schools,
            rejections: [("too_old".to_owned(), second / 2)].into(),
            freshness: vec![(0.01, 60 * second), (0.1, 100 * second), (f64::INFINITY, 100 * second)],
            log_bytes: Some(3 << 20),
            curve: (0..300).map(|at| if at < 118 { 90 - at / 4 } else { 200 - at / 2 }).collect(),
        };
        picture.take(Moment { at: start + Duration::from_secs(second), seen });
    }
    picture.is_broken[1] = true;
    picture.selected = 1;
    picture
}

fn drawn(width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal in memory");
    terminal.draw(|frame| draw(frame, &picture(), Colours::None)).expect("memory");
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

#[test]
fn eighty_by_twenty_four() {
    let drawn = drawn(80, 24);
    let expected = include_str!("80x24.txt").lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(drawn, expected, "\n{}", drawn.join("\n"));
}

#[test]
fn a_wide_terminal_has_room_for_sparklines_and_more_of_the_curve() {
    let drawn = drawn(160, 50);
    let expected = include_str!("160x50.txt").lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(drawn, expected, "\n{}", drawn.join("\n"));
}

#[test]
fn no_size_is_too_small_to_be_drawn() {
    for (width, height) in [(1, 1), (10, 3), (20, 8), (40, 10), (300, 5), (5, 100)] {
        drawn(width, height);
    }
}

#[test]
fn the_way_out_is_the_last_to_go() {
    for width in [160, 80, 40, 20, 10] {
        let drawn = drawn(width, 24);
        let keys = drawn.last().expect("a line");
        assert!(keys.contains("q quit"), "{width}: {keys}");
    }
}

#[test]
fn a_narrow_table_goes_without_columns_and_not_without_digits() {
    let narrow = drawn(40, 12);
    assert_eq!(narrow[2], "│school          accepted/s    stored  │", "{}", narrow.join("\n"));
    assert_eq!(narrow[3], "│ maple_school          300     9 000  │", "{}", narrow.join("\n"));
    let wider = drawn(50, 12);
    assert_eq!(wider[2], "│school          accepted/s    stored      held  │", "{}", wider.join("\n"));
}

#[test]
fn where_there_is_no_room_for_the_table_that_is_said() {
    for (width, height) in [(20, 5), (20, 24), (80, 7)] {
        let drawn = drawn(width, height);
        assert_eq!(drawn[0], "too small", "{}", drawn.join("\n"));
        assert!(drawn.last().is_some_and(|keys| keys.contains("q quit")), "{}", drawn.join("\n"));
    }
    assert!(drawn(80, 8).join("\n").contains("harbor_academy"));
}

#[test]
fn without_colours_none_is_used() {
    let mut terminal = Terminal::new(TestBackend::new(120, 40)).expect("a terminal in memory");
    terminal.draw(|frame| draw(frame, &picture(), Colours::None)).expect("memory");
    let cells = &terminal.backend().buffer().content;
    assert!(cells.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
}

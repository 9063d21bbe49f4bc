//! A retention curve in characters, and what stands out in it.

use std::fmt::Write as _;

use crate::report::Second;

/// Lines that the curve is high; each has eight steps.
const HEIGHT: usize = 10;
const STEPS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Columns that the curve is never narrower, or wider than.
const NARROWEST: usize = 20;
const WIDEST: usize = 160;
/// Columns of a video of a second or two: its axis has two times to show.
const SHORTEST: usize = 12;
/// A drop is what viewers lose within so many seconds.
const WINDOW: usize = 5;

/// The curve of viewers, with its axes, `width` columns wide.
pub(super) fn curve(retention: &[Second], width: usize) -> String {
    let most = retention.iter().map(|second| second.viewers).max().unwrap_or_default();
    if most == 0 {
        return "nobody watched a second of it\n".to_owned();
    }
    let label_width = most.to_string().len();
    let columns = width
        .saturating_sub(label_width + 2)
        .clamp(NARROWEST, WIDEST)
        .min((retention.len() * 4).max(SHORTEST));
    let heights = heights(retention, columns, most);
    let mut chart = String::new();
    for line in (0..HEIGHT).rev() {
        let label = match line {
            _ if line == HEIGHT - 1 => most.to_string(),
            0 => "0".to_owned(),
            _ => String::new(),
        };
        let bars: String =
            heights.iter().map(|height| STEPS[height.saturating_sub(line * 8).min(8)]).collect();
        let _ = writeln!(chart, "{label:>label_width$} │{}", bars.trim_end());
    }
    let _ = writeln!(chart, "{:label_width$} └{}", "", "─".repeat(columns));
    let (first, last) = (clock(0), clock(i64::try_from(retention.len()).unwrap_or(i64::MAX)));
    let gap = columns.saturating_sub(first.len() + last.len());
    let _ = writeln!(chart, "{:label_width$}  {first}{:gap$}{last}", "", "");
    chart
}

/// Of each column the mean of its seconds, in eighths of a line; at least one where anybody watched.
fn heights(retention: &[Second], columns: usize, most: i64) -> Vec<usize> {
    let full = (HEIGHT * 8) as u128;
    let column = |n: usize| {
        let from = n * retention.len() / columns;
        let to = ((n + 1) * retention.len() / columns).max(from + 1);
        let seconds = &retention[from..to];
        let sum: u128 = seconds.iter().map(|second| u128::from(second.viewers.unsigned_abs())).sum();
        let whole = seconds.len() as u128 * u128::from(most.unsigned_abs());
        let height = (2 * sum * full + whole) / (2 * whole);
        usize::try_from(if sum > 0 { height.max(1) } else { 0 }).unwrap_or(HEIGHT * 8)
    };
    (0..columns).map(column).collect()
}

/// Where viewers are lost most: the second, and how many until then from a few seconds before.
pub(super) fn greatest_drop(retention: &[Second]) -> Option<(i32, i64)> {
    let lost = |at: usize| retention[at.saturating_sub(WINDOW)].viewers - retention[at].viewers;
    let worst = (1..retention.len()).max_by_key(|at| (lost(*at), std::cmp::Reverse(*at)))?;
    (lost(worst) > 0).then(|| (retention[worst].second, lost(worst)))
}

/// What is watched again most: the second, and how often beyond once a viewer.
pub(super) fn most_watched_again(retention: &[Second]) -> Option<(i32, i64)> {
    let again = |second: &&Second| (second.times - second.viewers, std::cmp::Reverse(second.second));
    let most = retention.iter().max_by_key(again)?;
    (most.times > most.viewers).then_some((most.second, most.times - most.viewers))
}

/// Seconds as players show them.
pub(super) fn clock(seconds: i64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve_of(viewers: &[i64]) -> Vec<Second> {
        let second = |(n, viewers): (usize, &i64)| Second {
            second: i32::try_from(n).expect("few"),
            viewers: *viewers,
            times: *viewers,
        };
        viewers.iter().enumerate().map(second).collect()
    }

    #[test]
    fn a_curve_is_as_wide_as_it_was_told_and_as_high_as_its_most_watched_second() {
        let drawn = curve(&curve_of(&[8, 4, 0, 8].repeat(20)), 40);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), HEIGHT + 2);
        assert!(lines[0].starts_with("8 │"), "{drawn}");
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{drawn}");
        assert!(lines[HEIGHT + 1].ends_with("1:20"), "{drawn}");
        assert_eq!(curve(&curve_of(&[0, 0]), 40), "nobody watched a second of it\n");
        assert_eq!(curve(&[], 40), "nobody watched a second of it\n");
    }

    #[test]
    fn one_viewer_of_many_is_seen() {
        let mut viewers = vec![10_000; 20];
        viewers.push(1);
        let drawn = curve(&curve_of(&viewers), 23 + 6);
        assert!(drawn.lines().nth(HEIGHT - 1).expect("the lowest line").ends_with('▁'), "{drawn}");
    }

    #[test]
    fn the_greatest_drop_and_the_most_watched_again_are_named() {
        let mut watched = curve_of(&[9, 9, 9, 8, 3, 2, 2, 2]);
        assert_eq!(greatest_drop(&watched), Some((5, 7)));
        assert_eq!(most_watched_again(&watched), None);
        watched[6].times = 12;
        assert_eq!(most_watched_again(&watched), Some((6, 10)));
        assert_eq!(greatest_drop(&curve_of(&[1, 2, 3])), None);
        assert_eq!((greatest_drop(&[]), most_watched_again(&[])), (None, None));
    }
}

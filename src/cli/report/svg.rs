//! A retention curve as a picture that stands alone: title, axes, for light and dark screens.

use std::fmt::Write as _;

use super::chart::clock;
use crate::report::Sheet;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 360.0;
/// Around the curve: room for the axes and the title.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 48.0;
/// Marks of the axes.
const MARKS: i64 = 5;
/// More points than a screen has columns say nothing more.
const MOST_POINTS: usize = 2000;

const STYLE: &str = "\
    svg { background: #ffffff; color: #1f2430; font: 14px system-ui, sans-serif }\
    text { fill: currentColor } .title { font-size: 18px; font-weight: 600 }\
    .grid { stroke: currentColor; opacity: .15 } .viewers { fill: #2f6fde; opacity: .85 }\
    .times { fill: none; stroke: #e08a1e; stroke-width: 1.5 }\
    @media (prefers-color-scheme: dark) { svg { background: #14171f; color: #e6e9f0 } .viewers { fill: #6ea0ff } \
    .times { stroke: #ffb454 } }";

/// The picture.
pub(super) fn picture(sheet: &Sheet) -> String {
    let seconds = sheet.retention.len().max(1);
    let most =
        sheet.retention.iter().map(|second| second.viewers.max(second.times)).max().unwrap_or(0).max(1);
    let x = |second: f64| LEFT + second / seconds as f64 * (WIDTH - LEFT - RIGHT);
    let y = |count: f64| HEIGHT - BOTTOM - count / most as f64 * (HEIGHT - TOP - BOTTOM);
    let title = escaped(&sheet.content.content_id);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"Retention of {title}\">\n<style>{STYLE}</style>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"26\">{title}</text>\n\
         <text x=\"{LEFT}\" y=\"46\">viewers of each second (area) and how often it was watched (line); {} viewer{}</text>\n",
        sheet.content.viewers,
        if sheet.content.viewers == 1 { "" } else { "s" }
    );
    for count in marks(most) {
        let height = y(count as f64);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{height:.1}\" y2=\"{height:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{count}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            height + 5.0,
        );
    }
    for second in marks(i64::try_from(seconds).unwrap_or(i64::MAX)) {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x(second as f64),
            HEIGHT - BOTTOM + 22.0,
            clock(second),
        );
    }
    let step = sheet.retention.len().div_ceil(MOST_POINTS).max(1);
    let (mut viewers, mut times) = (String::new(), String::new());
    for stretch in sheet.retention.chunks(step) {
        let Some(first) = stretch.first() else { continue };
        let (from, to) = (x(first.second.into()), x(f64::from(first.second) + stretch.len() as f64));
        let viewed = y(stretch.iter().map(|one| one.viewers).max().unwrap_or(0) as f64);
        let often = y(stretch.iter().map(|one| one.times).max().unwrap_or(0) as f64);
        let _ = write!(viewers, "L{from:.1} {viewed:.1}L{to:.1} {viewed:.1}");
        let _ = write!(
            times,
            "{}{from:.1} {often:.1}L{to:.1} {often:.1}",
            if times.is_empty() { 'M' } else { 'L' }
        );
    }
    let (base, end) = (y(0.0), x(seconds as f64));
    let _ = writeln!(svg, "<path class=\"viewers\" d=\"M{LEFT} {base:.1}{viewers}L{end:.1} {base:.1}Z\"/>");
    let _ = writeln!(svg, "<path class=\"times\" d=\"{}\"/>", if times.is_empty() { "M0 0" } else { &times });
    svg + "</svg>\n"
}

/// Where an axis up to here has its marks: whole numbers, each once, from 0 to the last.
fn marks(last: i64) -> Vec<i64> {
    let mut marks: Vec<i64> = (0..MARKS).map(|mark| last.saturating_mul(mark) / (MARKS - 1)).collect();
    marks.dedup();
    marks
}

/// Text for XML, which has no control characters.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_each_whole_number_once() {
        assert_eq!(marks(100), [0, 25, 50, 75, 100]);
        assert_eq!((marks(1), marks(2), marks(6)), (vec![0, 1], vec![0, 1, 2], vec![0, 1, 3, 4, 6]));
    }

    #[test]
    fn what_comes_from_events_is_text_and_nothing_else() {
        assert_eq!(escaped("<b>\"&\u{1b}[31m"), "&lt;b&gt;&quot;&amp;\u{fffd}[31m");
    }
}

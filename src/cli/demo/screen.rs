//! The demo's live view.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Cell, Chart, Dataset, GraphType, Paragraph, Row, Table};

use super::lines::{bytes, count, duration};
use super::picture::Picture;

/// Whether colours are wanted: <https://no-color.org>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    Some,
    None,
}

impl Colours {
    pub(super) fn of_environment() -> Self {
        match std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            true => Self::None,
            false => Self::Some,
        }
    }

    fn of(self, colour: Color) -> Style {
        match self {
            Self::Some => Style::new().fg(colour),
            Self::None => Style::new(),
        }
    }
}

/// Heights of a sparkline's column.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const NAME_WIDTH: u16 = 15;
const NUMBER_WIDTH: u16 = 9;
/// Below this there is no room for a sparkline.
const LEAST_SPARKLINE: u16 = 6;
/// A curve below this height says nothing.
const LEAST_CURVE: u16 = 6;

/// Columns of numbers that a narrow table goes without, from the first on.
const FIRST_TO_GO: [&str; 3] = ["again", "rejected", "held"];
/// Two for the frame, and the two columns that no table goes without, with a space between them.
const LEAST_TABLE: u16 = 2 + NAME_WIDTH + 1 + NUMBER_WIDTH + 1;

/// Draws all of it. Where there is little room the curve goes first, then the sparklines, then columns and keys; in the end
/// it is said that there is none.
pub(super) fn draw(frame: &mut Frame<'_>, picture: &Picture, colours: Colours) {
    let schools = u16::try_from(picture.names.len()).unwrap_or(u16::MAX);
    let area = frame.area();
    // The title, the table, the keys.
    if area.width < LEAST_TABLE || area.height < schools.saturating_add(5) {
        let [said, keys] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(area);
        frame.render_widget(Paragraph::new("too small"), said);
        frame.render_widget(self::keys(picture, keys.width, colours), keys);
        return;
    }
    let [title, table, facts, curve, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(schools.saturating_add(3)),
        Constraint::Max(2),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(self::title(picture, title.width), title);
    frame.render_widget(self::table(picture, table, colours), table);
    frame.render_widget(self::facts(picture, colours), facts);
    if curve.height >= LEAST_CURVE {
        draw_curve(frame, picture, curve, colours);
    }
    frame.render_widget(self::keys(picture, keys.width, colours), keys);
}

fn title(picture: &Picture, width: u16) -> Paragraph<'static> {
    let seconds = picture.elapsed.as_secs();
    let clock = format!("{:02}:{:02}", seconds / 60, seconds % 60);
    let way = match picture.log {
        "kafka" => "HTTP → intake → Kafka → loader → PostgreSQL",
        _ => "HTTP → intake → log → loader → PostgreSQL",
    };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![Span::styled(" Rollbook ", bold), Span::raw(clock)];
    if width >= 70 {
        spans.push(Span::raw(format!("   {way}")));
    }
    if let Some(first) = picture.first_row.filter(|_| width >= 100) {
        spans.push(Span::raw(format!("   first row after {}", duration(first.as_secs_f64()))));
    }
    Paragraph::new(Line::from(spans))
}

fn table(picture: &Picture, area: Rect, colours: Colours) -> Table<'static> {
    // A number that is cut off would be another one.
    let room = usize::from(area.width.saturating_sub(LEAST_TABLE) / (1 + NUMBER_WIDTH));
    let gone = FIRST_TO_GO.iter().take((1 + FIRST_TO_GO.len()).saturating_sub(room)).collect::<Vec<_>>();
    let mut headings = vec!["accepted/s", "stored", "again", "rejected", "held"];
    headings.retain(|heading| !gone.contains(&heading));
    let further = u16::try_from(headings.len() - 1).unwrap_or(u16::MAX);
    let fixed = LEAST_TABLE + (1 + NUMBER_WIDTH) * further;
    // With the space before it.
    let sparkline = Some(area.width.saturating_sub(fixed + 1)).filter(|width| *width >= LEAST_SPARKLINE);
    let right = |text: String| Cell::from(Line::from(text).alignment(Alignment::Right));
    let mut header = vec![Cell::from("school")];
    header.extend(headings.iter().map(|text| right((*text).to_owned())));
    if sparkline.is_some() {
        header.insert(2, Cell::from("trend"));
    }
    let rows = picture.names.iter().enumerate().map(|(at, name)| {
        let school = picture.seen.schools.get(at).copied().unwrap_or_default();
        let mark = if at == picture.selected { '▸' } else { ' ' };
        let mut cells = vec![Cell::from(format!("{mark}{name}"))];
        let number = |heading: &&str| match *heading {
            "accepted/s" => picture.rate(at),
            "stored" => school.stored,
            "again" => school.duplicate,
            "rejected" => school.rejected,
            _ => school.held,
        };
        cells.extend(headings.iter().map(|heading| right(count(number(heading)))));
        if let Some(width) = sparkline {
            let drawn = self::sparkline(picture, at, usize::from(width));
            cells.insert(2, Cell::from(drawn).style(colours.of(Color::Cyan)));
        }
        let style = match (picture.is_broken.get(at).copied().unwrap_or(false), school.held > 0) {
            (true, _) => colours.of(Color::Red).add_modifier(Modifier::BOLD),
            (false, true) => colours.of(Color::Yellow),
            (false, false) => Style::new(),
        };
        Row::new(cells).style(style)
    });
    let mut widths = vec![Constraint::Length(NAME_WIDTH), Constraint::Length(NUMBER_WIDTH + 1)];
    widths.extend(sparkline.map(Constraint::Length));
    widths.extend(headings.iter().skip(1).map(|_| Constraint::Length(NUMBER_WIDTH)));
    let header = Row::new(header).style(Style::new().add_modifier(Modifier::DIM));
    Table::new(rows, widths).header(header).block(Block::bordered()).column_spacing(1)
}

/// The newest second on the right, as high as the school's own highest.
fn sparkline(picture: &Picture, school: usize, width: usize) -> String {
    let Some(rates) = picture.rates.get(school) else { return String::new() };
    let shown: Vec<u64> = rates.iter().rev().take(width).rev().copied().collect();
    let highest = shown.iter().copied().max().unwrap_or(0).max(1);
    shown
        .iter()
        .map(|rate| if *rate == 0 { ' ' } else { BARS[usize::try_from(rate * 7 / highest).unwrap_or(7)] })
        .collect()
}

fn facts(picture: &Picture, colours: Colours) -> Paragraph<'static> {
    let mut first = Vec::new();
    if let (Some(half), Some(most)) = (picture.freshness(0.5), picture.freshness(0.99)) {
        let fresh = format!(" visible after {} (half), {} (99 %)", duration(half), duration(most));
        first.push(Span::styled(fresh, colours.of(Color::Green)));
    } else {
        first.push(Span::raw(" nothing became visible in the last seconds"));
    }
    if let Some(taken) = picture.seen.log_bytes {
        first.push(Span::raw(format!("   log {} of {}", bytes(taken), bytes(picture.log_limit))));
    }
    let rejected: Vec<String> = picture
        .seen
        .rejections
        .iter()
        .filter(|(_, refused)| **refused > 0)
        .map(|(code, refused)| format!("{code} {}", count(*refused)))
        .collect();
    let second = match (picture.is_broken.iter().position(|broken| *broken), rejected.is_empty()) {
        (Some(at), _) => Line::styled(
            format!(" the schema of {} is broken: its records are held, the others go on", picture.names[at]),
            colours.of(Color::Red),
        ),
        (None, false) => Line::raw(format!(" rejected out loud: {}", rejected.join(", "))),
        (None, true) => Line::raw(""),
    };
    Paragraph::new(vec![Line::from(first), second])
}

fn draw_curve(frame: &mut Frame<'_>, picture: &Picture, area: Rect, colours: Colours) {
    #[expect(clippy::cast_precision_loss, reason = "viewers of a demo")]
    let points: Vec<(f64, f64)> = picture
        .seen
        .curve
        .iter()
        .enumerate()
        .map(|(second, viewers)| (second as f64, *viewers as f64))
        .collect();
    let school = picture.names.first().map_or("", String::as_str);
    let title = format!(" viewers of each second of “{}” at {school} ", picture.lesson);
    let highest = picture.seen.curve.iter().copied().max().unwrap_or(0);
    let last = picture.seen.curve.len().saturating_sub(1).max(1);
    let data = Dataset::default()
        .marker(Marker::Braille)
        .graph_type(GraphType::Line)
        .data(&points)
        .style(colours.of(Color::Magenta));
    let clock = |second: usize| format!("{}:{:02}", second / 60, second % 60);
    #[expect(clippy::cast_precision_loss, reason = "viewers of a demo")]
    let (width, height) = (last as f64, highest.max(1) as f64);
    let x = Axis::default().bounds([0.0, width]).labels([clock(0), clock(last / 2), clock(last)]);
    let y = Axis::default().bounds([0.0, height * 1.05]).labels(["0".to_owned(), count(highest)]);
    let chart = Chart::new(vec![data])
        .block(Block::bordered().title(title))
        .x_axis(x)
        .y_axis(y)
        .legend_position(None);
    frame.render_widget(chart, area);
}

/// Where there is no room for all of them the last ones go first, and the way out never.
fn keys(picture: &Picture, width: u16, colours: Colours) -> Paragraph<'static> {
    let name = picture.names.get(picture.selected).map_or("", String::as_str);
    let is_broken = picture.is_broken.get(picture.selected).copied().unwrap_or(false);
    let pause = if picture.is_paused { "go on" } else { "pause" };
    let mend = if is_broken { ("h", format!("heal {name}")) } else { ("b", format!("break {name}")) };
    let flood = if picture.is_flooding { "flooding…" } else { "flood" };
    let mut all = vec![
        ("p", pause.to_owned()),
        mend,
        ("f", flood.to_owned()),
        ("↑↓", "school".to_owned()),
        ("q", "quit and audit".to_owned()),
    ];
    // Each with the three spaces around it, the last one without the one behind it.
    let wide = |all: &[(&str, String)]| {
        all.iter().map(|(key, does)| Line::raw(format!(" {key} {does} ")).width()).sum::<usize>() - 1
    };
    while all.len() > 1 && wide(&all) > usize::from(width) {
        all.remove(all.len() - 2);
    }
    if wide(&all) > usize::from(width) {
        all = vec![("q", "quit".to_owned())];
    }
    let spans = all.into_iter().flat_map(|(key, does)| {
        [
            Span::styled(format!(" {key} "), colours.of(Color::Yellow).add_modifier(Modifier::BOLD)),
            Span::raw(format!("{does} ")),
        ]
    });
    Paragraph::new(Line::from(spans.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests;

//! The table of `didtail stats`, made for terminals of 80 columns.

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

use crate::ledger::{Counters, percent, share};
use crate::store::DidSummary;

/// Characters of a full bar, 100 %; less where the terminal is too narrow.
const BAR_WIDTH: u16 = 10;

/// One row.
pub(super) struct Line {
    of: String,
    dials: i64,
    calls: i64,
    answered: Option<f64>,
    success: Option<f64>,
    blocked: Option<f64>,
    talk_seconds: Option<f64>,
    last_call_at: Option<i64>,
}

impl From<&DidSummary> for Line {
    fn from(row: &DidSummary) -> Self {
        Self {
            of: row.phone_number.clone(),
            dials: row.dials,
            calls: row.total_calls,
            answered: row.answer_rate,
            success: row.success_rate,
            blocked: row.block_rate,
            talk_seconds: row.average_talk_seconds,
            last_call_at: row.last_call_at,
        }
    }
}

impl Line {
    pub(super) fn of(of: &str, counters: &Counters) -> Self {
        let percent = |part| percent(part, counters.total_calls);
        Self {
            of: if of.is_empty() { "(none)" } else { of }.to_owned(),
            dials: counters.dials,
            calls: counters.total_calls,
            answered: percent(counters.answered),
            success: percent(counters.successful_calls),
            blocked: percent(counters.blocked),
            talk_seconds: share(counters.talk_seconds, counters.answered),
            last_call_at: None,
        }
    }

    fn cells(&self, now: i64, bar_width: u16) -> Vec<String> {
        let percent =
            |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}%"));
        let bar = |rate: f64| bar(rate, bar_width);
        let mut cells = vec![
            self.of.clone(),
            self.dials.to_string(),
            self.calls.to_string(),
            percent(self.answered),
            self.answered.map(bar).unwrap_or_default(),
            percent(self.success),
            percent(self.blocked),
            self.talk_seconds.map_or_else(|| "-".to_owned(), minutes),
        ];
        cells.extend(self.last_call_at.map(|at| ago(now - at)));
        cells
    }
}

/// The lines as a table at the time `now`. In a narrow terminal the gaps give
/// way, then the bar.
pub(super) fn render(first: &str, lines: &[Line], now: i64, width: Option<u16>) -> String {
    let excess = |text: &str| {
        let longest = text.lines().map(|line| line.chars().count()).max();
        let width = width.map_or(usize::MAX, usize::from);
        longest.unwrap_or(0).saturating_sub(width)
    };
    let wide = draw(first, lines, now, 1, BAR_WIDTH);
    if excess(&wide) == 0 {
        return wide;
    }
    let narrow = draw(first, lines, now, 0, BAR_WIDTH);
    match u16::try_from(excess(&narrow)).unwrap_or(BAR_WIDTH) {
        0 => narrow,
        excess => draw(first, lines, now, 0, BAR_WIDTH.saturating_sub(excess)),
    }
}

fn draw(first: &str, lines: &[Line], now: i64, padding: u16, bar_width: u16) -> String {
    const STYLE: TableStyle =
        TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
    const NUMBERS: [usize; 6] = [1, 2, 3, 5, 6, 7];
    let mut header = vec![
        first.to_owned(),
        "dials".to_owned(),
        "calls".to_owned(),
        "answered".to_owned(),
        // As wide as a full bar, so that the table does not move while watched.
        "\u{a0}".repeat(usize::from(bar_width)),
        "success".to_owned(),
        "blocked".to_owned(),
        "avg talk".to_owned(),
    ];
    if lines.iter().any(|line| line.last_call_at.is_some()) {
        header.push("last call".to_owned());
    }
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_header(header)
        .add_rows(lines.iter().map(|line| line.cells(now, bar_width)));
    for column in table.column_iter_mut() {
        column.set_padding((0, padding));
    }
    for column in NUMBERS {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{}\n", table.trim_fmt())
}

/// A bar of eighths of a character.
fn bar(percent: f64, width: u16) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let full = f64::from(8 * width);
    let eighths = (percent.clamp(0.0, 100.0) / 100.0 * full).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// One character a value, as high as the value is beside the largest one.
pub(super) fn sparkline(values: &[i64]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let largest = values.iter().copied().max().unwrap_or(0).max(1);
    let height = |value: &i64| {
        // Of none a blank, so that it is told from few.
        let eighths = (8 * (*value).max(0) + largest - 1) / largest;
        let height = usize::try_from(eighths).unwrap_or(0).checked_sub(1);
        height.map_or(' ', |height| HEIGHTS[height.min(7)])
    };
    values.iter().map(height).collect()
}

/// `M:SS`.
fn minutes(seconds: f64) -> String {
    let seconds = seconds.round() as i64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// How long ago, in the largest whole unit; by another clock it may be to come.
pub(in crate::cli) fn ago(seconds: i64) -> String {
    let span = match seconds.saturating_abs() {
        span @ ..60 => format!("{span} s"),
        span @ 60..3_600 => format!("{} m", span / 60),
        span @ 3_600..86_400 => format!("{} h", span / 3_600),
        span => format!("{} d", span / 86_400),
    };
    if seconds < 0 {
        format!("in {span}")
    } else {
        format!("{span} ago")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn line(did: &str, calls: i64) -> Line {
        Line::from(&DidSummary {
            phone_number: did.to_owned(),
            dials: calls + 1,
            total_calls: calls,
            success_rate: (calls > 0).then_some(12.5),
            answer_rate: (calls > 0).then_some(50.0),
            block_rate: (calls > 0).then_some(0.0),
            average_talk_seconds: (calls > 0).then_some(83.4),
            last_call_at: (calls > 0).then_some(NOW - 90),
            ..DidSummary::default()
        })
    }

    #[test]
    fn no_calls_have_no_rates() {
        let lines = [line("+12025550101", 8), line("+12025550100", 0)];
        let text = render("DID", &lines, NOW, None);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0][..3], ["DID", "dials", "calls"]);
        let expected = "+12025550101 9 8 50.0% █████ 12.5% 0.0% 1:23 1 m ago";
        assert_eq!(lines[2].join(" "), expected);
        assert_eq!(lines[3], ["+12025550100", "1", "0", "-", "-", "-", "-"]);
    }

    #[test]
    fn it_fits_a_terminal_of_80_columns() {
        let lines = [line("+12025550101", 123_456), line("+442079460000", 9)];
        let text = render("DID", &lines, NOW, Some(80));
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest.expect("lines") <= 80, "{text}");
    }

    #[test]
    fn bars_are_as_long_as_their_percentage() {
        let bars = [0.0, 1.3, 50.0, 56.25, 100.0, 300.0].map(|rate| bar(rate, 10));
        assert_eq!(
            bars,
            ["", "▏", "█████", "█████▋", "██████████", "██████████"]
        );
    }

    #[test]
    fn a_sparkline_tells_none_from_few() {
        assert_eq!(sparkline(&[0, 1, 500, 1000]), " ▁▄█");
        assert_eq!(sparkline(&[0, 0]), "  ");
        assert_eq!(sparkline(&[]), "");
    }

    #[test]
    fn times_ago_are_told_in_whole_units() {
        for (seconds, text) in [
            (-3, "in 3 s"),
            (-90_000, "in 1 d"),
            (0, "0 s ago"),
            (59, "59 s ago"),
            (60, "1 m ago"),
            (7_199, "1 h ago"),
            (200_000, "2 d ago"),
        ] {
            assert_eq!(ago(seconds), text);
        }
    }
}

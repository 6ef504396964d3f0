//! The table of `didtail stats`.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use crate::cli::time;
use crate::ledger::Counters;
use crate::store::DidSummary;

/// Characters of a full bar, 100 %.
const BAR_WIDTH: usize = 10;

/// The table of the DIDs, `width` characters wide, or as wide as the terminal.
#[must_use]
pub fn render(rows: &[DidSummary], width: Option<u16>) -> String {
    let mut rows: Vec<&DidSummary> = rows.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.total_calls));
    let lines = rows.into_iter().map(Line::from);
    table("DID", lines.collect(), width)
}

/// The table of numbers split by what `first` says.
pub(super) fn render_split(first: &str, rows: &[(String, Counters)], width: Option<u16>) -> String {
    let lines = rows.iter().map(|(of, counters)| Line::of(of, counters));
    table(first, lines.collect(), width)
}

/// One row of the table.
struct Line {
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
    fn of(of: &str, counters: &Counters) -> Self {
        let share = |part: i64, whole: i64| (whole != 0).then(|| part as f64 / whole as f64);
        let percent = |part| share(part, counters.total_calls).map(|share| 100.0 * share);
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

    fn cells(&self) -> Vec<String> {
        let percent =
            |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
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
        cells.extend(self.last_call_at.map(time::format));
        cells
    }
}

fn table(first: &str, lines: Vec<Line>, width: Option<u16>) -> String {
    const STYLE: TableStyle =
        TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
    const NUMBERS: [usize; 6] = [1, 2, 3, 5, 6, 7];
    let mut header = vec![
        first,
        "dials",
        "calls",
        "answered %",
        "",
        "success %",
        "blocked %",
        "avg talk",
    ];
    if lines.iter().any(|line| line.last_call_at.is_some()) {
        header.push("last call");
    }
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header)
        .add_rows(lines.iter().map(Line::cells));
    if let Some(width) = width {
        table.set_width(width);
    }
    for column in NUMBERS {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{}\n", table.trim_fmt())
}

/// A bar of eighths of a character.
fn bar(percent: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (percent.clamp(0.0, 100.0) / 100.0 * (8 * BAR_WIDTH) as f64).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// `M:SS`.
fn minutes(seconds: f64) -> String {
    let seconds = seconds.round() as i64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(did: &str, calls: i64) -> DidSummary {
        DidSummary {
            phone_number: did.to_owned(),
            dials: calls + 1,
            total_calls: calls,
            success_rate: (calls > 0).then_some(12.5),
            answer_rate: (calls > 0).then_some(50.0),
            block_rate: (calls > 0).then_some(0.0),
            average_talk_seconds: (calls > 0).then_some(83.4),
            last_call_at: (calls > 0).then_some(1_700_000_000),
            ..DidSummary::default()
        }
    }

    #[test]
    fn the_busiest_did_comes_first_and_no_calls_have_no_rates() {
        let text = render(&[row("+12025550100", 0), row("+12025550101", 8)], Some(120));
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0][..3], ["DID", "dials", "calls"]);
        assert_eq!(
            lines[2],
            [
                "+12025550101",
                "9",
                "8",
                "50.0",
                "█████",
                "12.5",
                "0.0",
                "1:23",
                "2023-11-14T22:13:20Z"
            ]
        );
        assert_eq!(lines[3], ["+12025550100", "1", "0", "-", "-", "-", "-"]);
    }

    #[test]
    fn bars_are_as_long_as_their_percentage() {
        let bars = [0.0, 1.3, 50.0, 56.25, 100.0, 300.0].map(bar);
        assert_eq!(
            bars,
            ["", "▏", "█████", "█████▋", "██████████", "██████████"]
        );
    }
}

//! Results on stdout: text, one JSON document, or a table.

use std::io::{ErrorKind, IsTerminal, Write};

use super::screen;
use crate::source::Finding;
use comfy_table::{ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle, Width};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Prints text. A reader that has seen enough (`| head`) is no error.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Whether what is printed may still be read: false once the other end of a pipe is
/// closed, also while there is nothing to print.
pub(super) fn is_read() -> bool {
    const AT_ONCE: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let out = std::io::stdout();
    // Errors and hang-ups are told without being asked for.
    let mut asked = [PollFd::new(&out, PollFlags::empty())];
    match poll(&mut asked, Some(&AT_ONCE)) {
        Ok(_) => {
            let [answer] = &asked;
            !answer.revents().intersects(PollFlags::ERR | PollFlags::HUP)
        }
        // What cannot be asked is written to, and says so then.
        Err(_) => true,
    }
}

/// Prints one JSON document.
pub(super) fn print_json(document: &serde_json::Value) -> std::io::Result<()> {
    print(&format!("{document:#}\n"))
}

/// Whether stdout takes colours: on a terminal, unless NO_COLOR says otherwise.
pub(super) fn has_colours() -> bool {
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !is_refused
}

/// A line under the header and none elsewhere.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Characters beside the text of a cell.
const PADDING: usize = 2;

/// A table with a header, as wide as the terminal allows.
pub(super) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut table = Table::new();
    // Without a width it would ask the terminal itself, and believe what it says.
    if let Some(width) = screen::width() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
    }
    table
        .load_style(STYLE)
        .set_header(header)
        .add_rows(rows.iter().map(|row| row.as_slice()));
    // Times, numbers and places are to be copied: none is broken, however narrow it is.
    for (index, column) in table.column_iter_mut().enumerate() {
        let cells = rows.iter().filter_map(|row| row.get(index));
        let cells = cells.map(String::as_str).chain(header.get(index).copied());
        let words = cells.flat_map(str::split_whitespace);
        let longest = words.map(|word| word.chars().count()).max().unwrap_or(0);
        let padded = u16::try_from(longest + PADDING).unwrap_or(u16::MAX);
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(padded)));
    }
    format!("{}\n", table.trim_fmt())
}

/// What is not read, with what lets it be: a line each.
pub(super) fn unread(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let fix = finding.fix.as_ref();
        let fix = fix.map_or(String::new(), |fix| format!(": {fix}"));
        format!("not read: {}: {}{fix}\n", finding.check, finding.actual)
    };
    findings.iter().map(line).collect()
}

/// Lines of `name  value`, the values below each other.
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs
        .iter()
        .map(|(name, value)| format!("{name:width$}  {value}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Outcome;

    #[test]
    fn what_is_not_read_is_told_with_what_lets_it_be() {
        let actual = "not readable by this user: something is lost";
        let found = Finding::of("vicidial_carrier_log", Outcome::Note, "readable", actual);
        let mendable = Finding {
            fix: Some("GRANT SELECT".to_owned()),
            ..found.clone()
        };
        assert_eq!(
            unread(&[found, mendable]),
            format!(
                "not read: vicidial_carrier_log: {actual}\n\
                 not read: vicidial_carrier_log: {actual}: GRANT SELECT\n"
            )
        );
    }
}

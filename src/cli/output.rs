//! Results on stdout: text, one JSON document, or a table.

use std::io::{ErrorKind, IsTerminal, Write};

use super::screen;
use crate::source::{Finding, Outcome};
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

/// What is not read, with what lets it be: a line for each table, and one for all
/// of VICIdial's archives that are in the same way.
pub(super) fn unread(findings: &[Finding]) -> String {
    let (archives, tables): (Vec<&Finding>, Vec<&Finding>) = findings
        .iter()
        .partition(|one| one.outcome == Outcome::Note && one.check.ends_with("_archive"));
    let fixes = |of: &[&Finding]| {
        let fixes: Vec<&str> = of.iter().filter_map(|one| one.fix.as_deref()).collect();
        // What is said behind each of the statements is the same.
        let parts = fixes
            .iter()
            .map(|fix| fix.split_once(" (").unwrap_or((fix, "")));
        let (statements, remarks): (Vec<&str>, Vec<&str>) = parts.unzip();
        match remarks.first() {
            None => String::new(),
            Some(&"") => format!(": {}", statements.join(" ")),
            Some(remark) => format!(": {} ({remark}", statements.join(" ")),
        }
    };
    let line = |finding: &&Finding| {
        let fix = fixes(&[*finding]);
        format!("not read: {} is {}{fix}\n", finding.check, finding.actual)
    };
    let mut text: String = tables.iter().map(line).collect();
    match archives.as_slice() {
        [] => {}
        [only] => text.push_str(&line(only)),
        [first, ..] => {
            let names: Vec<&str> = archives.iter().map(|one| one.check).collect();
            let (state, _) = first.actual.split_once(':').unwrap_or((&first.actual, ""));
            text.push_str(&format!(
                "not read: {} are {state}: what VICIdial has archived there is not seen{}\n",
                names.join(", "),
                fixes(&archives)
            ));
        }
    }
    text
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

    fn denied(table: &'static str) -> Finding {
        let actual = "not readable by this user, or missing: something is lost";
        Finding {
            fix: Some(format!("GRANT SELECT ON {table}; (an error says so)")),
            ..Finding::of(table, Outcome::Note, "readable", actual)
        }
    }

    #[test]
    fn several_archives_that_are_not_read_are_one_line() {
        let one = unread(&[denied("vicidial_log_archive")]);
        assert_eq!(
            one,
            "not read: vicidial_log_archive is not readable by this user, or missing: something \
             is lost: GRANT SELECT ON vicidial_log_archive; (an error says so)\n"
        );
        let all = ["vicidial_carrier_log", "vicidial_log_archive", "x_archive"].map(denied);
        let text = unread(&all);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("not read: vicidial_carrier_log is not"),
            "{text}"
        );
        assert_eq!(
            lines[1..],
            [
                "not read: vicidial_log_archive, x_archive are not readable by this user, or \
              missing: what VICIdial has archived there is not seen: GRANT SELECT ON \
              vicidial_log_archive; GRANT SELECT ON x_archive; (an error says so)"
            ]
        );
    }
}

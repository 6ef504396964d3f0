//! Results on stdout: text, one JSON document, or a table.

use std::io::{ErrorKind, Write};

use crate::source::Finding;
use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};

/// Prints text. A reader that has seen enough (`| head`) is no error.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Prints one JSON document.
pub(super) fn print_json(document: &serde_json::Value) -> std::io::Result<()> {
    print(&format!("{document:#}\n"))
}

/// A line under the header and none elsewhere.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A table with a header, as wide as the terminal allows.
pub(super) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header)
        .add_rows(rows.iter().map(|row| row.as_slice()));
    format!("{}\n", table.trim_fmt())
}

/// A line for each table that is not read, with what lets it be.
pub(super) fn unread(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let fix = finding.fix.as_ref();
        let fix = fix.map_or(String::new(), |fix| format!(": {fix}"));
        format!("not read: {} is {}{fix}\n", finding.check, finding.actual)
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

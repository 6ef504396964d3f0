//! Are VICIdial's tables there, and may they be read?

use super::access::{Access, access};
use super::grants::grant_select;
use super::{Finding, Outcome};
use crate::source::{MySqlSource, Source};
use crate::vicidial::Table;

/// What brings columns that are missing.
const UPGRADE: &str = "upgrade VICIdial's database";

/// The other reason why the calls themselves cannot be read.
fn elsewhere(table: Table) -> &'static str {
    if table == Table::Log {
        " or the database in the url is not VICIdial's (usually `asterisk`)"
    } else {
        ""
    }
}

/// Is a table there, readable, and with the columns that are needed? Where
/// changes come without whole rows, one that cannot be read is one whose
/// changes are all lost.
pub(super) async fn table(source: &MySqlSource, table: Table, reads_again: bool) -> Vec<Finding> {
    let expected = format!("readable, with {}", table.needed().join(", "));
    let serious = match table.without() {
        None => Outcome::Bad,
        Some(_) => Outcome::Note,
    };
    let lost = |what: &str| match table.without() {
        None => what.to_owned(),
        Some(lost) => format!("{what}: {lost}"),
    };
    let finding = |outcome, actual: &str| Finding::new(table.name(), outcome, &expected, actual);
    match access(source, table.name()).await {
        Access::Readable => {}
        Access::Absent => {
            let missing = finding(serious, &lost("missing"));
            return vec![missing.fix(
                "check that the URL's database is VICIdial's (usually `asterisk`), and that VICIdial is up to date",
            )];
        }
        Access::Denied => {
            if reads_again {
                let actual = "not readable by this user, or missing, and this binlog needs it to be read: \
                     its changes come without whole rows";
                let fix = grant_select(source, None).await + elsewhere(table);
                return vec![finding(Outcome::Bad, actual).fix(fix)];
            }
            let fix = grant_select(source, Some(table.name())).await + elsewhere(table);
            return vec![finding(serious, &lost("not readable by this user, or missing")).fix(fix)];
        }
        Access::Unknown(error) => {
            return vec![Finding::unknown(table.name(), &expected, &error)];
        }
    }
    let columns = match source.columns(table.name()).await {
        Ok(columns) => columns,
        Err(error) => return vec![Finding::unknown(table.name(), &expected, &error)],
    };
    let absent: Vec<&str> = table
        .needed()
        .iter()
        .filter(|needed| !columns.iter().any(|column| column.name == **needed))
        .copied()
        .collect();
    if !absent.is_empty() {
        let actual = format!("without {}", absent.join(", "));
        return vec![finding(serious, &lost(&actual)).fix(UPGRADE)];
    }
    let newer = table.since().iter();
    let lost: Vec<String> = newer
        .filter(|(newer, _)| !columns.iter().any(|column| column.name == *newer))
        .map(|(newer, lost)| format!("without {newer}: {lost}"))
        .collect();
    vec![if lost.is_empty() {
        finding(Outcome::Good, "readable")
    } else {
        finding(Outcome::Note, &lost.join("; ")).fix(UPGRADE)
    }]
}

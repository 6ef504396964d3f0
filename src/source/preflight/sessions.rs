//! Do sessions still write statements, although the server's default is ROW?
//!
//! `SET GLOBAL` changes nothing for sessions that are open, and VICIdial's
//! daemons keep theirs for days. No server shows another session's
//! `binlog_format` to a plain user, so their traces are looked for: statements
//! that change watched tables, in the newest binlog.

use std::time::Duration;

use tokio::time::Instant;

use super::settings::{RESTART, variables};
use super::{Finding, Outcome};
use crate::binlog::{GtidPosition, Position, Reader, Statement, Step, Watch};
use crate::source::wire::Flavour;
use crate::source::{EventStream, MySqlSource, Source, SourceError};
use crate::vicidial::{Table, written};

/// How long the binlog is read for this: some hundred megabytes.
const LOOK_TIME: Duration = Duration::from_secs(8);

const CHECK: &str = "sessions";

const EXPECTED: &str = "every session writes rows";

/// Who has which format, where MySQL's performance schema may be read.
const MYSQL_SESSIONS: &str = "SELECT t.PROCESSLIST_USER, t.PROCESSLIST_HOST, COUNT(*) \
    FROM performance_schema.variables_by_thread v JOIN performance_schema.threads t \
    USING (THREAD_ID) WHERE v.VARIABLE_NAME = 'binlog_format' AND v.VARIABLE_VALUE <> 'ROW' \
    AND t.PROCESSLIST_ID IS NOT NULL GROUP BY 1, 2;";

/// What a look through the binlog found.
#[derive(Debug, Default)]
struct Seen {
    /// Row events of watched tables.
    rows: u64,
    /// Statements that change watched tables.
    statements: u64,
    /// Where the newest of these is.
    newest: Option<(Position, u32)>,
    /// Whether the end was reached.
    is_whole: bool,
}

/// Looks for statements where there should be rows.
pub(super) async fn sessions(source: &MySqlSource) -> Vec<Finding> {
    let global = match variables(source, "'binlog_format'").await {
        Ok(found) => found.get("binlog_format").cloned(),
        Err(error) => return vec![Finding::unknown(CHECK, EXPECTED, &error)],
    };
    if global.is_some_and(|format| !format.eq_ignore_ascii_case("ROW")) {
        // Then all do, and the format's own finding says so.
        return Vec::new();
    }
    let begin = match source.head().await {
        Ok(head) => Position::start_of(head.file),
        Err(error) => return vec![Finding::unknown(CHECK, EXPECTED, &error)],
    };
    match look(source, &begin).await {
        Ok(seen) => vec![judge(source.server().flavour, &seen, &begin)],
        Err(error) => vec![Finding::unknown(CHECK, EXPECTED, &error)],
    }
}

async fn look(source: &MySqlSource, begin: &Position) -> Result<Seen, SourceError> {
    let head = source.head().await?;
    let mut stream = source.look(begin).await?;
    let watch = Watch::new(source.database(), &Table::NAMES);
    let mut reader = Reader::new(watch, begin.clone(), GtidPosition::default());
    let mut seen = Seen::default();
    let deadline = Instant::now() + LOOK_TIME;
    while Instant::now() < deadline {
        if !reader.in_group() && *reader.position() >= head {
            seen.is_whole = true;
            break;
        }
        let event = stream.next().await?;
        match reader.event(event) {
            Ok(Step::Rows(_)) => seen.rows += 1,
            Ok(Step::Statement(statement)) if changes(&statement) => {
                seen.statements += 1;
                seen.newest = Some((reader.place_of(statement.offset), statement.timestamp));
            }
            // What cannot be read has a place all the same.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(seen)
}

/// Whether a statement changes a watched table, and not only reads one.
fn changes(statement: &Statement) -> bool {
    let named = statement.watched.iter();
    let named: Vec<Table> = named.filter_map(|rank| Table::of_rank(*rank)).collect();
    let time = i64::from(statement.timestamp);
    !written(&statement.text, &named, |_| Vec::new(), time).is_empty()
}

fn judge(flavour: Flavour, seen: &Seen, begin: &Position) -> Finding {
    let finding = |outcome, actual: &str| Finding::new(CHECK, outcome, EXPECTED, actual);
    let where_to = if seen.is_whole {
        ""
    } else {
        "the first part of "
    };
    let file = format!("{where_to}{}", begin.file);
    let Some((newest, time)) = &seen.newest else {
        return if seen.rows == 0 {
            finding(
                Outcome::Unknown,
                &format!("nothing was written to VICIdial's call tables in {file}"),
            )
        } else {
            finding(
                Outcome::Good,
                &format!("{} row events and no statement in {file}", seen.rows),
            )
        };
    };
    let actual = format!(
        "{} statements beside {} row events in {file}, the newest at {newest} ({}): didtail reads \
         the rows that they name again",
        seen.statements,
        seen.rows,
        crate::source::locate::time_text(i64::from(*time))
    );
    let list = match flavour {
        Flavour::MySql => format!("; who it is, as an administrator: {MYSQL_SESSIONS}"),
        Flavour::MariaDb => "; who it is, as an administrator: SHOW FULL PROCESSLIST; the Host \
             of what is connected for longer than ROW is set"
            .to_owned(),
    };
    finding(Outcome::Note, &actual).fix(format!("ROW is set: {RESTART}{list}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_of_statements_are_told() {
        let begin: Position = "b.000007:4".parse().expect("valid");
        let judged = |flavour, seen: &Seen| judge(flavour, seen, &begin);
        let mut seen = Seen::default();
        assert_eq!(judged(Flavour::MariaDb, &seen).outcome, Outcome::Unknown);
        seen.rows = 100;
        seen.is_whole = true;
        let good = judged(Flavour::MariaDb, &seen);
        assert_eq!(good.outcome, Outcome::Good);
        assert_eq!(good.actual, "100 row events and no statement in b.000007");
        seen.statements = 3;
        seen.newest = Some(("b.000007:900".parse().expect("valid"), 1_700_000_000));
        let note = judged(Flavour::MySql, &seen);
        assert_eq!(note.outcome, Outcome::Note);
        assert!(note.actual.contains("3 statements beside 100 row events"));
        assert!(note.actual.contains("b.000007:900 (2023-11-14"), "{note:?}");
        let fix = note.fix.expect("a fix");
        assert!(fix.contains("AST_VDauto_dial") && fix.contains("variables_by_thread"));
    }
}

//! Are VICIdial's call tables written by statements that do not name them?
//!
//! Where the binlog has statements, the rows that they change are found by what
//! the statement says. What a trigger, a stored function or a view does to
//! another table the statement does not say: such changes would be missed. What
//! procedures and events do is logged statement by statement, and harmless; so
//! is a trigger on a call table that writes a table of its own.

use std::collections::BTreeSet;

use super::settings::{RESTART, set_for_good, variables};
use super::{Finding, Outcome};
use crate::source::wire::{self, text};
use crate::source::{MySqlSource, SourceError};
use crate::vicidial::Table;

const CHECK: &str = "unseen writers";

const EXPECTED: &str = "no trigger, function or view writes VICIdial's call tables behind a \
    statement that does not name them";

/// Names that a finding lists, at most.
const LISTED_MAX: usize = 5;

/// How often one routine may call another that writes.
const CALLS_MAX: usize = 8;

/// What the server does not list for this account, for an administrator.
const TRIGGERS: &str = "SELECT TRIGGER_SCHEMA, TRIGGER_NAME, EVENT_OBJECT_TABLE, ACTION_STATEMENT \
    FROM information_schema.TRIGGERS";

/// A trigger, a routine or a view.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Program {
    /// Its name.
    name: String,
    /// How it is told of; a trigger with its database and table.
    shown: String,
    /// What it does; `None` where this account may not know.
    body: Option<String>,
}

/// What is stored in the server and could write.
#[derive(Debug, Default)]
struct Programs {
    triggers: Vec<Program>,
    functions: Vec<Program>,
    procedures: Vec<Program>,
    /// Those that can be written to.
    views: Vec<Program>,
    /// This account sees the triggers of VICIdial's database.
    sees_triggers: bool,
}

/// Looks for writers that the binlog does not show. Where every change is in the
/// binlog as rows there are none.
pub(super) async fn hidden(source: &MySqlSource) -> Vec<Finding> {
    let format = match variables(source, "'binlog_format'").await {
        Ok(found) => found.get("binlog_format").cloned(),
        Err(error) => return vec![Finding::unknown(CHECK, EXPECTED, &error)],
    };
    let Some(format) = format.filter(|format| !format.eq_ignore_ascii_case("ROW")) else {
        return Vec::new();
    };
    let rows = set_for_good(source.server(), "binlog_format", "ROW");
    let fix = format!("{rows}; else");
    look(source, &format!("binlog_format = {format}"), &fix).await
}

/// The same where the server is set to ROW and sessions of before still write
/// statements. The daemon starts all the same: they end one by one.
pub(super) async fn hidden_by_sessions(source: &MySqlSource) -> Vec<Finding> {
    let fix = format!("ROW is set: {RESTART}; until then");
    let mut findings = look(source, "sessions that still write statements", &fix).await;
    for finding in &mut findings {
        if finding.outcome == Outcome::Bad {
            finding.outcome = Outcome::Note;
        }
    }
    findings
}

async fn look(source: &MySqlSource, with: &str, fix: &str) -> Vec<Finding> {
    match programs(source).await {
        Ok(programs) => vec![judge(source.database(), with, fix, &programs)],
        Err(error) => vec![Finding::unknown(CHECK, EXPECTED, &error)],
    }
}

async fn programs(source: &MySqlSource) -> Result<Programs, SourceError> {
    // A database's name has no quotes where didtail connects to it.
    let database = source.database().replace('\'', "''");
    let system = "('mysql', 'information_schema', 'performance_schema', 'sys')";
    let what = "triggers, routines and views";
    let triggers = format!("{TRIGGERS} WHERE TRIGGER_SCHEMA NOT IN {system}");
    let triggers = source.ask(what, &triggers).await?;
    let routines = format!(
        "SELECT ROUTINE_TYPE, ROUTINE_NAME, ROUTINE_DEFINITION FROM information_schema.ROUTINES \
         WHERE ROUTINE_SCHEMA NOT IN {system}"
    );
    let routines = source.ask(what, &routines).await?;
    let views = format!(
        "SELECT TABLE_NAME, VIEW_DEFINITION FROM information_schema.VIEWS \
         WHERE IS_UPDATABLE = 'YES' AND TABLE_SCHEMA NOT IN {system}"
    );
    let views = source.ask(what, &views).await?;
    let me = "CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')";
    let granted = format!(
        "SELECT 1 FROM information_schema.USER_PRIVILEGES \
         WHERE PRIVILEGE_TYPE = 'TRIGGER' AND GRANTEE = {me} \
         UNION SELECT 1 FROM information_schema.SCHEMA_PRIVILEGES \
         WHERE PRIVILEGE_TYPE = 'TRIGGER' AND GRANTEE = {me} AND '{database}' LIKE TABLE_SCHEMA"
    );
    let granted = source.ask("its privileges", &granted).await?;
    let of_kind = |kind: &str| {
        let rows = routines.rows.iter();
        let rows = rows.filter(|row| row.first().and_then(text).as_deref() == Some(kind));
        rows.filter_map(|row| program(row, 1, 2)).collect()
    };
    Ok(Programs {
        triggers: triggers
            .rows
            .iter()
            .filter_map(|row| trigger(row))
            .collect(),
        functions: of_kind("FUNCTION"),
        procedures: of_kind("PROCEDURE"),
        views: of(&views, 0, 1),
        sees_triggers: !granted.rows.is_empty(),
    })
}

fn of(table: &wire::Table, name: usize, body: usize) -> Vec<Program> {
    let rows = table.rows.iter();
    rows.filter_map(|row| program(row, name, body)).collect()
}

fn program(row: &[wire::Cell], name: usize, body: usize) -> Option<Program> {
    let body = row.get(body).and_then(text);
    let name = row.get(name).and_then(text)?;
    Some(Program {
        shown: name.clone(),
        name,
        body: body.filter(|body| !body.is_empty()),
    })
}

/// A row of [`TRIGGERS`].
fn trigger(row: &[wire::Cell]) -> Option<Program> {
    let cell = |at: usize| row.get(at).and_then(text);
    let trigger = program(row, 1, 3)?;
    Some(Program {
        shown: format!("{}.{} on {}", cell(0)?, trigger.name, cell(2)?),
        ..trigger
    })
}

/// What is to be said with `with` in force, which `fix` ends.
fn judge(database: &str, with: &str, fix: &str, programs: &Programs) -> Finding {
    let finding = |outcome, actual: &str| Finding::new(CHECK, outcome, EXPECTED, actual);
    let writers = writers(database, programs);
    let writes = |program: &&Program| {
        let body = program.body.as_deref().unwrap_or_default();
        writes(database, body, &writers)
    };
    let triggers: Vec<&Program> = programs.triggers.iter().filter(writes).collect();
    let functions: Vec<&Program> = programs.functions.iter().filter(writes).collect();
    let is_of_calls = |view: &&Program| {
        let words = words(view.body.as_deref().unwrap_or_default());
        words.iter().any(|word| is_watched(word))
    };
    let views: Vec<&Program> = programs.views.iter().filter(is_of_calls).collect();
    let mut seen = Vec::new();
    for (kind, found) in [
        ("triggers", &triggers),
        ("functions", &functions),
        ("views that can be written to", &views),
    ] {
        if !found.is_empty() {
            seen.push(format!("{kind}: {}", list(found)));
        }
    }
    let seen = seen.join("; ");
    let mend = format!("{fix} let none of them write VICIdial's call tables");
    if !triggers.is_empty() {
        let actual = format!(
            "{seen}: with {with} the binlog has only the statement that sets \
             them off, and didtail misses what they write"
        );
        return finding(Outcome::Bad, &actual).fix(mend);
    }
    if !seen.is_empty() {
        let actual = format!("{seen}: with {with} didtail misses what is written through them");
        return finding(Outcome::Note, &actual).fix(mend);
    }
    let all = programs.functions.iter().chain(&programs.procedures);
    let unread: Vec<&Program> = all
        .chain(&programs.views)
        .filter(|program| program.body.is_none())
        .collect();
    if !programs.sees_triggers || !unread.is_empty() {
        let mut unseen = Vec::new();
        if !programs.sees_triggers {
            unseen.push("triggers".to_owned());
        }
        if !unread.is_empty() {
            unseen.push(format!("the text of {}", list(&unread)));
        }
        let actual = format!(
            "this account may not see {}; with {with} what they write to \
             VICIdial's call tables would be missed",
            unseen.join(" and ")
        );
        let look = format!(
            "{fix} look as an administrator for INSERT, UPDATE and DELETE on VICIdial's call \
             tables in: {TRIGGERS}; and `SHOW CREATE FUNCTION/VIEW NAME` for functions and views"
        );
        return finding(Outcome::Unknown, &actual).fix(look);
    }
    finding(Outcome::Good, "none")
}

fn list(programs: &[&Program]) -> String {
    let names = programs.iter().map(|program| program.shown.as_str());
    let mut names: Vec<&str> = names.take(LISTED_MAX).collect();
    if programs.len() > names.len() {
        names.push("…");
    }
    names.join(", ")
}

/// The names of routines that write call tables, also by calling one that does.
fn writers(database: &str, programs: &Programs) -> BTreeSet<String> {
    let mut writers = BTreeSet::new();
    for _call in 0..CALLS_MAX {
        let known = writers.len();
        for routine in programs.functions.iter().chain(&programs.procedures) {
            let body = routine.body.as_deref().unwrap_or_default();
            if writes(database, body, &writers) {
                writers.insert(routine.name.to_lowercase());
            }
        }
        if writers.len() == known {
            break;
        }
    }
    writers
}

/// Whether a body writes a call table, or names a routine that does.
fn writes(database: &str, body: &str, writers: &BTreeSet<String>) -> bool {
    let words = words(body);
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    let is_call_table = |at: usize| {
        let is_elsewhere =
            at >= 2 && word(at - 1) == "." && !word(at - 2).eq_ignore_ascii_case(database);
        is_watched(word(at)) && !is_elsewhere
    };
    let has_table = |from: usize, ends: &[&str]| {
        let until = (from..words.len()).find(|at| ends.contains(&word(*at)));
        (from..until.unwrap_or(words.len())).any(is_call_table)
    };
    (0..words.len()).any(|at| {
        let before = at.checked_sub(1).map_or("", word);
        match word(at) {
            "insert" | "replace" => {
                word(at + 1) != "(" && has_table(at + 1, &["(", "set", "values", "select", ";"])
            }
            // Not `ON DUPLICATE KEY UPDATE`, not `SELECT … FOR UPDATE`.
            "update" => !matches!(before, "key" | "for") && has_table(at + 1, &["set", ";"]),
            "delete" => has_table(at + 1, &["where", ";"]),
            name => writers.contains(name) && (word(at + 1) == "(" || before == "call"),
        }
    })
}

fn is_watched(word: &str) -> bool {
    Table::ALL.iter().any(|table| table.name() == word)
}

/// The words and signs of a body in lower case, without comments and texts.
fn words(body: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut rest = body.chars().peekable();
    while let Some(sign) = rest.next() {
        if sign.is_alphanumeric() || sign == '_' || sign == '$' {
            word.extend(sign.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        let next = rest.peek().copied();
        match (sign, next) {
            ('\'' | '"', _) => {
                while let Some(inner) = rest.next() {
                    if inner == '\\' {
                        rest.next();
                    } else if inner == sign {
                        break;
                    }
                }
            }
            ('#', _) => while rest.next().is_some_and(|inner| inner != '\n') {},
            ('-', Some('-')) => while rest.next().is_some_and(|inner| inner != '\n') {},
            ('/', Some('*')) => {
                let mut last = ' ';
                rest.next();
                for inner in rest.by_ref() {
                    if last == '*' && inner == '/' {
                        break;
                    }
                    last = inner;
                }
            }
            (';' | '(' | '.', _) => words.push(sign.to_string()),
            (_, _) => {}
        }
    }
    words.push(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str, body: &str) -> Program {
        Program {
            name: name.to_owned(),
            shown: name.to_owned(),
            body: Some(body.to_owned()),
        }
    }

    fn judged(programs: &Programs) -> Finding {
        judge(
            "asterisk",
            "binlog_format = MIXED",
            "SET it; else",
            programs,
        )
    }

    #[test]
    fn a_trigger_that_writes_a_call_table_is_bad() {
        for body in [
            "INSERT INTO vicidial_log SET uniqueid=NEW.uniqueid",
            "BEGIN IF NEW.x THEN update `asterisk`.`vicidial_log` l set l.status='A'; END IF; END",
            "DELETE l FROM vicidial_log l WHERE l.uniqueid=OLD.uniqueid",
            "replace vicidial_carrier_log (uniqueid) values ('1')",
            "CALL correct(NEW.uniqueid)",
        ] {
            let programs = Programs {
                triggers: vec![program("t", body)],
                procedures: vec![program("Correct", "UPDATE vicidial_log SET status='A'")],
                sees_triggers: true,
                ..Programs::default()
            };
            let finding = judged(&programs);
            assert_eq!(finding.outcome, Outcome::Bad, "{body}");
            assert!(finding.actual.contains("triggers: t"), "{finding:?}");
        }
    }

    #[test]
    fn a_trigger_that_writes_a_table_of_its_own_is_harmless() {
        for body in [
            "INSERT INTO call_result_queue (uniqueid) SELECT NEW.uniqueid FROM vicidial_log",
            "BEGIN /* INSERT INTO vicidial_log */ SET NEW.status = 'insert into vicidial_log'; END",
            "INSERT INTO mine VALUES (REPLACE('a','b','c')) ON DUPLICATE KEY UPDATE a=1; -- update vicidial_log\n",
            "UPDATE other.vicidial_log SET a=1",
            "INSERT INTO mine SELECT status FROM vicidial_log WHERE lead_id=1 FOR UPDATE",
        ] {
            let programs = Programs {
                triggers: vec![program("t", body)],
                // Its statements are in the binlog one by one.
                procedures: vec![program("p", "UPDATE vicidial_log SET status='A'")],
                sees_triggers: true,
                ..Programs::default()
            };
            assert_eq!(judged(&programs).outcome, Outcome::Good, "{body}");
        }
    }

    #[test]
    fn what_may_be_written_through_is_noted_and_what_is_not_seen_is_unknown() {
        let view = "select `asterisk`.`vicidial_log`.`status` from `asterisk`.`vicidial_log`";
        let mut programs = Programs {
            views: vec![program("calls", view)],
            functions: vec![program(
                "f",
                "BEGIN UPDATE vicidial_log SET status='A'; END",
            )],
            ..Programs::default()
        };
        let note = judged(&programs);
        assert_eq!(note.outcome, Outcome::Note);
        assert!(note.actual.contains("functions: f; views"), "{note:?}");
        programs.views.clear();
        programs.functions.clear();
        let unknown = judged(&programs);
        assert_eq!(unknown.outcome, Outcome::Unknown);
        assert!(
            unknown.actual.contains("may not see triggers;"),
            "{unknown:?}"
        );
        programs.sees_triggers = true;
        assert_eq!(judged(&programs).outcome, Outcome::Good);
        programs.procedures.push(Program {
            name: "secret".to_owned(),
            shown: "secret".to_owned(),
            body: None,
        });
        let unknown = judged(&programs);
        assert_eq!(unknown.outcome, Outcome::Unknown);
        assert!(unknown.actual.contains("the text of secret"), "{unknown:?}");
    }
}

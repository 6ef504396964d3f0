//! Statements that run over tables in memory, as a server would run them.

use std::fmt;

use didtail::source::MemorySource;
use proptest::sample::Index;

use super::{By, Op, Set};
use crate::day::NUMBERS;
use crate::events::{self, Change, NOON, Row, Value};
use crate::rows::{Log, code, dial, link};

const LOG: &str = "vicidial_log";

/// Leads that calls are moved to, each call once, begin here. Nobody dials them: a
/// call that passes through a lead on its way keeps a DID of that lead in rows, and
/// a reader of statements never sees it there.
const MOVED: i64 = 100;

/// Seconds between two statements.
const STEP: i64 = 7;
const DAY: i64 = 86_400;
/// A duplicate is looked for among calls as young as this, in seconds.
const CLEANED_UP: i64 = 3600;

/// A statement that ran.
pub(crate) struct Told {
    /// Seconds since 1970 (UTC).
    pub(crate) time: u32,
    pub(crate) text: String,
    /// The same as rows.
    pub(crate) rows: Vec<Change>,
    /// It is none of rows in any format.
    pub(crate) is_definition: bool,
    /// The tables behind it.
    tables: Vec<(&'static str, Vec<Row>)>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({} rows)", self.time, self.text, self.rows.len())
    }
}

impl Set {
    fn text(self) -> String {
        match self {
            Self::Status(status) => format!("status='{status}'"),
            Self::Seconds(seconds) => format!("length_in_sec='{seconds}'"),
            Self::Agent(user) => format!("user='{user}'"),
        }
    }

    fn apply(self, log: &mut Log) {
        match self {
            Self::Status(status) => status.clone_into(&mut log.status),
            Self::Seconds(seconds) => log.seconds = Some(seconds),
            Self::Agent(user) => log.user = user,
        }
    }
}

impl Told {
    /// Lets the source's tables be as they were behind this statement.
    pub(crate) fn hold(&self, source: &MemorySource) {
        for (name, rows) in &self.tables {
            source.empty(name);
            for row in rows {
                let columns = events::columns(row.table).iter();
                let cells: Vec<(&str, String)> = columns
                    .zip(&row.values)
                    .filter_map(|((column, _), value)| Some((*column, cell(value)?)))
                    .collect();
                let cells: Vec<(&str, &str)> =
                    cells.iter().map(|(c, v)| (*c, v.as_str())).collect();
                source.hold(name, &cells);
            }
        }
    }
}

/// A value as a SELECT says it; `None` for NULL.
fn cell(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        Value::Time(seconds) => Some(wall(*seconds)),
        Value::Null => None,
    }
}

fn wall(seconds: i64) -> String {
    let at = jiff::Timestamp::from_second(seconds).expect("in range");
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// VICIdial's tables while statements run.
pub(crate) struct Table {
    now: i64,
    calls: Vec<Log>,
    archive: Vec<Log>,
    others: Vec<Row>,
    dials: Vec<(i64, String)>,
    names: usize,
    told: Vec<Told>,
    /// Rows are archived, deleted or renamed in the course of it.
    loses: bool,
}

impl Table {
    /// Runs statements; those that have no row to change are left out.
    pub(crate) fn run(ops: &[Op]) -> Vec<Told> {
        let mut table = Self {
            now: NOON,
            calls: Vec::new(),
            archive: Vec::new(),
            others: Vec::new(),
            dials: Vec::new(),
            names: 0,
            told: Vec::new(),
            loses: ops.iter().any(|op| {
                matches!(
                    op,
                    Op::Night | Op::Wipe | Op::CleanUp(..) | Op::Rename { .. } | Op::Lead { .. }
                )
            }),
        };
        for op in ops {
            table.now += STEP;
            table.op(op);
        }
        table.told
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::Dial(lead, number) => {
                let code = code(self.now - NOON, *lead);
                self.dials.push((*lead, code.clone()));
                let change = dial(&code, *lead, self.now - NOON, NUMBERS[*number]);
                self.insert_other(change);
            }
            Op::Insert {
                lead,
                status,
                linked,
            } => {
                // It is written some seconds after it began.
                let mut log = Log::at(self.now - NOON - 5, *lead, status);
                log.uniqueid = self.name(log.start);
                let uniqueid = log.uniqueid.clone();
                self.insert(log);
                let codes = self.dials.iter().rev();
                let code = codes
                    .filter(|(of, _)| of == lead)
                    .map(|(_, code)| code.clone())
                    .next();
                if let Some(code) = code.filter(|_| *linked) {
                    self.dials.retain(|(_, used)| *used != code);
                    self.insert_other(link(&uniqueid, &code, *lead, self.now - NOON));
                }
            }
            Op::Twin(call) => {
                // An archiver may have taken the first row in between.
                let all: Vec<&Log> = self.calls.iter().chain(&self.archive).collect();
                if all.is_empty() {
                    return;
                }
                let mut twin = all[call.index(all.len())].clone();
                if self.now - twin.start > CLEANED_UP {
                    return;
                }
                twin.uniqueid = self.name(twin.start);
                self.insert(twin);
            }
            Op::Set { call, by, set } => {
                let Some((reached, condition)) = self.reached(call, *by) else {
                    return;
                };
                self.update(&reached, &format!("{} {condition}", set.text()), &|log| {
                    set.apply(log);
                });
            }
            Op::Rename {
                call,
                by,
                later,
                status,
            } => {
                // Nobody names a call anew by its lead alone.
                let by = match by {
                    By::Lead => By::Second,
                    by => *by,
                };
                let Some((reached, condition)) = self.reached(call, by) else {
                    return;
                };
                // With the second the statement would fail.
                let [one] = reached[..] else { return };
                let call = &self.calls[one];
                let start = call.start + if *later { 3 } else { 0 };
                let gone = self.archived_twin(call).filter(|_| !later);
                let name = gone.unwrap_or_else(|| self.name(start));
                let mut text = format!("uniqueid='{name}'");
                if let Some(status) = status {
                    text += &format!(",status='{status}'");
                }
                self.update(&reached, &format!("{text} {condition}"), &|log| {
                    log.uniqueid.clone_from(&name);
                    if let Some(status) = status {
                        (*status).clone_into(&mut log.status);
                    }
                });
            }
            Op::Lead { call, by, lead } => {
                let Some((reached, condition)) = self.reached(call, *by) else {
                    return;
                };
                if reached.iter().any(|at| self.calls[*at].lead >= MOVED) {
                    return;
                }
                let lead = lead + MOVED;
                let text = format!("lead_id='{lead}' {condition}");
                self.update(&reached, &text, &|log| log.lead = lead);
            }
            Op::CleanUp(call, by) => self.clean_up(call, *by),
            Op::Night => self.night(),
            Op::Wipe => {
                self.copy();
                self.calls.clear();
                self.tell("TRUNCATE TABLE vicidial_log".to_owned(), Vec::new(), true);
            }
        }
    }

    fn clean_up(&mut self, call: &Index, by: By) {
        let Some(call) = self.pick(call).cloned() else {
            return;
        };
        let second = second(&call.uniqueid).to_owned();
        let is_twin = |log: &&Log| log.lead == call.lead && self::second(&log.uniqueid) == second;
        let mut twins: Vec<&Log> = self.calls.iter().filter(is_twin).collect();
        twins.sort_by(|a, b| a.uniqueid.cmp(&b.uniqueid));
        let (Some(newest), true) = (twins.last().map(|log| (*log).clone()), twins.len() > 1) else {
            return;
        };
        let began: i64 = second.parse().expect("a number");
        if self.now - began.min(newest.start) > CLEANED_UP {
            return;
        }
        let condition = match by {
            By::Name | By::Names | By::NewestOfStatus => format!("uniqueid='{}'", newest.uniqueid),
            By::NameAndLead => {
                format!("uniqueid='{}' and lead_id='{}'", newest.uniqueid, call.lead)
            }
            By::Second | By::Lead => format!(
                "lead_id='{}' and uniqueid LIKE \"{second}%\" order by uniqueid desc limit 1",
                call.lead
            ),
        };
        self.calls.retain(|log| log.uniqueid != newest.uniqueid);
        self.tell(
            format!("DELETE from {LOG} where {condition}"),
            vec![newest.delete()],
            false,
        );
    }

    /// A day passes, and what is older than that is archived.
    fn night(&mut self) {
        self.now += DAY;
        self.copy();
        let before = self.now - DAY / 2;
        let (old, new): (Vec<Log>, Vec<Log>) =
            self.calls.drain(..).partition(|log| log.start < before);
        self.calls = new;
        let rows = old.iter().map(Log::delete).collect();
        let text = format!("DELETE FROM {LOG} WHERE call_date < '{}'", wall(before));
        self.tell(text, rows, false);
    }

    /// INSERT IGNORE INTO the archive: what is there stays as it is.
    fn copy(&mut self) {
        for log in &self.calls {
            if !self
                .archive
                .iter()
                .any(|kept| kept.uniqueid == log.uniqueid)
            {
                self.archive.push(log.clone());
            }
        }
    }

    /// The name of a row of the same call that was archived: it is free again.
    fn archived_twin(&self, call: &Log) -> Option<String> {
        let is_twin = |log: &&Log| {
            log.lead == call.lead
                && second(&log.uniqueid) == second(&call.uniqueid)
                && self
                    .calls
                    .iter()
                    .all(|other| other.uniqueid != log.uniqueid)
        };
        let gone = self.archive.iter().find(is_twin);
        gone.map(|log| log.uniqueid.clone())
    }

    fn name(&mut self, second: i64) -> String {
        self.names += 1;
        format!("{second}.{}", self.names)
    }

    fn pick(&self, call: &Index) -> Option<&Log> {
        (!self.calls.is_empty()).then(|| &self.calls[call.index(self.calls.len())])
    }

    /// The calls that a condition reaches, by their places, and the condition.
    fn reached(&self, call: &Index, by: By) -> Option<(Vec<usize>, String)> {
        // Whether a row was so before it was archived, deleted or renamed nobody can
        // say who has seen only what is there now (lib.rs, non-guarantees).
        let by = match by {
            By::NewestOfStatus if self.loses => By::Name,
            by => by,
        };
        let call = self.pick(call)?;
        let (name, lead) = (&call.uniqueid, call.lead);
        let second = second(name);
        let status = &call.status;
        let condition = match by {
            By::Name => format!("where uniqueid='{name}'"),
            By::NameAndLead => format!("where uniqueid='{name}' and lead_id='{lead}'"),
            By::Names => format!("where uniqueid='{name}' or uniqueid='1.1'"),
            By::Second => format!("where lead_id='{lead}' and uniqueid LIKE \"{second}%\""),
            By::Lead => format!("where lead_id='{lead}'"),
            By::NewestOfStatus => format!(
                "where lead_id='{lead}' and status='{status}' order by uniqueid desc limit 1"
            ),
        };
        let mut reached: Vec<usize> = (0..self.calls.len())
            .filter(|at| {
                let log = &self.calls[*at];
                match by {
                    By::Name | By::Names | By::NameAndLead => log.uniqueid == *name,
                    By::Second => log.lead == lead && self::second(&log.uniqueid) == second,
                    By::Lead => log.lead == lead,
                    By::NewestOfStatus => log.lead == lead && log.status == *status,
                }
            })
            .collect();
        if let By::NewestOfStatus = by {
            reached.sort_by(|a, b| self.calls[*b].uniqueid.cmp(&self.calls[*a].uniqueid));
            reached.truncate(1);
        }
        Some((reached, condition))
    }

    fn insert(&mut self, log: Log) {
        self.calls.push(log.clone());
        self.insert_text(&log.row());
    }

    fn insert_other(&mut self, change: Change) {
        let Change::Insert(row) = change else {
            unreachable!("it is inserted");
        };
        self.others.push(row.clone());
        self.insert_text(&row);
    }

    fn insert_text(&mut self, row: &Row) {
        let columns: Vec<&str> = events::columns(row.table)
            .iter()
            .map(|(name, _)| *name)
            .collect();
        let value = |value: &Value| match cell(value) {
            Some(text) => format!("'{text}'"),
            None => "NULL".to_owned(),
        };
        let values: Vec<String> = row.values.iter().map(value).collect();
        let (columns, values) = (columns.join(","), values.join(","));
        let text = format!("INSERT INTO {} ({columns}) VALUES ({values})", row.table);
        self.tell(text, vec![Change::Insert(row.clone())], false);
    }

    fn update(&mut self, reached: &[usize], text: &str, change: &dyn Fn(&mut Log)) {
        let mut rows = Vec::new();
        for at in reached {
            let before = self.calls[*at].row();
            let updated = self.calls[*at].update(change);
            if before != self.calls[*at].row() {
                rows.push(updated);
            }
        }
        // A source logs no statement that changes nothing as rows, and as text it may.
        self.tell(format!("UPDATE {LOG} set {text}"), rows, false);
    }

    fn tell(&mut self, text: String, rows: Vec<Change>, is_definition: bool) {
        let of = |logs: &[Log]| logs.iter().map(Log::row).collect();
        let mut tables: Vec<(&'static str, Vec<Row>)> = vec![
            (LOG, of(&self.calls)),
            ("vicidial_log_archive", of(&self.archive)),
        ];
        for table in ["vicidial_dial_log", "vicidial_log_extended"] {
            let rows = self.others.iter().filter(|row| row.table == table);
            tables.push((table, rows.cloned().collect()));
        }
        self.told.push(Told {
            time: u32::try_from(self.now).expect("before 2106"),
            text,
            rows,
            is_definition,
            tables,
        });
    }
}

fn second(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

//! INSERT, UPDATE and DELETE: which rows each is about.

use sqlparser::ast::{
    Delete, Expr, FromTable, Insert, ObjectName, OnInsert, SetExpr, Statement as Sql, TableFactor,
    TableObject, TableWithJoins, Update,
};

use super::conditions::Conditions;
use super::words::{assigned, last_name, literal, said, target, value_of, wall_clock};
use super::{Effect, KEYS_MAX, KeyedRows, Link, SaidRow, Written, WrittenRows};
use crate::vicidial::fact::Pick;
use crate::vicidial::{Table, caller_code, interpret, second};

/// What is known around a statement.
pub(super) struct Context<'a, F> {
    /// The watched tables that its text names.
    pub(super) named: &'a [Table],
    /// The columns of a table, in order.
    pub(super) columns: &'a F,
    /// When it ran; seconds since 1970 (UTC).
    pub(super) time: i64,
}

impl<F: Fn(Table) -> Vec<String>> Context<'_, F> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library's list of statements; any other may change any row"
    )]
    pub(super) fn written(&self, statement: &Sql) -> Vec<Written> {
        match statement {
            Sql::Insert(insert) => self.insert(insert).into_iter().collect(),
            Sql::Update(update) => self.update(update),
            Sql::Delete(delete) => self.delete(delete).into_iter().collect(),
            // LOAD DATA, a change behind WITH: it may be about any of them.
            _ => self
                .named
                .iter()
                .map(|table| anything(*table, "another statement", None))
                .collect(),
        }
    }

    fn insert(&self, insert: &Insert) -> Option<Written> {
        let TableObject::TableName(name) = &insert.table else {
            return None;
        };
        let table = self.table(name)?;
        let verb = "INSERT";
        let Some(keys) = key_columns(table) else {
            return Some(all(table, verb));
        };
        let Some(rows) = self.inserted_rows(table, insert) else {
            return Some(anything(table, verb, None));
        };
        let Some(column) = keys.first().copied() else {
            return Some(at_the_time_of(table, &rows));
        };
        let value = |row: &SaidRow| value_of(row, column).map(str::to_owned);
        let values: Option<Vec<String>> = rows.iter().map(value).collect();
        let Some(values) = values.filter(|values| values.len() <= KEYS_MAX) else {
            return Some(at_the_time_of(table, &rows));
        };
        let links: Vec<Link> = match table {
            Table::LogExtended => rows.iter().filter_map(link).collect(),
            Table::Log
            | Table::DialLog
            | Table::DialCidLog
            | Table::CarrierLog
            | Table::Statuses
            | Table::CampaignStatuses
            | Table::ShakenLog => Vec::new(),
        };
        let is_plain = !insert.ignore && !insert.replace_into && insert.on.is_none();
        if let ([link], true, [_]) = (links.as_slice(), is_plain, rows.as_slice()) {
            return Some(Written {
                table,
                rows: WrittenRows::Link(link.clone()),
                shape: shaped(verb, table, &[column]),
            });
        }
        if let Some(OnInsert::DuplicateKeyUpdate(assignments)) = &insert.on
            && assigned(assignments, column).is_some()
        {
            return Some(at_the_time_of(table, &rows));
        }
        // A row that was there already got its values from the other part, or keeps
        // its own.
        let is_new = insert.on.is_none() && !(insert.ignore && table == Table::Log);
        Some(Written {
            table,
            rows: WrittenRows::Keyed(Box::new(KeyedRows {
                column,
                values,
                inserted: if is_new { rows } else { Vec::new() },
                links,
                ..KeyedRows::default()
            })),
            shape: shaped(verb, table, &[column]),
        })
    }

    /// The columns and literals of each row; `None` where they cannot be told.
    fn inserted_rows(&self, table: Table, insert: &Insert) -> Option<Vec<SaidRow>> {
        if !insert.assignments.is_empty() {
            let row = insert
                .assignments
                .iter()
                .filter_map(|assignment| Some((target(assignment)?, literal(&assignment.value))));
            return Some(vec![row.collect()]);
        }
        let SetExpr::Values(values) = insert.source.as_ref()?.body.as_ref() else {
            return None;
        };
        let columns: Vec<String> = if insert.columns.is_empty() {
            (self.columns)(table)
        } else {
            insert.columns.iter().filter_map(last_name).collect()
        };
        let row = |exprs: &[Expr]| -> Option<SaidRow> {
            // Else it is a table with other columns than those that are known.
            (columns.len() == exprs.len()).then(|| {
                let literals = exprs.iter().map(literal);
                columns.iter().cloned().zip(literals).collect()
            })
        };
        let rows = values.rows.iter();
        rows.map(|parens| row(&parens.content)).collect()
    }

    fn update(&self, update: &Update) -> Vec<Written> {
        let is_single = update.table.joins.is_empty() && update.from.is_none();
        let tables = self.tables(std::slice::from_ref(&update.table));
        let each = tables.into_iter().flat_map(|(table, names)| {
            let names = (!is_single).then_some(names);
            self.update_of(update, table, names)
        });
        each.collect()
    }

    /// What an UPDATE does to one of its tables, which goes by these names where
    /// it is not the only one.
    fn update_of(&self, update: &Update, table: Table, names: Option<[String; 2]>) -> Vec<Written> {
        let targets: Vec<String> = update.assignments.iter().filter_map(target).collect();
        let read = table.read();
        let is_read = |target: &String| read.contains(&target.as_str());
        if targets.len() == update.assignments.len() && !targets.iter().any(is_read) {
            return Vec::new();
        }
        let verb = match names {
            None => "UPDATE",
            Some(_) => "UPDATE of several tables,",
        };
        if key_columns(table).is_none() {
            return vec![all(table, verb)];
        }
        let found_by = Conditions::of(update.selection.as_ref(), names)
            .ordered(&update.order_by, update.limit.as_ref());
        let Some(mut rows) = found_by.rows(table) else {
            return vec![anything(table, verb, Some(&found_by))];
        };
        let assignments = update.assignments.iter();
        rows.set = assignments
            .filter_map(|assignment| Some((target(assignment)?, literal(&assignment.value))))
            .collect();
        if let Some(new) = assigned(&update.assignments, "lead_id")
            && rows.column == "lead_id"
        {
            rows.new_values.extend(literal(new));
        }
        if let Some(new) = assigned(&update.assignments, rows_key(table)) {
            let known = |column: &str| match rows.values.as_slice() {
                [value] if column == rows.column => Some(value.clone()),
                _ => None,
            };
            let Some(new) = said(new, &known) else {
                return vec![anything(table, verb, Some(&found_by))];
            };
            let key = rows_key(table);
            let said = rows.set.iter_mut().filter(|(column, _)| column == key);
            said.for_each(|(_, value)| *value = Some(new.clone()));
            rename(table, &mut rows, new);
        }
        vec![Written {
            table,
            shape: found_by.shape(verb, table),
            rows: WrittenRows::Keyed(Box::new(rows)),
        }]
    }

    /// Of deletions, those that VICIdial's clean-up of duplicates makes: of one
    /// call, soon after it began. All others archive, which says nothing of calls.
    fn delete(&self, delete: &Delete) -> Option<Written> {
        let from = match &delete.from {
            FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables) => tables,
        };
        let is_single =
            delete.using.is_none() && matches!(from.as_slice(), [one] if one.joins.is_empty());
        // DELETE l FROM vicidial_log l JOIN …, or DELETE FROM l USING vicidial_log l JOIN …
        let mut deleted: Vec<String> = delete.tables.iter().filter_map(last_name).collect();
        let mut tables = self.tables(from);
        if let Some(using) = &delete.using {
            deleted.extend(from.iter().filter_map(|table| relation(&table.relation)));
            tables = self.tables(using);
        }
        if !is_single {
            tables.retain(|(_, names)| names.iter().any(|name| deleted.contains(name)));
        }
        let [(table, names)] = tables.as_slice() else {
            return None;
        };
        let (table, names) = (*table, (!is_single).then(|| names.clone()));
        let verb = "DELETE";
        if key_columns(table).is_none() {
            return Some(all(table, verb));
        }
        let found_by = Conditions::of(delete.selection.as_ref(), names)
            .ordered(&delete.order_by, delete.limit.as_ref());
        let archived = |before| Written {
            table,
            shape: found_by.shape(verb, table),
            rows: WrittenRows::Archived { before },
        };
        let Some(mut rows) = found_by.rows(table) else {
            let (_, before) = found_by.window(table);
            let is_whole = is_single && (before.is_some() || found_by.is_empty());
            return is_whole.then(|| archived(before));
        };
        if table != Table::Log {
            return None;
        }
        let named = match (rows.column, rows.values.as_slice(), &rows.among.prefix) {
            ("uniqueid", [uniqueid], None) => uniqueid,
            ("lead_id", [_], Some(prefix)) => prefix,
            (_, _, _) => return None,
        };
        let began = second(named).parse::<i64>().ok();
        if began.is_some_and(|began| !interpret::may_be_duplicate(began, self.time)) {
            return None;
        }
        rows.effect = Effect::Deleted;
        Some(Written {
            table,
            shape: found_by.shape(verb, table),
            rows: WrittenRows::Keyed(Box::new(rows)),
        })
    }

    fn table(&self, name: &ObjectName) -> Option<Table> {
        let name = last_name(name)?;
        let mut named = self.named.iter().copied();
        named.find(|table| table.name() == name)
    }

    /// The watched tables among these, each with its name and its alias.
    fn tables(&self, from: &[TableWithJoins]) -> Vec<(Table, [String; 2])> {
        let joined = from.iter().flat_map(|table| {
            let joins = table.joins.iter().map(|join| &join.relation);
            std::iter::once(&table.relation).chain(joins)
        });
        let named = joined.filter_map(|factor| {
            let TableFactor::Table { name, alias, .. } = factor else {
                return None;
            };
            let (table, name) = (self.table(name)?, last_name(name)?);
            let alias = alias.as_ref().map(|alias| alias.name.value.to_lowercase());
            Some((table, [alias.unwrap_or_else(|| name.clone()), name]))
        });
        named.collect()
    }
}

/// The name of what stands behind FROM, if it is a table or an alias.
fn relation(factor: &TableFactor) -> Option<String> {
    if let TableFactor::Table { name, .. } = factor {
        return last_name(name);
    }
    None
}

/// The statement gives its rows another key.
fn rename(table: Table, rows: &mut KeyedRows, new: String) {
    if table == Table::Log {
        // Of several that the statement says, what is known tells which it was.
        let from = match rows.values.as_slice() {
            [from] if rows.column == "uniqueid" => Some(from),
            _ => None,
        };
        if from.is_some() || rows.among.prefix.is_some() {
            rows.among.pick = Pick::LeastUniqueid;
            rows.effect = Effect::Renamed {
                to: new.clone(),
                from: from.cloned(),
            };
        }
    }
    if rows.column == rows_key(table) {
        rows.new_values.push(new);
    }
}

/// Columns by which rows of a table can be read, the best first; `None` for a
/// table that is small enough to be read whole.
pub(super) fn key_columns(table: Table) -> Option<&'static [&'static str]> {
    match table {
        Table::Log | Table::CarrierLog => Some(&["uniqueid", "lead_id"]),
        Table::LogExtended => Some(&["uniqueid"]),
        Table::DialLog => Some(&["caller_code", "lead_id"]),
        Table::DialCidLog => Some(&["caller_code"]),
        // Its only index is that of the time.
        Table::ShakenLog => Some(&[]),
        Table::Statuses | Table::CampaignStatuses => None,
    }
}

/// The column that names a row.
fn rows_key(table: Table) -> &'static str {
    match table {
        Table::Log | Table::CarrierLog | Table::LogExtended => "uniqueid",
        Table::DialLog | Table::DialCidLog | Table::ShakenLog => "caller_code",
        Table::Statuses | Table::CampaignStatuses => "status",
    }
}

/// Names in a shape; a statement may have any number.
const SHAPE_COLUMNS_MAX: usize = 8;

pub(super) fn shaped(verb: &str, table: Table, columns: &[&str]) -> String {
    let mut columns: Vec<&str> = columns.iter().copied().take(SHAPE_COLUMNS_MAX).collect();
    columns.sort_unstable();
    let columns = columns.join(", ");
    format!("{verb} {} by {columns}", table.name())
}

fn all(table: Table, verb: &str) -> Written {
    Written {
        table,
        rows: WrittenRows::All,
        shape: shaped(verb, table, &["the whole table"]),
    }
}

/// Some rows that are not named.
pub(super) fn anything(table: Table, verb: &str, found_by: Option<&Conditions>) -> Written {
    if key_columns(table).is_none() {
        return all(table, verb);
    }
    let (from, until) = found_by.map_or((None, None), |by| by.window(table));
    let shape = match found_by {
        Some(by) if !by.is_empty() => by.shape(verb, table),
        Some(_) | None => shaped(verb, table, &["no key"]),
    };
    Written {
        table,
        rows: WrittenRows::Window { from, until },
        shape,
    }
}

/// New rows without a key that could be asked for: those around their times.
fn at_the_time_of(table: Table, rows: &[SaidRow]) -> Written {
    let times = rows
        .iter()
        .filter_map(|row| wall_clock(value_of(row, table.time_column()?)?));
    Written {
        table,
        rows: WrittenRows::Window {
            from: times.clone().min(),
            until: times.max(),
        },
        shape: shaped("INSERT", table, &["its time"]),
    }
}

fn link(row: &SaidRow) -> Option<Link> {
    let code = value_of(row, "caller_code")?;
    if !caller_code::is_outbound(code) {
        return None;
    }
    Some(Link {
        uniqueid: value_of(row, "uniqueid")?.to_owned(),
        caller_code: code.to_owned(),
        lead_id: value_of(row, "lead_id").and_then(|lead| lead.parse().ok()),
        call_date: value_of(row, "call_date").and_then(wall_clock),
    })
}

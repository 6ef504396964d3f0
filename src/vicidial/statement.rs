//! What a statement in the binlog says about which rows it changed.
//!
//! A source in MIXED or STATEMENT format writes most of VICIdial's changes as
//! the statement's text. What the rows are afterwards the text does not say:
//! functions, defaults, cut-off values and conditions on other columns decide
//! that. But nearly every statement of VICIdial names its rows by `uniqueid`,
//! lead or caller code, in literals (vicidial.md, write sequences), and rows
//! are states: read again later, they are what the statement made of them, or
//! something newer that the stream will come to as well.
//!
//! So a statement yields the keys of the rows to read again. Where it names
//! none, a window of time stands in for them.

use sqlparser::ast::{
    Assignment, AssignmentTarget, BinaryOperator, Delete, Expr, FromTable, Insert, ObjectName,
    OnInsert, SetExpr, Statement as Sql, TableFactor, TableObject, TableWithJoins, Update, Value,
};
use sqlparser::dialect::MySqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::vicidial::cells::WallClock;
use crate::vicidial::{Table, caller_code, interpret};

/// Longest statement that is taken apart; the server's own limit is
/// `max_allowed_packet`, 16 MB on ViciBox.
const BYTES_MAX: usize = 4 << 20;

/// Operators and words in a statement; VICIdial's longest have some hundred.
/// Chains of them become trees as deep, which are taken down recursively.
const OPERATORS_MAX: usize = 1000;

/// Keys taken from one statement.
const KEYS_MAX: usize = 10_000;

/// Nesting of what is taken apart.
const DEPTH_MAX: usize = 50;

/// A change of rows of one watched table, by a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The table.
    pub table: Table,
    /// Its rows.
    pub rows: WrittenRows,
    /// The statement without its values, for people: what it does, to which
    /// table, and which columns it finds its rows by.
    pub shape: String,
}

/// Which rows a statement changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WrittenRows {
    /// Those with one of these keys.
    Keyed(KeyedRows),
    /// The caller code of a call, which the statement itself says, and says for sure.
    Link(Link),
    /// It does not say: those of a time, as far as it is bounded.
    Window {
        /// The first wall clock that is in.
        from: Option<WallClock>,
        /// The last wall clock that is in.
        until: Option<WallClock>,
    },
    /// Any of a small table.
    All,
}

/// Rows that are found by a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedRows {
    /// A column with an index.
    pub column: &'static str,
    /// Its values.
    pub values: Vec<String>,
    /// The rows are new: they were there after the statement, however old or
    /// gone they are now.
    pub inserted: bool,
    /// Of these rows, those of this caller code.
    pub caller_code: Option<String>,
    /// Of these rows of `vicidial_log`, those whose `uniqueid` begins so.
    pub prefix: Option<String>,
    /// What else happened to them.
    pub effect: Effect,
    /// Caller codes that the statement says, should the rows not say them any more.
    pub links: Vec<Link>,
}

/// What a statement did to calls besides changing columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// It gave one of them another `uniqueid`.
    Renamed {
        /// The new one.
        to: String,
        /// The old one, where the statement says it; else the second that it
        /// names is [`KeyedRows::prefix`].
        from: Option<String>,
    },
    /// It deleted one, as VICIdial's clean-up of duplicates does.
    Deleted,
}

/// A caller code of a call, as `vicidial_log_extended` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// `uniqueid` of the call.
    pub uniqueid: String,
    /// The code: V… or M….
    pub caller_code: String,
    /// `lead_id`, where it is said.
    pub lead_id: Option<u64>,
    /// `call_date`, where it is said.
    pub call_date: Option<WallClock>,
}

/// What a statement did to watched tables. `named` are those that its text
/// names somewhere; `columns` tells a table's columns in order, for INSERTs
/// that do not name them; `time` is when it ran, in seconds since 1970 (UTC).
///
/// A statement that cannot be understood changed anything in any of them.
#[must_use]
pub fn written(
    text: &[u8],
    named: &[Table],
    columns: impl Fn(Table) -> Vec<String>,
    time: i64,
) -> Vec<Written> {
    let Some(parsed) = parse(text) else {
        return named
            .iter()
            .map(|table| anything(*table, "a statement that cannot be read", None))
            .collect();
    };
    let context = Context {
        named,
        columns: &columns,
        time,
    };
    parsed
        .iter()
        .flat_map(|statement| context.written(statement))
        .collect()
}

/// Takes a statement apart; `None` when it cannot be, or is out of proportion.
fn parse(text: &[u8]) -> Option<Vec<Sql>> {
    if text.len() > BYTES_MAX {
        return None;
    }
    // VICIdial's keys are ASCII, whatever the other values are written in.
    let text = String::from_utf8_lossy(text);
    let dialect = MySqlDialect {};
    let tokens = Tokenizer::new(&dialect, &text)
        .tokenize_with_location()
        .ok()?;
    let operators = tokens.iter().filter(|token| is_operator(&token.token));
    if operators.count() > OPERATORS_MAX {
        return None;
    }
    let attempt = |tokens: &[TokenWithSpan]| {
        Parser::new(&dialect)
            .with_recursion_limit(DEPTH_MAX)
            .with_tokens_with_locations(tokens.to_vec())
            .parse_statements()
            .ok()
    };
    let first = tokens.iter().find_map(|token| verb(&token.token));
    // SET STATEMENT … FOR UPDATE …, ANALYZE UPDATE …: the change is behind it.
    let is_wrapped = |token: &TokenWithSpan| {
        matches!(&token.token, Token::Word(word)
            if word.value.eq_ignore_ascii_case("SET") || word.value.eq_ignore_ascii_case("ANALYZE"))
    };
    let opening = tokens
        .iter()
        .find(|token| !matches!(token.token, Token::Whitespace(_)));
    if first.is_some() && opening.is_some_and(is_wrapped) {
        let start = tokens
            .iter()
            .position(|token| verb(&token.token).is_some())?;
        return attempt(tokens.get(start..)?);
    }
    attempt(&tokens)
}

/// The word that begins a change of rows.
fn verb(token: &Token) -> Option<Keyword> {
    match token {
        Token::Word(word) => Some(word.keyword).filter(|keyword| {
            matches!(
                keyword,
                Keyword::INSERT | Keyword::UPDATE | Keyword::DELETE | Keyword::REPLACE
            )
        }),
        _ => None,
    }
}

/// True for what can make a tree deeper: not for values, names, commas and
/// brackets, of which an INSERT of many rows has any number.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => !matches!(
            word.keyword,
            Keyword::NoKeyword | Keyword::NULL | Keyword::DEFAULT
        ),
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::Whitespace(_)
        | Token::Comma
        | Token::LParen
        | Token::RParen
        | Token::SemiColon
        | Token::EOF => false,
        _ => true,
    }
}

struct Context<'a, F> {
    named: &'a [Table],
    columns: &'a F,
    time: i64,
}

impl<F: Fn(Table) -> Vec<String>> Context<'_, F> {
    fn written(&self, statement: &Sql) -> Vec<Written> {
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
        let shape = "INSERT";
        let Some(keys) = key_columns(table) else {
            return Some(all(table, shape));
        };
        let rows = self.inserted_rows(table, insert);
        let window = |rows: &[Vec<(String, Option<String>)>]| {
            let times = rows
                .iter()
                .filter_map(|row| wall_clock(value_of(row, table.time_column()?)?));
            let (first, last) = (times.clone().min(), times.max());
            Written {
                table,
                rows: WrittenRows::Window {
                    from: first,
                    until: last,
                },
                shape: shaped(shape, table, &["no key"]),
            }
        };
        let Some(rows) = rows else {
            return Some(anything(table, shape, None));
        };
        let Some(column) = keys.first() else {
            return Some(window(&rows));
        };
        let values: Option<Vec<String>> = rows
            .iter()
            .map(|row| value_of(row, column).map(str::to_owned))
            .collect();
        let Some(values) = values.filter(|values| values.len() <= KEYS_MAX) else {
            return Some(window(&rows));
        };
        let links: Vec<Link> = match table {
            Table::LogExtended => rows.iter().filter_map(|row| link(row)).collect(),
            _ => Vec::new(),
        };
        let is_plain = !insert.ignore && !insert.replace_into && insert.on.is_none();
        if let ([link], true, [_]) = (links.as_slice(), is_plain, rows.as_slice()) {
            return Some(Written {
                table,
                rows: WrittenRows::Link(link.clone()),
                shape: shaped(shape, table, &[column]),
            });
        }
        // A row that was there already got its values from the other part.
        let (renamed, updates) = match &insert.on {
            Some(OnInsert::DuplicateKeyUpdate(assignments)) => {
                (assigned(assignments, column).is_some(), true)
            }
            Some(_) => (false, true),
            None => (false, false),
        };
        if renamed {
            return Some(window(&rows));
        }
        Some(Written {
            table,
            rows: WrittenRows::Keyed(KeyedRows {
                column,
                values,
                inserted: !updates,
                caller_code: None,
                prefix: None,
                effect: Effect::None,
                links,
            }),
            shape: shaped(shape, table, &[column]),
        })
    }

    /// The columns and literals of each row; `None` where they cannot be told.
    fn inserted_rows(
        &self,
        table: Table,
        insert: &Insert,
    ) -> Option<Vec<Vec<(String, Option<String>)>>> {
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
        let row = |exprs: &[Expr]| -> Option<Vec<(String, Option<String>)>> {
            // Of a table with other columns than those that are known.
            (columns.len() == exprs.len()).then(|| {
                let literals = exprs.iter().map(literal);
                columns.iter().cloned().zip(literals).collect()
            })
        };
        values
            .rows
            .iter()
            .map(|parens| row(&parens.content))
            .collect()
    }

    fn update(&self, update: &Update) -> Vec<Written> {
        let is_single = update.table.joins.is_empty() && update.from.is_none();
        let tables = self.tables(std::slice::from_ref(&update.table));
        if !is_single || tables.len() > 1 {
            let shape = "UPDATE of several tables";
            return tables
                .iter()
                .map(|table| anything(*table, shape, None))
                .collect();
        }
        let Some(table) = tables.first().copied() else {
            return Vec::new();
        };
        let targets: Vec<String> = update.assignments.iter().filter_map(target).collect();
        let read = table.read();
        let is_read = |target: &String| read.contains(&target.as_str());
        if targets.len() == update.assignments.len() && !targets.iter().any(is_read) {
            return Vec::new();
        }
        let shape = "UPDATE";
        if key_columns(table).is_none() {
            return vec![all(table, shape)];
        }
        let found_by = Conditions::of(update.selection.as_ref());
        let mut rows = match found_by.rows(table) {
            Some(rows) => rows,
            None => return vec![anything(table, shape, Some(&found_by))],
        };
        if let Some(lead) = assigned(&update.assignments, "lead_id")
            && rows.column == "lead_id"
        {
            rows.values.extend(literal(lead));
        }
        if let Some(new) = assigned(&update.assignments, rows_key(table)) {
            let Some(new) = literal(new) else {
                return vec![anything(table, shape, Some(&found_by))];
            };
            if table == Table::Log {
                let from = rows.values.first().filter(|_| rows.column == "uniqueid");
                if from.is_some() || rows.prefix.is_some() {
                    rows.effect = Effect::Renamed {
                        to: new.clone(),
                        from: from.cloned(),
                    };
                }
            }
            if rows.column == rows_key(table) {
                rows.values.push(new);
            }
        }
        vec![Written {
            table,
            shape: found_by.shape(shape, table),
            rows: WrittenRows::Keyed(rows),
        }]
    }

    /// Of deletions, those that VICIdial's clean-up of duplicates makes: of one
    /// call, soon after it began. All others archive, which says nothing.
    fn delete(&self, delete: &Delete) -> Option<Written> {
        let from = match &delete.from {
            FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables) => tables,
        };
        let tables = self.tables(from);
        let &[table] = tables.as_slice() else {
            return None;
        };
        if key_columns(table).is_none() {
            return Some(all(table, "DELETE"));
        }
        if table != Table::Log {
            return None;
        }
        let found_by = Conditions::of(delete.selection.as_ref());
        let mut rows = found_by.rows(table)?;
        let named = match (rows.column, rows.values.as_slice(), &rows.prefix) {
            ("uniqueid", [uniqueid], None) => uniqueid,
            ("lead_id", [_], Some(prefix)) => prefix,
            _ => return None,
        };
        let began = second(named).parse::<i64>().ok();
        if began.is_some_and(|began| !interpret::may_be_duplicate(began, self.time)) {
            return None;
        }
        rows.effect = Effect::Deleted;
        Some(Written {
            table,
            shape: found_by.shape("DELETE", table),
            rows: WrittenRows::Keyed(rows),
        })
    }

    fn table(&self, name: &ObjectName) -> Option<Table> {
        let name = last_name(name)?;
        self.named
            .iter()
            .copied()
            .find(|table| table.name() == name)
    }

    fn tables(&self, from: &[TableWithJoins]) -> Vec<Table> {
        let joined = from.iter().flat_map(|table| {
            let joins = table.joins.iter().map(|join| &join.relation);
            std::iter::once(&table.relation).chain(joins)
        });
        let named = joined.filter_map(|factor| match factor {
            TableFactor::Table { name, .. } => self.table(name),
            _ => None,
        });
        named.collect()
    }
}

/// Columns by which rows of a table can be read, the best first; `None` for a
/// table that is small enough to be read whole.
fn key_columns(table: Table) -> Option<&'static [&'static str]> {
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

/// What a WHERE says in literals, as far as all of it must be true.
#[derive(Debug, Default)]
struct Conditions {
    /// Columns that have one of these values.
    equal: Vec<(String, Vec<String>)>,
    /// Columns whose text begins so.
    begins: Vec<(String, String)>,
    /// Columns that are at least this; times are widened rather than cut.
    least: Vec<(String, String)>,
    /// Columns that are at most this.
    most: Vec<(String, String)>,
    /// Every column that is named, for people.
    columns: Vec<String>,
}

impl Conditions {
    fn of(selection: Option<&Expr>) -> Self {
        let mut conditions = Self::default();
        if let Some(selection) = selection {
            conditions.take(selection, DEPTH_MAX * OPERATORS_MAX);
        }
        conditions
    }

    /// Takes every term of a chain of ANDs; `budget` bounds the work.
    fn take(&mut self, expr: &Expr, budget: usize) {
        let mut waiting = vec![expr];
        for _term in 0..budget {
            let Some(expr) = waiting.pop() else {
                return;
            };
            match expr {
                Expr::Nested(inner) => waiting.push(inner),
                Expr::BinaryOp {
                    left,
                    op: BinaryOperator::And,
                    right,
                } => waiting.extend([left.as_ref(), right.as_ref()]),
                Expr::BinaryOp { left, op, right } => self.compare(left, op, right),
                Expr::InList {
                    expr,
                    list,
                    negated: false,
                } => {
                    let values: Option<Vec<String>> = list.iter().map(literal).collect();
                    if let (Some(column), Some(values)) = (column(expr), values) {
                        self.name(&column);
                        self.equal.push((column, values));
                    }
                }
                Expr::Like {
                    negated: false,
                    expr,
                    pattern,
                    ..
                } => {
                    let pattern = literal(pattern);
                    if let (Some(column), Some(pattern)) = (column(expr), pattern) {
                        self.name(&column);
                        match pattern.strip_suffix('%') {
                            Some(prefix) if !prefix.contains('%') => {
                                self.begins.push((column, prefix.to_owned()));
                            }
                            None if !pattern.contains('%') => {
                                self.equal.push((column, vec![pattern]));
                            }
                            Some(_) | None => {}
                        }
                    }
                }
                Expr::Between {
                    expr,
                    negated: false,
                    low,
                    high,
                } => {
                    if let Some(column) = column(expr) {
                        self.name(&column);
                        self.least
                            .extend(literal(low).map(|low| (column.clone(), low)));
                        self.most.extend(literal(high).map(|high| (column, high)));
                    }
                }
                _ => {}
            }
        }
    }

    fn compare(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr) {
        let (column, value, op) = match (column(left), column(right)) {
            (Some(column), _) => (column, literal(right), op.clone()),
            (None, Some(column)) => {
                let turned = match op {
                    BinaryOperator::Lt => BinaryOperator::Gt,
                    BinaryOperator::LtEq => BinaryOperator::GtEq,
                    BinaryOperator::Gt => BinaryOperator::Lt,
                    BinaryOperator::GtEq => BinaryOperator::LtEq,
                    other => other.clone(),
                };
                (column, literal(left), turned)
            }
            (None, None) => return,
        };
        self.name(&column);
        let Some(value) = value else {
            return;
        };
        match op {
            BinaryOperator::Eq | BinaryOperator::Spaceship => {
                self.equal.push((column, vec![value]));
            }
            BinaryOperator::Gt | BinaryOperator::GtEq => self.least.push((column, value)),
            BinaryOperator::Lt | BinaryOperator::LtEq => self.most.push((column, value)),
            _ => {}
        }
    }

    fn name(&mut self, column: &str) {
        if !self.columns.iter().any(|known| known == column) {
            self.columns.push(column.to_owned());
        }
    }

    fn equal(&self, column: &str) -> Option<&Vec<String>> {
        let mut equal = self.equal.iter();
        equal
            .find(|(name, _)| name == column)
            .map(|(_, values)| values)
    }

    /// The rows by the best key that there is.
    fn rows(&self, table: Table) -> Option<KeyedRows> {
        let keys = key_columns(table)?.iter();
        let mut found = keys.filter_map(|column| Some((*column, self.equal(column)?)));
        let (column, values) = found.find(|(_, values)| values.len() <= KEYS_MAX)?;
        let prefix = self.begins.iter().find(|(name, _)| name == "uniqueid");
        let code = self.equal("caller_code").and_then(|codes| codes.first());
        Some(KeyedRows {
            column,
            values: values.clone(),
            inserted: false,
            caller_code: code.filter(|_| column != "caller_code").cloned(),
            prefix: prefix
                .filter(|_| column == "lead_id" && table == Table::Log)
                .map(|(_, prefix)| prefix.clone()),
            effect: Effect::None,
            links: Vec::new(),
        })
    }

    fn window(&self, table: Table) -> (Option<WallClock>, Option<WallClock>) {
        let time = table.time_column();
        let of = |bounds: &[(String, String)]| {
            let mut bounds = bounds
                .iter()
                .filter(|(name, _)| Some(name.as_str()) == time);
            bounds.find_map(|(_, value)| wall_clock(value))
        };
        (of(&self.least), of(&self.most))
    }

    fn shape(&self, verb: &str, table: Table) -> String {
        let columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        shaped(verb, table, &columns)
    }
}

/// Names in a shape; a statement may have any number.
const SHAPE_COLUMNS_MAX: usize = 8;

fn shaped(verb: &str, table: Table, columns: &[&str]) -> String {
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
fn anything(table: Table, verb: &str, found_by: Option<&Conditions>) -> Written {
    let Some(_key) = key_columns(table) else {
        return all(table, verb);
    };
    let (from, until) = found_by.map_or((None, None), |by| by.window(table));
    let shape = match found_by {
        Some(by) if !by.columns.is_empty() => by.shape(verb, table),
        Some(_) | None => shaped(verb, table, &["no key"]),
    };
    Written {
        table,
        rows: WrittenRows::Window { from, until },
        shape,
    }
}

fn link(row: &[(String, Option<String>)]) -> Option<Link> {
    let code = value_of(row, "caller_code")?;
    caller_code::is_outbound(code).then_some(())?;
    Some(Link {
        uniqueid: value_of(row, "uniqueid")?.to_owned(),
        caller_code: code.to_owned(),
        lead_id: value_of(row, "lead_id").and_then(|lead| lead.parse().ok()),
        call_date: value_of(row, "call_date").and_then(wall_clock),
    })
}

fn value_of<'r>(row: &'r [(String, Option<String>)], column: &str) -> Option<&'r str> {
    let mut cells = row.iter();
    let (_, value) = cells.find(|(name, _)| name == column)?;
    value.as_deref()
}

/// `2024-11-15 12:00:00`, or a day alone.
fn wall_clock(text: &str) -> Option<WallClock> {
    WallClock::parse(text).or_else(|| WallClock::parse(&format!("{text} 00:00:00")))
}

/// The part of a `uniqueid` before the dot: the second in which the channel was
/// made, on one Asterisk server.
fn second(uniqueid: &str) -> &str {
    uniqueid.split('.').next().unwrap_or_default()
}

fn last_name(name: &ObjectName) -> Option<String> {
    let part = name.0.last()?.as_ident()?;
    Some(part.value.to_lowercase())
}

fn target(assignment: &Assignment) -> Option<String> {
    match &assignment.target {
        AssignmentTarget::ColumnName(name) => last_name(name),
        AssignmentTarget::Tuple(_) => None,
    }
}

fn assigned<'a>(assignments: &'a [Assignment], column: &str) -> Option<&'a Expr> {
    let mut assignments = assignments.iter();
    let found = assignments.find(|assignment| target(assignment).as_deref() == Some(column));
    found.map(|assignment| &assignment.value)
}

fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(name.value.to_lowercase()),
        Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.to_lowercase()),
        Expr::Nested(inner) => match inner.as_ref() {
            Expr::Identifier(name) => Some(name.value.to_lowercase()),
            _ => None,
        },
        _ => None,
    }
}

/// The text of a literal; `None` for NULL and for what only the server can tell.
fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => Some(number.to_string()),
            Value::SingleQuotedString(text)
            | Value::DoubleQuotedString(text)
            | Value::NationalStringLiteral(text) => Some(text.clone()),
            _ => None,
        },
        Expr::Nested(inner) => match inner.as_ref() {
            Expr::Value(_) => literal(inner),
            _ => None,
        },
        // _latin1'…', as stored procedures are logged.
        Expr::Prefixed { value, .. } => match value.as_ref() {
            Expr::Value(_) => literal(value),
            _ => None,
        },
        _ => None,
    }
}

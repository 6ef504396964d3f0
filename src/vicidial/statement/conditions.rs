//! What a WHERE says in literals.

use std::collections::BTreeSet;

use sqlparser::ast::{BinaryOperator, Expr, OrderByExpr, OrderBySort};

use super::changes::{key_columns, shaped};
use super::words::{column, is_hex, is_number, literal, wall_clock};
use super::{Among, DEPTH_MAX, KEYS_MAX, KeyedRows, OPERATORS_MAX};
use crate::vicidial::Table;
use crate::vicidial::cells::WallClock;
use crate::vicidial::fact::Pick;

/// What a WHERE says in literals, as far as all of it must be true.
#[derive(Debug, Default)]
pub(super) struct Conditions {
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
    /// It says more than that.
    and_more: bool,
    pick: Pick,
    /// The names that its table goes by, where there are others beside it.
    names: Option<[String; 2]>,
}

impl Conditions {
    /// What a WHERE says of a table that stands alone, or goes by these names
    /// among others.
    pub(super) fn of(selection: Option<&Expr>, names: Option<[String; 2]>) -> Self {
        let mut conditions = Self {
            // The other tables' rows narrow it down too.
            and_more: names.is_some(),
            names,
            ..Self::default()
        };
        if let Some(selection) = selection {
            conditions.take(selection);
        }
        conditions
    }

    /// The same, of a statement that takes the first rows in an order only.
    pub(super) fn ordered(mut self, order: &[OrderByExpr], limit: Option<&Expr>) -> Self {
        let limit = limit.map(literal);
        self.pick = match (order, limit) {
            (_, None) => Pick::All,
            ([by], Some(Some(one))) if one == "1" => {
                let descends = matches!(by.options.sort, Some(OrderBySort::Desc));
                match (column(&by.expr).as_deref(), descends) {
                    (Some("uniqueid"), true) => Pick::GreatestUniqueid,
                    (Some("call_date"), true) => Pick::Newest,
                    (Some("call_date"), false) => Pick::Oldest,
                    (Some(_) | None, _) => {
                        self.and_more = true;
                        Pick::All
                    }
                }
            }
            (_, Some(_)) => {
                self.and_more = true;
                Pick::All
            }
        };
        self
    }

    /// Takes every term of a chain of ANDs.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library's list of expressions; the others narrow down in other ways"
    )]
    fn take(&mut self, expr: &Expr) {
        let mut waiting = vec![expr];
        // As many terms as a statement can have.
        for _term in 0..DEPTH_MAX * OPERATORS_MAX {
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
                Expr::BinaryOp {
                    op: BinaryOperator::Or,
                    ..
                } => self.either(expr),
                Expr::BinaryOp { left, op, right } => self.compare(left, op, right),
                Expr::InList {
                    expr,
                    list,
                    negated: false,
                } => match expr.as_ref() {
                    Expr::Tuple(columns) => self.rows_in(columns, list),
                    _ => self.is_in(expr, &list.iter().collect::<Vec<_>>()),
                },
                Expr::Like {
                    negated: false,
                    expr,
                    pattern,
                    ..
                } => match (self.column(expr), literal(pattern)) {
                    (Some(column), Some(pattern)) => self.like(column, pattern),
                    (Some(_) | None, _) => self.and_more = true,
                },
                Expr::Between {
                    expr,
                    negated: false,
                    low,
                    high,
                } => match (self.column(expr), literal(low), literal(high)) {
                    (Some(column), Some(low), Some(high)) => {
                        self.name(&column);
                        self.least.push((column.clone(), low));
                        self.most.push((column, high));
                    }
                    (Some(_) | None, _, _) => self.and_more = true,
                },
                _ => self.and_more = true,
            }
        }
    }

    /// The column of its table that an expression is.
    fn column(&self, expr: &Expr) -> Option<String> {
        match (&self.names, expr) {
            (None, _) => column(expr),
            (Some(names), Expr::CompoundIdentifier(parts)) => {
                let (last, of) = parts.split_last()?;
                let of = of.last()?.value.to_lowercase();
                names.contains(&of).then(|| last.value.to_lowercase())
            }
            // It may be any table's.
            (Some(_), _) => None,
        }
    }

    /// A column has one of these values.
    fn is_in(&mut self, expr: &Expr, values: &[&Expr]) {
        let Some(column) = self.column(expr) else {
            self.and_more = true;
            return;
        };
        let value = |value: &&Expr| literal(value).filter(|_| is_comparable(&column, value));
        let values: Option<Vec<String>> = values.iter().map(value).collect();
        self.name(&column);
        match values {
            Some(values) => self.equal.push((column, values)),
            None => self.and_more = true,
        }
    }

    /// `(a, b) IN ((1, 2), …)`: each column has one of its values, and more is said.
    fn rows_in(&mut self, columns: &[Expr], rows: &[Expr]) {
        self.and_more |= rows.len() != 1;
        for (place, column) in columns.iter().enumerate() {
            let values = rows.iter().map(|row| tuple(row)?.get(place));
            match values.collect::<Option<Vec<&Expr>>>() {
                Some(values) => self.is_in(column, &values),
                None => self.and_more = true,
            }
        }
    }

    /// One of several must be true: a column that each of them says a value of
    /// has one of these.
    fn either(&mut self, expr: &Expr) {
        let mut waiting = vec![expr];
        let mut ways: Vec<Self> = Vec::new();
        while let Some(expr) = waiting.pop() {
            if let Expr::BinaryOp {
                left,
                op: BinaryOperator::Or,
                right,
            } = expr
            {
                waiting.extend([right.as_ref(), left.as_ref()]);
            } else if let Expr::Nested(inner) = expr {
                waiting.push(inner);
            } else {
                let mut way = Self {
                    names: self.names.clone(),
                    ..Self::default()
                };
                way.take(expr);
                ways.push(way);
            }
        }
        for way in &ways {
            way.columns.iter().for_each(|column| self.name(column));
        }
        let columns: Vec<String> = self.columns.clone();
        let says_only = |way: &Self| {
            let is_one = matches!(way.equal.as_slice(), [_]);
            is_one && way.columns.len() == 1 && !way.and_more
        };
        let mut is_all = false;
        for column in columns {
            let of_ways: Option<Vec<&Vec<String>>> =
                ways.iter().map(|way| way.equal(&column)).collect();
            if let Some(values) = of_ways {
                is_all = ways.iter().all(says_only);
                let values: BTreeSet<&String> = values.into_iter().flatten().collect();
                self.equal
                    .push((column, values.into_iter().cloned().collect()));
            }
        }
        self.and_more |= !is_all;
    }

    fn like(&mut self, column: String, pattern: String) {
        self.name(&column);
        // `_` is any character, unless it is escaped, which is rare.
        let is_plain = |text: &str| !text.contains(['%', '_', '\\']);
        match pattern.strip_suffix('%') {
            Some(prefix) if is_plain(prefix) => self.begins.push((column, prefix.to_owned())),
            None if is_plain(&pattern) => self.equal.push((column, vec![pattern])),
            Some(_) | None => self.and_more = true,
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library's list of operators; the others narrow down in other ways"
    )]
    fn compare(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr) {
        use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, Spaceship};
        if let (Expr::Tuple(columns), Eq, Expr::Tuple(_)) = (left, op, right) {
            self.rows_in(columns, std::slice::from_ref(right));
            return;
        }
        let (column, value, op) = match (self.column(left), self.column(right)) {
            (Some(column), _) => (column, literal(right), op.clone()),
            (None, Some(column)) => {
                let turned = match op {
                    Lt => Gt,
                    LtEq => GtEq,
                    Gt => Lt,
                    GtEq => LtEq,
                    other => other.clone(),
                };
                (column, literal(left), turned)
            }
            (None, None) => {
                // `1=1` says nothing.
                let says = literal(left).zip(literal(right));
                self.and_more |= *op != Eq || says.is_none_or(|(left, right)| left != right);
                return;
            }
        };
        self.name(&column);
        if !is_comparable(&column, left) || !is_comparable(&column, right) {
            self.and_more = true;
            return;
        }
        match (op, value) {
            (Eq | Spaceship, Some(value)) => self.equal.push((column, vec![value])),
            (Gt | GtEq, Some(value)) => self.least.push((column, value)),
            (Lt | LtEq, Some(value)) => self.most.push((column, value)),
            (_, _) => self.and_more = true,
        }
    }

    fn name(&mut self, column: &str) {
        if !self.columns.iter().any(|known| known == column) {
            self.columns.push(column.to_owned());
        }
    }

    fn equal(&self, column: &str) -> Option<&Vec<String>> {
        let mut equal = self.equal.iter();
        let (_, values) = equal.find(|(name, _)| name == column)?;
        Some(values)
    }

    /// Whether it names any column.
    pub(super) fn is_empty(&self) -> bool {
        self.columns.is_empty() && !self.and_more
    }

    /// The rows by the best key that there is.
    pub(super) fn rows(&self, table: Table) -> Option<KeyedRows> {
        let keys = key_columns(table)?.iter();
        let mut found = keys.filter_map(|column| Some((*column, self.equal(column)?)));
        let (column, values) = found.find(|(_, values)| values.len() <= KEYS_MAX)?;
        Some(KeyedRows {
            column,
            values: values.clone(),
            among: self.among(table, column),
            ..KeyedRows::default()
        })
    }

    fn among(&self, table: Table, key: &str) -> Among {
        let mut among = Among {
            and_more: self.and_more || !self.most.is_empty(),
            pick: self.pick,
            since: self.window(table).0,
            ..Among::default()
        };
        let known = self.begins.iter().find(|(name, _)| name == "uniqueid");
        among.prefix = known.map(|(_, prefix)| prefix.clone());
        among.and_more |= self.begins.len() > usize::from(known.is_some());
        among.and_more |= self.least.len() > usize::from(among.since.is_some());
        for (name, values) in &self.equal {
            match (name.as_str(), values.as_slice()) {
                (name, _) if name == key => {}
                ("status", values) => among.statuses = values.to_vec(),
                ("caller_code", [code]) => among.caller_code = Some(code.clone()),
                ("lead_id", [lead]) => match lead.parse() {
                    Ok(lead) => among.lead_id = Some(lead),
                    Err(_) => among.and_more = true,
                },
                (name @ ("user" | "called_count" | "campaign_id" | "list_id"), [value]) => {
                    among.was.push((name.to_owned(), Some(value.clone())));
                }
                // One server's dials: the code says that too.
                ("server_ip", _) => {}
                (_, _) => among.and_more = true,
            }
        }
        among
    }

    /// The bounds of the rows' time.
    pub(super) fn window(&self, table: Table) -> (Option<WallClock>, Option<WallClock>) {
        let time = table.time_column();
        let of = |bounds: &[(String, String)]| {
            let mut bounds = bounds
                .iter()
                .filter(|(name, _)| Some(name.as_str()) == time);
            bounds.find_map(|(_, value)| wall_clock(value))
        };
        (of(&self.least), of(&self.most))
    }

    pub(super) fn shape(&self, verb: &str, table: Table) -> String {
        let columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        shaped(verb, table, &columns)
    }
}

/// Whether a literal beside a column is compared with what the column stores. A
/// bare number is compared as a number: 1.1 is 1.10 then. Hexadecimal digits
/// are a number beside a number.
fn is_comparable(column: &str, literal: &Expr) -> bool {
    match column {
        "uniqueid" | "caller_code" => !is_number(literal),
        _ => !is_hex(literal),
    }
}

fn tuple(expr: &Expr) -> Option<&Vec<Expr>> {
    if let Expr::Tuple(values) = expr {
        return Some(values);
    }
    None
}

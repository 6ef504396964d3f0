//! Names and literals of statements, as the parser has them.

use sqlparser::ast::{Assignment, AssignmentTarget, Expr, ObjectName, Value};

use crate::vicidial::cells::WallClock;

/// The value of a column among those that a statement says.
pub(super) fn value_of<'r>(row: &'r [(String, Option<String>)], column: &str) -> Option<&'r str> {
    let mut cells = row.iter();
    let (_, value) = cells.find(|(name, _)| name == column)?;
    value.as_deref()
}

/// `2024-11-15 12:00:00`, or a day alone.
pub(super) fn wall_clock(text: &str) -> Option<WallClock> {
    WallClock::parse(text).or_else(|| WallClock::parse(&format!("{text} 00:00:00")))
}

/// The last part of a name, in lower case.
pub(super) fn last_name(name: &ObjectName) -> Option<String> {
    let part = name.0.last()?.as_ident()?;
    Some(part.value.to_lowercase())
}

/// The column that is assigned.
pub(super) fn target(assignment: &Assignment) -> Option<String> {
    match &assignment.target {
        AssignmentTarget::ColumnName(name) => last_name(name),
        AssignmentTarget::Tuple(_) => None,
    }
}

/// What a column is assigned.
pub(super) fn assigned<'a>(assignments: &'a [Assignment], column: &str) -> Option<&'a Expr> {
    let mut assignments = assignments.iter();
    let found = assignments.find(|assignment| target(assignment).as_deref() == Some(column));
    found.map(|assignment| &assignment.value)
}

/// The column that an expression is, if it is one.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's list of expressions; no other is a column"
)]
pub(super) fn column(expr: &Expr) -> Option<String> {
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
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's lists of expressions and values; no other is a literal"
)]
pub(super) fn literal(expr: &Expr) -> Option<String> {
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
        Expr::UnaryOp {
            op: sqlparser::ast::UnaryOperator::Minus,
            expr,
        } => match expr.as_ref() {
            Expr::Value(_) => literal(expr).map(|number| format!("-{number}")),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a literal is a number without quotes.
pub(super) fn is_number(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Number(..)))
}

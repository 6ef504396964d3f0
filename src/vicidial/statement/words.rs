//! Names and literals of statements, as the parser has them.

use sqlparser::ast::{
    Assignment, AssignmentTarget, Expr, FunctionArg, FunctionArgExpr, FunctionArguments,
    ObjectName, Value,
};

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
/// Statements of stored procedures are logged with `NAME_CONST('name', _latin1'…'
/// COLLATE '…')` in place of their variables.
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
            Value::HexStringLiteral(digits) => from_hex(digits),
            _ => None,
        },
        // As deep as the parser lets anything be.
        Expr::Nested(inner)
        | Expr::Collate { expr: inner, .. }
        | Expr::Prefixed { value: inner, .. } => literal(inner),
        Expr::Function(_) => match call(expr) {
            Some((name, arguments)) if name == "name_const" => match arguments.as_slice() {
                [_, value] => literal(value),
                _ => None,
            },
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

/// The text of hexadecimal digits; `None` where it is no plain text.
fn from_hex(digits: &str) -> Option<String> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair)
            .ok()
            .filter(|pair| pair.len() == 2)?;
        let byte = u8::from_str_radix(pair, 16).ok()?;
        byte.is_ascii_graphic().then(|| char::from(byte))
    };
    pairs.map(byte).collect()
}

/// Name and arguments of a function that is called with plain expressions.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's lists of expressions and arguments; the others are no plain call"
)]
fn call(expr: &Expr) -> Option<(String, Vec<&Expr>)> {
    let Expr::Function(function) = expr else {
        return None;
    };
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let argument = |argument| match argument {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
        _ => None,
    };
    let arguments: Option<Vec<&Expr>> = list.args.iter().map(argument).collect();
    Some((last_name(&function.name)?, arguments?))
}

/// The text of a literal, of `concat` of such, or of a column whose value is known.
pub(super) fn said(expr: &Expr, known: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    if let Some(text) = literal(expr) {
        return Some(text);
    }
    if let Some(name) = column(expr) {
        return known(&name);
    }
    match call(expr) {
        Some((name, arguments)) if name == "concat" => arguments
            .into_iter()
            .map(|part| said(part, known))
            .collect(),
        Some(_) | None => None,
    }
}

/// Whether a literal is hexadecimal: where a number is wanted it is one, else text.
pub(super) fn is_hex(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::HexStringLiteral(_)))
}

/// Whether a literal is a number without quotes, also behind a variable's name.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's list of expressions; no other is a number"
)]
pub(super) fn is_number(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::Number(..)),
        Expr::Nested(inner) => is_number(inner),
        Expr::Function(_) => call(expr)
            .is_some_and(|(_, arguments)| arguments.last().is_some_and(|last| is_number(last))),
        _ => false,
    }
}

//! One statement with its values, written down once for every backend.
//!
//! Parameters stand where they are bound, so that text and values cannot get
//! out of step; a list of keys is one parameter where the backend has such.

use super::dialect::Dialect;
use super::value::Value;

/// A parameter.
#[derive(Clone, Debug)]
pub(super) enum Parameter<'a> {
    One(Value<'a>),
    /// SQLite's lists.
    Json(String),
    /// PostgreSQL's.
    Ints(Vec<Option<i64>>),
    Texts(Vec<Option<&'a str>>),
}

/// A statement under construction.
#[derive(Clone, Debug)]
pub(in crate::store) struct Query<'a> {
    pub(super) dialect: Dialect,
    pub(super) text: String,
    pub(super) parameters: Vec<Parameter<'a>>,
    /// All rows come as one JSON text: see [`Query::select`].
    pub(super) is_packed: bool,
}

impl<'a> Query<'a> {
    pub(in crate::store) fn new(dialect: Dialect, text: &str) -> Self {
        Self {
            dialect,
            text: text.to_owned(),
            parameters: Vec::new(),
            is_packed: false,
        }
    }

    /// `SELECT columns …`, in no order, for many rows.
    ///
    /// SQLite's driver copies every value of every row on SQLite's thread, hands
    /// each row over, and frees the copies on ours, all under one lock of SQLite's
    /// allocator: 20 microseconds a call. All rows as one text cost a quarter.
    pub(in crate::store) fn select(dialect: Dialect, columns: &[&str]) -> Self {
        let columns = columns.join(", ");
        let is_packed = dialect == Dialect::Sqlite;
        let text = if is_packed {
            format!("SELECT json_group_array(json_array({columns}))")
        } else {
            format!("SELECT {columns}")
        };
        Self {
            is_packed,
            ..Self::new(dialect, &text)
        }
    }

    /// More text.
    pub(in crate::store) fn sql(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// A parameter.
    pub(in crate::store) fn bind(self, value: impl Into<Value<'a>>) -> Self {
        self.parameter(Parameter::One(value.into()))
    }

    /// Values whose places are in the text already.
    pub(super) fn with(mut self, values: &[Value<'a>]) -> Self {
        let parameters = values.iter().copied().map(Parameter::One);
        self.parameters.extend(parameters);
        self
    }

    pub(super) fn parameter(mut self, parameter: Parameter<'a>) -> Self {
        self.parameters.push(parameter);
        let place = self.dialect.parameter(self.parameters.len());
        self.text.push_str(&place);
        self
    }

    /// ` IN (…)` of what is not empty.
    pub(in crate::store) fn among(self, values: impl IntoIterator<Item = Value<'a>>) -> Self {
        let mut values: Vec<Value<'a>> = values.into_iter().collect();
        match self.dialect {
            Dialect::Sqlite => {
                let list = Parameter::Json(json(values.iter().copied().map(plain)));
                self.sql(" IN (SELECT value FROM json_each(")
                    .parameter(list)
                    .sql("))")
            }
            Dialect::Postgres => self.sql(" = ANY(").parameter(array(values)).sql(")"),
            Dialect::MySql => {
                // So that there are few different texts to prepare.
                if let Some(last) = values.last().copied() {
                    values.resize(values.len().next_power_of_two(), last);
                }
                let mut query = self.sql(" IN (");
                for (i, value) in values.into_iter().enumerate() {
                    query = query.sql(if i == 0 { "" } else { "," }).bind(value);
                }
                query.sql(")")
            }
        }
    }

    /// Rows of values as a table, `alias` with the columns `names`; not empty.
    pub(in crate::store) fn rows(
        self,
        alias: &str,
        names: &[&str],
        rows: &[Vec<Value<'a>>],
    ) -> Self {
        match self.dialect {
            Dialect::Sqlite => {
                let columns = names
                    .iter()
                    .enumerate()
                    .map(|(i, name)| format!("value ->> {i} AS {name}"));
                let columns = columns.collect::<Vec<_>>().join(", ");
                let row = |row: &Vec<Value<'a>>| row.iter().copied().map(plain).collect();
                let list: Vec<serde_json::Value> = rows.iter().map(row).collect();
                self.sql(&format!("(SELECT {columns} FROM json_each("))
                    .parameter(Parameter::Json(json(list)))
                    .sql(&format!(")) {alias}"))
            }
            Dialect::Postgres => {
                let mut query = self.sql("unnest(");
                for i in 0..names.len() {
                    let column = rows.iter().filter_map(|row| row.get(i).copied());
                    let column = array(column.collect());
                    query = query.sql(if i == 0 { "" } else { ", " }).parameter(column);
                }
                query.sql(&format!(") {alias} ({})", names.join(", ")))
            }
            Dialect::MySql => {
                let mut query = self.sql("(");
                for (n, row) in rows.iter().enumerate() {
                    query = query.sql(if n == 0 {
                        "SELECT "
                    } else {
                        " UNION ALL SELECT "
                    });
                    for (i, (value, name)) in row.iter().zip(names).enumerate() {
                        query = query.sql(if i == 0 { "" } else { ", " }).bind(*value);
                        if n == 0 {
                            query = query.sql(&format!(" AS {name}"));
                        }
                    }
                }
                query.sql(&format!(") {alias}"))
            }
        }
    }
}

/// A list as PostgreSQL has it.
pub(super) fn array(values: Vec<Value<'_>>) -> Parameter<'_> {
    let text = |value: &Value<'_>| matches!(value, Value::Text(_));
    if values.first().is_some_and(text) {
        let texts = values.into_iter().map(|value| match value {
            Value::Text(text) => text,
            Value::Int(_) => None,
        });
        Parameter::Texts(texts.collect())
    } else {
        let ints = values.into_iter().map(|value| match value {
            Value::Int(int) => int,
            Value::Text(_) => None,
        });
        Parameter::Ints(ints.collect())
    }
}

fn plain(value: Value<'_>) -> serde_json::Value {
    match value {
        Value::Int(int) => int.into(),
        Value::Text(text) => text.into(),
    }
}

fn json(list: impl IntoIterator<Item = serde_json::Value>) -> String {
    serde_json::Value::from_iter(list).to_string()
}

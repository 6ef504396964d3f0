//! The closed list of what the backends say differently.

/// How a backend speaks SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Dialect {
    /// SQLite, in the process.
    Sqlite,
    /// PostgreSQL, or what speaks like it.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
}

impl Dialect {
    /// The `n`th parameter, from 1.
    pub(super) fn parameter(self, n: usize) -> String {
        match self {
            Self::Sqlite | Self::MySql => "?".to_owned(),
            Self::Postgres => format!("${n}"),
        }
    }

    /// Seconds since 1970 by the store's clock.
    pub(in crate::store) fn now(self) -> &'static str {
        match self {
            Self::Sqlite => "unixepoch()",
            Self::Postgres => "CAST(extract(epoch FROM now()) AS BIGINT)",
            Self::MySql => "unix_timestamp()",
        }
    }

    /// A sum or count as a number of 64 bits; servers add up in decimals.
    pub(in crate::store) fn int(self, expression: &str) -> String {
        match self {
            Self::Sqlite => expression.to_owned(),
            Self::Postgres => format!("CAST({expression} AS BIGINT)"),
            Self::MySql => format!("CAST({expression} AS SIGNED)"),
        }
    }

    /// Whether a text contains the next parameter.
    pub(in crate::store) fn found_in(self, column: &str) -> [String; 2] {
        match self {
            Self::Sqlite => [format!("instr({column}, "), ") > 0".to_owned()],
            Self::Postgres => [format!("strpos({column}, "), ") > 0".to_owned()],
            // Bytes: a text's own collation has nothing to say about JSON.
            Self::MySql => [format!("instr({column}, "), ") > 0".to_owned()],
        }
    }

    /// What an upsert calls the value that it was given.
    fn given(self, column: &str) -> String {
        match self {
            Self::Sqlite | Self::Postgres => format!("excluded.{column}"),
            // Newer MySQL would have it otherwise, and MariaDB only so.
            Self::MySql => format!("VALUES({column})"),
        }
    }

    /// What becomes of a row whose key is there already.
    pub(super) fn on_conflict(self, table: &str, key: &[&str], then: Conflict<'_>) -> String {
        let set = match then {
            Conflict::Fail => return String::new(),
            Conflict::Keep => match (self, key.first()) {
                // A duplicate and nothing else may be passed over: no IGNORE.
                (Self::MySql, Some(first)) => format!("{first} = {table}.{first}"),
                (Self::MySql, None) => return String::new(),
                (Self::Sqlite | Self::Postgres, _) => String::new(),
            },
            Conflict::Change(changes) => {
                let set = changes.iter().map(|(column, change)| {
                    let (kept, given) = (format!("{table}.{column}"), self.given(column));
                    let value = match change {
                        Change::Replace => given,
                        Change::Add => format!("{kept} + {given}"),
                        Change::Raise => self.greatest(
                            &format!("coalesce({kept}, {given})"),
                            &format!("coalesce({given}, {kept})"),
                        ),
                    };
                    format!("{column} = {value}")
                });
                set.collect::<Vec<_>>().join(", ")
            }
        };
        let target = match self {
            // Any key, and each table has but one besides its row ids.
            Self::Sqlite => String::new(),
            Self::Postgres => format!(" ({})", key.join(", ")),
            Self::MySql => return format!("ON DUPLICATE KEY UPDATE {set}"),
        };
        if set.is_empty() {
            format!("ON CONFLICT{target} DO NOTHING")
        } else {
            format!("ON CONFLICT{target} DO UPDATE SET {set}")
        }
    }

    fn greatest(self, one: &str, other: &str) -> String {
        match self {
            Self::Sqlite => format!("max({one}, {other})"),
            Self::Postgres | Self::MySql => format!("greatest({one}, {other})"),
        }
    }
}

/// What becomes of a row whose key is there already.
#[derive(Clone, Copy, Debug)]
pub(super) enum Conflict<'a> {
    /// It is an error.
    Fail,
    /// The row stays as it is.
    Keep,
    /// Its columns change.
    Change(&'a [(&'static str, Change)]),
}

/// How a column changes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// To the given value.
    Replace,
    /// By the given value.
    Add,
    /// To the given value if that is higher, or if there is none.
    Raise,
}

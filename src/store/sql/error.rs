//! Turns what a backend and its driver say into what to do about it.

use std::path::Path;

use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;

use super::dialect::Dialect;
use crate::folder;
use crate::store::StoreError;

/// What a backend's answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Busy,
    Conflict,
    Corrupt,
    Crowded,
    DiskFull,
    Forbidden,
    Foreign,
    LoginRefused,
    Missing,
    ReadOnly,
    NotWritable,
    Tls,
    Unreachable,
    Other,
}

/// Classes an error of the driver; `doing` tells what failed if it is none of
/// the expected kinds.
pub(super) fn classify(
    store: &str,
    dialect: Dialect,
    doing: &'static str,
    error: sqlx::Error,
) -> StoreError {
    let store = store.to_owned();
    let meaning = match &error {
        sqlx::Error::PoolTimedOut if dialect == Dialect::Sqlite => Meaning::Busy,
        sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed => {
            Meaning::Unreachable
        }
        sqlx::Error::Io(error) if is_of_tls(error) => Meaning::Tls,
        sqlx::Error::Io(_) => Meaning::Unreachable,
        // Certificates that cannot be read, or a password that must not go in clear.
        sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => Meaning::Tls,
        // What comes over a connection that is being cut may be anything.
        sqlx::Error::Protocol(_) if dialect != Dialect::Sqlite => Meaning::Unreachable,
        sqlx::Error::Database(said) => match dialect {
            Dialect::Sqlite => match of_sqlite(said.as_ref()) {
                // SQLite says so of rows; of its side files it says only that it cannot.
                Meaning::Unreachable if folder::is_full(Path::new(&store)) => Meaning::DiskFull,
                meaning => meaning,
            },
            Dialect::Postgres => of_postgres(&said.code().unwrap_or_default()),
            Dialect::MySql => {
                let known = said.try_downcast_ref::<MySqlDatabaseError>();
                known.map_or(Meaning::Other, |said| of_mysql(said.number()))
            }
        },
        _ => Meaning::Other,
    };
    let source = Box::new(error);
    match meaning {
        Meaning::Busy => StoreError::Busy { store, source },
        Meaning::Conflict => StoreError::Conflict { store, source },
        Meaning::Corrupt => StoreError::Corrupt { store, source },
        Meaning::Crowded => StoreError::Crowded { store, source },
        Meaning::DiskFull => StoreError::DiskFull { store, source },
        Meaning::Forbidden => StoreError::Forbidden { store, source },
        Meaning::Foreign => StoreError::Foreign { store },
        Meaning::LoginRefused => StoreError::LoginRefused { store, source },
        Meaning::Missing => StoreError::Missing { store },
        Meaning::ReadOnly => StoreError::ReadOnly { store, source },
        Meaning::NotWritable => StoreError::NotWritable { store, source },
        Meaning::Tls => StoreError::Tls { store, source },
        Meaning::Unreachable => StoreError::Unreachable { store, source },
        Meaning::Other => StoreError::Other {
            store,
            doing,
            source,
        },
    }
}

/// Whether a handshake failed: the driver hands on what TLS says as an I/O error.
fn is_of_tls(error: &std::io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(|inner| inner.is::<tokio_rustls::rustls::Error>())
}

/// Whether a server refused a statement for want of a privilege.
pub(super) fn is_forbidden(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(said) = error else {
        return false;
    };
    let meaning = match said.try_downcast_ref::<MySqlDatabaseError>() {
        Some(said) => of_mysql(said.number()),
        None => of_postgres(&said.code().unwrap_or_default()),
    };
    meaning == Meaning::Forbidden
}

/// Whether a statement failed because a table is not there.
pub(super) fn is_missing_table(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(said) = error else {
        return false;
    };
    match said.try_downcast_ref::<MySqlDatabaseError>() {
        // ER_NO_SUCH_TABLE
        Some(said) => said.number() == 1146,
        // undefined_table; SQLite has no code of its own for it.
        None => {
            said.code().as_deref() == Some("42P01") || said.message().starts_with("no such table")
        }
    }
}

/// Whether PostgreSQL refused to make a table because one of that name is there.
pub(super) fn is_there_already(error: &sqlx::Error) -> bool {
    let said = error.as_database_error();
    // duplicate_table
    said.is_some_and(|said| said.code().as_deref() == Some("42P07"))
}

/// By the primary result code, the low byte of the extended one:
/// <https://www.sqlite.org/rescode.html>.
fn of_sqlite(said: &dyn DatabaseError) -> Meaning {
    const PERM: i32 = 3;
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const NOMEM: i32 = 7;
    const READONLY: i32 = 8;
    const IOERR: i32 = 10;
    const CORRUPT: i32 = 11;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    const NOTADB: i32 = 26;
    let extended = said.code().and_then(|text| text.parse().ok());
    match extended.unwrap_or(0) & 0xff {
        BUSY | LOCKED => Meaning::Busy,
        FULL => Meaning::DiskFull,
        READONLY | PERM => Meaning::NotWritable,
        CORRUPT | NOTADB => Meaning::Corrupt,
        IOERR | CANTOPEN | NOMEM => Meaning::Unreachable,
        _ => Meaning::Other,
    }
}

/// By SQLSTATE: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn of_postgres(state: &str) -> Meaning {
    match state {
        // Serialization failure, deadlock.
        "40001" | "40P01" => Meaning::Conflict,
        // Lock not available; a statement that took too long.
        "55P03" | "57014" => Meaning::Busy,
        // A standby, or a server that was made read-only.
        "25006" => Meaning::ReadOnly,
        "53300" => Meaning::Crowded,
        "53100" => Meaning::DiskFull,
        "42501" => Meaning::Forbidden,
        "3D000" => Meaning::Missing,
        // A relation of that name exists, and didtail did not make it.
        "42P07" => Meaning::Foreign,
        "XX001" | "XX002" => Meaning::Corrupt,
        // Shutting down, starting up, out of memory, an idle transaction ended.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04" | "53000" | "53200" | "58030" => {
            Meaning::Unreachable
        }
        _ if state.starts_with("28") => Meaning::LoginRefused,
        _ if state.starts_with("08") => Meaning::Unreachable,
        _ => Meaning::Other,
    }
}

/// By number: <https://dev.mysql.com/doc/mysql-errors/en/server-error-reference.html>
/// and <https://mariadb.com/kb/en/mariadb-error-code-reference/>.
fn of_mysql(number: u16) -> Meaning {
    match number {
        // Deadlock; a record, or a table, that changed since it was read.
        1213 | 1020 | 1412 => Meaning::Conflict,
        // Lock wait timeout; statements that took too long.
        1205 | 1317 | 1969 | 3024 | 3572 => Meaning::Busy,
        // --read-only, --super-read-only, a transaction on such a server.
        1290 | 1792 | 1836 => Meaning::ReadOnly,
        // Too many connections; of this user; prepared statements.
        1040 | 1203 | 1226 | 1461 => Meaning::Crowded,
        // No room in a file, a table or the log.
        1021 | 1114 => Meaning::DiskFull,
        // A privilege on a database, table, column or command.
        1044 | 1142 | 1143 | 1227 | 1370 | 1419 => Meaning::Forbidden,
        1049 => Meaning::Missing,
        1050 => Meaning::Foreign,
        // A password, a host, an account that is locked or must change it.
        1045 | 1130 | 1251 | 1524 | 1698 | 1820 | 1862 | 3118 | 3159 | 4151 => {
            Meaning::LoginRefused
        }
        1034 | 1035 | 1194 | 1712 => Meaning::Corrupt,
        // Shutting down, out of memory, a connection that was killed.
        1053
        | 1037
        | 1038
        | 1041
        | 1077
        | 1078
        | 1080
        | 1152
        | 1158..=1161
        | 1184
        | 1927
        | 3168
        | 3169 => Meaning::Unreachable,
        _ => Meaning::Other,
    }
}

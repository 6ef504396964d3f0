//! A transaction on one connection of any backend.
//!
//! # Why connections are closed
//! A transaction that was not ended in order leaves a connection that nobody
//! knows: a statement may still be under way, its answer may never come, SQLite
//! ends transactions by itself on a full disk. Such a connection is closed, and
//! whatever backend it is undoes what was not committed.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value as Cell;
use sqlx::mysql::{MySql, MySqlPool, MySqlRow};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPool, PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqlitePool, SqliteRow};
use sqlx::{
    Arguments, AssertSqlSafe, ConnectOptions as _, Connection as _, Database, Encode, Error,
    Row as _, Type, TypeInfo as _, ValueRef as _,
};

use super::dialect::Dialect;
use super::query::{Parameter, Query};
use super::server::postgres_limits;
use super::value::{Row, Value};

/// How long one statement may take. A store that hangs longer counts as
/// unreachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Somebody waits for it.
    Waiting,
    /// Whole tables are read.
    Reading,
}

/// For statements that somebody waits for.
pub(super) const PATIENCE: Patience = Patience::Waiting;

/// For those that read whole tables.
pub(super) const PATIENCE_READING: Patience = Patience::Reading;

/// How long those that somebody waits for may take on SQLite; the address of a
/// server can say otherwise.
const PATIENCE_SQLITE: Duration = Duration::from_secs(60);

/// How much longer reading whole tables may take: 30 minutes, without another word.
const READING: u32 = 30;

/// How long the question may take why there is no connection, and a server's answer
/// to a good-bye.
const PATIENCE_ASKING: Duration = Duration::from_secs(5);

/// After how long it is asked whether anybody listens at all: a connection is mostly
/// made by then.
const PATIENCE_UNASKED: Duration = Duration::from_millis(200);

/// The connections to a store; of a server with how long it may take.
#[derive(Clone, Debug)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool, Duration),
    MySql(MySqlPool, Duration),
}

/// One of them.
#[derive(Debug)]
enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
    MySql(PoolConnection<MySql>),
}

/// The same for whichever backend it is.
macro_rules! each {
    ($enum:ident, $value:expr, $one:ident => $body:expr) => {
        match $value {
            $enum::Sqlite($one) => $body,
            $enum::Postgres($one) => $body,
            $enum::MySql($one) => $body,
        }
    };
}

impl Pool {
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(..) => Dialect::Postgres,
            Self::MySql(..) => Dialect::MySql,
        }
    }

    /// How long a statement may take.
    pub(super) fn patience(&self, patience: Patience) -> Duration {
        let waiting = match self {
            Self::Sqlite(_) => PATIENCE_SQLITE,
            Self::Postgres(_, waiting) | Self::MySql(_, waiting) => *waiting,
        };
        match patience {
            Patience::Waiting => waiting,
            Patience::Reading => waiting * READING,
        }
    }

    /// Begins a transaction.
    pub(super) async fn begin(&self, begin: &'static str, patience: Patience) -> Result<Tx, Error> {
        let connection = match self {
            Self::Sqlite(pool) => Connection::Sqlite(Box::pin(pool.acquire()).await?),
            Self::Postgres(pool, _) => Connection::Postgres(Box::pin(acquire(pool)).await?),
            Self::MySql(pool, _) => Connection::MySql(Box::pin(acquire(pool)).await?),
        };
        let patience = self.patience(patience);
        let dialect = self.dialect();
        let mut tx = Tx {
            connection,
            dialect,
            patience,
            is_over: false,
        };
        let mut begin = begin.to_owned();
        if dialect == Dialect::Postgres {
            begin += &postgres_limits(patience);
        }
        tx.control(begin).await?;
        Ok(tx)
    }

    /// Closes all connections. A server that does not take its leave is not waited for.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool, _) => in_short(pool.close()).await,
            Self::MySql(pool, _) => in_short(pool.close()).await,
        }
    }
}

async fn in_short(closing: impl Future<Output = ()>) {
    // Whoever does not answer has noticed nothing of it, and neither have we.
    drop(tokio::time::timeout(PATIENCE_ASKING, closing).await);
}

/// A connection of a server's pool. A pool tries again by itself where a server
/// refuses, has no room or is starting, and at last says only that it waited: the
/// server itself is asked why. That nobody listens there is said at once; who wants
/// to wait for it has pauses of its own.
async fn acquire<DB: Database>(pool: &sqlx::Pool<DB>) -> Result<PoolConnection<DB>, Error> {
    let mut acquiring = Box::pin(pool.acquire());
    let waited = match tokio::time::timeout(PATIENCE_UNASKED, &mut acquiring).await {
        Ok(done) => done,
        Err(_) => {
            // Otherwise one of those that are in use will be free.
            let is_new = pool.num_idle() == 0 && pool.size() < pool.options().get_max_connections();
            if is_new {
                tokio::select! {
                    done = &mut acquiring => done,
                    refused = refused(pool) => Err(refused),
                }
            } else {
                acquiring.await
            }
        }
    };
    match waited {
        Err(Error::PoolTimedOut) => {}
        done => return done,
    }
    within(PATIENCE_ASKING, one(pool)).await?;
    Err(Error::PoolTimedOut)
}

/// Makes one connection beside the pool, and closes it.
async fn one<DB: Database>(pool: &sqlx::Pool<DB>) -> Result<(), Error> {
    let options = pool.connect_options();
    options.connect().await?.close().await
}

/// Ends when the server's machine says that nobody listens; never otherwise.
async fn refused<DB: Database>(pool: &sqlx::Pool<DB>) -> Error {
    match one(pool).await {
        Err(Error::Io(error)) if error.kind() == ErrorKind::ConnectionRefused => Error::Io(error),
        _ => std::future::pending().await,
    }
}

/// Statements that this process has sent to its stores.
static STATEMENTS: AtomicU64 = AtomicU64::new(0);

/// How many statements this process has sent to its stores; on a server each is a
/// round trip.
#[must_use]
pub fn statements_sent() -> u64 {
    STATEMENTS.load(Ordering::Relaxed)
}

/// A transaction; dropped, it is undone.
#[derive(Debug)]
pub(in crate::store) struct Tx {
    connection: Connection,
    dialect: Dialect,
    patience: Duration,
    is_over: bool,
}

impl Drop for Tx {
    fn drop(&mut self) {
        if !self.is_over {
            each!(Connection, &mut self.connection, one => one.close_on_drop());
        }
    }
}

impl Tx {
    pub(in crate::store) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// A statement to be completed.
    pub(in crate::store) fn query<'a>(&self, text: &str) -> Query<'a> {
        Query::new(self.dialect, text)
    }

    /// As [`Query::select`].
    pub(in crate::store) fn select<'a>(&self, columns: &[&str]) -> Query<'a> {
        Query::select(self.dialect, columns)
    }

    /// Makes it durable.
    pub(in crate::store) async fn commit(mut self) -> Result<(), Error> {
        self.control("COMMIT".to_owned()).await?;
        self.is_over = true;
        Ok(())
    }

    /// Ends it in order, and hands on what it came to.
    pub(in crate::store) async fn finish<T>(self, value: T) -> Result<T, Error> {
        self.commit().await?;
        Ok(value)
    }

    /// A statement without parameters that is no query.
    async fn control(&mut self, statement: String) -> Result<(), Error> {
        STATEMENTS.fetch_add(1, Ordering::Relaxed);
        let statement = sqlx::raw_sql(AssertSqlSafe(statement));
        let done = async {
            each!(Connection, &mut self.connection, one => {
                statement.execute(&mut **one).await.map(|_| ())
            })
        };
        within(self.patience, Box::pin(done)).await
    }

    /// Runs a statement, and says how many rows it changed.
    pub(in crate::store) async fn run(&mut self, query: Query<'_>) -> Result<u64, Error> {
        STATEMENTS.fetch_add(1, Ordering::Relaxed);
        let text = AssertSqlSafe(query.text);
        let parameters = query.parameters;
        let done = async {
            match &mut self.connection {
                Connection::Sqlite(one) => {
                    let arguments = arguments::<Sqlite>(parameters)?;
                    let done = sqlx::query_with(text, arguments).execute(&mut **one);
                    done.await.map(|done| done.rows_affected())
                }
                Connection::Postgres(one) => {
                    let arguments = postgres_arguments(parameters)?;
                    let done = sqlx::query_with(text, arguments).execute(&mut **one);
                    done.await.map(|done| done.rows_affected())
                }
                Connection::MySql(one) => {
                    let arguments = arguments::<MySql>(parameters)?;
                    let done = sqlx::query_with(text, arguments).execute(&mut **one);
                    done.await.map(|done| done.rows_affected())
                }
            }
        };
        within(self.patience, Box::pin(done)).await
    }

    /// Reads all rows of a statement.
    pub(in crate::store) async fn fetch(&mut self, query: Query<'_>) -> Result<Vec<Row>, Error> {
        STATEMENTS.fetch_add(1, Ordering::Relaxed);
        let text = AssertSqlSafe(query.text);
        let (parameters, is_packed) = (query.parameters, query.is_packed);
        let read = async {
            match &mut self.connection {
                Connection::Sqlite(one) => {
                    let arguments = arguments::<Sqlite>(parameters)?;
                    let rows = sqlx::query_with(text, arguments).fetch_all(&mut **one);
                    let rows = rows.await?;
                    if is_packed {
                        return unpack(&rows);
                    }
                    rows.iter().map(|row| read(row, sqlite_cell)).collect()
                }
                Connection::Postgres(one) => {
                    let arguments = postgres_arguments(parameters)?;
                    let rows = sqlx::query_with(text, arguments).fetch_all(&mut **one);
                    let rows = rows.await?;
                    rows.iter().map(|row| read(row, postgres_cell)).collect()
                }
                Connection::MySql(one) => {
                    let arguments = arguments::<MySql>(parameters)?;
                    let rows = sqlx::query_with(text, arguments).fetch_all(&mut **one);
                    let rows = rows.await?;
                    rows.iter().map(|row| read(row, mysql_cell)).collect()
                }
            }
        };
        within(self.patience, Box::pin(read)).await
    }

    /// Reads the first row, if there is one.
    pub(in crate::store) async fn fetch_first(
        &mut self,
        query: Query<'_>,
    ) -> Result<Option<Row>, Error> {
        Ok(self.fetch(query).await?.into_iter().next())
    }
}

/// Gives up when the backend does not answer.
async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let silent = |_| {
        let said = format!("no answer within {} s", patience.as_secs());
        Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, said))
    };
    tokio::time::timeout(patience, work).await.map_err(silent)?
}

fn arguments<DB>(parameters: Vec<Parameter<'_>>) -> Result<DB::Arguments, Error>
where
    DB: Database,
    for<'t> Option<i64>: Encode<'t, DB> + Type<DB>,
    for<'t> Option<&'t str>: Encode<'t, DB> + Type<DB>,
    for<'t> String: Encode<'t, DB> + Type<DB>,
{
    let mut arguments = DB::Arguments::default();
    arguments.reserve(parameters.len(), parameters.len() * size_of::<i64>());
    for parameter in parameters {
        let added = match parameter {
            Parameter::One(Value::Int(int)) => arguments.add(int),
            Parameter::One(Value::Text(text)) => arguments.add(text),
            Parameter::Json(text) => arguments.add(text),
            Parameter::Ints(_) | Parameter::Texts(_) => {
                Err("only PostgreSQL has arrays".to_owned().into())
            }
        };
        added.map_err(Error::Encode)?;
    }
    Ok(arguments)
}

fn postgres_arguments(
    parameters: Vec<Parameter<'_>>,
) -> Result<<Postgres as Database>::Arguments, Error> {
    let mut arguments = <Postgres as Database>::Arguments::default();
    for parameter in parameters {
        let added = match parameter {
            Parameter::One(Value::Int(int)) => arguments.add(int),
            Parameter::One(Value::Text(text)) => arguments.add(text.map(storable).as_deref()),
            Parameter::Json(text) => arguments.add(text),
            Parameter::Ints(ints) => arguments.add(ints),
            Parameter::Texts(texts) if texts.iter().flatten().any(|text| text.contains('\0')) => {
                let texts = texts.into_iter().map(|text| text.map(storable));
                arguments.add(texts.collect::<Vec<_>>())
            }
            Parameter::Texts(texts) => arguments.add(texts),
        };
        added.map_err(Error::Encode)?;
    }
    Ok(arguments)
}

/// A text without the one character that PostgreSQL has no room for.
fn storable(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}").into()
    } else {
        text.into()
    }
}

fn read<R: sqlx::Row>(row: &R, cell: fn(&R, usize) -> Result<Cell, Error>) -> Result<Row, Error> {
    let cells: Result<_, Error> = (0..row.len()).map(|i| cell(row, i)).collect();
    Ok(Row::new(cells?))
}

/// The rows of a packed statement.
fn unpack(rows: &[SqliteRow]) -> Result<Vec<Row>, Error> {
    let Some(row) = rows.first() else {
        return Ok(Vec::new());
    };
    let text: &str = row.try_get(0)?;
    let rows: Vec<Vec<Cell>> =
        serde_json::from_str(text).map_err(|e| Error::Decode(Box::new(e)))?;
    Ok(rows.into_iter().map(Row::new).collect())
}

fn sqlite_cell(row: &SqliteRow, i: usize) -> Result<Cell, Error> {
    let raw = row.try_get_raw(i)?;
    if raw.is_null() {
        return Ok(Cell::Null);
    }
    match raw.type_info().name() {
        "INTEGER" | "BOOLEAN" => Ok(row.try_get_unchecked::<i64, _>(i)?.into()),
        _ => Ok(row.try_get_unchecked::<String, _>(i)?.into()),
    }
}

fn postgres_cell(row: &PgRow, i: usize) -> Result<Cell, Error> {
    let raw = row.try_get_raw(i)?;
    if raw.is_null() {
        return Ok(Cell::Null);
    }
    match raw.type_info().name() {
        "INT2" | "INT4" | "INT8" => Ok(row.try_get_unchecked::<i64, _>(i)?.into()),
        "BOOL" => Ok(i64::from(row.try_get_unchecked::<bool, _>(i)?).into()),
        _ => Ok(row.try_get_unchecked::<String, _>(i)?.into()),
    }
}

fn mysql_cell(row: &MySqlRow, i: usize) -> Result<Cell, Error> {
    let raw = row.try_get_raw(i)?;
    if raw.is_null() {
        return Ok(Cell::Null);
    }
    if raw.type_info().name().contains("INT") || raw.type_info().name() == "BOOLEAN" {
        Ok(row.try_get_unchecked::<i64, _>(i)?.into())
    } else {
        Ok(row.try_get_unchecked::<String, _>(i)?.into())
    }
}

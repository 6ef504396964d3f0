//! Connections to a store on a server: how many, and what a session of ours is like.
//!
//! # What is given up
//! Nothing is waited for without an end, on either side: a link that is lost in the
//! middle of a transaction leaves the server with a session that keeps its locks
//! until it hears that nobody is there. How long a statement may take follows from
//! one number, `patience` in the address.

use std::str::FromStr;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Database};
use url::Url;

use super::dialect::Dialect;
use super::open::{BUSY_TIMEOUT, STATEMENTS_MAX, bad};
use super::session::Pool;
use crate::store::StoreError;

/// Connections to a server for each use: for writing, for waiting for a turn, for
/// reading. Those who write never wait for those who read. One source needs one
/// or two of each; the rest is never opened.
const SERVER_CONNECTIONS_MAX: u32 = 8;

/// A connection that was idle for so long is closed; sooner than a server ends it.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// A connection that was idle for longer is tried before it is used: a server
/// that was started again, or a firewall, may have ended it.
const IDLE_UNTRIED: Duration = Duration::from_secs(5);

/// How long such a try may take.
const PING_MAX: Duration = Duration::from_secs(2);

/// The part of an address's options that is didtail's own: seconds that a statement
/// may take where somebody waits for it.
const PATIENCE_PARAMETER: &str = "patience";

/// Its default.
const PATIENCE_DEFAULT: Duration = Duration::from_secs(60);

/// Its limits, in seconds: below, a slow statement would never end; above, a link
/// that is lost would not be noticed in a day.
const PATIENCE_SECONDS: std::ops::RangeInclusive<u64> = 1..=3600;

/// How long a session lasts on the server of which nothing is heard: a daemon that
/// stands still within a transaction, or whose machine is gone, keeps the locks of its
/// source from the one that is to take over for so long.
const SILENT_SESSION: Duration = Duration::from_secs(30);

/// Connections to a server, made when they are needed.
pub(super) fn server(url: &str) -> Result<Pool, StoreError> {
    let dialect = Dialect::of_url(url)?;
    let (url, patience) = patience(url)?;
    look_at_files(dialect, &url)?;
    // Before a statement counts as hung, it says that a lock is in its way.
    let lock_wait = BUSY_TIMEOUT.min(patience / 2).max(Duration::from_secs(1));
    match dialect {
        Dialect::Sqlite => Err(bad("it is a file")),
        Dialect::Postgres => {
            let options = PgConnectOptions::from_str(&url)
                .map_err(|_| bad("it is no postgres://USER@HOST/DATABASE"))?
                .application_name("didtail")
                .statement_cache_capacity(STATEMENTS_MAX)
                .disable_statement_logging();
            // A plan that was kept from when a table was small reads all of it later.
            let session = format!(
                "SET lock_timeout = {}; SET plan_cache_mode = force_custom_plan",
                lock_wait.as_millis()
            );
            let pool = PgPoolOptions::new().after_connect(move |connection, _| {
                let session = sqlx::raw_sql(AssertSqlSafe(session.clone()));
                Box::pin(async move {
                    session.execute(connection).await?;
                    Ok(())
                })
            });
            let pool = bounded(pool, patience).connect_lazy_with(options);
            Ok(Pool::Postgres(pool, patience))
        }
        Dialect::MySql => {
            let options = MySqlConnectOptions::from_str(&url)
                .map_err(|_| bad("it is no mysql://USER@HOST/DATABASE"))?
                .statement_cache_capacity(STATEMENTS_MAX)
                .disable_statement_logging();
            // What a batch did not read it need not lock, and text that is too long
            // is an error. MySQL has no other end for a transaction that is idle.
            let session = format!(
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                 SET SESSION innodb_lock_wait_timeout = {}, wait_timeout = {}, \
                 sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
                lock_wait.as_secs(),
                SILENT_SESSION.min(patience * 2).as_secs(),
            );
            let pool = MySqlPoolOptions::new().after_connect(move |connection, _| {
                let session = sqlx::raw_sql(AssertSqlSafe(session.clone()));
                Box::pin(async move {
                    session.execute(connection).await?;
                    Ok(())
                })
            });
            let pool = bounded(pool, patience).connect_lazy_with(options);
            Ok(Pool::MySql(pool, patience))
        }
    }
}

/// What a transaction on PostgreSQL adds to its beginning: what nobody waits for any
/// more ends there too, and lets its locks go.
pub(super) fn postgres_limits(patience: Duration) -> String {
    format!(
        "; SET LOCAL statement_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = {}",
        patience.as_millis(),
        SILENT_SESSION.min(patience * 2).as_millis(),
    )
}

/// The address as the driver knows it, and how long a statement may take.
fn patience(url: &str) -> Result<(String, Duration), StoreError> {
    let mut url = Url::parse(url).map_err(|_| bad("it is no address"))?;
    let mut patience = PATIENCE_DEFAULT;
    let mut others = Vec::new();
    for (name, value) in url.query_pairs().into_owned() {
        if name != PATIENCE_PARAMETER {
            others.push((name, value));
            continue;
        }
        let seconds = value.parse().ok();
        let seconds = seconds.filter(|seconds| PATIENCE_SECONDS.contains(seconds));
        let seconds = seconds.ok_or_else(|| bad("patience is a number of seconds, 1 to 3600"))?;
        patience = Duration::from_secs(seconds);
    }
    url.set_query(None);
    if !others.is_empty() {
        url.query_pairs_mut().extend_pairs(others);
    }
    Ok((url.into(), patience))
}

/// Says which file of the address's TLS options cannot be used: the driver would say
/// that some file is not there, or that nobody knows the server's authority.
fn look_at_files(dialect: Dialect, url: &str) -> Result<(), StoreError> {
    let parsed = Url::parse(url).map_err(|_| bad("it is no address"))?;
    let wrong = |cause: String| StoreError::Tls {
        store: match dialect {
            Dialect::Sqlite | Dialect::Postgres => name("postgres", url),
            Dialect::MySql => name("mysql", url),
        },
        source: cause.into(),
    };
    for (option, path) in parsed.query_pairs() {
        let holds = match &*option {
            "sslrootcert" | "ssl-ca" | "sslcert" | "ssl-cert" => "CERTIFICATE-----",
            "sslkey" | "ssl-key" => "PRIVATE KEY-----",
            _ => continue,
        };
        let text = std::fs::read(&*path).map_err(|e| wrong(format!("{option}={path}: {e}")))?;
        if !String::from_utf8_lossy(&text).contains(holds) {
            let holds = holds.trim_end_matches('-');
            return Err(wrong(format!("{option}={path} holds no PEM of a {holds}")));
        }
    }
    Ok(())
}

/// The address without credentials and options.
pub(super) fn name(scheme: &str, url: &str) -> String {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let (place, _) = rest.split_once('?').unwrap_or((rest, ""));
    let (user, place) = place.rsplit_once('@').unwrap_or(("", place));
    let (user, _) = user.split_once(':').unwrap_or((user, ""));
    format!("{scheme}://{user}@{place}")
}

fn bounded<DB: Database>(options: PoolOptions<DB>, patience: Duration) -> PoolOptions<DB> {
    options
        .max_connections(SERVER_CONNECTIONS_MAX)
        .acquire_timeout(BUSY_TIMEOUT.min(patience))
        .max_lifetime(None)
        .idle_timeout(IDLE_MAX)
        .test_before_acquire(false)
        .before_acquire(move |connection, meta| {
            let in_time = PING_MAX.min(patience / 4);
            Box::pin(async move {
                if meta.idle_for > IDLE_UNTRIED {
                    // Of a link that is lost nobody hears anything: another takes its place.
                    let pinged = tokio::time::timeout(in_time, connection.ping());
                    pinged.await.map_err(|_| sqlx::Error::PoolTimedOut)??;
                }
                Ok(true)
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_taken_out_of_an_address() {
        let asked = "postgres://me:p%40ss@[::1]:5433/x?sslmode=verify-full&patience=7&host=%2Frun";
        let (url, seconds) = patience(asked).expect("an address");
        let driver = "postgres://me:p%40ss@[::1]:5433/x?sslmode=verify-full&host=%2Frun";
        assert_eq!(
            (url.as_str(), seconds),
            (driver, Duration::from_secs(7)),
            "the rest is as it was"
        );
        let plain = "mysql://u@h/d";
        let (url, seconds) = patience(plain).expect("an address");
        assert_eq!((url.as_str(), seconds), (plain, PATIENCE_DEFAULT));
        for bad in ["0", "-1", "4000", "long"] {
            let error = patience(&format!("{plain}?patience={bad}")).expect_err(bad);
            assert!(error.to_string().contains("1 to 3600"), "{error}");
        }
    }

    #[test]
    fn a_session_that_hangs_ends_on_the_server_too() {
        assert_eq!(
            postgres_limits(Duration::from_secs(60)),
            "; SET LOCAL statement_timeout = 60000; \
             SET LOCAL idle_in_transaction_session_timeout = 30000"
        );
    }
}

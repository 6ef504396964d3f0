//! What can go wrong with the file, caused for real, and what a commit that is
//! cut off leaves.

use std::future::Future as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::task::{Context, Waker};

use crate::ledger::{Aged, ChangeSet};
use crate::store::conformance::change::{
    SOURCE, answered, checkpoint, dial_key, dialed, empty, honest, key,
};
use crate::store::sql::columns::{CALLS, DIALS};
use crate::store::sql::intact::{self, Look};
use crate::store::sql::load::Wanted;
use crate::store::sql::session::Pool;
use crate::store::sql::value::Value;
use crate::store::sql::{SqlStore, commit, open, retention};
use crate::store::tests::sqlite;
use crate::store::{Dump, Prune, Store as _, StoreError};

fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

/// The connection that writes.
fn writer(store: &SqlStore) -> &sqlx::SqlitePool {
    match store.writer().unwrap() {
        Pool::Sqlite(pool) => pool,
        Pool::Postgres(..) | Pool::MySql(..) => panic!("no SQLite"),
    }
}

async fn open_error(path: &Path) -> StoreError {
    SqlStore::open(&url(path)).await.unwrap_err()
}

/// A change that fills some hundred pages.
fn large(dump: &Dump) -> ChangeSet {
    let mut change = empty(dump);
    for i in 0..2_000 {
        let name = format!("{}.{i}", change.checkpoint.position.next);
        change
            .calls
            .insert(key(&name, 1), answered("+12025550100", i));
        change
            .dials
            .insert(dial_key(&name, 1), dialed("+12025550100", 1, i));
    }
    honest(dump, change)
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("garbage.db");
    std::fs::write(&path, "no database, ".repeat(1_000)).unwrap();
    let error = open_error(&path).await;
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("integrity_check"));
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_folder_in_its_place_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = open_error(folder.path()).await;
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(folder.path().to_str().unwrap()));
}

#[tokio::test]
async fn a_missing_folder_or_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = open_error(&folder.path().join("no/optimizer.db")).await;
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("install -d"));
    let file = folder.path().join("optimizer.db");
    let error = SqlStore::open_read(&url(&file)).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
    assert!(!file.exists(), "reading makes no file");
}

#[tokio::test]
async fn an_address_that_is_no_file_is_refused_without_repeating_it() {
    for bad in [
        "sqlite::memory:",
        "oracle://me:secret@db/x",
        "",
        "sqlite://",
    ] {
        let error = SqlStore::open(bad).await.unwrap_err();
        assert!(
            matches!(error, StoreError::BadUrl { .. }),
            "{bad}: {error:?}"
        );
        assert!(!error.to_string().contains("secret"));
    }
}

#[tokio::test]
async fn a_database_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE checkpoint (x)").unwrap();
    let error = open_error(&path).await;
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
    let error = SqlStore::open_read(&url(&path)).await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
    let tables = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = other.query_row(tables, [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn other_schema_versions_are_told_apart() {
    let (store, folder) = sqlite("").await;
    let path = folder.path().join("optimizer.db");
    let writer = writer(&store);
    let newer = "INSERT INTO _sqlx_migrations SELECT 9999, description, installed_on, success, \
                 checksum, execution_time FROM _sqlx_migrations LIMIT 1";
    sqlx::query(newer).execute(writer).await.unwrap();
    for error in [
        open_error(&path).await,
        SqlStore::open_read(&url(&path)).await.unwrap_err(),
    ] {
        let StoreError::NewerSchema { found, known, .. } = error else {
            panic!("{error:?}");
        };
        assert!(found == 9999 && known < found);
    }
    let none = sqlx::query("DELETE FROM _sqlx_migrations");
    none.execute(writer).await.unwrap();
    let error = SqlStore::open_read(&url(&path)).await.unwrap_err();
    assert!(
        matches!(error, StoreError::OlderSchema { found: 0, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_reader_cannot_commit_and_sees_what_the_daemon_wrote() {
    let (store, folder) = sqlite("").await;
    let path = folder.path().join("optimizer.db");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let reader = SqlStore::open_read(&url(&path)).await.unwrap();
    let change = large(&Dump::default());
    store.commit(&change).await.unwrap();
    assert_eq!(reader.dump().await.unwrap(), store.dump().await.unwrap());
    let error = reader.commit(&empty(&Dump::default())).await.unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error:?}");
    store.close().await;
    let reader = SqlStore::open_read(&url(&path)).await.unwrap();
    assert_eq!(reader.progress(SOURCE).await.unwrap(), Some(checkpoint(0)));
}

#[tokio::test]
async fn a_store_that_another_process_locks_is_busy() {
    let (store, folder) = sqlite("").await;
    let impatient = sqlx::query("PRAGMA busy_timeout = 20");
    impatient.execute(writer(&store)).await.unwrap();
    let other = rusqlite::Connection::open(folder.path().join("optimizer.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let change = large(&Dump::default());
    let error = store.commit(&change).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error:?}");
    assert!(error.is_transient());
    other.execute_batch("ROLLBACK").unwrap();
    store.commit(&change).await.unwrap();
}

#[tokio::test]
async fn a_log_that_was_long_gives_its_room_back() {
    let (store, folder) = sqlite("").await;
    let log = folder.path().join("optimizer.db-wal");
    let bytes = || std::fs::metadata(&log).unwrap().len();
    let fill = "CREATE TABLE filler AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 \
                FROM n WHERE i < 8000) SELECT i, zeroblob(1000) AS b FROM n";
    sqlx::query(fill).execute(writer(&store)).await.unwrap();
    assert!(bytes() > 8_000_000, "{}", bytes());
    let moved = sqlx::query("PRAGMA wal_checkpoint(FULL)");
    moved.execute(writer(&store)).await.unwrap();
    store.commit(&large(&Dump::default())).await.unwrap();
    assert!(bytes() <= 4_194_304, "{}", bytes());
}

#[tokio::test]
async fn a_full_disk_is_transient_and_leaves_the_store_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(folder.path())
        .output();
    if !mount.is_ok_and(|output| output.status.success()) {
        eprintln!("not run: mounting a file system of 1 MB needs root");
        return;
    }
    let filled = fill(&folder.path().join("optimizer.db")).await;
    let unmounted = Command::new("umount").arg("-l").arg(folder.path()).status();
    assert!(unmounted.unwrap().success());
    let (error, before, after) = filled;
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error:?}");
    assert!(error.is_transient());
    assert_eq!(before, after);
}

async fn fill(path: &Path) -> (StoreError, Dump, Dump) {
    let store = SqlStore::open(&url(path)).await.unwrap();
    loop {
        let before = store.dump().await.unwrap();
        if let Err(error) = store.commit(&large(&before)).await {
            let after = store.dump().await.unwrap();
            store.close().await;
            return (error, before, after);
        }
    }
}

#[tokio::test]
async fn a_moved_call_keeps_its_row() {
    let (store, _folder) = sqlite("").await;
    let mut change = empty(&Dump::default());
    change.calls.insert(key("a", 1), answered("+1", 1));
    change.calls.insert(key("b", 1), answered("+1", 2));
    store.commit(&change).await.unwrap();
    let ids = "SELECT uniqueid, id FROM call_records ORDER BY id";
    let mut change = empty(&store.dump().await.unwrap());
    change.moved.insert(key("a", 1), key("b", 1));
    change.moved.insert(key("b", 1), key("a", 1));
    change.calls.insert(key("b", 1), answered("+1", 1));
    change.calls.insert(key("a", 1), answered("+1", 2));
    store.commit(&change).await.unwrap();
    let rows: Vec<(String, i64)> = sqlx::query_as(ids).fetch_all(writer(&store)).await.unwrap();
    assert_eq!(rows, [("b".to_owned(), 1), ("a".to_owned(), 2)]);
}

/// Drops the commit after each number of polls; the store has all of it or nothing.
#[tokio::test]
async fn a_commit_that_is_dropped_anywhere_is_whole_or_not_there() {
    let (store, _folder) = sqlite("").await;
    let mut finished = false;
    for polls in 1.. {
        let before = store.dump().await.unwrap();
        let mut change = empty(&before);
        let name = polls.to_string();
        change.calls.insert(key(&name, 1), answered("+1", polls));
        change
            .dials
            .insert(dial_key(&name, 1), dialed("+1", 1, polls));
        let change = honest(&before, change);
        {
            let mut commit = Box::pin(store.commit(&change));
            for _ in 0..polls {
                let mut context = Context::from_waker(Waker::noop());
                finished = commit.as_mut().poll(&mut context).is_ready();
                if finished {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        }
        // Waits until the one writing connection is free again.
        drop(writer(&store).acquire().await.unwrap());
        let after = store.dump().await.unwrap();
        let committed = after.progress.get(SOURCE) == Some(&change.checkpoint);
        assert!(committed || after == before, "after {polls} polls");
        assert_eq!(
            after.calls.len(),
            before.calls.len() + usize::from(committed)
        );
        assert_eq!(store.check_invariant().await.unwrap(), Vec::<String>::new());
        if finished {
            break;
        }
    }
}

#[tokio::test]
async fn the_invariant_check_says_what_differs() {
    let (store, _folder) = sqlite("").await;
    store.commit(&large(&Dump::default())).await.unwrap();
    let writer = writer(&store);
    for spoil in [
        "UPDATE did_stats SET busy = busy + 2, last_dial_at = 5",
        "UPDATE did_daily_stats SET dials = dials - 1",
    ] {
        sqlx::query(spoil).execute(writer).await.unwrap();
    }
    let found = store.check_invariant().await.unwrap().join("\n");
    for expected in [
        "+12025550100: busy is 2, counted 0",
        "+12025550100: last_dial_at is 5, counted 1999",
        "in campaign ``: dials is 1999, counted 2000",
        "summed over days: dials is 1998, in all 2000",
    ] {
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

#[tokio::test]
async fn opening_again_applies_no_migration_twice() {
    let (store, folder) = sqlite("").await;
    store.close().await;
    let path = folder.path().join("optimizer.db");
    let again = open::for_writing(&url(&path), false).await.unwrap();
    assert_eq!(again.name, path.display().to_string());
}

/// A large file is not looked through to its end before anything is applied.
#[tokio::test]
async fn a_look_that_takes_too_long_is_left_off() {
    let (store, _folder) = sqlite("").await;
    store.commit(&large(&Dump::default())).await.unwrap();
    let look = |at_most| intact::demand("a store", writer(&store), at_most);
    assert_eq!(look(None).await.unwrap(), Look::Intact);
    let no_time = Some(std::time::Duration::ZERO);
    assert_eq!(look(no_time).await.unwrap(), Look::LeftOff);
    // Nothing of it stays with the connection.
    assert_eq!(look(None).await.unwrap(), Look::Intact);
    let dump = store.dump().await.unwrap();
    store.commit(&large(&dump)).await.unwrap();
}

/// Whatever SQLite's planner makes of them, look-ups and moves go by keys.
#[tokio::test]
async fn nothing_is_looked_up_by_reading_a_table() {
    let (store, _folder) = sqlite("").await;
    let names = || ["a", "b"].map(Value::from);
    let old = [key("a", 1), key("b", 1)];
    let moves = [vec![
        "a".into(),
        1_i64.into(),
        "b".into(),
        1_i64.into(),
        1_i64.into(),
    ]];
    let at = checkpoint(0);
    let of = |aged| Prune {
        source: "main",
        tenant: "default",
        expected: &at,
        fencing_token: None,
        aged,
        before: 5,
        rows_max: 1,
    };
    let (calls, dials) = (of(Aged::Calls), of(Aged::Dials));
    let tx = store.begin_read().await.unwrap();
    let leads = || [1_i64, 2].map(Value::from);
    let of_calls =
        |column, values: [Value<'static>; 2]| Wanted::of(&tx, &CALLS, "main", column, values);
    let of_dials =
        |column, values: [Value<'static>; 2]| Wanted::of(&tx, &DIALS, "main", column, values);
    let queries = [
        of_calls("uniqueid", names()).query(),
        of_dials("uniqueid", names()).query(),
        of_dials("caller_code", names()).query(),
        of_calls("lead_id", leads())
            .within("started_at", (1, 2))
            .query(),
        of_dials("lead_id", leads())
            .within("dialed_at", (1, 2))
            .query(),
        commit::removal(&tx, commit::TABLES[0], "main", &old, &moves),
        commit::removal(&tx, commit::TABLES[1], "main", &old, &moves),
        commit::lift(&tx, commit::TABLES[0], ("main", "~main"), &old, &moves),
        commit::lift(&tx, commit::TABLES[1], ("main", "~main"), &old, &moves),
        retention::of_dids(&tx, &calls, "call_records", 5),
        retention::of_dids(&tx, &dials, "dials", 5),
        retention::without_did(&tx, &calls, "call_records", 5),
        retention::without_did(&tx, &dials, "dials", 5),
        retention::deletion(&tx, &calls, 5, &[1, 2]),
        retention::deletion(&tx, &dials, 5, &[1, 2]),
    ];
    let mut tx = store.begin_read().await.unwrap();
    for mut query in queries {
        query.text = format!("EXPLAIN QUERY PLAN {}", query.text);
        query.is_packed = false;
        let text = query.text.clone();
        for mut row in tx.fetch(query).await.unwrap() {
            let (_, _, _): (i64, i64, i64) = (
                row.take().unwrap(),
                row.take().unwrap(),
                row.take().unwrap(),
            );
            let step: String = row.take().unwrap();
            let reads_all = [
                "SCAN x",
                "SCAN call_records",
                "SCAN change_history",
                "SCAN dials",
            ];
            // All of a source is nearly all of a table.
            let is_bad =
                step.ends_with("(source=?)") || reads_all.iter().any(|scan| step.starts_with(scan));
            assert!(!is_bad, "{step}: {text}");
        }
    }
}

/// What `PRAGMA synchronous` said of the last transaction that was written: 1 where a
/// power cut may take it back, 2 where it may not.
async fn synchronous(store: &SqlStore) -> i64 {
    let asked = sqlx::query_scalar("PRAGMA synchronous");
    asked.fetch_one(writer(store)).await.unwrap()
}

#[tokio::test]
async fn what_no_binlog_brings_again_outlives_a_power_cut() {
    let (store, _folder) = sqlite("").await;
    let change = honest(&Dump::default(), empty(&Dump::default()));
    store.commit(&change).await.unwrap();
    assert_eq!(synchronous(&store).await, 1);
    store.post(&[], true).await.unwrap();
    assert_eq!(synchronous(&store).await, 2, "posts");
    store.forget_post_keys().await.unwrap();
    assert_eq!(synchronous(&store).await, 1);
    store.create_api_key("default", "x", "hash").await.unwrap();
    assert_eq!(synchronous(&store).await, 2, "keys");
    store.note_key_used(1).await.unwrap();
    assert_eq!(synchronous(&store).await, 1);
    store.revoke_api_key(1).await.unwrap();
    assert_eq!(synchronous(&store).await, 2, "revoked keys");
}

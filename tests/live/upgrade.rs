//! A store that an earlier didtail made opens, and keeps its numbers.
//!
//! The old store is made of the very steps of the schema, up to one of them, and
//! gets real rows: those columns, of a store of today, that it has.

use didtail::store::{Dump, SqlStore};
use rusqlite::Connection;

use crate::support::{Server, Site};

/// Rows in the order in which foreign keys want them.
const TABLES: [&str; 11] = [
    "tenants",
    "dids",
    "did_stats",
    "did_daily_stats",
    "call_records",
    "dials",
    "audit_log",
    "replication_progress",
    "change_history",
    "status_flags",
    "backfills",
];

/// The whole schema, step by step: each ends with the note that it is done.
fn steps(site: &Site) -> Vec<String> {
    let all = ["store", "migrate", "--print", "--all"];
    let printed = site.didtail(&all).good();
    let mut steps = vec![String::new()];
    for line in printed.lines() {
        let step = steps.last_mut().expect("one");
        step.push_str(line);
        step.push('\n');
        if line.starts_with("VALUES (") && line.contains("true,") {
            steps.push(String::new());
        }
    }
    steps.pop();
    steps
}

/// What an old store could not have is left out.
fn comparable(mut dump: Dump, has_all: bool) -> Dump {
    if !has_all {
        dump.statuses.clear();
        for dial in dump.dials.values_mut() {
            dial.reported = None;
            dial.looked_up = false;
        }
        for checkpoint in dump.progress.values_mut() {
            checkpoint.revision = 0;
        }
    }
    for checkpoint in dump.progress.values_mut() {
        checkpoint.server = None;
        checkpoint.file_begun = None;
    }
    dump
}

async fn dump(url: &str) -> Dump {
    let store = SqlStore::open(url).await.expect("a store");
    let broken = store.check_invariant().await.expect("checks");
    assert_eq!(broken, Vec::<String>::new());
    let dump = store.dump().await.expect("reads");
    store.close().await;
    dump
}

#[tokio::test]
async fn a_file_of_each_step_opens_and_keeps_its_numbers() {
    let site = Site::new(Server::shared(), "upgrade_file");
    site.calls(60, 3);
    site.catch_up();
    let now = dump(&site.store_url()).await;
    assert!(now.calls.len() > 40 && !now.statuses.is_empty());
    let steps = steps(&site);
    for done in 1..steps.len() {
        let path = site.path(&format!("step-{done}.db"));
        let old = Connection::open(&path).expect("a file");
        for step in steps.iter().take(done) {
            old.execute_batch(step).expect("a step");
        }
        let from = site.path("store.db");
        old.execute("ATTACH ?1 AS new", [from.to_str().expect("a path")])
            .expect("today's");
        for table in TABLES {
            let columns = columns(&old, "main", table);
            let now = self::columns(&old, "new", table);
            let both: Vec<String> = columns.into_iter().filter(|c| now.contains(c)).collect();
            if !both.is_empty() {
                let both = both.join(", ");
                let copy =
                    format!("INSERT INTO main.{table} ({both}) SELECT {both} FROM new.{table}");
                old.execute_batch(&copy).expect("rows");
            }
        }
        old.close().expect("closes");
        let url = format!("sqlite://{}", path.display());
        let opened = dump(&url).await;
        assert_eq!(
            comparable(opened, done > 1),
            comparable(now.clone(), done > 1)
        );
        let file = Connection::open(&path).expect("a file");
        let version: i64 = file
            .query_row("SELECT max(version) FROM _sqlx_migrations", [], |row| {
                row.get(0)
            })
            .expect("a version");
        assert_eq!(usize::try_from(version).expect("small"), steps.len());
    }
}

fn columns(of: &Connection, schema: &str, table: &str) -> Vec<String> {
    let names = format!("SELECT name FROM pragma_table_info('{table}', '{schema}')");
    let mut names = of.prepare(&names).expect("a statement");
    let names = names.query_map([], |row| row.get(0)).expect("columns");
    names.map(|name| name.expect("a name")).collect()
}

/// Those that a table has in both schemas, old and new, of a server.
fn on_both(server: &Server, is_postgres: bool, table: &str) -> String {
    let names = format!(
        "SELECT o.column_name FROM information_schema.columns o JOIN information_schema.columns n \
         ON n.column_name = o.column_name AND n.table_name = o.table_name \
         WHERE o.table_schema = 'old' AND n.table_schema = '{}' AND o.table_name = '{table}'",
        if is_postgres { "public" } else { "optimizer" }
    );
    let names = match is_postgres {
        true => server.sql_in("optimizer", &names),
        false => server.sql(&names),
    };
    names.lines().collect::<Vec<_>>().join(", ")
}

async fn a_server_opens(kind: &'static str, name: &str) {
    let is_postgres = kind == "postgres";
    let server = Server::of_kind(kind, name, &[]);
    let site = Site::new(Server::shared(), &name.replace('-', "_"));
    let site = site.on_store(&server.store_url("optimizer"));
    site.calls(60, 3);
    site.catch_up();
    let now = dump(&site.store_url()).await;
    assert!(now.calls.len() > 40 && !now.statuses.is_empty());
    let (steps, url) = (steps(&site), site.store_url());
    for done in 1..steps.len() {
        let (make, old, new, url) = if is_postgres {
            let url = format!("{url}&options=-c%20search_path%3Dold");
            let make =
                "DROP SCHEMA IF EXISTS old CASCADE; CREATE SCHEMA old; SET search_path = old; ";
            (make.to_owned(), "old", "public", url)
        } else {
            let make = "DROP DATABASE IF EXISTS old; CREATE DATABASE old; USE old; ".to_owned();
            (make, "old", "optimizer", url.replace("/optimizer", "/old"))
        };
        let made = make + &steps.iter().take(done).cloned().collect::<String>();
        match is_postgres {
            true => server.sql_in("optimizer", &made),
            false => server.sql(&made),
        };
        for table in TABLES {
            let columns = on_both(&server, is_postgres, table);
            assert!(!columns.is_empty(), "{table}");
            let copy = format!(
                "INSERT INTO {old}.{table} ({columns}) SELECT {columns} FROM {new}.{table}"
            );
            match is_postgres {
                true => server.sql_in("optimizer", &copy),
                false => server.sql(&copy),
            };
        }
        let opened = comparable(dump(&url).await, true);
        assert_eq!(opened, comparable(now.clone(), true), "from step {done}");
    }
}

#[tokio::test]
async fn postgres_of_each_step_opens_and_keeps_its_numbers() {
    a_server_opens("postgres", "upgrade-postgres").await;
}

#[tokio::test]
async fn mariadb_of_each_step_opens_and_keeps_its_numbers() {
    a_server_opens("mariadb-10.5", "upgrade-mariadb").await;
}

#[tokio::test]
async fn mysql_of_each_step_opens_and_keeps_its_numbers() {
    a_server_opens("mysql-9", "upgrade-mysql").await;
}

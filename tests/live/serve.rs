//! `didtail serve`: the HTTP API beside a daemon that fills the store, before there is
//! one, while the store is away, and at the end.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::{Value, json};

use crate::client::{RESULTS, ask, try_ask};
use crate::monitor::{address, answering, metric};
use crate::support::{Daemon, Server, Site, wait_until};

/// Clients that post at the same time.
const CLIENTS: usize = 4;

/// Answered posts before it is stopped.
const POSTS: usize = 300;

/// Who serves the site's store, with a source that nobody reaches, and where no state
/// file can be.
fn serving(site: &Site, log: &str) -> Daemon {
    answering(site);
    let state = site.path("no/state.db");
    let state = state.to_str().expect("a plain path");
    let nowhere = "mysql://nobody@127.0.0.1:1/nothing";
    let arguments = ["serve", "--state", state, "--source-url", nowhere];
    Daemon::spawn(&mut site.command(&arguments), site.path(log))
}

#[track_caller]
fn key(site: &Site) -> String {
    let key = site.didtail(&["api-key", "create", "--label", "test", "--json"]);
    key.json()["key"].as_str().expect("a key").to_owned()
}

/// A result of today: of what is older than retention keeps, none is counted.
fn result(number: usize) -> Value {
    static BEGUN: OnceLock<i64> = OnceLock::new();
    let begun = BEGUN.get_or_init(|| jiff::Timestamp::now().as_second() - 7200);
    let second = begun + i64::try_from(number).expect("few");
    json!({
        "uniqueid": format!("{second}.{number}"),
        // Another channel to the same number at that time would be the same call.
        "phoneNumber": format!("2122{}", 300_000 + number),
        "didUsed": "3125550177", "disposition": "17", "timestamp": second + 20,
    })
}

#[track_caller]
fn post(address: &str, key: &str, number: usize) -> (u16, Value) {
    ask(address, "POST", RESULTS, key, &result(number).to_string())
}

#[track_caller]
fn wait_for(address: &str, path: &str, status: u16, words: &str) {
    wait_until(&format!("{path} says `{words}`"), || {
        let (found, body) = ask(address, "GET", path, "", "");
        (found == status && body.to_string().contains(words)).then_some(())
    });
}

/// Waits until so many calls of the DID are told of.
#[track_caller]
fn wait_for_calls(address: &str, key: &str, calls: usize) {
    wait_until("all calls are in the numbers", || {
        let path = "/api/v1/dids/3125550177/stats";
        let (status, stats) = try_ask(address, "GET", path, key, "")?;
        (status == 200 && stats["data"]["total"]["totalCalls"] == calls).then_some(())
    });
}

#[track_caller]
fn what_is_posted_beside_a_daemon_is_applied_by_it(site: &Site, server: &Server) {
    site.calls(20, 1);
    // Before there is a store it is waited for, and asked in vain.
    let mut serving_one = serving(site, "serve.log");
    let here = address(&mut serving_one);
    serving_one.wait_for("the store cannot be used; trying again");
    wait_for(&here, "/readyz", 503, "\"ready\":false");
    assert_eq!(post(&here, "didtail_none", 1).0, 503);

    let daemon = site.following();
    site.wait_for_end(server);
    let key = key(site);
    wait_for(&here, "/readyz", 200, "has the lease of the source");
    wait_for(&here, "/healthz", 200, "\"health\":\"standby\"");
    let held = "didtail_health{source=\"main\",condition=\"standby\"}";
    assert!(metric(&here, held).is_some_and(|is| is > 0.5));
    assert!(metric(&here, "didtail_store_up").is_some_and(|is| is > 0.5));
    assert_eq!(
        metric(&here, "didtail_lag_seconds"),
        None,
        "it does not know"
    );

    let (status, answer) = post(&here, &key, 1);
    assert_eq!(status, 200, "{answer}");
    wait_for_calls(&here, &key, 1);

    // Nobody follows the source: what is posted waits for who will.
    assert_eq!(daemon.end().code, 0);
    wait_for(&here, "/healthz", 503, "nobody follows it");
    wait_for(&here, "/readyz", 200, "nobody follows it");
    assert_eq!(post(&here, &key, 2).0, 200);
    wait_until("it is told that one waits", || {
        let waiting = metric(&here, "didtail_posted_results_waiting")?;
        (waiting > 0.5).then_some(())
    });
    let daemon = site.following();
    wait_for_calls(&here, &key, 2);

    // A wrong configuration changes nothing, a signal while it serves does no harm.
    serving_one.signal("HUP");
    serving_one.wait_for("the configuration was read again");
    assert_eq!(post(&here, &key, 2).0, 200);
    assert_eq!(daemon.end().code, 0);
    let log = serving_one.stop();
    assert!(!log.contains("2122300"), "{log}");
    assert!(!log.contains("ERROR"), "{log}");
    site.catch_up();
    wait_until("the calls of the source are as they are there", || {
        (site.stored::<i64>("SELECT count(*) FROM call_records WHERE origin = 'posted'") == 2)
            .then_some(())
    });
    site.assert_invariant();
    assert!(!site.path("no").exists(), "it keeps no state");
}

#[test]
fn it_serves_a_file_beside_a_daemon() {
    let server = Server::start("serve-file", &[]);
    let site = Site::new(&server, "asterisk");
    what_is_posted_beside_a_daemon_is_applied_by_it(&site, &server);
}

#[test]
fn it_serves_postgres_beside_a_daemon() {
    let server = Server::start("serve-postgres", &[]);
    let store = Server::of_kind("postgres", "serve-postgres-store", &[]);
    let site = Site::new(&server, "asterisk").on_store(&store.store_url("optimizer"));
    what_is_posted_beside_a_daemon_is_applied_by_it(&site, &server);
}

#[test]
fn it_serves_mariadb_beside_a_daemon() {
    let server = Server::start("serve-mariadb", &[]);
    let site = Site::new(&server, "asterisk").on_store(&server.store_url("optimizer"));
    what_is_posted_beside_a_daemon_is_applied_by_it(&site, &server);
}

/// Posts from several clients until nobody answers; which were answered 200.
fn post_until_the_end(address: &str, key: &str, stop: impl FnOnce()) -> Vec<usize> {
    let answered = Arc::new(Mutex::new(Vec::new()));
    let (next, ended) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (address, key) = (address.to_owned(), key.to_owned());
            let (answered, next) = (Arc::clone(&answered), Arc::clone(&next));
            let ended = Arc::clone(&ended);
            std::thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let body = result(number).to_string();
                    if let Some((200, _)) = try_ask(&address, "POST", RESULTS, &key, &body) {
                        answered.lock().expect("whole").push(number);
                    }
                }
            })
        })
        .collect();
    wait_until("some are answered", || {
        (answered.lock().expect("whole").len() >= POSTS).then_some(())
    });
    stop();
    ended.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("a client");
    }
    let answered = answered.lock().expect("whole");
    answered.clone()
}

/// Lets a daemon take all that is posted, and demands that what was answered is there.
#[track_caller]
fn all_are_kept(site: &Site, answered: &[usize]) {
    let daemon = site.following();
    let name = |number: &usize| result(*number)["uniqueid"].as_str().map(str::to_owned);
    let names: BTreeSet<String> = answered.iter().filter_map(name).collect();
    wait_until("what was answered is in the numbers", || {
        let store = site.store();
        let mut calls = store
            .prepare("SELECT uniqueid FROM call_records WHERE origin = 'posted'")
            .expect("SQL");
        let calls = calls.query_map([], |row| row.get(0)).expect("rows");
        let kept: BTreeSet<String> = calls.map(|name| name.expect("a text")).collect();
        names.is_subset(&kept).then_some(())
    });
    daemon.stop();
    site.assert_invariant();
}

#[test]
fn what_was_answered_at_the_end_is_kept() {
    let server = Server::shared();
    for command in ["serve", "run"] {
        let site = Site::new(server, &format!("serve_end_{command}"));
        site.catch_up();
        let key = key(&site);
        let mut daemon = if command == "serve" {
            serving(&site, "serve.log")
        } else {
            answering(&site);
            site.daemon()
        };
        let here = address(&mut daemon);
        wait_until("the store is open", || {
            (ask(&here, "GET", "/api/v1/dids", &key, "").0 == 200).then_some(())
        });
        let answered = post_until_the_end(&here, &key, || {
            daemon.signal("TERM");
            let ended = daemon.wait();
            assert_eq!(ended.code, 0, "{}", ended.stderr);
            assert!(!ended.stderr.contains("could not keep"), "{}", ended.stderr);
        });
        all_are_kept(&site, &answered);
    }
}

#[test]
fn a_store_that_is_away_is_waited_for_and_one_that_is_replaced_is_opened_again() {
    let server = Server::start("serve-away", &[]);
    let store = Server::of_kind("postgres", "serve-away-store", &[]);
    let site = Site::new(&server, "asterisk").on_store(&store.store_url("optimizer"));
    site.catch_up();
    let key = key(&site);
    let mut serving_one = serving(&site, "serve.log");
    let here = address(&mut serving_one);
    wait_for(&here, "/readyz", 200, "\"ready\":true");
    assert_eq!(post(&here, &key, 1).0, 200);
    store.stop();
    wait_for(&here, "/readyz", 503, "the store");
    assert_eq!(post(&here, &key, 2).0, 503);
    store.start_again();
    wait_for(&here, "/readyz", 200, "\"ready\":true");
    // The connection that writes may have been lost too.
    wait_until("posts are taken again", || {
        (post(&here, &key, 2).0 == 200).then_some(())
    });
    serving_one.wait_for("the store answers again");
    assert_eq!(serving_one.end().code, 0);
    all_are_kept(&site, &[1, 2]);

    // A backup is put in the place of a file.
    let site = Site::new(&server, "replaced");
    site.catch_up();
    let key = self::key(&site);
    std::fs::copy(site.path("store.db"), site.path("backup.db")).expect("copied");
    let mut serving_one = serving(&site, "serve.log");
    let here = address(&mut serving_one);
    wait_for(&here, "/readyz", 200, "\"ready\":true");
    assert_eq!(post(&here, &key, 1).0, 200);
    for end in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(site.path(&format!("store.db{end}"))));
    }
    std::fs::rename(site.path("backup.db"), site.path("store.db")).expect("in its place");
    serving_one.wait_for("another file is in the store's place");
    wait_until("what is posted is in the new file", || {
        let (status, _) = try_ask(&here, "POST", RESULTS, &key, &result(2).to_string())?;
        let kept = "SELECT count(*) FROM posted_results";
        (status == 200 && site.stored::<i64>(kept) > 0).then_some(())
    });
    serving_one.stop();
    all_are_kept(&site, &[2]);
}

#[test]
fn it_changes_no_schema_and_needs_an_address() {
    let site = Site::new(Server::shared(), "serve_schema");
    site.didtail(&["serve"])
        .fails(1, "does not say where to listen", "set listen in [api]");
    site.catch_up();
    let store = rusqlite::Connection::open(site.path("store.db")).expect("the store");
    let newest: i64 = store
        .query_row("SELECT max(version) FROM _sqlx_migrations", [], |row| {
            row.get(0)
        })
        .expect("a version");
    // Of a didtail to come.
    store
        .execute(
            "INSERT INTO _sqlx_migrations SELECT version + 1, 'later', installed_on, success, \
             checksum, execution_time FROM _sqlx_migrations WHERE version = ?1",
            [newest],
        )
        .expect("SQL");
    let refused = serving(&site, "newer.log").wait();
    refused.fails(4, "this didtail knows only up to", "install the didtail");
    // Of an older one: the daemon is waited for, also when it is upgraded meanwhile.
    let set = |version: i64| {
        store
            .execute("DELETE FROM _sqlx_migrations WHERE version > ?1", [version])
            .expect("SQL");
    };
    set(newest);
    let last = "SELECT version, description, installed_on, success, checksum, execution_time \
                FROM _sqlx_migrations ORDER BY version DESC LIMIT 1";
    store
        .execute_batch(&format!("CREATE TEMP TABLE kept AS {last}"))
        .expect("SQL");
    set(newest - 1);
    let mut waiting = serving(&site, "older.log");
    waiting.wait_for("the store cannot be used; trying again");
    store
        .execute_batch("INSERT INTO _sqlx_migrations SELECT * FROM kept")
        .expect("SQL");
    let here = address(&mut waiting);
    wait_for(&here, "/readyz", 200, "\"ready\":true");
    store
        .execute(
            "UPDATE _sqlx_migrations SET version = version + 1 WHERE version = ?1",
            [newest],
        )
        .expect("SQL");
    let ended = waiting.wait();
    ended.fails(4, "this didtail knows only up to", "install the didtail");
}

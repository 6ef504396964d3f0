//! The store in a file: cut off, damaged, read for long, and made by several at once.
//! And the same of servers: of several that make a store at once, one works.

use std::os::unix::fs::FileExt as _;
use std::process::{Child, Stdio};

use crate::support::{Ended, Server, Site, wait_until};

const CUT_OFF: &str = "was not closed in order";
const WHOLE: &str = "the store is whole";

#[test]
fn a_file_that_was_cut_off_is_looked_through() {
    let server = &Server::start("cut-off", &[]);
    let site = Site::new(server, "cut_off");
    site.calls(40, 50);
    let daemon = site.following();
    site.wait_for_end(server);
    let log = daemon.stop();
    assert!(!log.contains(CUT_OFF), "{log}");
    for seed in 1..=3 {
        let daemon = site.following();
        assert_eq!(daemon.log().contains(CUT_OFF), seed > 1, "{}", daemon.log());
        assert_eq!(daemon.log().contains(WHOLE), seed > 1, "{}", daemon.log());
        let began = site.position();
        let traffic = traffic(&site, seed);
        wait_until("it is in the middle of it", || {
            (site.position() != began).then_some(())
        });
        daemon.kill();
        over(traffic);
    }
    // A command beside the daemon, which has not closed it yet, has no doubt.
    let daemon = site.following();
    let beside = site.didtail(&["store", "migrate"]);
    assert!(!beside.stderr.contains(CUT_OFF), "{}", beside.stderr);
    site.wait_for_end(server);
    daemon.stop();
    site.assert_equals_source();
}

#[test]
fn a_file_that_is_damaged_is_refused_and_a_copy_put_back() {
    let server = &Server::start("damaged-store", &[]);
    let site = Site::new(server, "damaged_store");
    site.calls(300, 50);
    site.catch_up();
    let store = site.path("store.db");
    let copy = site.path("backup.db");
    std::fs::copy(&store, &copy).expect("a copy");
    let daemon = site.following();
    site.calls(20, 1);
    site.wait_for_end(server);
    daemon.kill();

    // A disk that gave back something else for a few pages.
    let file = std::fs::File::options().write(true).open(&store);
    let file = file.expect("the store");
    let pages = file.metadata().expect("a size").len() / 4096;
    for page in (pages / 3)..(pages / 2) {
        file.write_all_at(&[0x5a; 4096], page * 4096)
            .expect("written");
    }
    let ended = site.didtail(&["run", "--until-caught-up"]);
    ended.fails(4, "is damaged", "put a copy back");
    ended.fails(4, "page", "didtail backfill --since");

    // As the hint says.
    for end in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(format!("{}{end}", store.display())));
    }
    std::fs::copy(&copy, &store).expect("put back");
    site.catch_up();
    site.assert_equals_source();
}

#[test]
fn who_reads_for_long_keeps_nobody_from_writing() {
    let server = &Server::start("long-reader", &[]);
    let site = Site::new(server, "long_reader");
    site.calls(100, 50);
    site.catch_up();
    let reader = site.store();
    let count = || -> i64 {
        let count = "SELECT count(*) FROM call_records";
        reader.query_row(count, [], |row| row.get(0)).expect("read")
    };
    reader.execute_batch("BEGIN").expect("begun");
    let before = count();
    let daemon = site.following();
    for seed in 1..=4 {
        site.calls(100, seed);
        site.wait_for_end(server);
    }
    let stored: i64 = site.stored("SELECT count(*) FROM call_records");
    assert!(stored > before + 300, "{stored}");
    assert_eq!(count(), before, "one look is one state");
    let log = daemon.stop();
    assert!(
        !log.contains("WARN") || !log.contains("the store failed"),
        "{log}"
    );
    reader.execute_batch("COMMIT").expect("over");
    assert!(count() > before + 300);
    drop(reader);
    site.assert_equals_source();
    // The log is moved into the file once nobody reads what is before it.
    site.catch_up();
    let log = std::fs::metadata(site.path("store.db-wal"));
    assert!(log.is_err(), "{log:?}");
}

#[test]
fn a_file_is_made_by_several_at_once() {
    made_at_once(None);
}

#[test]
fn a_store_on_postgres_is_made_by_several_at_once() {
    made_at_once(Some(Server::of_kind("postgres", "at-once-postgres", &[])));
}

#[test]
fn a_store_on_mariadb_is_made_by_several_at_once() {
    made_at_once(Some(Server::of_kind(
        "mariadb-11.8",
        "at-once-mariadb",
        &[],
    )));
}

#[test]
fn a_store_on_mysql_is_made_by_several_at_once() {
    made_at_once(Some(Server::of_kind("mysql-9", "at-once-mysql", &[])));
}

/// Two daemons of two sources and two commands, on an empty store; some are killed
/// on the way, so that others find what they left.
fn made_at_once(server: Option<Server>) {
    const ROUNDS: u32 = 2;
    let name = server.as_ref().map_or("file".to_owned(), Server::name);
    let source = &Server::start(&format!("at-once-{name}-source"), &[]);
    let site = Site::new(source, &format!("at_once_{name}"));
    site.calls(40, 1);
    for round in 0..ROUNDS {
        let url = match &server {
            Some(server) => server.store_url(&format!("optimizer{round}")),
            None => format!("sqlite://{}", site.path(&format!("{round}.db")).display()),
        };
        let first = Site::beside(source, &site.database).on_store(&url);
        let second = Site::beside(source, &site.database).on_store(&url);
        let other = second
            .config()
            .replace("name = \"main\"", "name = \"other\"");
        second.configure(&other);
        let mut all: Vec<Child> = Vec::new();
        let run = ["run", "--until-caught-up"];
        let migrate = ["store", "migrate"];
        for (site, words) in [
            (&first, run),
            (&second, run),
            (&first, migrate),
            (&second, migrate),
        ] {
            let mut command = site.command(&words);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            all.push(command.spawn().expect("didtail"));
        }
        if round > 0 {
            // One that is at it, or waits, or has ended.
            std::thread::sleep(std::time::Duration::from_millis(60 * u64::from(round)));
            let mut killed = all.remove(2);
            drop(killed.kill());
            drop(killed.wait());
        }
        for child in all {
            let output = child.wait_with_output().expect("its end");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "round {round}: {said}");
        }
        // All steps were made, each once, and what was made is a store.
        let pending = first.didtail(&["store", "migrate", "--print"]);
        assert_eq!(pending.good(), "");
        drop(Ended::of(&mut first.command(&migrate)).good());
        if server.is_some() {
            first.catch_up();
            first.assert_invariant();
            let numbers = first.didtail(&["stats", "--json"]).good();
            assert!(numbers.contains("total_calls"), "{numbers}");
        }
    }
}

fn traffic(site: &Site, seed: u32) -> Child {
    let mut traffic = site.simulator_command("run");
    let seed = seed.to_string();
    traffic.args(["--calls", "150", "--seed", &seed, "--noise", "2"]);
    traffic
        .stdout(Stdio::null())
        .spawn()
        .expect("the simulator")
}

fn over(mut traffic: Child) {
    let status = traffic.wait().expect("the simulator");
    assert!(status.success(), "{status}");
}

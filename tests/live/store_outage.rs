//! Stores on servers, with didtail and the server killed again and again: in the
//! end every number is the source's.

use crate::kill::Moments;
use crate::support::{Ended, Server, Site, wait_until};

const CALLS: &str = "5000";
/// How often the store's server is killed at least, and how often didtail.
const KILLS_MIN: u32 = 4;

#[test]
fn postgres_and_didtail_are_killed() {
    killed("postgres");
}

#[test]
fn mariadb_and_didtail_are_killed() {
    killed("mariadb-11.8");
}

#[test]
fn mysql_and_didtail_are_killed() {
    killed("mysql-9");
}

fn killed(kind: &'static str) {
    let source = Server::start(&format!("outage-source-{kind}"), &[]);
    let server = Server::of_kind(kind, &format!("outage-{kind}"), &[]);
    let site = Site::new(&source, "asterisk").on_store(&server.store_url("optimizer"));
    let mut moments = Moments(0x5eed, 900);
    let mut traffic = site.simulator_command("run");
    traffic.args(["--calls", CALLS, "--noise", "2", "--connections", "4"]);
    let (mut of_server, mut of_didtail, mut number) = (0, 0, 0);
    std::thread::scope(|scope| {
        let traffic = scope.spawn(move || Ended::of(&mut traffic));
        let is_enough = |server: u32, didtail: u32| server.min(didtail) >= KILLS_MIN;
        let mut daemon = site.daemon();
        while !traffic.is_finished() || !is_enough(of_server, of_didtail) {
            std::thread::sleep(moments.next());
            number += 1;
            if number % 2 == 0 {
                server.crash();
                of_server += 1;
                std::thread::sleep(moments.next() / 3);
                server.start_again();
            }
            if number % 3 == 0 {
                let log = daemon.kill();
                assert!(!log.contains("error: "), "it ended by itself: {log}");
                of_didtail += 1;
                daemon = site.daemon();
            } else {
                assert!(daemon.is_running(), "it ended: {}", daemon.log());
            }
        }
        traffic.join().expect("the simulator ran").good();
        site.wait_for_end(&source);
        let log = daemon.stop();
        assert!(!log.contains("ERROR"), "{log}");
    });
    assert!(site.assert_equals_source() >= 4_500);
}

/// Hours, in a test seconds: the stream waits, memory does not grow, and all is
/// caught up by itself.
#[test]
fn a_long_outage_is_caught_up() {
    let source = Server::start("outage-long-source", &[]);
    let server = Server::of_kind("postgres", "outage-long", &[]);
    let site = Site::new(&source, "asterisk").on_store(&server.store_url("optimizer"));
    site.calls(300, 1);
    let mut daemon = site.following();
    site.wait_for_end(&source);
    server.stop();
    site.calls(4_000, 2);
    daemon.wait_for_times("the store failed", 3);
    let peak = daemon.peak_mib();
    server.start_again();
    site.wait_for_end(&source);
    daemon.wait_for("the store works again");
    let log = daemon.stop();
    assert!(!log.contains("ERROR"), "{log}");
    assert!(peak < 150, "{peak} MiB");
    site.assert_equals_source();
}

/// Both may be started with the machine, in any order.
#[test]
fn a_store_that_is_there_later_is_waited_for() {
    let source = Server::start("outage-later-source", &[]);
    let server = Server::of_kind("postgres", "outage-later", &[]);
    let site = Site::new(&source, "asterisk").on_store(&server.store_url("optimizer"));
    site.calls(50, 1);
    server.stop();
    let mut daemon = site.daemon();
    daemon.wait_for_times("the store cannot be used; trying again", 2);
    let log = daemon.log();
    assert!(log.contains("cannot be reached"), "{log}");
    server.start_again();
    wait_until("it follows", || {
        daemon.log().contains("following the binlog").then_some(())
    });
    site.wait_for_end(&source);
    daemon.stop();
    site.assert_equals_source();
}

/// A server that answers before a commit is on its disk, and crashes; a standby that
/// had not got all is the same. What it forgot is read again.
#[test]
fn a_store_that_forgets_its_newest_commits() {
    let source = Server::start("outage-forgets-source", &[]);
    let late = ["-c", "synchronous_commit=off", "-c", "wal_writer_delay=10s"];
    let server = Server::of_kind("postgres", "outage-forgets", &late);
    let site = Site::new(&source, "asterisk").on_store(&server.store_url("optimizer"));
    site.calls(40, 1);
    let mut daemon = site.following();
    site.wait_for_end(&source);
    server.sql("CHECKPOINT");
    for seed in 2..=4 {
        site.calls(20, seed);
        site.wait_for_end(&source);
        let before = source.binlog_end();
        server.crash();
        server.start_again();
        assert!(!site.is_at(&before), "it has forgotten nothing");
        site.calls(20, seed + 10);
        site.wait_for_end(&source);
    }
    assert!(daemon.is_running(), "{}", daemon.log());
    let log = daemon.stop();
    for said in [
        "has forgotten what was committed",
        "synchronous_commit = on",
    ] {
        assert!(log.contains(said), "{log}");
    }
    assert!(
        log.contains("it is caught up from its own position"),
        "{log}"
    );
    assert!(!log.contains("ERROR"), "{log}");
    site.assert_equals_source();
}

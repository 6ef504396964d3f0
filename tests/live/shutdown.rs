//! How a daemon ends in order, and what happens when two meet.

use std::time::{Duration, Instant};

use crate::support::{Ended, Server, Site, wait_until};

/// Longer than the transaction at work, shorter than a service manager waits.
const SHUTDOWN_MAX: Duration = Duration::from_secs(15);

#[test]
fn sigterm_and_ctrl_c_end_in_order_and_nothing_is_lost() {
    let server = Server::shared();
    let site = Site::new(server, "shutdown");
    for (seed, signal) in [(1, "TERM"), (2, "INT")] {
        let mut traffic = site.simulator_command("run");
        let seed = format!("{seed}");
        traffic.args(["--calls", "300", "--noise", "2", "--seed", &seed]);
        let traffic = std::thread::spawn(move || Ended::of(&mut traffic));
        let resumed = site.position();
        let mut daemon = site.following();
        if let Some(position) = &resumed {
            let words = format!("binlog.position={position}");
            assert!(daemon.log().contains(&words), "no {words} in its log");
        }
        wait_until("it has applied something", || {
            (site.position() != resumed).then_some(())
        });
        let asked = Instant::now();
        daemon.signal(signal);
        let ended = daemon.wait();
        assert_eq!(ended.code, 0, "{signal}: {}", ended.stderr);
        assert!(asked.elapsed() < SHUTDOWN_MAX, "{:?}", asked.elapsed());
        let local: String = site
            .state()
            .query_row("SELECT position FROM checkpoints", [], |row| row.get(0))
            .expect("a checkpoint");
        assert_eq!(Some(local), site.position(), "state and store differ");
        traffic.join().expect("the simulator ran").good();
    }
    site.catch_up();
    site.assert_equals_source();
    let history = site.didtail(&["checkpoint", "history", "--json"]).json();
    let reasons: Vec<&str> = history
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|entry| entry["reason"].as_str())
        .collect();
    assert_eq!(reasons, ["stop", "start", "stop", "start", "stop", "start"]);
}

#[test]
fn a_second_daemon_on_the_same_state_file_is_refused() {
    let site = Site::new(Server::shared(), "same_state");
    let daemon = site.following();
    let second = site.didtail(&["run"]);
    let holder = format!("is held by process {}", daemon.pid());
    second.fails(1, &holder, "stop the daemon first");
    daemon.stop();
}

#[test]
fn a_server_id_that_is_taken_is_refused() {
    let site = Site::new(Server::shared(), "taken_id");
    let config = site.config();
    let (before, _) = config.rsplit_once("server_id = ").expect("an id");
    // The server's own.
    site.configure(&format!("{before}server_id = 1\n"));
    site.didtail(&["run"]).fails(
        3,
        "1 is the server_id of the source itself",
        "choose another",
    );
    site.configure(&config);
    site.calls(20, 1);
    site.catch_up();
    site.assert_equals_source();
}

#[test]
fn two_daemons_of_one_machine_are_two_replicas() {
    let server = Server::shared();
    let site = Site::new(server, "same_id");
    let other = Site::beside(server, "same_id");
    for site in [&site, &other] {
        site.configure(&site.config().replace("server_id = ", "# server_id = "));
    }
    site.calls(50, 1);
    let mut first = site.following();
    site.wait_for_end(server);
    let mut second = other.following();
    site.calls(20, 2);
    let end = server.binlog_end();
    wait_until("both are at the end", || {
        assert!(first.is_running(), "{}", first.log());
        assert!(second.is_running(), "{}", second.log());
        (site.is_at(&end) && other.is_at(&end)).then_some(())
    });
    for daemon in [first, second] {
        let log = daemon.stop();
        assert!(!log.contains("connecting again"), "{log}");
    }
    for site in [&site, &other] {
        site.assert_equals_source();
    }
}

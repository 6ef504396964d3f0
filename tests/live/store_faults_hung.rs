//! A store that is there and says nothing: a server that hangs, a network that lets
//! nothing through and tells nobody, an outage while the source goes on.

use std::process::{Child, Stdio};

use crate::store_faults::Rig;
use crate::support::{Proxy, Server, Site, wait_until};

#[test]
fn postgres_hangs() {
    hangs("postgres");
}

#[test]
fn mariadb_hangs() {
    hangs("mariadb-11.8");
}

fn hangs(kind: &'static str) {
    let rig = Rig::new(kind, &format!("hung-{kind}"), 2, &[]);
    rig.site.calls(40, 50);
    let mut daemon = rig.site.following();
    rig.site.wait_for_end(&rig.source);

    // For longer than a statement may take, in the middle of the traffic.
    let traffic = begin_traffic(&rig, 1);
    rig.server.freeze(true);
    rig.site.calls(40, 2);
    daemon.wait_for("no answer within 2 s");
    daemon.wait_for_times("the store failed", 2);
    over(traffic);

    // Nor can it be opened: that is told soon, with what to look for.
    let other = rig.site.didtail(&["stats"]);
    other.fails(4, "cannot be reached", "whether the server runs");
    assert!(
        other.stderr.contains("no answer within"),
        "{}",
        other.stderr
    );
    rig.server.freeze(false);
    rig.site.wait_for_end(&rig.source);
    daemon.wait_for("the store works again");

    // A daemon that is to end does not wait for it.
    if kind != "postgres" {
        rig.ends_well(daemon);
        return;
    }
    rig.server.freeze(true);
    let failed = daemon.log().matches("the store failed").count();
    rig.site.calls(40, 3);
    daemon.wait_for_times("the store failed", failed + 1);
    let ended = daemon.end();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let said = "gave up on the last transaction";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    rig.server.freeze(false);
    let daemon = rig.site.following();
    rig.ends_well(daemon);
}

#[test]
fn a_link_to_postgres_falls_silent() {
    falls_silent("postgres");
}

#[test]
fn a_link_to_mariadb_falls_silent() {
    falls_silent("mariadb-11.8");
}

/// Half open: the peer is gone and nobody was told, here or there. What it had begun
/// keeps its locks until the server gives it up.
fn falls_silent(kind: &'static str) {
    let rig = Rig::new(kind, &format!("silent-{kind}"), 4, &[]);
    let proxy = Proxy::new(rig.server.port(), 1, 1, false);
    rig.through(proxy.port());
    rig.site.calls(40, 50);
    let mut daemon = rig.site.following();
    rig.site.wait_for_end(&rig.source);
    let traffic = begin_traffic(&rig, 1);
    proxy.stall();
    daemon.wait_for("no answer within 4 s");
    over(traffic);
    let log = rig.ends_well(daemon);
    assert!(log.contains("the store works again"), "{log}");
}

/// Begins to write calls, and waits until didtail has applied some of them.
fn begin_traffic(rig: &Rig, seed: u32) -> Child {
    let began = rig.site.position();
    let mut traffic = rig.site.simulator_command("run");
    let seed = seed.to_string();
    traffic.args(["--calls", "150", "--seed", &seed, "--noise", "2"]);
    let traffic = traffic.stdout(Stdio::null()).spawn();
    wait_until("some of it is applied", || {
        (rig.site.position() != began).then_some(())
    });
    traffic.expect("the simulator")
}

fn over(mut traffic: Child) {
    let status = traffic.wait().expect("the simulator");
    assert!(status.success(), "{status}");
}

/// An outage in which the source gives the connection up as well: it is made again.
/// Beside a source that is idle nothing happens at all.
#[test]
fn an_outage_beside_a_busy_and_an_idle_source() {
    let source = Server::start("outage-busy-source", &[]);
    let server = Server::of_kind("mariadb-11.8", "outage-busy", &[]);
    let url = server.store_url("optimizer");
    let site = Site::new(&source, "asterisk").on_store(&url);
    let impatient = site.config().replace(&url, &format!("{url}&patience=4"));
    site.configure(&impatient);
    site.calls(100, 50);
    let mut daemon = site.following();
    site.wait_for_end(&source);
    let quiet = daemon.log().len();

    // Idle: the daemon has nothing to write, and nothing to say but of its lease, where
    // that was to be renewed just then.
    server.stop();
    std::thread::sleep(std::time::Duration::from_secs(3));
    server.start_again();
    assert!(daemon.is_running());
    let log = daemon.log();
    let mut said = log.get(quiet..).unwrap_or_default().lines();
    assert!(said.all(|line| line.contains("the lease ")), "{log}");

    // Busy: more than is read ahead and than sockets hold.
    server.stop();
    site.simulator("run", &["--calls", "2000", "--seed", "1", "--noise", "4"]);
    daemon.wait_for_times("the store failed", 2);
    let dumps = "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog%'";
    let dumps = source.sql(dumps);
    assert_eq!(dumps.lines().count(), 1, "it was kept: {dumps}");
    source.sql(&format!("KILL {dumps}"));
    daemon.wait_for_times("the store failed", 3);
    let peak = daemon.peak_mib();
    assert!(peak < 150, "{peak} MiB");
    server.start_again();
    daemon.wait_for("the store works again");
    daemon.wait_for("lost the source; connecting again");
    daemon.wait_for("the source is followed again");
    site.wait_for_end(&source);
    let log = daemon.stop();
    assert!(!log.contains("ERROR"), "{log}");
    assert!(site.assert_equals_source() > 1_500);
}

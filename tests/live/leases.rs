//! Two daemons for one source into one store: one writes, the other stands by and
//! takes over, and whoever was thought dead writes nothing when it wakes.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Daemon, Server, Site};

/// How long the source may not be followed after a crash: the lease of ten seconds,
/// the look each second, and connecting on a busy machine.
const TAKE_OVER_MAX: Duration = Duration::from_secs(45);

const STANDING_BY: &str = "standing by";
const TAKEN: &str = "another daemon took the lease";

/// Two sites of one source on one store, with the store's users `one` and `two`.
fn pair(source: &Server, server: &Server, url: &str) -> (Site, Site) {
    let of = |site: Site, user: &str| {
        let admin = if url.starts_with("postgres") {
            "postgres"
        } else {
            "root"
        };
        site.on_store(&url.replace(&format!("//{admin}@"), &format!("//{user}@")))
    };
    if url.starts_with("postgres") {
        server.sql("CREATE ROLE one LOGIN SUPERUSER; CREATE ROLE two LOGIN SUPERUSER");
    } else {
        for user in ["one", "two"] {
            server.sql(&format!(
                "CREATE USER {user}@'%'; GRANT ALL ON *.* TO {user}@'%'"
            ));
        }
    }
    let one = of(Site::new(source, "asterisk"), "one");
    (one, of(Site::beside(source, "asterisk"), "two"))
}

/// Whoever holds the lease now, by what `didtail status` of the site says.
fn is_ours(site: &Site) -> bool {
    let status = site.didtail(&["status", "--json"]).json();
    let lease = &status["sources"][0]["lease"];
    lease["held"] == true && lease["is_this_daemon"] == true
}

#[test]
fn a_second_daemon_stands_by_and_follows_when_the_first_is_stopped() {
    let server = Server::shared();
    let site = Site::new(server, "stand_by");
    let other = Site::beside(server, "stand_by").on_store(&site.store_url());
    site.calls(100, 1);
    let first = site.following();
    site.wait_for_end(server);
    let mut second = other.daemon();
    second.wait_for(STANDING_BY);
    let shown = other.didtail(&["status"]).good();
    assert!(shown.contains("another daemon, "), "{shown}");
    // Who this one is, by the name that leases have.
    let own = other.didtail(&["status", "--json"]).json()["daemon"].clone();
    let own = format!("standing by; it is {}", own.as_str().expect("a name"));
    assert!(shown.contains(&own), "{shown}");
    assert!(is_ours(&site) && !is_ours(&other));
    let health = || other.didtail(&["status", "--json"]).json()["sources"][0]["health"].clone();
    assert_eq!(health(), "standby");
    // A command that cannot stand by says who is at work; nor is it another's to say
    // where that goes on.
    let third = Site::beside(server, "stand_by").on_store(&site.store_url());
    let reset = |how| ["checkpoint", "reset", "--to", "latest", how];
    for command in [
        &["run", "--until-caught-up"][..],
        &reset("--yes"),
        &reset("--dry-run"),
    ] {
        third.didtail(command).fails(
            4,
            "the source `main` is followed by ",
            "stop it there first",
        );
    }
    site.calls(100, 2);
    // Its lease is given back: nobody waits for its end.
    first.stop();
    assert!(!is_ours(&site));
    second.wait_for("following the binlog");
    site.calls(100, 3);
    site.wait_for_end(server);
    assert!(is_ours(&other) && !is_ours(&site));
    assert_eq!(health(), "running");
    // The first comes back, and it is its turn to wait.
    let mut first = site.daemon();
    first.wait_for(STANDING_BY);
    let log = first.stop();
    assert!(!log.contains("following the binlog"), "{log}");
    let log = second.stop();
    assert!(log.contains("another daemon wrote the store"), "{log}");
    assert!(!log.contains("WARN"), "{log}");
    site.assert_equals_source();
}

/// Its own lease does not keep a daemon that was killed from its work.
#[test]
fn a_restart_takes_its_own_lease_at_once() {
    let server = Server::shared();
    let site = Site::new(server, "own_lease");
    site.calls(50, 1);
    let daemon = site.following();
    site.wait_for_end(server);
    daemon.kill();
    site.calls(50, 2);
    let daemon = site.following();
    site.wait_for_end(server);
    let log = daemon.stop();
    assert!(!log.contains(STANDING_BY), "{log}");
    site.assert_equals_source();
}

#[test]
fn a_standby_takes_over_from_a_killed_daemon_on_postgres() {
    killed("postgres");
}

#[test]
fn a_standby_takes_over_from_a_killed_daemon_on_mysql() {
    killed("mysql-9");
}

fn killed(kind: &'static str) {
    let source = Server::start(&format!("lease-killed-source-{kind}"), &[]);
    let server = Server::of_kind(kind, &format!("lease-killed-{kind}"), &[]);
    let (one, two) = pair(&source, &server, &server.store_url("optimizer"));
    one.calls(50, 1);
    let active = one.following();
    let mut standby = two.daemon();
    standby.wait_for(STANDING_BY);
    under_traffic(&one, || {
        let (active, standby) = take_over((&one, active), (&two, standby));
        let (active, standby) = take_over((&two, active), (&one, standby));
        one.wait_for_end(&source);
        active.stop();
        standby.stop();
    });
    one.catch_up();
    one.assert_equals_source();
}

/// Kills the active daemon; the other one takes over, and a new one stands by.
fn take_over(
    (site, active): (&Site, Daemon),
    (other, mut standby): (&Site, Daemon),
) -> (Daemon, Daemon) {
    std::thread::sleep(Duration::from_secs(1));
    let at = Instant::now();
    active.kill();
    standby.wait_for("following the binlog");
    assert!(at.elapsed() < TAKE_OVER_MAX, "{:?}", at.elapsed());
    assert!(is_ours(other));
    let mut next = site.daemon();
    next.wait_for(STANDING_BY);
    (standby, next)
}

#[test]
fn a_paused_daemon_writes_nothing_behind_the_take_over_on_postgres() {
    paused(
        "postgres",
        "CREATE TABLE writes (n BIGINT GENERATED ALWAYS AS IDENTITY, who TEXT DEFAULT session_user);
         CREATE FUNCTION note() RETURNS TRIGGER LANGUAGE plpgsql AS
             'BEGIN INSERT INTO writes DEFAULT VALUES; RETURN NULL; END';
         CREATE TRIGGER progress AFTER INSERT OR UPDATE ON replication_progress
             FOR EACH STATEMENT EXECUTE FUNCTION note();
         CREATE TRIGGER numbers AFTER INSERT OR UPDATE ON did_stats
             FOR EACH STATEMENT EXECUTE FUNCTION note();",
    );
}

#[test]
fn a_paused_daemon_writes_nothing_behind_the_take_over_on_mariadb() {
    paused(
        "mariadb-11.8",
        "CREATE TABLE writes (n BIGINT AUTO_INCREMENT PRIMARY KEY, who VARCHAR(80));
         CREATE TRIGGER made AFTER INSERT ON replication_progress
             FOR EACH ROW INSERT INTO writes (who) VALUES (substring_index(user(), '@', 1));
         CREATE TRIGGER moved AFTER UPDATE ON replication_progress
             FOR EACH ROW INSERT INTO writes (who) VALUES (substring_index(user(), '@', 1));
         CREATE TRIGGER numbers AFTER UPDATE ON did_stats
             FOR EACH ROW INSERT INTO writes (who) VALUES (substring_index(user(), '@', 1));",
    );
}

/// Runs statements in the store as the server's administrator.
fn in_store(server: &Server, kind: &str, statements: &str) -> String {
    if kind == "postgres" {
        server.sql_in("optimizer", statements)
    } else {
        server.sql(&format!("USE optimizer; {statements}"))
    }
}

/// The writers of the store in their order, each once for as long as nobody else wrote.
fn turns(server: &Server, kind: &str) -> Vec<String> {
    let rows = in_store(server, kind, "SELECT who FROM writes ORDER BY n");
    let mut turns: Vec<String> = rows.lines().map(str::to_owned).collect();
    turns.dedup();
    turns
}

fn paused(kind: &'static str, notes: &str) {
    let source = Server::start(&format!("lease-paused-source-{kind}"), &[]);
    let server = Server::of_kind(kind, &format!("lease-paused-{kind}"), &[]);
    let (one, two) = pair(&source, &server, &server.store_url("optimizer"));
    one.calls(50, 1);
    let mut first = one.following();
    one.wait_for_end(&source);
    in_store(&server, kind, notes);
    let mut second = two.daemon();
    second.wait_for(STANDING_BY);
    under_traffic(&one, || {
        pause(&mut first, &mut second, 1);
        pause(&mut second, &mut first, 1);
        pause(&mut first, &mut second, 2);
    });
    one.wait_for_end(&source);
    for daemon in [first, second] {
        let log = daemon.stop();
        assert!(!log.contains("ERROR"), "{log}");
    }
    assert_eq!(turns(&server, kind), ["one", "two", "one", "two"]);
    one.assert_equals_source();
}

/// Stops `active` until `other` has taken over, and lets it go on then: it must
/// notice, for the `times`th time, and stand by.
fn pause(active: &mut Daemon, other: &mut Daemon, times: usize) {
    std::thread::sleep(Duration::from_millis(1500));
    let follows = other.log().matches("following the binlog").count() + 1;
    let standing = active.log().matches(STANDING_BY).count() + 1;
    active.signal("STOP");
    other.wait_for_times("following the binlog", follows);
    // The new one is at work when the old one wakes.
    std::thread::sleep(Duration::from_secs(2));
    active.signal("CONT");
    active.wait_for_times(TAKEN, times);
    active.wait_for_times(STANDING_BY, standing);
}

/// Writes calls into the site's database as long as the work takes.
fn under_traffic(site: &Site, work: impl FnOnce()) {
    let mut traffic = site.simulator_command("run");
    traffic.args(["--calls", "100000", "--rate", "25", "--seed", "2"]);
    let child = traffic.stdout(Stdio::null()).spawn();
    let _traffic = Traffic(child.expect("the simulator starts"));
    work();
}

/// The simulator, which ends with the value.
struct Traffic(Child);

impl Drop for Traffic {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

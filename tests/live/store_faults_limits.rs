//! What a store's server has no more of: connections, room, the right to write. And
//! an administrator who ends sessions. Each is told, waited for, and costs no number.

use std::process::Command;

use crate::store_faults::{Other, Rig};
use crate::support::{Disk, Ended, Server, Site, wait_until};

#[test]
fn a_postgres_administrator_ends_sessions_and_limits_the_role() {
    let rig = Rig::new("postgres", "limits-postgres", 4, &[]);
    rig.sql("CREATE ROLE keeper LOGIN SUPERUSER");
    rig.site.calls(40, 50);
    rig.site.catch_up();
    as_user(&rig, "keeper");
    let mut daemon = rig.site.following();
    let mut seed = 0;
    let sessions = "FROM pg_stat_activity WHERE usename = 'keeper'";
    let end = format!("SELECT pg_terminate_backend(pid) {sessions}");
    let cancel = format!("SELECT pg_cancel_backend(pid) {sessions} AND state = 'active'");
    harassed(&rig, &mut seed, &[&end, &cancel]);
    daemon.wait_for("cannot be reached");
    assert!(daemon.is_running(), "{}", daemon.log());

    rig.sql("ALTER ROLE keeper NOSUPERUSER CONNECTION LIMIT 1");
    rig.sql("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO keeper");
    rig.sql(&end);
    rig.calls(&mut seed);
    daemon.wait_for("takes no more connections");
    daemon.wait_for("too many connections for role");
    rig.sql("ALTER ROLE keeper CONNECTION LIMIT -1");
    let log = rig.ends_well(daemon);
    assert!(log.contains("raise max_connections"), "{log}");
}

#[test]
fn a_mariadb_administrator_ends_sessions_and_limits_the_user() {
    limited("mariadb-11.8");
}

#[test]
fn a_mysql_administrator_ends_sessions_and_limits_the_user() {
    limited("mysql-9");
}

fn limited(kind: &'static str) {
    let rig = Rig::new(kind, &format!("limits-{kind}"), 4, &[]);
    rig.sql("CREATE USER keeper@'%'; GRANT ALL ON optimizer.* TO keeper@'%'");
    rig.site.calls(40, 50);
    rig.site.catch_up();
    as_user(&rig, "keeper");
    let mut daemon = rig.site.following();
    let mut seed = 0;
    while daemon.log().matches("the store failed").count() < 2 {
        std::thread::scope(|scope| {
            let traffic = scope.spawn(|| rig.calls(&mut seed));
            while !traffic.is_finished() {
                to_sessions(&rig, "KILL QUERY", "keeper");
                to_sessions(&rig, "KILL", "keeper");
            }
        });
        rig.site.wait_for_end(&rig.source);
    }
    daemon.wait_for("cannot be reached");
    assert!(daemon.is_running(), "{}", daemon.log());

    // The limit of its own, and the one of all.
    rig.sql("ALTER USER keeper@'%' WITH MAX_USER_CONNECTIONS 1");
    to_sessions(&rig, "KILL", "keeper");
    rig.calls(&mut seed);
    daemon.wait_for("takes no more connections");
    rig.sql("ALTER USER keeper@'%' WITH MAX_USER_CONNECTIONS 0");
    rig.site.wait_for_end(&rig.source);
    let most = rig.sql("SELECT @@GLOBAL.max_connections");
    rig.sql("CREATE USER others@'%'; SET GLOBAL max_connections = 10");
    let mut others = Vec::new();
    wait_until("all are taken", || {
        to_sessions(&rig, "KILL", "keeper");
        let mut session = rig.server.session("", "DO SLEEP(300)");
        session.arg("--user=others");
        others.push(Other::begin(session));
        let taken = "SELECT count(*) FROM information_schema.processlist WHERE user = 'others'";
        let taken: Option<u32> = administrator(&rig, taken).trim().parse().ok();
        taken.is_some_and(|taken| taken >= 9).then_some(())
    });
    rig.calls(&mut seed);
    daemon.wait_for("Too many connections");
    administrator(&rig, &format!("SET GLOBAL max_connections = {most}"));
    drop(others);
    to_sessions(&rig, "KILL", "others");
    let log = rig.ends_well(daemon);
    assert!(log.contains("SHOW PROCESSLIST"), "{log}");
}

/// Runs a statement with the number of each session that a user has now.
fn to_sessions(rig: &Rig, verb: &str, user: &str) {
    let list = format!("SELECT id FROM information_schema.processlist WHERE user = '{user}'");
    for id in administrator(rig, &list).lines() {
        // It may be gone already.
        let end = format!("{verb} {id}");
        drop(Ended::of(&mut rig.server.session("optimizer", &end)));
    }
}

/// What the one connection says that is kept for administrators, once it is free.
fn administrator(rig: &Rig, statement: &str) -> String {
    wait_until("the administrator is let in", || {
        let ended = Ended::of(&mut rig.server.session("optimizer", statement));
        (ended.code == 0).then_some(ended.stdout)
    })
}

/// Lets didtail log in as another user, who needs no password.
fn as_user(rig: &Rig, user: &str) {
    let config = rig.site.config();
    let (scheme, rest) = config.split_once("[store]\nurl = \"").expect("a store");
    let (url, rest) = rest.split_once('"').expect("its end");
    let (kind, place) = url.split_once("://").expect("an address");
    let (_, place) = place.split_once('@').expect("a user");
    let url = format!("{kind}://{user}@{place}&patience=4");
    rig.site
        .configure(&format!("{scheme}[store]\nurl = \"{url}\"{rest}"));
}

/// Runs statements beside the traffic, again and again.
fn harassed(rig: &Rig, seed: &mut u32, statements: &[&str]) {
    for _ in 0..2 {
        std::thread::scope(|scope| {
            let traffic = scope.spawn(|| rig.calls(seed));
            while !traffic.is_finished() {
                for statement in statements {
                    rig.sql(statement);
                }
            }
        });
        rig.site.wait_for_end(&rig.source);
    }
}

/// A hot standby as target: it can be read and not written, until it is the primary.
#[test]
fn a_standby_is_waited_for_until_it_is_promoted() {
    let source = Server::start("standby-source", &[]);
    let primary = Server::of_kind("postgres", "primary", &[]);
    let site = Site::new(&source, "standby").on_store(&primary.store_url("optimizer"));
    site.calls(40, 50);
    site.catch_up();
    let dir = Server::place("standby");
    primary.copy_to(&dir);
    let standby = Server::of_kind("postgres", "standby", &["-c", "hot_standby=on"]);
    primary.stop();

    let place = |server: &Server| format!(":{}/optimizer", server.port());
    let url = site.store_url().replace(&place(&primary), &place(&standby));
    let site = site.on_store(&url);
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()").trim(), "t");
    site.calls(40, 1);
    // What only reads has no need of the primary.
    site.didtail(&["stats"]).good();
    let mut daemon = site.daemon();
    daemon.wait_for("read-only transaction");
    for said in ["is read-only", "to the primary server"] {
        assert!(daemon.log().contains(said), "{}", daemon.log());
    }
    standby.sql("SELECT pg_promote()");
    site.wait_for_end(&source);
    let log = daemon.stop();
    assert!(!log.contains("ERROR"), "{log}");
    site.assert_equals_source();
}

#[test]
fn the_disk_of_postgres_is_full() {
    // A server that cannot write its log ends, and its administrator starts it again.
    let small = ["-c", "max_wal_size=32MB", "-c", "min_wal_size=32MB"];
    full("postgres", "130m", &small, "No space left on device");
}

#[test]
fn the_disk_of_mariadb_is_full() {
    full("mariadb-11.8", "260m", &["--skip-log-bin"], "is full");
}

/// Takes all room on the disk of a store's server, and gives it back.
fn full(kind: &'static str, size: &str, arguments: &[&str], said: &str) {
    let name = format!("full-{kind}");
    let disk = Disk::mount(&Server::place(&name), size);
    let rig = Rig::new(kind, &name, 10, arguments);
    rig.site.calls(40, 50);
    rig.site.catch_up();
    let mut daemon = rig.site.following();
    let ballast = disk.file("ballast");
    // It takes what there is, and says that there is no more.
    let fill = || {
        let mut fill = Command::new("dd");
        let of = format!("of={ballast}");
        fill.args(["if=/dev/zero", &of, "bs=64k"]);
        drop(Ended::of(&mut fill));
    };
    fill();
    let mut seed = 0;
    while daemon.log().matches("the store failed").count() < 3 {
        rig.calls(&mut seed);
        let end = rig.source.binlog_end();
        wait_until("it fails, or all is applied", || {
            let failed = daemon.log().matches("the store failed").count() >= 3;
            (failed || rig.site.is_at(&end)).then_some(())
        });
    }
    let log = daemon.log();
    assert!(
        log.contains(said) || log.contains("cannot be reached"),
        "{log}"
    );
    assert!(daemon.is_running(), "{log}");
    std::fs::remove_file(&ballast).expect("room");
    if !rig.server.is_running() {
        rig.server.start_again();
    }
    daemon.wait_for("the store works again");
    let log = rig.ends_well(daemon);
    assert!(log.contains("nothing is lost"), "{log}");
}

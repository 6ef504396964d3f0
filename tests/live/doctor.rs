//! `didtail doctor` on servers of every kind: what it finds, that it finds all
//! of it at once, and the very lines that it tells an operator to copy.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::support::{Ended, Server, Site};

/// What one run found.
struct Found {
    code: i32,
    findings: Vec<Value>,
}

fn doctor(site: &Site) -> Found {
    let ended: Ended = site.didtail(&["doctor", "--json"]);
    let all: Value = serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr));
    assert_eq!(all["ready"], ended.code == 0, "{}", ended.stderr);
    let findings = all["findings"].as_array().expect("a list").clone();
    Found {
        code: ended.code,
        findings,
    }
}

impl Found {
    /// Demands that a check came out so, with these words in what is there and
    /// in what mends it.
    #[track_caller]
    fn has(&self, check: &str, outcome: &str, actual: &str, fix: &str) {
        let mut ones = self.findings.iter();
        let one = ones.find(|one| one["check"] == check);
        let one = one.unwrap_or_else(|| panic!("no {check}: {:#?}", self.findings));
        let text = |name: &str| one[name].as_str().unwrap_or_default();
        assert_eq!(text("outcome"), outcome, "{one:#}");
        assert!(text("actual").contains(actual), "no `{actual}` in {one:#}");
        assert!(text("fix").contains(fix), "no `{fix}` in {one:#}");
        assert!(outcome == "good" || outcome == "unknown" || !text("expected").is_empty());
    }

    fn bad(&self) -> Vec<&str> {
        let bad = self.findings.iter().filter(|one| one["outcome"] == "bad");
        bad.map(|one| one["check"].as_str().expect("a name"))
            .collect()
    }

    /// Demands that the daemon would run.
    #[track_caller]
    fn is_ready(&self) {
        assert!(
            self.bad().is_empty() && self.code == 0,
            "{:#?}",
            self.findings
        );
    }
}

/// Another user for the site, with a password and these grants.
fn as_user(server: &Server, site: &Site, user: &str, grants: &[&str]) {
    server.sql(&format!(
        "CREATE USER {user}@'%' IDENTIFIED BY 'not a secret'"
    ));
    for grant in grants {
        server.sql(&format!("GRANT {grant} TO {user}@'%'"));
    }
    let config = site
        .config()
        .replace("mysql://didtail@", &format!("mysql://{user}@"));
    site.configure(&config);
}

#[test]
fn a_site_that_is_well() {
    let server = Server::start("well", &[]);
    let site = Site::new(&server, "asterisk");
    let config = site.config();
    let chosen = config.lines().filter(|line| !line.starts_with("server_id"));
    site.configure(&chosen.map(|line| format!("{line}\n")).collect::<String>());
    let password = site.path("password");
    let mode = |mode| std::fs::set_permissions(&password, Permissions::from_mode(mode));
    mode(0o644).expect("a mode");
    let exposed = "every user of this machine may read or change ";
    let before = doctor(&site);
    before.is_ready();
    before.has("password file", "note", exposed, "chmod 0640");
    let check = site.didtail(&["config", "check"]).good();
    assert!(check.contains(&format!("warning: {exposed}")), "{check}");
    mode(0o640).expect("a mode");
    let check = site.didtail(&["config", "check"]).good();
    assert!(!check.contains("warning"), "{check}");
    before.has("state file", "good", "will be created", "");
    before.has("store", "good", "will be created", "");
    let password = site.path("password");
    let allow = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&password, mode).expect("its mode is set");
    };
    allow(0o644);
    doctor(&site).has("password file", "note", "/password", "chmod 0640");
    allow(0o640);
    let others = doctor(&site).findings;
    assert!(others.iter().all(|one| one["check"] != "password file"));
    before.has("sessions", "good", "no statement in binlog.0", "");
    before.has("attribution", "unknown", "no call yet", "");
    before.has(
        "binlog expiry",
        "good",
        "until they are deleted by hand",
        "",
    );
    site.calls(150, 1);
    site.catch_up();
    let daemon = site.following();
    let after = doctor(&site);
    after.is_ready();
    for check in [
        "binlog_format",
        "binlog_row_image",
        "binlog_checksum",
        "server_id",
        "replica",
    ] {
        after.has(check, "good", "", "");
    }
    after.has("same server", "good", "", "");
    after.has(
        "server_id",
        "good",
        "which didtail chose among a billion",
        "",
    );
    after.has("state file", "good", "state.db: binlog.0", "");
    after.has("store", "good", "store.db", "");
    after.has("position in the store", "good", "binlog.0", "");
    after.has("resume position", "good", "0 files before the end", "");
    after.has(
        "time to resume",
        "good",
        "until they are deleted by hand",
        "",
    );
    after.has(
        "sessions",
        "good",
        "row events and no statement in binlog.0",
        "",
    );
    after.has("attribution", "good", "by caller code", "");
    after.has("DIDs in the store", "good", "by caller code", "");
    assert_eq!(after.findings[0]["source"], "main");
    let text = site.didtail(&["doctor"]).good();
    assert!(
        text.contains("\nEverything that `didtail run` needs is there."),
        "{text}"
    );
    daemon.stop();

    // A session that keeps the old format, beside a server that is set to ROW.
    site.sql(
        &server,
        "SET SESSION binlog_format = STATEMENT;
         UPDATE vicidial_log SET status = 'NI' ORDER BY uniqueid LIMIT 1",
    );
    let sessions = doctor(&site);
    sessions.is_ready();
    sessions.has("sessions", "note", "1 statements beside", "AST_VDauto_dial");

    // Calls whose dials are gone.
    site.sql(&server, "TRUNCATE TABLE vicidial_dial_log");
    let lonely = doctor(&site);
    lonely.is_ready();
    lonely.has(
        "attribution",
        "note",
        "(0 %)",
        "SELECT * FROM vicidial_dial_log",
    );

    // Two hours, and the binlog was closed just now.
    server.sql("SET GLOBAL binlog_expire_logs_seconds = 7200; FLUSH BINARY LOGS");
    let soon = doctor(&site);
    soon.is_ready();
    soon.has(
        "time to resume",
        "note",
        "may be deleted in 2.0 hours",
        "start didtail before",
    );
    soon.has(
        "binlog expiry",
        "note",
        "after 2 hours",
        "SET GLOBAL expire_logs_days = 7;",
    );
}

#[test]
fn statements_and_partial_rows_are_remarks() {
    let server = Server::start("remarks", &[]);
    let site = Site::new(&server, "asterisk");
    for format in ["MIXED", "STATEMENT"] {
        server.sql(&format!("SET GLOBAL binlog_format = {format}"));
        let found = doctor(&site);
        found.is_ready();
        let cost = format!("{format}: statements have no rows in them");
        found.has(
            "binlog_format",
            "note",
            &cost,
            "SET GLOBAL binlog_format = 'ROW'; and",
        );
    }
    // Then every table must be readable, for its rows are read again.
    let plain = [
        "REPLICATION SLAVE, BINLOG MONITOR ON *.*",
        "SELECT ON asterisk.vicidial_log",
    ];
    as_user(&server, &site, "narrow", &plain);
    let narrow = doctor(&site);
    narrow.has(
        "vicidial_dial_log",
        "bad",
        "this binlog needs it to be read",
        "GRANT SELECT ON `asterisk`.* TO 'narrow'@'%';",
    );
    server.sql("SET GLOBAL binlog_format = ROW");
    let rows = doctor(&site);
    rows.is_ready();
    let lost = "not readable by this user, or missing: calls cannot be attributed";
    let grant = "GRANT SELECT ON `asterisk`.`vicidial_dial_log` TO 'narrow'@'%';";
    rows.has("vicidial_dial_log", "note", lost, grant);
    let unread = "vicidial_log_extended cannot be read, see above";
    rows.has("attribution", "unknown", unread, "");
    server.sql("GRANT SELECT ON asterisk.vicidial_log_extended TO narrow@'%'");
    let unread = "vicidial_dial_log cannot be read, see above";
    doctor(&site).has("attribution", "unknown", unread, "");
    let config = site.config();
    let user = config.replace("mysql://didtail@", "mysql://narrow@");
    site.configure(&user.replace("/asterisk", "/asterix"));
    let misspelt = doctor(&site);
    misspelt.has(
        "vicidial_log",
        "bad",
        "not readable by this user, or missing",
        "or the database in the url is not VICIdial's (usually `asterisk`)",
    );
    for check in ["attribution", "clock"] {
        misspelt.has(
            check,
            "unknown",
            "vicidial_log cannot be read, see above",
            "",
        );
    }
    site.configure(&site.config());
    server.sql("SET GLOBAL binlog_row_image = MINIMAL; SET GLOBAL binlog_checksum = NONE");
    let minimal = doctor(&site);
    minimal.is_ready();
    minimal.has(
        "binlog_row_image",
        "note",
        "MINIMAL: rows come",
        "SET GLOBAL binlog_row_image",
    );
    minimal.has(
        "binlog_checksum",
        "note",
        "NONE",
        "SET GLOBAL binlog_checksum = 'CRC32'; and",
    );
}

#[test]
fn everything_that_is_wrong_at_once() {
    let server = Server::start("wrong", &["--skip-log-bin"]);
    let site = Site::new(&server, "asterisk");
    as_user(
        &server,
        &site,
        "nobody",
        &["SELECT ON asterisk.vicidial_log"],
    );
    let config = std::fs::read_to_string(site.path("didtail.toml")).expect("a file");
    let dir = site.dir.display().to_string();
    site.configure(&config.replace(&format!("{dir}/store.db"), &format!("{dir}/gone/store.db")));
    let found = doctor(&site);
    assert_eq!(found.code, 1);
    found.has("store", "bad", "/gone is missing", "install -d -o didtail");
    found.has(
        "log_bin",
        "bad",
        "OFF",
        "log_bin = mysql-bin, server_id = 1, binlog_format = ROW",
    );
    found.has(
        "replication privilege",
        "bad",
        "not granted",
        "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO 'nobody'@'%';",
    );
    assert_eq!(
        found.bad()[..2],
        ["store", "log_bin"],
        "{:#?}",
        found.findings
    );
    let text = site.didtail(&["doctor"]);
    text.fails(1, "checks failed", "run `didtail doctor` again");
    assert!(text.stdout.contains("BAD      log_bin"), "{}", text.stdout);
    assert!(
        text.stdout.contains("to mend it: under [mysqld]"),
        "{}",
        text.stdout
    );
    server.stop();
    let down = doctor(&site);
    assert_eq!(down.code, 1);
    down.has(
        "reachable",
        "bad",
        "the connection to 127.0.0.1",
        "check that the server runs",
    );
    down.has("store", "bad", "/gone is missing", "install -d");
}

#[test]
fn what_mysql_calls_it() {
    let server = Server::of_kind("mysql-9", "doctor-mysql", &[]);
    let site = Site::new(&server, "asterisk");
    site.calls(60, 1);
    let found = doctor(&site);
    found.is_ready();
    found.has("version", "good", "9.", "");
    found.has("binlog_format", "good", "ROW", "");
    found.has("server_id", "good", "is free", "");
    let own = server.sql("SELECT @@GLOBAL.server_id");
    let config = site.config();
    let line = config.lines().find(|line| line.starts_with("server_id = "));
    let taken = format!("server_id = {}", own.trim());
    site.configure(&config.replace(line.expect("an id"), &taken));
    let same = format!("{} is the server_id of the source itself", own.trim());
    doctor(&site).has("server_id", "bad", &same, "choose another");
    site.didtail(&["run"]).fails(3, &same, "or remove it");
    site.configure(&config);
    found.has("binlog expiry", "good", "after 720 hours", "");
    found.has("attribution", "good", "", "");
    server.sql("SET GLOBAL binlog_expire_logs_seconds = 3600");
    server.sql("SET GLOBAL binlog_format = MIXED");
    as_user(&server, &site, "bare", &["SELECT ON asterisk.*"]);
    let bare = doctor(&site);
    assert_eq!(bare.code, 1);
    let grant = "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'bare'@'%';";
    bare.has("replication privilege", "bad", "not granted", grant);
    bare.has("binlog position", "bad", "", grant);
    bare.has(
        "binlog_format",
        "note",
        "MIXED",
        "SET PERSIST binlog_format = 'ROW';",
    );
    bare.has(
        "binlog_row_metadata",
        "note",
        "MINIMAL",
        "SET PERSIST binlog_row_metadata = 'FULL';",
    );
    let keep = "SET PERSIST binlog_expire_logs_seconds = 604800;";
    bare.has("binlog expiry", "note", "after 1 hours", keep);
    // Without the privilege nobody can tell whether it is a replica.
    bare.has("replica", "good", "log_replica_updates is ON", "");
}

#[test]
fn a_replica_and_its_followers() {
    let primary = Server::start("primary", &[]);
    primary
        .sql("CREATE USER copy@'%' IDENTIFIED BY 'x'; GRANT REPLICATION SLAVE ON *.* TO copy@'%'");
    let arguments = [
        "--server-id=2",
        "--slave-skip-errors=1062",
        "--skip-log-slave-updates",
    ];
    let replica = Server::start("replica", &arguments);
    let site = Site::new(&replica, "asterisk");
    doctor(&site).has("replica", "good", "it replicates nothing", "");
    let end = primary.binlog_end();
    let (file, offset) = end.split_once(':').expect("a position");
    replica.sql(&format!(
        "CHANGE MASTER TO master_host='127.0.0.1', master_port={}, master_user='copy', \
         master_password='x', master_log_file='{file}', master_log_pos={offset}; START SLAVE",
        primary.port()
    ));
    crate::support::wait_until("the replica runs", || {
        let status = replica.sql("SHOW STATUS LIKE 'Slave_running'");
        status.contains("ON").then_some(())
    });
    let found = doctor(&site);
    assert_eq!(found.bad(), ["replica"]);
    let off = "a replica with log_slave_updates = OFF";
    found.has(
        "replica",
        "bad",
        off,
        "log_slave_updates = 1 under [mysqld]",
    );
    found.has(
        "replica errors",
        "note",
        "skips the errors 1062",
        "follow the primary",
    );
    site.didtail(&["run"])
        .fails(3, off, "log_slave_updates = 1");
}

#[test]
fn a_server_id_that_another_replica_has() {
    let server = Server::start("same-id", &[]);
    let first = Site::new(&server, "asterisk");
    let daemon = first.following();
    let second = Site::beside(&server, "asterisk");
    let id = |site: &Site| {
        let config = site.config();
        let line = config
            .lines()
            .find_map(|line| line.strip_prefix("server_id = "));
        line.expect("an id").to_owned()
    };
    let config = second.config();
    let same = format!("server_id = {}", id(&first));
    second.configure(&config.replace(&format!("server_id = {}", id(&second)), &same));
    // Whoever may not list the replicas cannot tell.
    let blind = doctor(&second);
    blind.is_ready();
    blind.has(
        "server_id",
        "unknown",
        "could not be listed",
        "GRANT REPLICATION MASTER ADMIN ON *.* TO 'didtail'@'%'; or as an administrator: SHOW SLAVE HOSTS;",
    );
    server.sql("GRANT REPLICATION MASTER ADMIN ON *.* TO didtail@'%'");
    let found = doctor(&second);
    assert_eq!(found.bad(), ["server_id"]);
    let clash = format!(
        "another replica of the source uses the server_id {} too",
        id(&first)
    );
    found.has(
        "server_id",
        "bad",
        &clash,
        "give this [[source]] another server_id",
    );
    second
        .didtail(&["run"])
        .fails(3, &clash, "another server_id");
    // The first one was not disturbed, and finds nothing wrong with itself.
    doctor(&first).has("server_id", "good", "is free", "");
    let log = daemon.stop();
    assert!(!log.contains(" WARN "), "{log}");
}

#[test]
fn another_server_under_the_same_name() {
    let (one, other) = (Server::shared(), Server::start("doctor-other", &[]));
    let site = Site::new(one, "moved_away");
    site.calls(20, 1);
    site.catch_up();
    Site::new(&other, "moved_away");
    let (from, to) = (one.port().to_string(), other.port().to_string());
    site.configure(&site.config().replace(&from, &to));
    let found = doctor(&site);
    assert_eq!(found.code, 1);
    found.has(
        "same server",
        "bad",
        "this server has not written",
        "checkpoint reset",
    );
    // What it says of where to go on is the only word on it.
    for check in ["resume position", "time to resume"] {
        let mut others = found.findings.iter();
        assert!(others.all(|one| one["check"] != check), "{check}");
    }
}

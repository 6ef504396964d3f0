//! What an operator or a server can get wrong in the source: each is named,
//! with the way to mend it, and costs no number.

use std::net::TcpListener;

use didtail::binlog::Position;

use crate::support::{Daemon, Numbers, Server, Site};

/// A site that has worked, and what it had before something was broken.
struct Worked {
    site: Site,
    position: Option<String>,
    numbers: Numbers,
}

impl Worked {
    fn new(server: &Server, database: &str) -> Self {
        let site = Site::new(server, database);
        site.calls(20, 1);
        site.catch_up();
        Self {
            position: site.position(),
            numbers: site.numbers(),
            site,
        }
    }

    /// Demands that the daemon refuses with these words and touches nothing.
    #[track_caller]
    fn refuses(&self, code: i32, error: &str, hint: &str) {
        let ended = self.site.didtail(&["run", "--until-caught-up"]);
        ended.fails(code, error, hint);
        assert_eq!(self.site.position(), self.position);
        assert!(self.site.numbers() == self.numbers, "a number moved");
    }

    /// Demands that it goes on and misses nothing.
    #[track_caller]
    fn goes_on(&self) {
        self.site.calls(20, 2);
        self.site.catch_up();
        self.site.assert_equals_source();
    }
}

#[test]
fn a_wrong_password() {
    let worked = Worked::new(Server::shared(), "password");
    let file = worked.site.path("password");
    let right = std::fs::read(&file).expect("a password");
    std::fs::write(&file, "wrong").expect("written");
    worked.refuses(3, "refused the login", "password_file");
    std::fs::write(&file, right).expect("written");
    worked.goes_on();
}

#[test]
fn a_user_without_replication_slave() {
    let server = Server::shared();
    let worked = Worked::new(server, "no_replication");
    let site = &worked.site;
    as_reader(server, site, "no_slave", &["SELECT ON no_replication.*"]);
    server.sql("GRANT BINLOG MONITOR ON *.* TO no_slave@'%'");
    worked.refuses(
        3,
        "expected REPLICATION SLAVE",
        "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO 'no_slave'@'%';",
    );
    server.sql("GRANT REPLICATION SLAVE ON *.* TO no_slave@'%'");
    worked.goes_on();
}

#[test]
fn a_user_without_select_on_the_calls() {
    let server = Server::shared();
    let worked = Worked::new(server, "no_select");
    let site = &worked.site;
    as_reader(
        server,
        site,
        "no_select",
        &[
            "REPLICATION SLAVE, BINLOG MONITOR ON *.*",
            "SELECT ON no_select.vicidial_log_extended",
            "SELECT ON no_select.vicidial_dial_log",
            "SELECT ON no_select.vicidial_dial_cid_log",
            "SELECT ON no_select.vicidial_carrier_log",
            "SELECT ON no_select.vicidial_statuses",
            "SELECT ON no_select.vicidial_campaign_statuses",
        ],
    );
    let grant = "GRANT SELECT ON `no_select`.`vicidial_log` TO 'no_select'@'%'";
    worked.refuses(3, "not readable by this user", grant);
    server.sql(grant);
    worked.goes_on();
}

/// Makes a user with these grants, and lets the site use it.
fn as_reader(server: &Server, site: &Site, user: &str, grants: &[&str]) {
    server.sql(&format!(
        "CREATE USER {user}@'%' IDENTIFIED BY 'not a secret'"
    ));
    for grant in grants {
        server.sql(&format!("GRANT {grant} TO {user}@'%'"));
    }
    let config = site.config();
    site.configure(&config.replace("mysql://didtail@", &format!("mysql://{user}@")));
}

#[test]
fn a_server_without_a_binlog() {
    let server = Server::start("no-binlog", &["--skip-log-bin"]);
    let site = Site::new(&server, "asterisk");
    site.didtail(&["run"])
        .fails(3, "log_bin: expected ON; found OFF", "log_bin = mysql-bin");
    let status = site.didtail(&["status", "--json"]).json();
    let reason = status["sources"][0]["last_error"].to_string();
    assert!(reason.contains("log_bin: expected ON"), "{status}");
    assert_eq!(site.position(), None);
}

#[test]
fn a_database_without_calls() {
    let server = Server::shared();
    let worked = Worked::new(server, "no_table");
    worked.site.sql(server, "RENAME TABLE vicidial_log TO away");
    worked.refuses(3, "vicidial_log: expected", "database is VICIdial's");
    worked.site.sql(server, "RENAME TABLE away TO vicidial_log");
    worked.goes_on();
}

#[test]
fn a_call_table_without_a_needed_column() {
    let server = Server::shared();
    let worked = Worked::new(server, "no_column");
    let rename = |from: &str, to: &str| {
        let change = format!("ALTER TABLE vicidial_log RENAME COLUMN {from} TO {to}");
        worked.site.sql(server, &change);
    };
    rename("campaign_id", "campaign");
    worked.refuses(3, "without campaign_id", "upgrade VICIdial's database");
    rename("campaign", "campaign_id");
    worked.goes_on();
}

#[test]
fn a_source_that_nobody_serves() {
    let worked = Worked::new(Server::shared(), "nobody");
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let config = worked.site.config();
    let url = format!("mysql://didtail@127.0.0.1:{port}/nobody");
    let lines = config.lines().map(|line| match line.split_once(" = ") {
        Some(("url", old)) if old.contains("mysql") => format!("url = \"{url}\"\n"),
        _ => format!("{line}\n"),
    });
    worked.site.configure(&lines.collect::<String>());
    let address = format!("the connection to 127.0.0.1:{port} failed");
    worked.refuses(3, &address, "check that the server runs");
    worked
        .site
        .configure(&config.replace("@127.0.0.1:", "@no-such-host.invalid:"));
    worked.refuses(
        3,
        "the host name is not known",
        "check the host name in the url",
    );
    worked.site.configure(&config);
    worked.goes_on();
}

#[test]
fn a_position_that_was_purged() {
    let server = Server::start("purged", &[]);
    let worked = Worked::new(&server, "asterisk");
    server.sql("FLUSH BINARY LOGS");
    server.purge();
    worked.refuses(
        3,
        "deleted; the oldest binlog left is",
        "The source keeps binlogs for ever, so somebody deleted these (PURGE BINARY LOGS",
    );
    server.sql("SET GLOBAL expire_logs_days = 3");
    worked.refuses(
        3,
        "deleted; the oldest binlog left is",
        "Let the source keep its binlogs for longer: SET GLOBAL expire_logs_days = 7;",
    );
    worked
        .site
        .didtail(&["checkpoint", "reset", "--to", "earliest", "--yes"])
        .good();
    // Nothing was lost here: the purged files had been applied to their end.
    worked.goes_on();
}

#[test]
fn a_binlog_that_was_reset() {
    let server = Server::start("binlog-reset", &[]);
    let worked = Worked::new(&server, "asterisk");
    server.sql("RESET MASTER");
    worked.refuses(3, "resume position", "checkpoint reset --to earliest");
    // Grown past the old position, the new file looks like the old one.
    let parse = |text: &str| text.parse::<Position>().expect("a position");
    let old = parse(worked.position.as_deref().expect("a position"));
    let mut seed = 10;
    while parse(&server.binlog_end()) <= old {
        worked.site.calls(20, seed);
        seed += 1;
    }
    worked.refuses(3, "resume position", "checkpoint reset --to earliest");
    worked
        .site
        .didtail(&["checkpoint", "reset", "--to", "earliest", "--yes"])
        .good();
    worked.goes_on();
}

#[test]
fn a_binlog_that_is_purged_or_reset_under_a_running_daemon() {
    let server = Server::start("running-reset", &[]);
    let worked = Worked::new(&server, "asterisk");
    let mut daemon: Daemon = worked.site.following();
    worked.site.calls(20, 3);
    worked.site.wait_for_end(&server);
    let reached = worked.site.position().expect("a position");
    assert_ne!(worked.position.as_deref(), Some(reached.as_str()));
    server.sql("RESET MASTER");
    worked.site.calls(20, 2);
    let ended = daemon.wait();
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    let place = format!("the binlog that is needed next ({reached})");
    let words = [place, format!("there is no event at {reached}")];
    let is_told = words.iter().any(|words| ended.stderr.contains(words));
    assert!(is_told, "{reached}: {}", ended.stderr);
    assert!(ended.stderr.contains("\nhint: "), "{}", ended.stderr);
    worked
        .site
        .didtail(&["checkpoint", "reset", "--to", "earliest", "--yes"])
        .good();
    worked.site.catch_up();
    worked.site.assert_equals_source();
}

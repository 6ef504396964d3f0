//! Tables that are not as in the newest VICIdial, or become so while didtail
//! follows them, is stopped, or is behind.

use std::ops::Range;

use crate::support::{Server, Site};

/// Noon of 2024-11-15 in UTC, the zone of the test servers.
const NOON: u32 = 1_731_672_000;

/// The final dispositions of the calls, in turn.
const FINAL: [&str; 4] = ["SALE", "NI", "A", "AB"];

/// An installation, and what its tables lack.
struct Install<'a> {
    server: &'a Server,
    site: Site,
    lacks: &'a [&'a str],
}

impl<'a> Install<'a> {
    /// Makes it before didtail first looks at it, from the end of the binlog on.
    fn new(server: &'a Server, database: &str, lacks: &'a [&'a str], changes: &str) -> Self {
        let site = Site::new(server, database);
        let config = site.config();
        site.configure(&config.replace("\"earliest\"", "\"latest\""));
        site.sql(server, changes);
        site.catch_up();
        Self {
            server,
            site,
            lacks,
        }
    }

    fn has(&self, name: &str) -> bool {
        !self.lacks.contains(&name)
    }

    /// Writes calls, each statement a group of its own, in VICIdial's order.
    fn calls(&self, numbers: Range<u32>) {
        let mut sql = String::new();
        for n in numbers {
            self.call(n, &mut sql);
        }
        self.site.sql(self.server, &sql);
    }

    fn call(&self, n: u32, sql: &mut String) {
        let (lead, start) = (1000 + n, NOON + 10 * n);
        let (code, did) = (code(n), did(n));
        let (uniqueid, dialled) = (uniqueid(n), start - 5);
        sql.push_str(&format!(
            "INSERT INTO vicidial_dial_log SET caller_code='{code}',lead_id='{lead}',\
             server_ip='10.0.0.1',call_date=FROM_UNIXTIME({dialled}),\
             outbound_cid='\"{code}\" <{did}>';\n"
        ));
        if self.has("vicidial_dial_cid_log") {
            sql.push_str(&format!(
                "INSERT INTO vicidial_dial_cid_log SET caller_code='{code}',\
                 call_date=FROM_UNIXTIME({dialled}),call_type='OUT',outbound_cid='{did}';\n"
            ));
        }
        if is_first(n) {
            self.carrier(n, sql);
        }
        sql.push_str(&format!(
            "INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,status,\
             phone_code,phone_number,user,comments,processed,list_id) values('{uniqueid}','{lead}',\
             'SALESEST',FROM_UNIXTIME({start}),'{start}','QUEUE','1','2175551{n:03}','VDAD','0.1',\
             'N','101');\n"
        ));
        if self.has("vicidial_log_extended") {
            sql.push_str(&format!(
                "INSERT INTO vicidial_log_extended SET uniqueid='{uniqueid}',server_ip='10.0.0.1',\
                 call_date=FROM_UNIXTIME({start}),lead_id='{lead}',caller_code='{code}';\n"
            ));
        }
        let agent = 6000 + n % 40;
        sql.push_str(&format!(
            "UPDATE vicidial_log SET user='{agent}',status='INCALL',user_group='AGENTS' \
             where uniqueid='{uniqueid}';\n"
        ));
        if !is_first(n) {
            self.carrier(n, sql);
        }
        let reason = if self.has("term_reason") {
            "term_reason='CALLER',"
        } else {
            ""
        };
        let (status, length) = (FINAL[n as usize % FINAL.len()], n % 90);
        sql.push_str(&format!(
            "UPDATE vicidial_log SET {reason}end_epoch='{}',length_in_sec='{length}' \
             where uniqueid='{uniqueid}';\n\
             UPDATE vicidial_log SET status='{status}' where uniqueid='{uniqueid}';\n",
            start + length
        ));
    }

    /// How the carrier ended the call.
    fn carrier(&self, n: u32, sql: &mut String) {
        let (lead, start, uniqueid) = (1000 + n, NOON + 10 * n, uniqueid(n));
        let code = code(n);
        let of_code = if self.has("caller_code") {
            format!(",caller_code='{code}'")
        } else {
            String::new()
        };
        let (cause, reason) = if is_blocked(n) {
            (603, "Network Blocked")
        } else {
            (0, "")
        };
        sql.push_str(&format!(
            "INSERT INTO vicidial_carrier_log SET uniqueid='{uniqueid}',\
             call_date=FROM_UNIXTIME({start}),server_ip='10.0.0.1',lead_id='{lead}',\
             hangup_cause='17',dialstatus='BUSY',sip_hangup_cause='{cause}',\
             sip_hangup_reason='{reason}'{of_code};\n"
        ));
    }

    fn sql(&self, statements: &str) {
        self.site.sql(self.server, statements);
    }

    /// Demands that every call is as the source has it, but for those that are
    /// named as set aside, and returns the number of quarantined rows.
    #[track_caller]
    fn assert_calls(&self, numbers: Range<u32>, aside: Range<u32>) -> i64 {
        let reason = if self.has("term_reason") {
            "term_reason"
        } else {
            "''"
        };
        let source = self.site.sql(
            self.server,
            &format!(
                "SELECT CONCAT_WS('|', uniqueid, lead_id, status, length_in_sec, campaign_id, user, \
                 CONCAT('+1', phone_number), {reason}, start_epoch, end_epoch) \
                 FROM vicidial_log ORDER BY uniqueid"
            ),
        );
        let is_aside = |line: &&str| aside.clone().any(|n| line.starts_with(&uniqueid(n)));
        let source: Vec<&str> = source.lines().filter(|line| !is_aside(line)).collect();
        let stored = self.lines(
            "SELECT uniqueid || '|' || lead_id || '|' || disposition || '|' || duration_seconds \
             || '|' || campaign_id || '|' || agent_id || '|' || phone_number || '|' || term_reason \
             || '|' || started_at || '|' || ended_at FROM call_records ORDER BY uniqueid",
        );
        assert_eq!(stored, source);
        let dids = self.lines(
            "SELECT uniqueid || '|' || ifnull(d.phone_number, '') || '|' || (outcome = 'blocked') \
             FROM call_records c LEFT JOIN dids d ON d.id = c.did_id ORDER BY uniqueid",
        );
        let expected = numbers.filter(|n| !aside.contains(n)).map(|n| {
            let (uniqueid, did, blocked) = (uniqueid(n), did(n), u8::from(is_blocked(n)));
            format!("{uniqueid}|+1{did}|{blocked}")
        });
        assert_eq!(dids, expected.collect::<Vec<_>>());
        self.site.assert_invariant();
        let state = self.site.state();
        let count = state.query_row("SELECT count(*) FROM quarantine", [], |row| row.get(0));
        count.expect("a count")
    }

    fn lines(&self, sql: &str) -> Vec<String> {
        let store = self.site.store();
        let mut query = store.prepare(sql).expect("a query");
        let rows = query.query_map([], |row| row.get::<_, Option<String>>(0));
        let rows = rows.expect("rows").map(|row| row.expect("a row"));
        rows.map(Option::unwrap_or_default).collect()
    }
}

fn uniqueid(n: u32) -> String {
    format!("{}.{n:06}", NOON + 10 * n)
}

fn did(n: u32) -> u32 {
    3_125_550_100 + n % 5
}

fn code(n: u32) -> String {
    format!("V11512{n:05}{:010}", 1000 + n)
}

/// Unanswered calls have their carrier's row before their own.
fn is_first(n: u32) -> bool {
    n % 16 == 3
}

/// Of the busy lines one in two was none.
fn is_blocked(n: u32) -> bool {
    n % 8 == 3
}

#[test]
fn older_installs_have_fewer_columns_and_tables() {
    let server = Server::shared();
    let carrier = "ALTER TABLE vicidial_carrier_log DROP caller_code";
    for (database, lacks, changes) in [
        ("columns_18", &[][..], "DO 0"),
        (
            "columns_17",
            &[],
            "ALTER TABLE vicidial_log DROP called_count",
        ),
        (
            "columns_16",
            &["term_reason"],
            "ALTER TABLE vicidial_log DROP called_count, DROP term_reason",
        ),
        (
            "no_dial_cid",
            &["vicidial_dial_cid_log"],
            "DROP TABLE vicidial_dial_cid_log",
        ),
        (
            "no_extended",
            &["vicidial_log_extended"],
            "DROP TABLE vicidial_log_extended",
        ),
        ("no_caller_code", &["caller_code"], carrier),
        (
            "older_statuses",
            &[],
            "ALTER TABLE vicidial_statuses DROP answering_machine, DROP completed;
             ALTER TABLE vicidial_campaign_statuses DROP answering_machine, DROP sale, DROP dnc",
        ),
    ] {
        let install = Install::new(server, database, lacks, changes);
        let daemon = install.site.following();
        install.calls(0..24);
        install.site.wait_for_end(server);
        let log = daemon.stop();
        let stored = install.assert_calls(0..24, 0..0);
        assert_eq!(stored, 0, "{database}: {log}");
    }
}

#[test]
fn doctor_says_what_an_older_install_lacks() {
    let server = Server::shared();
    let change = "ALTER TABLE vicidial_carrier_log DROP caller_code";
    let install = Install::new(server, "doctor_older", &["caller_code"], change);
    let said = install.site.didtail(&["doctor"]).good();
    assert!(said.contains("note     vicidial_carrier_log"), "{said}");
    assert!(said.contains("by uniqueid alone"), "{said}");
}

/// What an admin or an upgrade may do to `vicidial_log`. Types are chosen so
/// that a row read with the columns of another time would often look right.
const ALTERS: [&str; 7] = [
    "ADD note VARCHAR(20)",
    "ADD queue VARCHAR(6) DEFAULT 'SALE' AFTER length_in_sec",
    "ADD agent VARCHAR(20) DEFAULT 'nobody' AFTER phone_number",
    "DROP note",
    "CHANGE queue line VARCHAR(6) DEFAULT 'NI', MODIFY status VARCHAR(10)",
    "MODIFY term_reason ENUM('SYSTEM','NONE','AGENT','CALLER','ABANDON','MAXCALLS')",
    "DROP agent, ADD agent VARCHAR(20) AFTER user",
];

/// The three ways in which a server may describe its columns.
const METADATA: [&str; 3] = ["NO_LOG", "MINIMAL", "FULL"];

fn server(metadata: &str, name: &str) -> Server {
    let option = format!("--binlog-row-metadata={metadata}");
    Server::start(&format!("{name}-{metadata}"), &[&option])
}

#[test]
fn an_alter_under_a_running_daemon_costs_no_row() {
    for metadata in METADATA {
        let server = server(metadata, "alter-live");
        let install = Install::new(&server, "asterisk", &[], "DO 0");
        let daemon = install.site.following();
        let mut n = 0;
        for alter in ALTERS {
            install.calls(n..n + 8);
            install.sql(&format!("ALTER TABLE vicidial_log {alter}"));
            install.calls(n + 8..n + 16);
            n += 16;
            install.site.wait_for_end(&server);
        }
        let log = daemon.stop();
        assert_eq!(install.assert_calls(0..n, 0..0), 0, "{metadata}: {log}");
    }
}

/// The rows before the ALTER have the columns of before, those behind it the
/// new ones, and both are read after it.
#[test]
fn an_alter_while_didtail_was_stopped_costs_no_row() {
    for metadata in METADATA {
        let server = server(metadata, "alter-stopped");
        let install = Install::new(&server, "asterisk", &[], "DO 0");
        let mut n = 0;
        for alter in ALTERS {
            install.calls(n..n + 8);
            install.sql(&format!("ALTER TABLE vicidial_log {alter}"));
            install.calls(n + 8..n + 16);
            n += 16;
            install.site.catch_up();
            let aside = install.assert_calls(0..n, 0..0);
            assert_eq!(aside, 0, "{metadata}: {alter}");
        }
        // All of it once more, from before the first ALTER.
        let numbers = install.site.numbers();
        let reset = ["checkpoint", "reset", "--to", "earliest", "--yes"];
        install.site.didtail(&reset).good();
        install.site.catch_up();
        assert_eq!(install.assert_calls(0..n, 0..0), 0, "{metadata}: replayed");
        assert!(install.site.numbers() == numbers, "a replay moved a number");
    }
}

/// Without names in the log nobody can say what the columns were between two
/// ALTERs that are both in the past: such rows are quarantined, not guessed.
#[test]
fn what_the_columns_were_between_two_alters_is_not_guessed() {
    for metadata in METADATA {
        let server = server(metadata, "alter-twice");
        let install = Install::new(&server, "asterisk", &[], "DO 0");
        install.calls(0..8);
        install.sql("ALTER TABLE vicidial_log ADD agent VARCHAR(20) AFTER phone_number");
        install.calls(8..16);
        install.sql("ALTER TABLE vicidial_log DROP agent, ADD agent VARCHAR(20) AFTER user");
        install.calls(16..24);
        let ended = install.site.didtail(&["run", "--until-caught-up"]);
        let log = ended.stderr.clone();
        ended.good();
        if metadata == "FULL" {
            assert_eq!(install.assert_calls(0..24, 0..0), 0, "{log}");
            continue;
        }
        // An INSERT and three UPDATEs of each call.
        assert_eq!(install.assert_calls(0..24, 8..16), 8 * 4, "{log}");
        assert!(log.contains("altered more than once since"), "{log}");
        assert!(log.contains("binlog_row_metadata = FULL"), "{log}");
    }
}

/// Columns that are only appended leave those in front where they were, so
/// that nothing is in doubt between such ALTERs.
#[test]
fn appended_columns_leave_nothing_in_doubt() {
    let server = server("NO_LOG", "append");
    let install = Install::new(&server, "asterisk", &[], "DO 0");
    install.calls(0..8);
    for n in 1..4 {
        install.sql(&format!("ALTER TABLE vicidial_log ADD note_{n} VARCHAR(6)"));
        install.calls(8 * n..8 * n + 8);
    }
    install.site.catch_up();
    assert_eq!(install.assert_calls(0..32, 0..0), 0);
}

/// At the very first start nothing is known of the past but its binlog.
#[test]
fn a_first_start_before_an_alter_reads_no_row_with_todays_columns() {
    for metadata in METADATA {
        let server = server(metadata, "alter-first");
        let site = Site::new(&server, "asterisk");
        let install = Install {
            server: &server,
            site,
            lacks: &[],
        };
        install.calls(0..8);
        install.sql("ALTER TABLE vicidial_log ADD agent VARCHAR(20) AFTER phone_number");
        install.calls(8..16);
        install.site.catch_up();
        if metadata == "FULL" {
            assert_eq!(install.assert_calls(0..16, 0..0), 0);
        } else {
            assert_eq!(install.assert_calls(0..16, 0..8), 8 * 4);
        }
    }
}

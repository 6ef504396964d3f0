//! What the operator's commands say, and what they do without: the commands that
//! only look, the files that a replay is given, a user with the documented grants.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::support::{Ended, Server, Site, wait_until};

/// Commands that only look need no password, and whoever runs them may not be
/// allowed to read it.
#[test]
fn who_looks_needs_no_password() {
    let site = Site::new(Server::shared(), "looking");
    site.calls(30, 1);
    site.catch_up();
    std::fs::remove_file(site.path("password")).expect("it was there");
    let did: String = site.stored("SELECT phone_number FROM dids ORDER BY id LIMIT 1");
    for arguments in [
        vec!["status"],
        vec!["stats"],
        vec!["explain", &did],
        vec!["checkpoint", "show"],
        vec!["checkpoint", "history"],
    ] {
        site.didtail(&arguments).good();
    }
    for arguments in [vec!["doctor"], vec!["run", "--until-caught-up"]] {
        site.didtail(&arguments).fails(1, "password_file", "");
    }
}

/// Times are told in one way, and a bare date is taken.
#[test]
fn times_are_read_and_told_as_people_write_them() {
    let site = Site::new(Server::shared(), "times");
    site.calls(30, 1);
    site.catch_up();
    let did: String = site.stored("SELECT phone_number FROM dids ORDER BY id LIMIT 1");
    let call: String = site.stored("SELECT uniqueid FROM call_records WHERE counted LIMIT 1");
    for what in [&did, &call] {
        let said = site.didtail(&["explain", what, "--json"]).good();
        for line in said.lines() {
            let (name, value) = line.split_once("\": ").unwrap_or_default();
            let is_time = name.ends_with("_at") || name.ends_with("\"at");
            let is_told =
                value.starts_with('"') || value.starts_with('{') || value.starts_with("null");
            assert!(!is_time || is_told, "{line}");
        }
    }
    let all = site.didtail(&["stats", "--json"]).json();
    let since = site
        .didtail(&["stats", "--since", "2020-01-31", "--json"])
        .json();
    let dids = |said: &serde_json::Value| said.as_array().map_or(0, Vec::len);
    assert_eq!(dids(&since), dids(&all));
    let later = site
        .didtail(&["stats", "--since", "2999-01-31", "--json"])
        .json();
    assert_ne!(later, all);
    site.didtail(&["stats", "abc"])
        .fails(1, "there is no DID `abc` in the store", "didtail stats");
    for command in ["backfill", "verify"] {
        let ended = site.didtail(&[command, "--since", "999999w"]);
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stderr.contains("before 1970"), "{}", ended.stderr);
    }
}

/// `tls = "verify-ca"` without an authority is said before anybody connects.
#[test]
fn a_missing_authority_is_said_before_connecting() {
    let site = Site::new(Server::shared(), "authority");
    for mode in ["verify-ca", "verify-identity"] {
        site.configure(&(site.config() + &format!("tls = \"{mode}\"\n")));
        for arguments in [vec!["config", "check"], vec!["doctor"]] {
            site.didtail(&arguments).fails(1, "it needs tls_ca", "");
        }
    }
}

/// What is wrong with a file is said of the file.
#[test]
fn files_that_are_none_are_told_as_files() {
    let server = Server::start("replay-files", &[]);
    let site = Site::new(&server, "asterisk");
    site.calls(40, 1);
    site.catch_up();
    let folder = site.path("copies");
    std::fs::create_dir(&folder).expect("a folder");
    let copy = folder.join("binlog.000001");
    std::fs::copy(&server.binlogs()[0], &copy).expect("a copy");
    let replay = |path: &std::path::Path| {
        let ended = Ended::of(site.command(&["replay", "--again"]).arg(path));
        assert!(!ended.stderr.contains("on its way"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("reads it again"), "{}", ended.stderr);
        ended
    };
    replay(&folder).fails(1, "is a folder", "name the files in it");
    Ended::of(Command::new("gzip").arg("-k").arg(&copy)).good();
    let packed = folder.join("binlog.000001.gz");
    replay(&packed).fails(1, "is compressed by gzip", "gunzip");
    let renamed = folder.join("binlog.000002");
    std::fs::rename(&packed, &renamed).expect("renamed");
    replay(&renamed).fails(1, "is compressed by gzip", "gunzip");
    let mut bytes = std::fs::read(&copy).expect("a copy");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&copy, bytes).expect("a copy");
    replay(&copy).fails(
        3,
        "a file is damaged at binlog.000001",
        "Copy the file again",
    );
}

/// A user with exactly the grants of `packaging/replication-user.sql` can do all
/// that didtail does; without some of them every command names what it lacks.
#[test]
fn the_documented_grants_are_enough_and_missing_ones_are_named() {
    let server = Server::start("grants", &[]);
    let site = Site::new(&server, "asterisk");
    site.calls(60, 1);
    site.sql(
        &server,
        "INSERT INTO vicidial_log_archive SELECT * FROM vicidial_log WHERE lead_id % 2 = 0;
         CREATE TABLE IF NOT EXISTS vicidial_log_extended_archive LIKE vicidial_log_extended;
         CREATE TABLE IF NOT EXISTS vicidial_carrier_log_archive LIKE vicidial_carrier_log;
         CREATE TABLE IF NOT EXISTS vicidial_dial_log_archive LIKE vicidial_dial_log;
         CREATE TABLE IF NOT EXISTS vicidial_dial_cid_log_archive LIKE vicidial_dial_cid_log;
         CREATE TABLE IF NOT EXISTS vicidial_tiltx_shaken_log_archive LIKE vicidial_tiltx_shaken_log",
    );
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/packaging/replication-user.sql"
    );
    let script = std::fs::read_to_string(script).expect("a script");
    let script = script.replace("'didtail'@", "'plain'@");
    server.sql(&script.replace("CHANGE-ME", "not a secret"));
    site.configure(&site.config().replace("//didtail@", "//plain@"));
    let doctor = || site.didtail(&["doctor", "--json"]).json();
    let outcome = |said: &serde_json::Value, check: &str| {
        let mut findings = said["findings"].as_array().expect("a list").iter();
        let one = findings.find(|one| one["check"] == check);
        one.map(|one| (one["outcome"].clone(), one["fix"].clone()))
    };
    let well = doctor();
    assert_eq!(outcome(&well, "archive tables").expect("made").0, "good");
    site.catch_up();
    site.assert_equals_source();
    let loaded = site
        .didtail(&["backfill", "--since", "3d", "--json"])
        .json();
    assert_eq!(loaded["sources"][0]["unreadable"], serde_json::json!([]));
    site.didtail(&["verify", "--since", "3d"]).good();

    server.sql(
        "REVOKE SELECT ON asterisk.vicidial_log_archive FROM 'plain'@'%';
         REVOKE SELECT ON asterisk.vicidial_carrier_log FROM 'plain'@'%'",
    );
    let said = doctor();
    let grants = [
        (
            "vicidial_log_archive",
            "GRANT SELECT ON `asterisk`.`vicidial_log_archive` TO 'plain'@'%';",
        ),
        (
            "vicidial_carrier_log",
            "GRANT SELECT ON `asterisk`.`vicidial_carrier_log` TO 'plain'@'%';",
        ),
    ];
    for (table, grant) in grants {
        if table.ends_with("_archive") {
            // Nobody can tell whether it is there: so it is said, and nothing is wrong.
            let mut findings = said["findings"].as_array().expect("a list").iter();
            let archives = findings.find(|one| one["check"] == "archive tables");
            let archives = archives.expect("a finding");
            assert_eq!(archives["outcome"], "good", "{archives}");
            assert!(archives["actual"].to_string().contains(grant), "{archives}");
        } else {
            let (is, fix) = outcome(&said, table).expect("it is named");
            assert_eq!(is, "note", "{table}");
            assert!(fix.as_str().is_some_and(|fix| fix.contains(grant)), "{fix}");
        }
        // Of the archives, which most often are not there, only where to ask.
        let (begin, way) = match table.ends_with("_archive") {
            true => (
                "not read: archive tables: ",
                "`didtail doctor` prints the GRANTs",
            ),
            false => ("not read: ", grant),
        };
        for more in [&["backfill"][..], &["verify"], &["backfill", "--dry-run"]] {
            let told = site.didtail(&[more, &["--since", "3d"]].concat()).good();
            let expected = format!("{begin}{table}: not readable");
            assert!(told.contains(&expected) && told.contains(way), "{told}");
        }
    }
    // Without the calls themselves nothing can be said of them.
    server.sql("REVOKE SELECT ON asterisk.vicidial_log FROM 'plain'@'%'");
    for command in ["backfill", "verify"] {
        let ended = site.didtail(&[command, "--since", "3d"]);
        ended.fails(
            3,
            "vicidial_log",
            "GRANT SELECT ON `asterisk`.`vicidial_log`",
        );
    }
}

/// As `didtail stats --watch | head -1`: who reads no more ends it, whether anything
/// happens meanwhile or not.
#[test]
fn a_watch_ends_with_its_reader() {
    let site = Site::new(Server::shared(), "watched");
    site.calls(20, 1);
    site.catch_up();
    for words in [
        vec!["stats", "--watch"],
        vec!["stats", "--watch", "--json"],
        vec!["status", "--watch"],
        vec!["status", "--watch", "--json"],
    ] {
        let mut command = site.command(&words);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut watch = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut out = BufReader::new(watch.stdout.take().expect("a pipe"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a first line");
        assert!(!line.is_empty(), "{words:?}");
        drop(out);
        wait_until(&format!("{words:?} ends"), || {
            watch.try_wait().expect("a child")
        });
        let ended = watch.wait_with_output().expect("it ended");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{words:?}: {said}");
        assert_eq!(said, "", "{words:?}");
    }
}

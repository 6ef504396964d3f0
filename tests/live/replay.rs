//! `didtail replay`: copies of a server's binlogs give the same numbers as the
//! server, and files that would falsify them are refused.

use std::path::{Path, PathBuf};

use crate::support::{Ended, Server, Site, differences};

/// Copies the server's binlogs, the open one too, below a site's folder.
fn copied(server: &Server, site: &Site, name: &str) -> Vec<PathBuf> {
    let folder = site.path(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    let copy = |path: PathBuf| {
        let to = folder.join(path.file_name().expect("a name"));
        std::fs::copy(&path, &to).expect("a copy");
        to
    };
    server.binlogs().into_iter().map(copy).collect()
}

fn replay(site: &Site, files: &[PathBuf], more: &[&str]) -> Ended {
    Ended::of(site.command(&["replay", "--json"]).args(more).args(files))
}

/// The same, told as text.
fn told(site: &Site, files: &[PathBuf], more: &[&str]) -> Ended {
    Ended::of(site.command(&["replay"]).args(more).args(files))
}

/// Two files of calls, and the second goes on.
fn traffic(server: &Server, site: &Site, seed: u32) {
    site.calls(60, seed);
    server.sql("FLUSH BINARY LOGS");
    site.calls(60, seed + 1);
}

fn assert_equal(site: &Site) {
    let truth = site.truth();
    assert_eq!(differences(&truth, &site.store()), Vec::<String>::new());
    site.assert_invariant();
}

/// The configuration, of a source that nobody answers for.
fn out_of_reach(site: &Site, more: &str) {
    let config = site.config();
    let port = config.split("127.0.0.1:").nth(1).expect("an address");
    let port = port.split('/').next().expect("a port").to_owned();
    site.configure(&(config.replace(&format!(":{port}/"), ":1/") + more));
}

#[test]
fn files_of_every_server_give_its_numbers_and_the_daemon_goes_on() {
    for kind in ["mariadb-10.11", "mariadb-11.8", "mysql-9"] {
        let server = Server::of_kind(kind, &format!("replay-{kind}"), &[]);
        let site = Site::new(&server, "asterisk");
        traffic(&server, &site, 1);
        let files = copied(&server, &site, "copies");
        let done = replay(&site, &files, &[]).json();
        assert_eq!(done["missing"], serde_json::json!([]), "{kind}: {done}");
        assert_eq!(done["cut_off"], serde_json::Value::Null);
        assert_equal(&site);
        site.calls(40, 5);
        site.catch_up();
        assert_equal(&site);
        // What is there already is passed over.
        let numbers = site.numbers();
        let again = replay(&site, &files, &[]).json();
        assert_eq!(again["nothing_new"], true, "{kind}: {again}");
        let stands = site.position().expect("a position");
        let before = format!(
            "these files end before {stands}, where the store stands; they were not looked at"
        );
        let again = told(&site, &files, &[]).good();
        assert!(again.contains(&before), "{kind}: {again}");
        assert_eq!(site.numbers(), numbers);
        // Or told once more, to the same end.
        told(&site, &files, &["--again"]).fails(1, "calls would fall back to older states", "too");
        assert_eq!(site.numbers(), numbers);
        let files = copied(&server, &site, "all");
        let again = replay(&site, &files, &["--again"]).json();
        assert!(again["rows"].as_u64() > done["rows"].as_u64(), "{again}");
        assert_eq!(site.numbers(), numbers, "{kind}");
        site.calls(30, 9);
        site.catch_up();
        assert_equal(&site);
    }
}

#[test]
fn a_purged_gap_is_closed_from_copies() {
    let server = Server::start("replay-gap", &[]);
    let site = Site::new(&server, "asterisk");
    site.calls(60, 1);
    site.catch_up();
    traffic(&server, &site, 2);
    server.sql("FLUSH BINARY LOGS");
    let files = copied(&server, &site, "copies");
    site.calls(40, 7);
    server.purge();
    assert_eq!(site.didtail(&["run", "--until-caught-up"]).code, 3);
    // Not with a file missing, whichever it is.
    told(&site, &files[1..], &[]).fails(1, "what lies between would be missing", "--skip-gap");
    let holed = [files[0].clone(), files[2].clone()];
    let name = |path: &PathBuf| path.file_name().expect("a name").display().to_string();
    let missing = format!("{} is missing", name(&files[1]));
    told(&site, &holed, &[]).fails(1, &missing, "--skip-gap");
    replay(&site, &files, &[]).json();
    site.catch_up();
    assert_equal(&site);
    let daemon = site.following();
    assert_eq!(replay(&site, &files, &[]).code, 1, "the daemon runs");
    daemon.stop();
}

#[test]
fn cut_and_foreign_files_are_told() {
    let server = Server::start("replay-bad", &[]);
    let site = Site::new(&server, "asterisk");
    traffic(&server, &site, 1);
    let files = copied(&server, &site, "copies");
    let cut = |path: &Path, bytes: u64| {
        let file = std::fs::OpenOptions::new().write(true).open(path);
        let file = file.expect("a copy");
        let length = file.metadata().expect("its length").len();
        file.set_len(length - bytes).expect("shorter");
    };
    // In the middle, nothing of it is applied.
    let middle = copied(&server, &site, "middle");
    cut(&middle[0], 7);
    told(&site, &middle, &[]).fails(1, "more files follow", "copy the file again");
    // At the end, everything before it is.
    let last = copied(&server, &site, "last");
    cut(&last[1], 20_007);
    let done = replay(&site, &last, &[]).json();
    let place = done["cut_off"].as_str().expect("a place");
    assert!(place.starts_with("binlog.000002:"), "{done}");
    let said = replay(&site, &last, &[]).json();
    assert_eq!(said["nothing_new"], true, "{said}");
    site.catch_up();
    assert_equal(&site);
    // A changed byte is found by the checksum.
    let numbers = site.numbers();
    let damaged = copied(&server, &site, "damaged");
    let mut bytes = std::fs::read(&damaged[0]).expect("a copy");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&damaged[0], bytes).expect("a copy");
    let ended = replay(&site, &damaged, &["--again"]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(ended.stderr.contains("checksum"), "{}", ended.stderr);
    // No binlog at all, and names that are none.
    let text = site.path("copies").join("binlog.000003");
    std::fs::write(&text, "SELECT 1;\n").expect("a file");
    told(&site, std::slice::from_ref(&text), &[]).fails(
        1,
        "binlog.000003 does not begin like a binlog",
        "comes from log_bin",
    );
    let nameless = site.path("copies").join("backup.bin");
    std::fs::copy(&files[0], &nameless).expect("a copy");
    told(&site, &[nameless], &[]).fails(1, "has no number at its end", "");
    let missing = site.path("copies").join("binlog.000009");
    told(&site, &[missing], &[]).fails(1, "cannot be read", "check the path");
    std::fs::write(&text, "").expect("a file");
    told(&site, &[text], &[]).fails(1, "binlog.000003 is empty", "copy the file again");
    told(&site, &[site.path("copies")], &[]).fails(1, "is a folder", "name the files in it");
    let twice = [files[0].clone(), files[0].clone()];
    told(&site, &twice, &[]).fails(1, "have the same name", "give one of the two");
    // Another server's files of the same names.
    let other = Server::start("replay-other", &["--server-id=77"]);
    let foreign = Site::new(&other, "asterisk");
    traffic(&other, &foreign, 3);
    let theirs = copied(&other, &foreign, "copies");
    told(&site, &theirs, &["--again"]).fails(1, "not the files that the store", "own files");
    let mixed = [files[0].clone(), theirs[1].clone()];
    told(&site, &mixed, &["--again"]).fails(1, "by server 77", "one server");
    let renamed = site.path("copies").join("mysql-bin.000001");
    std::fs::copy(&files[0], &renamed).expect("a copy");
    told(&site, &[renamed], &[]).fails(1, "not the source's binlogs", "[[source]]");
    assert_eq!(site.numbers(), numbers);
}

#[test]
fn without_the_source_the_files_must_say_everything() {
    let server = Server::start("replay-alone", &["--binlog-row-metadata=FULL"]);
    let site = Site::new(&server, "asterisk");
    traffic(&server, &site, 1);
    let files = copied(&server, &site, "copies");
    out_of_reach(&site, "");
    told(&site, &files, &[]).fails(1, "time zone is not known", "set time_zone");
    out_of_reach(&site, "time_zone = \"UTC\"\n");
    let done = replay(&site, &files, &[]).json();
    assert_eq!(done["missing"], serde_json::json!([]), "{done}");
    assert_equal(&site);
    // Rows without names of columns, and statements, need somebody to ask.
    server.sql("SET GLOBAL binlog_row_metadata = NO_LOG; SET GLOBAL binlog_format = MIXED; FLUSH BINARY LOGS");
    site.calls(50, 6);
    let files = copied(&server, &site, "statements");
    told(&site, &files, &[]).fails(1, "statements instead of rows", "can be reached");
    let plain = Server::start("replay-nameless", &[]);
    let nameless = Site::new(&plain, "asterisk");
    nameless.calls(50, 1);
    let files = copied(&plain, &nameless, "copies");
    out_of_reach(&nameless, "time_zone = \"UTC\"\n");
    told(&nameless, &files, &[]).fails(1, "do not name the columns", "can be reached");
}

#[test]
fn statements_in_files_are_read_from_the_source() {
    let server = Server::start("replay-mixed", &["--binlog-format=MIXED"]);
    let site = Site::new(&server, "asterisk");
    traffic(&server, &site, 1);
    let files = copied(&server, &site, "copies");
    let done = replay(&site, &files, &[]).json();
    assert_eq!(done["missing"], serde_json::json!([]), "{done}");
    assert_equal(&site);
}

/// MySQL packs each transaction into one event: replayed as they are.
#[test]
fn packed_transactions_are_replayed() {
    let packed = ["--binlog-transaction-compression=ON"];
    let server = Server::of_kind("mysql-9", "replay-packed", &packed);
    // MyISAM has no transactions to be packed.
    let site = Site::made(&server, "asterisk", &["--engine", "InnoDB"]);
    traffic(&server, &site, 1);
    let files = copied(&server, &site, "copies");
    let bytes = std::fs::read(&files[0]).expect("a copy");
    let zstd = [0x28, 0xb5, 0x2f, 0xfd];
    assert!(
        bytes.windows(4).any(|four| four == zstd),
        "nothing is packed"
    );
    let done = replay(&site, &files, &[]).json();
    assert_eq!(done["missing"], serde_json::json!([]), "{done}");
    assert!(done["rows"].as_u64() > Some(100), "{done}");
    assert_equal(&site);
    let numbers = site.numbers();
    let again = replay(&site, &files, &["--again"]).json();
    assert_eq!(again["rows"], done["rows"], "{again}");
    assert_eq!(site.numbers(), numbers);
}

/// `--again` killed at any moment goes on, or begins anew, when it is run again,
/// and ends with the same numbers.
#[test]
fn killed_while_it_replays_again_it_ends_with_the_same_numbers() {
    let server = Server::start("replay-killed", &[]);
    let site = Site::new(&server, "asterisk");
    site.calls(900, 1);
    server.sql("FLUSH BINARY LOGS");
    site.calls(900, 2);
    site.catch_up();
    let numbers = site.numbers();
    let end = site.position();
    let files = copied(&server, &site, "copies");
    let mut under_way = 0;
    for kill in 0..12 {
        let mut run = site.command(&["replay", "--again"]);
        let run = run.args(&files).stdout(std::process::Stdio::null());
        let mut run = run
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("runs");
        std::thread::sleep(std::time::Duration::from_millis(200 + kill * 150));
        run.kill().expect("it is ours");
        run.wait().expect("it was killed");
        site.assert_invariant();
        under_way += u32::from(site.position() != end);
    }
    assert!(under_way > 0, "it was never killed in the middle");
    replay(&site, &files, &["--again"]).json();
    assert_eq!(site.position(), end);
    assert_eq!(site.numbers(), numbers);
    assert_equal(&site);
    site.calls(30, 9);
    site.catch_up();
    assert_equal(&site);
}

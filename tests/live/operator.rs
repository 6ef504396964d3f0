//! What an operator does by hand: DIDs from a spreadsheet, keys of the API, a first
//! configuration, a bundle for whoever helps.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};

use didtail::store::{ApiKey, DidEntries, DidEntry, SqlStore};
use serde_json::Value;

use crate::support::{Daemon, Ended, Server, Site};

/// Runs didtail with this on its stdin.
fn with_input(site: &Site, arguments: &[&str], input: &str) -> Ended {
    let mut command = site.command(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("didtail starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("taken");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn dids_are_imported_whole_or_not_at_all_and_exported_as_they_are() {
    let site = Site::new(Server::shared(), "dids");
    let gated = site.config() + "[attribution]\nunknown_did = \"unattributed\"\n";
    site.configure(&gated);
    site.calls(60, 1);
    site.catch_up();
    let all = |site: &Site| site.didtail(&["dids", "list", "--json"]).json();
    assert_eq!(all(&site), Value::Array(vec![]), "none is known");
    let file = site.path("dids.csv");
    let path = file.to_str().expect("a plain path");

    // A wrong line keeps the others out.
    fs::write(&file, "phone_number,status\n2125550100,\n1.2E+10,\n").expect("a file");
    let ended = site.didtail(&["dids", "import", path]);
    ended.fails(
        1,
        "1 line cannot be imported, and nothing was changed",
        "mend",
    );
    ended.fails(1, "line 3: `1.2E+10` lost digits in a spreadsheet", "");
    assert_eq!(all(&site), Value::Array(vec![]));

    // The numbers that the simulator dials from.
    let truth = site.truth();
    let dialled = truth["dids"].as_array().expect("DIDs").iter();
    let numbers: Vec<&str> = dialled.filter_map(|row| row["did"].as_str()).collect();
    assert!(!numbers.is_empty(), "{truth}");
    let list = |status: &str| {
        let lines = numbers.iter().map(|did| format!("{did},{status}\n"));
        format!("phone_number,status\n{}", lines.collect::<String>())
    };
    fs::write(&file, list("")).expect("a file");
    let plan = site.didtail(&["dids", "import", path, "--dry-run", "--json"]);
    assert_eq!(plan.json()["new"], numbers.len());
    assert_eq!(
        all(&site),
        Value::Array(vec![]),
        "a dry run changes nothing"
    );
    let said = site.didtail(&["dids", "import", path]).good();
    assert!(
        said.contains("didtail verify --since TIME --repair"),
        "{said}"
    );
    let again = site.didtail(&["dids", "import", path, "--json"]).json();
    assert_eq!(
        (&again["new"], &again["unchanged"]),
        (&0.into(), &numbers.len().into())
    );

    // What was dialled before counts once it is looked at again.
    site.didtail(&["verify", "--since", "7d", "--repair"])
        .good();
    site.assert_equals_source();

    fs::write(&file, list("resting")).expect("a file");
    let changed = site.didtail(&["dids", "import", path, "--json"]).json();
    assert_eq!(changed["changed"], numbers.len());
    let listed = site.didtail(&["dids", "list"]).good();
    assert!(
        listed.contains("resting") && listed.contains("imported"),
        "{listed}"
    );

    // Into another store, from there: the same.
    let other = Site::beside(Server::shared(), "dids");
    let export = site.didtail(&["dids", "export"]).good();
    with_input(&other, &["dids", "import", "-"], &export).good();
    assert_eq!(other.didtail(&["dids", "export"]).good(), export);
    let actions: i64 = site.stored("SELECT count(*) FROM audit_log WHERE action = 'DIDS_IMPORTED'");
    assert_eq!(actions, 2, "one for each that changed something");
    site.assert_invariant();
}

#[test]
fn what_is_wrong_with_a_list_of_dids_is_said() {
    let site = Site::beside(Server::shared(), "no_dids");
    let import = |name: &str, bytes: &[u8]| {
        let file = site.path(name);
        fs::write(&file, bytes).expect("a file");
        site.didtail(&["dids", "import", file.to_str().expect("a plain path")])
    };
    import("empty.csv", b"").fails(1, "the file is empty", "mend");
    import("words.csv", b"number,status\n2125550100,a\n").fails(1, "no column `phone_number`", "");
    let heading = import("heading.csv", b"phone_number,status\n").good();
    assert!(heading.contains("a heading and no DID"), "{heading}");
    let packed = import("dids.xlsx", b"PK\x03\x04\xff\xfe\x00binary\n");
    packed.fails(1, "the first line names the columns", "");
    site.didtail(&["dids", "import", "/no/such.csv"]).fails(
        1,
        "cannot read /no/such.csv",
        "name a CSV file",
    );
    let wrong = site.didtail(&["dids", "import", "/no/such.csv", "--tenant", "east"]);
    wrong.fails(1, "no [[source]] has the tenant `east`", "default");
    assert!(!site.path("store.db").exists(), "nothing was made");
}

#[test]
fn keys_are_shown_once_and_kept_as_a_hash() {
    let site = Site::beside(Server::shared(), "keys");
    let create = ["api-key", "create", "--label", "dialplan", "--json"];
    let made = site.didtail(&create).json();
    let key = made["key"].as_str().expect("a key");
    let hash: String = site.stored("SELECT key_hash FROM api_keys");
    assert_eq!(hash, ApiKey::hash_of(key));
    let said = site
        .didtail(&["api-key", "create", "--label", "reports"])
        .good();
    assert!(
        said.contains("didtail_") && said.contains("shown this once"),
        "{said}"
    );
    let list = site.didtail(&["api-key", "list"]).good();
    assert!(
        list.contains("dialplan") && list.contains("never"),
        "{list}"
    );
    assert!(!list.contains(key) && !list.contains("sha256"), "{list}");
    let id = made["id"].to_string();
    for expected in ["is revoked", "has been revoked since"] {
        let said = site.didtail(&["api-key", "revoke", &id]).good();
        assert!(said.contains(expected), "{said}");
    }
    let keys = site.didtail(&["api-key", "list", "--json"]).json();
    assert!(
        keys[0]["revoked_at"].is_string() && keys[1]["revoked_at"].is_null(),
        "{keys}"
    );
    site.didtail(&["api-key", "revoke", "99"])
        .fails(1, "there is no key 99", "api-key list");
    assert_eq!(site.didtail(&["api-key", "create", "--label", " "]).code, 2);
    let details: String = site.stored("SELECT group_concat(details) FROM audit_log");
    assert!(!details.contains(key), "{details}");
}

/// The same statements on every backend.
#[tokio::test]
async fn dids_and_keys_are_the_same_on_servers() {
    let postgres = Server::of_kind("postgres", "operator-store", &[]);
    for url in [
        postgres.store_url("operator"),
        Server::shared().store_url("operator_store"),
    ] {
        let store = SqlStore::open(&url).await.expect("a store");
        let entry = |status: Option<&str>| DidEntry {
            status: status.map(str::to_owned),
            ..DidEntry::default()
        };
        let key = |did: &str| ("default".to_owned(), did.to_owned());
        let first = DidEntries::from([
            (key("+12125550100"), entry(None)),
            (key("+12125550101"), entry(Some("resting"))),
        ]);
        assert_eq!(store.plan_dids(&first).await.expect("a plan").new, 2);
        assert_eq!(store.import_dids(&first).await.expect("done").new, 2);
        let second = DidEntries::from([
            (key("+12125550100"), entry(Some("resting"))),
            (key("+12125550101"), entry(None)),
            (key("+12125550102"), entry(None)),
        ]);
        let done = store.import_dids(&second).await.expect("done");
        assert_eq!((done.new, done.changed, done.unchanged), (1, 1, 1));
        let dids = store.dids(Some("default")).await.expect("a list");
        let dids: Vec<_> = dids
            .iter()
            .map(|did| {
                (
                    did.phone_number.as_str(),
                    did.status.as_str(),
                    did.origin.as_str(),
                )
            })
            .collect();
        let expected = [
            ("+12125550100", "resting", "imported"),
            ("+12125550101", "resting", "imported"),
            ("+12125550102", "active", "imported"),
        ];
        assert_eq!(dids, expected);
        let made = store
            .create_api_key("default", "x", "sha256:00")
            .await
            .expect("a key");
        assert_eq!(
            store.api_keys(None).await.expect("a list"),
            std::slice::from_ref(&made)
        );
        let before = store.revoke_api_key(made.id).await.expect("done");
        assert_eq!(before, Some(made));
        let keys = store.api_keys(Some("default")).await.expect("a list");
        assert!(keys[0].revoked_at.is_some());
        assert_eq!(store.revoke_api_key(99).await.expect("done"), None);
        store.close().await;
    }
}

/// A machine of VICIdial's: `init` finds the address there, and after the SQL that it
/// wrote was run, `doctor` has nothing against what it wrote.
#[test]
fn init_writes_what_doctor_passes() {
    let server = Server::start("init", &[]);
    let site = Site::new(&server, "asterisk");
    site.calls(30, 1);
    let conf = site.path("astguiclient.conf");
    let address = format!(
        "VARDB_server => 127.0.0.1\nVARDB_database => asterisk\nVARDB_user => cron\n\
         VARDB_pass => 1234\nVARDB_port => {}\n",
        server.port()
    );
    fs::write(&conf, address).expect("a file");
    let folder = site.path("etc");
    fs::create_dir(&folder).expect("a folder");
    let config = folder.join("didtail.toml");
    let init = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_didtail"));
        command.args(["config", "init", "--time-zone", "UTC", "--config"]);
        command.arg(&config).arg("--astguiclient").arg(&conf);
        command.args([
            "--state",
            site.path("init-state.db").to_str().expect("plain"),
        ]);
        let store = format!("sqlite://{}", site.path("init-store.db").display());
        command.args(["--store-url", &store]).args(more);
        // Nobody is there to be asked.
        Ended::of(command.stdin(Stdio::null()))
    };
    let said = init(&[]).good();
    assert!(
        said.contains("GRANT SELECT ON `asterisk`.`vicidial_log`"),
        "{said}"
    );
    let password = fs::read_to_string(folder.join("source.password")).expect("a file");
    assert!(!said.contains(password.trim()), "a password on the screen");
    let mode = |name: &str| {
        let metadata = fs::metadata(folder.join(name)).expect("a file");
        metadata.permissions().mode() & 0o777
    };
    let modes = ["source.password", "replication-user.sql", "didtail.toml"].map(mode);
    assert_eq!(modes, [0o600, 0o600, 0o640]);
    let owner = fs::metadata(folder.join("source.password"))
        .expect("a file")
        .uid();
    assert_eq!(owner, fs::metadata(&folder).expect("a folder").uid());

    // Never over a configuration, and then the old one is kept.
    init(&[]).fails(1, "is there already, and has settings", "--force");
    let before = fs::read(&config).expect("a file");
    init(&["--force"]).good();
    assert_eq!(
        fs::read(folder.join("didtail.toml.old")).expect("kept"),
        before
    );
    let kept = fs::read_to_string(folder.join("source.password")).expect("a file");
    assert_eq!(kept, password, "the user that it is for may be there");

    // The simulator's init made a user of this name with another password.
    server.sql("DROP USER didtail@'%'");
    let sql = fs::read_to_string(folder.join("replication-user.sql")).expect("a file");
    for statement in sql.split_inclusive(";\n") {
        // As `mysql --force` does: this database has no archives.
        drop(server.session("asterisk", statement).output());
    }
    let didtail = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_didtail"));
        Ended::of(command.args(arguments).arg("--config").arg(&config))
    };
    let doctor = didtail(&["doctor"]);
    assert_eq!(doctor.code, 0, "{}{}", doctor.stdout, doctor.stderr);
    didtail(&["run", "--until-caught-up"]).good();

    // With a password that is given, the server's own flags are shown.
    let mut command = Command::new(env!("CARGO_BIN_EXE_didtail"));
    let asked = command
        .args([
            "config",
            "init",
            "--yes",
            "--force",
            "--json",
            "--time-zone",
            "UTC",
            "--config",
        ])
        .arg(&config)
        .arg("--astguiclient")
        .arg(&conf)
        .env("DIDTAIL_SOURCE_PASSWORD", password.trim());
    let said = Ended::of(asked).json();
    let sale = said["sale_statuses"].as_array().expect("statuses");
    assert!(sale.contains(&"SALE".into()), "{said}");
    assert!(
        fs::read_to_string(&config)
            .expect("a file")
            .contains("at present: ")
    );
}

#[test]
fn init_says_what_it_cannot_know() {
    let site = Site::beside(Server::shared(), "no_init");
    let config = site.path("new.toml");
    let init = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_didtail"));
        command.args([
            "config",
            "init",
            "--astguiclient",
            "/no/such.conf",
            "--config",
        ]);
        Ended::of(command.arg(&config).args(more).stdin(Stdio::null()))
    };
    init(&[]).fails(
        1,
        "where VICIdial's database is cannot be told",
        "--source-url",
    );
    let cron = [
        "--source-url",
        "mysql://cron@db/asterisk",
        "--time-zone",
        "UTC",
    ];
    init(&cron).fails(1, "`cron` is VICIdial's own database user", "of its own");
    let zone = [
        "--source-url",
        "mysql://didtail@db/asterisk",
        "--time-zone",
        "Mars",
    ];
    init(&zone).fails(1, "`Mars` is no time zone", "America/Chicago");
    assert!(!config.exists() && !site.path("source.password").exists());
}

#[test]
fn a_bundle_tells_how_things_are_and_nothing_of_anybody() {
    let site = Site::new(Server::shared(), "bundle");
    site.calls(40, 1);
    site.catch_up();
    let file = site.path("bundle.txt");
    let path = file.to_str().expect("a plain path");
    let said = site.didtail(&["support-bundle", "--out", path]).good();
    assert!(
        said.contains("configuration") && said.contains("Read it"),
        "{said}"
    );
    let text = fs::read_to_string(&file).expect("a bundle");
    for section in ["versions", "configuration", "doctor", "status", "positions"] {
        assert!(text.contains(&format!("==== {section} ====")), "{text}");
    }
    let position = site.position().expect("a position");
    assert!(text.contains(&position), "{position}: {text}");
    assert!(
        !text.contains("not a secret") && !text.contains("didtail@"),
        "{text}"
    );
    let store = site.store();
    let numbers = "SELECT phone_number FROM call_records UNION SELECT phone_number FROM dids \
                   UNION SELECT caller_code FROM dials UNION SELECT uniqueid FROM call_records";
    let mut query = store.prepare(numbers).expect("a query");
    let rows = query
        .query_map([], |row| row.get::<_, String>(0))
        .expect("rows");
    let mut count = 0;
    for number in rows
        .map(|row| row.expect("a text"))
        .filter(|text| text.len() >= 7)
    {
        count += 1;
        assert!(!text.contains(number.trim_start_matches('+')), "{number}");
    }
    assert!(count > 40);
    site.didtail(&["support-bundle", "--out", path])
        .fails(1, "cannot write", "--out");
    // A configuration that is wrong is what somebody may ask about.
    site.configure("[[source]]\nurl = \"mysql://didtail@db/asterisk\"\nspeed = 3\n");
    let said = site.didtail(&["support-bundle", "--out", "-"]).good();
    assert!(said.contains("unknown key"), "{said}");
}

#[test]
fn who_stops_the_daemon_hears_what_it_did() {
    let site = Site::new(Server::shared(), "last_words");
    site.calls(20, 1);
    let daemon: Daemon = site.following();
    site.wait_for_end(Server::shared());
    let log = daemon.stop();
    let last = log.lines().last().expect("a line");
    assert!(
        last.contains("stopped; everything up to here is applied"),
        "{log}"
    );
    assert!(
        last.contains("rows=") && last.contains("missing=[]"),
        "{last}"
    );
}

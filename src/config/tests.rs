//! The sample, the layers and every way to get a value wrong.

use secrecy::ExposeSecret;

use super::keys::KEYS;
use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("temp dir")
}

/// Loads `text` as the named file with these variables.
fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = folder();
    let file = folder.path().join("didtail.toml");
    std::fs::write(&file, text).expect("written");
    Config::load(&Overrides {
        config: Some(file),
        environment: environment(variables),
        ..Overrides::default()
    })
}

fn environment(variables: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn problems(result: Result<Config, ConfigError>) -> Vec<String> {
    match result.expect_err("refused") {
        ConfigError::Invalid { problems } => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other}"),
    }
}

/// The problems without the path of the temporary file, so `:LINE: key: message`.
fn short_problems(result: Result<Config, ConfigError>) -> Vec<String> {
    problems(result)
        .into_iter()
        .map(|text| match text.split_once("didtail.toml") {
            Some((_, rest)) => rest.to_owned(),
            None => text,
        })
        .collect()
}

const MINIMAL: &str = "[[source]]\nurl = \"mysql://u@h/asterisk\"\n";

#[test]
fn the_sample_as_shipped_is_the_defaults() {
    let sample = load_with(Config::example(), &[]).expect("valid");
    let minimal = load_with(
        "[[source]]\nurl = \"mysql://didtail@vicidial-db:3306/asterisk\"",
        &[],
    )
    .expect("valid");
    assert_eq!(format!("{sample:?}"), format!("{minimal:?}"));
}

#[test]
fn the_sample_names_every_key_with_its_default() {
    let uncommented: String = Config::example()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => rest,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n");
    let table: toml::Table = uncommented.parse().expect("the sample is TOML");
    let mut found = 0;
    for (section, value) in &table {
        let table = match value {
            toml::Value::Array(sources) => sources[0].as_table().expect("a table"),
            other => other.as_table().expect("a table"),
        };
        for (name, value) in table {
            let key = keys::find(section, name).unwrap_or_else(|| panic!("{section}.{name}"));
            let text = match value {
                toml::Value::Array(list) => {
                    let texts: Vec<&str> = list.iter().filter_map(|v| v.as_str()).collect();
                    texts.join(",")
                }
                toml::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            if let Some(default) = key.default {
                assert_eq!(text, default, "{section}.{name}");
            }
            found += 1;
        }
    }
    assert_eq!(found, KEYS.len(), "every key is in the sample");
}

#[test]
fn all_problems_come_at_once_with_line_and_suggestion() {
    let text = r#"
[store]
ulr = "sqlite:///x"
[[source]]
url = "mysql://u@h/asterisk"
tls = "require"
server_id = "7"
[retention]
dials_days = -1
audit_dayz = 3
[sauce]
[log]
bad_row = "stop"
"#;
    let found = short_problems(load_with(text, &[]));
    for expected in [
        ":3: store.ulr: unknown key; did you mean `url`?",
        ":7: source.server_id: expected a whole number without quotes, not string",
        ":10: retention.audit_dayz: unknown key; did you mean `audit_days`?",
        ":11: sauce: unknown section; did you mean `source`?",
        ":13: log.bad_row: unknown key; it belongs to [errors]",
        ":9: retention.dials_days: expected days from 0 to 36500, not `-1`",
    ] {
        assert!(
            found.iter().any(|p| p == expected),
            "{expected}: {found:#?}"
        );
    }
    let tls = found.iter().find(|p| p.starts_with(":6:")).expect("tls");
    assert!(
        tls.ends_with("not `require`; did you mean `required`?"),
        "{tls}"
    );
    assert_eq!(found.len(), 7, "{found:#?}");
}

#[test]
fn a_file_that_is_none_says_what_it_is() {
    let folder = folder();
    let latin = folder.path().join("latin.toml");
    std::fs::write(&latin, b"[log]\nlevel = \"\xfc\"\n").expect("written");
    for (path, expected) in [
        (
            folder.path().to_owned(),
            "it is a folder: name the file in it",
        ),
        (latin, "it is not UTF-8: `file "),
    ] {
        let overrides = Overrides {
            config: Some(path),
            ..Overrides::default()
        };
        let hint = Config::load(&overrides).expect_err("none").hint();
        let hint = hint.expect("a hint");
        assert!(hint.starts_with(expected), "{hint}");
    }
}

#[test]
fn one_file_cannot_be_state_and_store() {
    let folder = folder();
    let file = folder.path().join("one.db");
    let also = folder.path().join(".").join("one.db");
    let (file, also) = (file.display(), also.display());
    let text = format!("{MINIMAL}[state]\npath = \"{file}\"\n[store]\nurl = \"sqlite://{also}\"\n");
    let found = short_problems(load_with(&text, &[]));
    let expected = "state.path and store.url are the same file";
    assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
}

#[test]
fn broken_syntax_names_its_line() {
    let found = short_problems(load_with("[log]\nlevel = \n[store\n", &[]));
    assert!(found[0].starts_with(":2: "), "{found:?}");
}

#[test]
fn flags_win_over_environment_over_file_over_default() {
    let folder = folder();
    let file = folder.path().join("didtail.toml");
    let text = format!("{MINIMAL}[state]\npath = \"/file\"\n[log]\nlevel = \"warn\"\n");
    std::fs::write(&file, text).expect("written");
    let variables = [
        ("DIDTAIL_STATE", "/environment"),
        ("DIDTAIL_LOG__LEVEL", "debug"),
        ("DIDTAIL_LOG__FORMAT", "json"),
    ];
    let (config, effective) = Config::load_explained(&Overrides {
        config: Some(file.clone()),
        state: Some("/flag".to_owned()),
        environment: environment(&variables),
        ..Overrides::default()
    })
    .expect("valid");
    assert_eq!(config.state.path, PathBuf::from("/flag"));
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.retention.audit_days, 7);
    let origin = |key: &str| {
        let value = effective.iter().find(|value| value.key == key);
        value.map(|value| value.origin.clone())
    };
    assert_eq!(origin("state.path"), Some(Origin::Flag("--state")));
    assert_eq!(
        origin("source.url"),
        Some(Origin::File {
            path: file,
            line: 2
        })
    );
    assert_eq!(origin("retention.audit_days"), Some(Origin::Default));
}

#[test]
fn the_environment_sets_any_key_and_its_typos_are_refused() {
    let config = load_with(
        MINIMAL,
        &[
            ("DIDTAIL_DISPOSITIONS__SUCCESS", "SALE, XFER"),
            ("DIDTAIL_RETENTION__AUDIT_DAYS", "3"),
            ("DIDTAIL_SOURCE__TIME_ZONE", "America/Chicago"),
            ("PATH", "/bin"),
        ],
    )
    .expect("valid");
    let expected = ["SALE", "XFER"].map(str::to_owned).into();
    assert_eq!(config.dispositions.success, Success::Set(expected));
    assert_eq!(config.retention.audit_days, 3);
    assert_ne!(config.sources[0].time_zone, SourceTimeZone::Auto);

    let found = problems(load_with(MINIMAL, &[("DIDTAIL_STORE_ULR", "x")]));
    assert_eq!(
        found,
        ["DIDTAIL_STORE_ULR: unknown environment variable; did you mean `DIDTAIL_STORE_URL`?"]
    );
    // Of the clients that are shipped with it.
    load_with(MINIMAL, &[("DIDTAIL_CLIENT_CONFIG", "x")]).expect("not meant for it");
}

#[test]
fn a_source_needs_no_file() {
    let missing = Overrides {
        environment: environment(&[("DIDTAIL_SOURCE_URL", "mysql://u:pw@h/asterisk")]),
        ..Overrides::default()
    };
    let config = Config::load(&missing).expect("valid");
    assert_eq!(config.sources[0].name, "main");
    assert!(config.warnings.is_empty());
    assert!(!format!("{config:?}").contains("pw"));

    let flag = Overrides {
        source_url: Some("mysql://u:pw@h/asterisk".to_owned()),
        ..Overrides::default()
    };
    let (config, effective) = Config::load_explained(&flag).expect("valid");
    assert_eq!(config.warnings.len(), 1);
    assert!(effective.iter().all(|value| !value.value.contains("pw")));
}

#[test]
fn a_named_file_must_exist_and_a_source_must_be_named() {
    let named = Overrides {
        environment: environment(&[("DIDTAIL_CONFIG", "/nowhere/didtail.toml")]),
        ..Overrides::default()
    };
    let error = Config::load(&named).expect_err("missing");
    assert!(matches!(error, ConfigError::Unreadable { .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("example")));
    let found = problems(load_with("", &[]));
    assert!(found[0].contains("names no source"), "{found:?}");
}

#[test]
fn passwords_come_from_the_nearest_place() {
    let folder = folder();
    let file = folder.path().join("password");
    std::fs::write(&file, "from file\n").expect("written");
    std::fs::write(folder.path().join("main.password"), "from systemd").expect("written");
    let with_file = format!(
        "[[source]]\nurl = \"mysql://u:url@h/d\"\npassword_file = \"{}\"\n",
        file.display()
    );
    let without = "[[source]]\nurl = \"mysql://u:url@h/d\"\n";
    let credentials = (
        "CREDENTIALS_DIRECTORY",
        folder.path().to_str().expect("utf-8"),
    );
    let variable = ("DIDTAIL_SOURCE_PASSWORD", "from environment");
    let password = |text: &str, variables: &[(&str, &str)]| {
        let config = load_with(text, variables).expect("valid");
        let password = config.sources[0].password.as_ref().expect("set");
        password.expose_secret().to_owned()
    };
    assert_eq!(
        password(&with_file, &[variable, credentials]),
        "from environment"
    );
    assert_eq!(password(&with_file, &[credentials]), "from file");
    assert_eq!(password(without, &[credentials]), "from systemd");
    assert_eq!(password(without, &[]), "url");

    let missing = "[[source]]\nurl = \"mysql://u@h/d\"\npassword_file = \"/nowhere\"\n";
    let found = short_problems(load_with(missing, &[]));
    assert!(
        found[0].starts_with(":3: source.password_file: cannot read"),
        "{found:?}"
    );
    // Who only looks needs none.
    let folder = tempfile::tempdir().expect("temp dir");
    let file = folder.path().join("didtail.toml");
    let keys = "tls_ca = \"/nowhere.pem\"\n";
    std::fs::write(&file, format!("{missing}{keys}")).expect("written");
    let looking = Config::load(&Overrides {
        config: Some(file),
        without_secrets: true,
        ..Overrides::default()
    });
    assert!(looking.expect("valid").sources[0].password.is_none());
}

#[test]
fn nothing_listens_by_default_and_for_all_only_with_a_warning() {
    let config = load_with(MINIMAL, &[]).expect("valid");
    assert_eq!((config.api, config.warnings.len()), (None, 0));
    for (listen, warnings) in [
        ("127.0.0.1:5000", 0),
        ("[::1]:5000", 0),
        ("0.0.0.0:5000", 1),
        ("192.0.2.1:5000", 1),
    ] {
        let text = format!("{MINIMAL}[api]\nlisten = \"{listen}\"\n");
        let config = load_with(&text, &[]).expect(listen);
        assert_eq!(config.api.expect("set").listen.to_string(), listen);
        assert_eq!(config.warnings.len(), warnings, "{:?}", config.warnings);
        let is_told = config.warnings.iter().all(|w| w.contains("unencrypted"));
        assert!(is_told, "{:?}", config.warnings);
    }
    for listen in ["5000", "localhost:5000", "127.0.0.1", "127.0.0.1:70000"] {
        let text = format!("{MINIMAL}[api]\nlisten = \"{listen}\"\n");
        let found = short_problems(load_with(&text, &[]));
        assert_eq!(
            found,
            [":4: api.listen: expected ADDRESS:PORT, e.g. 127.0.0.1:5000"]
        );
    }
}

#[test]
fn a_certificate_needs_its_key_and_files_that_are_what_they_should_be() {
    let folder = folder();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let empty = file("empty.pem", "nothing here\n");
    let missing = folder.path().join("missing.pem").display().to_string();
    let api = |lines: &str| format!("{MINIMAL}[api]\nlisten = \"127.0.0.1:5000\"\n{lines}");
    for (lines, problem) in [
        (
            format!("tls_cert = \"{empty}\"\n"),
            ":5: api.tls_cert: it needs tls_key too".to_owned(),
        ),
        (
            format!("tls_key = \"{empty}\"\n"),
            ":5: api.tls_key: it needs tls_cert too".to_owned(),
        ),
        (
            format!("tls_cert = \"{empty}\"\ntls_key = \"{empty}\"\n"),
            format!(":5: api.tls_cert: {empty} holds no certificate in PEM form"),
        ),
        (
            format!("tls_cert = \"{missing}\"\ntls_key = \"{empty}\"\n"),
            format!(":5: api.tls_cert: cannot read {missing}: No such file"),
        ),
    ] {
        let found = short_problems(load_with(&api(&lines), &[]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&problem), "{found:?}");
    }
    // Who only looks at the store may not be let read the key.
    let whole = api(&format!(
        "tls_cert = \"{missing}\"\ntls_key = \"{missing}\"\n"
    ));
    let looks = Overrides {
        config: Some(file("didtail.toml", &whole).into()),
        without_secrets: true,
        ..Overrides::default()
    };
    assert!(Config::load(&looks).is_ok());
    let serves = Overrides {
        without_secrets: false,
        only_serves: true,
        ..looks
    };
    assert!(Config::load(&serves).is_err());
}

#[test]
fn who_only_serves_needs_no_source_and_no_password_of_one() {
    let folder = folder();
    let path = folder.path().join("didtail.toml");
    for (text, sources) in [
        ("[api]\nlisten = \"127.0.0.1:5000\"\n".to_owned(), 0),
        (format!("{MINIMAL}password_file = \"/not/here\"\n"), 1),
    ] {
        std::fs::write(&path, text).expect("written");
        let mut overrides = Overrides {
            config: Some(path.clone()),
            only_serves: true,
            ..Overrides::default()
        };
        let config = Config::load(&overrides).expect("enough to serve");
        assert_eq!(config.sources.len(), sources);
        overrides.only_serves = false;
        assert!(Config::load(&overrides).is_err(), "too little to follow");
    }
}

#[test]
fn the_password_of_a_store_comes_from_the_nearest_place_too() {
    let folder = folder();
    std::fs::write(folder.path().join("file"), "from file\n").expect("written");
    std::fs::write(folder.path().join("store.password"), "from systemd").expect("written");
    let text = |more: &str| {
        let store = "[store]\nurl = \"postgres://me:in-url@h/d\"\n";
        format!("{store}{more}[[source]]\nurl = \"mysql://u@h/d\"\n")
    };
    let folder = folder.path().to_str().expect("utf-8");
    let file = format!("password_file = \"{folder}/file\"\n");
    let credentials = ("CREDENTIALS_DIRECTORY", folder);
    let variable = ("DIDTAIL_STORE_PASSWORD", "p@ss");
    let address = |text: &str, variables: &[(&str, &str)]| {
        let config = load_with(text, variables).expect("valid");
        let shown = format!("{:?} {}", config.store, config.store.url);
        for secret in ["in-url", "from file", "from systemd", "p@ss"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        config.store.address()
    };
    let with = |password: &str| format!("postgres://me:{password}@h/d");
    let all = [variable, credentials];
    assert_eq!(address(&text(&file), &all), with("p%40ss"));
    assert_eq!(address(&text(&file), &all[1..]), with("from%20file"));
    assert_eq!(address(&text(""), &all[1..]), with("from%20systemd"));
    assert_eq!(address(&text(""), &[]), with("in-url"));
}

#[test]
fn password_files_that_all_may_read_are_noted() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let files = ["store", "source"].map(|name| folder.path().join(name));
    let [store, source] = files.each_ref().map(|file| file.display());
    let text = format!(
        "[store]\nurl = \"postgres://u@h/d\"\npassword_file = \"{store}\"\n\
         [[source]]\nurl = \"mysql://u@h/d\"\npassword_file = \"{source}\"\n"
    );
    for (mode, is_noted) in [(0o644, true), (0o602, true), (0o640, false), (0o600, false)] {
        for file in &files {
            std::fs::write(file, "secret").expect("written");
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(file, mode).expect("its mode is set");
        }
        let config = load_with(&text, &[]).expect("valid");
        let expected = if is_noted { &files[..] } else { &[] };
        assert_eq!(config.exposed_files, expected, "{mode:o}");
        // A password that is not in use is nobody's business.
        let given = [
            ("DIDTAIL_STORE_PASSWORD", "x"),
            ("DIDTAIL_SOURCE_PASSWORD", "x"),
        ];
        let config = load_with(&text, &given).expect("valid");
        assert!(config.exposed_files.is_empty());
    }
}

#[test]
fn one_database_is_one_source() {
    let two = |url: &str| {
        let text = format!(
            "[[source]]\nurl = \"mysql://u@db/d\"\n[[source]]\nname = \"b\"\nurl = \"{url}\"\n"
        );
        short_problems(load_with(&text, &[]))
    };
    let found = two("mysql://other@DB:3306/d");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("are the same database"), "{found:?}");
}

#[test]
fn nonsense_values_are_refused() {
    for (section, line) in [
        ("dispositions", "success = \"vicidial-sales-flag\""),
        ("dispositions", "success = []"),
        ("dispositions", "success = [\"QUEUE\"]"),
        ("dispositions", "success = [1]"),
        ("attribution", "default_country = \"us\""),
        ("attribution", "default_country = \"USA\""),
        ("log", "level = \"loud\""),
        ("log", "level = 3"),
        ("state", "path = \"\""),
    ] {
        let found = short_problems(load_with(&format!("{MINIMAL}[{section}]\n{line}\n"), &[]));
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert!(found[0].starts_with(":4: "), "{line}: {found:?}");
    }
    for line in [
        "name = \"a b\"",
        "start_at = \"backfill:0d\"",
        "time_zone = \"Mars/Olympus\"",
        "server_id = 0",
        "tls_cert = \"/etc/hostname\"",
        "tls_ca = \"/nowhere.pem\"",
        "tls = \"verify-ca\"",
        "tls = \"verify-identity\"",
    ] {
        let found = short_problems(load_with(&format!("{MINIMAL}{line}\n"), &[]));
        assert_eq!(found.len(), 1, "{line}: {found:?}");
    }
}

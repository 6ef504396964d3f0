//! Every way to log in and to encrypt, against real servers, and what is said
//! where it does not work.

use std::path::PathBuf;

use didtail::source::{ConnectSettings, EventStream, MySqlSource, Source, SourceError, TlsMode};

use crate::support::{Authority, Server, workspace};

const PASSWORD: &str = "Pässwort' not a secret";

/// A connection without TLS to the server's port, as this user.
fn settings(server: &Server, user: &str) -> ConnectSettings {
    ConnectSettings {
        name: format!("connect-{user}"),
        host: "127.0.0.1".to_owned(),
        port: server.port(),
        user: user.to_owned(),
        password: Some(PASSWORD.to_owned().into()),
        database: "mysql".to_owned(),
        socket: None,
        tls: TlsMode::Disabled,
        tls_ca: None,
        tls_cert: None,
        tls_key: None,
        server_id: None,
    }
}

/// Logs in twice, for questions and for the binlog, and reads an event.
fn follow(settings: &ConnectSettings) -> Result<(), SourceError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let source = MySqlSource::connect(settings).await?;
        let head = source.head().await?;
        let mut stream = source.stream(&head).await?;
        stream.next().await.map(drop)
    })
}

#[track_caller]
fn works(settings: &ConnectSettings) {
    if let Err(error) = follow(settings) {
        panic!("{settings:?}: {error}\n{:?}", error.hint());
    }
}

/// Demands a failure with all of these words in what is said, and of these in
/// what to do about it.
#[track_caller]
fn fails(settings: &ConnectSettings, words: &[&str], fix: &[&str]) -> SourceError {
    let error = follow(settings).expect_err("this must not work");
    let (said, hint) = (error.to_string(), error.hint().unwrap_or_default());
    for word in words {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
    for word in fix {
        assert!(hint.contains(word), "no `{word}` in: {hint}");
    }
    assert!(
        !said.contains("ä") && !hint.contains("ä"),
        "the password: {said}"
    );
    error
}

fn with(settings: &ConnectSettings, change: impl FnOnce(&mut ConnectSettings)) -> ConnectSettings {
    let mut settings = settings.clone();
    change(&mut settings);
    settings
}

/// A MariaDB account, identified in this way.
fn mariadb_user(server: &Server, user: &str, identified: &str) {
    server.sql(&format!(
        "CREATE USER {user}@'%' {identified}; \
         GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO {user}@'%'"
    ));
}

fn quoted() -> String {
    format!("'{}'", PASSWORD.replace('\'', "''"))
}

#[test]
fn accounts_of_mariadb() {
    let plugins = ["auth_ed25519", "auth_parsec"].map(|p| format!("--plugin-load-add={p}"));
    let arguments = [plugins[0].as_str(), plugins[1].as_str()];
    for (kind, arguments) in [
        ("mariadb-10.11", &arguments[..1]),
        ("mariadb-11.8", &arguments),
    ] {
        let server = Server::of_kind(kind, &format!("accounts-{kind}"), arguments);
        let mut ways = vec!["mysql_native_password", "ed25519"];
        if kind == "mariadb-11.8" {
            ways.push("parsec");
        }
        for way in ways {
            let identified = format!("IDENTIFIED VIA {way} USING PASSWORD({})", quoted());
            mariadb_user(&server, way, &identified);
            let plain = settings(&server, way);
            works(&plain);
            if kind == "mariadb-11.8" {
                // It makes up a certificate.
                works(&with(&plain, |s| s.tls = TlsMode::Required));
            }
            let wrong = with(&plain, |s| s.password = Some("wrong".to_owned().into()));
            fails(&wrong, &["refused the login", "1045"], &["password_file"]);
            let none = with(&plain, |s| s.password = None);
            fails(&none, &["refused the login", "1045"], &["password_file"]);
        }
        mariadb_user(&server, "open", "IDENTIFIED VIA mysql_native_password");
        works(&with(&settings(&server, "open"), |s| s.password = None));
        fails(
            &settings(&server, "nobody"),
            &["refused the login"],
            &["mysql.user"],
        );
        if kind == "mariadb-11.8" {
            let other = Authority::new("not-mariadb");
            let verified = with(&settings(&server, "open"), |s| {
                s.tls = TlsMode::VerifyCa;
                s.tls_ca = Some(other.ca());
            });
            fails(
                &verified,
                &["the server's certificate"],
                &["tls = \"required\""],
            );
        }
        over_socket(&server, "mysql_native_password");
    }
}

#[test]
fn accounts_of_mysql() {
    let server = Server::of_kind("mysql-9", "accounts-mysql", &[]);
    for plugin in ["caching_sha2_password", "sha256_password"] {
        server.sql(&format!(
            "CREATE USER {plugin}@'%' IDENTIFIED WITH {plugin} BY {}; \
             GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {plugin}@'%'",
            quoted()
        ));
        let plain = settings(&server, plugin);
        let wrong = with(&plain, |s| s.password = Some("wrong".to_owned().into()));
        let none = with(&plain, |s| s.password = None);
        let tls = with(&plain, |s| s.tls = TlsMode::Required);
        // With the server's public key, then by the hash that it remembers.
        for _ in 0..2 {
            works(&plain);
            fails(&wrong, &["refused the login", "1045"], &["password_file"]);
            fails(&none, &["refused the login", "1045"], &["password_file"]);
        }
        // In clear under TLS, then by the hash.
        server.sql("FLUSH PRIVILEGES");
        for _ in 0..2 {
            works(&tls);
        }
        server.sql("FLUSH PRIVILEGES");
        over_socket(&server, plugin);
    }
    server.sql("CREATE USER open@'%' IDENTIFIED BY ''");
    server.sql("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO open@'%'");
    for tls in [TlsMode::Disabled, TlsMode::Required] {
        works(&with(&settings(&server, "open"), |s| {
            s.password = None;
            s.tls = tls;
        }));
    }
}

/// A Unix socket instead of TCP; TLS is not spoken on it, whatever is set.
fn over_socket(server: &Server, user: &str) {
    let path = PathBuf::from(server.sql("SELECT @@socket").trim());
    let local = with(&settings(server, user), |s| {
        s.socket = Some(path);
        s.host = "unused.invalid".to_owned();
        s.tls = TlsMode::VerifyIdentity;
    });
    works(&local);
    let gone = with(&local, |s| s.socket = Some("/nowhere/mysql.sock".into()));
    let error = fails(
        &gone,
        &[
            "the connection to /nowhere/mysql.sock failed",
            "No such file",
        ],
        &["socket can be reached"],
    );
    assert!(error.is_transient());
}

#[test]
fn encryption() {
    let ours = Authority::new("ours");
    let theirs = Authority::new("theirs");
    ours.sign("server", "DNS:localhost,DNS:db.example,IP:127.0.0.1,IP:::1");
    ours.sign("other-name", "DNS:db.example");
    ours.sign("nameless", "");
    ours.sign_for(
        "expired",
        "IP:127.0.0.1",
        "20200101000000Z",
        "20210102030405Z",
    );
    ours.sign_for(
        "early",
        "IP:127.0.0.1",
        "20980101000000Z",
        "20991231000000Z",
    );
    ours.sign("client", "");
    theirs.sign("stranger", "");
    let folder = workspace().join("encryption");
    std::fs::create_dir_all(&folder).expect("a directory");
    let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
    ours.install("server", &certificate, &key);
    let files = [
        format!("--ssl-ca={}", ours.ca().display()),
        format!("--ssl-cert={}", certificate.display()),
        format!("--ssl-key={}", key.display()),
    ];
    let arguments = [files[0].as_str(), &files[1], &files[2], "--bind-address=*"];
    let server = Server::start("encryption", &arguments);
    mariadb_user(&server, "plain", &format!("IDENTIFIED BY {}", quoted()));
    mariadb_user(
        &server,
        "secret",
        &format!("IDENTIFIED BY {} REQUIRE SSL", quoted()),
    );
    mariadb_user(
        &server,
        "known",
        &format!("IDENTIFIED BY {} REQUIRE X509", quoted()),
    );
    let secret = settings(&server, "secret");
    let tls = |mode: TlsMode| {
        with(&secret, |s| {
            s.tls = mode;
            s.tls_ca = Some(ours.ca());
        })
    };

    // A certificate that is as it should be.
    fails(&secret, &["refused the login", "1045"], &["tls"]);
    for mode in [
        TlsMode::Preferred,
        TlsMode::Required,
        TlsMode::VerifyCa,
        TlsMode::VerifyIdentity,
    ] {
        works(&tls(mode));
    }
    let identity = tls(TlsMode::VerifyIdentity);
    works(&with(&identity, |s| s.host = "localhost".to_owned()));
    works(&with(&identity, |s| s.host = "::1".to_owned()));
    works(&with(&settings(&server, "plain"), |s| {
        s.host = "::1".to_owned()
    }));

    // Another authority's.
    let stranger = with(&tls(TlsMode::VerifyCa), |s| s.tls_ca = Some(theirs.ca()));
    let file = theirs.ca().display().to_string();
    let error = fails(
        &stranger,
        &["TLS with 127.0.0.1:", "signed by no authority in", &file],
        &[
            "tls_ca of the [[source]]",
            "openssl s_client -starttls mysql -connect 127.0.0.1:",
        ],
    );
    assert!(!error.is_transient());
    works(&with(&stranger, |s| s.tls = TlsMode::Required));
    for (wrong, words) in [
        (
            PathBuf::from("/nowhere/ca.pem"),
            "/nowhere/ca.pem cannot be used",
        ),
        (ours.file("client.key"), "holds no PEM certificate"),
    ] {
        let wrong = with(&stranger, |s| s.tls_ca = Some(wrong));
        fails(&wrong, &[words], &["openssl x509 -in FILE"]);
    }
    fails(
        &with(&stranger, |s| s.tls_ca = None),
        &["needs tls_ca"],
        &["tls_ca"],
    );

    // Our own certificate.
    let known = with(&identity, |s| s.user = "known".to_owned());
    fails(&known, &["refused the login", "1045"], &["tls_cert"]);
    let shown = |authority: &Authority, certificate: &str, key: &str| {
        with(&known, |s| {
            s.tls_cert = Some(authority.file(certificate));
            s.tls_key = Some(authority.file(key));
        })
    };
    works(&shown(&ours, "client.pem", "client.key"));
    fails(
        &shown(&theirs, "stranger.pem", "stranger.key"),
        &["the server does not accept didtail's own certificate"],
        &["the server's ssl_ca", "openssl verify"],
    );
    fails(
        &shown(&ours, "client.pem", "server.key"),
        &["tls_cert and tls_key do not fit"],
        &["tls_key"],
    );
    let half = with(&known, |s| s.tls_cert = Some(ours.file("client.pem")));
    fails(&half, &["must be given together"], &["tls_key"]);

    // What can be wrong with the server's.
    let reload = |name: &str| {
        ours.install(name, &certificate, &key);
        server.sql("FLUSH SSL");
    };
    reload("other-name");
    works(&tls(TlsMode::VerifyCa));
    fails(
        &identity,
        &["is for db.example, and not for 127.0.0.1"],
        &[
            "write db.example as the host",
            "subjectAltName = IP:127.0.0.1",
            "verify-ca",
        ],
    );
    reload("nameless");
    works(&tls(TlsMode::VerifyCa));
    fails(
        &with(&identity, |s| s.host = "localhost".to_owned()),
        &["names no host at all", "not for localhost"],
        &["subjectAltName = DNS:localhost"],
    );
    reload("expired");
    for mode in [TlsMode::VerifyCa, TlsMode::VerifyIdentity] {
        fails(
            &tls(mode),
            &["expired on 2021-01-02T03:04:05Z"],
            &["renew the certificate", "FLUSH SSL"],
        );
    }
    works(&tls(TlsMode::Required));
    reload("early");
    fails(
        &tls(TlsMode::VerifyCa),
        &["valid only from 2098-01-01"],
        &["clocks"],
    );
}

#[test]
fn a_server_without_tls() {
    // MariaDB of before 11.4 has none unless it is given a certificate.
    let server = Server::shared();
    mariadb_user(server, "no_tls", &format!("IDENTIFIED BY {}", quoted()));
    let plain = settings(server, "no_tls");
    works(&with(&plain, |s| s.tls = TlsMode::Preferred));
    for mode in [
        TlsMode::Required,
        TlsMode::VerifyCa,
        TlsMode::VerifyIdentity,
    ] {
        let demanded = with(&plain, |s| s.tls = mode);
        let words = format!("tls = \"{mode}\" demands it");
        let error = fails(
            &demanded,
            &["the server offers no TLS", &words],
            &["ssl_cert", "tls = \"preferred\""],
        );
        assert!(!error.is_transient());
    }
}

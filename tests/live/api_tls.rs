//! The HTTP API over TLS: who is shown which certificate, what a renewed one does, and
//! what files that cannot be used do.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::client::{connect, request};
use crate::monitor::address;
use crate::support::{Authority, Daemon, Ended, Server, Site, wait_until};

/// Configures the API with a certificate, and returns it and its key.
fn with_tls(site: &Site, authority: &Authority) -> [std::path::PathBuf; 2] {
    let files = ["api.pem", "api.key"].map(|name| site.path(name));
    let [cert, key] = &files;
    authority.install("first", cert, key);
    site.configure(&format!(
        "{}\n[api]\nlisten = \"127.0.0.1:0\"\ntls_cert = \"{}\"\ntls_key = \"{}\"\n",
        site.config(),
        cert.display(),
        key.display()
    ));
    files
}

/// What openssl's client says of a server, and what that answers to a request.
fn asked(address: &str, authority: &Authority, arguments: &[&str]) -> Ended {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", address, "-servername", "api"]);
    client.args(["-verify_return_error", "-verify_hostname", "api", "-CAfile"]);
    client
        .arg(authority.ca())
        .args(["-ign_eof"])
        .args(arguments);
    client.stdin(Stdio::piped());
    client.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = client.spawn().expect("openssl can be run");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A server that does not agree hangs up.
    drop(stdin.write_all(request("GET", "/healthz", "", "").as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    Ended {
        code: i32::from(!output.status.success()),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Demands an answer under the certificate of this name.
#[track_caller]
fn shows(address: &str, authority: &Authority, name: &str) {
    let asked = asked(address, authority, &["-alpn", "http/1.1"]);
    let said = &asked.stdout;
    assert!(
        said.contains(&format!("CN = {name}")) || said.contains(&format!("CN={name}")),
        "{said}"
    );
    assert!(said.contains("HTTP/1.1 "), "{said} {}", asked.stderr);
    assert!(said.contains("\"health\""), "{said}");
    assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
}

#[track_caller]
fn hang_up_tells(daemon: &mut Daemon, words: &str, times: usize) {
    daemon.signal("HUP");
    daemon.wait_for_times(words, times);
}

#[test]
fn a_renewed_certificate_holds_and_a_wrong_one_does_not() {
    let site = Site::new(Server::shared(), "api_tls");
    let authority = Authority::new("api-tls");
    authority.sign("first", "DNS:api");
    authority.sign("second", "DNS:api");
    let [cert, key] = with_tls(&site, &authority);
    site.didtail(&["config", "check"]).good();
    let doctor = || site.didtail(&["doctor"]).good();
    let well = doctor();
    assert!(well.contains("127.0.0.1:0 can be listened on"), "{well}");
    assert!(well.contains("api.pem holds for 2"), "{well}");
    let mut daemon = site.daemon();
    let address = address(&mut daemon);
    shows(&address, &authority, "first");
    let old = asked(&address, &authority, &["-tls1_2"]);
    assert!(old.stdout.contains("HTTP/1.1 "), "{}", old.stderr);
    let older = asked(
        &address,
        &authority,
        &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"],
    );
    assert!(!older.stdout.contains("HTTP/1.1 "), "{}", older.stdout);

    // Who speaks no TLS is hung up on, and hears nothing of what is asked for.
    let mut plain = connect(&address);
    let text = request("GET", "/healthz", "", "");
    plain.write_all(text.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    drop(plain.read_to_end(&mut answer));
    assert!(answer.len() < 16, "{}", String::from_utf8_lossy(&answer));

    // The key of another one: as while only one of two files is renewed.
    std::fs::copy(authority.file("second.pem"), &cert).expect("copied");
    hang_up_tells(&mut daemon, "is wrong; the old one stays in force", 1);
    assert!(
        daemon.log().contains("is not the key of the certificate"),
        "{}",
        daemon.log()
    );
    shows(&address, &authority, "first");
    let check = site.didtail(&["config", "check"]);
    check.fails(
        1,
        "is not the key of the certificate",
        "didtail config example",
    );

    authority.install("second", &cert, &key);
    hang_up_tells(&mut daemon, "the configuration was read again", 2);
    shows(&address, &authority, "second");
    assert!(!daemon.log().contains("refuse it"), "{}", daemon.log());

    // Nothing but a clock stands against these.
    authority.sign_for("ended", "DNS:api", "20200101000000Z", "20210101120000Z");
    authority.sign_for("early", "DNS:api", "20990101000000Z", "20991231000000Z");
    for (times, name, trouble) in [
        (
            3,
            "ended",
            "ended at 2021-01-01 12:00 UTC: clients refuse it",
        ),
        (
            4,
            "early",
            "holds from 2099-01-01 00:00 UTC on: clients refuse it until then",
        ),
    ] {
        authority.install(name, &cert, &key);
        hang_up_tells(&mut daemon, "the configuration was read again", times);
        assert!(daemon.log().contains(trouble), "{}", daemon.log());
        let told = doctor();
        assert!(told.contains(trouble), "{told}");
        assert!(told.contains("systemctl reload didtail"), "{told}");
    }
    authority.install("second", &cert, &key);
    hang_up_tells(&mut daemon, "the configuration was read again", 5);

    // Files that are none, and that are not there.
    std::fs::write(&key, "no key").expect("written");
    hang_up_tells(&mut daemon, "is wrong; the old one stays in force", 2);
    shows(&address, &authority, "second");
    for arguments in [&["run"][..], &["doctor"], &["config", "check"]] {
        let refused = site.didtail(arguments);
        refused.fails(
            1,
            "holds no private key in PEM form",
            "didtail config example",
        );
    }
    std::fs::remove_file(&cert).expect("it was there");
    let gone = format!("cannot read {}", cert.display());
    site.didtail(&["run"]).fails(1, &gone, "didtail");
    // Commands that look at the store alone do without.
    site.didtail(&["stats"]).good();
    let log = daemon.stop();
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

#[test]
fn an_address_that_cannot_be_listened_on_is_found_before_the_start() {
    let site = Site::new(Server::shared(), "api_taken");
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = other.local_addr().expect("an address");
    let listens_at = |listen: &str| {
        site.configure(&format!(
            "{}\n[api]\nlisten = \"{listen}\"\n",
            site.config()
        ));
    };
    for (listen, fix) in [
        (
            taken.to_string(),
            format!("`ss -ltnp sport = :{}`", taken.port()),
        ),
        (
            "192.0.2.1:5000".to_owned(),
            "`ip -brief address`".to_owned(),
        ),
    ] {
        listens_at(&listen);
        let doctor = site.didtail(&["doctor"]);
        assert_eq!(doctor.code, 1, "{doctor:?}");
        assert!(doctor.stdout.contains("BAD      api "), "{doctor:?}");
        assert!(doctor.stdout.contains(&fix), "{doctor:?}");
    }
    listens_at("127.0.0.1:0");
    let mut daemon = site.daemon();
    listens_at(&address(&mut daemon));
    let doctor = site.didtail(&["doctor"]).good();
    assert!(
        doctor.contains("as it is while the daemon runs"),
        "{doctor}"
    );
    daemon.stop();
}

#[test]
fn a_client_that_does_not_agree_on_tls_is_not_waited_for() {
    let site = Site::new(Server::shared(), "api_tls_slow");
    let authority = Authority::new("api-tls-slow");
    authority.sign("first", "DNS:api");
    with_tls(&site, &authority);
    let mut daemon = site.daemon();
    let address = address(&mut daemon);
    let mut silent = connect(&address);
    // The first bytes of a handshake, and nothing more.
    silent.write_all(&[0x16, 0x03, 0x01]).expect("sent");
    shows(&address, &authority, "first");
    wait_until("it is hung up on", || {
        let mut byte = [0];
        matches!(silent.read(&mut byte), Ok(0) | Err(_)).then_some(())
    });
    daemon.stop();
}

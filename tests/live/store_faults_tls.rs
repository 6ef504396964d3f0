//! Encrypted connections to a store: whom the server's certificate names and who
//! signed it is checked, and what is wrong with it is told. Nobody sees the password.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Authority, Ended, Server, Site, wait_until};

const PASSWORD: &str = "a-very-secret-word";

/// A store whose server has one certificate after the other.
struct Encrypted {
    source: Server,
    server: Server,
    site: Site,
    dir: PathBuf,
    kind: &'static str,
}

impl Encrypted {
    /// The name of an option, as each server's own programs have it.
    fn option(&self, postgres: &'static str, mysql: &'static str) -> &'static str {
        if self.kind == "postgres" {
            postgres
        } else {
            mysql
        }
    }

    /// The address with an option for TLS, and an authority.
    fn url(&self, mode: &str, authority: Option<&Path>) -> String {
        let scheme = self.option("postgres", "mysql");
        let port = self.server.port();
        let name = self.option("sslmode", "ssl-mode");
        let mut url =
            format!("{scheme}://keeper:{PASSWORD}@127.0.0.1:{port}/optimizer?{name}={mode}");
        if let Some(file) = authority {
            let name = self.option("sslrootcert", "ssl-ca");
            url += &format!("&{name}={}", file.display());
        }
        url
    }

    fn run(&self, mode: &str, authority: Option<&Path>) -> Ended {
        let url = self.url(mode, authority);
        let run = ["run", "--until-caught-up", "--store-url", &url];
        let ended = self.site.didtail(&run);
        for said in [&ended.stdout, &ended.stderr] {
            assert!(!said.contains(PASSWORD), "{said}");
        }
        ended
    }

    /// Gives the server a certificate; it takes it without a restart.
    fn present(&self, authority: &Authority, name: &str) {
        let file = |end: &str| self.dir.join(format!("server.{end}"));
        authority.install(name, &file("pem"), &file("key"));
        if self.kind == "postgres" {
            // It may be another user's, and wants its key for itself.
            let mut own = Command::new("chown");
            own.arg("--reference").arg(self.dir.join("data"));
            Ended::of(own.arg(file("key")).arg(file("pem"))).good();
            let mut own = Command::new("chmod");
            Ended::of(own.arg("600").arg(file("key"))).good();
            for (setting, end) in [("ssl_cert_file", "pem"), ("ssl_key_file", "key")] {
                let file = file(end);
                let set = format!("ALTER SYSTEM SET {setting} = '{}'", file.display());
                self.server.sql(&set);
            }
            self.server.sql("ALTER SYSTEM SET ssl = on");
            self.server.sql("SELECT pg_reload_conf()");
            wait_until("it has TLS", || {
                (self.server.sql("SHOW ssl").trim() == "on").then_some(())
            });
        } else {
            self.server.sql("FLUSH SSL");
        }
    }
}

#[test]
fn postgres_over_tls() {
    let encrypted = prepared("postgres", &[]);
    let required = encrypted.run("require", None);
    required.fails(4, "no TLS connection", "sslmode=disable");
    assert!(
        required.stderr.contains("does not support TLS"),
        "{}",
        required.stderr
    );
    certificates(&encrypted);
}

#[test]
fn mariadb_over_tls() {
    // A server that has no certificate takes none later.
    let without = prepared("mariadb-10.5", &[]);
    let required = without.run("REQUIRED", None);
    required.fails(4, "no TLS connection", "ssl-mode=REQUIRED");
    assert!(
        required.stderr.contains("does not support TLS"),
        "{}",
        required.stderr
    );
    drop(without);
    let dir = Server::place("tls-mariadb-10.11").with_extension("d");
    std::fs::create_dir_all(&dir).expect("a directory");
    let first = Authority::new("first");
    first.sign("server", "IP:127.0.0.1");
    first.install("server", &dir.join("server.pem"), &dir.join("server.key"));
    let option = |name: &str, end: &str| {
        format!(
            "--ssl-{name}={}",
            dir.join(format!("server.{end}")).display()
        )
    };
    let arguments = [option("cert", "pem"), option("key", "key")];
    let mut encrypted = prepared("mariadb-10.11", &[&arguments[0], &arguments[1]]);
    encrypted.dir = dir;
    certificates(&encrypted);
}

/// A server with a user who has a password, and some calls to apply.
fn prepared(kind: &'static str, arguments: &[&str]) -> Encrypted {
    let name = format!("tls-{kind}");
    let server = Server::of_kind(kind, &name, arguments);
    let url = server.store_url("optimizer");
    let source = Server::start(&format!("{name}-source"), &[]);
    let site = Site::new(&source, &name.replace(['-', '.'], "_")).on_store(&url);
    site.calls(40, 1);
    if kind == "postgres" {
        server.sql(&format!(
            "CREATE ROLE keeper LOGIN SUPERUSER PASSWORD '{PASSWORD}'"
        ));
    } else {
        server.sql(&format!(
            "CREATE USER keeper@'%' IDENTIFIED BY '{PASSWORD}'; \
             GRANT ALL ON optimizer.* TO keeper@'%'"
        ));
    }
    Encrypted {
        source,
        server,
        site,
        dir: Server::place(&name),
        kind,
    }
}

fn certificates(encrypted: &Encrypted) {
    let ours = Authority::new(&format!("store-{}", encrypted.kind));
    let theirs = Authority::new(&format!("not-of-{}", encrypted.kind));
    ours.sign("good", "IP:127.0.0.1,DNS:localhost");
    ours.sign("elsewhere", "DNS:elsewhere.example");
    ours.sign_for("old", "IP:127.0.0.1", "20200101000000Z", "20200102000000Z");
    let full = encrypted.option("verify-full", "VERIFY_IDENTITY");
    let authority_only = encrypted.option("verify-ca", "VERIFY_CA");
    let (ca, stranger) = (ours.ca(), theirs.ca());
    let what_to_give = encrypted.option("sslrootcert=/path/ca.pem", "ssl-ca=/path/ca.pem");

    encrypted.present(&ours, "good");
    encrypted.run(full, Some(&ca)).good();
    encrypted.site.assert_equals_source();
    for (authority, cause) in [
        (None, "UnknownIssuer"),
        (Some(stranger.as_path()), "UnknownIssuer"),
    ] {
        let ended = encrypted.run(full, authority);
        ended.fails(4, "no TLS connection", what_to_give);
        assert!(ended.stderr.contains(cause), "{}", ended.stderr);
    }

    // Of another host.
    encrypted.present(&ours, "elsewhere");
    let ended = encrypted.run(full, Some(&ca));
    ended.fails(
        4,
        "no TLS connection",
        "as the server's certificate names it",
    );
    ended.fails(4, "elsewhere.example", authority_only);
    encrypted.run(authority_only, Some(&ca)).good();

    encrypted.present(&ours, "old");
    let ended = encrypted.run(full, Some(&ca));
    ended.fails(4, "expired", "");

    // Files that are not what they should be.
    let missing = encrypted.dir.join("nowhere.pem");
    let ended = encrypted.run(full, Some(&missing));
    ended.fails(4, "nowhere.pem", what_to_give);
    let garbage = encrypted.site.path("garbage.pem");
    std::fs::write(&garbage, "no certificate\n").expect("written");
    let ended = encrypted.run(full, Some(&garbage));
    ended.fails(4, "garbage.pem holds no PEM of a CERTIFICATE", what_to_give);

    // A daemon that follows over TLS, and a server that is given another certificate.
    encrypted.present(&ours, "good");
    let site = &encrypted.site;
    let direct = site.config();
    let url = encrypted.url(full, Some(&ca));
    site.configure(&direct.replace(&site.store_url(), &url));
    let daemon = site.following();
    site.calls(40, 2);
    site.wait_for_end(&encrypted.source);
    let log = daemon.stop();
    assert!(!log.contains(PASSWORD), "{log}");
    site.assert_equals_source();
}

//! What a store's server can refuse, caused for real: each is told with what to do
//! about it, and what passes is waited for.

use crate::support::{Ended, Server, Site, wait_until};

/// A user of the daemon's, who may not make tables.
const RUNTIME: &str = "didtail_runtime";

struct Refusing {
    source: &'static Server,
    server: Server,
    site: Site,
    is_postgres: bool,
}

impl Refusing {
    fn new(kind: &'static str, name: &str, arguments: &[&str]) -> Self {
        let source = Server::shared();
        let server = Server::of_kind(kind, name, arguments);
        let url = server.store_url("optimizer");
        let database = name.replace('-', "_");
        let site = Site::new(source, &database).on_store(&url);
        site.calls(40, 1);
        let is_postgres = kind == "postgres";
        Self {
            source,
            server,
            site,
            is_postgres,
        }
    }

    /// Another user of the store, with a password.
    fn url(&self, user: &str, password: &str) -> String {
        let url = self.site.store_url();
        let (_, rest) = url.split_once('@').expect("a user");
        // Without TLS the passwords of MySQL do not work.
        let rest = rest.replace("ssl-mode=DISABLED", "ssl-mode=PREFERRED");
        let scheme = if self.is_postgres {
            "postgres"
        } else {
            "mysql"
        };
        format!("{scheme}://{user}:{password}@{rest}")
    }

    fn run(&self, url: &str) -> Ended {
        let run = ["run", "--until-caught-up", "--store-url", url];
        self.site.didtail(&run)
    }

    /// Statements as the server's administrator in the store's database.
    fn sql(&self, statements: &str) -> String {
        if self.is_postgres {
            self.server.sql_in("optimizer", statements)
        } else {
            self.server.sql(&format!("USE optimizer; {statements}"))
        }
    }

    /// Makes [`RUNTIME`].
    fn make_user(&self) {
        if self.is_postgres {
            self.sql(&format!("CREATE ROLE {RUNTIME} LOGIN PASSWORD 'pw'"));
        } else {
            self.sql(&format!(
                "CREATE USER '{RUNTIME}'@'%' IDENTIFIED BY 'pw'; \
                 GRANT SELECT, INSERT, UPDATE, DELETE ON optimizer.* TO '{RUNTIME}'@'%'"
            ));
        }
    }

    /// Gives it, on the tables, the privileges that the schema's README names.
    fn grant(&self) {
        if self.is_postgres {
            self.sql(&format!(
                "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {RUNTIME}"
            ));
        }
    }

    /// What `didtail doctor` says of this check: the outcome, what is there, and
    /// what mends it.
    fn doctor(&self, url: &str, check: &str) -> Vec<[String; 3]> {
        let said = self
            .site
            .didtail(&["doctor", "--json", "--store-url", url])
            .stdout;
        let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        let all = said["findings"].as_array().expect("findings").clone();
        let ones = all.iter().filter(|one| one["check"] == check);
        ones.map(|one| {
            ["outcome", "actual", "fix"].map(|key| one[key].as_str().unwrap_or_default().to_owned())
        })
        .collect()
    }

    /// Demands that a privilege is said to be missing, and that the statement which
    /// is told mends it.
    fn mends(&self, url: &str, right: &str) {
        let said = self.doctor(url, "store privileges");
        let bad: Vec<_> = said.iter().filter(|one| one[0] == "bad").collect();
        let [one] = bad.as_slice() else {
            panic!("{said:?}");
        };
        assert!(one[1].contains(right), "{one:?}");
        let grant = one[2].split_once(": ").expect("who runs what").1;
        assert!(grant.starts_with(&format!("GRANT {right} ON ")), "{one:?}");
        self.sql(grant);
        self.is_well(url);
    }

    /// Demands that no privilege is said to be missing.
    fn is_well(&self, url: &str) {
        let said = self.doctor(url, "store privileges");
        let is_well = |one: &[String; 3]| one[0] == "good" || one[0] == "note";
        assert!(!said.is_empty() && said.iter().all(is_well), "{said:?}");
    }
}

#[test]
fn postgres_refuses() {
    let with = Refusing::new("postgres", "refusing-postgres", &[]);
    refused(&with, "\"didtail_runtime\"");
    let bare = with.url("postgres", "").replace(":@", "@");
    let tls = bare.replace("sslmode=disable", "sslmode=require");
    with.run(&tls)
        .fails(4, "no TLS connection", "sslmode=disable");
}

#[test]
fn mariadb_refuses() {
    let with = Refusing::new("mariadb-11.8", "refusing-mariadb", &[]);
    refused(&with, "'didtail_runtime'");
    let bare = with.url("root", "").replace(":@", "@");
    let wrong = bare.replace("ssl-mode=PREFERRED", "ssl-mode=VERIFY_IDENTITY");
    with.run(&wrong).fails(4, "TLS", "ssl-ca=/path/ca.pem");
}

#[test]
fn mysql_refuses() {
    let with = Refusing::new("mysql-9", "refusing-mysql", &[]);
    refused(&with, "'didtail_runtime'");
    // The server has forgotten who logged in before, and asks for all of it.
    with.server.sql("FLUSH PRIVILEGES");
    let in_clear = with.url(RUNTIME, "pw").replace("PREFERRED", "DISABLED");
    with.run(&in_clear)
        .fails(4, "no TLS connection", "ssl-mode=REQUIRED");
}

fn refused(with: &Refusing, quoted: &str) {
    // The schema by hand: printed, run by the administrator, and complete.
    let all = ["store", "migrate", "--print", "--all"];
    let printed = with.site.didtail(&all).good();
    assert!(printed.contains(" call_records ("), "{printed}");
    let pending = ["store", "migrate", "--print"];
    // Before there are tables it must be somebody who may make them.
    with.make_user();
    let runtime = with.url(RUNTIME, "pw");
    let [is, said, _] = with.doctor(&with.site.store_url(), "store").remove(0);
    assert_eq!(is, "good");
    assert!(said.contains("has no tables yet: `didtail run`"), "{said}");
    with.is_well(&with.site.store_url());
    let [is, _, fix] = with.doctor(&runtime, "store privileges").remove(0);
    let grant = if with.is_postgres {
        "GRANT CREATE, USAGE ON SCHEMA public TO didtail_runtime"
    } else {
        "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, CREATE VIEW \
         ON `optimizer`.* TO 'didtail_runtime'@'%'"
    };
    assert_eq!(is, "bad");
    assert!(
        fix.contains(grant) && fix.contains("DIDTAIL_STORE_PASSWORD"),
        "{fix}"
    );
    with.run(&runtime).fails(
        4,
        "lacks a privilege",
        "DIDTAIL_STORE_PASSWORD='…' didtail store migrate",
    );
    assert_eq!(with.site.didtail(&pending).good(), printed);
    with.sql(&printed);
    assert_eq!(with.site.didtail(&pending).good(), "");

    // A role that may read and write rows, and nothing else, is enough.
    with.grant();
    with.is_well(&runtime);
    with.run(&runtime).good();
    with.site.assert_equals_source();
    let again = ["store", "migrate", "--store-url", &runtime];
    assert!(with.site.didtail(&again).good().contains("up to date"));

    let nobody = with.url("nobody", "wrong");
    with.run(&nobody)
        .fails(4, "refuses the login", "DIDTAIL_STORE_PASSWORD");
    if !with.is_postgres {
        // PostgreSQL trusts its own machine here.
        with.run(&with.url(RUNTIME, "wrong"))
            .fails(4, "refuses the login", "password_file");
    }
    let elsewhere = with.site.store_url().replace("/optimizer", "/nowhere");
    with.run(&elsewhere)
        .fails(4, "there is no store", "CREATE DATABASE nowhere");
    let port = with.server.port().to_string();
    let closed = with.site.store_url().replace(&port, "1");
    with.run(&closed)
        .fails(4, "cannot be reached", "whether the server runs");

    // One privilege short.
    let user = if with.is_postgres {
        RUNTIME.to_owned()
    } else {
        format!("'{RUNTIME}'@'%'")
    };
    with.site.calls(10, 2);
    if with.is_postgres {
        with.sql(&format!("REVOKE INSERT ON call_records FROM {user}"));
    } else {
        with.sql(&format!("REVOKE INSERT ON optimizer.* FROM {user}"));
    }
    with.run(&runtime)
        .fails(4, "lacks a privilege", "GRANT SELECT, INSERT");
    let said = with.run(&runtime).stderr;
    assert!(said.contains(quoted), "{said}");
    with.mends(&runtime, "INSERT");
    for right in ["UPDATE", "DELETE"] {
        let place = if with.is_postgres {
            "dials"
        } else {
            "optimizer.*"
        };
        with.sql(&format!("REVOKE {right} ON {place} FROM {user}"));
        with.mends(&runtime, right);
    }

    // Read-only for a while: waited for.
    read_only(with, true);
    let site = &with.site;
    site.configure(&site.config().replace(&site.store_url(), &runtime));
    let mut daemon = site.daemon();
    daemon.wait_for("is read-only");
    let [is, _, fix] = with.doctor(&runtime, "store privileges").remove(0);
    assert_eq!(is, "bad");
    assert!(fix.contains("to the primary server"), "{fix}");
    read_only(with, false);
    site.wait_for_end(with.source);
    daemon.stop();
    site.assert_equals_source();

    // Tables of a newer didtail.
    with.sql(
        "INSERT INTO _sqlx_migrations SELECT 9999, description, installed_on, success, \
         checksum, execution_time FROM _sqlx_migrations WHERE version = 1",
    );
    site.didtail(&["run", "--until-caught-up"])
        .fails(4, "schema version 9999", "newer one");
}

fn read_only(with: &Refusing, on: bool) {
    if with.is_postgres {
        let on = if on { "on" } else { "off" };
        with.sql(&format!(
            "ALTER SYSTEM SET default_transaction_read_only = {on}"
        ));
        with.server.sql("SELECT pg_reload_conf()");
        let shown = || with.server.sql("SHOW default_transaction_read_only");
        wait_until("it is set", || (shown().trim() == on).then_some(()));
    } else {
        let on = if on { "ON" } else { "OFF" };
        with.server.sql(&format!("SET GLOBAL read_only = {on}"));
    }
}

/// Other tables of the same names are left alone.
#[test]
fn tables_of_something_else_are_left_alone() {
    let server = Server::of_kind("postgres", "foreign", &[]);
    let site = Site::new(Server::shared(), "foreign").on_store(&server.store_url("optimizer"));
    server.sql_in("optimizer", "CREATE TABLE dids (x INT)");
    site.didtail(&["run", "--until-caught-up"]).fails(
        4,
        "not a store of didtail",
        "a database of its own",
    );
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'dids'";
    assert_eq!(server.sql_in("optimizer", columns).trim(), "1");
}

/// All connections of a server are taken: that passes.
#[test]
fn too_many_connections_are_waited_for() {
    let few = [
        "-c",
        "max_connections=16",
        "-c",
        "superuser_reserved_connections=0",
        "-c",
        "client_connection_check_interval=500",
    ];
    let with = Refusing::new("postgres", "crowded", &few);
    with.site.catch_up();
    let mut taken = Vec::new();
    let full = || Ended::of(&mut with.server.client("SELECT 1")).code != 0;
    // A session that is about to end may still have the place of one of these.
    wait_until("it is full", || {
        taken.push(Sleeper::of(&with.server));
        full().then_some(())
    });
    with.site.calls(20, 3);
    let mut daemon = with.site.daemon();
    daemon.wait_for("takes no more connections");
    drop(taken);
    with.site.wait_for_end(with.source);
    daemon.stop();
    with.site.assert_equals_source();
}

/// A client that does nothing, and holds a connection.
struct Sleeper(std::process::Child);

impl Sleeper {
    fn of(server: &Server) -> Self {
        let mut client = server.client("SELECT pg_sleep(300)");
        client.stdout(std::process::Stdio::null());
        client.stderr(std::process::Stdio::null());
        Self(client.spawn().expect("a client"))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

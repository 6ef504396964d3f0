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

    /// Makes [`RUNTIME`], with the privileges that the schema's README names.
    fn grant(&self) {
        let all = "SELECT, INSERT, UPDATE, DELETE";
        if self.is_postgres {
            self.sql(&format!(
                "CREATE ROLE {RUNTIME} LOGIN PASSWORD 'pw'; \
                 GRANT {all} ON ALL TABLES IN SCHEMA public TO {RUNTIME}"
            ));
        } else {
            self.sql(&format!(
                "CREATE USER '{RUNTIME}'@'%' IDENTIFIED BY 'pw'; \
                 GRANT {all} ON optimizer.* TO '{RUNTIME}'@'%'"
            ));
        }
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
    assert_eq!(with.site.didtail(&pending).good(), printed);
    with.sql(&printed);
    assert_eq!(with.site.didtail(&pending).good(), "");

    // A role that may read and write rows, and nothing else, is enough.
    with.grant();
    let runtime = with.url(RUNTIME, "pw");
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
    if with.is_postgres {
        with.sql(&format!("GRANT INSERT ON call_records TO {user}"));
    } else {
        with.sql(&format!("GRANT INSERT ON optimizer.* TO {user}"));
    }

    // Read-only for a while: waited for.
    read_only(with, true);
    let site = &with.site;
    site.configure(&site.config().replace(&site.store_url(), &runtime));
    let mut daemon = site.daemon();
    daemon.wait_for("is read-only");
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

//! A store that answers wrong, late or not at all while didtail writes to it: lost
//! acknowledgements, deadlocks, locks, transactions undone by others. In the end every
//! number is the source's.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Commits, Cut, Daemon, Ended, Server, Site, wait_until};

/// Seeds from which the simulator writes different rows.
const SEEDS_MAX: u32 = 30;

/// A source, a store on a server of its own, and a didtail.
pub struct Rig {
    pub source: Server,
    pub server: Server,
    pub site: Site,
}

impl Rig {
    /// `name` tells it from others; didtail gives a statement so many seconds.
    pub fn new(kind: &'static str, name: &str, patience: u32, arguments: &[&str]) -> Self {
        // Its own: nobody else's traffic has to be read as well.
        let source = Server::start(&format!("{name}-source"), &[]);
        let server = Server::of_kind(kind, name, arguments);
        let url = server.store_url("optimizer");
        let site = Site::new(&source, &name.replace(['-', '.'], "_")).on_store(&url);
        let patient = format!("{url}&patience={patience}");
        site.configure(&site.config().replace(&url, &patient));
        Self {
            source,
            server,
            site,
        }
    }

    /// Lets didtail, and nobody else, reach the store through another port.
    pub fn through(&self, port: u16) {
        let place = |port: u16| format!(":{port}/optimizer");
        let config = self.site.config();
        let patience = "patience=4";
        let config = config.replace(&place(self.server.port()), &place(port));
        let url = self.site.store_url();
        let url = url.replace(&place(self.server.port()), &place(port));
        self.site
            .configure(&config.replace(&url, &format!("{url}&{patience}")));
    }

    /// Runs statements in the store as the administrator.
    pub fn sql(&self, statements: &str) -> String {
        Ended::of(&mut self.server.session("optimizer", statements)).good()
    }

    /// Writes calls, new ones each time.
    pub fn calls(&self, seed: &mut u32) {
        *seed += 1;
        assert!(*seed < SEEDS_MAX, "nothing happened");
        self.site.calls(40, *seed);
    }

    /// Writes calls until it has happened, no more than didtail can keep up with.
    pub fn calls_until(&self, seed: &mut u32, happened: impl Fn() -> bool) {
        while !happened() {
            self.calls(seed);
            let end = self.source.binlog_end();
            wait_until("it has happened or all is applied", || {
                (happened() || self.site.is_at(&end)).then_some(())
            });
        }
    }

    /// Everything is applied, and the daemon had no reason to complain.
    #[track_caller]
    pub fn ends_well(&self, daemon: Daemon) -> String {
        self.site.wait_for_end(&self.source);
        let log = daemon.stop();
        assert!(!log.contains("ERROR"), "{log}");
        assert!(!log.contains("another didtail"), "{log}");
        assert!(self.site.assert_equals_source() > 30);
        log
    }
}

/// A session of somebody else's that goes on until it is dropped.
pub struct Other(Child);

impl Other {
    pub fn begin(mut session: Command) -> Self {
        session.stdout(Stdio::null()).stderr(Stdio::null());
        Self(session.spawn().expect("a client"))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn postgres_commits_without_an_answer() {
    acknowledgements_are_lost("postgres");
}

#[test]
fn mariadb_commits_without_an_answer() {
    acknowledgements_are_lost("mariadb-11.8");
}

fn acknowledgements_are_lost(kind: &'static str) {
    let rig = Rig::new(kind, &format!("acknowledged-{kind}"), 4, &[]);
    let commits = Commits::new(rig.server.port());
    rig.through(commits.port());
    rig.site.calls(40, 50);
    // From the very first on: the schema, and the position before any row.
    commits.cut_every(3);
    let daemon = rig.site.daemon();
    let mut seed = 0;
    let cuts = [Cut::Before, Cut::Behind, Cut::Answer];
    rig.calls_until(&mut seed, || {
        let is_struck = cuts.iter().all(|cut| commits.struck(*cut) >= 2);
        // Not only while it was starting, or kept its lease.
        is_struck && daemon.log().matches("the store works again").count() >= 2
    });
    commits.cut_every(0);
    let log = rig.ends_well(daemon);
    assert!(log.contains("the store failed; the stream waits"), "{log}");
    assert!(log.contains("cannot be reached"), "{log}");
    assert!(log.contains("the store works again"), "{log}");
}

#[test]
fn postgres_undoes_transactions() {
    let quick = ["-c", "deadlock_timeout=50ms"];
    let rig = Rig::new("postgres", "undone-postgres", 4, &quick);
    rig.site.calls(40, 50);
    rig.site.catch_up();
    // Not what didtail asks for, and what others use beside it.
    rig.sql("ALTER ROLE postgres SET default_transaction_isolation = 'serializable'");
    let mut daemon = rig.site.following();
    let mut seed = 0;

    // Rows of the store in the opposite order, again and again. Only didtail looks
    // for a deadlock, so that it is the one who is undone.
    let opposite = "DO $$ BEGIN SET deadlock_timeout = '1h'; FOR i IN 1..100 LOOP \
         PERFORM 1 FROM replication_progress FOR UPDATE; \
         PERFORM 1 FROM did_stats FOR UPDATE; \
         PERFORM pg_sleep(0.005); COMMIT; END LOOP; END $$";
    while_another(&rig, opposite, || {
        rig.calls_until(&mut seed, || daemon.log().contains("deadlock detected"));
    });
    daemon.wait_for("undid a transaction because of another one");

    // What somebody locks and keeps.
    rig.site.wait_for_end(&rig.source);
    let locks = "BEGIN; LOCK TABLE did_stats IN SHARE MODE; SELECT pg_sleep(60)";
    {
        let _other = Other::begin(rig.server.session("optimizer", locks));
        wait_until("it is locked", || {
            let held = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            (rig.sql(held).trim() == "1").then_some(())
        });
        rig.calls(&mut seed);
        daemon.wait_for("lock timeout");
    }
    assert!(
        daemon.log().contains("is locked by another process"),
        "{}",
        daemon.log()
    );
    rig.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");

    // As engines that know nothing but serializable transactions do, at COMMIT.
    rig.sql(
        "CREATE SEQUENCE unlucky; \
         CREATE FUNCTION unlucky() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('unlucky') % 2 = 1 THEN \
         RAISE EXCEPTION 'could not serialize access due to read/write dependencies' \
         USING ERRCODE = 'serialization_failure'; END IF; RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER unlucky AFTER UPDATE ON replication_progress \
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION unlucky()",
    );
    let is_undone = || daemon.log().matches("could not serialize access").count() >= 3;
    rig.calls_until(&mut seed, is_undone);
    rig.sql("DROP TRIGGER unlucky ON replication_progress");

    // Serializable transactions of others: what is read and written by turns is
    // theirs to begin again.
    let serializable = "DO $$ BEGIN FOR i IN 1..100 LOOP \
         PERFORM sum(dials) FROM did_stats; \
         UPDATE did_stats SET dials = dials WHERE did_id = (SELECT min(did_id) FROM did_stats); \
         COMMIT; END LOOP; END $$";
    let before = daemon.log().matches("undid a transaction").count();
    while_another(&rig, serializable, || {
        for _ in 0..3 {
            rig.calls(&mut seed);
            rig.site.wait_for_end(&rig.source);
        }
    });
    let after = daemon.log().matches("undid a transaction").count();
    assert_eq!(before, after, "{}", daemon.log());
    let log = rig.ends_well(daemon);
    assert!(log.contains("didtail tries again by itself"), "{log}");
    assert!(log.contains("pg_stat_activity"), "{log}");
}

#[test]
fn mariadb_undoes_transactions() {
    undoes_transactions("mariadb-11.8");
}

#[test]
fn mysql_undoes_transactions() {
    undoes_transactions("mysql-9");
}

fn undoes_transactions(kind: &'static str) {
    let serializable = "--transaction-isolation=SERIALIZABLE";
    let rig = Rig::new(kind, &format!("undone-{kind}"), 4, &[serializable]);
    rig.site.calls(40, 50);
    rig.site.catch_up();
    let mut daemon = rig.site.following();
    let mut seed = 0;

    // The server undoes the one that changed less: not this one.
    rig.sql("CREATE DATABASE other");
    rig.sql("CREATE TABLE other.heavy (n INT PRIMARY KEY, m INT)");
    let rows: Vec<String> = (0..2000).map(|n| format!("({n}, 0)")).collect();
    rig.sql(&format!(
        "INSERT INTO other.heavy VALUES {}",
        rows.join(",")
    ));
    let opposite = "START TRANSACTION; UPDATE other.heavy SET m = m + 1; \
         SELECT count(*) FROM replication_progress FOR UPDATE; DO SLEEP(0.2); \
         SELECT count(*) FROM did_stats FOR UPDATE; COMMIT; DO SLEEP(0.1)";
    while_another(&rig, opposite, || {
        rig.calls_until(&mut seed, || daemon.log().contains("Deadlock found"));
    });
    daemon.wait_for("undid a transaction because of another one");

    rig.site.wait_for_end(&rig.source);
    let locks = "START TRANSACTION; SELECT count(*) FROM did_stats FOR UPDATE; DO SLEEP(60)";
    {
        let _other = Other::begin(rig.server.session("optimizer", locks));
        let sleeping = "SELECT id FROM information_schema.processlist WHERE info = 'DO SLEEP(60)'";
        let id = wait_until("it is locked", || {
            let id = rig.sql(sleeping);
            (!id.is_empty()).then_some(id)
        });
        rig.calls(&mut seed);
        daemon.wait_for("Lock wait timeout exceeded");
        rig.sql(&format!("KILL {id}"));
    }
    let log = rig.ends_well(daemon);
    assert!(log.contains("is locked by another process"), "{log}");
    assert!(log.contains("SHOW ENGINE INNODB STATUS"), "{log}");
    assert!(log.contains("didtail tries again by itself"), "{log}");
}

/// Does something while another session runs statements again and again.
fn while_another(rig: &Rig, statements: &str, work: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    /// Also when the work fails.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // It may be undone as well.
                drop(Ended::of(&mut rig.server.session("optimizer", statements)));
            }
        });
        let _over = Over(&is_over);
        work();
    });
}

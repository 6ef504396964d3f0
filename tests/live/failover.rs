//! Another server where the source was: a replica is promoted, an address
//! moves back, a binlog is reset under its old name.

use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::{Server, Site, differences, wait_until};

/// An address behind which one server is, and later another.
struct Address {
    port: u16,
    server: Arc<AtomicU16>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Address {
    fn of(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = Self {
            port: listener.local_addr().expect("an address").port(),
            server: Arc::new(AtomicU16::new(server.port())),
            open: Arc::default(),
        };
        let (server, open) = (Arc::clone(&address.server), Arc::clone(&address.open));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let port = server.load(Ordering::SeqCst);
                // Port 0: nobody is there.
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                let both = [&client, &upstream].map(|side| side.try_clone().expect("a socket"));
                open.lock().expect("no panic").extend(both);
                for (mut from, mut to) in [
                    (
                        client.try_clone().expect("a socket"),
                        upstream.try_clone().expect("a socket"),
                    ),
                    (upstream, client),
                ] {
                    std::thread::spawn(move || {
                        drop(copy(&mut from, &mut to));
                        drop(to.shutdown(Shutdown::Both));
                    });
                }
            }
        });
        address
    }

    /// Ends every connection; new ones reach this port.
    fn turn_to(&self, port: u16) {
        self.server.store(port, Ordering::SeqCst);
        for side in self.open.lock().expect("no panic").drain(..) {
            drop(side.shutdown(Shutdown::Both));
        }
    }
}

/// What differs between the flavours.
struct Words {
    kind: &'static str,
    arguments: &'static [&'static str],
    /// Made to follow, with `{}` for the primary's.
    follow: &'static str,
    promote: &'static str,
    /// Lets the sessions to come number their transactions apart from others.
    number_apart: &'static str,
    /// The transactions that a server has.
    gtid: &'static str,
    /// Waits until a server has them: in front of and behind the GTID.
    wait: (&'static str, &'static str),
    lacks: &'static str,
    reset: &'static str,
}

const MARIADB: Words = Words {
    kind: "mariadb-11.8",
    arguments: &["--log-slave-updates=ON"],
    follow: "SET GLOBAL gtid_slave_pos = @@GLOBAL.gtid_binlog_pos; CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='root', \
             MASTER_SSL_VERIFY_SERVER_CERT=0, MASTER_USE_GTID=slave_pos; START SLAVE",
    promote: "STOP SLAVE; RESET SLAVE ALL",
    number_apart: "SET GLOBAL gtid_domain_id = 7",
    gtid: "SELECT @@GLOBAL.gtid_binlog_pos",
    wait: ("SELECT MASTER_GTID_WAIT('", "', 60)"),
    lacks: "this server has not written",
    reset: "RESET MASTER",
};

const MYSQL: Words = Words {
    kind: "mysql-9",
    arguments: &["--performance-schema=OFF", "--sync-binlog=0"],
    follow: "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, \
             SOURCE_USER='root', SOURCE_SSL=1, SOURCE_AUTO_POSITION=1; START REPLICA",
    promote: "STOP REPLICA; RESET REPLICA ALL",
    number_apart: "DO 0",
    gtid: "SELECT @@GLOBAL.gtid_executed",
    wait: ("SELECT WAIT_FOR_EXECUTED_GTID_SET('", "', 60)"),
    lacks: "this server lacks some of these transactions",
    reset: "RESET BINARY LOGS AND GTIDS",
};

impl Words {
    fn gtid(&self, server: &Server) -> String {
        server.sql(self.gtid).trim().replace("\\n", "")
    }

    /// Waits until one server has what another has written.
    #[track_caller]
    fn wait_for(&self, server: &Server, ahead: &Server) {
        let gtid = self.gtid(ahead);
        let waited = server.sql(&format!("{}{gtid}{}", self.wait.0, self.wait.1));
        assert_eq!(waited.trim(), "0", "the replica is behind");
    }
}

/// A replica with files and offsets of its own is promoted while didtail is
/// behind and traffic goes on; later the address moves back.
fn a_replica_is_promoted(words: &Words, database: &str) {
    let server = |name: &str, id: &str| {
        let arguments = [words.arguments, &[id]].concat();
        Server::of_kind(words.kind, &format!("{database}-{name}"), &arguments)
    };
    let (old, new) = (
        server("old", "--server-id=1"),
        server("new", "--server-id=2"),
    );
    let address = Address::of(&old);
    new.sql("FLUSH BINARY LOGS; FLUSH BINARY LOGS");
    new.sql(&words.follow.replace("{}", &old.port().to_string()));
    let site = Site::new(&old, database);
    let config = site.config();
    let port = |port: u16| format!(":{port}/");
    site.configure(&config.replace(&port(old.port()), &port(address.port)));
    let mut daemon = site.following();
    site.calls(40, 1);
    site.wait_for_end(&old);
    // Nobody answers while the old server still writes.
    address.turn_to(0);
    site.calls(20, 2);
    old.sql(words.number_apart);
    site.calls(20, 3);
    words.wait_for(&new, &old);
    new.sql("FLUSH BINARY LOGS");
    new.sql(words.promote);
    let beside = Site::beside(&new, database);
    let mut traffic = beside
        .simulator_command("run")
        .args(["--calls", "40", "--seed", "4", "--noise", "2"])
        .stdout(Stdio::null())
        .spawn()
        .expect("the simulator starts");
    address.turn_to(new.port());
    daemon.wait_for("another server answers; going on behind the transactions");
    assert!(traffic.wait().expect("a child").success());
    let is_there = |site: &Site, server: &Server, epoch: i64| {
        let end = server.binlog_end();
        wait_until(&format!("epoch {epoch} is at {end}"), || {
            let now: i64 = site.stored("SELECT epoch FROM replication_progress");
            (now == epoch && site.is_at(&end)).then_some(())
        });
    };
    is_there(&site, &new, 2);
    let truth = beside.truth();
    let calls = truth["calls"].as_array().expect("calls").len();
    assert!(calls > 75, "{calls}");
    assert_eq!(differences(&truth, &site.store()), Vec::<String>::new());
    site.assert_invariant();
    wait_until("the GTIDs are the new server's", || {
        let stored: String = site.stored("SELECT gtid FROM replication_progress");
        (stored == words.gtid(&new)).then_some(())
    });
    let history = site.didtail(&["checkpoint", "history", "--json"]).json();
    let left = history.as_array().expect("a list").iter();
    let left = left.filter(|entry| entry["reason"] == "another server");
    assert_eq!(left.count(), 1, "{history}");
    // A restart finds the same server, and goes on.
    daemon.stop();
    site.catch_up();
    assert_eq!(
        site.stored::<i64>("SELECT epoch FROM replication_progress"),
        2
    );
    // Back to the old server, which has followed the new one since.
    let port_of = |server: &Server| server.port().to_string();
    old.sql(&words.follow.replace("{}", &port_of(&new)));
    beside.calls(20, 5);
    words.wait_for(&old, &new);
    old.sql(words.promote);
    address.turn_to(old.port());
    // What the state file would say the store says too, as to a standby.
    site.lose_state();
    let doctor = site.didtail(&["doctor"]).good();
    assert!(doctor.contains("didtail would go on at"), "{doctor}");
    site.catch_up();
    is_there(&site, &old, 3);
    assert!(site.assert_equals_source() > 95);
    // What the old server writes from here on, the new one has not.
    site.calls(5, 6);
    let mut daemon = site.following();
    site.wait_for_end(&old);
    let (position, numbers) = (site.position(), site.numbers());
    address.turn_to(new.port());
    let ended = daemon.wait();
    ended.fails(1, words.lacks, "didtail checkpoint reset --to latest");
    site.didtail(&["doctor"])
        .fails(1, "checks failed", "mend what is BAD");
    let doctor = site.didtail(&["doctor"]).stdout;
    assert!(doctor.contains(words.lacks), "{doctor}");
    assert_eq!(site.position(), position);
    assert!(site.numbers() == numbers, "a number moved");
}

#[test]
fn a_mariadb_replica_is_promoted() {
    a_replica_is_promoted(&MARIADB, "promoted_mariadb");
}

#[test]
fn a_mysql_replica_is_promoted() {
    a_replica_is_promoted(&MYSQL, "promoted_mysql");
}

/// The binlog is reset, and the new one has a file, an offset and a GTID like
/// those of the old one, with other calls before them.
fn a_reset_binlog_coincides(words: &Words, database: &str) {
    let server = Server::of_kind(words.kind, &format!("{database}-reset"), &[]);
    let site = Site::new(&server, database);
    let write = |from: u32| {
        server.sql(words.reset);
        for number in from..from + 5 {
            site.sql(
                &server,
                &format!(
                    "INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,\
                     status,phone_code,phone_number,user,processed,list_id,length_in_sec) VALUES\
                     ('17723664{number}.1',{number},'SOLAR',FROM_UNIXTIME(1772366420),1772366420,\
                     'NA','1','2125550143','VDAD','N',101,0)"
                ),
            );
        }
    };
    write(10);
    site.catch_up();
    let calls = "SELECT count(*) FROM call_records";
    assert_eq!(site.stored::<i64>(calls), 5);
    let (position, gtid) = (site.position().expect("a position"), words.gtid(&server));
    // A file is told by the second in which it was begun.
    server.sql("DO SLEEP(1.1)");
    write(20);
    assert_eq!(server.binlog_end(), position, "nothing coincides");
    assert_eq!(words.gtid(&server), gtid, "nothing coincides");
    // Something to read, behind the position.
    write_one_more(&site, &server);
    for knows in ["the state file", "the store alone"] {
        if knows == "the store alone" {
            site.lose_state();
        }
        site.didtail(&["run", "--until-caught-up"]).fails(
            3,
            "is another one than was read before",
            "didtail checkpoint reset --to earliest",
        );
    }
    let doctor = site.didtail(&["doctor"]).stdout;
    assert!(doctor.contains("binlog.000001 was begun at"), "{doctor}");
    assert_eq!(site.position(), Some(position));
    assert_eq!(site.stored::<i64>(calls), 5);
    site.didtail(&["checkpoint", "reset", "--to", "earliest", "--yes"])
        .good();
    site.catch_up();
    assert_eq!(site.stored::<i64>(calls), 11);
    site.assert_invariant();
}

fn write_one_more(site: &Site, server: &Server) {
    site.sql(
        server,
        "INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,\
         status,phone_code,phone_number,user,processed,list_id,length_in_sec) VALUES\
         ('1772366499.1',99,'SOLAR',FROM_UNIXTIME(1772366499),1772366499,\
         'NA','1','2125550143','VDAD','N',101,0)",
    );
}

#[test]
fn a_reset_binlog_of_mariadb_coincides() {
    a_reset_binlog_coincides(&MARIADB, "coincides_mariadb");
}

#[test]
fn a_reset_binlog_of_mysql_coincides() {
    a_reset_binlog_coincides(&MYSQL, "coincides_mysql");
}

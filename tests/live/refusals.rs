//! Error 1236 is five things. Each is brought about on real servers, and what
//! didtail says of it is read.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use didtail::source::{ConnectSettings, EventStream, MySqlSource, Source, SourceError, TlsMode};

use tokio::time::timeout;

use crate::support::{PATIENCE, Server};

/// Time for two streams to find out about each other.
const ATTEMPT: Duration = Duration::from_secs(3);

const USER: &str = "follower";
const PASSWORD: &str = "not a secret";

fn settings(server: &Server, name: &str) -> ConnectSettings {
    ConnectSettings {
        name: name.to_owned(),
        host: "127.0.0.1".to_owned(),
        port: server.port(),
        user: USER.to_owned(),
        password: Some(PASSWORD.to_owned().into()),
        database: "mysql".to_owned(),
        socket: None,
        tls: TlsMode::Preferred,
        tls_ca: None,
        tls_cert: None,
        tls_key: None,
        server_id: None,
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

/// Reads from a position on until that ends.
async fn read(settings: &ConnectSettings, from: &str) -> SourceError {
    let reading = async {
        let source = MySqlSource::connect(settings).await?;
        let mut stream = source.stream(&from.parse().expect("a position")).await?;
        loop {
            stream.next().await?;
        }
    };
    let ended: Result<Result<(), SourceError>, _> = timeout(PATIENCE, reading).await;
    let ended = ended.unwrap_or_else(|_| panic!("{from} is read without an end"));
    ended.expect_err("it never ends well")
}

#[track_caller]
fn says(error: &SourceError, words: &str, fix: &str) {
    let (said, hint) = (error.to_string(), error.hint().unwrap_or_default());
    assert!(said.contains(words), "no `{words}` in: {said}");
    assert!(hint.contains(fix), "no `{fix}` in: {hint}");
    assert!(!error.is_transient(), "{said}");
}

/// Starts a server that verifies what it reads, with a user who may follow it.
fn verifying(kind: &'static str) -> Server {
    let verify = match kind {
        "mysql-9" => "--source-verify-checksum=ON",
        _ => "--master-verify-checksum=ON",
    };
    let server = Server::of_kind(kind, &format!("refusals-{kind}"), &[verify]);
    let monitor = match kind {
        "mysql-9" => "REPLICATION CLIENT",
        _ => "BINLOG MONITOR",
    };
    server.sql(&format!(
        "CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'; \
         GRANT REPLICATION SLAVE, {monitor} ON *.* TO {USER}@'%'; \
         CREATE DATABASE d; CREATE TABLE d.t (a LONGTEXT); \
         INSERT INTO d.t VALUES (REPEAT('x', 5000)); INSERT INTO d.t VALUES (REPEAT('y', 5000))"
    ));
    server
}

fn five_meanings(kind: &'static str) {
    let server = verifying(kind);
    let plain = settings(&server, "plain");

    // There is no such place: behind the end, and inside of an event.
    let end = server.binlog_end();
    let (file, offset) = end.split_once(':').expect("a position");
    let offset: u64 = offset.parse().expect("a number");
    let beyond = format!("{file}:{}", offset + 1000);
    let error = block_on(read(&plain, &beyond));
    says(
        &error,
        &format!("there is no event at {beyond}"),
        "checkpoint reset --to earliest",
    );
    // What lies inside of an event says of itself that it is very large.
    for inside in [offset - 4000, offset - 3901] {
        let error = block_on(read(&plain, &format!("{file}:{inside}")));
        says(
            &error,
            "because it is too large",
            "SET GLOBAL max_allowed_packet = 1073741824;",
        );
        says(
            &error,
            "max_allowed_packet",
            "checkpoint reset --to earliest",
        );
    }

    // Two with one number, who look for each other at the same moment.
    let same = |name: &str| ConnectSettings {
        server_id: Some(4711),
        ..settings(&server, name)
    };
    let clash = block_on(async {
        let (one, other) = (same("one"), same("other"));
        for _ in 0..20 {
            let both = async {
                tokio::select! {
                    error = read(&one, &end) => error,
                    error = read(&other, &end) => error,
                }
            };
            if let Ok(error) = timeout(ATTEMPT, both).await
                && is_clash(&error)
            {
                return Some(error);
            }
        }
        None
    });
    let error = clash.expect("a server that lets two have one number");
    let list = if kind.starts_with("mysql") {
        "with SHOW REPLICAS; on"
    } else {
        "with SHOW SLAVE HOSTS; on"
    };
    says(&error, "uses the server_id 4711 too", list);

    // Damaged on the server's disk.
    server.sql("FLUSH BINARY LOGS");
    let folder = server.sql("SELECT @@datadir");
    let base = server.sql("SELECT @@log_bin_basename");
    let path = match std::path::Path::new(base.trim()).parent() {
        Some(folder) => folder.join(file),
        None => std::path::Path::new(folder.trim()).join(file),
    };
    let binlog = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("its binlog");
    binlog
        .write_all_at(b"damaged", offset - 2000)
        .expect("written");
    let error = block_on(read(&plain, &format!("{file}:4")));
    says(
        &error,
        "the source cannot read its binlog",
        "checkpoint reset --to NEXT-FILE:4",
    );
    binlog.set_len(offset - 1000).expect("cut");
    let error = block_on(read(&plain, &format!("{file}:4")));
    says(
        &error,
        "the source cannot read its binlog",
        "mysqlbinlog --verify-binlog-checksum",
    );

    // Deleted.
    server.purge();
    let error = block_on(read(&plain, &format!("{file}:4")));
    says(
        &error,
        &format!("has deleted the binlog that is needed next ({file}:4)"),
        "didtail checkpoint reset --to earliest",
    );
}

fn is_clash(error: &SourceError) -> bool {
    matches!(error, SourceError::ServerIdClash { .. })
}

#[test]
fn five_meanings_of_mariadb() {
    five_meanings("mariadb-10.11");
}

#[test]
fn five_meanings_of_mysql() {
    five_meanings("mysql-9");
}

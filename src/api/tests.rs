//! A server on a free port, asked as any client asks.

mod endpoints;
mod pages;
mod posts;
mod shipped;
mod statuses;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::listen::{HEAD_BYTES_MAX, SHUTDOWN_GRACE, places};
use super::{ApiError, NAMES, Report, Server, exposition};
use crate::api::Condition;
use crate::engine::{Desk, Vitals};

const NOON: i64 = 1_800_000_000;

fn vitals() -> Arc<Vitals> {
    Arc::new(Vitals::new(["main", "two"], || NOON))
}

async fn server(vitals: &Arc<Vitals>) -> Server {
    let listen = "127.0.0.1:0".parse().expect("an address");
    Server::start(listen, None, Arc::clone(vitals), desk())
        .await
        .expect("it listens")
}

/// A desk without a store yet.
fn desk() -> Arc<Desk> {
    let of = |name: &str, tenant: &str| (name.to_owned(), tenant.to_owned());
    Desk::new(vec![of("main", "default"), of("west", "other")], "US", true)
}

/// Sends a text and returns all that comes back.
async fn say(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    // Where the server hangs up early, the rest of the text meets nobody.
    drop(stream.write_all(text.as_bytes()).await);
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(address: SocketAddr, path: &str) -> String {
    let text = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    say(address, &text).await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

fn json(answer: &str) -> serde_json::Value {
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

#[tokio::test]
async fn every_answer_has_its_status_and_its_form() {
    let vitals = vitals();
    let server = server(&vitals).await;
    let address = server.address();
    for (path, expected) in [
        ("/healthz", "503"),
        ("/readyz", "503"),
        ("/metrics", "200"),
        ("/", "303"),
        ("/metrics/", "404"),
        ("/../etc/passwd", "404"),
    ] {
        let answer = get(address, path).await;
        assert_eq!(status(&answer), expected, "{path}: {answer}");
        assert!(answer.contains("cache-control: no-store"), "{answer}");
    }
    let health = json(&get(address, "/healthz").await);
    assert_eq!(health["health"], "stopped");
    assert_eq!(health["sources"][1]["source"], "two");
    let reasons = &health["sources"][0]["reasons"];
    assert!(
        reasons[0]
            .as_str()
            .is_some_and(|why| why.contains("not followed yet"))
    );
    let post = say(
        address,
        "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    );
    let post = post.await;
    assert_eq!(
        (status(&post), json(&post)["success"].as_bool()),
        ("405", Some(false))
    );
    server.stop().await;
    assert!(TcpStream::connect(address).await.is_err(), "it has closed");
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let server = server(&vitals()).await;
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(2 * HEAD_BYTES_MAX));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    for text in [long.as_str(), many.as_str(), "nonsense\r\n\r\n"] {
        let answer = say(server.address(), text).await;
        let refused = ["400", "414", "431"].contains(&status(&answer));
        assert!(refused || answer.is_empty(), "{answer}");
    }
    assert_eq!(status(&get(server.address(), "/metrics").await), "200");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_does_not_hold_up_the_end() {
    let server = server(&vitals()).await;
    let mut slow = TcpStream::connect(server.address())
        .await
        .expect("it listens");
    slow.write_all(b"GET /metr").await.expect("sent");
    assert_eq!(status(&get(server.address(), "/metrics").await), "200");
    let asked = Instant::now();
    server.stop().await;
    assert!(asked.elapsed() < SHUTDOWN_GRACE + Duration::from_secs(5));
}

#[tokio::test]
async fn an_address_that_is_taken_says_so_and_what_to_do() {
    let server = server(&vitals()).await;
    let again = Server::start(server.address(), None, vitals(), desk()).await;
    let error = again.expect_err("it is taken");
    assert!(error.to_string().contains(&server.address().to_string()));
    assert!(error.hint().contains("ss -ltnp"), "{}", error.hint());
    let ApiError::Listen { error, .. } = &error else {
        panic!("{error}");
    };
    assert!(error.to_string().contains("in use"), "{error}");
    let nowhere = "192.0.2.1:5000".parse().expect("an address");
    let error = Server::start(nowhere, None, vitals(), desk())
        .await
        .expect_err("not here");
    assert!(error.hint().contains("has no address 192.0.2.1"));
    server.stop().await;
}

#[test]
fn every_metric_is_printed_with_its_help_and_no_number_that_was_dialled() {
    let printed = exposition(&vitals(), Some(NOON)).expect("it prints");
    for name in NAMES {
        assert!(printed.contains(&format!("# HELP {name} ")), "{name}");
        assert!(printed.contains(&format!("# TYPE {name} ")), "{name}");
    }
    let helps = printed.matches("# HELP ").count();
    assert_eq!(helps, NAMES.len(), "each once");
    assert!(printed.contains("didtail_health{source=\"two\",condition=\"stopped\"} 1.0"));
    assert!(printed.contains("didtail_table_rows_total{source=\"main\",table=\"vicidial_log\"} 0"));
    assert!(!printed.contains("didtail_lag_seconds{"), "not known yet");
    assert!(printed.ends_with("# EOF\n"));
}

#[test]
fn names_keep_to_the_conventions() {
    let printed = exposition(&vitals(), Some(NOON)).expect("it prints");
    for line in printed
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
    {
        let (name, kind) = line.split_once(' ').expect("a kind");
        assert!(name.starts_with("didtail_"), "{name}");
        assert!(!name.ends_with("_total"), "{name}: it is printed so");
        let has_unit = ["_seconds", "_bytes", "_ratio", "_changes", "_info"]
            .iter()
            .any(|unit| name.ends_with(unit));
        assert!(kind != "histogram" || has_unit, "{name}");
    }
}

#[test]
fn the_worst_source_and_the_store_decide() {
    let vitals = vitals();
    let [first, second] = vitals.sources() else {
        panic!("two sources");
    };
    let at_work = |source: &crate::engine::SourceVitals| {
        source.begin_session();
        source.connect();
    };
    at_work(first);
    assert_eq!(
        Report::of(&vitals).health,
        Condition::Stopped,
        "one is not followed"
    );
    at_work(second);
    let good = Report::of(&vitals);
    assert_eq!((good.health, good.ready), (Condition::Running, true));
    second.set_missing(crate::state::Missing {
        quarantined: 2,
        ..Default::default()
    });
    let incomplete = Report::of(&vitals);
    assert_eq!(
        (incomplete.health, incomplete.ready),
        (Condition::Incomplete, true)
    );
    assert_eq!(incomplete.sources[1].reasons, ["2 quarantined rows"]);
    second.set_phase(crate::engine::Phase::Standby, None);
    assert_eq!(Report::of(&vitals).health, Condition::Standby);
    first.store_failed(&"the disk is full");
    let away = Report::of(&vitals);
    assert_eq!((away.health, away.ready), (Condition::Stopped, false));
    assert_eq!(
        away.sources[1].health,
        Condition::Standby,
        "it needs no store yet"
    );
    assert!(away.sources[0].reasons[0].contains("the disk is full"));
}

/// More than there were places for once, each saying nothing.
#[tokio::test]
async fn idle_connections_do_no_harm() {
    let server = server(&vitals()).await;
    let mut idle = Vec::new();
    for _ in 0..places().min(300) {
        idle.push(TcpStream::connect(server.address()).await.expect("taken"));
    }
    assert_eq!(status(&get(server.address(), "/metrics").await), "200");
    drop(idle);
    server.stop().await;
}

//! Clients of the HTTP API that do not do their part: who takes no answer, who does not
//! finish asking, who sends too much and who hangs up.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{RESULTS, ask, connect, parsed, request};
use crate::monitor::{PATIENCE, address, answering};
use crate::support::{Daemon, Server, Site, wait_until};

/// Requests whose answers are more than the system keeps for a client.
const REQUESTS: usize = 4000;

/// A daemon that answers, with a key.
fn with_key(site: &Site) -> (Daemon, String, String) {
    answering(site);
    site.catch_up();
    let key = site.didtail(&["api-key", "create", "--label", "test", "--json"]);
    let key = key.json()["key"].as_str().expect("a key").to_owned();
    let mut daemon = site.daemon();
    let address = address(&mut daemon);
    wait_until("the store is open", || {
        let (status, _) = ask(&address, "GET", "/api/v1/dids", &key, "");
        (status == 200).then_some(())
    });
    (daemon, address, key)
}

/// Connections that the daemon has to its clients, and what the system keeps for them.
fn connections(address: &str) -> (usize, u64) {
    let (_, port) = address.rsplit_once(':').expect("a port");
    let port: u16 = port.parse().expect("a number");
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let own = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, _, state, queues) =
            (words.next()?, words.next()?, words.next()?, words.next()?);
        let is_own = local.ends_with(&format!(":{port:04X}")) && state == "01";
        let (sending, _) = queues.split_once(':')?;
        is_own.then(|| u64::from_str_radix(sending, 16).unwrap_or(0))
    });
    let kept: Vec<u64> = own.collect();
    (kept.len(), kept.iter().sum())
}

#[test]
fn who_takes_nothing_of_an_answer_is_hung_up_on() {
    let site = Site::new(Server::shared(), "api_slow_reader");
    let (daemon, address, _) = with_key(&site);
    wait_until("the others are gone", || {
        (connections(&address).0 == 0).then_some(())
    });
    let mut slow = connect(&address);
    slow.set_write_timeout(Some(Duration::from_secs(1)))
        .expect("a limit");
    let text = "GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(REQUESTS);
    // The server takes no more requests while it cannot answer.
    drop(slow.write_all(text.as_bytes()));
    let begun = Instant::now();
    let kept = wait_until("answers wait", || {
        let (_, kept) = connections(&address);
        (kept > 0).then_some(kept)
    });
    assert!(kept < 1 << 20, "{kept} bytes are kept");
    // Others are answered meanwhile.
    assert_eq!(ask(&address, "GET", "/api/v1/openapi.json", "", "").0, 200);
    wait_until("it is hung up on", || {
        let held = connections(&address).0;
        (held == 0).then_some(())
    });
    // Not by the limit of how long a connection may last at all.
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "{:?}",
        begun.elapsed()
    );
    drop(slow);
    daemon.stop();
}

#[test]
fn who_does_not_finish_asking_is_not_waited_for() {
    let site = Site::new(Server::shared(), "api_slow_writer");
    let (daemon, address, key) = with_key(&site);
    let ended = |mut stream: TcpStream| {
        let mut answer = String::new();
        let begun = Instant::now();
        drop(stream.read_to_string(&mut answer));
        assert!(begun.elapsed() < PATIENCE, "it is waited for");
        answer
    };
    let body = json!({
        "uniqueid": "1772366400.77", "phoneNumber": "2025550143", "disposition": "17",
        "timestamp": 1_772_366_420,
    });
    let whole = request("POST", RESULTS, &key, &body.to_string());
    let half = |bytes: usize| {
        let mut stream = connect(&address);
        stream.write_all(&whole.as_bytes()[..bytes]).expect("sent");
        stream
    };
    // A head byte by byte, a head that stops, and a body that does.
    let mut drop_by_drop = connect(&address);
    let (stopped, half_body) = (half(30), half(whole.len() - 5));
    let begun = Instant::now();
    for byte in "GET /healthz HTTP/1.1\r\nHost: a-name-that-has-no-end"
        .bytes()
        .cycle()
    {
        if drop_by_drop.write_all(&[byte]).is_err() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it is waited for");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(ended(stopped), "");
    let answer = ended(half_body);
    assert_ne!(
        parsed(&answer).map(|(status, _)| status),
        Some(200),
        "{answer}"
    );
    // One that hangs up in the middle of its body.
    let gone = half(whole.len() - 5);
    gone.shutdown(Shutdown::Write).expect("hung up");
    let answer = ended(gone);
    assert_ne!(
        parsed(&answer).map(|(status, _)| status),
        Some(200),
        "{answer}"
    );
    // One that says too much.
    let (status, answer) = ask(&address, "POST", RESULTS, &key, &"x".repeat(100_000));
    assert_eq!(
        (status, &answer["success"]),
        (413, &json!(false)),
        "{answer}"
    );
    // Nothing of all this was kept.
    let (_, page) = ask(&address, "GET", "/api/v1/call-records", &key, "");
    assert_eq!(page["data"], json!([]));
    daemon.stop();
    assert_eq!(site.stored::<i64>("SELECT count(*) FROM posted_results"), 0);
}

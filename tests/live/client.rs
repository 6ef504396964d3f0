//! A client of the HTTP API: one request a connection, plain or over TLS.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::monitor::PATIENCE;

pub(crate) const RESULTS: &str = "/api/v1/call-results";

/// A request that ends its connection.
pub(crate) fn request(method: &str, path: &str, key: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-api-key: {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Status and body of an answer; `None` where it is cut off.
pub(crate) fn parsed(answer: &str) -> Option<(u16, Value)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}

/// A connection that gives up in the end.
#[track_caller]
pub(crate) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it answers");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream
}

/// Asks, where the server may hang up at any time.
pub(crate) fn try_ask(
    address: &str,
    method: &str,
    path: &str,
    key: &str,
    body: &str,
) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let text = request(method, path, key, body);
    stream.write_all(text.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    parsed(&answer)
}

/// Status and body of an answer.
#[track_caller]
pub(crate) fn ask(address: &str, method: &str, path: &str, key: &str, body: &str) -> (u16, Value) {
    try_ask(address, method, path, key, body).expect("an answer")
}

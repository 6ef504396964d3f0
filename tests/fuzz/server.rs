//! A server that lies: whatever it sends to who connects, the connection ends in a
//! definite error, soon.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use didtail::source::{ConnectSettings, MySqlSource, TlsMode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::fuzz;

/// A packet that claims 16 MB is read as it comes.
const MEMORY_MAX: usize = 48 << 20;

/// A packet: the length of three bytes, its number, the payload.
fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_le_bytes();
    [&length[..3], &[number], payload].concat()
}

/// A server's greeting, as MariaDB sends it.
fn greeting() -> Vec<u8> {
    let mut body = vec![10];
    body.extend(b"5.5.5-10.11.18-MariaDB-log\0");
    body.extend(7_u32.to_le_bytes());
    body.extend(b"12345678\0");
    body.extend([0xfe, 0xf7, 8, 2, 0, 0xff, 0x81, 21]);
    body.extend([0; 10]);
    body.extend(b"123456789012\0mysql_native_password\0");
    packet(0, &body)
}

/// Connects to a server that sends these bytes, reads what it gets, and hangs up.
fn connect(bytes: Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody connects");
        stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a time");
        // Who connects may have hung up already.
        if stream.write_all(&bytes).is_ok() {
            let mut answer = [0; 4096];
            while matches!(stream.read(&mut answer), Ok(1..)) {}
        }
        drop(stream.shutdown(Shutdown::Both));
    });
    let settings = ConnectSettings {
        name: "liar".to_owned(),
        host: "127.0.0.1".to_owned(),
        port,
        user: "didtail".to_owned(),
        password: None,
        database: "asterisk".to_owned(),
        socket: None,
        tls: TlsMode::Disabled,
        tls_ca: None,
        tls_cert: None,
        tls_key: None,
        server_id: Some(4711),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let told = runtime.block_on(MySqlSource::connect(&settings));
    let told = told.map(drop).expect_err("nobody logs in to a liar");
    assert!(!told.to_string().is_empty());
    server.join().expect("the server ends");
}

#[test]
fn a_lying_server_ends_in_a_definite_error() {
    let after = vec((any::<u8>(), vec(any::<u8>(), 0..300)), 0..6);
    let damage = vec((any::<Index>(), any::<u8>()), 0..5);
    let ok = prop_oneof![Just(Vec::new()), Just(packet(2, &[0, 0, 0, 2, 0, 0, 0]))];
    let strategy = (damage, ok, after, any::<Index>(), any::<bool>());
    fuzz(&strategy, MEMORY_MAX, |(damage, ok, after, cut, is_cut)| {
        let mut bytes = greeting();
        for (place, byte) in damage {
            *place.get_mut(&mut bytes) = byte;
        }
        bytes.extend(ok);
        for (number, payload) in after {
            bytes.extend(packet(number, &payload));
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        connect(bytes);
    });
}

#[test]
fn any_bytes_from_a_server_end_in_a_definite_error() {
    fuzz(&vec(any::<u8>(), 0..400), MEMORY_MAX, connect);
}

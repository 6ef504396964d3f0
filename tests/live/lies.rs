//! A source that lies: whatever it sends, didtail ends with a definite error,
//! within its deadlines and in little memory.
//!
//! The clock is paused: where both sides wait, it jumps to the next deadline.

use std::time::Duration;

use didtail::source::{ConnectSettings, EventStream, MySqlSource, Source, SourceError, TlsMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// Longest time that anything here may take, by didtail's own deadlines: one
/// statement.
const DEADLINE: Duration = Duration::from_secs(61);

const PROTOCOL_41_AND_PLUGINS: u32 = 1 | 1 << 9 | 1 << 13 | 1 << 15 | 1 << 19;
const SSL: u32 = 1 << 11;

/// What the server does, connection by connection.
#[derive(Clone, Debug)]
enum Lie {
    /// Sends these bytes when somebody connects, and then waits.
    Greeting(Vec<u8>),
    /// Greets with a byte a second.
    Trickle,
    /// Hangs up at once.
    HangUp,
    /// Greets, and answers the login with these packets, one for each of ours.
    Login(Vec<Vec<u8>>),
    /// Greets with TLS, and goes on with these bytes.
    Tls(Vec<u8>),
    /// Logs in, and answers statements with these bytes.
    Answer(Vec<u8>),
    /// The same, again and again until nobody reads.
    Endless(Vec<u8>, Vec<u8>),
    /// Logs in, answers everything else, and sends these bytes as the dump.
    Dump(Vec<u8>),
}

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let [a, b, c, _] = u32::try_from(payload.len()).expect("short").to_le_bytes();
    [&[a, b, c, sequence], payload].concat()
}

fn greeting(capabilities: u32) -> Vec<u8> {
    let [a, b, c, d] = capabilities.to_le_bytes();
    let mut payload = b"\x0a5.5.5-10.11.18-MariaDB-fake\0".to_vec();
    payload.extend([7, 0, 0, 0]);
    payload.extend(b"12345678\0");
    payload.extend([a, b, 45, 2, 0, c, d, 21]);
    payload.extend([0; 10]);
    payload.extend(b"abcdefghijkl\0mysql_native_password\0");
    packet(0, &payload)
}

const OK: [u8; 7] = [0, 0, 0, 2, 0, 0, 0];

/// A request to go on with another plugin.
fn switch(plugin: &str, data: &[u8]) -> Vec<u8> {
    [b"\xfe", plugin.as_bytes(), b"\0", data].concat()
}

/// Reads one packet; `None` when the other side is gone.
async fn read(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).await.ok()?;
    let [a, b, c, sequence] = prefix;
    let mut payload = vec![0; u32::from_le_bytes([a, b, c, 0]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some((sequence, payload))
}

/// Serves one connection; `None` once it is over.
async fn serve(mut stream: TcpStream, lie: Lie) -> Option<()> {
    match &lie {
        Lie::HangUp => return None,
        Lie::Greeting(bytes) => {
            stream.write_all(bytes).await.ok()?;
            return read(&mut stream).await.map(drop);
        }
        Lie::Trickle => {
            for byte in greeting(PROTOCOL_41_AND_PLUGINS) {
                stream.write_all(&[byte]).await.ok()?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            return None;
        }
        Lie::Tls(bytes) => {
            let all = PROTOCOL_41_AND_PLUGINS | SSL;
            stream.write_all(&greeting(all)).await.ok()?;
            read(&mut stream).await?;
            stream.write_all(bytes).await.ok()?;
            stream.read_to_end(&mut Vec::new()).await.ok()?;
            return None;
        }
        Lie::Login(_) | Lie::Answer(_) | Lie::Endless(..) | Lie::Dump(_) => {}
    }
    stream
        .write_all(&greeting(PROTOCOL_41_AND_PLUGINS))
        .await
        .ok()?;
    if let Lie::Login(replies) = &lie {
        for reply in replies {
            let (sequence, _) = read(&mut stream).await?;
            let bytes = packet(sequence.wrapping_add(1), reply);
            stream.write_all(&bytes).await.ok()?;
        }
        return read(&mut stream).await.map(drop);
    }
    read(&mut stream).await?;
    stream.write_all(&packet(2, &OK)).await.ok()?;
    loop {
        let (_, command) = read(&mut stream).await?;
        match (&lie, command.first()) {
            (Lie::Dump(bytes), Some(0x12)) => stream.write_all(bytes).await.ok()?,
            // What didtail sets for its session is no question.
            (Lie::Dump(_), _) => stream.write_all(&packet(1, &OK)).await.ok()?,
            (_, Some(3)) if command.starts_with(b"\x03SET ") => {
                stream.write_all(&packet(1, &OK)).await.ok()?;
            }
            (Lie::Answer(bytes), _) => stream.write_all(bytes).await.ok()?,
            (Lie::Endless(first, then), _) => {
                stream.write_all(first).await.ok()?;
                let mut again = then.clone();
                loop {
                    stream.write_all(&again).await.ok()?;
                    // The next one's number, for packets of one kind.
                    if let Some(sequence) = again.get_mut(3) {
                        *sequence = sequence.wrapping_add(1);
                    }
                }
            }
            _ => return None,
        }
    }
}

/// Connects to a server with this lie, asks for the end of its binlog, follows
/// it, and says how that ended.
async fn ends(lie: &Lie) -> SourceError {
    let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = server.local_addr().expect("an address").port();
    let lying = lie.clone();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = server.accept().await {
            tokio::spawn(serve(stream, lying.clone()));
        }
    });
    let settings = ConnectSettings {
        name: "lies".to_owned(),
        host: "127.0.0.1".to_owned(),
        port,
        user: "didtail".to_owned(),
        password: Some("not a secret".to_owned().into()),
        database: "asterisk".to_owned(),
        socket: None,
        tls: match lie {
            Lie::Tls(_) => TlsMode::Required,
            _ => TlsMode::Disabled,
        },
        tls_ca: None,
        tls_cert: None,
        tls_key: None,
        server_id: Some(77),
    };
    let begun = Instant::now();
    let following = async {
        let source = MySqlSource::connect(&settings).await?;
        if !matches!(lie, Lie::Dump(_)) {
            source.head().await?;
        }
        let position = "binlog.000001:4".parse().expect("a position");
        let mut stream = source.stream(&position).await?;
        loop {
            stream.next().await?;
        }
    };
    let ended: Result<(), SourceError> = following.await;
    serving.abort();
    let taken = begun.elapsed();
    assert!(taken < DEADLINE, "{taken:?}: {lie:?}");
    ended.expect_err("no lie works")
}

#[track_caller]
fn says(lie: &Lie, error: &SourceError, words: &str) {
    let said = error.to_string();
    assert!(said.contains(words), "no `{words}` in: {said}\n{lie:?}");
    assert!(error.hint().is_some(), "{said}");
    assert!(said.len() < 1000, "{said}");
    assert!(!said.contains(char::is_control), "{said:?}");
}

/// Numbers that look random and are the same every time.
fn garbage(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test(start_paused = true)]
async fn in_its_greeting() {
    const NO_SERVER: &str = "what answers there is no MySQL or MariaDB server";
    let whole = greeting(PROTOCOL_41_AND_PLUGINS);
    for (lie, words) in [
        (Lie::HangUp, "the server closed the connection"),
        (Lie::Greeting(Vec::new()), "no answer within 10 s"),
        (Lie::Trickle, "no answer within 10 s"),
        (
            Lie::Greeting(b"HTTP/1.1 400 Bad Request\r\n".to_vec()),
            NO_SERVER,
        ),
        (
            Lie::Greeting(b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()),
            NO_SERVER,
        ),
        (Lie::Greeting(packet(0, b"\x09old\0")), NO_SERVER),
        (Lie::Greeting(packet(0, b"")), NO_SERVER),
        (Lie::Greeting(whole[..40].to_vec()), "no answer within 10 s"),
        (Lie::Greeting(packet(0, &whole[4..40])), NO_SERVER),
        // 16 MiB are announced, and more would follow.
        (
            Lie::Greeting(b"\xff\xff\xff\0\x0a".to_vec()),
            "announced a packet of 16777215 bytes",
        ),
        (
            Lie::Greeting(packet(0, b"\xff\x10\x04Too many connections")),
            "Too many connections (server error 1040)",
        ),
        (
            Lie::Greeting(packet(0, b"\xff\x69\x04Host is blocked\x1b[2J")),
            "refused the login: Host is blocked [2J (server error 1129)",
        ),
        (Lie::Greeting(packet(0, b"\xff")), "server error 0"),
    ] {
        says(&lie, &ends(&lie).await, words);
    }
    for seed in 0..50 {
        let lie = Lie::Greeting(garbage(seed, 300));
        says(&lie, &ends(&lie).await, "the connection to 127.0.0.1");
    }
}

#[tokio::test(start_paused = true)]
async fn in_the_login() {
    let again = switch("mysql_native_password", b"12345678abcdefghijkl\0");
    let key = [
        b"\x01-----BEGIN PUBLIC KEY-----\n".as_slice(),
        &garbage(1, 99),
    ]
    .concat();
    let work = [b"\x01P\x14".as_slice(), &[7; 18]].concat();
    for (replies, words) in [
        (vec![again; 99], "did not finish the authentication"),
        (
            vec![switch("dialog", b"Password: ")],
            "the authentication plugin `dialog`",
        ),
        (
            vec![switch("mysql_clear_password", b"")],
            "`mysql_clear_password`, which is not safe",
        ),
        (vec![vec![0xfe]], "`mysql_old_password`, which is not safe"),
        (
            vec![switch(&"x".repeat(70_000), b"")],
            "which didtail does not speak",
        ),
        (
            vec![
                switch("caching_sha2_password", b"1"),
                vec![1, 4],
                key.clone(),
            ],
            "public key",
        ),
        (
            vec![switch("sha256_password", b"1"), key],
            "public key is malformed",
        ),
        (
            vec![switch("parsec", b"1"), vec![1, b'P']],
            "parsec salt is malformed",
        ),
        (vec![switch("parsec", b"1"), work], "asks for too much work"),
        (vec![vec![1, 9, 9, 9]], "authentication message is unknown"),
        (vec![vec![]], "authentication message is unknown"),
        (
            vec![b"\xff\x15\x04#28000no".to_vec()],
            "refused the login: no (server error 1045)",
        ),
    ] {
        let lie = Lie::Login(replies);
        says(&lie, &ends(&lie).await, words);
    }
    for seed in 0..50 {
        let replies = (0..20).map(|n| garbage(seed * 100 + n, 60)).collect();
        let lie = Lie::Login(replies);
        says(&lie, &ends(&lie).await, "");
    }
}

/// A handshake that is cut or damaged is the network's doing, as far as anybody
/// can tell: worth another try.
#[tokio::test(start_paused = true)]
async fn under_tls() {
    for (bytes, words) in [
        (b"no TLS at all, but some text".to_vec(), "TLS broke off"),
        (garbage(3, 4000), "TLS broke off"),
        (Vec::new(), "no answer within 10 s"),
        (
            b"\x15\x03\x03\x00\x02\x02\x46".to_vec(),
            "no TLS version or cipher in common",
        ),
        (b"\x15\x03\x03\x00\x02\x02\x14".to_vec(), "TLS broke off"),
    ] {
        let lie = Lie::Tls(bytes);
        let error = ends(&lie).await;
        says(&lie, &error, words);
        let is_fault = words.starts_with("no TLS");
        assert_eq!(error.is_transient(), !is_fault, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn in_an_answer() {
    let column = b"\x03def\0\0\0\x04File\x04File\x0c\x3f\0\0\0\0\0\xfd\0\0\0\0\0";
    let end = b"\xfe\0\0\x02\0";
    let head = [packet(1, &[1]), packet(2, column), packet(3, end)].concat();
    let row = |payload: &[u8]| [head.clone(), packet(4, payload)].concat();
    let malformed = "the server's result is malformed";
    for (bytes, words) in [
        (
            packet(1, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff"),
            malformed,
        ),
        (packet(1, b"\xfd\xff\xff\xff"), malformed),
        (packet(1, b"\xfb/etc/passwd"), malformed),
        (packet(1, b""), malformed),
        // 4,000 columns are announced, and none comes.
        (packet(1, b"\xfc\xa0\x0f"), "no answer within 60 s"),
        (
            [packet(1, &[1]), packet(2, &column[..9])].concat(),
            malformed,
        ),
        (
            [packet(1, &[1]), packet(2, b"\x03def\xfd\xff\xff\xff")].concat(),
            malformed,
        ),
        (
            [packet(1, &[1]), packet(2, column), packet(3, &OK)].concat(),
            malformed,
        ),
        (row(b"\x05abc"), malformed),
        (row(b"\x03abc\x03abc"), malformed),
        (row(b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7fabc"), malformed),
        (
            row(b"\xff\x28\x05#70100killed"),
            "killed (server error 1320)",
        ),
        (
            [head.clone(), packet(9, b"\x03abc")].concat(),
            "out of order",
        ),
        (head.clone(), "no answer within 60 s"),
        (
            [&head[..], b"\xff\xff\xff\x04"].concat(),
            "no answer within 60 s",
        ),
        // A name and a position that are none.
        (
            [row(b"\x03../"), packet(5, end)].concat(),
            "the end of its binlog",
        ),
    ] {
        let lie = Lie::Answer(bytes);
        says(&lie, &ends(&lie).await, words);
    }
}

/// Rows, and parts of a packet, without an end. Here nobody waits, so that the
/// clock may run.
#[tokio::test]
async fn in_an_answer_that_never_ends() {
    let column = b"\x03def\0\0\0\x04File\x04File\x0c\x3f\0\0\0\0\0\xfd\0\0\0\0\0";
    let head = [
        packet(1, &[1]),
        packet(2, column),
        packet(3, b"\xfe\0\0\x02\0"),
    ]
    .concat();
    let wide = [b"\xfd\xf0\x7f\x00".as_slice(), &[b'x'; 0x7ff0]].concat();
    for (first, then, words) in [
        (head.clone(), packet(4, &wide), "larger than 128 MiB"),
        (
            head,
            packet(4, &vec![b'x'; 0xff_ffff]),
            "announced a packet of",
        ),
    ] {
        let lie = Lie::Endless(first, then);
        let error = ends(&lie).await;
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn in_the_binlog() {
    let event = |code: u8, size: u32, flags: u8, body: &[u8]| {
        let mut bytes = vec![0, 0, 0, 0, 0, code, 1, 0, 0, 0];
        bytes.extend(size.to_le_bytes());
        bytes.extend([0, 0, 0, 0, flags, 0]);
        bytes.extend(body);
        bytes
    };
    let name = b"\x04\0\0\0\0\0\0\0binlog.000001";
    let rotate = packet(1, &event(4, 19 + 21, 0x20, name));
    let with = |more: &[u8]| [&rotate[..], more].concat();
    let silent = "nothing for 30 s";
    for (bytes, words) in [
        (Vec::new(), silent),
        (rotate.clone(), silent),
        (packet(9, &[0]), "out of order"),
        (packet(1, &[]), "a packet is empty"),
        (
            packet(1, &[0x42, 1, 2]),
            "a packet is of the unknown kind 0x42",
        ),
        (
            packet(1, &[0]),
            "an event says that it has 0 bytes and has 0",
        ),
        (
            packet(1, &event(4, u32::MAX, 0x20, name)),
            "it has 4294967295 bytes and has 40",
        ),
        (
            packet(1, &event(4, 19, 0x20, name)),
            "it has 19 bytes and has 40",
        ),
        (
            with(&packet(2, &event(23, 24, 0, b"stray"))),
            "before the format description",
        ),
        (
            with(&packet(2, &event(15, 24, 0, b"short"))),
            "uses checksum algorithm 115",
        ),
        (
            with(&packet(2, &event(27, 24, 0, b"no na"))),
            "the checksum of a 24 byte event",
        ),
        // 16 MiB are announced, and 1 GiB after it; nothing comes.
        (with(b"\xff\xff\xff\x02\0"), silent),
        (
            with(&packet(2, b"\xfe\0\0\x02\0")),
            "the server ended the stream",
        ),
        (
            with(&packet(
                2,
                b"\xff\xd4\x04#HY000Could not find first log file name in binary log index file",
            )),
            "has deleted the binlog that is needed next",
        ),
        (
            with(&packet(2, b"\xff\xd4\x04damaged")),
            "unknown kind 0xff",
        ),
    ] {
        let lie = Lie::Dump(bytes);
        says(&lie, &ends(&lie).await, words);
    }
    for seed in 0..100 {
        let mut bytes = rotate.clone();
        for sequence in 2..6 {
            let noise = garbage(seed * 10 + u64::from(sequence), 80);
            bytes.extend(packet(sequence, &[&[0], &noise[..]].concat()));
        }
        let lie = Lie::Dump(bytes);
        says(&lie, &ends(&lie).await, "");
    }
}

//! Packets of every length, arriving in every way.

use std::task::Waker;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;

/// A payload in packets, as the server splits it, with its last sequence number.
fn encode(payload: &[u8], sequence: &mut u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = payload;
    loop {
        let length = rest.len().min(SPLIT_BYTES);
        let [a, b, c, _] = u32::try_from(length).expect("short").to_le_bytes();
        bytes.extend([a, b, c, *sequence]);
        *sequence = sequence.wrapping_add(1);
        let (part, behind) = rest.split_at(length);
        bytes.extend(part);
        rest = behind;
        if length < SPLIT_BYTES {
            return bytes;
        }
    }
}

fn pair() -> (Packets, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let mut packets = Packets::new(Endpoint::Unix(ours));
    packets.accept(PAYLOAD_BYTES_MAX);
    (packets, theirs)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn payloads_of_every_length_arrive_whole() {
    let lengths = [
        0,
        1,
        BUFFER_BYTES - PREFIX_BYTES - 1,
        BUFFER_BYTES - PREFIX_BYTES,
        BUFFER_BYTES - PREFIX_BYTES + 1,
        3,
        SPLIT_BYTES - 1,
        SPLIT_BYTES,
        SPLIT_BYTES + 1,
        2 * SPLIT_BYTES,
        5,
    ];
    let (mut packets, mut server) = pair();
    let sending = async move {
        let mut sequence = 0;
        for length in lengths {
            let bytes = encode(&pattern(length), &mut sequence);
            server.write_all(&bytes).await.expect("sent");
        }
        server
    };
    let receiving = async {
        for length in lengths {
            let payload = packets.receive().await.expect("a packet");
            assert!(payload == pattern(length), "{length}");
        }
        assert!(packets.large.capacity() <= 2 * SPLIT_BYTES);
    };
    tokio::join!(sending, receiving);
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let (mut packets, mut server) = pair();
    let mut sequence = 0;
    let bytes = encode(&pattern(BUFFER_BYTES * 2), &mut sequence);
    let whole = async move {
        for part in bytes.chunks(50_000) {
            server.write_all(part).await.expect("sent");
            tokio::task::yield_now().await;
        }
        server
    };
    let impatient = async {
        loop {
            let polled = packets.poll_receive(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(place) = polled {
                let place = place.expect("a packet");
                assert!(packets.payload(&place) == pattern(BUFFER_BYTES * 2));
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(whole, impatient);
}

#[tokio::test]
async fn a_breach_of_the_protocol_is_an_error() {
    let mut wrong = 5;
    for bytes in [
        encode(b"abc", &mut wrong),
        vec![3, 0, 0, 0, b'a'],
        Vec::new(),
    ] {
        let (mut packets, mut server) = pair();
        server.write_all(&bytes).await.expect("sent");
        drop(server);
        assert!(packets.receive().await.is_err(), "{bytes:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_chunking_gives_the_same_payloads(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
        chunk in 1_usize..97,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let (mut packets, mut server) = pair();
            let mut sequence = 0;
            let bytes: Vec<u8> =
                payloads.iter().flat_map(|payload| encode(payload, &mut sequence)).collect();
            let sending = async move {
                for part in bytes.chunks(chunk) {
                    server.write_all(part).await.expect("sent");
                    tokio::task::yield_now().await;
                }
                server
            };
            let receiving = async {
                for payload in &payloads {
                    assert_eq!(packets.receive().await.expect("a packet"), &payload[..]);
                }
            };
            tokio::join!(sending, receiving);
        });
    }
}

//! A network between didtail and a server, as bad as a test wants it.
//!
//! What happens to a connection follows from the seed and the connection's
//! number, so that a failure can be repeated; only the moments differ.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is closed, at a random point of the stream.
    Cut,
    /// One byte of what the server sends is changed, at a random point of its
    /// binlog, or of everything where the connection is encrypted.
    Corrupt,
    /// It comes in drops of a few hundred bytes, and is closed in the end.
    Throttle,
}

/// A port that leads to a server.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: u16,
    seed: u64,
    /// Where in the stream it happens at the latest.
    within: u64,
    is_encrypted: bool,
    troubles: Mutex<Vec<Trouble>>,
    ended: AtomicBool,
    connections: AtomicU32,
    /// Connections with a number below this pass nothing any more.
    stalled: AtomicU32,
    /// How often each kind of trouble struck.
    struck: Mutex<Vec<Trouble>>,
}

/// What a login takes, in plain text and with a handshake: corrupted there, a
/// connection says that the password is wrong or that there is no TLS.
const LOGIN_BYTES: u64 = 8 * 1024;

impl Proxy {
    /// Opens one to the server at `target`, without any trouble yet. It strikes
    /// within the first `within` bytes.
    pub fn new(target: u16, seed: u64, within: u64, is_encrypted: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            target,
            seed,
            within,
            is_encrypted,
            troubles: Mutex::default(),
            ended: AtomicBool::new(false),
            connections: AtomicU32::new(0),
            stalled: AtomicU32::new(0),
            struck: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if serving.ended.load(Ordering::Relaxed) {
                    break;
                }
                serving.connect(client);
            }
        });
        Self { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on these befall new connections; none with an empty list.
    pub fn set(&self, troubles: &[Trouble]) {
        *self.shared.troubles.lock().expect("a list") = troubles.to_vec();
    }

    /// Lets nothing pass any more on the connections that there are, and tells
    /// nobody. New ones are not affected.
    pub fn stall(&self) {
        let all = self.connections();
        self.shared.stalled.store(all, Ordering::Relaxed);
    }

    /// How often this has happened.
    pub fn struck(&self, trouble: Trouble) -> usize {
        let struck = self.shared.struck.lock().expect("a list");
        struck.iter().filter(|one| **one == trouble).count()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> u32 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that listens.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// What becomes of one connection, and where.
#[derive(Clone, Copy, Debug)]
struct Fate {
    trouble: Option<Trouble>,
    at: u64,
    mask: u8,
}

/// Both ends of a connection, and whether it carries a binlog.
struct Link {
    shared: Arc<Shared>,
    fate: Fate,
    number: u32,
    is_dump: AtomicBool,
}

impl Shared {
    fn connect(self: &Arc<Self>, client: TcpStream) {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.target)) else {
            return;
        };
        let link = Arc::new(Link {
            shared: Arc::clone(self),
            fate: self.fate(u64::from(number)),
            number,
            is_dump: AtomicBool::new(false),
        });
        let both = client
            .try_clone()
            .and_then(|c| Ok((c, server.try_clone()?)));
        let Ok((back, ahead)) = both else { return };
        let up = Arc::clone(&link);
        std::thread::spawn(move || up.upwards(client, ahead));
        std::thread::spawn(move || link.downwards(server, back));
    }

    fn fate(&self, number: u64) -> Fate {
        let mut state = (self.seed << 20 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) % below.max(1)
        };
        let troubles = self.troubles.lock().expect("a list");
        let which = usize::try_from(next(troubles.len() as u64)).expect("small");
        Fate {
            trouble: troubles.get(which).copied(),
            at: next(self.within),
            mask: u8::try_from(next(255)).expect("a byte") + 1,
        }
    }
}

impl Link {
    /// What didtail sends. The command that asks for the binlog is a packet of
    /// its own, so that it comes in one piece.
    fn upwards(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read) = from.read(&mut buffer) {
            if read == 0 || !self.passes() {
                break;
            }
            let bytes = &buffer[..read];
            if !self.shared.is_encrypted && bytes.get(3..5) == Some(&[0, 0x12]) {
                self.is_dump.store(true, Ordering::Relaxed);
            }
            if to.write_all(bytes).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Both));
        drop(from.shutdown(Shutdown::Both));
    }

    /// What the server sends.
    fn downwards(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 16 * 1024];
        // Bytes that have passed, where the trouble is counted from.
        let (mut all, mut passed) = (0, 0);
        let mut is_due = self.fate.trouble.is_some();
        loop {
            let room = match self.fate.trouble {
                Some(Trouble::Throttle) => 300,
                _ => buffer.len(),
            };
            let Ok(read @ 1..) = from.read(&mut buffer[..room]) else {
                break;
            };
            if !self.passes() {
                break;
            }
            let bytes = &mut buffer[..read];
            let counts = match self.fate.trouble {
                Some(Trouble::Corrupt) if self.shared.is_encrypted => all >= LOGIN_BYTES,
                Some(Trouble::Corrupt) => self.is_dump.load(Ordering::Relaxed),
                _ => true,
            };
            all += read as u64;
            let end = passed + read as u64;
            if counts && is_due && end > self.fate.at {
                is_due = false;
                if !self.strike(
                    bytes,
                    usize::try_from(self.fate.at - passed).expect("small"),
                    &mut to,
                ) {
                    break;
                }
            }
            passed = if counts { end } else { 0 };
            if to.write_all(bytes).is_err() {
                break;
            }
            if self.fate.trouble == Some(Trouble::Throttle) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        drop(to.shutdown(Shutdown::Both));
        drop(from.shutdown(Shutdown::Both));
    }

    /// Lets it happen; false when nothing more may pass.
    fn strike(&self, bytes: &mut [u8], at: usize, to: &mut TcpStream) -> bool {
        let Some(trouble) = self.fate.trouble else {
            return true;
        };
        self.shared.struck.lock().expect("a list").push(trouble);
        match trouble {
            Trouble::Cut | Trouble::Throttle => {
                drop(to.write_all(&bytes[..at]));
                false
            }
            Trouble::Corrupt => {
                bytes[at] ^= self.fate.mask;
                true
            }
        }
    }

    /// True while what arrives may pass. A stalled connection is held open
    /// until the proxy ends.
    fn passes(&self) -> bool {
        let is_stalled = || self.number < self.shared.stalled.load(Ordering::Relaxed);
        while is_stalled() && !self.shared.ended.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
        !is_stalled()
    }
}

//! A network between didtail and its store that fails around COMMIT, so that nobody
//! on this side knows whether it happened.
//!
//! Only as much of the protocols is read as tells a COMMIT: PostgreSQL's `Query`
//! message and MySQL's `COM_QUERY`, each of which comes in a packet of its own.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// Where the connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server never sees the COMMIT.
    Before,
    /// It gets it from a client that is gone.
    Behind,
    /// It has committed, and its answer is lost.
    Answer,
}

const CUTS: [Cut; 3] = [Cut::Before, Cut::Behind, Cut::Answer];

const POSTGRES_COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
const MYSQL_COMMIT: &[u8] = b"\x07\0\0\0\x03COMMIT";

/// A port that leads to a store without TLS.
#[derive(Debug)]
pub struct Commits {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: u16,
    ended: AtomicBool,
    /// Every so many commits of a transaction that wrote one is cut; 0: none.
    every: AtomicU32,
    commits: AtomicU32,
    next: AtomicUsize,
    struck: [AtomicU32; 3],
}

impl Commits {
    /// Opens one to the server at `target`, which cuts nothing yet.
    pub fn new(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            target,
            ended: AtomicBool::new(false),
            every: AtomicU32::new(0),
            commits: AtomicU32::new(0),
            next: AtomicUsize::new(0),
            struck: [const { AtomicU32::new(0) }; 3],
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

    /// Cuts one of so many commits; none with 0.
    pub fn cut_every(&self, commits: u32) {
        self.shared.every.store(commits, Ordering::Relaxed);
    }

    /// How often it has cut there.
    pub fn struck(&self, cut: Cut) -> u32 {
        self.shared.struck[cut as usize].load(Ordering::Relaxed)
    }
}

impl Drop for Commits {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that listens.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl Shared {
    fn connect(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.target)) else {
            return;
        };
        let both = client
            .try_clone()
            .and_then(|client| Ok((client, server.try_clone()?)));
        let Ok((back, ahead)) = both else { return };
        let is_lost = Arc::new(AtomicBool::new(false));
        let (up, lost) = (Arc::clone(self), Arc::clone(&is_lost));
        std::thread::spawn(move || up.upwards(client, ahead, &lost));
        let down = Arc::clone(self);
        std::thread::spawn(move || down.downwards(server, back, &is_lost));
    }

    /// What didtail sends.
    fn upwards(&self, mut from: TcpStream, mut to: TcpStream, is_lost: &AtomicBool) {
        let mut buffer = [0; 16 * 1024];
        let mut writes = false;
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let bytes = &buffer[..read];
            if contains(bytes, b"READ ONLY") {
                writes = false;
            } else if contains(bytes, b"BEGIN") || contains(bytes, b"START TRANSACTION") {
                writes = true;
            }
            let is_commit = bytes == POSTGRES_COMMIT || bytes == MYSQL_COMMIT;
            let cut = (is_commit && writes).then(|| self.fate()).flatten();
            match cut {
                Some(Cut::Before) => break,
                Some(Cut::Behind) => {
                    drop(to.write_all(bytes));
                    break;
                }
                // Whoever brings the answer ends the connection.
                Some(Cut::Answer) => is_lost.store(true, Ordering::SeqCst),
                None => {}
            }
            if to.write_all(bytes).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Both));
        drop(from.shutdown(Shutdown::Both));
    }

    /// What the server sends.
    fn downwards(&self, mut from: TcpStream, mut to: TcpStream, is_lost: &AtomicBool) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if is_lost.load(Ordering::SeqCst) || to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Both));
        drop(from.shutdown(Shutdown::Both));
    }

    /// What becomes of this commit.
    fn fate(&self) -> Option<Cut> {
        let every = self.every.load(Ordering::Relaxed);
        let number = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        if every == 0 || !number.is_multiple_of(every) {
            return None;
        }
        let next = self.next.fetch_add(1, Ordering::Relaxed) % CUTS.len();
        self.struck[next].fetch_add(1, Ordering::Relaxed);
        Some(CUTS[next])
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

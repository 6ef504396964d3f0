//! Clients of the API: some that post at their times, and many that say nothing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// Connections that post; each waits for its answer before it posts again.
const CLIENTS: u64 = 128;

/// Idle connections that are opened at once: fewer than the system's queue holds.
const OPENED_AT_ONCE: usize = 100;

/// A call that can be posted.
struct Known {
    body: String,
    is_posted: bool,
}

/// What is posted, and where.
pub(crate) struct Load {
    address: SocketAddr,
    head: String,
    calls: Mutex<Vec<Known>>,
    next: AtomicUsize,
}

/// What became of a post.
pub(crate) struct Told {
    pub(crate) is_good: bool,
    /// Since it was due.
    pub(crate) took: Duration,
}

impl Load {
    pub(crate) fn new(address: SocketAddr, key: &str) -> Arc<Self> {
        Arc::new(Self {
            address,
            head: format!(
                "POST /api/v1/call-results HTTP/1.1\r\nHost: x\r\nx-api-key: {key}\r\n\
                 Content-Type: application/json\r\nContent-Length: "
            ),
            calls: Mutex::default(),
            next: AtomicUsize::new(0),
        })
    }

    /// A call of VICIdial's, whose own disposition is to win over what is posted.
    pub(crate) fn knows(&self, uniqueid: &str, number: &str, start: i64) {
        let body = serde_json::json!({
            "uniqueid": uniqueid, "phoneNumber": number, "disposition": "POSTED",
            "duration": 1, "campaignId": "POSTED", "timestamp": start + 60,
        });
        let known = Known {
            body: body.to_string(),
            is_posted: false,
        };
        self.calls().push(known);
    }

    /// How many calls were posted and answered.
    pub(crate) fn calls_posted(&self) -> usize {
        self.calls().iter().filter(|call| call.is_posted).count()
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, Vec<Known>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next one in turn: each once, and then all again.
    fn pick(&self) -> Option<(usize, String)> {
        let calls = self.calls();
        let place = self.next.fetch_add(1, Ordering::Relaxed) % calls.len().max(1);
        let call = calls.get(place)?;
        Some((place, call.body.clone()))
    }

    /// Posts so many a second for a time; what became of each.
    pub(crate) async fn post(self: &Arc<Self>, per_second: u64, during: Duration) -> Vec<Told> {
        let begun = Instant::now();
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let load = Arc::clone(self);
            clients.spawn(async move { load.client(number, per_second, begun, during).await });
        }
        let mut told = Vec::new();
        while let Some(of_client) = clients.join_next().await {
            told.extend(of_client.unwrap_or_default());
        }
        told
    }

    async fn client(
        &self,
        number: u64,
        per_second: u64,
        begun: Instant,
        during: Duration,
    ) -> Vec<Told> {
        let every = Duration::from_secs(CLIENTS) / u32::try_from(per_second.max(1)).unwrap_or(1);
        let own = every / u32::try_from(CLIENTS).unwrap_or(1) * u32::try_from(number).unwrap_or(0);
        let mut due = begun + own;
        let mut stream = None;
        let mut told = Vec::new();
        while due < begun + during {
            sleep_until(due).await;
            let Some((place, body)) = self.pick() else {
                due += every;
                continue;
            };
            let answered = self.one(&mut stream, &body).await;
            let is_good = answered.is_ok_and(|status| status == 200);
            if is_good && let Some(call) = self.calls().get_mut(place) {
                call.is_posted = true;
            }
            if !is_good {
                stream = None;
            }
            told.push(Told {
                is_good,
                took: due.elapsed(),
            });
            due += every;
        }
        told
    }

    /// Posts once; the status.
    async fn one(&self, kept: &mut Option<TcpStream>, body: &str) -> anyhow::Result<u16> {
        let stream = match kept {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                kept.insert(stream)
            }
        };
        let text = format!("{}{}\r\n\r\n{body}", self.head, body.len());
        stream.write_all(text.as_bytes()).await?;
        let mut answer = Vec::new();
        loop {
            let mut part = [0; 2048];
            let read = stream.read(&mut part).await?;
            anyhow::ensure!(read > 0, "hung up");
            answer.extend(part.iter().take(read));
            if let Some(status) = whole(&answer)? {
                return Ok(status);
            }
        }
    }
}

/// The status of an answer, once all of it is there.
fn whole(answer: &[u8]) -> anyhow::Result<Option<u16>> {
    let text = std::str::from_utf8(answer)?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.context("no length")?.trim().parse()?;
    if body.len() < length {
        return Ok(None);
    }
    let status = head.split(' ').nth(1).context("no status")?;
    Ok(Some(status.parse()?))
}

/// Connections that say nothing. didtail ends each after some seconds, and another one is
/// opened then.
pub(crate) struct Idle {
    _clients: JoinSet<()>,
    open: Arc<AtomicUsize>,
    lowest: Arc<AtomicUsize>,
}

impl Idle {
    /// Opens so many, and returns when all are open.
    pub(crate) async fn open(address: SocketAddr, count: usize) -> Self {
        let open = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for number in 0..count {
            let open = Arc::clone(&open);
            clients.spawn(async move {
                loop {
                    if let Ok(mut stream) = TcpStream::connect(address).await {
                        open.fetch_add(1, Ordering::Relaxed);
                        drop(stream.read(&mut [0]).await);
                        open.fetch_sub(1, Ordering::Relaxed);
                    } else {
                        sleep(Duration::from_millis(100)).await;
                    }
                }
            });
            if number % OPENED_AT_ONCE == OPENED_AT_ONCE - 1 {
                sleep(Duration::from_millis(20)).await;
            }
        }
        while open.load(Ordering::Relaxed) < count * 99 / 100 {
            sleep(Duration::from_millis(20)).await;
        }
        let lowest = Arc::new(AtomicUsize::new(open.load(Ordering::Relaxed)));
        let (now, least) = (Arc::clone(&open), Arc::clone(&lowest));
        clients.spawn(async move {
            loop {
                least.fetch_min(now.load(Ordering::Relaxed), Ordering::Relaxed);
                sleep(Duration::from_millis(50)).await;
            }
        });
        Self {
            _clients: clients,
            open,
            lowest,
        }
    }

    /// The fewest that were open at a time.
    pub(crate) fn lowest(&self) -> usize {
        let now = self.open.load(Ordering::Relaxed);
        self.lowest.load(Ordering::Relaxed).min(now)
    }
}

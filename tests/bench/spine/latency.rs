//! From the end of VICIdial's INSERT to the row in the store, on an idle stream.

use std::time::{Duration, Instant};

use anyhow::ensure;
use didtail::ledger::Keys;
use didtail::store::{SqlStore, Store as _};
use mysql_async::prelude::Queryable as _;

use crate::server::Server;
use crate::store::Store;

const CALLS: u32 = 300;

/// Long enough between two calls that each one finds the stream idle.
const PAUSE: Duration = Duration::from_millis(25);

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn measure(server: &Server, store: &Store<'_>) -> anyhow::Result<()> {
    let url = store.address("latency")?;
    let name = format!("latency-{}", store.name());
    let mut child = server.didtail(&name, &url, &["--start-at", "latest"])?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let measured = runtime.block_on(sample(server, store, &url));
    child.kill()?;
    child.wait()?;
    let mut times = measured?;
    times.sort();
    let ms = |percent: usize| {
        let place = (times.len() * percent / 100).min(times.len() - 1);
        times[place].as_secs_f64() * 1e3
    };
    println!(
        "latency: commit to {}, idle stream, {CALLS} calls: median {:.1} ms, 95 % {:.1} ms, 99 % {:.1} ms, most {:.1} ms",
        store.name(),
        ms(50),
        ms(95),
        ms(99),
        ms(100),
    );
    Ok(())
}

async fn sample(server: &Server, of: &Store<'_>, url: &str) -> anyhow::Result<Vec<Duration>> {
    let kind = of.name().len() as u64;
    let of_source = format!("mysql://root@127.0.0.1:{}/asterisk", server.port);
    let mut source = mysql_async::Conn::from_url(&of_source).await?;
    let store = open(url).await?;
    let mut times = Vec::new();
    for number in 0..CALLS {
        // Each store's calls are others.
        let uniqueid = format!("19000000{kind:02}.{number}");
        let insert = format!(
            "INSERT INTO vicidial_log (uniqueid, lead_id, campaign_id, call_date, start_epoch,
                 status, phone_code, phone_number, user, processed, length_in_sec)
             VALUES ('{uniqueid}', {number} + 1, 'BENCH', NOW(), UNIX_TIMESTAMP(),
                 'NA', '1', '3125550142', 'VDAD', 'N', 0)"
        );
        source.query_drop(insert).await?;
        let start = Instant::now();
        let keys = Keys {
            uniqueids: [uniqueid].into(),
            ..Keys::default()
        };
        while store.load("main", "default", &keys).await?.calls.is_empty() {
            ensure!(start.elapsed() < PATIENCE, "the call never came");
            std::thread::sleep(Duration::from_micros(200));
        }
        times.push(start.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    source.disconnect().await?;
    Ok(times)
}

/// Waits until didtail has made its store and follows.
async fn open(url: &str) -> anyhow::Result<SqlStore> {
    let start = Instant::now();
    loop {
        if let Ok(store) = SqlStore::open_read(url).await {
            if store.progress("main").await?.is_some() {
                return Ok(store);
            }
            store.close().await;
        }
        ensure!(start.elapsed() < PATIENCE, "didtail did not start");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

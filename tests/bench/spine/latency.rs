//! From the end of VICIdial's INSERT to the row in the store, on an idle stream.

use std::time::{Duration, Instant};

use anyhow::ensure;
use mysql_async::prelude::Queryable as _;
use rusqlite::{Connection, OpenFlags};

use crate::server::Server;

const CALLS: u32 = 300;

/// Long enough between two calls that each one finds the stream idle.
const PAUSE: Duration = Duration::from_millis(25);

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn measure(server: &Server) -> anyhow::Result<()> {
    let mut child = server.didtail("latency", &["--start-at", "latest"])?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let measured = runtime.block_on(sample(server));
    child.kill()?;
    child.wait()?;
    let mut times = measured?;
    times.sort();
    let ms = |percent: usize| {
        let place = (times.len() * percent / 100).min(times.len() - 1);
        times[place].as_secs_f64() * 1e3
    };
    println!(
        "latency: commit to store, idle stream, {CALLS} calls: median {:.1} ms, 95 % {:.1} ms, 99 % {:.1} ms, most {:.1} ms",
        ms(50),
        ms(95),
        ms(99),
        ms(100),
    );
    Ok(())
}

async fn sample(server: &Server) -> anyhow::Result<Vec<Duration>> {
    let url = format!("mysql://root@127.0.0.1:{}/asterisk", server.port);
    let mut source = mysql_async::Conn::from_url(&url).await?;
    let store = open(server).await?;
    let mut find = store.prepare("SELECT 1 FROM call_records WHERE uniqueid = ?1")?;
    let mut times = Vec::new();
    for number in 0..CALLS {
        let uniqueid = format!("1900000000.{number}");
        let insert = format!(
            "INSERT INTO vicidial_log (uniqueid, lead_id, campaign_id, call_date, start_epoch,
                 status, phone_code, phone_number, user, processed, length_in_sec)
             VALUES ('{uniqueid}', {number} + 1, 'BENCH', NOW(), UNIX_TIMESTAMP(),
                 'NA', '1', '3125550142', 'VDAD', 'N', 0)"
        );
        source.query_drop(insert).await?;
        let start = Instant::now();
        while !find.exists([&uniqueid])? {
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
async fn open(server: &Server) -> anyhow::Result<Connection> {
    let path = server.store("latency");
    let start = Instant::now();
    loop {
        let opened = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let follows = opened.and_then(|store| {
            store
                .query_row("SELECT count(*) FROM replication_progress", [], |row| {
                    row.get::<_, i64>(0)
                })
                .map(|rows| (store, rows > 0))
        });
        if let Ok((store, true)) = follows {
            return Ok(store);
        }
        ensure!(start.elapsed() < PATIENCE, "didtail did not start");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

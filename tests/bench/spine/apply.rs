//! Watched row changes per second, from a backlog in the binlog to the store.

use std::io::Read as _;
use std::time::Duration;

use anyhow::ensure;

use crate::server::{Server, Usage, usage};
use crate::store::Store;

const CALLS: &str = "20000";

pub(crate) fn measure(server: &Server, stores: &[Store<'_>]) -> anyhow::Result<()> {
    server.sql("RESET MASTER")?;
    println!("apply: {CALLS} calls in VICIdial's own statements, without other tables' noise");
    server.simulate(&["run", "--calls", CALLS, "--noise", "0"])?;
    for store in stores {
        for round in 0..3 {
            once(server, store, round)?;
        }
    }
    Ok(())
}

fn once(server: &Server, store: &Store<'_>, round: u32) -> anyhow::Result<()> {
    let name = format!("apply{round}");
    let mut child = server.didtail(
        &format!("{name}-{}", store.name()),
        &store.address(&name)?,
        &["--start-at", "earliest", "--until-caught-up", "--json"],
    )?;
    let pid = child.id().to_string();
    let mut last = Usage {
        cpu: Duration::ZERO,
        peak_mb: 0,
    };
    while child.try_wait()?.is_none() {
        if let Ok(now) = usage(&pid) {
            last = now;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut printed = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut printed)?;
    }
    ensure!(child.wait()?.success(), "didtail failed");
    let summary: serde_json::Value = serde_json::from_str(&printed)?;
    let rows = summary["rows"].as_f64().unwrap_or(0.0);
    let seconds = summary["seconds"].as_f64().unwrap_or(f64::NAN);
    println!(
        "  {}: {:7.0} watched row changes/s ({rows} rows and {} events in {seconds:.2} s), \
             {:.2} s of processor time, {} MB peak memory",
        store.name(),
        rows / seconds,
        summary["events"],
        last.cpu.as_secs_f64(),
        last.peak_mb,
    );
    Ok(())
}

//! How fast a store takes changes: large batches, and single calls, beside the
//! bare bulk load of the same rows into the same server.
//!
//! `cargo bench --bench store [-- FOLDER|URL [BATCHES]]`; a folder says on which
//! disk SQLite is measured, a `postgres://` or `mysql://` address which server: its
//! database must be empty.

#![expect(clippy::print_stdout, reason = "it prints what it measures")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use didtail::checkpoint::Checkpoint;
use didtail::ledger::{
    Attribution, AuditEntry, Call, CallKey, ChangeEntry, ChangeSet, Contribution, DailyKey, Dial,
    DialKey, Keys, Outcome, Subject,
};
use didtail::store::{SqlStore, Store, statements_sent};
use sqlx::Connection as _;

/// Calls and dials of one batch; half are new, half change the batch before.
const CALLS: u64 = 2000;
const DIDS: u64 = 300;
const EPOCH: i64 = 1_762_956_000;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let place = arguments.next();
    let batches: u64 = arguments.next().map_or(Ok(200), |n| n.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if let Some(url) = place.as_ref().filter(|place| place.contains("://")) {
        runtime.block_on(measure(url, batches))?;
        return runtime.block_on(bare(url, batches));
    }
    let folder = place.map_or_else(std::env::temp_dir, PathBuf::from);
    let path = folder.join(format!("didtail-bench-{}.db", std::process::id()));
    let measured = runtime
        .block_on(measure(&format!("sqlite://{}", path.display()), batches))
        .and_then(|()| bare_in_file(&path, batches));
    if let Ok(file) = std::fs::metadata(&path) {
        println!(
            "{} MB for {} calls",
            file.len() >> 20,
            (batches + 1) * CALLS / 2
        );
    }
    for side in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{}{side}", path.display())).ok();
    }
    measured
}

async fn measure(url: &str, batches: u64) -> anyhow::Result<()> {
    let store = SqlStore::open(url).await?;
    let mut expected = None;
    let began = statements_sent();
    let (mut commits, mut loads, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for batch in 0..batches {
        let change = change(batch * CALLS / 2, CALLS, batch, expected);
        rows.push(rows_of(&change));
        let keys = keys(&change);
        let start = Instant::now();
        let loaded = store.load("main", "default", &keys).await?;
        loads.push(start.elapsed());
        anyhow::ensure!(batch == 0 || loaded.calls.len() as u64 >= CALLS / 2);
        let start = Instant::now();
        expected = Some(store.commit(&change).await?.checkpoint().clone());
        commits.push(start.elapsed());
    }
    let statements = statements_sent() - began;
    println!(
        "{:26} {:.1} statements a batch, to load and to commit it; on a server each is a round trip",
        "",
        statements as f64 / batches.max(1) as f64
    );
    let half = commits.len() / 2;
    for (name, range) in [
        ("first half", 0..half),
        ("second half", half..commits.len()),
    ] {
        let spent: Duration = commits[range.clone()].iter().sum();
        let rows: usize = rows[range.clone()].iter().sum();
        report(
            name,
            &mut commits[range.clone()].to_vec(),
            rows as f64 / spent.as_secs_f64(),
        );
        let spent: Duration = loads[range.clone()].iter().sum();
        println!(
            "{:26} load {:7.2} ms",
            "",
            spent.as_secs_f64() * 1e3 / range.len() as f64
        );
    }
    let mut singles = Vec::new();
    for i in 0..500 {
        let change = change(batches * CALLS + i, 1, batches + i, expected);
        let start = Instant::now();
        expected = Some(store.commit(&change).await?.checkpoint().clone());
        singles.push(start.elapsed());
    }
    let spent: Duration = singles.iter().sum();
    report("one call", &mut singles, 500.0 / spent.as_secs_f64());
    let wrong = store.check_invariant().await?;
    anyhow::ensure!(wrong.is_empty(), "{wrong:?}");
    store.close().await;
    println!(
        "{:26} peak memory {} MB, processor {} s",
        "",
        peak_mib(),
        cpu_seconds()
    );
    Ok(())
}

/// The most memory that this process has used, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Seconds of processor time of this process, its own and the kernel's for it.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<f64> = after
        .split_whitespace()
        .filter_map(|f| f.parse().ok())
        .collect();
    // The letter of the state is no number; user and system time are 14 and 15 of all.
    fields
        .get(10..12)
        .map_or(0.0, |times| times.iter().sum::<f64>() / 100.0)
}

/// The calls and dials of the same batches by the server's fastest way, into bare
/// tables without keys.
async fn bare(url: &str, batches: u64) -> anyhow::Result<()> {
    let mut spent = Duration::ZERO;
    if url.starts_with("postgres") {
        let mut connection = sqlx::PgConnection::connect(url).await?;
        sqlx::raw_sql(
            "DROP TABLE IF EXISTS bare; CREATE TABLE bare (LIKE call_records INCLUDING DEFAULTS)",
        )
        .execute(&mut connection)
        .await?;
        for batch in 0..batches {
            let text = lines(&change(batch * CALLS / 2, CALLS, batch, None), "\t", "\n");
            let start = Instant::now();
            let copy = format!("COPY bare ({BARE}) FROM STDIN");
            let mut copy = connection.copy_in_raw(&copy).await?;
            copy.send(text.as_bytes()).await?;
            copy.finish().await?;
            spent += start.elapsed();
        }
        sqlx::raw_sql("DROP TABLE bare")
            .execute(&mut connection)
            .await?;
    } else {
        let mut connection = sqlx::MySqlConnection::connect(url).await?;
        let make =
            "DROP TABLE IF EXISTS bare; CREATE TABLE bare AS SELECT * FROM call_records LIMIT 0";
        sqlx::raw_sql(make).execute(&mut connection).await?;
        for batch in 0..batches {
            let text = lines(
                &change(batch * CALLS / 2, CALLS, batch, None),
                "','",
                "'),('",
            );
            let text = text.trim_end_matches("'),('");
            let insert = format!("INSERT INTO bare ({BARE}) VALUES ('{text}')");
            let start = Instant::now();
            sqlx::raw_sql(sqlx::AssertSqlSafe(insert))
                .execute(&mut connection)
                .await?;
            spent += start.elapsed();
        }
        sqlx::raw_sql("DROP TABLE bare")
            .execute(&mut connection)
            .await?;
    }
    told(batches, spent);
    Ok(())
}

/// The same into SQLite: one prepared statement, one transaction a batch.
fn bare_in_file(path: &Path, batches: u64) -> anyhow::Result<()> {
    let mut spent = Duration::ZERO;
    let mut connection = rusqlite::Connection::open(path)?;
    connection.execute_batch("CREATE TABLE bare AS SELECT * FROM call_records LIMIT 0")?;
    let places = vec!["?"; BARE.split(',').count()].join(", ");
    for batch in 0..batches {
        let text = lines(&change(batch * CALLS / 2, CALLS, batch, None), "\t", "\n");
        let start = Instant::now();
        let transaction = connection.transaction()?;
        let insert = format!("INSERT INTO bare ({BARE}) VALUES ({places})");
        let mut insert = transaction.prepare_cached(&insert)?;
        for line in text.lines() {
            insert.execute(rusqlite::params_from_iter(line.split('\t')))?;
        }
        drop(insert);
        transaction.commit()?;
        spent += start.elapsed();
    }
    connection.execute_batch("DROP TABLE bare")?;
    told(batches, spent);
    Ok(())
}

fn told(batches: u64, spent: Duration) {
    let per_second = (batches * CALLS) as f64 / spent.as_secs_f64();
    println!("bare bulk    {per_second:9.0} call rows/s, no keys, no numbers, no position");
}

/// The columns of the bare load.
const BARE: &str = "id, tenant_id, source, uniqueid, lead_id, opened_at, caller_code, did_id, phone_number, \
     campaign_id, agent_id, list_id, disposition, counted, term_reason, started_at, day, updated_at";

/// The calls of a change as text.
fn lines(change: &ChangeSet, between: &str, end: &str) -> String {
    let mut text = String::new();
    for (n, (key, call)) in change.calls.iter().enumerate() {
        let code = call.caller_code.as_deref().unwrap_or_default();
        let (counted, list) = (u8::from(call.counted), call.list_id.unwrap_or_default());
        let cells = [
            n.to_string(),
            "1".to_owned(),
            "main".to_owned(),
            key.uniqueid.clone(),
            key.lead_id.to_string(),
            call.opened_at.to_string(),
            code.to_owned(),
            "1".to_owned(),
            call.phone_number.clone(),
            call.campaign_id.clone(),
            call.agent_id.clone(),
            list.to_string(),
            call.disposition.clone(),
            counted.to_string(),
            call.term_reason.clone(),
            call.started_at.to_string(),
            call.day.clone(),
            call.updated_at.to_string(),
        ];
        text.push_str(&cells.join(between));
        text.push_str(end);
    }
    text
}

fn report(name: &str, times: &mut [Duration], rows_per_second: f64) {
    times.sort();
    let ms = |at: usize| times[at.min(times.len() - 1)].as_secs_f64() * 1e3;
    println!(
        "{name:12} {rows_per_second:9.0} rows/s, commit median {:7.2} ms, 99 % {:7.2} ms",
        ms(times.len() / 2),
        ms(times.len() * 99 / 100),
    );
}

fn rows_of(change: &ChangeSet) -> usize {
    change.calls.len()
        + change.dials.len()
        + change.stats.len()
        + change.daily.len()
        + change.audit.len()
}

/// What a daemon would ask for, whose rows name their times.
fn keys(change: &ChangeSet) -> Keys {
    let times = || change.calls.values().map(|call| call.started_at);
    let around = |seconds: i64| Some((times().min()? - seconds, times().max()? + seconds));
    Keys {
        uniqueids: change.calls.keys().map(|k| k.uniqueid.clone()).collect(),
        caller_codes: change.dials.keys().map(|k| k.caller_code.clone()).collect(),
        lead_ids: change.calls.keys().map(|k| k.lead_id).collect(),
        lead_times: around(4 * 3600),
        code_times: around(24 * 3600),
        dids: change.stats.keys().cloned().collect(),
        ..Keys::default()
    }
}

/// Leads in no order, as a hopper deals them.
fn lead(n: u64) -> u64 {
    n.wrapping_mul(2_654_435_761) % 10_000_000
}

/// The first state of a call has no disposition; the second counts.
fn call(n: u64, last: bool) -> (CallKey, Call) {
    let at = EPOCH + i64::try_from(n / 10).unwrap_or(0);
    let key = CallKey {
        uniqueid: format!("{at}.{n}"),
        lead_id: lead(n),
    };
    let outcome = Outcome::ALL[usize::try_from(n % 8).unwrap_or(0)];
    let call = Call {
        caller_code: Some(format!("V{:09}{:010}", n % 1_000_000_000, lead(n))),
        did: Some(format!("+1202555{:04}", n % DIDS)),
        attribution: Attribution::CallerCode,
        phone_number: format!("+1305{:07}", n % 10_000_000),
        campaign_id: ["SALES", "RENEW", "SURVEY"][usize::try_from(n % 3).unwrap_or(0)].to_owned(),
        agent_id: "VDAD".to_owned(),
        list_id: Some(101),
        disposition: if last { "NA" } else { "" }.to_owned(),
        outcome,
        counted: last,
        duration_seconds: last.then_some(17),
        term_reason: "CALLER".to_owned(),
        hangup_cause: Some(16),
        sip_code: Some(200),
        sip_reason: "OK".to_owned(),
        called_count: Some(3),
        opened_at: at,
        started_at: at,
        ended_at: last.then_some(at + 17),
        day: "2025-11-12".to_owned(),
        updated_at: at + 18,
        ..Call::default()
    };
    (key, call)
}

fn dial(n: u64, last: bool) -> (DialKey, Dial) {
    let (key, call) = call(n, last);
    let dial = Dial {
        lead_id: Some(key.lead_id),
        did: call.did,
        dialed_at: call.started_at,
        day: call.day,
        counted: true,
        uniqueid: last.then_some(key.uniqueid),
        dial_status: if last { "ANSWER" } else { "" }.to_owned(),
        hangup_cause: last.then_some(16),
        sip_code: last.then_some(200),
        sip_reason: String::new(),
        ..Dial::default()
    };
    let caller_code = call.caller_code.unwrap_or_default();
    (
        DialKey {
            caller_code,
            opened_at: call.started_at,
        },
        dial,
    )
}

/// Calls `from..from + count`: the first half counts now, the second is new.
fn change(from: u64, count: u64, nth: u64, expected: Option<Checkpoint>) -> ChangeSet {
    let file = didtail::binlog::BinlogFile::new("mysql-bin.000001").expect("a valid name");
    let position = didtail::binlog::Position {
        file,
        next: 4 + nth,
    };
    let mut change = ChangeSet {
        source: "main".to_owned(),
        tenant: "default".to_owned(),
        moved: BTreeMap::new(),
        replaced: BTreeSet::new(),
        calls: BTreeMap::new(),
        dials: BTreeMap::new(),
        stats: BTreeMap::new(),
        daily: BTreeMap::new(),
        audit: Vec::new(),
        history: BTreeMap::new(),
        statuses: None,
        landmarks: Vec::new(),
        posted: std::collections::BTreeSet::new(),
        expected,
        fencing_token: None,
        checkpoint: Checkpoint {
            server: None,
            file_begun: None,
            epoch: 1,
            position,
            gtid: format!("0-1-{nth}").parse().unwrap_or_default(),
            event_time: Some(EPOCH),
            revision: 0,
        },
    };
    for n in from..from + count {
        let last = n < from + count.div_ceil(2);
        let ((call_key, call), (dial_key, dial)) = (call(n, last), dial(n, last));
        if let Some(added) = call.contribution() {
            add(&mut change, &added);
        }
        // A dial counts from its first row on; the first batch has no rows before it.
        if let Some(added) = dial
            .contribution()
            .filter(|_| !last || nth == 0 || count == 1)
        {
            add(&mut change, &added);
        }
        change.audit.push(AuditEntry {
            event: format!("mysql-bin.000001:{}/0@{EPOCH}", n * 1000 + u64::from(last)),
            key: call_key.clone(),
            old: String::new(),
            new: call.disposition.clone(),
            did: call.did.clone(),
            at: call.updated_at,
        });
        for subject in [
            Subject::Call(call_key.clone()),
            Subject::Dial(dial_key.clone()),
        ] {
            let entry = entry(n, last);
            change.history.entry(subject).or_default().push(entry);
        }
        change.calls.insert(call_key, call);
        change.dials.insert(dial_key, dial);
    }
    change
}

/// The first change of a call replaces nothing, the second what a hang-up does.
fn entry(n: u64, last: bool) -> ChangeEntry {
    let was = serde_json::json!({
        "disposition": "", "counted": false, "duration_seconds": null, "ended_at": null,
    });
    ChangeEntry {
        event: format!("mysql-bin.000001:{}/0@{EPOCH}", n * 1000 + u64::from(last)),
        table: "vicidial_log".to_owned(),
        was: was.as_object().filter(|_| last).cloned(),
        left: None,
    }
}

fn add(change: &mut ChangeSet, added: &Contribution) {
    let stat = change.stats.entry(added.did.clone()).or_default();
    stat.counters += added.counters;
    if added.counters.dials == 0 {
        stat.last_call_at = stat.last_call_at.max(Some(added.at));
    } else {
        stat.last_dial_at = stat.last_dial_at.max(Some(added.at));
    }
    let key = DailyKey {
        did: added.did.clone(),
        day: added.day.clone(),
        campaign_id: added.campaign_id.clone(),
    };
    *change.daily.entry(key).or_default() += added.counters;
}

//! PostgreSQL's partitions under the daemon's role: made for what comes, dropped
//! when nobody needs them; and look-ups that read no table whole, on every server.

use didtail::ledger::{Aged, CallKey, ChangeSet, Keys};
use didtail::store::{Prune, SqlStore, Store as _, Swept, Trail};

use super::conformance::change::{
    SOURCE, TENANT, answered, checkpoint, dial_key, dialed, empty, honest,
};
use crate::support::{Server, wait_until};

const DAY: i64 = 86_400;
const ROLE: &str = "didtail_partitions";

/// What MySQL has read of tables and indexes beside looking up a key.
const ROWS_READ: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN \
     ('Handler_read_rnd_next', 'Handler_read_next', 'Handler_read_prev')";

/// One store on a server of its own.
struct Parted {
    server: Server,
    database: &'static str,
    /// Where the store is.
    url: String,
    store: SqlStore,
    now: i64,
}

impl Parted {
    async fn new(kind: &'static str, name: &str, database: &'static str) -> Self {
        Self::with(kind, name, database, &[]).await
    }

    async fn with(
        kind: &'static str,
        name: &str,
        database: &'static str,
        options: &[&str],
    ) -> Self {
        let server = Server::of_kind(kind, name, options);
        let url = server.store_url(database);
        let owner = SqlStore::open(&url).await.expect("a store");
        owner.close().await;
        let now = server.sql(match kind {
            "postgres" => "SELECT extract(epoch FROM now())::bigint",
            _ => "SELECT unix_timestamp()",
        });
        let store = SqlStore::open(&url).await.expect("the same store");
        Self {
            now: now.trim().parse().expect("seconds"),
            server,
            database,
            url,
            store,
        }
    }

    /// The same as the role that the schema's README describes.
    async fn under_the_daemons_role(name: &str, database: &'static str) -> Self {
        let mut parted = Self::new("postgres", name, database).await;
        parted.store.close().await;
        parted.sql(&format!(
            "CREATE ROLE {ROLE} LOGIN PASSWORD 'pw'; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {ROLE}; \
             GRANT EXECUTE ON FUNCTION didtail_partition(TEXT, BIGINT), \
             didtail_drop_partitions(TEXT, BIGINT, BIGINT) TO {ROLE}"
        ));
        let port = parted.server.port();
        let url = format!("postgres://{ROLE}:pw@127.0.0.1:{port}/{database}?sslmode=disable");
        parted.store = SqlStore::open(&url).await.expect("a store");
        parted
    }

    fn sql(&self, statements: &str) -> String {
        self.server.sql_in(self.database, statements)
    }

    /// The partitions of a table that have rows, and the default one if it has.
    fn filled(&self, table: &str) -> Vec<String> {
        let rows = self.sql(&format!(
            "SELECT tableoid::regclass, count(*) FROM {table} GROUP BY 1 ORDER BY 1"
        ));
        let names = rows.lines().filter_map(|line| line.split('\t').next());
        names.map(str::to_owned).collect()
    }

    fn count(&self, table: &str) -> usize {
        let rows = self.sql(&format!("SELECT count(*) FROM {table}"));
        rows.trim().parse().expect("a number")
    }

    async fn put(&self, mut change: ChangeSet, source: &str) {
        let dump = self.store.dump().await.expect("reads");
        source.clone_into(&mut change.source);
        change.expected = dump.progress.get(source).cloned();
        let next = change.expected.as_ref().map_or(0, |at| at.position.next);
        change.checkpoint = checkpoint(next);
        let change = honest(&dump, change);
        self.store.commit(&change).await.expect("commits");
    }

    async fn sweep(&self, source: &str, aged: Aged, before: i64) -> Swept {
        let expected = self.store.progress(source).await.expect("answers");
        let prune = Prune {
            source,
            tenant: TENANT,
            expected: &expected.expect("it was followed"),
            fencing_token: None,
            aged,
            before,
            rows_max: 100,
        };
        self.store.sweep(&prune).await.expect("deletes")
    }
}

/// A call and its dial, with an audit entry.
fn add(change: &mut ChangeSet, at: i64, lead_id: u64) {
    let key = CallKey {
        uniqueid: format!("{at}.{lead_id}"),
        lead_id,
    };
    let mut call = answered("+1", at);
    call.opened_at = key.opened_at(at);
    let code = format!("V{lead_id}");
    call.caller_code = Some(code.clone());
    let mut entry = super::conformance::entry(&format!("{at}/{lead_id}"), at);
    entry.key = key.clone();
    change.audit.push(entry);
    change.calls.insert(key, call);
    change
        .dials
        .insert(dial_key(&code, at), dialed("+1", lead_id, at));
}

#[tokio::test]
async fn partitions_are_made_for_what_comes_and_dropped_when_nobody_needs_them() {
    let parted = Parted::under_the_daemons_role("partitions", "parted").await;
    let old = parted.now - 100 * DAY;
    let times = [old, parted.now - 40 * DAY, parted.now];
    for source in [SOURCE, "second"] {
        let mut change = empty(&parted.store.dump().await.expect("reads"));
        for (lead_id, at) in (1..).zip(times) {
            add(&mut change, at, lead_id);
        }
        parted.put(change, source).await;
    }
    // A clock that showed nonsense.
    let mut change = empty(&parted.store.dump().await.expect("reads"));
    add(&mut change, 5, 9);
    parted.put(change, SOURCE).await;
    for table in ["call_records", "dials", "audit_log"] {
        let filled = parted.filled(table);
        assert!(filled.len() >= 4, "{filled:?}");
        assert_eq!(parted.count(&format!("{table}_default")), 1);
    }

    let before = parted.store.dump().await.expect("reads");
    for (aged, table) in [(Aged::Calls, "call_records"), (Aged::Dials, "dials")] {
        let all = parted.filled(table).len();
        let limit = parted.now - 60 * DAY;
        // The other source has not given anything up; but what is in no month goes.
        let swept = parted.sweep(SOURCE, aged, limit).await;
        assert_eq!((swept.rows, swept.partitions), (1, 0));
        assert_eq!(swept.pruned.before(aged), Some(limit));
        assert_eq!(parted.filled(table).len(), all - 1);
        let swept = parted.sweep("second", aged, limit).await;
        assert_eq!((swept.rows, swept.partitions), (0, 1));
        assert_eq!(parted.filled(table).len(), all - 2);
        assert_eq!(parted.count(table), 4);
    }
    let pruned = parted
        .store
        .prune(TENANT, Trail::Audit, parted.now - 92 * DAY, 100);
    assert_eq!(pruned.await.expect("prunes"), 1);
    assert_eq!(parted.count("audit_log"), 4);

    let after = parted.store.dump().await.expect("reads");
    assert_eq!((&after.dids, &after.daily), (&before.dids, &before.daily));
    // What is loaded again gets its partition again.
    let mut change = empty(&after);
    add(&mut change, old, 20);
    parted.put(change, SOURCE).await;
    assert_eq!(parted.count("call_records_default"), 0);

    // Made before their time.
    let names = "SELECT count(*) FROM pg_class WHERE relname = 'change_history_p' || \
         to_char(date_trunc('week', now() AT TIME ZONE 'UTC' + INTERVAL '8 days'), 'YYYYMMDD')";
    assert_eq!(parted.sql(names).trim(), "1");
    parted.store.close().await;
}

/// While a partition cannot be made, nothing is refused; later its rows move there.
#[tokio::test]
async fn rows_wait_in_the_default_partition() {
    let parted = Parted::under_the_daemons_role("partitions-late", "late").await;
    let revoked = format!("REVOKE EXECUTE ON FUNCTION didtail_partition(TEXT, BIGINT) FROM {ROLE}");
    parted.sql(&revoked);
    let mut change = empty(&parted.store.dump().await.expect("reads"));
    add(&mut change, parted.now, 1);
    parted.put(change, SOURCE).await;
    assert_eq!(parted.filled("call_records"), ["call_records_default"]);
    let before = parted.store.dump().await.expect("reads");
    parted.sql("SELECT didtail_partition('call_records', extract(epoch FROM now())::bigint)");
    assert_eq!(parted.count("call_records_default"), 0);
    assert_eq!(parted.count("call_records"), 1);
    assert_eq!(parted.store.dump().await.expect("reads"), before);
    parted.sql(
        "DO $$ BEGIN PERFORM didtail_partition('tenants', 0); RAISE 'it was made'; \
         EXCEPTION WHEN raise_exception THEN \
         IF SQLERRM NOT LIKE 'no table of didtail%' THEN RAISE; END IF; END $$",
    );
    parted.store.close().await;
}

/// Months of calls, of which a batch is about those of two days.
async fn fill(parted: &Parted) {
    for month in 0..6 {
        let mut change = empty(&parted.store.dump().await.expect("reads"));
        for n in 0..400_u64 {
            let at = parted.now - month * 31 * DAY - i64::try_from(n).expect("small");
            add(
                &mut change,
                at,
                u64::try_from(month).expect("small") * 1000 + n,
            );
        }
        parted.put(change, SOURCE).await;
    }
}

/// What a batch asks for and writes, of today.
async fn work(parted: &Parted) {
    let at = parted.now;
    let keys = Keys {
        uniqueids: [format!("{at}.0"), format!("{}.1", at - 1)].into(),
        caller_codes: ["V0".to_owned(), "V1".to_owned()].into(),
        code_times: Some((at - DAY, at + DAY)),
        lead_ids: [0, 1].into(),
        lead_times: Some((at - 3600, at)),
        ..Keys::default()
    };
    let loaded = parted
        .store
        .load(SOURCE, TENANT, &keys)
        .await
        .expect("loads");
    assert_eq!((loaded.calls.len(), loaded.dials.len()), (2, 2));
    let expected = parted.store.progress(SOURCE).await.expect("answers");
    let mut change = empty(&didtail::store::Dump::default());
    change.checkpoint = checkpoint(expected.as_ref().expect("one").position.next);
    change.expected = expected;
    for (n, (key, call)) in (0..).zip(loaded.calls) {
        let new = CallKey {
            uniqueid: format!("{}.90{n}", at + 5),
            lead_id: key.lead_id,
        };
        change.calls.insert(new.clone(), call);
        change.moved.insert(key, new);
    }
    parted.store.commit(&change).await.expect("commits");
    let swept = parted.sweep(SOURCE, Aged::Dials, at - 400 * DAY).await;
    assert_eq!((swept.rows, swept.partitions), (0, 0));
}

/// Scans of PostgreSQL by table: those of it whole, and those by an index.
fn scans(parted: &Parted, table: &str) -> Vec<(String, u64, u64)> {
    let rows = parted.sql(&format!(
        "SELECT relname, seq_scan, idx_scan FROM pg_stat_user_tables \
         WHERE relname LIKE '{table}\\_p%' ORDER BY relname DESC"
    ));
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).expect("a number");
    let row = |line: &str| {
        let mut cells = line.split('\t');
        let name = cells.next().expect("a name").to_owned();
        (name, number(cells.next()), number(cells.next()))
    };
    rows.lines().map(row).collect()
}

#[tokio::test]
async fn postgres_looks_into_the_months_that_are_meant_and_reads_none_whole() {
    let mut parted = Parted::new("postgres", "partitions-looked", "looked").await;
    fill(&parted).await;
    parted.store.close().await;
    parted.sql("ANALYZE");
    parted.sql("SELECT pg_stat_reset()");
    parted.store = SqlStore::open(&parted.url).await.expect("a store");
    work(&parted).await;
    // A session tells its statistics when it ends.
    parted.store.close().await;
    for table in ["call_records", "dials"] {
        let scans = wait_until("the statistics are there", || {
            let scans = scans(&parted, table);
            let looked = scans.iter().any(|(_, _, by_index)| *by_index > 0);
            looked.then_some(scans)
        });
        assert!(scans.len() >= 6, "{scans:?}");
        for (number, (name, whole, by_index)) in scans.iter().enumerate() {
            assert_eq!(*whole, 0, "{name} is read whole: {scans:?}");
            // Those of soon, of this month and of the month before it.
            if number > 3 {
                assert!(*by_index <= 1, "{name} is looked into: {scans:?}");
            }
        }
    }
}

async fn mysql_reads_none_whole(kind: &'static str) {
    let parted = Parted::new(kind, &format!("looked-{kind}"), "looked").await;
    fill(&parted).await;
    parted
        .server
        .sql("USE looked; ANALYZE TABLE call_records, dials, change_history, dids");
    let read = || -> u64 {
        let rows = parted.server.sql(ROWS_READ);
        let number = |line: &str| line.split('\t').nth(1).and_then(|n| n.parse::<u64>().ok());
        rows.lines().filter_map(number).sum()
    };
    let asking = {
        let before = read();
        read() - before
    };
    let before = read();
    work(&parted).await;
    let rows = read() - before - asking;
    assert!(rows < 1000, "{rows} rows were read of tables of 2400");
    parted.store.close().await;
}

#[tokio::test]
async fn mariadb_reads_no_table_whole() {
    mysql_reads_none_whole("mariadb-10.11").await;
}

#[tokio::test]
async fn mysql_reads_no_table_whole() {
    mysql_reads_none_whole("mysql-9").await;
}

/// Rows of a table that the server thinks is small, because it has not counted it since.
async fn is_looked_into_while_it_fills_up(kind: &'static str) {
    const ROWS: u64 = 4000;
    const ASKED: u64 = 200;
    let is_postgres = kind == "postgres";
    let options: &[&str] = if is_postgres {
        &["-c", "autovacuum=off"]
    } else {
        &["--innodb-stats-auto-recalc=0"]
    };
    let mut parted = Parted::with(kind, &format!("fills-{kind}"), "fills", options).await;
    let mut change = empty(&parted.store.dump().await.expect("reads"));
    for lead_id in 0..ROWS {
        let at = parted.now - i64::try_from(lead_id % 3600).expect("small");
        add(&mut change, at, lead_id);
    }
    let asked: Vec<_> = change
        .calls
        .keys()
        .filter(|key| key.lead_id % (ROWS / ASKED) == 0)
        .cloned()
        .collect();
    parted.put(change, SOURCE).await;
    parted.store.close().await;
    let read = |parted: &Parted| -> u64 {
        if is_postgres {
            // A session tells its statistics when it ends.
            wait_until("the sessions have ended", || {
                let sessions = "SELECT count(*) FROM pg_stat_activity \
                     WHERE datname = 'fills' AND pid <> pg_backend_pid()";
                (parted.sql(sessions).trim() == "0").then_some(())
            });
        }
        let rows = if is_postgres {
            parted.sql(
                "SELECT 'rows', sum(idx_tup_read)::bigint FROM pg_stat_user_indexes \
                 WHERE relname LIKE 'call_records%' OR relname LIKE 'dials%'",
            )
        } else {
            parted.server.sql(ROWS_READ)
        };
        let number = |line: &str| line.split('\t').nth(1).and_then(|n| n.parse::<u64>().ok());
        rows.lines().filter_map(number).sum()
    };
    let before = read(&parted);
    let asking = read(&parted) - before;
    parted.store = SqlStore::open(&parted.url).await.expect("a store");
    let now = parted.now;
    let keys = Keys {
        uniqueids: asked.iter().map(|key| key.uniqueid.clone()).collect(),
        caller_codes: asked
            .iter()
            .map(|key| format!("V{}", key.lead_id))
            .collect(),
        code_times: Some((now - DAY, now + DAY)),
        lead_ids: asked.iter().map(|key| key.lead_id).collect(),
        lead_times: Some((now - 3600, now)),
        ..Keys::default()
    };
    let loaded = parted.store.load(SOURCE, TENANT, &keys).await;
    let loaded = loaded.expect("loads");
    let found = u64::try_from(loaded.calls.len()).expect("small");
    assert_eq!(found, ASKED);
    // A session of PostgreSQL tells its statistics when it ends.
    parted.store.close().await;
    let read = wait_until("the statistics are there", || {
        let read = read(&parted) - before - asking;
        (read >= ASKED).then_some(read)
    });
    // Five questions; each row is met once by each, and its neighbour.
    assert!(
        read <= 10 * ASKED + 1000,
        "{read} rows were read for {ASKED}"
    );
}

#[tokio::test]
async fn postgres_looks_into_a_table_that_fills_up() {
    is_looked_into_while_it_fills_up("postgres").await;
}

#[tokio::test]
async fn mariadb_looks_into_a_table_that_fills_up() {
    is_looked_into_while_it_fills_up("mariadb-11.8").await;
}

#[tokio::test]
async fn mysql_looks_into_a_table_that_fills_up() {
    is_looked_into_while_it_fills_up("mysql-9").await;
}

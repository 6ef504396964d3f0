//! What VICIdial's nightly jobs do to the tables while calls go on: archiving,
//! wiping, rebuilding, and marking rows as exported.
//!
//! An archiver copies a row when it first sees it and deletes it later, so the
//! archive may have an older state than the row had at its end. What a table
//! lost is therefore kept, as it was, in a table that only `truth` reads.

use anyhow::Result;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::database::Target;
use crate::random::Random;
use crate::world::World;

/// The tables that archivers take rows from, and by which columns the same row
/// is told when it comes again.
const ARCHIVED: [(&str, &str); 5] = [
    ("vicidial_log", "uniqueid, lead_id"),
    ("vicidial_log_extended", "uniqueid"),
    ("vicidial_dial_log", ""),
    ("vicidial_dial_cid_log", ""),
    ("vicidial_carrier_log", "uniqueid"),
];

/// Tables in memory, which a server empties when it starts.
const MEMORY: [&str; 4] = [
    "vicidial_auto_calls",
    "vicidial_hopper",
    "live_channels",
    "server_updater",
];

/// Where the rows are kept that an archiver took from a table.
pub fn kept_name(table: &str) -> String {
    format!("simulator_kept_{}", table.trim_start_matches("vicidial_"))
}

/// Makes the archives and the tables for what they take.
pub async fn prepare(conn: &mut Conn) -> Result<()> {
    for (table, key) in ARCHIVED {
        let kept = kept_name(table);
        conn.query_drop(format!(
            "CREATE TABLE IF NOT EXISTS {table}_archive LIKE {table}"
        ))
        .await?;
        let made: Option<u8> = conn
            .query_first(format!(
                "SELECT 1 FROM information_schema.tables WHERE table_schema=DATABASE() AND table_name='{kept}'"
            ))
            .await?;
        if made.is_some() {
            continue;
        }
        conn.query_drop(format!("CREATE TABLE {kept} LIKE {table}"))
            .await?;
        if key.contains(',') {
            // Two leads' calls may have had one uniqueid, one after the other.
            conn.query_drop(format!(
                "ALTER TABLE {kept} DROP PRIMARY KEY, ADD PRIMARY KEY ({key})"
            ))
            .await?;
        }
    }
    Ok(())
}

/// A job that runs beside the calls.
#[derive(Clone, Copy, Debug)]
pub enum Job {
    /// `ADMIN_archive_log_tables.pl --daily`: rows of more than a day ago leave
    /// every log but the calls'.
    Archive,
    /// `--vlog-daily`: also the calls' own.
    ArchiveCalls,
    /// An administrator's TRUNCATE.
    Wipe,
    /// `AST_DB_optimize.pl`.
    Optimize,
    /// `AST_call_log_export.pl:494`: rows are marked, no status changes.
    Export,
    /// An administrator corrects a campaign's status over some hours by hand.
    MassEdit,
    /// What a server writes into its binlog after a restart.
    EmptyMemory,
    /// An administrator adds a status to a campaign.
    NewStatus,
    /// An administrator adds a column to the calls.
    NewColumn,
    /// An administrator sets another format of the binlog, for sessions to come.
    Format(Format),
}

impl Job {
    /// Whether rows that it takes are gone from their table.
    pub fn takes_rows_away(self) -> bool {
        match self {
            Self::Archive | Self::ArchiveCalls | Self::Wipe => true,
            Self::Optimize
            | Self::Export
            | Self::MassEdit
            | Self::EmptyMemory
            | Self::NewStatus
            | Self::NewColumn
            | Self::Format(_) => false,
        }
    }
}

/// A server's `binlog_format`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Format {
    Row,
    Mixed,
    Statement,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Row => "ROW",
            Self::Mixed => "MIXED",
            Self::Statement => "STATEMENT",
        }
    }
}

/// Rows of one export.
const EXPORTED_MAX: u32 = 2000;

/// When an administrator adds a status, in percent of the calls.
pub const NEW_STATUS_PERCENT: u64 = 40;
/// The status, and the campaign that has it.
pub const NEW_STATUS: (&str, &str) = ("UPSELL", "SALESEST");

/// Which jobs run before which call, over so many calls.
pub fn schedule(seed: u64, calls: u64, days: u64) -> Vec<(u64, Job)> {
    let mut random = Random::for_call(seed, u64::MAX - 2);
    let mut jobs = Vec::new();
    let mut place = |low: u64, high: u64| calls * random.between(low, high) / 100;
    for day in 1..=days.max(2) {
        let night = calls * day / days.max(2);
        jobs.push((night, Job::Archive));
        jobs.push((night, Job::Optimize));
    }
    jobs.push((place(40, 70), Job::ArchiveCalls));
    if place(1, 100) > calls / 2 {
        jobs.push((place(20, 80), Job::Wipe));
    }
    jobs.push((place(10, 50), Job::EmptyMemory));
    jobs.push((calls * NEW_STATUS_PERCENT / 100, Job::NewStatus));
    if place(1, 100) > calls / 2 {
        jobs.push((place(10, 90), Job::NewColumn));
    }
    jobs.push((place(30, 90), Job::MassEdit));
    for _ in 0..3 {
        jobs.push((place(5, 95), Job::Export));
    }
    jobs.sort_by_key(|(call, _)| *call);
    jobs
}

/// Does the job at this time of the calls.
pub async fn work(conn: &mut Conn, world: &World, job: Job, now: i64) -> Result<()> {
    conn.query_drop(format!("SET timestamp={now}")).await?;
    match job {
        Job::Archive => {
            let before = world.wall(now - 86_400);
            for (table, _) in &ARCHIVED[1..] {
                archive(conn, table, &format!("call_date < '{before}'")).await?;
            }
        }
        Job::ArchiveCalls => {
            let before = world.wall(now - 86_400);
            archive(conn, "vicidial_log", &format!("call_date < '{before}'")).await?;
        }
        Job::Wipe => {
            // `--wipe-all` deletes row by row; others truncate.
            let rows = if world.seed.is_multiple_of(2) {
                ""
            } else {
                "1=1"
            };
            archive(conn, "vicidial_log", rows).await?;
        }
        Job::Optimize => {
            for (table, _) in ARCHIVED {
                conn.query_drop(format!("OPTIMIZE TABLE {table}")).await?;
            }
        }
        Job::Export => {
            let exported: Vec<String> = conn
                .query(format!("SELECT uniqueid FROM vicidial_log WHERE processed='N' and status!='INCALL' limit {EXPORTED_MAX}"))
                .await?;
            let mut names: String = exported.iter().map(|name| format!("'{name}',")).collect();
            names += "''";
            conn.query_drop(format!(
                "UPDATE vicidial_log set processed='Y' where uniqueid IN({names}) and processed='N'"
            ))
            .await?;
        }
        Job::MassEdit => {
            let (from, to) = (world.wall(now - 6 * 3600), world.wall(now));
            conn.query_drop(format!("update  vicidial_log\n   set status = 'NI'\n where campaign_id='SALESEST' and status in ('NP', 'DEC')\n   and call_date >= '{from}' and call_date<='{to}'"))
                .await?;
        }
        Job::NewStatus => {
            let (status, campaign) = NEW_STATUS;
            conn.query_drop(format!("INSERT INTO vicidial_campaign_statuses (status,status_name,selectable,campaign_id,human_answered,sale,dnc,customer_contact,completed) values('{status}','Upsell','Y','{campaign}','Y','Y','Y','Y','Y')")).await?;
        }
        Job::NewColumn => {
            let kept = kept_name("vicidial_log");
            conn.query_drop(format!(
                "LOCK TABLES vicidial_log WRITE, vicidial_log_archive WRITE, {kept} WRITE"
            ))
            .await?;
            for table in ["vicidial_log_archive", &kept, "vicidial_log"] {
                conn.query_drop(format!(
                    "ALTER TABLE {table} ADD COLUMN crm_id VARCHAR(30) default 'none'"
                ))
                .await?;
            }
            conn.query_drop("UNLOCK TABLES").await?;
        }
        Job::Format(format) => {
            let format = format.name();
            conn.query_drop(format!("SET GLOBAL binlog_format='{format}'"))
                .await?;
        }
        Job::EmptyMemory => {
            for table in MEMORY {
                conn.query_drop(format!("TRUNCATE TABLE {table} /* generated by server for memory table after a restart */")).await?;
            }
        }
    }
    Ok(())
}

/// Takes the rows of a condition, or all of them, out of a table, and says how
/// many the archive had not seen before, and how many went.
pub async fn archive(conn: &mut Conn, table: &str, condition: &str) -> Result<(u64, u64)> {
    let kept = kept_name(table);
    let condition = if condition.is_empty() {
        String::new()
    } else {
        format!(" WHERE {condition}")
    };
    // Nothing may change between the look and the deletion.
    conn.query_drop(format!(
        "LOCK TABLES {table} WRITE, {table}_archive WRITE, {kept} WRITE"
    ))
    .await?;
    conn.query_drop(format!(
        "REPLACE INTO {kept} SELECT * from {table}{condition}"
    ))
    .await?;
    conn.query_drop(format!(
        "INSERT IGNORE INTO {table}_archive SELECT * from {table}"
    ))
    .await?;
    let copied = conn.affected_rows();
    let deletion = if condition.is_empty() {
        format!("TRUNCATE TABLE {table}")
    } else {
        format!("DELETE FROM {table}{condition}")
    };
    conn.query_drop(deletion).await?;
    let deleted = conn.affected_rows();
    conn.query_drop("UNLOCK TABLES").await?;
    conn.query_drop(format!("optimize table {table}")).await?;
    conn.query_drop(format!("optimize table {table}_archive"))
        .await?;
    Ok((copied, deleted))
}

#[derive(clap::Args)]
pub struct Archive {
    #[command(flatten)]
    target: Target,
    /// Calls that began longer ago than this leave the live table
    #[arg(long, value_name = "SECONDS")]
    older_than: i64,
    /// The zone of the dialers' wall clocks
    #[arg(long, default_value = "UTC")]
    zone: String,
    /// The present, as UNIX seconds, instead of the clock's
    #[arg(long)]
    epoch: Option<i64>,
}

/// VICIdial's archiving: copy whatever is not there yet, delete the old, and
/// rebuild both tables.
pub async fn run_archive(args: Archive) -> Result<()> {
    let mut conn = args.target.connect().await?;
    prepare(&mut conn).await?;
    let before =
        World::new(0, 0, &args.zone, false)?.wall(crate::now(args.epoch) - args.older_than);
    let condition = format!("call_date < '{before}'");
    let (copied, deleted) = archive(&mut conn, "vicidial_log", &condition).await?;
    println!("copied {copied} rows to the archive and deleted {deleted}");
    conn.disconnect().await?;
    Ok(())
}

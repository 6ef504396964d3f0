//! The database the traffic goes to: made here, filled here, never one that
//! was there before.

use anyhow::{Context, Result, bail};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row};

use crate::world::{AGENTS, SERVERS};

const SCHEMA: &str = include_str!("../support/vicidial.sql");
/// Marks a database as the simulator's own.
const MARK: &str = "didtail_simulator";
/// What VICIdial's servers run with: bad ENUM members and empty dates pass.
const SQL_MODE: &str = "NO_ENGINE_SUBSTITUTION";

#[derive(Clone, clap::Args)]
pub struct Target {
    /// Where the server is, as an administrator, e.g. mysql://root@127.0.0.1:3307/
    #[arg(long)]
    pub url: String,
    /// The database
    #[arg(long, default_value = "asterisk")]
    pub database: String,
}

impl Target {
    async fn server(&self) -> Result<Conn> {
        let opts =
            Opts::from_url(&self.url).with_context(|| "the --url is not a MySQL URL".to_owned())?;
        let opts = OptsBuilder::from_opts(opts)
            .db_name(None::<String>)
            .prefer_socket(false);
        let mut conn = Conn::new(opts)
            .await
            .context("cannot connect to the server")?;
        conn.query_drop(format!(
            "SET SESSION sql_mode='{SQL_MODE}', time_zone='+00:00'"
        ))
        .await?;
        Ok(conn)
    }

    /// A session like those of VICIdial's own clients.
    pub async fn connect(&self) -> Result<Conn> {
        let mut conn = self.server().await?;
        let marked: Option<u8> = conn
            .query_first(format!(
                "SELECT 1 FROM information_schema.tables WHERE table_schema='{}' AND table_name='{MARK}'",
                self.database
            ))
            .await?;
        if marked.is_none() {
            bail!("the database {} is not one that `init` made", self.database);
        }
        conn.query_drop(format!("USE `{}`", self.database)).await?;
        let charset = if is_latin1(&mut conn).await? {
            "latin1"
        } else {
            "utf8"
        };
        conn.query_drop(format!("SET NAMES {charset}")).await?;
        Ok(conn)
    }
}

pub async fn is_latin1(conn: &mut Conn) -> Result<bool> {
    let charset: Option<String> = conn.query_first("SELECT @@character_set_database").await?;
    Ok(charset.as_deref() == Some("latin1"))
}

/// Where the server's binlog ends, as `FILE:OFFSET`.
pub async fn binlog_end(conn: &mut Conn) -> Result<String> {
    let status = match conn.query_first("SHOW BINARY LOG STATUS").await {
        Ok(status) => status,
        // MariaDB, and MySQL before 8.4.
        Err(_) => conn.query_first("SHOW MASTER STATUS").await?,
    };
    let mut row: Row = status.context("the server writes no binlog")?;
    let end: Option<(String, u64)> = row.take(0).zip(row.take(1));
    let (file, offset) = end.context("the binlog's end is no file and offset")?;
    Ok(format!("{file}:{offset}"))
}

#[derive(clap::Args)]
pub struct Init {
    #[command(flatten)]
    target: Target,
    /// The database's character set: latin1 on old installations, utf8 on newer
    #[arg(long, default_value = "latin1", value_parser = ["latin1", "utf8"])]
    charset: String,
    /// What keeps the tables: MyISAM, as VICIdial's installer has it, or InnoDB,
    /// whose groups end otherwise and which MySQL can compress
    #[arg(long, default_value = "MyISAM", value_parser = ["MyISAM", "InnoDB"])]
    engine: String,
    /// Also make a user that may read the binlog and the database, and no more
    #[arg(long, requires = "replication_password")]
    replication_user: Option<String>,
    #[arg(long)]
    replication_password: Option<String>,
}

pub async fn init(args: Init) -> Result<()> {
    let database = &args.target.database;
    let mut conn = args.target.server().await?;
    let exists: Option<u8> = conn
        .query_first(format!(
            "SELECT 1 FROM information_schema.schemata WHERE schema_name='{database}'"
        ))
        .await?;
    if exists.is_none() {
        conn.query_drop(format!(
            "CREATE DATABASE `{database}` CHARACTER SET {}",
            args.charset
        ))
        .await?;
        conn.query_drop(format!("CREATE TABLE `{database}`.{MARK} (made DATETIME)"))
            .await?;
    }
    let mut conn = args.target.connect().await?;
    // VICIdial needs its TIMESTAMP columns to follow every change. A server
    // that no longer knows the setting behaves differently, and still works.
    if let Err(error) = conn
        .query_drop("SET SESSION explicit_defaults_for_timestamp=OFF")
        .await
    {
        eprintln!("didtail-simulator: TIMESTAMP columns will not update by themselves: {error}");
    }
    conn.query_drop(SCHEMA.replace("ENGINE=MyISAM", &format!("ENGINE={}", args.engine)))
        .await
        .context("cannot make the tables")?;
    fill(&mut conn).await?;
    if let (Some(user), Some(password)) = (&args.replication_user, &args.replication_password) {
        replication_user(&mut conn, database, user, password).await?;
    }
    conn.disconnect().await?;
    Ok(())
}

/// The rows that are there before the first call: who is logged in, which
/// servers run, and a campaign's own status.
async fn fill(conn: &mut Conn) -> Result<()> {
    let filled: Option<u64> = conn
        .query_first("SELECT count(*) FROM vicidial_live_agents")
        .await?;
    if filled == Some(0) {
        let agents: Vec<String> = (6001..=6000 + AGENTS)
            .map(|user| format!("('{user}','{}','86000{}','SIP/{user}','READY','0','SALESEST','','','','1',NOW(),NOW(),'5')", SERVERS[0], user % 100))
            .collect();
        conn.query_drop(format!("INSERT INTO vicidial_live_agents (user,server_ip,conf_exten,extension,status,lead_id,campaign_id,uniqueid,callerid,channel,random_id,last_call_time,last_update_time,user_level) values{}", agents.join(","))).await?;
        conn.query_drop("INSERT INTO vicidial_campaign_stats (campaign_id) values('SALESEST'),('SALESWST'),('RENEWAL')").await?;
        conn.query_drop("INSERT INTO vicidial_campaign_statuses (status,status_name,selectable,campaign_id,human_answered,sale,customer_contact,completed) values('APPT','Appointment Made','Y','SALESEST','Y','Y','Y','Y')").await?;
        // A campaign may mean something else by a status of the system's.
        conn.query_drop("INSERT INTO vicidial_campaign_statuses (status,status_name,selectable,campaign_id,human_answered,answering_machine,dnc) values('A','Answered','Y','RENEWAL','Y','N','N'),('NP','Never again','Y','SALESWST','Y','N','Y'),('Maybe','Perhaps','Y','SALESWST','Y','N','N')").await?;
    }
    for server in SERVERS {
        conn.query_drop(format!(
            "INSERT IGNORE INTO server_updater SET server_ip='{server}',last_update=NOW()"
        ))
        .await?;
    }
    Ok(())
}

async fn replication_user(
    conn: &mut Conn,
    database: &str,
    user: &str,
    password: &str,
) -> Result<()> {
    let quote = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let account = format!("'{}'@'%'", quote(user));
    conn.query_drop(format!(
        "CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{}'",
        quote(password)
    ))
    .await?;
    // MariaDB since 10.5 has a privilege of its own for the binlog's position.
    let granted = conn
        .query_drop(format!(
            "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO {account}"
        ))
        .await;
    if granted.is_err() {
        conn.query_drop(format!(
            "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {account}"
        ))
        .await?;
    }
    conn.query_drop(format!("GRANT SELECT ON `{database}`.* TO {account}"))
        .await?;
    Ok(())
}

#[derive(clap::Args)]
pub struct Bulk {
    #[command(flatten)]
    target: Target,
    /// How many finished calls of more than 30 days ago to add
    #[arg(long)]
    rows: u64,
    /// The present, as UNIX seconds, instead of the clock's
    #[arg(long)]
    epoch: Option<i64>,
}

/// Old calls without any dial rows: only their number matters.
pub async fn bulk(args: Bulk) -> Result<()> {
    let mut conn = args.target.connect().await?;
    let first = crate::now(args.epoch) - 40 * 86_400;
    let taken: Option<u64> = conn
        .query_first("SELECT count(*) FROM vicidial_log WHERE lead_id >= 4000000000")
        .await?;
    let mut next = taken.unwrap_or(0);
    let end = next + args.rows;
    while next < end {
        let rows: Vec<String> = (next..end.min(next + 1000))
            .map(|row| {
                let start = first + i64::try_from(row % 800_000).expect("small") ;
                let status = ["NA", "NA", "NA", "A", "NI", "SALE", "AB"][(row % 7) as usize];
                format!("('{start}.{row}','{}','101','SALESEST',FROM_UNIXTIME({start}),'{start}','{}','{}','{status}','1','217555{:04}','VDAD','','N','','NONE','MAIN','1')", 4_000_000_000 + row, start + 5, 5, 1000 + row % 9000)
            })
            .collect();
        conn.query_drop(format!(
            "INSERT INTO vicidial_log VALUES {}",
            rows.join(",")
        ))
        .await?;
        next += rows.len() as u64;
    }
    println!("added {} rows", args.rows);
    conn.disconnect().await?;
    Ok(())
}

//! What is true about the calls, asked of the source database alone: an
//! administrator's answer by SQL, which the product must agree with. Nothing
//! here knows what the simulator meant to write, or how didtail counts; the
//! definitions are those of the README, "How the numbers are defined".

use std::path::PathBuf;

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value as Cell};
use serde_json::{Map, Value, json};

use crate::clock::Offsets;
use crate::database::Target;
use crate::upkeep::kept_name;

#[derive(clap::Args)]
pub struct Truth {
    #[command(flatten)]
    target: Target,
    /// The JSON file to write
    #[arg(long)]
    out: PathBuf,
    /// The zone of the dialers' wall clocks, which makes the days
    #[arg(long, default_value = "UTC")]
    zone: String,
    /// The dispositions that are a success
    #[arg(long, value_delimiter = ',', default_value = "SALE,A")]
    success: Vec<String>,
}

/// A caller code means the dial that bears it, within a day: it has no year.
const CODE_WINDOW: u32 = 86_400;
/// A call without a code is of its lead's newest dial in this time before it.
const LEAD_WINDOW: u32 = 4 * 3600;

/// The number between the brackets of an outbound_cid, or NULL.
const BRACKETED: &str = "IF(outbound_cid LIKE '%<%>', NULLIF(SUBSTRING_INDEX(SUBSTRING_INDEX(outbound_cid,'<',-1),'>',1),''), NULL)";

/// The class of a status by its name and flags, before the carrier's answer.
/// RAXFER is in no table that VICIdial ships, and always a person's.
const CLASS: &str = "CASE
    WHEN status IN ('AA','AM','AL','AFAX','UNKAM','UNKAL','AMDXFR','ADAIR') THEN 'machine'
    WHEN status IN ('NA','N','CPDNA','HUC18','HUC19') THEN 'no_answer'
    WHEN status IN ('AB','B','CPDB','CPDATB','HUC17') THEN 'busy'
    WHEN status IN ('DROP','XDROP','PDROP','SRDROP','KPDROP','TIMEOT','AFTHRS','NANQUE','IQNANQ','MAXCAL') THEN 'dropped'
    WHEN status IN ('ADC','ADCT','DC','ADCCAR','DNCCAR','LRERR','ERI','DISMX') OR status LIKE 'CPD%' OR status LIKE 'HUC%' THEN 'failed'
    WHEN is_machine = 'Y' THEN 'machine'
    WHEN is_human = 'Y' OR (is_human IS NULL AND status = 'RAXFER') THEN 'answered'
    ELSE 'other' END";

/// Refused as spam, by the carrier log.
const REFUSED: &str = "(sip_code IN (607,608) OR hangup_cause=21 OR (sip_code=603 AND sip_reason LIKE '%Network Blocked%'))";

/// The counters that calls make, and what each adds up.
const COUNTERS: [(&str, &str); 12] = [
    ("total_calls", "1"),
    ("successful_calls", "successful"),
    ("answered", "outcome='answered'"),
    ("machine", "outcome='machine'"),
    ("no_answer", "outcome='no_answer'"),
    ("busy", "outcome='busy'"),
    ("dropped", "outcome='dropped'"),
    ("failed", "outcome='failed'"),
    ("blocked", "outcome='blocked'"),
    ("other", "outcome='other'"),
    ("dnc", "dnc"),
    (
        "talk_seconds",
        "IF(outcome='answered', GREATEST(COALESCE(length_in_sec,0),0), 0)",
    ),
];

/// The rows of a table as they are, and as they were when an archiver took
/// them; what came back since counts as it is.
fn rows_of(table: &str, columns: &str, same: &str) -> String {
    let gone = kept_name(table);
    let condition = if same.is_empty() {
        String::new()
    } else {
        format!(" WHERE NOT EXISTS (SELECT 1 FROM {table} l WHERE {same})")
    };
    format!("SELECT {columns} FROM {table} UNION ALL SELECT {columns} FROM {gone} g{condition}")
}

/// The steps from VICIdial's tables to one row a dial and one row a call.
fn steps(offsets: &Offsets, success: &[String]) -> Vec<String> {
    let wall = |column: &str| offsets.epoch_of_wall(column);
    let success: Vec<String> = success.iter().map(|status| format!("'{status}'")).collect();
    let success = success.join(",");
    let dial_rows = rows_of(
        "vicidial_dial_log",
        "caller_code, lead_id, call_date, outbound_cid",
        "",
    );
    let cid_rows = rows_of(
        "vicidial_dial_cid_log",
        "caller_code, call_date, outbound_cid",
        "",
    );
    let carrier_rows = rows_of(
        "vicidial_carrier_log",
        "caller_code, lead_id, call_date, hangup_cause, dialstatus, sip_hangup_cause, sip_hangup_reason",
        "l.uniqueid=g.uniqueid",
    );
    let call_columns = "uniqueid, lead_id, list_id, campaign_id, call_date, start_epoch, end_epoch, length_in_sec, status, phone_code, phone_number, user, term_reason, called_count";
    let call_rows = rows_of(
        "vicidial_log",
        call_columns,
        "l.uniqueid=g.uniqueid AND l.lead_id=g.lead_id",
    );
    let link_rows = rows_of(
        "vicidial_log_extended",
        "uniqueid, caller_code, call_date",
        "",
    );
    vec![
        // Its own statements are not the dialer's.
        "SET SESSION sql_log_bin=0".to_owned(),
        format!(
            "CREATE TEMPORARY TABLE true_dials (id INT AUTO_INCREMENT PRIMARY KEY, code VARCHAR(30), lead_id INT UNSIGNED, at BIGINT, day DATE, did VARCHAR(100), KEY(code), KEY(lead_id))
             SELECT caller_code AS code, NULLIF(lead_id,0) AS lead_id, {} AS at, DATE(call_date) AS day, {BRACKETED} AS did FROM ({dial_rows}) d",
            wall("call_date")
        ),
        format!(
            "CREATE TEMPORARY TABLE true_cids (code VARCHAR(30), at BIGINT, did VARCHAR(100), KEY(code))
             SELECT caller_code AS code, {} AS at, NULLIF(outbound_cid,'') AS did FROM ({cid_rows}) d",
            wall("call_date")
        ),
        format!("UPDATE true_dials d SET d.did=(SELECT c.did FROM true_cids c WHERE c.code=d.code AND ABS(CAST(c.at-d.at AS SIGNED))<={CODE_WINDOW} LIMIT 1) WHERE d.did IS NULL"),
        // One number is one DID, however a campaign's settings spell it.
        "UPDATE true_dials SET did=RIGHT(REGEXP_REPLACE(did,'[^0-9]',''),10) WHERE did IS NOT NULL".to_owned(),
        format!(
            "CREATE TEMPORARY TABLE true_endings (code VARCHAR(30), at BIGINT, cause INT, sip INT, reason VARCHAR(50), KEY(code))
             SELECT caller_code AS code, {} AS at, COALESCE(hangup_cause,0) AS cause, NULLIF(sip_hangup_cause,0) AS sip, COALESCE(sip_hangup_reason,'') AS reason FROM ({carrier_rows}) r",
            wall("call_date")
        ),
        // A transfer overwrites the code in the extended row, and leaves the
        // former one elsewhere. A code names its lead: that of another one came
        // with a uniqueid that two servers made.
        format!(
            "CREATE TEMPORARY TABLE true_codes (uniqueid VARCHAR(50), code VARCHAR(40), at DATETIME, KEY(uniqueid))
             SELECT uniqueid, caller_code AS code, call_date AS at FROM ({link_rows}) e WHERE caller_code REGEXP '^[VM][0-9]'
             UNION ALL SELECT uniqueid, prev_caller_code, call_date FROM vicidial_inbound_caller_codes WHERE prev_caller_code REGEXP '^[VM][0-9]'"
        ),
        format!(
            "CREATE TEMPORARY TABLE true_calls (id INT AUTO_INCREMENT PRIMARY KEY, uniqueid VARCHAR(20), lead_id INT UNSIGNED, list_id BIGINT, campaign_id VARCHAR(8), call_date DATETIME, start_epoch BIGINT, end_epoch BIGINT, length_in_sec INT, status VARCHAR(6), phone_code VARCHAR(10), phone_number VARCHAR(18), user VARCHAR(20), term_reason VARCHAR(20), called_count INT,
               code VARCHAR(40), dial INT, did VARCHAR(100), started_at BIGINT, day DATE, hangup_cause INT, sip_code INT, sip_reason VARCHAR(50), is_human CHAR(1), is_machine CHAR(1), dnc INT DEFAULT 0, successful INT, counted INT, outcome VARCHAR(10), KEY(lead_id), KEY(code))
             SELECT {call_columns}, (SELECT c.code FROM true_codes c WHERE c.uniqueid=v.uniqueid AND CAST(SUBSTR(c.code,11,10) AS UNSIGNED)=v.lead_id ORDER BY c.at LIMIT 1) AS code,
               IF(start_epoch>0, start_epoch, {}) AS started_at FROM ({call_rows}) v",
            wall("call_date")
        ),
        format!("UPDATE true_calls c SET day={},
             dial=(SELECT d.id FROM true_dials d WHERE d.code=c.code AND ABS(CAST(d.at-c.started_at AS SIGNED))<={CODE_WINDOW} ORDER BY ABS(CAST(d.at-c.started_at AS SIGNED)) LIMIT 1)", offsets.day_of_epoch("started_at")),
        format!("UPDATE true_calls c SET dial=(SELECT d.id FROM true_dials d WHERE d.lead_id=c.lead_id AND d.at BETWEEN CAST(c.started_at AS SIGNED)-{LEAD_WINDOW} AND c.started_at ORDER BY d.at DESC, d.code DESC LIMIT 1) WHERE dial IS NULL"),
        "UPDATE true_calls c JOIN true_dials d ON d.id=c.dial SET c.did=d.did".to_owned(),
        format!("UPDATE true_calls c JOIN true_dials d ON d.id=c.dial JOIN true_endings e ON e.code=d.code AND ABS(CAST(e.at-d.at AS SIGNED))<={CODE_WINDOW}
             SET c.hangup_cause=e.cause, c.sip_code=e.sip, c.sip_reason=e.reason"),
        "UPDATE true_calls c JOIN vicidial_statuses s ON s.status=c.status SET c.is_human=s.human_answered, c.is_machine=s.answering_machine, c.dnc=(s.dnc='Y')".to_owned(),
        "UPDATE true_calls c JOIN vicidial_campaign_statuses s ON s.status=c.status AND s.campaign_id=c.campaign_id SET c.is_human=s.human_answered, c.is_machine=s.answering_machine, c.dnc=(s.dnc='Y')".to_owned(),
        format!("UPDATE true_calls SET outcome={CLASS}, successful=COALESCE(status IN ({success}),0), counted=(COALESCE(status,'') NOT IN ('','QUEUE','INCALL','DISPO'))"),
        format!("UPDATE true_calls SET outcome='blocked' WHERE outcome IN ('no_answer','busy','failed','other') AND {REFUSED}"),
    ]
}

fn call_sums() -> String {
    let sums = COUNTERS.map(|(name, value)| format!("CAST(SUM({value}) AS SIGNED) AS {name}"));
    sums.join(", ")
}

pub async fn write(args: Truth) -> Result<()> {
    let mut conn = args.target.connect().await?;
    conn.query_drop("SET NAMES utf8").await?;
    crate::upkeep::prepare(&mut conn).await?;
    let offsets = Offsets::of(&args.zone)?;
    for step in steps(&offsets, &args.success) {
        conn.query_drop(&step)
            .await
            .with_context(|| format!("asking for the truth by {step}"))?;
    }
    let calls = rows(&mut conn, "SELECT uniqueid, lead_id, list_id, campaign_id, start_epoch, started_at, end_epoch, length_in_sec, status, phone_number, user, term_reason, called_count, code, did, CAST(day AS CHAR) AS day, hangup_cause, sip_code, sip_reason, dnc, successful, counted, outcome FROM true_calls ORDER BY started_at, uniqueid").await?;
    let dids = merged(&mut conn, "did", "'' AS campaign_id, '' AS day", "").await?;
    let daily = merged(
        &mut conn,
        "did, day, campaign_id",
        "'' AS campaign_id, CAST(day AS CHAR) AS day",
        ", day",
    )
    .await?;
    let count = calls.len();
    let truth = json!({ "calls": calls, "dids": dids, "daily": daily });
    std::fs::write(&args.out, serde_json::to_vec(&truth)?)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    println!("{count} calls");
    conn.disconnect().await?;
    Ok(())
}

/// The counters of calls and those of dials, under one key.
async fn merged(conn: &mut Conn, by: &str, dial_key: &str, dial_group: &str) -> Result<Vec<Value>> {
    let call_key = if by == "did" {
        "'' AS campaign_id, '' AS day"
    } else {
        "COALESCE(campaign_id,'') AS campaign_id, CAST(day AS CHAR) AS day"
    };
    let calls = format!(
        "SELECT did, {call_key}, {}, MAX(started_at) AS last_call_at FROM true_calls WHERE counted AND did IS NOT NULL GROUP BY {by}",
        call_sums()
    );
    // Uses of one code within a day are one dial.
    let dials = format!(
        "SELECT did, {dial_key}, COUNT(*) AS dials, MAX(at) AS last_dial_at FROM true_dials WHERE did IS NOT NULL GROUP BY did{dial_group}"
    );
    let mut found = std::collections::BTreeMap::<String, Map<String, Value>>::new();
    for query in [calls, dials] {
        for row in rows(conn, &query).await? {
            let Value::Object(row) = row else { continue };
            let key = format!("{} {} {}", row["did"], row["day"], row["campaign_id"]);
            found.entry(key).or_default().extend(row);
        }
    }
    let zero = |mut row: Map<String, Value>| {
        for name in COUNTERS.map(|(name, _)| name).iter().chain(&["dials"]) {
            row.entry(*name).or_insert(json!("0"));
        }
        Value::Object(row)
    };
    Ok(found.into_values().map(zero).collect())
}

/// A query's rows, as JSON objects of texts and nulls.
async fn rows(conn: &mut Conn, query: &str) -> Result<Vec<Value>> {
    let rows: Vec<Row> = conn.query(query).await?;
    let object = |row: Row| {
        let names = row.columns();
        let cells = row.unwrap().into_iter();
        let named = names.iter().zip(cells);
        let fields = named.map(|(column, cell)| (column.name_str().into_owned(), value(&cell)));
        Value::Object(fields.collect())
    };
    Ok(rows.into_iter().map(object).collect())
}

/// The server sends everything as text, and so it stays.
fn value(cell: &Cell) -> Value {
    match cell {
        Cell::NULL => Value::Null,
        Cell::Bytes(bytes) => Value::String(String::from_utf8_lossy(bytes).into_owned()),
        other => Value::String(other.as_sql(true)),
    }
}

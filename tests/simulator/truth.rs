//! What is true about the calls, asked of the source database alone: an
//! administrator's answer by SQL, which the product must agree with. Nothing
//! here knows what the simulator meant to write.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use serde_json::{Map, Value, json};

use crate::database::Target;

#[derive(clap::Args)]
pub struct Truth {
    #[command(flatten)]
    target: Target,
    /// The JSON file to write
    #[arg(long)]
    out: PathBuf,
}

/// The number between the brackets of an outbound_cid, or NULL.
const BRACKETED: &str = "IF(d.outbound_cid LIKE '%<%>', NULLIF(SUBSTRING_INDEX(SUBSTRING_INDEX(d.outbound_cid,'<',-1),'>',1),''), NULL)";

/// Live rows, and those archived rows that have no live row. An archive copy
/// of a row that was since renamed or deleted as a duplicate has one under the
/// same lead and second, and is passed over too.
const CALLS: &str = "
    SELECT uniqueid, lead_id, status, length_in_sec, phone_number, campaign_id, start_epoch, term_reason, call_date
      FROM vicidial_log
    UNION ALL
    SELECT uniqueid, lead_id, status, length_in_sec, phone_number, campaign_id, start_epoch, term_reason, call_date
      FROM vicidial_log_archive a
     WHERE NOT EXISTS (SELECT 1 FROM vicidial_log l WHERE l.lead_id=a.lead_id
             AND SUBSTRING_INDEX(l.uniqueid,'.',1)=SUBSTRING_INDEX(a.uniqueid,'.',1))";

/// The caller code that the call was dialled with: a transfer overwrites it in
/// the extended row, and leaves the former one elsewhere.
const CODE: &str = "COALESCE(
    (SELECT c.prev_caller_code FROM vicidial_inbound_caller_codes c
      WHERE c.uniqueid=v.uniqueid AND c.prev_caller_code REGEXP '^[VM][0-9]' ORDER BY c.call_date LIMIT 1),
    (SELECT e.caller_code FROM vicidial_log_extended e
      WHERE e.uniqueid=v.uniqueid AND e.caller_code REGEXP '^[VM][0-9]'))";

fn calls_query() -> String {
    format!(
        "SELECT t.uniqueid, t.lead_id, t.status, t.length_in_sec, t.phone_number, t.campaign_id, t.start_epoch,
                t.term_reason,
           IF(t.code IS NULL,
             (SELECT {BRACKETED} FROM vicidial_dial_log d
               WHERE d.lead_id=t.lead_id AND d.call_date<=t.call_date ORDER BY d.call_date DESC LIMIT 1),
             COALESCE(
               (SELECT {BRACKETED} FROM vicidial_dial_log d WHERE d.caller_code=t.code LIMIT 1),
               (SELECT NULLIF(g.outbound_cid,'') FROM vicidial_dial_cid_log g WHERE g.caller_code=t.code LIMIT 1))
           ) AS did,
           EXISTS (SELECT 1 FROM vicidial_carrier_log r
                    WHERE r.lead_id=t.lead_id AND r.caller_code=t.code
                      AND (r.sip_hangup_cause IN (607,608) OR r.hangup_cause=21
                           OR (r.sip_hangup_cause=603 AND r.sip_hangup_reason LIKE '%Network Blocked%'))) AS blocked
         FROM (SELECT v.*, {CODE} AS code FROM ({CALLS}) v) t
         ORDER BY t.start_epoch, t.uniqueid"
    )
}

#[derive(Default)]
struct Did {
    dials: u64,
    total_calls: u64,
    successful_calls: u64,
    last_call_epoch: u64,
}

pub async fn write(args: Truth) -> Result<()> {
    let mut conn = args.target.connect().await?;
    conn.query_drop("SET NAMES utf8").await?;
    let mut dids = BTreeMap::<String, Did>::new();
    let calls = calls(&mut conn, &mut dids).await?;
    let mut dials = Map::new();
    for (did, count) in dial_counts(&mut conn).await? {
        dids.entry(did.clone()).or_default().dials = count;
        dials.insert(did, json!(count));
    }
    let count = calls.len();
    let truth = json!({ "calls": calls, "dials": dials, "dids": dids.into_iter().map(describe).collect::<Map<_, _>>() });
    std::fs::write(&args.out, serde_json::to_vec(&truth)?)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    println!("{count} calls");
    conn.disconnect().await?;
    Ok(())
}

fn describe((number, did): (String, Did)) -> (String, Value) {
    let described = json!({
        "dials": did.dials,
        "total_calls": did.total_calls,
        "successful_calls": did.successful_calls,
        "last_call_epoch": did.last_call_epoch,
    });
    (number, described)
}

async fn dial_counts(conn: &mut Conn) -> Result<Vec<(String, u64)>> {
    let query = format!(
        "SELECT {BRACKETED} AS did, COUNT(*) FROM vicidial_dial_log d GROUP BY did HAVING did IS NOT NULL"
    );
    Ok(conn.query(query).await?)
}

async fn calls(conn: &mut Conn, dids: &mut BTreeMap<String, Did>) -> Result<Vec<Value>> {
    let rows: Vec<Row> = conn.query(calls_query()).await?;
    let mut calls = Vec::with_capacity(rows.len());
    for row in rows {
        let text = |name: &str| row.get::<Option<String>, _>(name).flatten();
        let number = |name: &str| row.get::<Option<i64>, _>(name).flatten();
        let (did, status, start) = (text("did"), text("status"), number("start_epoch"));
        if let Some(did) = &did {
            count(
                dids.entry(did.clone()).or_default(),
                status.as_deref().unwrap_or(""),
                start,
            );
        }
        calls.push(json!({
            "uniqueid": text("uniqueid"),
            "lead_id": number("lead_id"),
            "status": status,
            "length_in_sec": number("length_in_sec"),
            "phone_number": text("phone_number"),
            "campaign_id": text("campaign_id"),
            "start_epoch": start,
            "term_reason": text("term_reason"),
            "did": did,
            "blocked": number("blocked") == Some(1),
        }));
    }
    Ok(calls)
}

/// A call counts once it has a status that is not one of a call under way.
fn count(did: &mut Did, status: &str, start: Option<i64>) {
    if ["", "QUEUE", "INCALL", "DISPO"].contains(&status) {
        return;
    }
    did.total_calls += 1;
    did.successful_calls += u64::from(["SALE", "A"].contains(&status));
    let start = start
        .and_then(|start| u64::try_from(start).ok())
        .unwrap_or(0);
    did.last_call_epoch = did.last_call_epoch.max(start);
}

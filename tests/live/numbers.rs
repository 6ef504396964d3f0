//! The commands that tell where numbers come from, and those that mend them,
//! on a real server.

use serde_json::Value;

use crate::support::{Server, Site, wait_until};

const LEAD: u32 = 4711;
const DID: &str = "+13125550100";
const UNIQUEID: &str = "1772366420.77";
const CODE: &str = "V3010800000000004711";

/// One call as the dialer and the agent's screen write it, to its disposition.
fn sale(site: &Site, server: &Server) {
    site.sql(
        server,
        &format!(
            "INSERT INTO vicidial_dial_log (caller_code,lead_id,server_ip,call_date,outbound_cid) \
             VALUES('{CODE}',{LEAD},'10.0.0.1',FROM_UNIXTIME(1772366400),'\"{CODE}\" <3125550100>'); \
             INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,status,\
             phone_code,phone_number,user,processed,alt_dial,list_id,comments,called_count) \
             VALUES('{UNIQUEID}',{LEAD},'SOLAR',FROM_UNIXTIME(1772366420),1772366420,'QUEUE',\
             '1','2125550143','VDAD','N','MAIN',101,'0.1',1); \
             INSERT INTO vicidial_log_extended SET uniqueid='{UNIQUEID}',server_ip='10.0.0.1',\
             call_date=FROM_UNIXTIME(1772366420),lead_id={LEAD},caller_code='{CODE}',custom_call_id=''; \
             UPDATE vicidial_log SET user='6666',comments='AUTO',status='INCALL' \
             WHERE uniqueid='{UNIQUEID}'; \
             UPDATE vicidial_log SET term_reason='CALLER',end_epoch=1772366454,length_in_sec=34 \
             WHERE uniqueid='{UNIQUEID}'; \
             UPDATE vicidial_log SET status='UPSELL' WHERE uniqueid='{UNIQUEID}';"
        ),
    );
}

fn json(site: &Site, arguments: &[&str]) -> Value {
    site.didtail(&[arguments, &["--json"]].concat()).json()
}

#[test]
fn a_number_is_explained_row_by_row() {
    let server = Server::shared();
    let site = Site::new(server, "explain");
    sale(&site, server);
    site.catch_up();
    let explained = json(&site, &["explain", UNIQUEID]);
    let call = &explained["explained"][0];
    assert_eq!(call["now"]["disposition"], "UPSELL");
    assert_eq!(call["now"]["did"], DID);
    let changes = call["changes"].as_array().expect("changes");
    let seen: Vec<(&str, &str)> = changes
        .iter()
        .map(|change| {
            let table = change["table"].as_str().expect("a table");
            let disposition = &change["changed"]["disposition"]["new"];
            (table, disposition.as_str().unwrap_or_default())
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("vicidial_dial_log", ""),
            ("vicidial_log", "QUEUE"),
            ("vicidial_log_extended", ""),
            ("vicidial_log_extended", ""),
            ("vicidial_log", "INCALL"),
            ("vicidial_log", ""),
            ("vicidial_log", "UPSELL"),
        ]
    );
    let effects: Vec<&Value> = changes
        .iter()
        .flat_map(|change| change["effect"].as_array().expect("effects"))
        .collect();
    assert_eq!(effects.len(), 2, "{effects:?}");
    assert_eq!(effects[0]["dials"], 1);
    assert_eq!(effects[1]["total_calls"], 1);
    assert_eq!(effects[1]["did"], DID);
    for change in changes {
        let event = change["event"].as_str().expect("an event");
        assert!(event.starts_with("binlog."), "{event}");
    }

    let text = site.didtail(&["explain", UNIQUEID]).good();
    for said in ["INCALL → UPSELL", "+1 total_calls", "by its caller code"] {
        assert!(text.contains(said), "{said} in\n{text}");
    }
    let of_did = json(&site, &["explain", "3125550100"]);
    assert_eq!(of_did["did"], DID);
    assert_eq!(of_did["now"]["total_calls"], 1);
    assert_eq!(of_did["changes"].as_array().map(Vec::len), Some(2));
    let dial = json(&site, &["explain", CODE]);
    assert_eq!(dial["explained"][0]["now"]["did"], DID);
    site.didtail(&["explain", "999"])
        .fails(1, "no uniqueid", "didtail stats");
}

#[test]
fn an_admins_flag_holds_from_then_on_and_recount_carries_it_back() {
    let server = Server::shared();
    let site = Site::new(server, "recount");
    let config = site.config() + "\n[dispositions]\nsuccess = \"vicidial-sale-flag\"\n";
    site.configure(&config);
    sale(&site, server);
    let daemon = site.following();
    site.wait_for_end(server);
    let successes = "SELECT sum(successful_calls) FROM did_stats";
    assert_eq!(site.stored::<i64>(successes), 0, "UPSELL is in no table");
    site.sql(
        server,
        "INSERT INTO vicidial_campaign_statuses (status,status_name,selectable,campaign_id,\
         human_answered,category,sale) VALUES('UPSELL','Upsell','Y','SOLAR','Y','UNDEFINED','Y');",
    );
    // A later call is judged by the flag; the one before stays as it was.
    site.sql(
        server,
        &format!(
            "INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,status,\
             phone_code,phone_number,user,processed,list_id,length_in_sec) \
             VALUES('1772366520.78',{LEAD},'SOLAR',FROM_UNIXTIME(1772366520),1772366520,'UPSELL',\
             '1','2125550143','6666','N',101,12);"
        ),
    );
    site.wait_for_end(server);
    assert_eq!(site.stored::<i64>(successes), 1);
    let shown = json(&site, &["recount", "--dry-run"]);
    assert_eq!(shown["counters"]["successful_calls"], 1, "{shown}");
    assert_eq!(site.stored::<i64>(successes), 1, "nothing was changed");
    let done = json(&site, &["recount"]);
    assert_eq!(done["calls"], 1, "{done}");
    assert_eq!(done["differences"].as_array().map(Vec::len), Some(0));
    assert_eq!(site.stored::<i64>(successes), 2);
    // The daemon goes on with what the command wrote.
    site.sql(
        server,
        &format!("UPDATE vicidial_log SET status='NI' WHERE uniqueid='{UNIQUEID}';"),
    );
    site.wait_for_end(server);
    assert_eq!(site.stored::<i64>(successes), 1);
    site.assert_invariant();
    daemon.kill();
    let explained = json(&site, &["explain", UNIQUEID]);
    let changes = explained["explained"][0]["changes"].to_string();
    assert!(changes.contains(r#""table":"recount""#), "{changes}");
}

#[test]
fn status_tells_how_dids_are_known_with_the_daemon_up_or_down() {
    let server = Server::shared();
    let site = Site::new(server, "status");
    let before = json(&site, &["status"]);
    assert_eq!(before["sources"][0]["running"], false);
    // Dialled before didtail began: its DID is asked from the source.
    site.sql(
        server,
        "INSERT INTO vicidial_dial_log (caller_code,lead_id,server_ip,call_date,outbound_cid) \
         VALUES('V3010700000000000099',99,'10.0.0.1',FROM_UNIXTIME(1772362800),\
         '\"V3010700000000000099\" <3125550199>');",
    );
    site.configure(&site.config().replace("earliest", "latest"));
    let daemon = site.following();
    sale(&site, server);
    site.sql(
        server,
        "INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,status,\
         phone_code,phone_number,user,processed,list_id,length_in_sec) VALUES\
         ('1772362830.1',99,'SOLAR',FROM_UNIXTIME(1772362830),1772362830,'NA','1','2125550144',\
         'VDAD','N',101,0),\
         ('1772362830.2',98,'SOLAR',FROM_UNIXTIME(1772362830),1772362830,'NA','1','2125550145',\
         'VDAD','N',101,0); \
         INSERT INTO vicidial_tiltx_shaken_log (db_time,server_ip,url_log_id,caller_code,\
         phone_number,CIDnumber,CallerIDToUse) VALUES(FROM_UNIXTIME(1772366402),'10.0.0.1',1,\
         'V3010800000000004711','2125550143','3125550100','3125550142');",
    );
    site.wait_for_end(server);
    let up = json(&site, &["status"]);
    let source = &up["sources"][0];
    assert_eq!(source["running"], true);
    let all = &source["attribution"]["all"];
    assert_eq!(
        [
            &all["calls"],
            &all["caller_code"],
            &all["lead"],
            &all["none"],
            &all["looked_up_dials"]
        ],
        [3, 1, 1, 1, 1],
        "{source}"
    );
    assert_eq!(
        site.stored::<i64>(
            "SELECT total_calls + 10 * dials FROM did_stats JOIN dids ON id = did_id \
             WHERE phone_number = '+13125550199'"
        ),
        1,
        "a dial that was looked up is not counted"
    );
    drop(daemon.kill());
    // Where the dialplan sets the caller ID, its report wins; also for the past.
    let prefer = site.config().replace("earliest", "latest");
    site.configure(&(prefer + "\n[attribution]\nprefer = \"reported\"\n"));
    json(&site, &["recount"]);
    let down = json(&site, &["status"]);
    let source = &down["sources"][0];
    assert_eq!(source["running"], false);
    assert_eq!(source["attribution"]["all"]["reported"], 1, "{source}");
    let reported = "SELECT dids.phone_number FROM dids JOIN call_records c ON c.did_id = dids.id \
                    WHERE attribution = 'reported'";
    assert_eq!(site.stored::<String>(reported), "+13125550142");
    site.assert_invariant();
    let text = site.didtail(&["status"]).good();
    for said in ["not running", "without a DID", "looked up"] {
        assert!(text.contains(said), "{said} in\n{text}");
    }
}

/// An answer that did not come is asked for again, also by the next daemon.
#[test]
fn a_call_whose_dial_could_not_be_asked_for_gets_its_did_later() {
    let server = Server::shared();
    let site = Site::new(server, "asked_later");
    let url = site.config().replace("earliest", "latest");
    site.configure(&url);
    site.sql(
        server,
        "INSERT INTO vicidial_dial_log (caller_code,lead_id,server_ip,call_date,outbound_cid) \
         VALUES('V3010700000000000097',97,'10.0.0.1',NOW() - INTERVAL 90 SECOND,\
         '\"V3010700000000000097\" <3125550197>')",
    );
    let mut daemon = site.following();
    let locks = "LOCK TABLES vicidial_dial_log WRITE; SELECT 'locked'; DO SLEEP(8)";
    let mut locking = server.session(&site.database, locks);
    let mut locking = locking.spawn().expect("the client starts");
    let in_use = format!(
        "SHOW OPEN TABLES FROM `{}` LIKE 'vicidial_dial_log'",
        site.database
    );
    wait_until("the dial log is locked", || {
        let shown = server.sql(&in_use);
        shown.contains("\t1\t").then_some(())
    });
    site.sql(
        server,
        "INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,status,\
         phone_code,phone_number,user,processed,list_id,length_in_sec) VALUES\
         (CONCAT(UNIX_TIMESTAMP() - 60,'.1'),97,'SOLAR',NOW() - INTERVAL 60 SECOND,\
         UNIX_TIMESTAMP() - 60,'NA','1','2125550147','VDAD','N',101,0)",
    );
    daemon.wait_for("could not ask the source for the dials");
    assert!(locking.wait().expect("a child").success());
    daemon.stop();
    let attribution = || site.stored::<String>("SELECT attribution FROM call_records");
    assert_eq!(attribution(), "none");
    site.catch_up();
    assert_eq!(attribution(), "lead");
    site.assert_invariant();
}

//! Values that VICIdial and its servers really store, odd as they are: each is
//! written by a real UPDATE and found in the store as it should be.

use crate::support::{Server, Site};

/// Noon of 2024-11-15 in UTC, the zone of the test servers.
const NOON: i64 = 1_731_672_000;

/// What VICIdial's servers run with: what does not fit is cut, not refused.
const LENIENT: &str = "SET SESSION sql_mode='NO_ENGINE_SUBSTITUTION';";

/// Writes an ordinary call of a lead.
fn call(lead: usize) -> String {
    format!(
        "INSERT INTO vicidial_log SET uniqueid='{NOON}.{lead:06}',lead_id='{lead}',\
         list_id='101',campaign_id='SOLAR',call_date='2024-11-15 12:00:00',start_epoch='{NOON}',\
         end_epoch='{NOON}',length_in_sec='5',status='SALE',phone_code='1',\
         phone_number='2175551000',user='6001',processed='N',called_count='1';\n"
    )
}

/// Changes one call a case, and compares an expression over its row in the
/// store with what it must be.
#[track_caller]
fn check(site: &Site, server: &Server, cases: &[(&str, &str, &str)]) {
    let mut sql = LENIENT.to_owned();
    for (lead, (change, _, _)) in (1..).zip(cases) {
        sql.push_str(&call(lead));
        sql.push_str(&format!(
            "UPDATE vicidial_log SET {change} WHERE lead_id='{lead}';\n"
        ));
    }
    site.sql(server, &sql);
    site.catch_up();
    let mut wrong = Vec::new();
    for (lead, (change, expression, expected)) in (1..).zip(cases) {
        let query = format!("SELECT {expression} FROM call_records WHERE lead_id = {lead}");
        let found: String = site.stored(&query);
        if found != *expected {
            wrong.push(format!("{change}: {expression} is {found}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    site.assert_invariant();
    let state = site.state();
    let aside = state.query_row("SELECT count(*) FROM quarantine", [], |row| row.get(0));
    assert_eq!(aside, Ok(0_i64));
}

const STATUS: &str = "disposition || ':' || counted || successful || ':' || outcome";
const START: &str = "started_at || ' ' || day";
const PHONE: &str = "phone_number";

#[test]
fn numbers_and_times_that_do_not_fit() {
    const NOW: &str = "(abs(started_at - unixepoch()) < 3600) || ''";
    let server = Server::shared();
    let site = Site::new(server, "odd_numbers");
    check(
        &site,
        server,
        &[
            (
                "length_in_sec=NULL",
                "ifnull(duration_seconds, 'none')",
                "none",
            ),
            ("length_in_sec='-75600'", "duration_seconds || ''", "-75600"),
            (
                "length_in_sec='99999999999'",
                "duration_seconds || ''",
                "2147483647",
            ),
            (
                "length_in_sec='-99999999999'",
                "duration_seconds || ''",
                "-2147483648",
            ),
            ("called_count='70000'", "called_count || ''", "65535"),
            ("called_count='-1'", "called_count || ''", "0"),
            ("called_count=NULL", "ifnull(called_count, 'none')", "none"),
            ("end_epoch='99999999999'", "ended_at || ''", "4294967295"),
            ("end_epoch='0'", "ifnull(ended_at, 'none')", "none"),
            (
                "list_id='99999999999999'",
                "list_id || ''",
                "99999999999999",
            ),
            // More than the store's numbers hold.
            (
                "list_id='18446744073709551615'",
                "ifnull(list_id, 'none')",
                "none",
            ),
            (
                "call_date='0000-00-00 00:00:00'",
                START,
                "1731672000 2024-11-15",
            ),
            ("call_date=NULL", START, "1731672000 2024-11-15"),
            (
                "call_date='2020-01-01 00:00:00'",
                START,
                "1731672000 2024-11-15",
            ),
            (
                "start_epoch=NULL,call_date='2024-02-29 23:59:59'",
                START,
                "1709251199 2024-02-29",
            ),
            (
                "start_epoch='0',call_date='2024-02-29 23:59:59'",
                START,
                "1709251199 2024-02-29",
            ),
            ("start_epoch='99999999999'", START, "4294967295 2106-02-07"),
            ("start_epoch='0',call_date='0000-00-00 00:00:00'", NOW, "1"),
            ("start_epoch=NULL,call_date=NULL", NOW, "1"),
            ("start_epoch='0',call_date='2024-02-00 10:00:00'", NOW, "1"),
        ],
    );
}

#[test]
fn dispositions_and_other_words() {
    let server = Server::shared();
    let site = Site::new(server, "odd_words");
    check(
        &site,
        server,
        &[
            ("status='LONGSTATUS'", STATUS, "LONGST:10:other"),
            ("status='NOSUCH'", STATUS, "NOSUCH:10:other"),
            ("status='sale'", STATUS, "sale:11:answered"),
            ("status='SALE  '", STATUS, "SALE  :11:answered"),
            ("status='incall'", STATUS, "incall:00:other"),
            ("status='DISPO '", STATUS, "DISPO :00:other"),
            ("status=NULL", STATUS, ":00:other"),
            ("status=''", STATUS, ":00:other"),
            ("status='  '", STATUS, "  :00:other"),
            (
                "term_reason='CALLMENUXFER'",
                "'<' || term_reason || '>'",
                "<>",
            ),
            ("term_reason=NULL", "'<' || term_reason || '>'", "<>"),
            ("term_reason='SYSTEM'", "term_reason", "SYSTEM"),
            ("campaign_id=NULL", "'<' || campaign_id || '>'", "<>"),
            ("user=NULL,user_group=NULL", "'<' || agent_id || '>'", "<>"),
            // Windows-1252, which is what `latin1` is.
            ("user=x'4A6F73E9'", "agent_id", "José"),
            ("campaign_id=x'80'", "campaign_id", "€"),
            // UTF-8 that a latin1 client wrote: nobody can tell that it was not meant.
            ("user=x'4A6F73C3A9'", "agent_id", "JosÃ©"),
            ("status=x'FF00'", "hex(disposition)", "C3BF00"),
        ],
    );
}

#[test]
fn phone_numbers_as_people_type_them() {
    let server = Server::shared();
    let site = Site::new(server, "odd_phones");
    check(
        &site,
        server,
        &[
            ("phone_number='+1 217 555 1000'", PHONE, "+12175551000"),
            ("phone_number='(217) 555-1000'", PHONE, "+12175551000"),
            ("phone_number='12175551000'", PHONE, "+12175551000"),
            ("phone_number=' 2175551000 '", PHONE, "+12175551000"),
            ("phone_number='+442079460123'", PHONE, "+442079460123"),
            (
                "phone_code='44',phone_number='2079460123'",
                PHONE,
                "+442079460123",
            ),
            (
                "phone_code='',phone_number='2175551000'",
                PHONE,
                "+12175551000",
            ),
            (
                "phone_code=NULL,phone_number='2175551000'",
                PHONE,
                "+12175551000",
            ),
            // Not numbers: their digits, or nothing.
            ("phone_number='217555'", PHONE, "217555"),
            ("phone_number='0000000000'", PHONE, "0000000000"),
            ("phone_number='555-CALL-NOW'", PHONE, "555"),
            ("phone_number='1-800-FLOWERS'", PHONE, "+18003569377"),
            ("phone_number='anonymous'", PHONE, ""),
            ("phone_number='+'", PHONE, ""),
            ("phone_number='   '", PHONE, ""),
            ("phone_number=''", PHONE, ""),
            ("phone_number=NULL", PHONE, ""),
            (
                "phone_number=x'323137E935353531303030'",
                PHONE,
                "+12175551000",
            ),
            // Cut at 18 characters by the server.
            (
                "phone_number='217555100012345678999'",
                PHONE,
                "217555100012345678",
            ),
        ],
    );
}

#[test]
fn text_in_utf8mb4() {
    let server = Server::shared();
    let site = Site::new(server, "odd_utf8");
    site.catch_up();
    site.sql(
        server,
        "ALTER TABLE vicidial_log CONVERT TO CHARACTER SET utf8mb4",
    );
    check(
        &site,
        server,
        &[
            ("user=_utf8mb4 x'5A6FC3AB20F09F9880'", "agent_id", "Zoë 😀"),
            (
                "status=_utf8mb4 x'C3A9C3A9C3A9C3A9C3A9C3A9'",
                "disposition",
                "éééééé",
            ),
            // The server itself puts a question mark where there is no character.
            ("user=x'41FF42'", "agent_id", "A?B"),
            ("user=_latin1 x'4A6F73C3A9'", "agent_id", "JosÃ©"),
        ],
    );
}

/// Keys that the server cut, that many calls share, or that are none.
#[test]
fn odd_keys() {
    let server = Server::shared();
    let site = Site::new(server, "odd_keys");
    let insert = |uniqueid: &str, lead: &str, status: &str| {
        format!(
            "INSERT INTO vicidial_log (uniqueid,lead_id,call_date,start_epoch,status,campaign_id) \
             values('{uniqueid}','{lead}','2024-11-15 12:00:00','{NOON}','{status}','SOLAR');\n"
        )
    };
    let statements = [
        LENIENT.to_owned(),
        insert("dialer01-1731672000.123", "7", "QUEUE"),
        insert("1731672000.1", "0", "SALE"),
        insert("1731672000.2", "0", "NA"),
        insert("1731672000.3", "99999999999", "NA"),
        insert("", "9", "NA"),
        "UPDATE vicidial_log SET status='NI' WHERE uniqueid='dialer01-1731672000.';\n".to_owned(),
    ];
    site.sql(server, &statements.concat());
    site.catch_up();
    let rows: String = site.stored(
        "SELECT group_concat(uniqueid || '/' || lead_id || '/' || disposition, ' ') \
         FROM (SELECT * FROM call_records ORDER BY uniqueid)",
    );
    assert_eq!(
        rows,
        "1731672000.1/0/SALE 1731672000.2/0/NA 1731672000.3/4294967295/NA \
         dialer01-1731672000./7/NI"
    );
    let reason: String = site
        .state()
        .query_row("SELECT group_concat(reason) FROM quarantine", [], |row| {
            row.get(0)
        })
        .expect("one row was quarantined");
    assert!(reason.contains("has no uniqueid"), "{reason}");
}

//! What dispositions mean follows the status tables, whatever is done to them.

use crate::support::{Server, Site};

/// A site whose success is VICIdial's own flag.
fn site(server: &Server, database: &str) -> Site {
    let site = Site::new(server, database);
    let config = format!(
        "{}\n[dispositions]\nsuccess = \"vicidial-sale-flag\"\n",
        site.config()
    );
    site.configure(&config);
    site
}

/// Writes a call with a disposition, and says whether it is a success in the store.
#[track_caller]
pub(crate) fn sells(site: &Site, server: &Server, n: u32, status: &str) -> bool {
    let start = 1_731_672_000 + n;
    site.sql(
        server,
        &format!(
            "INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,status,\
             phone_number,user,length_in_sec) values('{start}.1','{n}','SALESEST',\
             FROM_UNIXTIME({start}),'{start}','{status}','2175551000','6001','5')"
        ),
    );
    site.wait_for_end(server);
    is_success(site, n)
}

/// Whether the call of this lead is a success in the store.
pub(crate) fn is_success(site: &Site, n: u32) -> bool {
    site.stored(&format!(
        "SELECT successful FROM call_records WHERE lead_id = {n}"
    ))
}

#[test]
fn a_changed_key_takes_its_meaning_along() {
    let server = Server::shared();
    let site = site(server, "status_keys");
    let daemon = site.following();
    assert!(sells(&site, server, 1, "APPT"));
    site.sql(
        server,
        "UPDATE vicidial_campaign_statuses SET status='MEET' WHERE status='APPT'",
    );
    assert!(
        !sells(&site, server, 2, "APPT"),
        "the old name means nothing"
    );
    assert!(sells(&site, server, 3, "MEET"));
    assert!(sells(&site, server, 4, "meet "), "as MariaDB compares");
    site.sql(
        server,
        "UPDATE vicidial_campaign_statuses SET campaign_id='RENEWAL' WHERE status='MEET'",
    );
    assert!(!sells(&site, server, 5, "MEET"), "it is another campaign's");
    site.sql(
        server,
        "INSERT INTO vicidial_campaign_statuses (status,campaign_id,sale) values('LATER','','Y')",
    );
    assert!(!sells(&site, server, 6, "LATER"), "a row of no campaign");
    site.sql(
        server,
        "UPDATE vicidial_statuses SET sale='N' WHERE status='SALE'",
    );
    assert!(!sells(&site, server, 7, "SALE"));
    site.sql(server, "DELETE FROM vicidial_campaign_statuses");
    assert_eq!(
        site.stored::<i64>("SELECT sum(successful) FROM call_records"),
        3
    );
    daemon.stop();
}

#[test]
fn an_emptied_or_exchanged_table_loses_its_rows() {
    let server = Server::shared();
    let site = site(server, "status_tables");
    let daemon = site.following();
    site.sql(server, "TRUNCATE TABLE vicidial_campaign_statuses");
    assert!(!sells(&site, server, 1, "APPT"));
    assert!(
        sells(&site, server, 2, "SALE"),
        "the system's are another table"
    );
    // As a restored dump does it.
    site.sql(
        server,
        "CREATE TABLE kept LIKE vicidial_statuses;
         INSERT INTO kept (status, sale) values('DEAL', 'Y');
         DROP TABLE vicidial_statuses",
    );
    assert!(!sells(&site, server, 3, "SALE"));
    site.sql(server, "RENAME TABLE kept TO vicidial_statuses");
    assert!(sells(&site, server, 4, "DEAL"));
    site.sql(
        server,
        "INSERT INTO vicidial_statuses (status, sale) values('SALE', 'Y')",
    );
    assert!(sells(&site, server, 5, "SALE"));
    // Neither changes a row.
    site.sql(
        server,
        "OPTIMIZE TABLE vicidial_statuses; ALTER TABLE vicidial_statuses ADD note INT",
    );
    assert!(sells(&site, server, 6, "SALE"));
    let log = daemon.stop();
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn a_flag_counts_from_its_change_on_also_when_didtail_was_away() {
    let server = Server::shared();
    let site = Site::new(server, "flagged");
    let call = |number: u32| {
        format!(
            "INSERT INTO vicidial_log SET uniqueid=CONCAT(UNIX_TIMESTAMP(), '.{number}'),
                 lead_id={number}, status='NI', start_epoch=UNIX_TIMESTAMP(),
                 call_date=NOW(), length_in_sec=50;"
        )
    };
    let flip = "UPDATE vicidial_statuses SET human_answered='N' WHERE status='NI';";
    site.catch_up();
    site.sql(server, &format!("{}{flip}{}", call(1), call(2)));
    site.catch_up();
    let outcome = |lead: u32| -> String {
        site.stored(&format!(
            "SELECT outcome FROM call_records WHERE lead_id={lead}"
        ))
    };
    assert_eq!(
        (outcome(1).as_str(), outcome(2).as_str()),
        ("answered", "other")
    );
}

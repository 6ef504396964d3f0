//! Days are the dialers' days: in the zone that is configured, or the source's
//! own; and `doctor` notices when the clocks tell something else.

use crate::support::{Server, Site};

/// Writes a call; without an epoch its date decides.
fn call(lead: u32, call_date: &str, epoch: Option<i64>) -> String {
    let epoch = epoch.map_or("NULL".to_owned(), |epoch| epoch.to_string());
    format!(
        "INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,status) \
         values('173167.{lead:06}','{lead}','SOLAR','{call_date}',{epoch},'NA');\n"
    )
}

/// Start and day of every call, in order.
fn stored(site: &Site) -> Vec<String> {
    let store = site.store();
    let mut query = store
        .prepare("SELECT started_at || ' ' || day FROM call_records ORDER BY lead_id")
        .expect("a query");
    let rows = query.query_map([], |row| row.get(0)).expect("rows");
    rows.map(|row| row.expect("a row")).collect()
}

fn in_zone(site: &Site, zone: &str) {
    site.configure(&format!("{}time_zone = \"{zone}\"\n", site.config()));
}

#[test]
fn days_are_those_of_the_configured_zone() {
    let server = Server::shared();
    let site = Site::new(server, "clock_configured");
    in_zone(&site, "America/New_York");
    let calls = [
        // Left out in spring, and there twice in autumn.
        call(1, "2024-03-10 02:30:00", None),
        call(2, "2024-11-03 01:30:00", None),
        call(3, "2024-11-03 23:59:59", None),
        // The second 01:30 of that day, which only an epoch can tell.
        call(4, "2024-11-03 01:30:00", Some(1_730_615_400)),
        // Five hours to midnight in UTC, none there.
        call(5, "2024-11-14 23:59:59", Some(1_731_646_799)),
        // The epoch decides, whatever the date says.
        call(6, "2020-01-01 00:00:00", Some(1_731_646_800)),
    ];
    site.sql(server, &calls.concat());
    site.catch_up();
    let expected = [
        "1710055800 2024-03-10",
        "1730611800 2024-11-03",
        "1730696399 2024-11-03",
        "1730615400 2024-11-03",
        "1731646799 2024-11-14",
        "1731646800 2024-11-15",
    ];
    assert_eq!(stored(&site), expected);
}

/// A server that knows one zone by its name, as after `mysql_tzinfo_to_sql`.
fn server_in_chicago() -> Server {
    let server = Server::start("chicago", &[]);
    server.sql(
        "INSERT INTO mysql.time_zone (Time_zone_id, Use_leap_seconds) VALUES (1, 'N');
         INSERT INTO mysql.time_zone_name (Name, Time_zone_id) VALUES ('America/Chicago', 1);
         INSERT INTO mysql.time_zone_transition_type
             (Time_zone_id, Transition_type_id, `Offset`, Is_DST, Abbreviation)
             VALUES (1, 0, -21600, 0, 'CST'), (1, 1, -18000, 1, 'CDT');
         INSERT INTO mysql.time_zone_transition (Time_zone_id, Transition_time, Transition_type_id)
             VALUES (1, 1699167600, 0), (1, 1710057600, 1), (1, 1730617200, 0);
         SET GLOBAL time_zone = 'America/Chicago'",
    );
    server
}

#[test]
fn days_are_those_of_the_sources_own_zone() {
    let server = server_in_chicago();
    let site = Site::new(&server, "asterisk");
    site.sql(
        &server,
        &[
            call(1, "2024-11-03 01:30:00", None),
            call(2, "2024-07-01 23:59:59", None),
            call(3, "2024-11-14 23:59:59", Some(1_731_650_399)),
        ]
        .concat(),
    );
    let log = site.following().stop();
    assert!(!log.contains("names no IANA time zone"), "{log}");
    site.catch_up();
    let expected = [
        "1730615400 2024-11-03",
        "1719896399 2024-07-01",
        "1731650399 2024-11-14",
    ];
    assert_eq!(stored(&site), expected);
    let said = site.didtail(&["doctor"]).good();
    let mut lines = said.lines();
    let zone = lines.find(|line| line.starts_with("good     time zone"));
    assert!(
        zone.is_some_and(|line| line.ends_with("America/Chicago")),
        "{said}"
    );
}

#[test]
fn doctor_compares_the_clocks_with_the_epochs() {
    let server = Server::shared();
    let site = Site::new(server, "clock_doctor");
    let doctor = || site.didtail(&["doctor", "--json"]).json();
    let clock = || {
        let said = doctor();
        let findings = said["findings"].as_array().expect("findings").clone();
        let clock = findings.into_iter().find(|f| f["check"] == "clock");
        let clock = clock.expect("a check of the clock");
        let text = |name: &str| clock[name].as_str().unwrap_or_default().to_owned();
        (text("outcome"), text("actual"), text("fix"))
    };
    assert_eq!(clock().0, "unknown", "there is no call yet");
    // A minute apart, in the winter of Chicago; some without an epoch.
    let calls: Vec<String> = (0..600_u32)
        .map(|n| {
            let (hour, minute) = (6 + n / 60, n % 60);
            let epoch = 1_731_672_000 + i64::from(n) * 60;
            let date = format!("2024-11-15 {hour:02}:{minute:02}:00");
            call(n, &date, (n % 5 != 0).then_some(epoch))
        })
        .collect();
    site.sql(server, &calls.concat());
    in_zone(&site, "America/Chicago");
    let good = (
        "good".to_owned(),
        "the dialers' clocks are in America/Chicago: so 400 of the newest 400 calls say".to_owned(),
    );
    let found = clock();
    assert_eq!((found.0, found.1), good, "of the newest 500 rows");
    // The daemon looks, too, and says so only when there is something to say.
    const OFF: &str = "the clocks of the newest calls are not those of the time zone";
    let run = || site.didtail(&["run", "--until-caught-up"]).stderr;
    let log = run();
    assert!(!log.contains(OFF), "{log}");
    in_zone(&site, "America/New_York");
    let log = run();
    assert_eq!(log.matches(OFF).count(), 1, "{log}");
    assert!(
        log.contains("WARN") && log.contains("America/Chicago"),
        "{log}"
    );
    let (outcome, actual, fix) = clock();
    assert_eq!(outcome, "note", "didtail runs all the same");
    assert!(
        actual.contains("400 calls call_date, read in America/New_York, is 1 h behind"),
        "{actual}"
    );
    assert!(fix.contains("time_zone = \"America/Chicago\""), "{fix}");
    site.sql(
        server,
        "UPDATE vicidial_log SET call_date = call_date + INTERVAL 67 MINUTE",
    );
    let (outcome, actual, fix) = clock();
    assert_eq!(outcome, "note");
    assert!(actual.contains("is 7 min ahead of start_epoch"), "{actual}");
    assert!(fix.contains("time server"), "{fix}");
    // Nothing is read through.
    site.sql(server, "ALTER TABLE vicidial_log DROP INDEX call_date");
    let (outcome, actual, _) = clock();
    assert_eq!(outcome, "unknown");
    assert!(actual.contains("no index"), "{actual}");
}

/// The times of dials were wall clocks, and stay as they were read.
#[test]
fn recount_in_another_zone_says_what_it_cannot_mend() {
    let server = Server::shared();
    let site = Site::new(server, "recount_zone");
    in_zone(&site, "UTC");
    site.calls(30, 1);
    site.catch_up();
    let recount = || site.didtail(&["recount", "--dry-run"]).good();
    const ADVICE: &str = "didtail backfill --since 20";
    let same = recount();
    assert!(!same.contains(ADVICE), "{same}");
    // At any time of the day one of them has another date than UTC.
    let others = ["Pacific/Kiritimati", "Pacific/Pago_Pago"].map(|zone| {
        in_zone(&site, zone);
        recount()
    });
    let told = others.iter().filter(|text| text.contains(ADVICE)).count();
    assert!(told > 0, "{others:?}");
}

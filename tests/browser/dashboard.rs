//! The dashboard in a real browser, over the numbers of a running daemon.

use std::path::PathBuf;

use crate::support::{Daemon, Server, Site, address, answering, wait_until};
use crate::window::{ENTER, TAB, Window};
use serde_json::json;

const DESK: (u32, u32) = (1280, 1400);

/// DIDs of the past, each with what becomes of ten calls a day: answered and blocked,
/// first on the week before the last, then on the last.
const DIDS: [(&str, [usize; 2], [usize; 2]); 5] = [
    ("3125550101", [3, 0], [3, 0]),
    ("3125550102", [3, 0], [1, 6]),
    ("3125550103", [4, 0], [4, 0]),
    ("3125550104", [6, 0], [1, 0]),
    ("3125550105", [2, 0], [2, 1]),
];

const CALLS_A_DAY: usize = 10;

/// Calls of the last fourteen days as VICIdial writes them: dial, call, carrier's word.
fn write_past(site: &Site, server: &Server) {
    let (mut dials, mut calls, mut words) = (Vec::new(), Vec::new(), Vec::new());
    let mut lead = 700_000;
    for ago in (1..=14_usize).rev() {
        for (number, before, recent) in DIDS {
            let [answered, blocked] = if ago > 7 { before } else { recent };
            for call in 0..CALLS_A_DAY {
                lead += 1;
                let at = format!(
                    "(@noon - INTERVAL {ago} DAY + INTERVAL {} SECOND)",
                    lead % 10_000
                );
                let epoch = format!("UNIX_TIMESTAMP{at}");
                let name = format!("CONCAT({epoch}, '.{lead}')");
                let code = format!(
                    "CONCAT('V', SUBSTR(DATE_FORMAT({at}, '%m%d%H%i%s'), 2), '{lead:010}')"
                );
                let (status, seconds) = if call < answered {
                    ("NI", 40)
                } else {
                    ("NA", 0)
                };
                let is_blocked = call >= CALLS_A_DAY - blocked;
                let cause = if is_blocked { 21 } else { 16 };
                dials.push(format!(
                    "({code}, {lead}, {at}, CONCAT('\"', {code}, '\" <{number}>'))"
                ));
                calls.push(format!(
                    "({name}, {lead}, 'SOLAR', {at}, {epoch}, {epoch} + {seconds}, {seconds}, \
                     '{status}', '2025550143', '6001')"
                ));
                words.push(format!(
                    "({name}, {at}, '10.0.0.1', {lead}, {cause}, 'ANSWER', {code})"
                ));
            }
        }
    }
    let noon = "SET time_zone = '+00:00'; SET @noon = CURDATE() + INTERVAL 12 HOUR;";
    for (table, columns, rows) in [
        (
            "vicidial_dial_log",
            "caller_code, lead_id, call_date, outbound_cid",
            dials,
        ),
        (
            "vicidial_log",
            "uniqueid, lead_id, campaign_id, call_date, start_epoch, end_epoch, length_in_sec, \
             status, phone_number, user",
            calls,
        ),
        (
            "vicidial_carrier_log",
            "uniqueid, call_date, server_ip, lead_id, hangup_cause, dialstatus, caller_code",
            words,
        ),
    ] {
        for rows in rows.chunks(350) {
            let rows = rows.join(",");
            site.sql(
                server,
                &format!("{noon} INSERT INTO {table} ({columns}) VALUES {rows}"),
            );
        }
    }
}

/// A call of today that a human answered.
fn write_call(site: &Site, server: &Server, lead: u32, number: &str) {
    site.sql(
        server,
        &format!(
            "INSERT INTO vicidial_dial_log (caller_code, lead_id, call_date, outbound_cid) VALUES \
             (CONCAT('V', SUBSTR(DATE_FORMAT(NOW(), '%m%d%H%i%s'), 2), '{lead:010}'), {lead}, NOW(), \
              CONCAT('\"V\" <{number}>')); \
             INSERT INTO vicidial_log (uniqueid, lead_id, campaign_id, call_date, start_epoch, \
             end_epoch, length_in_sec, status, phone_number, user) VALUES \
             (CONCAT(UNIX_TIMESTAMP(), '.{lead}'), {lead}, 'SOLAR', NOW(), UNIX_TIMESTAMP(), \
              UNIX_TIMESTAMP() + 60, 60, 'SALE', '2025550144', '6002')"
        ),
    );
}

/// A daemon that has the calls of the past, and the key of who may look.
struct Shown {
    server: Server,
    site: Site,
    daemon: Daemon,
    base: String,
    key: String,
}

impl Shown {
    fn new(name: &str) -> Self {
        let server = Server::start(name, &[]);
        let site = Site::new(&server, "asterisk");
        answering(&site);
        write_past(&site, &server);
        let key = site.didtail(&["api-key", "create", "--label", "board", "--json"]);
        let key = key.json()["key"].as_str().expect("a key").to_owned();
        let mut daemon = site.daemon();
        let base = format!("http://{}", address(&mut daemon));
        site.wait_for_end(&server);
        Self {
            server,
            site,
            daemon,
            base,
            key,
        }
    }

    fn log_in(&self, browser: &Window) {
        browser.go(&self.base);
        assert!(
            browser.address().ends_with("/login"),
            "{}",
            browser.address()
        );
        browser.write("#key", &self.key);
        browser.click("button[type=submit]");
        wait_until("the first page is there", || {
            (!browser.texts("#dids").is_empty()).then_some(())
        });
    }
}

/// The numbers of the rows, as they stand.
fn rows(browser: &Window) -> Vec<String> {
    let rows = browser.texts("#dids tbody th a");
    rows.iter()
        .map(|number| number.replace("+1312555", ""))
        .collect()
}

#[track_caller]
fn assert_rows(browser: &Window, expected: &[&str]) {
    let mut seen = Vec::new();
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until("the table is so", || {
            seen = rows(browser);
            (seen == expected).then_some(())
        });
    }));
    assert!(found.is_ok(), "{seen:?} is not {expected:?}");
}

#[test]
fn an_operator_looks_sorts_finds_and_watches() {
    let shown = Shown::new("dashboard");
    let browser = Window::open("operator", DESK);
    shown.log_in(&browser);

    // What turned bad stands first, and says why.
    let first = browser.texts("#dids tbody tr");
    assert!(
        first[0].contains("bad") && first[0].contains("blocked, 0 % before"),
        "{first:?}"
    );
    assert!(first[1].contains("answered, 60 % before"), "{first:?}");
    let health = browser.texts("#sources .card");
    assert!(health[0].contains("running"), "{health:?}");
    assert_rows(&browser, &["0102", "0104", "0105", "0101", "0103"]);

    // Sorted by a click, and back by another.
    browser.click("th a[href*='sort=answered']");
    assert_rows(&browser, &["0103", "0101", "0105", "0102", "0104"]);
    assert_eq!(
        browser.run("return document.querySelector('th[aria-sort]').innerText.trim()"),
        "Answered ▾"
    );
    browser.click("th a[href*='reverse=1']");
    assert_rows(&browser, &["0102", "0104", "0105", "0101", "0103"]);

    // Found while one types; the keyboard stays where it is.
    browser.write("#q", "0103");
    assert_rows(&browser, &["0103"]);
    assert_eq!(browser.run("return document.activeElement.id"), "q");
    assert!(browser.address().contains("q=0103"));

    // A number changes before one's eyes.
    let calls = "#dids tbody td.figure";
    assert_eq!(browser.texts(calls)[0], "70");
    browser.run("window.stays = true");
    write_call(&shown.site, &shown.server, 990_001, "3125550103");
    wait_until("the number has changed", || {
        // The week ends today now, and its first day has ten calls fewer.
        (browser.texts(calls)[0] == "61").then_some(())
    });
    assert_eq!(
        browser.run("return window.stays"),
        true,
        "the page was not loaded anew"
    );

    // By the keyboard alone to the page of a DID.
    for _ in 0..60 {
        let is_link = "return document.activeElement.closest('tbody') !== null";
        if browser.run(is_link) == true {
            break;
        }
        browser.press(TAB);
    }
    browser.press(ENTER);
    wait_until("the page of the DID", || {
        let title = browser.texts("h1");
        title
            .first()
            .filter(|title| title.contains("+13125550103"))
            .map(drop)
    });
    assert!(
        browser
            .texts("section#did table")
            .iter()
            .any(|table| table.contains("SOLAR"))
    );
    assert!(
        browser
            .texts("section#did table")
            .iter()
            .any(|table| table.contains("SALE"))
    );
    assert_eq!(
        browser.texts("[aria-label='Recent calls'] tbody tr").len(),
        50
    );

    // Logged out, nothing is left to see.
    browser.click("header button");
    wait_until("the login", || {
        browser.address().ends_with("/login").then_some(())
    });
    browser.go(&format!("{}/dids/%2B13125550103", shown.base));
    assert!(
        browser.address().contains("/login?next="),
        "{}",
        browser.address()
    );
    assert_eq!(browser.run("return document.cookie"), "");

    // And back to where one wanted to go.
    browser.write("#key", "didtail_not_a_key");
    browser.click("button[type=submit]");
    wait_until("it is refused", || {
        let banner = browser.texts(".banner");
        banner
            .first()
            .filter(|said| said.contains("unknown"))
            .map(drop)
    });
    browser.write("#key", &shown.key);
    browser.click("button[type=submit]");
    wait_until("the page of the DID", || {
        browser
            .address()
            .contains("/dids/%2B13125550103")
            .then_some(())
    });

    // What is wrong is said by itself, and what is shown is said to be old.
    browser.go(&shown.base);
    shown.server.stop();
    wait_until("the source is told to be lost", || {
        let cards = browser.texts("#sources .card.bad");
        cards
            .first()
            .filter(|card| card.contains("not followed"))
            .map(drop)
    });
    let log = shown.daemon.stop();
    wait_until("the page is told to be old", || {
        let told = browser.texts("#stale:not([hidden])");
        told.first()
            .filter(|told| told.contains("didtail does not answer"))
            .map(drop)
    });
    assert!(!log.contains(&shown.key), "the key is in the log");
}

/// Pictures for who wants to look: `DASHBOARD_PICTURES=folder`.
fn pictures() -> Option<PathBuf> {
    std::env::var_os("DASHBOARD_PICTURES").map(PathBuf::from)
}

#[test]
fn it_is_read_in_both_themes_on_a_phone_and_without_scripts() {
    let shown = Shown::new("dashboard-themes");
    let browser = Window::open("themes", DESK);
    shown.log_in(&browser);
    wait_until("what was applied is in the chart", || {
        let charts = browser.texts("#sources figcaption");
        charts
            .iter()
            .any(|chart| chart.contains("behind: now 0 s"))
            .then_some(())
    });
    let did = format!("{}/dids/%2B13125550102", shown.base);
    let mut backs = Vec::new();
    for theme in ["light", "dark"] {
        browser.theme(theme);
        for (name, url) in [("overview", &shown.base), ("did", &did)] {
            browser.go(url);
            wait_until("the page", || {
                (!browser.texts("table").is_empty()).then_some(())
            });
            assert_eq!(contrasts_below(&browser, 4.5), json!([]), "{theme} {name}");
            if let Some(folder) = pictures() {
                browser.picture(&folder.join(format!("{name}-{theme}.png")));
            }
        }
        backs.push(browser.run("return getComputedStyle(document.body).backgroundColor"));
    }
    assert_ne!(backs[0], backs[1]);

    browser.device(390, 844);
    for (name, url) in [("overview", &shown.base), ("did", &did)] {
        browser.go(url);
        wait_until("the page", || {
            (!browser.texts("table").is_empty()).then_some(())
        });
        let widths = browser.run("return [document.documentElement.scrollWidth, innerWidth]");
        assert_eq!(widths[0], widths[1], "the page is no wider than the screen");
        if name == "overview" {
            let table = "const table = document.querySelector('#dids .scrolls'); \
                         table.scrollIntoView(); return [table.scrollWidth, table.clientWidth]";
            let widths = browser.run(table);
            assert_eq!(widths[0], widths[1], "nor is the table of DIDs");
        }
        if let Some(folder) = pictures() {
            browser.picture(&folder.join(format!("{name}-phone.png")));
        }
    }

    browser.scripts(false);
    browser.go(&format!("{}/?q=0104", shown.base));
    let page = browser.run("return document.documentElement.outerHTML");
    let page = page.as_str().expect("a page");
    assert!(
        page.contains("+13125550104") && !page.contains("+13125550102"),
        "{page}"
    );
    assert!(page.contains("http-equiv=\"refresh\""), "{page}");
}

/// Texts whose colour stands out less from what is behind them than a reader needs
/// (WCAG 2.2, 1.4.3), with how much they do.
fn contrasts_below(browser: &Window, least: f64) -> serde_json::Value {
    browser.run(&format!(
        "const part = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
         const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
         const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
         const behind = (e) => {{
           for (; e; e = e.parentElement) {{
             const color = numbers(getComputedStyle(e).backgroundColor);
             if (color.length === 3 || color[3] === 1) return color;
           }}
           return [255, 255, 255];
         }};
         const poor = [];
         for (const e of document.querySelectorAll('body *')) {{
           const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
           if (!own || !e.checkVisibility() || e.closest('svg, .hidden, .skip')) continue;
           const [a, b] = [numbers(getComputedStyle(e).color), behind(e)].map(light).sort((x, y) => y - x);
           const ratio = (a + 0.05) / (b + 0.05);
           if (ratio < {least}) poor.push([e.innerText, ratio]);
         }}
         return poor;"
    ))
}

//! The dashboard's pages as a browser asks for them, over a store in a file.

use super::endpoints::{DID, Site};
use super::status;
use crate::ledger::{Call, ChangeSet};
use crate::store::conformance::change::{answered, empty, honest, key};
use crate::store::{Dump, Store as _};

const OWN: &str = "Sec-Fetch-Site: same-origin\r\n";

/// The value of a header.
pub(super) fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let lines = answer.lines().take_while(|line| !line.is_empty());
    let mut pairs = lines.filter_map(|line| line.split_once(": "));
    let found = pairs.find(|(found, _)| found.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value)
}

async fn log_in(site: &Site, key: &str) -> String {
    site.ask("POST", "/login", OWN, &format!("key={key}&next=%2F"))
        .await
}

/// The head line with the cookie of who logged in.
async fn cookie(site: &Site, key: &str) -> String {
    let answer = log_in(site, key).await;
    assert_eq!(status(&answer), "303", "{answer}");
    let cookie = header(&answer, "set-cookie").expect("a cookie");
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
        "{cookie}"
    );
    let pair = cookie.split(';').next().expect("a pair");
    format!("Cookie: {pair}\r\n")
}

#[tokio::test]
async fn nobody_sees_anything_without_a_login() {
    let site = Site::new().await;
    for (path, login) in [
        ("/", "/login"),
        ("/?sort=calls", "/login?next=%2F%3Fsort%3Dcalls"),
        ("/dids/2025550100", "/login?next=%2Fdids%2F2025550100"),
    ] {
        for head in ["", "x-api-key: nonsense\r\n"] {
            let answer = site.ask("GET", path, head, "").await;
            assert_eq!(status(&answer), "303", "{answer}");
            assert_eq!(header(&answer, "location"), Some(login));
            assert!(!answer.contains(DID), "{answer}");
        }
    }
    let forged = site.ask("GET", "/", "Cookie: didtail_session=0000\r\n", "");
    let forged = forged.await;
    assert_eq!(header(&forged, "location"), Some("/login?ended=1"));
    assert!(!forged.contains(DID), "{forged}");
    let wrong = log_in(&site, "didtail_nonsense").await;
    assert_eq!(status(&wrong), "401", "{wrong}");
    assert_eq!(header(&wrong, "set-cookie"), None);
    let forged = "Sec-Fetch-Site: cross-site\r\n";
    let body = format!("key={}", site.keys[0]);
    let forged = site.ask("POST", "/login", forged, &body).await;
    assert_eq!(status(&forged), "403", "{forged}");
    assert_eq!(header(&forged, "set-cookie"), None);
    site.server.stop().await;
}

#[tokio::test]
async fn every_page_forbids_what_it_does_not_need() {
    let site = Site::new().await;
    let cookie = cookie(&site, &site.keys[0]).await;
    for path in ["/", "/login", "/dids/2025550100", "/assets/dashboard.js"] {
        let answer = site.ask("GET", path, &cookie, "").await;
        assert_eq!(status(&answer), "200", "{answer}");
        let policy = header(&answer, "content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
        assert!(policy.contains("frame-ancestors 'none'"));
        assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
        assert_eq!(header(&answer, "x-frame-options"), Some("DENY"));
        // Nothing of that policy is needed by the page itself.
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        for inline in ["<style", " style=", "<script>", " onclick", "javascript:"] {
            assert!(!body.contains(inline), "{path} has {inline}");
        }
    }
    let missing = site.ask("GET", "/assets/passwd", "", "").await;
    assert_eq!(status(&missing), "404");
    // A browser is shown a page, a program JSON.
    let browser = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";
    for (head, kind) in [
        (browser, "text/html; charset=utf-8"),
        ("", "application/json"),
    ] {
        let nowhere = site.ask("GET", "/did/2025550100", head, "").await;
        assert_eq!(status(&nowhere), "404", "{nowhere}");
        assert_eq!(header(&nowhere, "content-type"), Some(kind));
        let policy = header(&nowhere, "content-security-policy");
        assert_eq!(policy.is_some(), !head.is_empty());
    }
    site.server.stop().await;
}

#[tokio::test]
async fn who_is_logged_in_sees_the_numbers_of_the_keys_tenant_alone() {
    let site = Site::new().await;
    let cookies = [
        cookie(&site, &site.keys[0]).await,
        cookie(&site, &site.keys[1]).await,
    ];
    let numbers = [DID, "+12025550199"];
    for (own, other) in [(0, 1), (1, 0)] {
        let page = site.ask("GET", "/", &cookies[own], "").await;
        assert!(
            page.contains(numbers[own]) && !page.contains(numbers[other]),
            "{page}"
        );
        // The source `main` belongs to the first tenant, and nobody else hears of it.
        assert_eq!(page.contains("<h3>main "), own == 0, "{page}");
        assert!(!page.contains("<h3>two "), "{page}");
        let path = |number: &str| format!("/dids/{}", number.replace('+', "%2B"));
        let page = site
            .ask("GET", &path(numbers[own]), &cookies[own], "")
            .await;
        assert_eq!(status(&page), "200", "{page}");
        let page = site
            .ask("GET", &path(numbers[other]), &cookies[own], "")
            .await;
        assert_eq!(status(&page), "404", "{page}");
    }
    for path in ["/dids/nonsense", "/dids/%ff", "/dids/"] {
        let page = site.ask("GET", path, &cookies[0], "").await;
        assert_eq!(status(&page), "404", "{page}");
    }
    site.server.stop().await;
}

#[tokio::test]
async fn a_session_ends_with_the_logout_and_with_the_key() {
    let site = Site::new().await;
    let first = cookie(&site, &site.keys[0]).await;
    let second = cookie(&site, &site.keys[0]).await;
    let forged = format!("{first}Origin: https://evil.example\r\n");
    let answer = site.ask("POST", "/logout", &forged, "").await;
    assert_eq!(status(&answer), "403");
    let answer = site.ask("GET", "/", &first, "").await;
    assert_eq!(status(&answer), "200", "{answer}");
    let answer = site
        .ask("POST", "/logout", &format!("{first}{OWN}"), "")
        .await;
    assert_eq!(status(&answer), "303");
    let cookie = header(&answer, "set-cookie").expect("a cookie");
    assert!(cookie.starts_with("didtail_session=;") && cookie.contains("Max-Age=0"));
    let answer = site.ask("GET", "/", &first, "").await;
    assert_eq!(status(&answer), "303", "{answer}");

    let keys = site.store.api_keys(None).await.expect("readable");
    let own = keys.iter().find(|key| key.tenant == "default").expect("it");
    site.store.revoke_api_key(own.id).await.expect("revoked");
    // It is remembered for half a second.
    for _ in 0..100 {
        let answer = site.ask("GET", "/", &second, "").await;
        if status(&answer) == "303" {
            site.server.stop().await;
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("who has a revoked key is still let in");
}

/// A number that is none is kept by its digits, which may be another number's.
#[tokio::test]
async fn a_link_leads_to_the_did_that_it_names() {
    let site = Site::new().await;
    let mut change = ChangeSet {
        source: "odd".to_owned(),
        ..empty(&Dump::default())
    };
    change
        .calls
        .insert(key("1.60", 9), answered("2025550100", 60));
    let change = honest(&Dump::default(), change);
    site.store.commit(&change).await.expect("kept");
    let cookie = cookie(&site, &site.keys[0]).await;
    for (path, title) in [
        ("/dids/2025550100", "2025550100 "),
        ("/dids/%2B12025550100", "+12025550100 "),
        ("/dids/(202)555-0100", "+12025550100 "),
    ] {
        let page = site.ask("GET", path, &cookie, "").await;
        assert!(
            page.contains(&format!("<h1 id=\"did-title\">{title}")),
            "{path}: {page}"
        );
    }
    let stats = site.get("/api/v1/dids/2025550100/stats").await;
    assert!(stats.contains("\"phoneNumber\":\"2025550100\""), "{stats}");
    let calls = site.get("/api/v1/call-records?did=2025550100").await;
    assert!(calls.contains("\"uniqueid\":\"1.60\""), "{calls}");
    let calls = site.get("/api/v1/call-records?did=%2B12025550100").await;
    assert!(!calls.contains("\"uniqueid\":\"1.60\""), "{calls}");
    site.server.stop().await;
}

#[tokio::test]
async fn many_wrong_keys_do_not_keep_out_who_has_a_good_one() {
    let site = Site::new().await;
    let first = log_in(&site, &site.keys[0]).await;
    assert_eq!(status(&first), "303", "{first}");
    for _ in 0..400 {
        let wrong = log_in(&site, "didtail_nonsense").await;
        if status(&wrong) == "429" {
            let again = log_in(&site, &site.keys[0]).await;
            assert_eq!(status(&again), "303", "{again}");
            site.server.stop().await;
            return;
        }
    }
    panic!("keys can be tried without end");
}

#[tokio::test]
async fn behind_tls_the_cookie_goes_over_tls_alone() {
    let site = Site::new().await;
    let head = format!("{OWN}X-Forwarded-Proto: https\r\n");
    let body = format!("key={}", site.keys[0]);
    let answer = site.ask("POST", "/login", &head, &body).await;
    let cookie = header(&answer, "set-cookie").expect("a cookie");
    assert!(cookie.starts_with("__Host-didtail_session=") && cookie.ends_with("; Secure"));
    let token = cookie.split(['=', ';']).nth(1).expect("a token");
    for (name, expected) in [
        ("__Host-didtail_session", "200"),
        ("didtail_session", "303"),
    ] {
        let head = format!("Cookie: {name}={token}\r\nX-Forwarded-Proto: https\r\n");
        let answer = site.ask("GET", "/", &head, "").await;
        assert_eq!(status(&answer), expected, "{name}");
    }
    site.server.stop().await;
}

#[tokio::test]
async fn what_a_dialer_or_an_address_says_never_becomes_markup() {
    const EVIL: &str = "\"'><script>alert(1)</script>";
    let site = Site::new().await;
    let mut change = ChangeSet {
        source: "evil".to_owned(),
        ..empty(&Dump::default())
    };
    let call = Call {
        campaign_id: EVIL.to_owned(),
        agent_id: EVIL.to_owned(),
        disposition: EVIL.to_owned(),
        phone_number: EVIL.to_owned(),
        ..answered(DID, 60)
    };
    change.calls.insert(key("1.60", 9), call);
    let change = honest(&Dump::default(), change);
    site.store.commit(&change).await.expect("kept");
    let cookie = cookie(&site, &site.keys[0]).await;
    let evil = "%22%27%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    for path in [
        "/dids/2025550100".to_owned(),
        format!("/?q={evil}&sort={evil}&days={evil}&page={evil}&signs={evil}"),
        format!("/login?next=/{evil}"),
        format!("/dids/{evil}"),
    ] {
        let page = site.ask("GET", &path, &cookie, "").await;
        assert!(!page.contains("<script>"), "{path}: {page}");
    }
    let page = site.ask("GET", "/dids/2025550100", &cookie, "").await;
    assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
    site.server.stop().await;
}

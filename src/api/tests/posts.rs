//! Posted results: each answer, and what is kept.

use super::endpoints::{DID, Site};
use super::{json, say, status};
use crate::engine::Desk;
use crate::ledger::Aged;
use crate::store::conformance::change::SOURCE;
use crate::store::{POSTED_MAX, Prune, Store as _};

const PATH: &str = "/api/v1/call-results";

pub(super) fn body() -> serde_json::Value {
    serde_json::json!({
        "uniqueid": "1700000000.1", "phoneNumber": "2025550143", "didUsed": "2025550100",
        "disposition": "SALE", "duration": 83, "campaignId": "SOLAR", "agentId": "6001",
        "timestamp": 1_700_000_090,
    })
}

async fn post(site: &Site, path: &str, head: &str, body: &str) -> String {
    let head = format!("x-api-key: {}\r\n{head}", site.keys[0]);
    site.ask("POST", path, &head, body).await
}

/// The names of what waits of a source.
async fn waiting(site: &Site, source: &str) -> Vec<String> {
    let (waiting, _) = site.store.posted(source, 99).await.expect("read");
    waiting.into_iter().map(|one| one.posted.uniqueid).collect()
}

#[tokio::test]
async fn a_result_is_recorded_before_it_is_answered() {
    let site = Site::new().await;
    let answer = post(&site, PATH, "", &body().to_string()).await;
    assert_eq!(status(&answer), "200", "{answer}");
    let document = json(&answer);
    assert_eq!(document["success"], true);
    assert_eq!(document["message"], "Call result recorded");
    assert_eq!(document["data"]["recordId"], "main:1700000000.1");
    let did = site.store.did_row("default", DID).await.expect("read");
    assert_eq!(document["data"]["didId"].as_i64(), did.map(|did| did.id));
    assert_eq!(waiting(&site, "main").await, ["1700000000.1"]);
    // Without a DID there is none, and one that is not known is made.
    let mut other = body();
    other["didUsed"] = serde_json::Value::Null;
    let answer = json(&post(&site, PATH, "", &other.to_string()).await);
    assert!(answer["data"]["didId"].is_null(), "{answer}");
    other["didUsed"] = "2025550177".into();
    let answer = json(&post(&site, PATH, "", &other.to_string()).await);
    assert!(answer["data"]["didId"].is_i64(), "{answer}");
    let made = site.store.did_row("default", "+12025550177").await;
    let made = made.expect("read").expect("made");
    assert_eq!(made.origin, "reported");
    site.server.stop().await;
}

#[tokio::test]
async fn what_is_not_understood_is_refused_with_every_bad_field() {
    let site = Site::new().await;
    for (text, fields) in [
        (
            "{}",
            &["disposition", "phoneNumber", "timestamp", "uniqueid"][..],
        ),
        ("[]", &["body"]),
        ("{", &["body"]),
        ("", &["body"]),
    ] {
        let answer = post(&site, PATH, "", text).await;
        assert_eq!(status(&answer), "400", "{text}: {answer}");
        let document = json(&answer);
        let named = document["errors"].as_object().expect("by field");
        let named: Vec<&str> = named.keys().map(String::as_str).collect();
        assert_eq!(named, fields, "{text}");
    }
    let path = format!("{PATH}?source=west");
    let answer = post(&site, &path, "", &body().to_string()).await;
    assert_eq!(status(&answer), "400", "another tenant's: {answer}");
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(70_000));
    assert_eq!(status(&post(&site, PATH, "", &large).await), "413");
    let unknown = site.ask("POST", PATH, "", &body().to_string()).await;
    assert_eq!(status(&unknown), "401");
    let address = site.server.address();
    let get = format!("GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&say(address, &get).await), "405");
    assert_eq!(waiting(&site, "main").await, [""; 0]);
    site.server.stop().await;
}

#[tokio::test]
async fn a_did_that_is_not_known_is_refused_where_none_are_added() {
    let own = |name: &str, tenant: &str| (name.to_owned(), tenant.to_owned());
    let sources = vec![own("main", "default"), own("east", "default")];
    let site = Site::with(Desk::new(sources, "US", false)).await;
    let mut unknown = body();
    unknown["didUsed"] = "2025550177".into();
    let path = format!("{PATH}?source=east");
    let answer = post(&site, &path, "", &unknown.to_string()).await;
    assert_eq!(status(&answer), "404", "{answer}");
    assert_eq!(json(&answer)["message"], "DID not found");
    let answer = post(&site, &path, "", &body().to_string()).await;
    assert_eq!(status(&answer), "200", "{answer}");
    assert_eq!(waiting(&site, "east").await, ["1700000000.1"]);
    // Of several sources one has to be named.
    let answer = post(&site, PATH, "", &body().to_string()).await;
    assert_eq!(status(&answer), "400", "{answer}");
    assert!(json(&answer)["errors"]["source"].is_string(), "{answer}");
    site.server.stop().await;
}

#[tokio::test]
async fn an_idempotency_key_makes_it_one() {
    let site = Site::new().await;
    let head = "Idempotency-Key: 8e03978e-40d5-43dd-bc93-6894a57f9324\r\n";
    let first = post(&site, PATH, head, &body().to_string()).await;
    assert_eq!(status(&first), "200");
    let again = post(&site, PATH, head, &body().to_string()).await;
    assert_eq!(json(&again), json(&first));
    assert_eq!(waiting(&site, "main").await.len(), 1);
    let mut other = body();
    other["disposition"] = "NI".into();
    let refused = post(&site, PATH, head, &other.to_string()).await;
    assert_eq!(status(&refused), "422", "{refused}");
    let empty = post(&site, PATH, "Idempotency-Key: \r\n", &body().to_string()).await;
    assert_eq!(status(&empty), "400", "{empty}");
    site.server.stop().await;
}

#[tokio::test]
async fn many_at_once_are_all_kept() {
    let site = Site::new().await;
    let texts = (0..200).map(|number| {
        let mut one = body();
        one["uniqueid"] = format!("1700000000.{number}").into();
        one.to_string()
    });
    let texts: Vec<String> = texts.collect();
    let all = texts.iter().map(|text| post(&site, PATH, "", text));
    for answer in futures_util::future::join_all(all).await {
        assert_eq!(status(&answer), "200", "{answer}");
    }
    let (_, count) = site.store.posted("main", 1).await.expect("read");
    assert_eq!(count, 200);
    assert!(count < POSTED_MAX);
    site.server.stop().await;
}

/// It would be durable, and in no number.
#[tokio::test]
async fn a_call_that_is_older_than_what_is_kept_is_refused() {
    let site = Site::new().await;
    let expected = site.store.progress(SOURCE).await.expect("read");
    let prune = Prune {
        source: SOURCE,
        tenant: "default",
        expected: &expected.expect("a position"),
        fencing_token: None,
        aged: Aged::Dials,
        before: 1_700_000_050,
        rows_max: 100,
    };
    site.store.sweep(&prune).await.expect("deleted");
    for (uniqueid, timestamp, wrong) in [
        ("1700000000.1", 1_700_000_090, Some("uniqueid")),
        ("none", 1_700_000_010, Some("timestamp")),
        ("1700000060.1", 1_700_000_090, None),
        ("none", 1_700_000_060, None),
    ] {
        let mut body = body();
        body["uniqueid"] = uniqueid.into();
        body["timestamp"] = timestamp.into();
        let answer = post(&site, PATH, "", &body.to_string()).await;
        match wrong {
            Some(field) => {
                assert_eq!(status(&answer), "400", "{answer}");
                assert!(json(&answer)["errors"][field].is_string(), "{answer}");
            }
            None => assert_eq!(status(&answer), "200", "{answer}"),
        }
    }
    assert_eq!(waiting(&site, "main").await, ["1700000060.1", "none"]);
    site.server.stop().await;
}

//! Each endpoint and each of its answers, over a store in a file.

use std::sync::Arc;

use tempfile::TempDir;

use super::{Server, desk, json, say, status, vitals};
use crate::engine::Desk;
use crate::ledger::ChangeSet;
use crate::store::conformance::change::{answered, dial_key, dialed, empty, honest, key};
use crate::store::{ApiKey, Dump, SqlStore, Store as _};

/// A server over a store with some calls of two tenants.
pub(super) struct Site {
    pub(super) server: Server,
    pub(super) store: SqlStore,
    pub(super) desk: Arc<Desk>,
    /// Keys of the tenants `default` and `other`.
    pub(super) keys: [String; 2],
    _folder: TempDir,
}

pub(super) const DID: &str = "+12025550100";
const OTHERS_DID: &str = "+12025550199";

impl Site {
    pub(super) async fn new() -> Self {
        Self::with(desk()).await
    }

    pub(super) async fn with(desk: Arc<Desk>) -> Self {
        let (store, folder) = crate::store::tests::sqlite("").await;
        fill(&store).await;
        let mut keys = [String::new(), String::new()];
        for (key, tenant) in keys.iter_mut().zip(["default", "other"]) {
            let made = ApiKey::random().expect("random bytes");
            store
                .create_api_key(tenant, "test", &made.hash())
                .await
                .expect("kept");
            made.reveal().clone_into(key);
        }
        let listen = "127.0.0.1:0".parse().expect("an address");
        let vitals = vitals();
        let server = Server::start(listen, None, Arc::clone(&vitals), Arc::clone(&desk));
        let server = server.await.expect("it listens");
        desk.open(&store, &vitals);
        Self {
            server,
            store,
            desk,
            keys,
            _folder: folder,
        }
    }

    /// Asks with more lines in the head, and a body.
    pub(super) async fn ask(&self, method: &str, path: &str, head: &str, body: &str) -> String {
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}Content-Length: {length}\r\n\r\n{body}"
        );
        say(self.server.address(), &text).await
    }

    /// Asks with the key of the first tenant.
    pub(super) async fn get(&self, path: &str) -> String {
        let head = format!("x-api-key: {}\r\n", self.keys[0]);
        self.ask("GET", path, &head, "").await
    }
}

/// Five calls in seconds 10 to 50 and a dial of one tenant, and a call of another.
async fn fill(store: &SqlStore) {
    let mut change = empty(&Dump::default());
    for at in [10, 20, 30, 40, 50] {
        let mut call = answered(DID, at);
        if at == 30 {
            call.disposition = "NI".to_owned();
            call.campaign_id = "WEST".to_owned();
            call.successful = false;
        }
        change.calls.insert(key(&format!("1.{at}"), 1), call);
    }
    let dial = dialed(DID, 1, 35);
    change.dials.insert(dial_key("V1", 35), dial);
    let change = honest(&Dump::default(), change);
    store.commit(&change).await.expect("kept");
    let mut others = ChangeSet {
        source: "west".to_owned(),
        tenant: "other".to_owned(),
        ..empty(&Dump::default())
    };
    let call = answered(OTHERS_DID, 15);
    others.calls.insert(key("1.10", 1), call);
    let others = honest(&Dump::default(), others);
    store.commit(&others).await.expect("kept");
}

fn uniqueids(document: &serde_json::Value) -> Vec<&str> {
    let data = document["data"].as_array().expect("a page");
    let name = |record: &serde_json::Value| record["uniqueid"].as_str().map(str::len);
    assert!(data.iter().all(|record| name(record).is_some()));
    data.iter()
        .filter_map(|record| record["uniqueid"].as_str())
        .collect()
}

#[tokio::test]
async fn without_a_valid_key_nothing_is_told() {
    let site = Site::new().await;
    for path in [
        "/api/v1/call-records",
        "/api/v1/dids",
        "/api/v1/dids/2025550100/stats",
    ] {
        for head in [
            "",
            "x-api-key: didtail_0000\r\n",
            "x-api-key: \r\n",
            "Authorization: Bearer nonsense\r\n",
            "Authorization: Basic ZGlkdGFpbA==\r\n",
        ] {
            let answer = site.ask("GET", path, head, "").await;
            assert_eq!(status(&answer), "401", "{path} {head}: {answer}");
            assert_eq!(json(&answer)["success"], false);
            assert!(json(&answer)["message"].is_string());
        }
    }
    let bearer = format!("Authorization: Bearer {}\r\n", site.keys[0]);
    let answer = site.ask("GET", "/api/v1/dids", &bearer, "").await;
    assert_eq!(status(&answer), "200", "{answer}");
    // What is open stays open.
    for path in ["/healthz", "/metrics", "/api/v1/openapi.json"] {
        assert_ne!(
            status(&site.ask("GET", path, "", "").await),
            "401",
            "{path}"
        );
    }
    site.server.stop().await;
}

#[tokio::test]
async fn a_key_that_is_revoked_is_refused_within_a_second() {
    let site = Site::new().await;
    assert_eq!(status(&site.get("/api/v1/dids").await), "200");
    let keys = site.store.api_keys(Some("default")).await.expect("keys");
    site.store.revoke_api_key(keys[0].id).await.expect("done");
    let revoked = std::time::Instant::now();
    while status(&site.get("/api/v1/dids").await) != "401" {
        assert!(revoked.elapsed().as_secs() < 1, "it still holds");
    }
    site.server.stop().await;
}

#[tokio::test]
async fn the_last_use_of_a_key_is_noted_beside_the_answer() {
    let site = Site::new().await;
    assert_eq!(status(&site.get("/api/v1/dids").await), "200");
    let used = async || {
        let keys = site.store.api_keys(Some("default")).await.expect("keys");
        keys[0].last_used_at
    };
    let noted = async {
        while used().await.is_none() {
            tokio::task::yield_now().await;
        }
    };
    let noted = tokio::time::timeout(std::time::Duration::from_secs(30), noted);
    noted.await.expect("noted");
    let first = used().await;
    let keys = site.store.api_keys(Some("default")).await.expect("keys");
    site.store.note_key_used(keys[0].id).await.expect("again");
    assert_eq!(used().await, first, "not within a minute");
    site.server.stop().await;
}

#[tokio::test]
async fn pages_have_every_call_once_the_newest_first() {
    let site = Site::new().await;
    let mut seen = Vec::new();
    let mut path = "/api/v1/call-records?limit=2".to_owned();
    for page in 0.. {
        let document = json(&site.get(&path).await);
        assert_eq!(document["success"], true, "{document}");
        seen.extend(uniqueids(&document).into_iter().map(str::to_owned));
        let Some(cursor) = document["nextCursor"].as_str() else {
            break;
        };
        assert!(page < 3, "it has an end");
        path = format!("/api/v1/call-records?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ["1.50", "1.40", "1.30", "1.20", "1.10"]);
    site.server.stop().await;
}

#[tokio::test]
async fn filters_narrow_and_are_all_checked() {
    let site = Site::new().await;
    for (query, expected) in [
        ("did=202-555-0100&limit=1", &["1.50"][..]),
        ("did=2025550101", &[]),
        ("campaign=WEST", &["1.30"]),
        ("disposition=NI&campaign=WEST", &["1.30"]),
        ("disposition=NI&campaign=OUT", &[]),
        ("since=40", &["1.50", "1.40"]),
        ("since=1970-01-01T00:00:20Z&until=40", &["1.30", "1.20"]),
        ("campaign=%27%20OR%201%3D1%20--", &[]),
    ] {
        let answer = site.get(&format!("/api/v1/call-records?{query}")).await;
        assert_eq!(status(&answer), "200", "{answer}");
        assert_eq!(uniqueids(&json(&answer)), expected, "{query}");
    }
    for (query, fields) in [
        ("limit=0&since=x", &["limit", "since"][..]),
        ("limit=1001", &["limit"]),
        ("cursor=zz&until=never", &["cursor", "until"]),
        ("cursor=31", &["cursor"]),
        ("did=nobody", &["did"]),
        ("since=20&until=20", &["until"]),
        ("sort=up", &["sort"]),
        ("did=1&did=2", &["did"]),
    ] {
        let answer = site.get(&format!("/api/v1/call-records?{query}")).await;
        assert_eq!(status(&answer), "400", "{query}: {answer}");
        let document = json(&answer);
        let named = document["errors"].as_object().expect("by field");
        let named: Vec<&str> = named.keys().map(String::as_str).collect();
        assert_eq!(named, fields, "{query}");
    }
    site.server.stop().await;
}

#[tokio::test]
async fn a_did_has_its_numbers() {
    let site = Site::new().await;
    let document = json(&site.get("/api/v1/dids").await);
    assert_eq!(document["data"].as_array().map(Vec::len), Some(1));
    let did = &document["data"][0];
    assert_eq!(did["phoneNumber"], DID);
    assert_eq!(did["numbers"]["totalCalls"], 5);
    assert_eq!(did["numbers"]["dials"], 1);
    assert_eq!(did["lastCallAt"], "1970-01-01T00:00:50Z");
    let document = json(&site.get("/api/v1/dids/(202)%20555-0100/stats").await);
    assert_eq!(document["data"]["total"]["totalCalls"], 5, "{document}");
    assert_eq!(document["data"]["byDisposition"][1]["name"], "NI");
    let since = json(&site.get("/api/v1/dids/2025550100/stats?since=40").await);
    assert_eq!(since["data"]["total"]["totalCalls"], 2, "{since}");
    assert_eq!(since["data"]["since"], "1970-01-01T00:00:40Z");
    for (path, expected) in [
        ("/api/v1/dids/2025550101/stats", "404"),
        ("/api/v1/dids/nobody/stats", "400"),
        ("/api/v1/dids/2025550100/stats?since=x", "400"),
        ("/api/v1/dids?limit=x", "400"),
    ] {
        assert_eq!(status(&site.get(path).await), expected, "{path}");
    }
    site.server.stop().await;
}

#[tokio::test]
async fn tenants_see_their_own_rows_alone() {
    let site = Site::new().await;
    let others = format!("x-api-key: {}\r\n", site.keys[1]);
    let records = site.ask("GET", "/api/v1/call-records", &others, "").await;
    assert_eq!(uniqueids(&json(&records)), ["1.10"]);
    assert_eq!(json(&records)["data"][0]["did"], OTHERS_DID);
    let path = "/api/v1/call-records?did=2025550100";
    let records = site.ask("GET", path, &others, "").await;
    assert_eq!(uniqueids(&json(&records)), [""; 0]);
    let path = "/api/v1/dids/2025550100/stats";
    assert_eq!(status(&site.ask("GET", path, &others, "").await), "404");
    let dids = json(&site.ask("GET", "/api/v1/dids", &others, "").await);
    assert_eq!(dids["data"].as_array().map(Vec::len), Some(1));
    // A place of one tenant's list says nothing in another's.
    let page = json(&site.get("/api/v1/call-records?limit=1").await);
    let cursor = page["nextCursor"].as_str().expect("more");
    let path = format!("/api/v1/call-records?cursor={cursor}");
    let records = site.ask("GET", &path, &others, "").await;
    assert_eq!(uniqueids(&json(&records)), ["1.10"]);
    site.server.stop().await;
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let site = Site::new().await;
    let answer = site.get("/api/v1/dids").await;
    let tag = answer
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .expect("a tag");
    assert!(
        answer.contains("cache-control: private, no-cache"),
        "{answer}"
    );
    let head = format!("x-api-key: {}\r\nIf-None-Match: {tag}\r\n", site.keys[0]);
    let again = site.ask("GET", "/api/v1/dids", &head, "").await;
    assert_eq!(status(&again), "304", "{again}");
    let other = format!("x-api-key: {}\r\nIf-None-Match: \"x\"\r\n", site.keys[0]);
    assert_eq!(
        status(&site.ask("GET", "/api/v1/dids", &other, "").await),
        "200"
    );
    site.server.stop().await;
}

#[tokio::test]
async fn before_the_store_is_open_a_client_is_told_to_come_again() {
    let site = Site::new().await;
    site.desk.close().await;
    let answer = site.get("/api/v1/dids").await;
    assert_eq!(status(&answer), "503");
    assert!(answer.contains("retry-after: "), "{answer}");
    site.server.stop().await;
}

#[tokio::test]
async fn who_tries_keys_is_slowed_down() {
    let site = Site::new().await;
    let known = site.get("/api/v1/dids").await;
    assert_eq!(status(&known), "200", "{known}");
    let mut answer = String::new();
    for _ in 0..5000 {
        let head = "x-api-key: didtail_0000\r\n";
        answer = site.ask("GET", "/api/v1/dids", head, "").await;
        if status(&answer) == "429" {
            break;
        }
    }
    assert_eq!(status(&answer), "429", "{answer}");
    assert!(answer.contains("retry-after: 1"), "{answer}");
    let known = site.get("/api/v1/dids").await;
    assert_eq!(
        status(&known),
        "200",
        "whoever has a key is not kept out: {known}"
    );
    site.server.stop().await;
}

#[tokio::test]
async fn one_key_does_not_fill_the_queue_of_all() {
    let site = Site::new().await;
    let all = (0..200).map(|_| site.get("/api/v1/call-records"));
    for answer in futures_util::future::join_all(all).await {
        let status = status(&answer);
        assert!(["200", "429"].contains(&status), "{answer}");
    }
    // Each read gives its place back.
    for _ in 0..40 {
        let answer = site.get("/api/v1/dids").await;
        assert_eq!(status(&answer), "200", "{answer}");
    }
    let answer = site.get("/api/v1/dids/%ff/stats").await;
    assert_eq!(status(&answer), "400", "{answer}");
    assert!(answer.contains("phone"), "{answer}");
    site.server.stop().await;
}

//! Every status that the document tells of is got, of every path, with the headers and
//! the form that it tells of.

use serde_json::Value;

use super::endpoints::{DID, Site};
use super::pages::header;
use super::{json, posts, status};
use crate::api::openapi::document_now;
use crate::engine::Desk;

/// What is got last: from then on other answers cannot be.
const LAST: [&str; 2] = ["429", "503"];

/// An operation of the document, and where it is got here.
struct Operation<'d> {
    method: String,
    path: String,
    responses: &'d serde_json::Map<String, Value>,
}

fn operations() -> Vec<Operation<'static>> {
    let paths = document_now()["paths"].as_object().expect("paths");
    let mut all = Vec::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().expect("methods") {
            all.push(Operation {
                method: method.to_uppercase(),
                path: path.replace("{phone}", DID),
                responses: operation["responses"].as_object().expect("statuses"),
            });
        }
    }
    all
}

impl Operation<'_> {
    fn body(&self) -> Value {
        match self.method.as_str() {
            "POST" => posts::body(),
            _ => Value::Null,
        }
    }

    async fn ask(&self, site: &Site, query: &str, head: &str, body: &Value) -> String {
        let text = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let path = format!("{}{query}", self.path);
        site.ask(&self.method, &path, head, &text).await
    }

    /// The same with the key of the first tenant.
    async fn with_key(&self, site: &Site, query: &str, head: &str, body: &Value) -> String {
        let head = format!("x-api-key: {}\r\n{head}", site.keys[0]);
        self.ask(site, query, &head, body).await
    }

    /// Asks so that the answer must be this.
    async fn got(&self, site: &Site, status: &str) -> String {
        let mut body = self.body();
        match status {
            "200" | "503" => self.with_key(site, "", "", &body).await,
            "304" => {
                let first = self.with_key(site, "", "", &body).await;
                let tag = header(&first, "etag").expect("a tag");
                let head = format!("If-None-Match: {tag}\r\n");
                self.with_key(site, "", &head, &body).await
            }
            "400" => self.with_key(site, "?sort=up", "", &body).await,
            "401" => self.ask(site, "", "", &body).await,
            "404" if self.method == "POST" => {
                body["didUsed"] = "2025550177".into();
                self.with_key(site, "", "", &body).await
            }
            "404" => {
                let path = self.path.replace(DID, "2025550177");
                site.get(&path).await
            }
            "413" => {
                body["other"] = "x".repeat(70_000).into();
                self.with_key(site, "", "", &body).await
            }
            "422" => {
                let head = "Idempotency-Key: statuses\r\n";
                self.with_key(site, "", head, &body).await;
                body["disposition"] = "NI".into();
                self.with_key(site, "", head, &body).await
            }
            "429" => {
                let mut answer = String::new();
                for _ in 0..5000 {
                    let head = "x-api-key: didtail_0000\r\n";
                    answer = self.ask(site, "", head, &body).await;
                    if super::status(&answer) == "429" {
                        break;
                    }
                }
                answer
            }
            _ => panic!("no request for {status}, which the document has"),
        }
    }

    /// Asks, and compares the answer with the document.
    async fn check(&self, site: &Site, expected: &str) {
        let Self { method, path, .. } = self;
        let answer = self.got(site, expected).await;
        assert_eq!(status(&answer), expected, "{method} {path}: {answer}");
        let told = &self.responses[expected];
        for name in told["headers"].as_object().into_iter().flatten() {
            let (name, _) = name;
            assert!(header(&answer, name).is_some(), "no {name}: {answer}");
        }
        if told["content"].is_null() {
            assert!(answer.ends_with("\r\n\r\n"), "a body: {answer}");
            return;
        }
        assert_eq!(header(&answer, "content-type"), Some("application/json"));
        let document = json(&answer);
        if !path.ends_with("openapi.json") {
            assert_eq!(document["success"], expected == "200", "{document}");
        }
    }
}

#[tokio::test]
async fn every_status_of_the_document_is_got() {
    let own = |name: &str, tenant: &str| (name.to_owned(), tenant.to_owned());
    let sources = vec![own("main", "default"), own("west", "other")];
    let site = Site::with(Desk::new(sources, "US", false)).await;
    let operations = operations();
    let mut count = 0;
    let mut check = async |last: Option<&str>| {
        for operation in &operations {
            for expected in operation.responses.keys() {
                let is_now = match last {
                    None => !LAST.contains(&expected.as_str()),
                    Some(last) => last == expected,
                };
                if is_now {
                    operation.check(&site, expected).await;
                    count += 1;
                }
            }
        }
    };
    check(None).await;
    check(Some("429")).await;
    site.desk.close().await;
    check(Some("503")).await;
    let told: usize = operations.iter().map(|one| one.responses.len()).sum();
    assert_eq!(count, told);
    assert!(told > 25, "{told}");
    site.server.stop().await;
}

#[tokio::test]
async fn another_method_is_refused_and_told_which_there_are() {
    let site = Site::new().await;
    let key = format!("x-api-key: {}\r\n", site.keys[0]);
    for Operation { method, path, .. } in operations() {
        for other in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS"] {
            if other == method {
                continue;
            }
            for head in ["", &key] {
                let answer = site.ask(other, &path, head, "").await;
                assert_eq!(status(&answer), "405", "{other} {path}: {answer}");
                let allowed = header(&answer, "allow").expect("what there is");
                assert!(allowed.split(',').any(|one| one == method), "{answer}");
                assert_eq!(json(&answer)["success"], false);
            }
        }
    }
    site.server.stop().await;
}

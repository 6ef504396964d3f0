//! A real browser: Chromium without a window, driven by ChromeDriver.
//!
//! ChromeDriver is spoken to by hand, in the few commands of
//! [WebDriver](https://www.w3.org/TR/webdriver2/) that are needed: the libraries for it
//! turn on features of serde_json in the whole test build, and what is tested would be
//! another program than the one that is shipped.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::support::{wait_until, workspace};

/// Longest answer of ChromeDriver: a picture of a long page.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How an element is named in answers (WebDriver, 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys as WebDriver has them (17.4.2).
pub(crate) const TAB: &str = "\u{e004}";
/// As [`TAB`].
pub(crate) const ENTER: &str = "\u{e007}";

/// What a machine without a window, a sandbox and a way out needs.
const ARGUMENTS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A window; it closes with the value.
pub(crate) struct Window {
    runtime: Runtime,
    chromedriver: Child,
    port: u16,
    /// The path of every command about this window.
    session: String,
}

impl Window {
    /// Opens a window of so many pixels, with nothing remembered.
    pub(crate) fn open(name: &str, (width, height): (u32, u32)) -> Self {
        let profile = workspace().join(format!("browser-{name}"));
        let scratch = profile.join("tmp");
        std::fs::create_dir_all(&scratch).expect("a folder for the browser");
        let mut chromedriver = Command::new("chromedriver")
            .arg("--port=0")
            // What Chromium leaves behind goes with this run's files.
            .env("TMPDIR", &scratch)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver: `apt-get install chromium chromium-driver`");
        let said = BufReader::new(chromedriver.stdout.take().expect("piped"));
        let port = said.lines().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let mut window = Self {
            runtime,
            chromedriver,
            port: port.expect("it says where it listens"),
            session: String::new(),
        };
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        arguments.push(format!("--window-size={width},{height}"));
        let wanted = json!({ "goog:chromeOptions": { "args": arguments } });
        let wanted = json!({ "capabilities": { "alwaysMatch": wanted } });
        let session = window.told("session", &wanted);
        let id = session["sessionId"].as_str().expect("a session");
        window.session = format!("session/{id}/");
        window
    }

    /// Goes to an address.
    pub(crate) fn go(&self, url: &str) {
        self.told("url", &json!({ "url": url }));
    }

    /// Where it is.
    pub(crate) fn address(&self) -> String {
        let address = self.run("return location.href");
        address.as_str().expect("an address").to_owned()
    }

    /// What a script of ours returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.told("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The texts of all elements of a selector, as they are seen.
    pub(crate) fn texts(&self, selector: &str) -> Vec<String> {
        let selector = json!(selector);
        let script = format!(
            "return [...document.querySelectorAll({selector})].map((e) => e.innerText.trim())"
        );
        serde_json::from_value(self.run(&script)).expect("texts")
    }

    /// Clicks on an element, as a person does: it must be visible.
    pub(crate) fn click(&self, selector: &str) {
        self.with(selector, "click", &json!({}));
    }

    /// Types into an element.
    pub(crate) fn write(&self, selector: &str, text: &str) {
        self.with(selector, "value", &json!({ "text": text }));
    }

    /// Presses a key wherever the focus is.
    pub(crate) fn press(&self, key: &str) {
        self.with(
            ":focus, body:not(:has(:focus))",
            "value",
            &json!({ "text": key }),
        );
    }

    fn with(&self, selector: &str, command: &str, body: &Value) {
        let named = json!({ "using": "css selector", "value": selector });
        // What is read again meanwhile is another element.
        wait_until(&format!("`{selector}` can be used"), || {
            let element = self.tell(Method::POST, "element", &named).ok()?;
            let element = element[ELEMENT].as_str()?;
            let path = format!("element/{element}/{command}");
            self.tell(Method::POST, &path, body).ok()
        });
    }

    /// A picture of what the window shows.
    pub(crate) fn picture(&self, file: &Path) {
        let taken = self.tell(Method::GET, "screenshot", &Value::Null);
        let taken = taken.expect("a picture");
        let picture = BASE64_STANDARD.decode(taken.as_str().expect("a picture"));
        std::fs::write(file, picture.expect("base64")).expect("written");
    }

    /// Lets pages think that the reader wants another theme: `light` or `dark`.
    pub(crate) fn theme(&self, theme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": theme }]);
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({ "features": features }),
        );
    }

    /// Lets pages run scripts, or not.
    pub(crate) fn scripts(&self, run: bool) {
        let off = json!({ "value": !run });
        self.devtools("Emulation.setScriptExecutionDisabled", &off);
    }

    /// Lets pages be as wide and high as a device.
    pub(crate) fn device(&self, width: u32, height: u32) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": true }),
        );
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        let command = json!({ "cmd": command, "params": parameters });
        self.told("goog/cdp/execute", &command);
    }

    #[track_caller]
    fn told(&self, command: &str, body: &Value) -> Value {
        let told = self.tell(Method::POST, command, body);
        told.unwrap_or_else(|why| panic!("{command}: {why}"))
    }

    /// Tells ChromeDriver a command; what it answers, or why not.
    fn tell(&self, method: Method, command: &str, body: &Value) -> Result<Value, String> {
        let answered = self.runtime.block_on(self.answered(method, command, body));
        let (is_good, mut answer) = answered.map_err(|error| error.to_string())?;
        match is_good {
            true => Ok(answer["value"].take()),
            false => Err(answer["value"].to_string()),
        }
    }

    /// One connection a command: all are on this machine.
    async fn answered(
        &self,
        method: Method,
        command: &str,
        body: &Value,
    ) -> Result<(bool, Value), Box<dyn std::error::Error>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await?;
        let body = match body {
            Value::Null => Body::empty(),
            body => Body::from(body.to_string()),
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("/{}{command}", self.session))
            .header("host", "127.0.0.1")
            .body(body)?;
        // The connection ends when its sender is dropped.
        let (answer, ended) = tokio::join!(
            async move {
                let answer = sender.send_request(request).await?;
                let is_good = answer.status().is_success();
                let body = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX).await?;
                Ok((is_good, serde_json::from_slice(&body)?))
            },
            connection
        );
        ended?;
        answer
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // A test that failed says so itself.
        let session = self.session.trim_end_matches('/').to_owned();
        self.session.clear();
        drop(self.tell(Method::DELETE, &session, &Value::Null));
        drop(self.chromedriver.kill());
        drop(self.chromedriver.wait());
    }
}

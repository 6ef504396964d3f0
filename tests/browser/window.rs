//! A real browser: Chromium without a window, driven by ChromeDriver.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axum::body::Body as Sent;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use thirtyfour::prelude::*;
use thirtyfour::session::http::{Body, HttpClient};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::support::{wait_until, workspace};

/// Longest answer of ChromeDriver: a picture of a long page.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

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
pub(crate) struct Browser {
    runtime: Runtime,
    driver: Option<WebDriver>,
    chromedriver: Child,
}

impl Browser {
    /// Opens a window of so many pixels, with nothing remembered.
    pub(crate) fn open(name: &str, (width, height): (u32, u32)) -> Self {
        let mut chromedriver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver: `apt-get install chromium chromium-driver`");
        let said = BufReader::new(chromedriver.stdout.take().expect("piped"));
        let port = said.lines().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let port = port.expect("it says where it listens");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let profile = workspace().join(format!("browser-{name}"));
        let driver = runtime.block_on(async {
            let mut wanted = DesiredCapabilities::chrome();
            for argument in ARGUMENTS {
                wanted.add_arg(argument).expect("an argument");
            }
            for argument in [
                format!("--user-data-dir={}", profile.display()),
                format!("--window-size={width},{height}"),
            ] {
                wanted.add_arg(&argument).expect("an argument");
            }
            let url = format!("http://127.0.0.1:{port}");
            let builder = WebDriver::builder(url, wanted).client(Client(port));
            builder.connect().await.expect("Chromium starts")
        });
        Self {
            runtime,
            driver: Some(driver),
            chromedriver,
        }
    }

    fn driver(&self) -> &WebDriver {
        self.driver.as_ref().expect("it is open")
    }

    /// Goes to an address.
    pub(crate) fn go(&self, url: &str) {
        self.runtime
            .block_on(self.driver().goto(url))
            .expect("a page");
    }

    /// Where it is.
    pub(crate) fn address(&self) -> String {
        let url = self.runtime.block_on(self.driver().current_url());
        url.expect("an address").to_string()
    }

    /// What a script of ours returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        let ran = self.driver().execute(script, Vec::new());
        let ran = self.runtime.block_on(ran).expect("it runs");
        ran.json().clone()
    }

    /// The texts of all elements of a selector, as they are seen.
    pub(crate) fn texts(&self, selector: &str) -> Vec<String> {
        let script = format!(
            "return [...document.querySelectorAll({})].map((e) => e.innerText.trim())",
            json!(selector)
        );
        serde_json::from_value(self.run(&script)).expect("texts")
    }

    /// Clicks on an element, as a person does: it must be visible.
    pub(crate) fn click(&self, selector: &str) {
        self.with(selector, async |element| element.click().await);
    }

    /// Types into an element.
    pub(crate) fn write(&self, selector: &str, text: &str) {
        self.with(selector, async |element| element.send_keys(text).await);
    }

    /// Presses a key wherever the focus is.
    pub(crate) fn press(&self, key: Key) {
        let pressed = async {
            let focused = self.driver().active_element().await?;
            focused.send_keys(key).await
        };
        self.runtime.block_on(pressed).expect("pressed");
    }

    fn with(&self, selector: &str, act: impl AsyncFn(WebElement) -> WebDriverResult<()>) {
        // What is read again meanwhile is another element.
        wait_until(&format!("`{selector}` can be used"), || {
            let acted = async {
                let found = self.driver().find(By::Css(selector)).await?;
                act(found).await
            };
            self.runtime.block_on(acted).ok()
        });
    }

    /// A picture of what the window shows.
    pub(crate) fn picture(&self, file: &Path) {
        let taken = self.driver().screenshot(file);
        self.runtime.block_on(taken).expect("a picture");
    }

    /// Lets pages think that the reader wants another theme: `light` or `dark`.
    pub(crate) fn theme(&self, theme: &str) {
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] }),
        );
    }

    /// Lets pages run scripts, or not.
    pub(crate) fn scripts(&self, run: bool) {
        self.devtools(
            "Emulation.setScriptExecutionDisabled",
            json!({ "value": !run }),
        );
    }

    /// Lets pages be as wide and high as a device.
    pub(crate) fn device(&self, width: u32, height: u32) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": true }),
        );
    }

    fn devtools(&self, command: &str, parameters: Value) {
        let devtools = self.driver().cdp();
        let sent = devtools.send_raw(command, parameters);
        self.runtime.block_on(sent).expect("it does so");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            // A test that failed says so itself.
            drop(self.runtime.block_on(driver.quit()));
        }
        drop(self.chromedriver.kill());
        drop(self.chromedriver.wait());
    }
}

/// Speaks HTTP with ChromeDriver: one connection a command, all on this machine.
#[derive(Debug)]
struct Client(u16);

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Client {
    async fn answered(
        &self,
        request: axum::http::Request<Body<'_>>,
    ) -> Result<axum::http::Response<axum::body::Bytes>, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", self.0)).await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await?;
        let request = request.map(|body| match body {
            Body::Empty => Sent::empty(),
            Body::Json(json) => Sent::from(json.to_string()),
        });
        let (mut head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        head.uri = path.parse()?;
        head.headers.insert("host", "127.0.0.1".parse()?);
        let request = axum::http::Request::from_parts(head, body);
        let answered = async move {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = axum::body::to_bytes(Sent::new(body), ANSWER_BYTES_MAX).await?;
            Ok::<_, Failure>(axum::http::Response::from_parts(head, body))
        };
        // The connection ends when its sender is dropped.
        let (answer, ended) = tokio::join!(answered, connection);
        ended?;
        answer
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send(
        &self,
        request: axum::http::Request<Body<'_>>,
    ) -> WebDriverResult<axum::http::Response<axum::body::Bytes>> {
        let answered = self.answered(request).await;
        answered.map_err(|error| WebDriverError::HttpError(error.to_string()))
    }

    async fn new(&self) -> Arc<dyn HttpClient> {
        Arc::new(Self(self.0))
    }
}

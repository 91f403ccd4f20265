//! A real browser: headless Chromium, driven over WebDriver (W3C). It reaches nothing but loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{carry, within};

/// The member that identifies an element in JSON (WebDriver).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The driver's own timeout for pages and elements, in milliseconds. It is shorter than the test's,
/// so that the driver can report the missing element.
const WAIT: u64 = 15_000;

/// A browser with an empty profile, and its driver. Both are killed on drop.
pub(crate) struct Chromium {
    driver: Child,
    address: SocketAddr,
    session: String,
    /// The browser's own process.
    browser: u64,
    /// The profile and other files. Dropped last.
    home: tempfile::TempDir,
}

/// An element of the page.
pub(crate) struct Element<'a> {
    browser: &'a Chromium,
    id: String,
}

impl Chromium {
    /// Starts a browser. `scripts/test` installs its programs, `chromium` and `chromedriver`.
    pub(crate) async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("HOME", home.path())
            .env("TMPDIR", home.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("DISPLAY")
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver (scripts/test installs it)");
        let stdout = BufReader::new(driver.stdout.take().unwrap());
        let port = tokio::task::spawn_blocking(move || port(stdout));
        let address = SocketAddr::from(([127, 0, 0, 1], within(port).await.unwrap()));
        let mut chromium = Self { driver, address, session: String::new(), browser: 0, home };
        let created = chromium.send("POST", "/session", Some(&capabilities(chromium.home.path()))).await;
        chromium.session = created["sessionId"].as_str().unwrap().to_owned();
        chromium.browser = created["capabilities"]["goog:processID"].as_u64().expect("a process");
        let waits = json!({ "implicit": WAIT, "pageLoad": WAIT, "script": WAIT });
        chromium.command("POST", "/timeouts", Some(&waits)).await;
        chromium
    }

    /// Opens an address, and waits until the page there is complete.
    pub(crate) async fn open(&self, url: &str) {
        self.command("POST", "/url", Some(&json!({ "url": url }))).await;
    }

    /// Emulates a phone with this width. Returns the width that the page then needs.
    pub(crate) async fn width_at(&self, width: u64) -> u64 {
        let metrics = json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": true });
        let command = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics });
        self.command("POST", "/goog/cdp/execute", Some(&command)).await;
        let script =
            json!({ "script": "scrollTo(0, 0); return document.documentElement.scrollWidth", "args": [] });
        self.command("POST", "/execute/sync", Some(&script)).await.as_u64().unwrap()
    }

    /// The text of the first element of a selector, or an empty string. One command finds and reads
    /// it, since a page may replace elements in between.
    pub(crate) async fn text_at(&self, selector: &str) -> String {
        let read = "return document.querySelector(arguments[0])?.innerText ?? ''";
        let script = json!({ "script": read, "args": [selector] });
        self.command("POST", "/execute/sync", Some(&script)).await.as_str().unwrap().to_owned()
    }

    /// The current URL.
    pub(crate) async fn url(&self) -> String {
        self.command("GET", "/url", None).await.as_str().unwrap().to_owned()
    }

    /// Waits for the first element of a CSS selector.
    pub(crate) async fn find(&self, selector: &str) -> Element<'_> {
        let by = json!({ "using": "css selector", "value": selector });
        let found = self.command("POST", "/element", Some(&by)).await;
        Element { browser: self, id: found[ELEMENT].as_str().unwrap().to_owned() }
    }

    /// The cookies of the current page.
    pub(crate) async fn cookies(&self) -> Vec<Value> {
        self.command("GET", "/cookie", None).await.as_array().unwrap().clone()
    }

    /// Opens a tab and switches to it. Returns its handle for [`go_to_tab`](Self::go_to_tab).
    pub(crate) async fn new_tab(&self) -> String {
        let opened = self.command("POST", "/window/new", Some(&json!({ "type": "tab" }))).await;
        let handle = opened["handle"].as_str().unwrap().to_owned();
        self.go_to_tab(&handle).await;
        handle
    }

    /// The handle of the current tab.
    pub(crate) async fn tab(&self) -> String {
        self.command("GET", "/window", None).await.as_str().unwrap().to_owned()
    }

    pub(crate) async fn go_to_tab(&self, handle: &str) {
        self.command("POST", "/window", Some(&json!({ "handle": handle }))).await;
    }

    /// Writes a screenshot to `target/screenshots/{name}.png`.
    pub(crate) async fn screenshot(&self, name: &str) {
        let picture = self.command("GET", "/screenshot", None).await;
        let picture = STANDARD.decode(picture.as_str().unwrap()).unwrap();
        assert!(picture.starts_with(b"\x89PNG"));
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(format!("{name}.png")), picture).unwrap();
    }

    async fn command(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        self.send(method, &format!("/session/{}{path}", self.session), body).await
    }

    async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("content-type", "application/json");
        let body = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let request = request.header("content-length", body.len()).body(body).unwrap();
        let response = within(carry(request)).await.unwrap();
        let mut json: Value = serde_json::from_slice(response.body()).unwrap();
        let value = json["value"].take();
        assert!(response.status().is_success(), "{method} {path}: {}: {}", value["error"], value["message"]);
        value
    }
}

impl Element<'_> {
    /// Clicks the element, and waits for the next page, if there is one.
    pub(crate) async fn click(&self) {
        self.command("POST", "/click", Some(&json!({}))).await;
    }

    /// Types this text.
    pub(crate) async fn type_in(&self, text: &str) {
        self.command("POST", "/value", Some(&json!({ "text": text }))).await;
    }

    /// The visible text.
    pub(crate) async fn text(&self) -> String {
        self.command("GET", "/text", None).await.as_str().unwrap().to_owned()
    }

    async fn command(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        self.browser.command(method, &format!("/element/{}{path}", self.id), body).await
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The end of the session ends the browser. A driver that is killed leaves its browser
        // running.
        let _ = self.end_session();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        self.kill_browser();
    }
}

impl Chromium {
    fn end_session(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let (session, address) = (&self.session, self.address);
        write!(stream, "DELETE /session/{session} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        stream.read_exact(&mut [0; 12])
    }

    /// Kills the browser if it still runs. The process with its number must also have its profile.
    fn kill_browser(&self) {
        let arguments = std::fs::read(format!("/proc/{}/cmdline", self.browser)).unwrap_or_default();
        let profile = self.home.path().to_string_lossy().into_owned().into_bytes();
        if arguments.windows(profile.len()).any(|part| part == profile) {
            let kill = format!("kill -KILL {}", self.browser);
            let _ = Command::new("/bin/sh").args(["-c", &kill]).status();
        }
    }
}

/// The capabilities to start the browser with.
fn capabilities(home: &Path) -> Value {
    let profile = format!("--user-data-dir={}", home.join("profile").display());
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        // Only loopback is reachable: no other name resolves, and no proxy is used.
        "--no-proxy-server",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
        "--window-size=900,700",
        &profile,
    ];
    json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "goog:chromeOptions": { "args": arguments },
    } } })
}

/// The port of the driver, from its standard output. A thread reads the rest, so that the driver
/// never blocks.
fn port(mut stdout: impl BufRead + Send + 'static) -> u16 {
    let mut line = String::new();
    while stdout.read_line(&mut line).is_ok_and(|length| length > 0) {
        if let Some((_, port)) = line.trim_end().trim_end_matches('.').rsplit_once("successfully on port ") {
            let port = port.parse().expect("a port");
            std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
            return port;
        }
        line.clear();
    }
    panic!("chromedriver ended before it printed its port");
}

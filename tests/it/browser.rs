//! A real Chromium without a window, driven over WebDriver.
//!
//! It needs the programs `chromium` and `chromedriver`, in Debian's packages of the same names (`chromium-driver`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A browser with one page. Dropped, it ends.
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
}

impl Browser {
    /// # Panics
    /// When it is not installed, or does not start.
    pub(crate) fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--log-level=SEVERE"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot start chromedriver (Debian package chromium-driver): {error}")
            });
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        std::thread::spawn(move || lines.for_each(drop));
        let address = SocketAddr::from(([127, 0, 0, 1], port.expect("it says on which port it listens")));
        let mut browser = Self { driver, address, session: String::new() };
        let options = json!({ "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
        ] });
        let capabilities = json!({ "alwaysMatch": {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        } });
        let session = browser.ask("POST", "/session", &json!({ "capabilities": capabilities }));
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        browser
    }

    pub(crate) fn open(&self, url: &str) {
        self.command("/url", &json!({ "url": url }));
    }

    /// Runs the body of a function in the page, and gives what it returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Runs it until it returns something true.
    pub(crate) fn until(&self, script: &str) -> Value {
        for _ in 0..PATIENCE.as_millis() / LOOK_EVERY.as_millis() {
            let value = self.run(script);
            if value.as_bool() != Some(false) && !value.is_null() {
                return value;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        panic!(
            "it did not come to that: {script}; the page says {}",
            self.run("return document.body.innerText")
        );
    }

    /// The page's markup as it is now.
    pub(crate) fn source(&self) -> String {
        let source = self.ask("GET", &format!("/session/{}/source", self.session), &json!({}));
        source.as_str().expect("text").to_owned()
    }

    /// A command of the DevTools protocol.
    pub(crate) fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.command("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// How the page is seen: width and height in CSS pixels, and whether the user likes it dark.
    pub(crate) fn seen_by(&self, (width, height): (u32, u32), dark: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let scheme =
            json!([{ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": scheme }));
    }

    pub(crate) fn press(&self, key: &str) {
        let keys = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.command(
            "/actions",
            &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": keys }] }),
        );
    }

    /// The whole page as a picture, under `target/`, for people to look at.
    pub(crate) fn picture(&self, name: &str) {
        let parameters = json!({ "captureBeyondViewport": true });
        let picture = self.devtools("Page.captureScreenshot", &parameters);
        let picture = STANDARD.decode(picture["data"].as_str().expect("a picture")).unwrap();
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("status-page");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name).with_extension("png"), picture).unwrap();
    }

    /// What the browser complained of since the last time.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let lines = self.command("/se/log", &json!({ "type": "browser" }));
        lines.as_array().expect("a list").iter().map(ToString::to_string).collect()
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}{path}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.try_ask(method, path, body).expect("an answer from chromedriver");
        assert!(answer["error"].is_null(), "{method} {path}: {answer}");
        answer
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> std::io::Result<Value> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (host, body) = (self.address, body.to_string());
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n{body}")?;
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        for line in answer.by_ref().lines() {
            let line = line?.to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body)?;
        let mut body: Value = serde_json::from_slice(&body)?;
        Ok(body["value"].take())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // With its session the browser itself ends. It may be gone already.
        _ = self.try_ask("DELETE", &format!("/session/{}", self.session), &json!({}));
        _ = self.driver.kill();
        _ = self.driver.wait();
    }
}

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

//! A headless Chromium: opens a file or an address, evaluates JavaScript in it, takes pictures of it.
//! Spoken to through a pipe (`--remote-debugging-pipe`): no port, no driver.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::system;

/// For a start, a page, or a script on a busy machine.
const BOUND: Duration = Duration::from_secs(60);

/// One tab. Files may read files beside them; videos play without a click, and silently.
pub struct Browser {
    process: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    profile: TempDir,
    session: Option<String>,
    last_id: u64,
}

impl Browser {
    #[must_use]
    pub fn start() -> Self {
        let profile = tempfile::tempdir().expect("a temporary folder");
        // Chromium reads commands from descriptor 3 and writes to 4.
        let script = "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>\"$LOG\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(system("chromium", "chromium"));
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--mute-audio", "--autoplay-policy=no-user-gesture-required", "--allow-file-access-from-files"]);
        command.arg("--remote-debugging-pipe").arg(format!("--user-data-dir={}", profile.path().display()));
        command.env("LOG", profile.path().join("log")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("a shell starts");
        let commands = process.stdin.take().expect("piped");
        let mut answers = BufReader::new(process.stdout.take().expect("piped"));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while answers.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                let value = serde_json::from_slice(message.strip_suffix(&[0]).unwrap_or(&message))
                    .expect("Chromium sends JSON");
                message.clear();
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self { process, commands, messages, profile, session: None, last_id: 0 };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", &json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser.call("Page.enable", &json!({}));
        browser
    }

    /// Opens an address, or a file by its path, and waits until it is loaded.
    pub fn open(&mut self, page: &str) {
        let url = if page.contains("://") { page.to_owned() } else { format!("file://{page}") };
        let opened = self.call("Page.navigate", &json!({ "url": url }));
        assert!(opened.get("errorText").is_none(), "can't open {url}: {opened}");
        let _ = self.receive("the page", |message| message["method"] == "Page.loadEventFired");
    }

    /// The value of a script, of its promise where it makes one; panics with what it throws.
    pub fn evaluate(&mut self, script: &str) -> Value {
        let parameters = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", &parameters);
        assert!(answer.get("exceptionDetails").is_none(), "{script}\nthrows {:#}", answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }

    /// The whole page, also what lies below the tab's edge, as PNG; `width` pixels wide.
    pub fn screenshot(&mut self, width: u32, path: &Path) {
        let size = json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let whole = json!({ "format": "png", "captureBeyondViewport": true });
        let answer = self.call("Page.captureScreenshot", &whole);
        let picture = BASE64_STANDARD.decode(answer["data"].as_str().expect("a picture")).expect("Base64");
        fs::write(path, picture).expect("the test's folder takes files");
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut command = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        let sent = write!(self.commands, "{command}\0").and_then(|()| self.commands.flush());
        sent.unwrap_or_else(|error| panic!("Chromium is gone ({error}): {}", self.log()));
        let mut answer = self.receive(method, |message| message["id"] == id);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// The first message that is wanted; the others are dropped.
    fn receive(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + BOUND;
        loop {
            let message = self.messages.recv_timeout(until.saturating_duration_since(Instant::now()));
            let message = message.unwrap_or_else(|error| panic!("no answer to {what} ({error}): {}", self.log()));
            if wanted(&message) {
                return message;
            }
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.profile.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

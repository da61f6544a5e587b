//! The district's end as a process: what it received, in the order in which it says so.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::mosquitto::Mosquitto;
use crate::process::Process;
use crate::program::built;
use crate::waiting::wait_for;

/// `kitchen-district --json` on a broker.
pub struct District {
    process: Option<Process>,
    broker_url: String,
    identity: Option<crate::Identity>,
    directory: TempDir,
}

impl District {
    #[must_use]
    pub fn start(broker: &Mosquitto) -> Self {
        Self::start_as(broker, broker.district())
    }

    /// As [`Self::start`], with an account of an authority from elsewhere.
    #[must_use]
    pub fn start_as(broker: &Mosquitto, identity: Option<crate::Identity>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let mut district = Self { process: None, broker_url: broker.url(), identity, directory };
        district.restart();
        district
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again with what it stored.
    pub fn restart(&mut self) {
        self.process = None;
        let mut command = Command::new(built("kitchen-district"));
        command.args(["--broker", &self.broker_url, "--json", "--store"]).arg(self.store());
        if let Some(identity) = &self.identity {
            command.arg("--ca").arg(&identity.ca);
            command.arg("--certificate").arg(&identity.certificate);
            command.arg("--key").arg(&identity.key).args(["--client-id", "district"]);
        }
        self.process = Some(Process::start("district", command, self.directory.path()));
    }

    /// The folder of its database, snapshots and clips.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// Every event line so far, restarts included.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        let stdout = std::fs::read_to_string(self.directory.path().join("district.out")).unwrap_or_default();
        let finished = stdout.rfind('\n').map_or("", |end| &stdout[..end]);
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
        finished.lines().map(parse).collect()
    }

    /// The enveloped messages among the events, e.g. of type `alert.opened`.
    #[must_use]
    pub fn messages(&self, kind: &str) -> Vec<Value> {
        let envelopes = self.events().into_iter().filter_map(|mut event| event.get_mut("record").map(Value::take));
        envelopes.filter(|envelope| envelope["type"] == kind).collect()
    }

    /// The events of one kind: `alert`, `record`, `snapshot`, `clip`, `state`, `conflict`, …
    #[must_use]
    pub fn events_of(&self, event: &str) -> Vec<Value> {
        self.events().into_iter().filter(|found| found["event"] == event).collect()
    }

    /// The first event for which `wanted` holds.
    #[track_caller]
    pub fn wait_for(&mut self, bound: Duration, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for(bound, what, || {
            self.assert_running();
            self.events().into_iter().find(&wanted)
        })
    }

    /// The first enveloped message of type `kind` for which `wanted` holds.
    #[track_caller]
    pub fn wait_for_message(&mut self, bound: Duration, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for(bound, &format!("{kind} at the district"), || {
            self.assert_running();
            self.messages(kind).into_iter().find(&wanted)
        })
    }

    /// Where a received file lies; panics when the district announced one that is not there.
    #[must_use]
    #[track_caller]
    pub fn file(&self, path: &str) -> PathBuf {
        let path = self.store().join(Path::new(path));
        assert!(path.is_file(), "announced but not stored: {}", path.display());
        path
    }

    fn assert_running(&mut self) {
        self.process.as_mut().expect("the district was not killed").assert_running();
    }
}

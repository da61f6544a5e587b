//! `agent.toml` for the tests, written key by key as the manual names them, so that a renamed key is noticed.
//! Every rule and the recording are off until a test switches them on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kitchen_core::rules::RuleId;
use toml::{Table, Value};

use crate::camera::RtspCamera;
use crate::mosquitto::Mosquitto;
use crate::network::{Network, within};
use crate::process::Finished;
use crate::program::{built, repository, run};

/// A configuration under construction, and where it is written.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    directory: PathBuf,
    table: Table,
    environment: Vec<(String, String)>,
    /// The name of its network's namespace.
    network: Option<String>,
}

impl AgentConfig {
    /// Everything of the agent `device` lies in `directory`: configuration, secrets, state.
    #[must_use]
    pub fn new(device: &str, directory: &Path) -> Self {
        let config =
            Self { directory: directory.to_owned(), table: Table::new(), environment: Vec::new(), network: None }
                .set("device.id", device)
                .set("device.site.name", "Test kitchen")
                .set("device.state_dir", text(&directory.join("state")))
                .set("device.language", "en")
                .set("detector.models_dir", text(&repository().join("models")))
                .set("detector.engine", "tract")
                .set("recording.enabled", false);
        RuleId::all().fold(config, |config, rule| config.set(&format!("rules.{rule}.enabled"), false))
    }

    /// Of a box as the package leaves it: without name and broker, which its enrolment brings.
    #[must_use]
    pub fn unenrolled(directory: &Path) -> Self {
        fs::create_dir_all(directory).expect("a temporary folder takes files");
        Self::new("", directory).set("device.site.name", "").set("uplink.keepalive_s", 10)
    }

    /// Sets one key, e.g. `clip.pre_s`; tables on the way are made.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let (tables, name) = key.rsplit_once('.').expect("a key lies in a table");
        let table = tables.split('.').fold(&mut self.table, |table, name| {
            let next = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
            next.as_table_mut().expect("a key's parents are tables")
        });
        table.insert(name.to_owned(), value.into());
        self
    }

    /// Sets a variable of the agent's environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The agent runs within a network of its own.
    #[must_use]
    pub fn network(self, network: &Network) -> Self {
        Self { network: Some(network.namespace().to_owned()), ..self }
    }

    /// Adds the camera `id` without credentials.
    #[must_use]
    pub fn camera(self, id: &str, url: &str) -> Self {
        self.add_camera(id, url, Table::new())
    }

    /// Adds the camera `id` with the credentials of [`RtspCamera`].
    #[must_use]
    pub fn rtsp_camera(self, id: &str, url: &str) -> Self {
        self.camera_with_password(id, url, RtspCamera::PASSWORD)
    }

    #[must_use]
    pub fn camera_with_password(self, id: &str, url: &str, password: &str) -> Self {
        let file = self.directory.join(format!("{id}.password"));
        fs::write(&file, format!("{password}\n")).expect("a temporary folder takes files");
        let mut camera = Table::new();
        camera.insert("username".to_owned(), RtspCamera::USER.into());
        camera.insert("password_file".to_owned(), text(&file).into());
        self.add_camera(id, url, camera)
    }

    /// Gives the camera that was added last a main stream.
    #[must_use]
    pub fn main_stream(mut self, url: &str) -> Self {
        let cameras = self.table.get_mut("camera").and_then(Value::as_array_mut).expect("a camera was added");
        let camera = cameras.last_mut().and_then(Value::as_table_mut).expect("a camera was added");
        camera.insert("main_url".to_owned(), url.into());
        self
    }

    /// Gives the camera that was added last a privacy mask.
    #[must_use]
    pub fn privacy_mask(mut self, polygon: &[[f64; 2]]) -> Self {
        let cameras = self.table.get_mut("camera").and_then(Value::as_array_mut).expect("a camera was added");
        let camera = cameras.last_mut().and_then(Value::as_table_mut).expect("a camera was added");
        let corners: Vec<Value> = polygon.iter().map(|corner| corner.to_vec().into()).collect();
        let mask = Table::from_iter([("polygon".to_owned(), Value::from(corners))]);
        camera.insert("privacy_mask".to_owned(), Value::Array(vec![mask.into()]));
        self
    }

    fn add_camera(mut self, id: &str, url: &str, mut camera: Table) -> Self {
        camera.insert("id".to_owned(), id.into());
        camera.insert("url".to_owned(), url.into());
        let cameras = self.table.entry("camera").or_insert_with(|| Value::Array(Vec::new()));
        cameras.as_array_mut().expect("cameras are a list").push(camera.into());
        self
    }

    /// Sends to `broker`, with the device's certificate where the broker wants one.
    #[must_use]
    pub fn uplink(self, broker: &Mosquitto) -> Self {
        let device = self.table["device"]["id"].as_str().expect("an id is text").to_owned();
        let config = self.set("uplink.broker", broker.url());
        match broker.device(&device) {
            None => config,
            Some(identity) => config
                .set("uplink.ca_file", text(&identity.ca))
                .set("uplink.certificate_file", text(&identity.certificate))
                .set("uplink.key_file", text(&identity.key)),
        }
    }

    /// Switches a rule on with further keys in TOML, e.g. `window_s = 3`.
    #[must_use]
    pub fn rule(self, rule: &str, keys: &str) -> Self {
        let keys: Table = toml::from_str(keys).unwrap_or_else(|error| panic!("keys of {rule}: {error}"));
        let config = self.set(&format!("rules.{rule}.enabled"), true);
        keys.into_iter().fold(config, |config, (key, value)| config.set(&format!("rules.{rule}.{key}"), value))
    }

    /// Writes `agent.toml` and returns its path.
    pub fn write(&self) -> PathBuf {
        self.write_text(&toml::to_string(&self.table).expect("a table has a text"))
    }

    /// Writes `text` in its place, for configurations that are wrong.
    pub fn write_text(&self, text: &str) -> PathBuf {
        let path = self.path();
        fs::write(&path, text).expect("a temporary folder takes files");
        path
    }

    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.join("agent.toml")
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// `kitchen-agent ARGUMENTS --config FILE`, in English and without colours. The file is as last written.
    #[must_use]
    pub fn command<S: AsRef<str>>(&self, arguments: &[S]) -> Command {
        let program = built("kitchen-agent");
        let mut command = match &self.network {
            Some(namespace) => within(namespace, &program),
            None => Command::new(program),
        };
        command.args(arguments.iter().map(AsRef::as_ref)).arg("--config").arg(self.path());
        in_english(&mut command);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs that command to its end.
    #[must_use]
    pub fn run<S: AsRef<str>>(&self, arguments: &[S]) -> Finished {
        run(&mut self.command(arguments))
    }
}

/// Without colours, and without what the tester's own environment says to the agent.
pub fn in_english(command: &mut Command) {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| name.starts_with("KITCHEN_AGENT") || name.starts_with("LC_")) {
        command.env_remove(name);
    }
    command.env("LANG", "en_US.UTF-8").env("NO_COLOR", "1").env_remove("RUST_LOG");
}

fn text(path: &Path) -> String {
    path.to_str().expect("test paths are UTF-8").to_owned()
}

//! RTSP cameras on loopback: a real server that plays videos in real time, and one that speaks nonsense.
//! Both can be killed, hung, and started again on their port.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::program::repository;
use crate::waiting::wait_for;

const START_BOUND: Duration = Duration::from_secs(20);
/// GStreamer's bindings belong to the system's Python, not to one in the search path.
const PYTHON: &str = "/usr/bin/python3";

/// How a broken camera misbehaves.
#[derive(Clone, Copy, Debug)]
pub enum Breakage {
    /// Answers every request with bytes that are no RTSP.
    Answers,
    /// Answers well up to PLAY, then sends packets without sense.
    Stream,
}

/// A camera as a process.
pub struct RtspCamera {
    process: Option<Process>,
    script: &'static str,
    arguments: Vec<String>,
    port: u16,
    directory: TempDir,
}

impl RtspCamera {
    pub const USER: &str = "admin";
    pub const PASSWORD: &str = "kitchen-Secret-7731";

    /// Serves each video under its name, with digest authentication, looped.
    #[must_use]
    pub fn start(videos: &[(&str, &Path)]) -> Self {
        let mount = |(name, path): &(&str, &Path)| format!("{name}={}", path.display());
        Self::launch("rtsp_camera.py", videos.iter().map(mount).collect())
    }

    /// A camera that speaks nonsense.
    #[must_use]
    pub fn broken(breakage: Breakage) -> Self {
        let mode = match breakage {
            Breakage::Answers => "answers",
            Breakage::Stream => "stream",
        };
        Self::launch("broken_camera.py", vec![mode.to_owned()])
    }

    fn launch(script: &'static str, arguments: Vec<String>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let mut camera = Self { process: None, script, arguments, port: 0, directory };
        camera.restart();
        camera
    }

    /// Where the video `name` is served, without credentials.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("rtsp://127.0.0.1:{}/{name}", self.port)
    }

    /// SIGKILL, as if unplugged.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same port.
    pub fn restart(&mut self) {
        self.process = None;
        let mut command = Command::new(PYTHON);
        command.arg(self.script_path()).arg(self.port.to_string()).args(&self.arguments);
        command.env("RTSP_USER", Self::USER).env("RTSP_PASSWORD", Self::PASSWORD);
        let seen = std::fs::read_to_string(self.directory.path().join("camera.out")).unwrap_or_default().len();
        let mut process = Process::start("camera", command, self.directory.path());
        self.port = wait_for(START_BOUND, "the camera listens (apt packages: see tests/run.sh)", || {
            process.assert_running();
            let stdout = process.stdout();
            let line = stdout[seen..].lines().find_map(|line| line.strip_prefix("ready "))?;
            line.parse().ok()
        });
        self.process = Some(process);
    }

    /// It hangs: connections stay open, nothing comes.
    pub fn hang(&self) {
        self.running().stop();
    }

    pub fn resume(&self) {
        self.running().cont();
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("the camera was not killed")
    }

    fn script_path(&self) -> PathBuf {
        repository().join("tests/support").join(self.script)
    }
}

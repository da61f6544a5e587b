//! The agent as systemd runs it: started, killed at any instant, started again with what it kept.

use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;

use crate::agent_config::AgentConfig;
use crate::process::{Finished, Process};
use crate::waiting::wait_for;

/// The exit code of a command that found nothing to look at.
const COULD_NOT_CHECK: i32 = 2;
const STOP_BOUND: Duration = Duration::from_secs(10);

/// `kitchen-agent run` with its configuration.
pub struct Agent {
    config: AgentConfig,
    process: Option<Process>,
}

impl Agent {
    /// Writes the configuration and starts the agent on it.
    #[must_use]
    pub fn start(config: AgentConfig) -> Self {
        config.write();
        let mut agent = Self { config, process: None };
        agent.restart();
        agent
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.running().kill();
        self.process = None;
    }

    /// SIGTERM, as systemd stops it; its exit status.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        let status = self.running().terminate(STOP_BOUND);
        self.process = None;
        status
    }

    /// Waits until it ends by itself; its exit status.
    #[track_caller]
    pub fn wait_for_end(&mut self, bound: Duration) -> ExitStatus {
        let status = wait_for(bound, "the agent ends by itself", || self.running().ended());
        self.process = None;
        status
    }

    /// Starts it again with the same configuration and state.
    pub fn restart(&mut self) {
        self.process = None;
        self.process = Some(Process::start("agent", self.config.command(&["run"]), self.config.directory()));
    }

    /// Sets a variable of its environment from its next start on.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.config = self.config.clone().environment(name, value);
    }

    #[track_caller]
    pub fn assert_running(&mut self) {
        self.running().assert_running();
    }

    /// Everything it logged since its first start.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.config.directory().join("agent.err")).unwrap_or_default()
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("the agent was not killed").id()
    }

    #[must_use]
    pub fn config(&self) -> &AgentConfig {
        &self.config
    }

    /// Another command of the agent on the same configuration, run to its end.
    #[must_use]
    pub fn command<S: AsRef<str>>(&self, arguments: &[S]) -> Finished {
        self.config.run(arguments)
    }

    /// `alerts list --json`: the alerts that the box knows, newest first, whether they were sent or not.
    /// None yet when the agent has not made its store.
    #[must_use]
    #[track_caller]
    pub fn alerts(&self) -> Vec<Value> {
        let listed = self.command(&["alerts", "list", "--json"]);
        if listed.code == COULD_NOT_CHECK {
            return Vec::new();
        }
        listed.expect_code(0).json()["alerts"].as_array().expect("a list of alerts").clone()
    }

    fn running(&mut self) -> &mut Process {
        self.process.as_mut().expect("the agent was not killed")
    }
}

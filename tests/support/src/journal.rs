//! A journal of its own: systemd-journald in a mount namespace, where the machine's own is neither read nor written.
//! Needs root, as the tests have it in CI.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Finished, Process};
use crate::program::{run, system};
use crate::waiting::wait_until;

const START_BOUND: Duration = Duration::from_secs(20);
const START: &str = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal /run/log/journal && \
    exec /lib/systemd/systemd-journald";

/// As systemd does; systemd-cat before version 254 does not.
const NAME_STREAM: &str = "JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec \"$@\"";

/// A running journald.
pub struct Journal {
    process: Process,
    _directory: TempDir,
}

impl Journal {
    #[must_use]
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let journald = Path::new("/lib/systemd/systemd-journald");
        assert!(journald.is_file(), "{} is missing: apt-get install systemd", journald.display());
        let mut command = Command::new(system("unshare", "util-linux"));
        command.args(["--mount", "sh", "-c", START]);
        let process = Process::start("journald", command, directory.path());
        let mut journal = Self { process, _directory: directory };
        wait_until(START_BOUND, "journald listens (the tests need root for a mount namespace)", || {
            journal.process.assert_running();
            let mut look = Command::new("test");
            look.args(["-S", "/run/systemd/journal/stdout"]);
            journal.run(&look).code == 0
        });
        journal
    }

    /// The same command where this journal is the machine's.
    #[must_use]
    pub fn within(&self, command: &Command) -> Command {
        let mut inside = Command::new(system("nsenter", "util-linux"));
        inside.arg(format!("--mount=/proc/{}/ns/mnt", self.process.id()));
        inside.arg("--").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// The same command with its outputs going to this journal, as systemd starts a service.
    #[must_use]
    pub fn as_service(&self, name: &str, command: &Command) -> Command {
        let mut service = Command::new(system("systemd-cat", "systemd"));
        service.args(["--identifier", name, "sh", "-c", NAME_STREAM, "sh"]);
        service.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => service.env(name, value),
                None => service.env_remove(name),
            };
        }
        self.within(&service)
    }

    /// Runs a command there to its end.
    #[must_use]
    pub fn run(&self, command: &Command) -> Finished {
        run(&mut self.within(command))
    }
}

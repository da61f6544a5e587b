//! `run`: the agent, until SIGTERM or SIGINT; when the box is enrolled meanwhile, again from the beginning.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use kitchen_uplink::identity::IdentityFolder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{Cli, Exit};
use crate::{config_file, pipeline};

/// A worker that a hanging stage holds must not hold up the others.
const WORKERS: usize = 4;
/// What still runs after the stages have ended is given up after so long.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// An enrolment while the agent runs is looked for so often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

pub fn run(cli: &Cli) -> Result<Exit> {
    // Looked at before the configuration is read: an enrolment in between is noticed.
    let watched = Watched::begin(&config_file::state_dir(cli));
    let config = config_file::load(cli)?;
    let _failpoints = fail::FailScenario::setup();
    kitchen_uplink::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let is_enrolled = Arc::new(AtomicBool::new(false));
    let noticed = Arc::clone(&is_enrolled);
    let outcome = runtime.block_on(async {
        let (stopper, stop) = watch::channel(false);
        let enrolled = stopper.clone();
        let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("can't listen for SIGINT")?;
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let _ = stopper.send(true);
        });
        tokio::spawn(async move {
            watched.until_enrolled().await;
            noticed.store(true, Ordering::Relaxed);
            let _ = enrolled.send(true);
        });
        Box::pin(pipeline::run(config, stop)).await
    });
    runtime.shutdown_timeout(LAST_WAIT);
    outcome?;
    if is_enrolled.load(Ordering::Relaxed) {
        // In its own place, with nothing left of the old one: as the same process for whoever watches over it.
        return Err(Command::new(std::env::current_exe()?).args(std::env::args_os().skip(1)).exec().into());
    }
    Ok(Exit::Done)
}

/// The box's identity, watched from before the configuration is read.
struct Watched {
    identity: IdentityFolder,
    name: Option<PathBuf>,
    claim_id: Option<String>,
}

impl Watched {
    fn begin(state_dir: &Path) -> Self {
        let identity = IdentityFolder::of(state_dir);
        let (name, claim_id) = (identity.current_name(), claim_in_use(&identity));
        Self { identity, name, claim_id }
    }

    /// Until the box is enrolled, or enrolled with another claim than at the start: then its name and its broker may be
    /// others. A renewed certificate is no reason.
    async fn until_enrolled(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let found = self.identity.current_name();
            if found == self.name {
                continue;
            }
            let claim_id = claim_in_use(&self.identity);
            if claim_id.is_some() && claim_id != self.claim_id {
                tracing::info!("enrolled: the agent starts again under its name");
                return;
            }
            self.name = found;
        }
    }
}

fn claim_in_use(identity: &IdentityFolder) -> Option<String> {
    identity.current().ok().flatten().map(|current| current.claim_id)
}

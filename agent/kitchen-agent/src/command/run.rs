//! `run`: the agent, until SIGTERM or SIGINT; when the box is enrolled meanwhile, again from the beginning.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use kitchen_core::config::Enrolled;
use kitchen_uplink::identity::IdentityFolder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{Cli, Exit};
use crate::enrolling::Enrolling;
use crate::{config_file, pipeline};

/// A worker that a hanging stage holds must not hold up the others.
const WORKERS: usize = 4;
/// What still runs after the stages have ended is given up after so long.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// An enrolment while the agent runs is looked for so often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

pub fn run(cli: &Cli) -> Result<Exit> {
    let state_dir = config_file::state_dir(cli);
    if let Err(trouble) = Enrolling::of(&state_dir).resume() {
        tracing::warn!(error = %trouble.notice, "the identity stays as it is");
    }
    // Looked at before the configuration is read: an enrolment in between is noticed.
    let watched = Watched::begin(&state_dir);
    let config = config_file::load(cli)?;
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
    state_dir: PathBuf,
    in_use: Option<PathBuf>,
    said: Said,
}

/// What an identity says that the agent reads only at its start: whose claim it came with, and its part of the
/// configuration.
type Said = (Option<String>, Option<Enrolled>);

impl Watched {
    fn begin(state_dir: &Path) -> Self {
        let in_use = IdentityFolder::of(state_dir).current_name();
        Self { state_dir: state_dir.to_owned(), in_use, said: said(state_dir) }
    }

    /// Until the box is enrolled, enrolled with another claim, or told another broker, site or command key. A renewed
    /// certificate alone is no reason.
    async fn until_enrolled(mut self) {
        let identity = IdentityFolder::of(&self.state_dir);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let in_use = identity.current_name();
            if in_use == self.in_use {
                continue;
            }
            let said = said(&self.state_dir);
            if said.0.is_some() && said != self.said {
                tracing::info!("enrolled, or told something new: the agent starts again");
                return;
            }
            self.in_use = in_use;
        }
    }
}

fn said(state_dir: &Path) -> Said {
    let claim_id = IdentityFolder::of(state_dir).current().ok().flatten().map(|current| current.claim_id);
    (claim_id, config_file::enrolled(state_dir))
}

//! `run`: the agent, until SIGTERM or SIGINT.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{Cli, Exit};
use crate::{config_file, pipeline};

/// A worker that a hanging stage holds must not hold up the others.
const WORKERS: usize = 4;
/// What still runs after the stages have ended is given up after so long.
const LAST_WAIT: Duration = Duration::from_millis(500);

pub fn run(cli: &Cli) -> Result<Exit> {
    let config = config_file::load(cli)?;
    let _failpoints = fail::FailScenario::setup();
    kitchen_uplink::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let outcome = runtime.block_on(async {
        let (stopper, stop) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("can't listen for SIGINT")?;
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let _ = stopper.send(true);
        });
        Box::pin(pipeline::run(config, stop)).await
    });
    runtime.shutdown_timeout(LAST_WAIT);
    outcome?;
    Ok(Exit::Done)
}

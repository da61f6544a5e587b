//! `run`: the agent, until SIGTERM or SIGINT.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{Cli, Exit};
use crate::{config_file, pipeline};

pub fn run(cli: &Cli) -> Result<Exit> {
    let config = config_file::load(cli)?;
    kitchen_uplink::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
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
    })?;
    Ok(Exit::Done)
}

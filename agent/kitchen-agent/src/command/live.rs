//! `camera live`: the camera's picture in the terminal, or as a page on loopback, until Ctrl-C.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use kitchen_vision::camera::CameraSource;
use kitchen_vision::privacy_mask::PrivacyMask;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::camera::configured;
use super::{print_json, print_line};
use crate::cli::{Cli, Exit};
use crate::clock::{self, SystemClock};
use crate::config_file;
use crate::live::terminal::Screen;
use crate::live::{self, PACE, View, page};
use crate::notice::notice;
use crate::text::text;

/// For the camera to be told that nobody looks any more.
const FAREWELL: Duration = Duration::from_secs(1);

pub fn run(cli: &Cli, camera: Option<&str>, listen: Option<SocketAddr>) -> Result<Exit> {
    if let Some(address) = listen.filter(|address| !address.ip().is_loopback()) {
        return Err(notice!("live-not-loopback", None, address = address).into());
    }
    let config = config_file::load(cli)?;
    let camera = configured(&config, camera)?;
    let source = CameraSource::new(camera, config_file::password(camera)?)?;
    let mask = PrivacyMask::new(&camera.privacy_masks);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let shown = runtime.block_on(Box::pin(show(cli, &camera.id, source, mask, listen)));
    runtime.shutdown_timeout(FAREWELL);
    shown.map(|()| Exit::Done)
}

async fn show(
    cli: &Cli,
    camera: &str,
    source: CameraSource,
    mask: PrivacyMask,
    listen: Option<SocketAddr>,
) -> Result<()> {
    let (stopper, stop) = watch::channel(false);
    let address = source.address();
    let (view, feeding) = live::watch(source, mask, SystemClock::new(), stop);
    let page = match listen {
        Some(address) => {
            let listener = TcpListener::bind(address).await;
            Some(listener.with_context(|| notice!("live-unlistenable", None, address = address))?)
        }
        None => None,
    };
    let screen = if page.is_none() && !cli.json { Some(open_screen()?) } else { None };
    let feeding = tokio::spawn(feeding);
    let mut interrupt = signal(SignalKind::interrupt()).context("can't listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
    let serving = async {
        match page {
            Some(listener) => {
                announce(cli, &listener, camera)?;
                page::serve(listener, view.clone(), camera).await;
                Ok(())
            }
            None => std::future::pending::<Result<()>>().await,
        }
    };
    let ended = tokio::select! {
        served = serving => served,
        told = tell(cli, camera, &address, &view, screen.as_ref()) => told,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    drop(screen);
    let _ = stopper.send(true);
    let _ = tokio::time::timeout(FAREWELL, feeding).await;
    ended
}

fn open_screen() -> Result<Screen> {
    Screen::open().ok_or_else(|| notice!("live-no-terminal", None).into())
}

fn announce(cli: &Cli, listener: &TcpListener, camera: &str) -> Result<()> {
    let url = format!("http://{}/", listener.local_addr()?);
    if cli.json {
        return print_json(&json!({ "type": "listening", "camera": camera, "url": url }));
    }
    print_line(&text!("live-listening", url = url));
    Ok(())
}

/// Draws the picture where there is a screen, else tells each change of state.
async fn tell(cli: &Cli, camera: &str, address: &str, view: &View, screen: Option<&Screen>) -> Result<()> {
    let mut every = tokio::time::interval(PACE);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        every.tick().await;
        let scene = view.scene();
        if let Some(screen) = screen {
            if screen.show(camera, &scene).is_err() {
                return Ok(());
            }
            continue;
        }
        let mut state = page::state(&scene);
        if told.as_ref() == Some(&state) {
            continue;
        }
        told = Some(state.clone());
        if cli.json {
            state["type"] = json!("state");
            state["at"] = json!(clock::now().to_string());
            state["camera"] = json!(camera);
            state["address"] = json!(address);
            print_json(&state)?;
        } else {
            print_line(&page::in_words(&scene));
        }
    }
}

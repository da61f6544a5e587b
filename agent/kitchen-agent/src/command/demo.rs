//! `demo`: the whole path on this machine. An embedded broker, the district's end, a shipped video as the camera and
//! the real pipeline; prints each alert as the district received it, and where its picture and clip lie.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use kitchen_core::config::Config;
use kitchen_core::rules::RuleId;
use kitchen_district::{District, DistrictEvent, DistrictOptions};
use kitchen_uplink::LinkOptions;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{print_json, print_line};
use crate::cli::{Cli, DemoArguments, Exit, Language};
use crate::{config_file, pipeline};

/// People in a street; see `demo/README.md` for where it comes from.
const VIDEO: &[u8] = include_bytes!("../../demo/people.mp4");
const DEVICE: &str = "demo-000001";

pub fn run(cli: &Cli, arguments: &DemoArguments) -> Result<Exit> {
    kitchen_uplink::install_crypto();
    let default = || std::env::temp_dir().join(format!("kitchen-agent-demo-{}", std::process::id()));
    let folder = std::path::absolute(arguments.dir.clone().unwrap_or_else(default))?;
    std::fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    let video = folder.join("people.mp4");
    std::fs::write(&video, VIDEO).with_context(|| format!("can't write {}", video.display()))?;
    let broker = start_broker()?;
    let config = demo_config(&folder, &video, broker)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(play(cli, arguments, &folder, broker, config))
}

async fn play(cli: &Cli, arguments: &DemoArguments, folder: &Path, broker: SocketAddr, config: Config) -> Result<Exit> {
    let link = LinkOptions::new(&format!("mqtt://{broker}"), "district");
    let mut district = District::start(DistrictOptions { link, store: folder.join("district") })?;
    district.connected().await;
    let (stopper, stop) = watch::channel(false);
    let mut agent = tokio::spawn(Box::pin(pipeline::run(config, stop)));
    if !cli.json {
        print_line(&format!("broker on {broker}, box {DEVICE}, everything is kept in {}", folder.display()));
        print_line("a video of people in a street plays as the camera; every person in it is an intruder here");
    }
    let end = async {
        match arguments.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => drop(tokio::signal::ctrl_c().await),
        }
    };
    tokio::pin!(end);
    let mut acknowledged = false;
    loop {
        tokio::select! {
            () = &mut end => break,
            ended = &mut agent => {
                return ended.context("the agent panicked")?.and(Err(anyhow!("the agent ended by itself")));
            }
            event = district.next() => {
                let event = event.context("the district ended")?;
                acknowledged |= matches!(event, DistrictEvent::Alert { .. });
                tell(cli, &event)?;
            }
        }
    }
    let _ = stopper.send(true);
    agent.await.context("the agent panicked")??;
    district.stop().await;
    if !acknowledged {
        eprintln!("kitchen-agent: no alert was acknowledged");
    }
    Ok(if acknowledged { Exit::Done } else { Exit::ProblemFound })
}

/// One event of the district for whoever watches.
fn tell(cli: &Cli, event: &DistrictEvent) -> Result<()> {
    if cli.json {
        return print_json(&serde_json::from_str::<Value>(&event.json())?);
    }
    match event {
        DistrictEvent::Alert { kind, id, record, .. } => print_line(&alert_line(cli, kind, id, record)),
        DistrictEvent::Snapshot { alert_id, path, .. } => {
            print_line(&format!("  picture of {alert_id}  {}", path.display()));
        }
        DistrictEvent::Clip { alert_id, path, .. } => {
            let alert_id = alert_id.as_deref().unwrap_or("?");
            print_line(&format!("  clip of {alert_id}     {}", path.display()));
        }
        DistrictEvent::Heartbeat { .. } => {}
        other => print_line(&other.line()),
    }
    Ok(())
}

fn alert_line(cli: &Cli, kind: &str, id: &str, record: &Value) -> String {
    let body = &record["body"];
    let rule = body["rule"].as_str().and_then(|rule| rule.parse::<RuleId>().ok());
    let name = rule.map_or("?", |rule| match cli.language() {
        Language::Zh => rule.defaults().chinese,
        Language::En => rule.defaults().english,
    });
    let time = record["time"].as_str().unwrap_or_default();
    let since = body["duration_ms"].as_u64().unwrap_or_default() as f64 / 1000.0;
    let score = body["score"].as_f64().map_or_else(String::new, |score| format!(", score {score:.2}"));
    let of = body["alert_id"].as_str().unwrap_or(id);
    format!("{time}  {kind:<13} {name}, alert {of}, for {since:.1} s{score}, clip {}", body["clip_status"])
}

fn demo_config(folder: &Path, video: &Path, broker: SocketAddr) -> Result<Config> {
    let state_dir = folder.join("box");
    let url = format!("file://{}", video.display());
    let whole = json!({
        "device": { "id": DEVICE, "state_dir": state_dir, "site": { "name": "演示厨房 Demo kitchen" } },
        "camera": [{ "id": "street", "url": url }],
        "rules": { "intrusion": { "enabled": true } },
        "uplink": { "broker": format!("mqtt://{broker}") },
    });
    let text = toml::to_string(&whole)?;
    let mut config = Config::parse(&text, &config_file::environment())?;
    config.detector.models_dir = config_file::models_dir(&config);
    Ok(config)
}

/// A broker on a free port of the loopback, in threads of its own until the program ends.
fn start_broker() -> Result<SocketAddr> {
    let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let connections = rumqttd::ConnectionSettings {
        connection_timeout_ms: 5000,
        max_payload_size: 1024 * 1024,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = rumqttd::ServerSettings {
        name: "demo".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    let router = rumqttd::RouterConfig {
        max_connections: 16,
        max_outgoing_packet_count: 200,
        max_segment_size: 8 * 1024 * 1024,
        max_segment_count: 10,
        ..rumqttd::RouterConfig::default()
    };
    let config = rumqttd::Config {
        router,
        v5: Some(HashMap::from([("demo".to_owned(), server)])),
        ..rumqttd::Config::default()
    };
    let mut broker = rumqttd::Broker::new(config);
    std::thread::Builder::new().name("broker".to_owned()).spawn(move || {
        if let Err(error) = broker.start() {
            tracing::error!(%error, "the embedded broker ended");
        }
    })?;
    Ok(listen)
}

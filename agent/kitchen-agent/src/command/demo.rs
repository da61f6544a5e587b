//! `demo`: the whole path on this machine. An embedded broker, the district's end, a shipped video as the camera and
//! the real pipeline; prints each alert as the district received it, and where its picture and clip lie.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use kitchen_core::config::Config;
use kitchen_district::{District, DistrictEvent, DistrictOptions};
use kitchen_uplink::LinkOptions;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{padded, print_json, print_line, record_name, rule_name};
use crate::cli::{Cli, DemoArguments, Exit};
use crate::fault::Fault;
use crate::notice::{Notice, notice};
use crate::text::{self, text};
use crate::{config_file, explain, pipeline};

/// People in a street; see `demo/README.md` for where it comes from.
const VIDEO: &[u8] = include_bytes!("../../demo/people.mp4");
const DEVICE: &str = "demo-000001";

pub fn run(cli: &Cli, arguments: &DemoArguments) -> Result<Exit> {
    kitchen_uplink::install_crypto();
    let default = || std::env::temp_dir().join(format!("kitchen-agent-demo-{}", std::process::id()));
    let folder = std::path::absolute(arguments.dir.clone().unwrap_or_else(default))?;
    std::fs::create_dir_all(&folder).with_context(|| notice!("folder-unmakeable", None, path = folder.display()))?;
    let video = folder.join("people.mp4");
    std::fs::write(&video, VIDEO).with_context(|| notice!("file-unwritable", None, path = video.display()))?;
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
        print_line(&text!("demo-broker", broker = broker, device = DEVICE, folder = folder.display()));
        print_line(&text!("demo-video"));
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
                return ended.with_context(agent_ended)?.and(Err(agent_ended().into()));
            }
            event = district.next() => {
                let event = event.context(notice!("demo-part-ended", Fault::AgentRestarts))?;
                acknowledged |= matches!(event, DistrictEvent::Alert { .. });
                tell(cli, &event)?;
            }
        }
    }
    let _ = stopper.send(true);
    agent.await.with_context(agent_ended)??;
    district.stop().await;
    if !acknowledged {
        explain::print(&notice!("demo-none", None).into());
    }
    Ok(if acknowledged { Exit::Done } else { Exit::ProblemFound })
}

/// One event of the district for whoever watches.
fn tell(cli: &Cli, event: &DistrictEvent) -> Result<()> {
    if cli.json {
        return print_json(&serde_json::from_str::<Value>(&event.json())?);
    }
    match event {
        DistrictEvent::Alert { kind, id, record, .. } => print_line(&alert_line(kind, id, record)),
        DistrictEvent::Snapshot { alert_id, path, .. } => {
            print_line(&format!("  {}", text!("demo-picture", id = alert_id, path = path.display())));
        }
        DistrictEvent::Clip { alert_id, path, .. } => {
            let alert_id = alert_id.as_deref().unwrap_or("?");
            print_line(&format!("  {}", text!("demo-clip", id = alert_id, path = path.display())));
        }
        DistrictEvent::Heartbeat { .. } => {}
        DistrictEvent::State { device, online, received_at, .. } => print_line(&if *online {
            text!("demo-box-online", time = received_at, device = device)
        } else {
            text!("demo-box-offline", time = received_at, device = device)
        }),
        DistrictEvent::Alarm { device, reason, received_at, .. } => {
            print_line(&text!("demo-alarm", time = received_at, device = device, reason = reason));
        }
        DistrictEvent::Record { device, received_at, .. }
        | DistrictEvent::Command { device, received_at, .. }
        | DistrictEvent::ClipRejected { device, received_at, .. }
        | DistrictEvent::Reported { device, received_at, .. }
        | DistrictEvent::Conflict { device, received_at, .. } => {
            print_line(&text!("demo-other", time = received_at, device = device));
        }
    }
    Ok(())
}

fn agent_ended() -> Notice {
    notice!("demo-agent-ended", Fault::AgentRestarts)
}

fn alert_line(kind: &str, id: &str, record: &Value) -> String {
    let body = &record["body"];
    let score = body["score"].as_f64().map(|score| text!("replay-score", score = format!("{score:.2}")));
    text!(
        "demo-alert",
        time = record["time"].as_str().unwrap_or_default(),
        record = padded(&record_name(kind), 8),
        rule = rule_name(body["rule"].as_str().unwrap_or("?")),
        id = body["alert_id"].as_str().unwrap_or(id),
        duration = format!("{:.1}", body["duration_ms"].as_u64().unwrap_or_default() as f64 / 1000.0),
        score = score.unwrap_or_default(),
        clip = clip_status(body["clip_status"].as_str().unwrap_or_default()),
    )
}

/// `waiting: REASON` and the like in the chosen language, without the reason.
fn clip_status(status: &str) -> String {
    let kind = status.split(':').next().unwrap_or_default().replace('_', "-");
    text::get_or(&format!("clip-{kind}"), status)
}

fn demo_config(folder: &Path, video: &Path, broker: SocketAddr) -> Result<Config> {
    let state_dir = folder.join("box");
    let url = format!("file://{}", video.display());
    let whole = json!({
        "device": { "id": DEVICE, "state_dir": state_dir, "site": { "name": "演示厨房 Demo kitchen" } },
        "camera": [{ "id": "street", "url": url }],
        "rules": { "intrusion": { "enabled": true } },
        "uplink": { "broker": format!("mqtt://{broker}") },
        "recording": { "enabled": false },
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

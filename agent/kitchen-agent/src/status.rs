//! What the running agent knows of itself, gathered from its stages, for `status`, the heartbeat and the birth message.
//! What is not measured is absent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use kitchen_core::budget::{BudgetReport, Hold};
use kitchen_core::rules::RuleId;
use kitchen_core::time::{Clock, Stamp, TimeQuality, TimeZone, Wall};
use kitchen_core::wire::{CameraHealth, HeartbeatBody, OutboxHealth, RuleState, Session, Site, StateBody};
use kitchen_store::Store;
use kitchen_uplink::{LinkStatus, Presence};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::budget::Budget;
use crate::explain;
use crate::machine::Machine;
use crate::notice::Notice;
use crate::recording::{RecordingReport, RecordingState};
use crate::supervise::{Pulse, RestartCounts};

/// Counters of one camera's stages.
#[derive(Debug)]
pub struct CameraCounters {
    pub id: String,
    pub address: String,
    pub frames: AtomicU64,
    pub analysed: AtomicU64,
    pub dropped: AtomicU64,
    /// Packets lost on the way from the camera.
    pub lost_packets: AtomicU64,
    /// Access units that could not be decoded.
    pub damaged: AtomicU64,
    /// Microseconds that the latest look took.
    pub look_us: AtomicU64,
    stream: Mutex<StreamState>,
}

#[derive(Clone, Debug)]
struct StreamState {
    state: &'static str,
    detail: Option<String>,
    notice: Option<Notice>,
}

impl CameraCounters {
    #[must_use]
    pub fn new(id: &str, address: &str) -> Self {
        Self {
            id: id.to_owned(),
            address: address.to_owned(),
            frames: AtomicU64::new(0),
            analysed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            lost_packets: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            look_us: AtomicU64::new(0),
            stream: Mutex::new(StreamState { state: "connecting", detail: None, notice: None }),
        }
    }

    /// `online` with what the stream is, or `offline` with why: in English, and for other languages.
    pub fn set_stream(&self, state: &'static str, detail: String, notice: Notice) {
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) =
            StreamState { state, detail: Some(detail), notice: Some(notice) };
    }

    fn stream(&self) -> StreamState {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// `status --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    pub device: String,
    pub agent: String,
    pub uptime_s: u64,
    pub time: Wall,
    pub time_quality: TimeQuality,
    pub cameras: Vec<CameraReport>,
    pub detector: Option<DetectorReport>,
    pub rules: BTreeMap<String, RuleState>,
    pub alerts_today: Option<u64>,
    pub outbox: Option<OutboxHealth>,
    pub link: LinkReport,
    pub disk: Option<DiskReport>,
    /// Given to the disk by the agent since its start: a memory card bears only so many.
    #[serde(default)]
    pub written_bytes: Option<u64>,
    pub temperature_c: Option<f32>,
    /// How often each stage failed and was started again since the agent's start.
    #[serde(default)]
    pub restarts: BTreeMap<String, u64>,
    /// What slows detection down: heat, voltage, memory. Absent when all is well.
    #[serde(default)]
    pub slowed_by: Option<String>,
    #[serde(default)]
    pub recording: Option<RecordingReport>,
    #[serde(default)]
    pub budget: Option<BudgetReport>,
    /// What waits for money, though the link is there.
    #[serde(default)]
    pub held: Vec<HeldReport>,
}

/// A message that is not sent for now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldReport {
    pub id: String,
    pub reason: String,
    /// When that is different at the latest.
    pub until: Wall,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraReport {
    #[serde(flatten)]
    pub health: CameraHealth,
    pub address: String,
    /// What the stream is, or why there is none.
    pub detail: Option<String>,
    /// The same with its fault code, to be put into words in any language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// Packets lost on the way, and pictures that could not be decoded, since the agent's start.
    pub lost_packets: u64,
    pub damaged: u64,
    pub look_ms: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetectorReport {
    pub model: String,
    pub version: String,
    pub engine: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkReport {
    /// Empty: none is configured.
    pub broker: String,
    pub connected_since: Option<Wall>,
    pub last_receipt: Option<Wall>,
    pub last_error: Option<String>,
    /// The same with its fault code, to be put into words in any language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// Not connected on purpose, until then at the latest, to keep the month's ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resting_until: Option<Wall>,
    pub district_silent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiskReport {
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// The agent as its stages fill it in.
pub struct AgentStatus {
    pub device: String,
    pub site: Site,
    pub zone: TimeZone,
    pub rules: BTreeMap<RuleId, RuleState>,
    pub cameras: Vec<Arc<CameraCounters>>,
    pub detector: Option<DetectorReport>,
    pub broker: String,
    pub link: watch::Receiver<LinkStatus>,
    pub store: Store,
    pub state_dir: PathBuf,
    pub clock: Arc<dyn Clock>,
    pub started: Stamp,
    pub restarts: RestartCounts,
    pub machine: Arc<Machine>,
    pub recording: Arc<RecordingState>,
    pub budget: Arc<Budget>,
    /// Why the agent ends by itself, once it does.
    pub farewell: OnceLock<String>,
    /// The uplink's sign of life; it is another one after each restart.
    pub uplink_pulse: Mutex<Option<Pulse>>,
    /// Tells the uplink of new messages.
    pub wake: Arc<Notify>,
    /// Lets the uplink try again at once.
    pub hurry: Arc<Notify>,
}

impl AgentStatus {
    #[must_use]
    pub fn report(&self) -> StatusReport {
        let stamp = self.clock.stamp();
        let link = self.link.borrow().clone();
        StatusReport {
            device: self.device.clone(),
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: stamp.mono.since(self.started.mono).as_secs(),
            time: stamp.wall,
            time_quality: stamp.quality,
            cameras: self.cameras.iter().map(|camera| camera_report(camera)).collect(),
            detector: self.detector.clone(),
            rules: self.rule_states(),
            alerts_today: self.alerts_today(stamp),
            outbox: self.store.outbox_health(stamp.wall).ok(),
            link: LinkReport {
                broker: self.broker.clone(),
                connected_since: link.connected_since,
                last_receipt: link.last_receipt,
                notice: link.last_error.as_ref().map(explain::link),
                last_error: link.last_error.as_ref().map(|trouble| trouble.text.clone()),
                resting_until: link.resting_until,
                district_silent: link.is_district_silent,
            },
            disk: disk(&self.state_dir),
            written_bytes: written_bytes(),
            temperature_c: crate::health::temperature_c(&crate::health::sysfs()),
            restarts: self.restarts(),
            slowed_by: self.machine.slowed_by(),
            recording: Some(self.recording.report(&self.store, stamp.mono)),
            budget: Some(self.budget.report()),
            held: link.held.iter().map(held_report).collect(),
        }
    }

    fn rule_states(&self) -> BTreeMap<String, RuleState> {
        self.rules.iter().map(|(rule, state)| (rule.to_string(), *state)).collect()
    }

    fn restarts(&self) -> BTreeMap<String, u64> {
        let mut counts = self.restarts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let panics = self.store.panics();
        if panics > 0 {
            counts.insert("store".to_owned(), panics);
        }
        counts
    }

    fn alerts_today(&self, stamp: Stamp) -> Option<u64> {
        self.store.alerts_since(stamp.wall.start_of_day(&self.zone)).ok()
    }
}

impl Presence for AgentStatus {
    fn state(&self, session: Session) -> StateBody {
        StateBody {
            online: true,
            reason: None,
            until: None,
            session,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            pack: self.detector.as_ref().map(|detector| format!("{} {}", detector.model, detector.version)),
            config_version: 0,
            site: self.site.clone(),
            rules: self.rule_states(),
            evidence_key: Some(self.store.evidence_key().to_string()),
            board: crate::board::serial(),
        }
    }

    fn heartbeat(&self) -> HeartbeatBody {
        let stamp = self.clock.stamp();
        HeartbeatBody {
            cameras: self.cameras.iter().map(|camera| camera_report(camera).health).collect(),
            outbox: self.store.outbox_health(stamp.wall).ok(),
            alerts_today: self.alerts_today(stamp),
            chain_head: self.store.chain_head().ok(),
            restarts: self.restarts(),
            recording: self.recording.health(&self.store, stamp.mono),
            budget: Some(self.budget.health()),
        }
    }

    fn farewell(&self) -> String {
        self.farewell.get().cloned().unwrap_or_else(|| "stopped".to_owned())
    }

    fn progress(&self) {
        if let Some(pulse) = &*self.uplink_pulse.lock().unwrap_or_else(PoisonError::into_inner) {
            pulse.beat(self.clock.mono());
        }
    }
}

fn held_report((id, hold): (&String, &Hold)) -> HeldReport {
    HeldReport { id: id.clone(), reason: hold.reason.to_string(), until: hold.until }
}

fn camera_report(camera: &CameraCounters) -> CameraReport {
    let StreamState { state, detail, notice } = camera.stream();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let look_us = count(&camera.look_us);
    CameraReport {
        health: CameraHealth {
            id: camera.id.clone(),
            state: state.to_owned(),
            frames: count(&camera.frames),
            analysed: count(&camera.analysed),
            dropped: count(&camera.dropped),
        },
        address: camera.address.clone(),
        detail,
        notice,
        lost_packets: count(&camera.lost_packets),
        damaged: count(&camera.damaged),
        look_ms: (look_us > 0).then(|| look_us as f64 / 1000.0),
    }
}

fn written_bytes() -> Option<u64> {
    let counters = std::fs::read_to_string("/proc/self/io").ok()?;
    counters.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

#[must_use]
pub fn disk(folder: &Path) -> Option<DiskReport> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(DiskReport { free_bytes: disk.f_bavail * disk.f_frsize, total_bytes: disk.f_blocks * disk.f_frsize })
}

//! The path of the data, top to bottom, and the only place that starts stages:
//! camera → access units → frames → detections → tracks → violations → alerts → outbox → uplink → district.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use kitchen_core::alert::{AlertRecord, ModelRef};
use kitchen_core::caps::DailyCaps;
use kitchen_core::config::{CameraConfig, Config, RuleSettings};
use kitchen_core::rules::{EvidenceKind, RuleId};
use kitchen_core::sample::Sampler;
use kitchen_core::time::{Clock, Mono, Stamp, TimeZone};
use kitchen_core::watch::{Violation, ViolationKey};
use kitchen_core::wire::RuleState;
use kitchen_store::{OpenOptions, Store};
use kitchen_uplink::{LinkOptions, LinkStatus, UplinkOptions};
use kitchen_vision::access_unit::StreamInfo;
use kitchen_vision::camera::{self, CameraEvent, CameraSource};
use kitchen_vision::decode::Decoder;
use kitchen_vision::detect::Detector;
use tokio::sync::{Notify, mpsc, watch};
use tracing::{debug, error, info, warn};

use crate::alert_desk::{AlertDesk, DeskCamera, closed_by_restart};
use crate::analysis::{Analysis, Sight};
use crate::box_side::{StoredLedger, StoredOutbox};
use crate::clock::{SystemClock, boot_id};
use crate::evidence::Recorder;
use crate::frame_slot::{FrameSlot, StreamNews};
use crate::status::{AgentStatus, CameraCounters, DetectorReport};
use crate::{config_file, control};

/// The model that sees people, phones and animals.
pub const MODEL: &str = "objects";
/// Access units between the camera's task and the decoder; beyond it the camera is held back.
const UNITS: usize = 64;
/// Violations between the analyses and the alert desk; beyond it the analyses wait.
const VIOLATIONS: usize = 64;
/// How often the time is saved as the floor for the next start.
const SAVE_TIME_EVERY: Duration = Duration::from_secs(600);
/// A stage without input wakes so often to look at its timers.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Which rules run with the installed model, and the state of all.
pub struct RunningRules {
    pub settings: Vec<RuleSettings>,
    pub states: std::collections::BTreeMap<RuleId, RuleState>,
}

/// Splits the rules into those that run and those that are off or have no model.
#[must_use]
pub fn running_rules(config: &Config, detector: &Detector) -> RunningRules {
    let good = detector.manifest().classes.iter().filter(|class| class.good_enough);
    let labels: Vec<_> = good.map(|class| class.label).collect();
    let state = |settings: &RuleSettings| match (settings.rule.is_available(&labels), settings.enabled) {
        (false, _) => RuleState::Unavailable,
        (true, false) => RuleState::Off,
        (true, true) => RuleState::On,
    };
    let all = config.rule_settings();
    let states = all.iter().map(|settings| (settings.rule, state(settings))).collect();
    RunningRules { settings: all.into_iter().filter(|settings| state(settings) == RuleState::On).collect(), states }
}

/// The model as alerts name it.
#[must_use]
pub fn model_ref(detector: &Detector) -> ModelRef {
    let manifest = detector.manifest();
    ModelRef { name: manifest.name.clone(), version: manifest.version.clone(), sha256: manifest.sha256.clone() }
}

/// Runs the agent until `stop` turns true; then everything under way is committed.
///
/// # Errors
/// When a part without which the agent can do nothing can't start: store, model, configuration.
pub async fn run(config: Config, stop: watch::Receiver<bool>) -> Result<()> {
    let clock = SystemClock::new();
    let store = open_store(&config, &clock)?;
    let models_dir = config_file::models_dir(&config);
    let first = load_detector(&config, &models_dir)?;
    let rules = running_rules(&config, &first);
    let detector = DetectorReport {
        model: first.manifest().name.clone(),
        version: first.manifest().version.clone(),
        engine: first.engine_name().to_owned(),
    };
    let model = model_ref(&first);
    for key in config.without_effect() {
        warn!(key, "accepted, but without effect in this version");
    }

    let dyn_clock: Arc<dyn Clock> = clock.clone();
    let wake = Arc::new(Notify::new());
    let (violations, desk_jobs) = sync_channel(VIOLATIONS);
    let mut stages = Vec::new();
    let mut cameras = Vec::new();
    let mut detectors = vec![first];
    for camera in &config.cameras {
        let detector = detectors.pop().map_or_else(|| load_detector(&config, &models_dir), Ok)?;
        let stage = start_camera(camera, &config, &rules, &model, detector, &dyn_clock, &violations, &stop)?;
        cameras.push(stage.counters);
        stages.extend(stage.threads);
    }
    drop(violations);
    let desk = start_desk(&config, &store, &dyn_clock, &wake, desk_jobs)?;

    let (link_sender, link) = watch::channel(LinkStatus::default());
    let status = Arc::new(AgentStatus {
        device: config.device.id.clone(),
        site: config.device.site.clone(),
        zone: config.time_zone(),
        rules: rules.states,
        cameras,
        detector: Some(detector),
        broker: config.uplink.broker.clone(),
        link,
        store: store.clone(),
        state_dir: config.device.state_dir.clone(),
        clock: dyn_clock.clone(),
        started: clock.stamp(),
    });
    let control = tokio::spawn(control::serve(control::socket_path(&config.device.state_dir), Arc::clone(&status)));
    let keeping = tokio::spawn(keep_house(store.clone(), dyn_clock.clone(), Arc::clone(&wake)));
    info!(device = %config.device.id, cameras = config.cameras.len(), "agent running");
    run_uplink(&config, &store, &status, &dyn_clock, &wake, link_sender, stop).await;

    let joined = tokio::task::spawn_blocking(move || stages.into_iter().chain([desk]).for_each(join));
    joined.await.context("the stages did not end")?;
    keeping.abort();
    control.abort();
    store.save_time(clock.stamp().wall);
    info!("agent stopped, everything is committed");
    Ok(())
}

fn open_store(config: &Config, clock: &SystemClock) -> Result<Store> {
    let folder = config.device.state_dir.join("store");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("can't make {}: check its owner and the disk", folder.display()))?;
    let options = OpenOptions { dir: &folder, device: &config.device.id, boot_id: &boot_id()? };
    let store = Store::open(options)?;
    if let Some(saved) = store.saved_time() {
        clock.raise_floor(saved);
    }
    for alert in store.open_alerts()? {
        let body = closed_by_restart(alert.body);
        store.append_alert_record(clock.stamp(), &alert.alert_id, AlertRecord::Closed, body)?;
    }
    Ok(store)
}

fn load_detector(config: &Config, models_dir: &Path) -> Result<Detector> {
    Ok(Detector::load(models_dir, MODEL, config.detector.engine, config.detector.threads)?)
}

/// The threads of one camera.
struct CameraStage {
    counters: Arc<CameraCounters>,
    threads: Vec<JoinHandle<()>>,
}

/// A violation on its way to the desk, and where the desk answers.
struct DeskJob {
    camera: Arc<DeskCamera>,
    violation: Violation,
    sight: Option<Sight>,
    stamp: Stamp,
    answers: Sender<Answer>,
}

/// Whether the alert of a violation was raised.
struct Answer {
    key: ViolationKey,
    raised: bool,
}

#[expect(clippy::too_many_arguments, reason = "one camera's stages are wired here and nowhere else")]
fn start_camera(
    camera: &CameraConfig,
    config: &Config,
    rules: &RunningRules,
    model: &ModelRef,
    detector: Detector,
    clock: &Arc<dyn Clock>,
    violations: &SyncSender<DeskJob>,
    stop: &watch::Receiver<bool>,
) -> Result<CameraStage> {
    let source = CameraSource::new(camera, config_file::password(camera)?)?;
    let counters = Arc::new(CameraCounters::new(&camera.id, &source.address()));
    let with_clip = rules.settings.iter().filter(|settings| settings.evidence == EvidenceKind::Clip);
    let span = with_clip.map(|settings| settings.window).max().unwrap_or_default();
    let recorder = Arc::new(Recorder::new(span, config.clip));
    let mut rules_here = rules.settings.clone();
    if !camera.privacy_masks.is_empty() {
        warn!(camera = %camera.id, "privacy masks can't be drawn in this version: no pictures and no clips of this camera");
        rules_here.iter_mut().for_each(|settings| settings.evidence = EvidenceKind::None);
    }
    let desk_camera = Arc::new(DeskCamera {
        id: camera.id.clone(),
        rules: rules_here,
        model: Some(model.clone()),
        recorder: Some(Arc::clone(&recorder)),
    });
    let slot = Arc::new(FrameSlot::default());
    let (units, events) = mpsc::channel(UNITS);
    tokio::spawn(camera::run(source, Arc::clone(clock), units, stop.clone()));

    let decoding = {
        let (slot, counters) = (Arc::clone(&slot), Arc::clone(&counters));
        let sampler = Sampler::new(camera.analyse_fps);
        let name = camera.id.clone();
        thread(&format!("decode-{}", camera.id), move || {
            decode(&name, events, &recorder, &slot, &counters, sampler);
            slot.close();
        })?
    };
    let analysing = {
        let (clock, counters) = (Arc::clone(clock), Arc::clone(&counters));
        let analysis = Analysis::new(camera, &rules.settings, &config.time_zone(), detector, clock.mono());
        let violations = violations.clone();
        thread(&format!("detect-{}", camera.id), move || {
            analyse(analysis, &desk_camera, &slot, &counters, clock.as_ref(), &violations);
        })?
    };
    Ok(CameraStage { counters, threads: vec![decoding, analysing] })
}

/// Camera events → ring and sampled frames. Ends when the camera's task has ended.
fn decode(
    camera: &str,
    mut events: mpsc::Receiver<CameraEvent>,
    recorder: &Recorder,
    slot: &FrameSlot,
    counters: &CameraCounters,
    mut sampler: Sampler,
) {
    let mut decoder = None;
    while let Some(event) = events.blocking_recv() {
        match event {
            CameraEvent::Opened(info) => {
                counters.set_stream("online", describe(&info));
                recorder.handle_opened(info);
                decoder = Decoder::new().map_err(|error| error!(camera, %error, "no decoder")).ok();
                slot.tell(StreamNews::Opened);
            }
            CameraEvent::Unit(unit) => {
                counters.frames.fetch_add(1, Ordering::Relaxed);
                counters.lost_packets.fetch_add(u64::from(unit.lost_packets), Ordering::Relaxed);
                let Some(decoder) = &mut decoder else { continue };
                match decoder.decode(&unit, |_, received| sampler.take(received)) {
                    Ok(frames) => frames.into_iter().for_each(|frame| slot.put(frame)),
                    Err(error) => {
                        counters.damaged.fetch_add(1, Ordering::Relaxed);
                        debug!(camera, %error, "access unit damaged");
                    }
                }
                counters.dropped.store(slot.dropped(), Ordering::Relaxed);
                recorder.handle_unit(unit);
            }
            CameraEvent::Lost { error } => {
                counters.set_stream("offline", error.to_string());
                slot.tell(StreamNews::Lost(error.to_string()));
            }
        }
    }
}

fn describe(info: &StreamInfo) -> String {
    let rate = info.frame_rate.map_or_else(String::new, |rate| format!(", {rate:.1} frames/s"));
    format!("{} {}×{}{rate}", info.codec, info.width, info.height)
}

/// Frames → violations, handed to the desk. Ends when the slot is closed.
fn analyse(
    mut analysis: Analysis,
    camera: &Arc<DeskCamera>,
    slot: &FrameSlot,
    counters: &CameraCounters,
    clock: &dyn Clock,
    violations: &SyncSender<DeskJob>,
) {
    let (answers, answered) = channel();
    loop {
        let now = clock.mono();
        let wait = analysis.poll_timeout().map_or(LONGEST_WAIT, |due| due.since(now).min(LONGEST_WAIT));
        let Some(taken) = slot.take(wait) else { break };
        for news in taken.news {
            match news {
                StreamNews::Opened => analysis.handle_opened(),
                StreamNews::Lost(why) => analysis.handle_lost(&why, clock.stamp()),
            }
        }
        if let Some(frame) = taken.frame {
            look(&mut analysis, frame, &camera.id, counters, clock);
        }
        for Answer { key, raised } in answered.try_iter() {
            if raised {
                analysis.handle_raised(&key, clock.mono());
            } else {
                analysis.handle_suppressed(&key, clock.mono());
            }
        }
        analysis.handle_timeout(clock.stamp());
        while let Some((violation, sight)) = analysis.poll_violation() {
            let (camera, answers) = (Arc::clone(camera), answers.clone());
            let job = DeskJob { camera, violation, sight, stamp: clock.stamp(), answers };
            if violations.send(job).is_err() {
                return;
            }
        }
    }
}

fn look(
    analysis: &mut Analysis,
    frame: kitchen_vision::frame::Frame,
    camera: &str,
    counters: &CameraCounters,
    clock: &dyn Clock,
) {
    let stamp = at(clock.stamp(), frame.captured);
    let began = std::time::Instant::now();
    match analysis.handle_frame(frame, stamp) {
        Ok(looked) if looked.detections.is_some() => {
            counters.analysed.fetch_add(1, Ordering::Relaxed);
            let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            counters.look_us.store(took, Ordering::Relaxed);
        }
        Ok(_) => {}
        Err(error) => error!(camera, error = format!("{error:#}"), "the detector failed on a picture"),
    }
}

/// `now` moved back to when a frame was captured.
fn at(now: Stamp, captured: Mono) -> Stamp {
    Stamp { mono: captured, wall: now.wall.before(now.mono.since(captured)), quality: now.quality }
}

/// Violations → committed alerts. Ends when all analyses have ended.
fn start_desk(
    config: &Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
    wake: &Arc<Notify>,
    jobs: Receiver<DeskJob>,
) -> Result<JoinHandle<()>> {
    let zone = config.time_zone();
    let caps = todays_caps(store, &zone, clock.stamp())?;
    let ledger = StoredLedger { store: store.clone(), wake: Arc::clone(wake) };
    let mut desk = AlertDesk::new(ledger, config.clip, zone, caps);
    let clock = Arc::clone(clock);
    thread("alerts", move || {
        loop {
            let now = clock.mono();
            let wait = desk.poll_timeout().map_or(LONGEST_WAIT, |due| due.since(now).min(LONGEST_WAIT));
            match jobs.recv_timeout(wait) {
                Ok(DeskJob { camera, violation, sight, stamp, answers }) => {
                    let key = match &violation {
                        Violation::Opened { key, .. } => Some(key.clone()),
                        _ => None,
                    };
                    let raised = desk.handle_violation(&camera, violation, sight.as_ref(), stamp);
                    if let Some((key, raised)) = key.zip(raised) {
                        // An analysis that has ended needs no answer.
                        let _ = answers.send(Answer { key, raised });
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            desk.handle_timeout(clock.stamp());
        }
        desk.finish(clock.stamp());
    })
}

/// What this day has brought already.
fn todays_caps(store: &Store, zone: &TimeZone, now: Stamp) -> Result<DailyCaps> {
    let day = now.wall.start_of_day(zone);
    let today: Vec<_> =
        store.alerts(200)?.into_iter().filter(|alert| alert.opened_at >= day && alert.tier > 1).collect();
    let count = |alerts: usize| u32::try_from(alerts).unwrap_or(u32::MAX);
    let clips = today.iter().filter(|alert| alert.clip.is_some()).count();
    Ok(DailyCaps::new(day, count(today.len()), count(clips)))
}

/// Outbox → district, until `stop` turns true.
async fn run_uplink(
    config: &Config,
    store: &Store,
    status: &Arc<AgentStatus>,
    clock: &Arc<dyn Clock>,
    wake: &Arc<Notify>,
    link_status: watch::Sender<LinkStatus>,
    mut stop: watch::Receiver<bool>,
) {
    let uplink = &config.uplink;
    if uplink.broker.is_empty() {
        warn!("no broker is configured: alerts stay on this box");
    } else {
        let mut link = LinkOptions::new(&uplink.broker, &config.device.id);
        link.ca_file.clone_from(&uplink.ca_file);
        link.certificate_file.clone_from(&uplink.certificate_file);
        link.key_file = uplink.key_file.as_deref().map(config_file::secret);
        link.keepalive_s = uplink.keepalive_s;
        let options = UplinkOptions { link, heartbeat_s: uplink.heartbeat_s, status: link_status };
        let outbox = StoredOutbox { store: store.clone(), device: config.device.id.clone(), clock: Arc::clone(clock) };
        let presence: Arc<AgentStatus> = Arc::clone(status);
        let running =
            kitchen_uplink::run(options, Arc::new(outbox), presence, Arc::clone(clock), Arc::clone(wake), stop.clone());
        if let Err(error) = Box::pin(running).await {
            error!(%error, "the uplink can't run: alerts stay on this box");
        }
    }
    let _ = stop.wait_for(|stopped| *stopped).await;
}

/// Saves the time and expires what has waited too long.
async fn keep_house(store: Store, clock: Arc<dyn Clock>, wake: Arc<Notify>) {
    let mut every = tokio::time::interval(SAVE_TIME_EVERY);
    loop {
        every.tick().await;
        let (store, stamp, wake) = (store.clone(), clock.stamp(), Arc::clone(&wake));
        let kept = tokio::task::spawn_blocking(move || {
            store.save_time(stamp.wall);
            match store.expire(stamp) {
                Ok(0) => {}
                Ok(_) => wake.notify_one(),
                Err(error) => error!(error = &error as &dyn std::error::Error, "expiry failed"),
            }
        });
        let _ = kept.await;
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).with_context(|| format!("can't start thread {name}"))
}

fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or("?").to_owned();
    if thread.join().is_err() {
        error!(thread = name, "stage panicked");
    }
}

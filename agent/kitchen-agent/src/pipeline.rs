//! The path of the data, top to bottom, and the only place that starts stages:
//! camera → access units → frames → detections → tracks → violations → alerts → outbox → uplink → district.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use kitchen_core::alert::{AlertRecord, ModelRef};
use kitchen_core::caps::DailyCaps;
use kitchen_core::config::{CameraConfig, Config, RuleSettings};
use kitchen_core::rules::box_health::BoxHealth;
use kitchen_core::rules::{EvidenceKind, RuleId};
use kitchen_core::sample::Sampler;
use kitchen_core::time::{Clock, Stamp, TimeZone};
use kitchen_core::wire::RuleState;
use kitchen_store::{AlertRow, OpenOptions, Store};
use kitchen_uplink::{Gate, LinkOptions, LinkStatus, UplinkOptions};
use kitchen_vision::camera::{self, CameraSource};
use kitchen_vision::privacy_mask::PrivacyMask;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tracing::{error, info, warn};

use crate::alert_desk::{AlertDesk, DeskCamera, clip_ended_by_restart, closed_by_restart};
use crate::analysing::Analysing;
use crate::analysis::Analysis;
use crate::box_side::{StoredLedger, StoredOutbox};
use crate::budget::Budget;
use crate::clip_stage::{self, ClipQueue};
use crate::clock::{SystemClock, boot_id};
use crate::decoding::{Decoding, decode};
use crate::desk_job::{Answer, Backlog, DeskJob};
use crate::enrolling::Enrolling;
use crate::evidence::Recorder;
use crate::fault::Fault;
use crate::frame_slot::FrameSlot;
use crate::housekeeping::Housekeeping;
use crate::machine::Machine;
use crate::main_stream::{CloseView, NewestKeyframe};
use crate::notice::notice;
use crate::pack::{OBJECTS, Pack};
use crate::recording::{Feed, Recording};
use crate::renewal::Renewing;
use crate::snapshot::Photographer;
use crate::status::{AgentStatus, CameraCounters, DetectorReport};
use crate::supervise::{Lease, Pulse, Running, Supervisor};
use crate::{config_file, control, engine_choice, machine, supervise};

/// Access units between the camera's task and the decoder; beyond it the camera is held back.
const UNITS: usize = 64;
/// Violations between the analyses and the alert desk; beyond it the analyses wait.
const VIOLATIONS: usize = 64;
/// Without progress for so long a stage hangs and is started again.
const CAPTURE_PATIENCE: Duration = Duration::from_secs(15);
/// A look takes a quarter of a second on the slowest board, 10 s on an emulated one.
const DETECT_PATIENCE: Duration = Duration::from_secs(30);
const UPLINK_PATIENCE: Duration = Duration::from_secs(20);
/// One call; the store itself waits 5 s for a reader. A disk that does not answer is the end of the agent.
const STORE_PATIENCE: Duration = Duration::from_secs(30);
/// Stages that have not ended after so long are left behind.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// Clips that are being made when the agent stops have so long.
const CLIP_PATIENCE: Duration = Duration::from_secs(3);
/// A day's limits, and clips under way, concern no older ones.
const NEWEST_ALERTS: usize = 200;
/// How alerts of the box itself name their camera.
const BOX: &str = "box";
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// A stage without input wakes so often to look at its timers.
pub const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Which rules run with the installed model, and the state of all.
pub struct RunningRules {
    pub settings: Vec<RuleSettings>,
    pub states: BTreeMap<RuleId, RuleState>,
}

/// Splits the rules into those that run and those that are off or have no model.
#[must_use]
pub fn running_rules(config: &Config, pack: &Pack) -> RunningRules {
    let labels = pack.good_labels();
    let state = |settings: &RuleSettings| match (settings.rule.is_available(&labels), settings.enabled) {
        (false, _) => RuleState::Unavailable,
        (true, false) => RuleState::Off,
        (true, true) => RuleState::On,
    };
    let all = config.rule_settings();
    let states = all.iter().map(|settings| (settings.rule, state(settings))).collect();
    RunningRules { settings: all.into_iter().filter(|settings| state(settings) == RuleState::On).collect(), states }
}

/// Runs the agent until `stop` turns true; then everything under way is committed.
///
/// # Errors
/// When a part without which the agent can do nothing can't start: store, model, configuration.
pub async fn run(config: Config, stop: watch::Receiver<bool>) -> Result<()> {
    let clock = SystemClock::new();
    let store = open_store(&config, &clock)?;
    let newest = store.alerts(NEWEST_ALERTS)?;
    end_clips(&store, &newest, clock.stamp())?;
    let caps = todays_caps(&newest, &config.time_zone(), clock.stamp());
    let measuring = config.clone();
    tokio::task::spawn_blocking(move || engine_choice::measure_if_unknown(&measuring, OBJECTS)).await?;
    let first = Pack::load(&config)?;
    let rules = running_rules(&config, &first);
    let detector = DetectorReport {
        model: first.detector.manifest().name.clone(),
        version: first.detector.manifest().version.clone(),
        engine: first.detector.engine_name().to_owned(),
    };
    let models = first.models();
    for key in config.without_effect() {
        warn!(key, "accepted, but without effect in this version");
    }

    let clock: Arc<dyn Clock> = clock;
    let wake = Arc::new(Notify::new());
    // The agent may also end by itself.
    let (stopper, stopped) = watch::channel(false);
    let mut supervisor = Supervisor::new(Arc::clone(&clock));
    let (violations, desk_jobs) = sync_channel(VIOLATIONS);
    let clips = clip_stage::start(Arc::clone(&clock), violations.clone())?;
    let budget = Budget::open(&config, &store, &clock, &wake)?;
    let desk = start_desk(&config, &store, &clock, &wake, desk_jobs, clips, caps, &budget)?;
    let machine = Arc::new(Machine::default());
    let health = rules.settings.iter().find(|settings| settings.rule == RuleId::BoxHealth).cloned();
    let state_dir = config.device.state_dir.clone();
    let box_camera = box_camera(health.clone());
    let counting = tokio::spawn(Arc::clone(&budget).run(Arc::clone(&box_camera), newest, violations.clone()));
    let watching = tokio::spawn(watch_machine(
        Arc::clone(&machine),
        health,
        box_camera,
        state_dir,
        Arc::clone(&clock),
        violations.clone(),
    ));
    let mut cameras = Vec::new();
    let mut first = Some(first);
    let recording = Recording::new(&config);
    let recording_state = recording.state();
    for (number, camera) in config.cameras.iter().enumerate() {
        let password = config_file::password(camera)?;
        let source = CameraSource::new(camera, password.clone())?;
        let main_stream = CameraSource::main_stream(camera, password)?;
        let stage = CameraStage::new(camera, &source, &config, &rules, &models);
        cameras.push(Arc::clone(&stage.counters));
        stage.start_capture(&mut supervisor, source, recording.feeds(number), &machine, &clock, &stopped)?;
        let newest = match main_stream {
            Some(source) => Some(stage.start_main_stream(&mut supervisor, source, &clock, &stopped)?),
            None => None,
        };
        let load = {
            let config = config.clone();
            let mut first = first.take();
            move || first.take().map_or_else(|| Pack::load(&config), Ok)
        };
        stage.start_detect(&mut supervisor, load, newest, &config, &rules, &clock, &violations)?;
    }
    recording.start(&mut supervisor, &store, &clock, boot_id()?, &stopped)?;

    let (link_sender, link) = watch::channel(LinkStatus::default());
    let reconnect = Arc::new(Notify::new());
    let renewing = Renewing {
        enrolling: Enrolling::of(&config.device.state_dir),
        clock: Arc::clone(&clock),
        link: link.clone(),
        reconnect: Arc::clone(&reconnect),
        budget: Arc::clone(&budget),
    };
    let uses_enrolment = config.uplink.certificate_file == Some(renewing.enrolling.identity.certificate_file());
    let renewing = uses_enrolment.then(|| tokio::spawn(renewing.run()));
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
        clock: Arc::clone(&clock),
        started: clock.stamp(),
        restarts: supervisor.counts(),
        machine,
        recording: recording_state,
        budget: Arc::clone(&budget),
        farewell: OnceLock::new(),
        uplink_pulse: Mutex::default(),
        wake: Arc::clone(&wake),
        hurry: Arc::default(),
    });
    start_uplink(&mut supervisor, &config, &status, &wake, &reconnect, link_sender, &stopped)?;
    let control = tokio::spawn(control::serve(control::socket_path(&config.device.state_dir), Arc::clone(&status)));
    let house = Housekeeping::new(&config, store.clone(), Arc::clone(&clock), Arc::clone(&wake));
    let damage = house.damage();
    let keeping = tokio::spawn(house.run());
    info!(device = %config.device.id, cameras = config.cameras.len(), "agent running");
    supervise::notify("READY=1");

    let patient = store.clone();
    let watched = tokio::task::spawn_blocking(move || {
        let failed = || match patient.busy_for() > STORE_PATIENCE || damage.is_found() {
            true => Some("store"),
            // Without a desk alerts would be dropped in silence.
            false => desk.is_finished().then_some("alerts"),
        };
        let hopeless = supervisor.watch(&stop, failed);
        (supervisor, desk, hopeless)
    });
    let (supervisor, desk, hopeless) = watched.await.context("the supervisor panicked")?;
    supervise::notify("STOPPING=1");
    if let Some(stage) = &hopeless {
        let _ = status.farewell.set(format!("failed: {stage}"));
    }
    let _ = stopper.send(true);
    watching.abort();
    counting.abort();
    if let Some(renewing) = renewing {
        renewing.abort();
    }
    for stage in supervisor.join(STOP_PATIENCE).await {
        error!(stage, "did not end, and is left behind");
    }
    let joined = tokio::task::spawn_blocking(move || {
        // A desk that is gone needs no word.
        let _ = violations.send(DeskJob::Stop);
        join(desk);
    });
    if tokio::time::timeout(STOP_PATIENCE + CLIP_PATIENCE, joined).await.is_err() {
        error!(stage = "alerts", "did not end, and is left behind");
    }
    keeping.abort();
    control.abort();
    if let Some(stage) = hopeless {
        return Err(notice!("stage-hopeless", Fault::AgentRestarts, stage = stage).into());
    }
    budget.finish();
    store.save_time(clock.stamp().wall);
    info!("agent stopped, everything is committed");
    Ok(())
}

fn open_store(config: &Config, clock: &SystemClock) -> Result<Store> {
    let folder = config.device.state_dir.join("store");
    std::fs::create_dir_all(&folder)
        .with_context(|| notice!("folder-unmakeable", Fault::StateUnwritable, path = folder.display()))?;
    let options = OpenOptions { dir: &folder, device: &config.device.id, boot_id: &boot_id()? };
    let store = Store::open(options)?;
    if let Some(saved) = store.saved_time() {
        clock.raise_floor(saved);
    }
    store.tell_losses(clock.stamp())?;
    for alert in store.open_alerts()? {
        let body = closed_by_restart(alert.body);
        store.append_alert_record(clock.stamp(), &alert.alert_id, AlertRecord::Closed, body)?;
    }
    Ok(store)
}

/// Alerts of before whose clips were being made when the agent ended say that they have none.
fn end_clips(store: &Store, newest: &[AlertRow], now: Stamp) -> Result<()> {
    for alert in newest {
        if let Some(body) = clip_ended_by_restart(alert) {
            store.append_alert_record(now, &alert.alert_id, AlertRecord::Clip, body)?;
        }
    }
    Ok(())
}

/// What the stages of one camera share, and what outlives each of them.
struct CameraStage {
    config: CameraConfig,
    counters: Arc<CameraCounters>,
    recorder: Arc<Recorder>,
    mask: Arc<PrivacyMask>,
    slot: Arc<FrameSlot>,
    desk: Arc<DeskCamera>,
}

impl CameraStage {
    fn new(
        camera: &CameraConfig,
        source: &CameraSource,
        config: &Config,
        rules: &RunningRules,
        models: &BTreeMap<RuleId, ModelRef>,
    ) -> Self {
        let counters = Arc::new(CameraCounters::new(&camera.id, &source.address()));
        let with_clip = rules.settings.iter().filter(|settings| settings.evidence == EvidenceKind::Clip);
        let span = with_clip.map(|settings| settings.window).max().unwrap_or_default();
        let mask = Arc::new(PrivacyMask::new(&camera.privacy_masks));
        let recorder = Arc::new(Recorder::new(span, config.clip, Arc::clone(&mask), camera.main_url.is_some()));
        let desk = Arc::new(DeskCamera {
            id: camera.id.clone(),
            rules: rules.settings.clone(),
            models: models.clone(),
            recorder: Some(Arc::clone(&recorder)),
        });
        Self { config: camera.clone(), counters, recorder, mask, slot: Arc::default(), desk }
    }

    /// Camera → access units → frames: the camera's task and the thread that decodes.
    fn start_capture(
        &self,
        supervisor: &mut Supervisor,
        source: CameraSource,
        feed: impl Fn() -> Option<Feed> + Send + 'static,
        machine: &Arc<Machine>,
        clock: &Arc<dyn Clock>,
        stopped: &watch::Receiver<bool>,
    ) -> Result<()> {
        let (counters, recorder, slot) =
            (Arc::clone(&self.counters), Arc::clone(&self.recorder), Arc::clone(&self.slot));
        let (clock, stopped, fps) = (Arc::clone(clock), stopped.clone(), self.config.analyse_fps);
        let (id, machine, mask) = (self.config.id.clone(), Arc::clone(machine), Arc::clone(&self.mask));
        let start = move |pulse: Pulse, _: Lease| {
            let (units, events) = mpsc::channel(UNITS);
            let camera = camera::run(source.clone(), Arc::clone(&clock), units, stopped.clone());
            let polled = Pulse::new(clock.mono());
            let task = tokio::spawn(supervise::beating(camera, polled.clone(), Arc::clone(&clock)));
            let decoding = Decoding {
                camera: id.clone(),
                recorder: Arc::clone(&recorder),
                recording: feed(),
                mask: Arc::clone(&mask),
                slot: Arc::clone(&slot),
                counters: Arc::clone(&counters),
                sampler: Sampler::new(fps),
                machine: Arc::clone(&machine),
                decoder: None,
            };
            let (clock, slot) = (Arc::clone(&clock), Arc::clone(&slot));
            let (stopped, runtime) = (stopped.clone(), Handle::current());
            let thread = thread(&format!("decode-{id}"), move || {
                decode(decoding, events, &runtime, &pulse, clock.as_ref());
                if *stopped.borrow() {
                    slot.close();
                }
            })?;
            Ok(Running { threads: vec![thread], tasks: vec![task], pulses: vec![polled] })
        };
        supervisor.start(&format!("capture-{}", self.config.id), CAPTURE_PATIENCE, Box::new(start))
    }

    /// The main stream: its newest keyframe for a closer look, the rest for clips.
    fn start_main_stream(
        &self,
        supervisor: &mut Supervisor,
        source: CameraSource,
        clock: &Arc<dyn Clock>,
        stopped: &watch::Receiver<bool>,
    ) -> Result<Arc<NewestKeyframe>> {
        let newest = Arc::new(NewestKeyframe::default());
        let (kept, clock, stopped) = (Arc::clone(&newest), Arc::clone(clock), stopped.clone());
        let recorder = Arc::clone(&self.recorder);
        let id = self.config.id.clone();
        let start = move |pulse: Pulse, _: Lease| {
            let (units, mut events) = mpsc::channel(UNITS);
            let camera = camera::run(source.clone(), Arc::clone(&clock), units, stopped.clone());
            let (kept, recorder, id) = (Arc::clone(&kept), Arc::clone(&recorder), id.clone());
            let keeping = async move {
                while let Some(event) = events.recv().await {
                    recorder.handle_main(&event);
                    kept.handle_event(&id, event);
                }
            };
            let both = async move {
                tokio::join!(camera, keeping);
            };
            let task = tokio::spawn(supervise::beating(both, pulse, Arc::clone(&clock)));
            Ok(Running { tasks: vec![task], ..Running::default() })
        };
        supervisor.start(&format!("main-{}", self.config.id), CAPTURE_PATIENCE, Box::new(start))?;
        Ok(newest)
    }

    /// Frames → violations.
    #[expect(clippy::too_many_arguments, reason = "what one camera's analysis reads and writes")]
    fn start_detect(
        &self,
        supervisor: &mut Supervisor,
        mut load: impl FnMut() -> Result<Pack> + Send + 'static,
        main_stream: Option<Arc<NewestKeyframe>>,
        config: &Config,
        rules: &RunningRules,
        clock: &Arc<dyn Clock>,
        violations: &SyncSender<DeskJob>,
    ) -> Result<()> {
        let (slot, counters, desk) = (Arc::clone(&self.slot), Arc::clone(&self.counters), Arc::clone(&self.desk));
        let (camera, settings, zone) = (self.config.clone(), rules.settings.clone(), config.time_zone());
        let (clock, violations, mask) = (Arc::clone(clock), violations.clone(), Arc::clone(&self.mask));
        let mut is_first = true;
        let start = move |pulse: Pulse, lease: Lease| {
            let analysis = Analysis::new(&camera, &settings, &zone, load()?, clock.mono())
                .with_main_stream(main_stream.clone().map(|newest| CloseView::new(newest, Arc::clone(&mask))));
            if !std::mem::take(&mut is_first) {
                // A desk that is gone needs no word: the agent ends.
                let _ = violations.send(DeskJob::Restarted { camera: camera.id.clone(), stamp: clock.stamp() });
            }
            let analysing = Analysing {
                analysis,
                camera: Arc::clone(&desk),
                slot: Arc::clone(&slot),
                counters: Arc::clone(&counters),
                clock: Arc::clone(&clock),
                violations: violations.clone(),
                pulse,
                lease,
            };
            let thread = thread(&format!("detect-{}", camera.id), move || analysing.run())?;
            Ok(Running { threads: vec![thread], ..Running::default() })
        };
        supervisor.start(&format!("detect-{}", self.config.id), DETECT_PATIENCE, Box::new(start))
    }
}

#[expect(clippy::too_many_arguments, reason = "what the desk reads and writes")]
/// Violations → committed alerts. Ends when it is told to stop, with the clips that are being made.
fn start_desk(
    config: &Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
    wake: &Arc<Notify>,
    jobs: Receiver<DeskJob>,
    clips: ClipQueue,
    caps: DailyCaps,
    budget: &Arc<Budget>,
) -> Result<JoinHandle<()>> {
    let zone = config.time_zone();
    let ledger = StoredLedger { store: store.clone(), wake: Arc::clone(wake) };
    let desk = AlertDesk::new(ledger, config.clip, zone, caps, Photographer::new(config));
    let mut desk = desk.with_clips(clips).with_budget(Arc::clone(budget));
    let clock = Arc::clone(clock);
    thread("alerts", move || {
        let mut until = None;
        while until.is_none_or(|until| desk.makes_clips() && clock.mono() < until) {
            let now = clock.mono();
            let due = [desk.poll_timeout(), until].into_iter().flatten().min();
            let wait = due.map_or(LONGEST_WAIT, |due| due.since(now).min(LONGEST_WAIT));
            match jobs.recv_timeout(wait) {
                Ok(DeskJob::Stop) => {
                    desk.handle_stop(clock.stamp());
                    until = Some(clock.mono() + CLIP_PATIENCE);
                }
                Ok(job) => job.handle(&mut desk),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            fail::fail_point!("alerts");
            desk.handle_timeout(clock.stamp());
        }
        desk.finish(clock.stamp());
    })
}

/// What this day has brought already.
fn todays_caps(newest: &[AlertRow], zone: &TimeZone, now: Stamp) -> DailyCaps {
    let raised = newest.iter().map(|alert| (alert.tier, alert.opened_at.start_of_day(zone), alert.clip.is_some()));
    DailyCaps::resumed(now.wall.start_of_day(zone), raised)
}

/// Outbox → district.
fn start_uplink(
    supervisor: &mut Supervisor,
    config: &Config,
    status: &Arc<AgentStatus>,
    wake: &Arc<Notify>,
    reconnect: &Arc<Notify>,
    link_status: watch::Sender<LinkStatus>,
    stopped: &watch::Receiver<bool>,
) -> Result<()> {
    let uplink = config.uplink.clone();
    if uplink.broker.is_empty() {
        warn!("no broker is configured: alerts stay on this box");
        return Ok(());
    }
    let device = config.device.id.clone();
    let (status, wake, stopped) = (Arc::clone(status), Arc::clone(wake), stopped.clone());
    let reconnect = Arc::clone(reconnect);
    let start = move |pulse: Pulse, _: Lease| {
        let mut link = LinkOptions::new(&uplink.broker, &device);
        link.ca_file.clone_from(&uplink.ca_file);
        link.certificate_file.clone_from(&uplink.certificate_file);
        link.key_file = uplink.key_file.as_deref().map(config_file::secret);
        link.keepalive_s = uplink.keepalive_s;
        link.not_before = Some(status.clock.stamp().wall);
        let options = UplinkOptions {
            link,
            heartbeat_s: uplink.heartbeat_s,
            status: link_status.clone(),
            hurry: Arc::clone(&status.hurry),
            reconnect: Arc::clone(&reconnect),
            gate: Arc::clone(&status.budget) as Arc<dyn Gate>,
        };
        let (store, clock) = (status.store.clone(), Arc::clone(&status.clock));
        let outbox = Arc::new(StoredOutbox { store, device: device.clone(), clock: Arc::clone(&clock) });
        *status.uplink_pulse.lock().unwrap_or_else(PoisonError::into_inner) = Some(pulse.clone());
        let presence: Arc<AgentStatus> = Arc::clone(&status);
        let mut stop = stopped.clone();
        let running =
            kitchen_uplink::run(options, outbox, presence, Arc::clone(&clock), Arc::clone(&wake), stop.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = Box::pin(running).await {
                error!(%error, "the uplink can't run: alerts stay on this box");
                // Starting it again would not help: only another configuration does.
                let wait = async move { drop(stop.wait_for(|stopped| *stopped).await) };
                supervise::beating(wait, pulse, clock).await;
            }
        });
        Ok(Running { tasks: vec![task], ..Running::default() })
    };
    supervisor.start("uplink", UPLINK_PATIENCE, Box::new(start))
}

/// The box itself, where alerts need a camera.
fn box_camera(settings: Option<RuleSettings>) -> Arc<DeskCamera> {
    let rules = settings.into_iter().collect();
    Arc::new(DeskCamera { id: BOX.to_owned(), rules, models: BTreeMap::new(), recorder: None })
}

/// The box's own health → pace of detection, and alerts of `box_health` where that rule is on.
async fn watch_machine(
    machine: Arc<Machine>,
    settings: Option<RuleSettings>,
    camera: Arc<DeskCamera>,
    state_dir: PathBuf,
    clock: Arc<dyn Clock>,
    violations: SyncSender<DeskJob>,
) {
    let window_and_cool_down = settings.map_or_else(Default::default, |rule| (rule.window, rule.cool_down));
    let mut health = BoxHealth::new(window_and_cool_down.0, window_and_cool_down.1);
    let (answers, answered) = channel();
    let mut backlog = Backlog::new(camera, violations, answers);
    let mut every = tokio::time::interval(MEASURE_EVERY);
    loop {
        every.tick().await;
        for Answer { raised, .. } in answered.try_iter() {
            if raised { health.handle_raised(clock.mono()) } else { health.handle_suppressed(clock.mono()) }
        }
        let state_dir = state_dir.clone();
        let readings = tokio::task::spawn_blocking(move || machine::readings(&state_dir)).await.unwrap_or_default();
        health.handle_readings(readings, clock.mono());
        machine.note(&health);
        while let Some(violation) = health.poll_output() {
            backlog.push(violation, clock.stamp());
        }
        backlog.hand_over();
    }
}

pub fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).with_context(|| format!("can't start thread {name}"))
}

fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or("?").to_owned();
    if thread.join().is_err() {
        error!(thread = name, "stage panicked");
    }
}

//! Keeps the stages going: one that panics or hangs is started again alone, after a growing pause; one that fails
//! again and again ends the agent, so that systemd starts it afresh. systemd's watchdog is fed while all make progress.
//! A thread that hangs can't be ended: it is left behind, and its lease tells it to do nothing more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use kitchen_core::restart::{Restarts, Verdict};
use kitchen_core::time::{Clock, Mono};
use tokio::runtime::Handle;
use tracing::{error, info, warn};

/// How often the stages are looked at.
const EVERY: Duration = Duration::from_millis(200);

/// A stage that the agent can do without is tried again after so long.
const REST: Duration = Duration::from_secs(600);

/// A stage's sign of life: when it last made progress.
#[derive(Clone, Debug)]
pub struct Pulse {
    last_ms: Arc<AtomicU64>,
}

impl Pulse {
    #[must_use]
    pub fn new(now: Mono) -> Self {
        Self { last_ms: Arc::new(AtomicU64::new(now.as_millis())) }
    }

    /// Progress: an input was worked off, or there was none.
    pub fn beat(&self, now: Mono) {
        self.last_ms.store(now.as_millis(), Ordering::Relaxed);
    }

    fn last(&self) -> Mono {
        Mono::from_millis(self.last_ms.load(Ordering::Relaxed))
    }
}

/// The right to go on; taken away from a stage that was replaced.
#[derive(Clone, Debug, Default)]
pub struct Lease(Arc<AtomicBool>);

impl Lease {
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a stage runs on.
#[derive(Debug, Default)]
pub struct Running {
    pub threads: Vec<JoinHandle<()>>,
    pub tasks: Vec<tokio::task::JoinHandle<()>>,
    /// Of each further part that can hang by itself.
    pub pulses: Vec<Pulse>,
}

impl Running {
    fn has_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished) || self.tasks.iter().any(tokio::task::JoinHandle::is_finished)
    }

    fn have_all_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished) && self.tasks.iter().all(tokio::task::JoinHandle::is_finished)
    }
}

/// Starts a stage, or starts it again.
pub type Start = Box<dyn FnMut(Pulse, Lease) -> Result<Running> + Send>;

struct Stage {
    name: String,
    /// Without progress for so long it hangs.
    patience: Duration,
    start: Start,
    is_dispensable: bool,
    pulse: Pulse,
    lease: Lease,
    running: Option<Running>,
    restarts: Restarts,
    start_at: Mono,
}

/// How often each stage was started again, for `status` and the heartbeat; stages that never were are absent.
pub type RestartCounts = Arc<Mutex<BTreeMap<String, u64>>>;

/// All stages of the agent.
pub struct Supervisor {
    stages: Vec<Stage>,
    counts: RestartCounts,
    clock: Arc<dyn Clock>,
}

impl Supervisor {
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { stages: Vec::new(), counts: RestartCounts::default(), clock }
    }

    #[must_use]
    pub fn counts(&self) -> RestartCounts {
        Arc::clone(&self.counts)
    }

    /// Starts a stage and watches it from now on.
    ///
    /// # Errors
    /// When its first start fails.
    pub fn start(&mut self, name: &str, patience: Duration, start: Start) -> Result<()> {
        self.start_stage(name, patience, start, false)
    }

    /// Starts a stage without which the agent goes on: one that fails again and again rests, and is tried anew.
    ///
    /// # Errors
    /// When its first start fails.
    pub fn start_dispensable(&mut self, name: &str, patience: Duration, start: Start) -> Result<()> {
        self.start_stage(name, patience, start, true)
    }

    fn start_stage(&mut self, name: &str, patience: Duration, mut start: Start, is_dispensable: bool) -> Result<()> {
        let (now, lease) = (self.clock.mono(), Lease::default());
        let pulse = Pulse::new(now);
        let running = Some(start(pulse.clone(), lease.clone())?);
        let name = name.to_owned();
        let restarts = Restarts::default();
        self.stages.push(Stage {
            is_dispensable,
            name,
            patience,
            start,
            pulse,
            lease,
            running,
            restarts,
            start_at: now,
        });
        Ok(())
    }

    /// Watches until `stop` turns true (`None`), or a stage is beyond hope: its name.
    /// `own` looks at what no stage stands for, such as the store: the name of what hangs or has ended.
    /// Blocks its thread, on purpose: a task that hangs can stop the runtime's timers.
    pub fn watch(
        &mut self,
        stop: &tokio::sync::watch::Receiver<bool>,
        own: impl Fn() -> Option<&'static str>,
    ) -> Option<String> {
        let runtime = Handle::current();
        while !*stop.borrow() {
            // Wakes a worker: one that hangs may have left nobody to wait for timers and sockets.
            runtime.spawn(async {});
            if let Some(name) = own() {
                error!(stage = name, "failed, and can't be started again alone");
                return Some(name.to_owned());
            }
            let now = self.clock.mono();
            for stage in &mut self.stages {
                if let Err(hopeless) = stage.look(now, &self.counts) {
                    return Some(hopeless);
                }
            }
            if self.stages.iter().all(|stage| stage.is_dispensable || stage.running.is_some()) {
                notify("WATCHDOG=1");
            }
            std::thread::sleep(EVERY);
        }
        None
    }

    /// Waits until all stages have ended, at most for `patience`; names those that have not.
    pub async fn join(self, patience: Duration) -> Vec<String> {
        let deadline = tokio::time::Instant::now() + patience;
        let running = |stage: &Stage| stage.running.as_ref().is_some_and(|running| !running.have_all_ended());
        while self.stages.iter().any(running) && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.stages.into_iter().filter(running).map(|stage| stage.name).collect()
    }
}

impl Stage {
    /// # Errors
    /// The stage's name, when it has failed too often.
    fn look(&mut self, now: Mono, counts: &RestartCounts) -> Result<(), String> {
        let Some(running) = &self.running else {
            if now >= self.start_at {
                self.start_again(now);
            }
            return Ok(());
        };
        let last = running.pulses.iter().chain([&self.pulse]).map(Pulse::last).min().unwrap_or(now);
        let silent = now.since(last);
        let what = match (running.has_ended(), silent > self.patience) {
            (true, _) => "ended",
            (false, true) => "hangs",
            (false, false) => return Ok(()),
        };
        self.lease.end();
        if let Some(running) = self.running.take() {
            running.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        }
        let verdict = self.restarts.handle_failure(now);
        let count = self.restarts.count();
        counts.lock().unwrap_or_else(PoisonError::into_inner).insert(self.name.clone(), count);
        match verdict {
            Verdict::StartAgain(pause) => {
                let (silent_ms, pause_ms) = (silent.as_millis(), pause.as_millis());
                warn!(stage = %self.name, what, silent_ms, count, pause_ms, "stage failed, starting it again");
                self.start_at = now + pause;
                Ok(())
            }
            Verdict::GiveUp if self.is_dispensable => {
                error!(stage = %self.name, what, count, "stage fails again and again: the agent goes on without it for now");
                self.start_at = now + REST;
                Ok(())
            }
            Verdict::GiveUp => {
                error!(stage = %self.name, what, count, "stage fails again and again: the agent ends");
                Err(self.name.clone())
            }
        }
    }

    fn start_again(&mut self, now: Mono) {
        (self.pulse, self.lease) = (Pulse::new(now), Lease::default());
        match (self.start)(self.pulse.clone(), self.lease.clone()) {
            Ok(running) => {
                info!(stage = %self.name, "stage runs again");
                self.running = Some(running);
            }
            Err(error) => {
                error!(stage = %self.name, error = format!("{error:#}"), "stage can't be started");
                // Counted as one that ended at once.
                self.running = Some(Running { threads: vec![std::thread::spawn(|| {})], ..Running::default() });
            }
        }
    }
}

/// Polls `work` to its end, with a beat at least each second: a task that blocks its thread is found.
pub async fn beating(work: impl Future<Output = ()>, pulse: Pulse, clock: Arc<dyn Clock>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            () = &mut work => return,
            _ = every.tick() => pulse.beat(clock.mono()),
        }
    }
}

/// Tells systemd; nothing where the agent was not started by it.
pub fn notify(state: &str) {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Custom(state)]) {
        tracing::debug!(%error, "systemd not told");
    }
}

//! What a stage of the pipeline costs: processor time of the calling thread and time that passed.
//! For profiles only; nothing decides by it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Sums over the runs of one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    pub runs: u64,
    /// Processor time: of the calling thread, or of the whole process where the stage has threads of its own.
    pub cpu: Duration,
    pub elapsed: Duration,
}

impl StageTimes {
    /// Runs `work` and adds its cost.
    pub fn measure<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.measure_by(ClockId::ThreadCPUTime, work)
    }

    /// The same for work that is shared out to further threads: what else the process does meanwhile is counted too.
    pub fn measure_with_threads<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.measure_by(ClockId::ProcessCPUTime, work)
    }

    fn measure_by<T>(&mut self, clock: ClockId, work: impl FnOnce() -> T) -> T {
        let (cpu, elapsed) = (now(clock), now(ClockId::Monotonic));
        let result = work();
        self.runs += 1;
        self.cpu += now(clock).saturating_sub(cpu);
        self.elapsed += now(ClockId::Monotonic).saturating_sub(elapsed);
        result
    }

    /// Processor time of one run.
    #[must_use]
    pub fn mean_cpu(&self) -> Duration {
        u32::try_from(self.runs).ok().and_then(|runs| self.cpu.checked_div(runs)).unwrap_or_default()
    }
}

fn now(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

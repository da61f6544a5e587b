//! Which engine runs the models on this box, and on how many threads: measured among those that give the golden
//! outputs, and kept in the state folder until hardware, agent or a model changes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use kitchen_core::config::{Config, EngineChoice};
use kitchen_vision::detect::{Manifest, Network};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::config_file;
use crate::pack::OBJECTS;

pub const ENGINES: [EngineChoice; 2] = [EngineChoice::Tract, EngineChoice::Rten];
/// More threads than this never paid on the boards at hand, and the camera needs the others.
const MOST_THREADS: usize = 4;
/// Twice the threads must save at least this share of the time: decoding and the system want the cores too.
const WORTH_ITS_THREADS: f64 = 0.75;
/// At the agent's first start; a look takes a quarter of a second on the slowest board.
const RUNS_AT_START: u32 = 6;
/// A slower box goes by what was measured until then: systemd waits for the agent.
const LONGEST_AT_START: Duration = Duration::from_secs(20);
const ROUNDS: u32 = 2;

/// An engine with its threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    pub engine: EngineChoice,
    pub threads: u32,
}

/// One candidate on one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    pub model: String,
    #[serde(flatten)]
    pub choice: Choice,
    pub runs: usize,
    pub median_ms: f64,
    pub least_ms: f64,
    /// Whether it gives the golden outputs.
    pub golden: bool,
}

/// What is kept, and for what it holds.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    hardware: String,
    agent: String,
    /// SHA-256 of the network.
    network: String,
    choice: Choice,
}

/// The choice that holds now: the configured one; for `auto` the kept one, else that of the detector, and tract until
/// something was measured.
#[must_use]
pub fn in_force(config: &Config, model: &str) -> Choice {
    let detector = &config.detector;
    if detector.engine != EngineChoice::Auto {
        return Choice { engine: detector.engine, threads: detector.threads };
    }
    kept(config, model)
        .or_else(|| kept(config, OBJECTS))
        .unwrap_or(Choice { engine: EngineChoice::Tract, threads: detector.threads })
}

/// Measures where `auto` has nothing to go by. What fails is logged, and tract runs.
pub fn measure_if_unknown(config: &Config, model: &str) {
    if config.detector.engine == EngineChoice::Auto && kept(config, model).is_none() {
        match measure(config, model, RUNS_AT_START, Some(LONGEST_AT_START)) {
            Ok(measured) => keep(config, model, &measured),
            Err(error) => warn!(error = format!("{error:#}"), "engines not measured"),
        }
    }
}

/// Times every engine, each on one and on more threads; those that `limit` leaves no time for are not in the result.
///
/// # Errors
/// When a model or its golden picture can't be read, or an engine fails on it.
pub fn measure(config: &Config, model: &str, runs: u32, limit: Option<Duration>) -> Result<Vec<Measured>> {
    let started = Instant::now();
    let is_over = |times: &[f64]| limit.is_some_and(|limit| started.elapsed() > limit && !times.is_empty());
    let models_dir = config_file::models_dir(config);
    let mut candidates: Vec<(Choice, Vec<f64>, bool)> = candidates().map(|choice| (choice, Vec::new(), true)).collect();
    // In rounds, so that a noisy machine is as noisy for each; one loaded at a time, for a box is short of memory.
    for _ in 0..ROUNDS {
        for (choice, times, is_golden) in &mut candidates {
            if limit.is_some_and(|limit| started.elapsed() > limit) {
                break;
            }
            let mut network = Network::load(&models_dir, model, choice.engine, choice.threads)?;
            let picture = network.golden_input()?;
            *is_golden &= network.verify_golden()?.ok;
            for _ in 0..runs.div_ceil(ROUNDS).max(1) {
                if is_over(times) {
                    break;
                }
                let began = Instant::now();
                network.run_golden(&picture)?;
                times.push(began.elapsed().as_secs_f64() * 1000.0);
            }
        }
    }
    let measured =
        candidates.into_iter().filter(|(_, times, _)| !times.is_empty()).map(|(choice, mut times, golden)| {
            times.sort_by(f64::total_cmp);
            let (least_ms, median_ms) = (times[0], times[times.len() / 2]);
            Measured { model: model.to_owned(), choice, runs: times.len(), median_ms, least_ms, golden }
        });
    Ok(measured.collect())
}

/// The quickest with the golden outputs; more threads only where they pay.
#[must_use]
pub fn best(measured: &[Measured]) -> Option<&Measured> {
    let mut right: Vec<&Measured> = measured.iter().filter(|candidate| candidate.golden).collect();
    right
        .sort_by(|a, b| (a.choice.threads, a.median_ms).partial_cmp(&(b.choice.threads, b.median_ms)).expect("no NaN"));
    let pays = |best: &Measured, other: &Measured| {
        other.choice.threads == best.choice.threads || other.median_ms < WORTH_ITS_THREADS * best.median_ms
    };
    right.into_iter().reduce(
        |best, other| {
            if other.median_ms < best.median_ms && pays(best, other) { other } else { best }
        },
    )
}

/// Keeps the best for the next start. A state folder that can't be written costs a measurement at the next start.
pub fn keep(config: &Config, model: &str, measured: &[Measured]) {
    let (Some(best), Some(network)) = (best(measured), network(config, model)) else { return };
    let Choice { engine, threads } = best.choice;
    info!(model, ?engine, threads, median_ms = best.median_ms, "engine chosen by measurement");
    let kept = Kept { hardware: hardware(), agent: agent(), network, choice: best.choice };
    let path = path(config, model);
    let written = serde_json::to_vec(&kept).map_err(std::io::Error::from).and_then(|json| std::fs::write(&path, json));
    if let Err(error) = written {
        warn!(path = %path.display(), %error, "the choice of the engine was not kept");
    }
}

fn kept(config: &Config, model: &str) -> Option<Choice> {
    let kept: Kept = serde_json::from_slice(&std::fs::read(path(config, model)).ok()?).ok()?;
    let holds = kept.hardware == hardware() && kept.agent == agent() && Some(kept.network) == network(config, model);
    holds.then_some(kept.choice)
}

fn path(config: &Config, model: &str) -> PathBuf {
    config.device.state_dir.join(format!("engine-{model}.json"))
}

fn network(config: &Config, model: &str) -> Option<String> {
    Manifest::read(&config_file::models_dir(config).join(model)).ok().map(|manifest| manifest.sha256)
}

fn agent() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// The board or processor by its own name, and its cores.
fn hardware() -> String {
    let board = std::fs::read_to_string("/proc/device-tree/model").ok();
    let processor = || {
        let text = std::fs::read_to_string(Path::new("/proc/cpuinfo")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        line.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
    };
    let name = board.map_or_else(processor, |board| board.trim_end_matches('\0').to_owned());
    format!("{name}, {} cores", cores())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn candidates() -> impl Iterator<Item = Choice> {
    let threads = [1, 2, MOST_THREADS].into_iter().filter(|&threads| threads == 1 || threads <= cores());
    threads.flat_map(|threads| {
        let threads = u32::try_from(threads).unwrap_or(1);
        ENGINES.into_iter().map(move |engine| Choice { engine, threads })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(engine: EngineChoice, threads: u32, median_ms: f64, golden: bool) -> Measured {
        let choice = Choice { engine, threads };
        Measured { model: "objects".into(), choice, runs: 6, median_ms, least_ms: median_ms, golden }
    }

    #[test]
    fn the_quickest_that_is_right_is_chosen_and_more_threads_only_where_they_pay() {
        use EngineChoice::{Rten, Tract};
        let choose = |candidates: &[Measured]| best(candidates).map(|best| (best.choice.engine, best.choice.threads));
        let tract = candidate(Tract, 1, 100.0, true);
        for (others, expected) in [
            (vec![candidate(Rten, 1, 90.0, true)], (Rten, 1)),
            (vec![candidate(Rten, 1, 40.0, false)], (Tract, 1)),
            (vec![candidate(Tract, 2, 80.0, true)], (Tract, 1)),
            (vec![candidate(Tract, 2, 60.0, true)], (Tract, 2)),
            (vec![candidate(Rten, 2, 60.0, true), candidate(Tract, 4, 50.0, true)], (Rten, 2)),
            (vec![candidate(Rten, 2, 60.0, true), candidate(Tract, 4, 40.0, true)], (Tract, 4)),
        ] {
            let mut all = vec![tract.clone()];
            all.extend(others);
            assert_eq!(choose(&all), Some(expected), "{all:?}");
        }
        assert_eq!(choose(&[candidate(Tract, 1, 1.0, false)]), None);
    }

    #[test]
    fn a_kept_choice_holds_until_the_network_changes_and_only_for_auto() {
        let state = tempfile::tempdir().expect("a folder");
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
        let config = |engine: &str| {
            let (state, models) = (state.path().display(), models.display());
            let text = format!(
                "[device]\nid = \"mh07-000123\"\nstate_dir = \"{state}\"\n\
                 [detector]\nengine = \"{engine}\"\nmodels_dir = \"{models}\"\n"
            );
            Config::parse(&text, &[]).expect("valid")
        };
        let auto = config("auto");
        let tract = Choice { engine: EngineChoice::Tract, threads: 1 };
        let rten = Choice { engine: EngineChoice::Rten, threads: 2 };
        assert_eq!(in_force(&auto, "objects"), tract);
        keep(&auto, "objects", &[candidate(rten.engine, rten.threads, 5.0, true)]);
        assert_eq!(in_force(&auto, "objects"), rten);
        assert_eq!(in_force(&config("tract"), "objects"), tract);
        let path = path(&auto, "objects");
        let changed = std::fs::read_to_string(&path).expect("kept").replace("\"network\":\"", "\"network\":\"0");
        std::fs::write(&path, changed).expect("written");
        assert_eq!(in_force(&auto, "objects"), tract);
    }
}

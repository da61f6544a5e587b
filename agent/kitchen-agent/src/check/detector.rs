//! The detector: do the model's files have their hashes, and is a look as fast as the cameras want?
//! Asks the running agent for the time of its looks instead of competing with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kitchen_core::config::Config;
use kitchen_vision::detect::{Manifest, ModelError, Network};

use super::{Context, Finding, Name, Reports};
use crate::control::AgentState;
use crate::engine_choice::Choice;
use crate::fault::Fault;
use crate::pack::OBJECTS;
use crate::text::text;
use crate::{config_file, engine_choice, explain, pack};

/// Looks that are timed, unless one alone takes so long that the others would change nothing.
const LOOKS: usize = 4;
const SLOW_LOOK: Duration = Duration::from_secs(1);

pub(super) async fn check(context: Arc<Context>, mut reports: Reports) {
    let look_ms = match &context.agent {
        AgentState::Up(report) => report.cameras.iter().filter_map(|camera| camera.look_ms).reduce(f64::max),
        _ => None,
    };
    // It reports by itself; a panic in it leaves its checks unfinished.
    let _ = tokio::task::spawn_blocking(move || look(&context.config, look_ms, &mut reports)).await;
}

fn look(config: &Config, look_ms: Option<f64>, reports: &mut Reports) {
    let models_dir = config_file::models_dir(config);
    // The detector by name: without it the list may be empty.
    let others = pack::names(&models_dir).unwrap_or_default().into_iter().filter(|name| name != OBJECTS);
    let mut manifests = Vec::new();
    for name in std::iter::once(OBJECTS.to_owned()).chain(others) {
        let folder = models_dir.join(&name);
        match Manifest::read(&folder).and_then(|manifest| manifest.read_network(&folder).map(|_| manifest)) {
            Ok(manifest) => manifests.push(manifest),
            Err(error) => return reports.tell(Name::DetectorLoad, failed(&error)),
        }
    }
    let found: Vec<String> =
        manifests.iter().map(|manifest| format!("{} {}", manifest.name, manifest.version)).collect();
    let found = found.join(", ");
    if let Some(look_ms) = look_ms {
        reports.tell(Name::DetectorLoad, Finding::ok(found));
        return reports.tell(Name::DetectorSpeed, speed(look_ms, config));
    }
    let verify = |name: &str| {
        let Choice { engine, threads } = engine_choice::in_force(config, name);
        let mut network = Network::load(&models_dir, name, engine, threads)?;
        // The first run warms up what the others are timed with.
        let report = network.verify_golden()?;
        let shortest = shortest(|| network.verify_golden().map(drop))?;
        Ok((shortest, report.ok, network.engine_name()))
    };
    let wrong = manifests[1..].iter().map(|other| verify(&other.name)).find(|run| !matches!(run, Ok((_, true, _))));
    let run: Result<_, ModelError> = wrong.unwrap_or_else(|| verify(OBJECTS));
    match run {
        Err(error) => reports.tell(Name::DetectorLoad, failed(&error)),
        Ok((_, false, engine)) => {
            let found = text!("check-detector-differs", engine = engine);
            let expected = text!("check-detector-golden");
            reports.tell(Name::DetectorLoad, Finding::fail(Fault::ModelBroken, found, expected));
        }
        Ok((took, true, engine)) => {
            reports.tell(Name::DetectorLoad, Finding::ok(format!("{found}, {engine}")));
            reports.tell(Name::DetectorSpeed, speed(took.as_secs_f64() * 1000.0, config));
        }
    }
}

/// The shortest of some looks: what the box can do, however busy it is just now. A slow box looks once.
fn shortest(mut look: impl FnMut() -> Result<(), ModelError>) -> Result<Duration, ModelError> {
    let mut shortest = Duration::MAX;
    for _ in 0..LOOKS {
        let began = Instant::now();
        look()?;
        shortest = shortest.min(began.elapsed());
        if shortest > SLOW_LOOK {
            break;
        }
    }
    Ok(shortest)
}

fn speed(look_ms: f64, config: &Config) -> Finding {
    let wanted: f32 = config.cameras.iter().map(|camera| camera.analyse_fps).sum();
    let found = text!("check-detector-look", milliseconds = format!("{look_ms:.0}"));
    if wanted <= 0.0 {
        return Finding::ok(found);
    }
    let limit_ms = 1000.0 / f64::from(wanted);
    let expected = text!("check-detector-expected", milliseconds = format!("{limit_ms:.0}"));
    if look_ms > limit_ms {
        Finding::fail(Fault::DetectorSlow, found, expected)
    } else if look_ms > limit_ms * 0.7 {
        Finding::warn(Fault::DetectorSlow, found, expected)
    } else {
        Finding::ok(found)
    }
}

fn failed(error: &ModelError) -> Finding {
    let (fault, expected) = match error {
        ModelError::Read { .. } => (Fault::ModelMissing, text!("check-detector-installed")),
        ModelError::Checksum { .. } | ModelError::Manifest { .. } => {
            (Fault::ModelTampered, text!("check-detector-unchanged"))
        }
        ModelError::Golden { .. } | ModelError::Task { .. } | ModelError::Engine { .. } => {
            (Fault::ModelBroken, text!("check-detector-golden"))
        }
    };
    let found = match error {
        ModelError::Read { path, source } => format!("{}: {source}", path.display()),
        ModelError::Checksum { path, found, .. } => format!("{}: SHA-256 {}…", path.display(), &found[..12]),
        other => explain::model(other).to_string(),
    };
    Finding::fail(fault, found, expected)
}

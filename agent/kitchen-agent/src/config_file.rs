//! Finds and reads what the configuration names: the file, the environment, password files, the models' folder.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use kitchen_core::config::{CameraConfig, Config, ENVIRONMENT_PREFIX, Enrolled, IdentityFiles};
use kitchen_uplink::identity::IdentityFolder;

use crate::cli::{Cli, DEFAULT_CONFIG, Problem};
use crate::fault::Fault;
use crate::notice::{Notice, notice};

/// Where a configuration that names none keeps its state.
const DEFAULT_STATE: &str = "/var/lib/kitchen-agent";

/// The environment's part of the configuration.
#[must_use]
pub fn environment() -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> =
        std::env::vars().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
    variables.sort();
    variables
}

#[must_use]
pub fn path(cli: &Cli) -> PathBuf {
    cli.config.clone().unwrap_or_else(|| DEFAULT_CONFIG.into())
}

/// The text of the configuration file.
///
/// # Errors
/// With the path, when it can't be read.
pub fn text(path: &Path) -> Result<String> {
    let what = || notice!("config-unreadable", Fault::ConfigUnreadable, path = path.display());
    std::fs::read_to_string(path).with_context(what).context(Problem)
}

/// The configuration in force.
///
/// # Errors
/// All that is wrong with it, below the file's path.
pub fn load(cli: &Cli) -> Result<Config> {
    let path = path(cli);
    let (text, environment) = (text(&path)?, environment());
    let enrolled = enrolled(&state_dir_in(&text, &environment));
    Config::parse_enrolled(&text, &environment, enrolled.as_ref()).with_context(|| is_wrong(&path))
}

/// What the enrolment, or the claim that waits, says of the configuration. A folder that can't be read says nothing: the
/// check `enrolment` tells why.
#[must_use]
pub fn enrolled(state_dir: &Path) -> Option<Enrolled> {
    let folder = IdentityFolder::of(state_dir);
    let files = || IdentityFiles {
        ca: folder.broker_ca_file(),
        certificate: folder.certificate_file(),
        key: folder.key_file(),
    };
    match folder.current() {
        Ok(Some(current)) => Some(Enrolled::by_enrolment(&current.enrolment, files())),
        _ => folder.claim().ok().flatten().map(|claim| Enrolled::by_claim(&claim)),
    }
}

/// The state folder, also of a configuration that is not finished or can't be read: then the default one.
#[must_use]
pub fn state_dir(cli: &Cli) -> PathBuf {
    state_dir_in(&std::fs::read_to_string(path(cli)).unwrap_or_default(), &environment())
}

/// As [`state_dir`], of this text and environment.
#[must_use]
pub fn state_dir_in(text: &str, environment: &[(String, String)]) -> PathBuf {
    let named = format!("{ENVIRONMENT_PREFIX}DEVICE__STATE_DIR");
    let from_environment = environment.iter().find(|(name, _)| *name == named).map(|(_, value)| value.clone());
    let from_file = || {
        let table: toml::Table = text.parse().ok()?;
        table.get("device")?.get("state_dir")?.as_str().map(str::to_owned)
    };
    from_environment.or_else(from_file).map_or_else(|| DEFAULT_STATE.into(), PathBuf::from)
}

/// Stands above all that is wrong with the file.
#[must_use]
pub fn is_wrong(path: &Path) -> Notice {
    notice!("config-wrong", Fault::ConfigWrong, path = path.display())
}

/// Whether there is a configuration of this box.
#[must_use]
pub fn is_given(cli: &Cli) -> bool {
    cli.config.is_some() || Path::new(DEFAULT_CONFIG).exists()
}

/// The configuration where one is given or installed; otherwise one in which every rule that can run watches the
/// whole picture.
///
/// # Errors
/// As [`load`].
pub fn load_or_default(cli: &Cli) -> Result<Config> {
    if is_given(cli) {
        return load(cli);
    }
    let text = "[device]\nid = \"replay\"\n[rules.intrusion]\nenabled = true\n";
    Config::parse(text, &environment()).context(notice!("config-environment-wrong", Fault::ConfigWrong))
}

/// The camera's password from its file, without the line's end.
///
/// # Errors
/// With the path, when the file can't be read.
pub fn password(camera: &CameraConfig) -> Result<Option<String>> {
    let Some(path) = &camera.password_file else { return Ok(None) };
    let what =
        || notice!("config-password-unreadable", Fault::SecretUnreadable, camera = &camera.id, path = path.display());
    let text = std::fs::read_to_string(secret(path)).with_context(what).context(Problem)?;
    Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// Where a secret is read: systemd's copy of a file beside the installed configuration that only root may read, else the
/// file itself. A key that the agent renews lies in its state and is never read from a copy.
#[must_use]
pub fn secret(path: &Path) -> PathBuf {
    let copy = || {
        let folder = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?);
        let beside_the_configuration = path.parent() == Path::new(DEFAULT_CONFIG).parent();
        beside_the_configuration.then_some(folder.join(path.file_name()?))
    };
    // The unit's stand-in for a file that is not there is one line's end.
    let filled = |copy: &PathBuf| std::fs::metadata(copy).is_ok_and(|found| found.len() > 1);
    copy().filter(filled).unwrap_or_else(|| path.to_owned())
}

/// The folder of models: the configured one, else the one beside the program's source or in this folder.
#[must_use]
pub fn models_dir(config: &Config) -> PathBuf {
    let configured = &config.detector.models_dir;
    if configured.exists() || *configured != kitchen_core::config::DetectorConfig::default().models_dir {
        return configured.clone();
    }
    let program = std::env::current_exe().unwrap_or_default();
    let here = std::env::current_dir().unwrap_or_default();
    let candidates = program.ancestors().chain(here.ancestors()).map(|folder| folder.join("models"));
    let mut found = candidates.filter(|folder| folder.join("objects/manifest.toml").exists());
    found.next().unwrap_or_else(|| configured.clone())
}

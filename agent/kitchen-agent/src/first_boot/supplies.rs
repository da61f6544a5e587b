//! What an installer may bring with the claim: the box's configuration and the camera's password. They go to their places;
//! the password does not stay on the stick.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use kitchen_core::config::{Config, Enrolled};
use kitchen_core::enrolment::Claim;
use kitchen_uplink::identity;
use tracing::info;

use super::medium::Medium;
use crate::config_file;
use crate::explain;
use crate::fault::Fault;
use crate::notice::{Notice, notice};

const CONFIGURATION: &str = "kitchen-agent.toml";
const PASSWORD: &str = "camera.password";
/// Larger files are neither.
const MOST_BYTES: u64 = 64 * 1024;

/// Takes configuration and password from the first place that has them. A configuration that is wrong is not taken, and the
/// old one stays.
///
/// # Errors
/// What is wrong with them, or why they can't be put in their place.
pub fn take(places: &[&Medium], claim: &Claim, config: &Path) -> Result<(), Notice> {
    if let Some((path, text)) = first_of(places, CONFIGURATION)? {
        let text = text.trim_start_matches('\u{feff}');
        let parsed = Config::parse_enrolled(text, &config_file::environment(), Some(&Enrolled::by_claim(claim)));
        if let Err(error) = parsed {
            let what = explain::config_problems(&error);
            return Err(notice!("supplies-wrong", Fault::ConfigWrong, path = path.display(), what = what));
        }
        install(text.as_bytes(), config)?;
        info!(from = %path.display(), path = %config.display(), "configuration taken");
    }
    if let Some((path, text)) = first_of(places, PASSWORD)? {
        install(text.trim_start_matches('\u{feff}').as_bytes(), &config.with_file_name(PASSWORD))?;
        identity::wipe(&path).map_err(|error| explain::identity(&error))?;
        info!(from = %path.display(), "camera's password taken");
    }
    Ok(())
}

fn first_of(places: &[&Medium], name: &str) -> Result<Option<(PathBuf, String)>, Notice> {
    for place in places {
        let path = place.folder.join(name);
        if let Some(text) = read(&path)? {
            return Ok(Some((path, text)));
        }
    }
    Ok(None)
}

fn read(path: &Path) -> Result<Option<String>, Notice> {
    let failed = |error: &std::io::Error| {
        notice!("enrol-file", Fault::ConfigUnreadable, path = path.display(), reason = explain::io_reason(error))
    };
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
        Ok(found) if found.len() > MOST_BYTES => return Err(failed(&std::io::ErrorKind::InvalidData.into())),
        Ok(_) => {}
    }
    fs::read_to_string(path).map(Some).map_err(|error| failed(&error))
}

/// As the package installs it: for root and the service's group.
fn install(bytes: &[u8], path: &Path) -> Result<(), Notice> {
    let aside = path.with_added_extension("new");
    let written = || -> std::io::Result<()> {
        let _ = fs::remove_file(&aside);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(&aside)?;
        file.write_all(bytes)?;
        // Whatever the service's umask takes away.
        file.set_permissions(fs::Permissions::from_mode(0o640))?;
        file.sync_all()?;
        if rustix::process::geteuid().is_root()
            && let Some(folder) = path.parent()
        {
            std::os::unix::fs::chown(&aside, None, Some(fs::metadata(folder)?.gid()))?;
        }
        fs::rename(&aside, path)?;
        path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    };
    written().map_err(|error| {
        notice!("enrol-file", Fault::ConfigUnreadable, path = path.display(), reason = explain::io_reason(&error))
    })
}

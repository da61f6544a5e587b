//! `enrol`, `enrol export`, `enrol import`: this box gets its certificate, over the network or by a stick.

use std::path::{Path, PathBuf};

use anyhow::Result;
use kitchen_core::enrolment::EnrolRequest;
use kitchen_uplink::identity;
use serde_json::json;

use super::{print_json, print_line};
use crate::cli::{Cli, EnrolArguments, EnrolCommand, Exit};
use crate::enrolling::{Enrolled, Enrolling, Trouble};
use crate::fault::Fault;
use crate::notice::notice;
use crate::text::text;
use crate::{config_file, explain, first_boot};

/// Larger files are no answers.
const MOST_BYTES: u64 = 64 * 1024;

pub fn run(cli: &Cli, arguments: &EnrolArguments) -> Result<Exit> {
    let enrolling = Enrolling::of(&config_file::state_dir(cli));
    match &arguments.command {
        Some(EnrolCommand::Export { folder }) => export(cli, &enrolling, arguments.claim.as_deref(), folder),
        Some(EnrolCommand::Import { file }) => import(cli, &enrolling, file),
        None if arguments.first_boot => first_boot::run(enrolling, config_file::path(cli)),
        None => enrol(cli, &enrolling, arguments.claim.as_deref()),
    }
}

fn enrol(cli: &Cli, enrolling: &Enrolling, given: Option<&Path>) -> Result<Exit> {
    kitchen_uplink::install_crypto();
    let outcome = take_claim(enrolling, given).and_then(|from| {
        if let Ok(Some(claim)) = enrolling.identity.claim()
            && !cli.json
        {
            eprintln!("{}", text!("enrol-asking", url = claim.authority.url, device = claim.device));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|_| Trouble::lasting(notice!("enrol-key", None)))?;
        let enrolled = runtime.block_on(enrolling.enrol())?;
        if let Some(from) = from {
            // It is worth nothing any more; on a stick that can't be written it may stay.
            let _ = identity::wipe(&from);
        }
        Ok(enrolled)
    });
    tell(cli, outcome)
}

fn export(cli: &Cli, enrolling: &Enrolling, given: Option<&Path>, folder: &Path) -> Result<Exit> {
    let request = match take_claim(enrolling, given).and_then(|_| enrolling.export()) {
        Ok(Some(request)) => request,
        Ok(None) => return tell(cli, enrolling.already()),
        Err(trouble) => return Err(trouble.notice.into()),
    };
    let path = folder.join(format!("kitchen-request-{}.json", request.claim.device));
    write(&path, &request)?;
    if cli.json {
        print_json(&json!({ "device": request.claim.device, "request": path }))?;
    } else {
        print_line(&text!("enrol-exported", path = path.display()));
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        print_line(&text!("enrol-export-next", file = file, device = request.claim.device));
    }
    Ok(Exit::Done)
}

fn import(cli: &Cli, enrolling: &Enrolling, file: &Path) -> Result<Exit> {
    let unreadable = |error: &std::io::Error| {
        let reason = explain::io_reason(error);
        notice!("enrol-file", Fault::EnrolmentAnswer, path = file.display(), reason = reason)
    };
    let found = std::fs::metadata(file).map_err(|error| unreadable(&error))?;
    if found.len() > MOST_BYTES {
        return Err(notice!("enrol-answer-unreadable", Fault::EnrolmentAnswer).into());
    }
    let text = std::fs::read(file).map_err(|error| unreadable(&error))?;
    tell(cli, enrolling.import(&text))
}

/// Keeps the claim that is given, or one that lies on the boot partition; where it lay.
fn take_claim(enrolling: &Enrolling, given: Option<&Path>) -> Result<Option<PathBuf>, Trouble> {
    let found = match given {
        Some(path) => {
            let missing = || {
                let reason = explain::io_reason(&std::io::ErrorKind::NotFound.into());
                Trouble::lasting(notice!("enrol-file", Fault::ClaimMissing, path = path.display(), reason = reason))
            };
            Some((path.to_owned(), identity::read_claim(path)?.ok_or_else(missing)?))
        }
        None if enrolling.identity.claim()?.is_some() || enrolling.identity.current()?.is_some() => None,
        None => first_boot::claim_on_this_box()?,
    };
    let Some((path, claim)) = found else { return Ok(None) };
    enrolling.keep(&claim)?;
    Ok(Some(path))
}

fn tell(cli: &Cli, outcome: Result<Enrolled, Trouble>) -> Result<Exit> {
    let enrolled = outcome.map_err(|trouble| trouble.notice)?;
    let generation = enrolled.generation();
    let (enrolment, validity) = (&generation.enrolment, generation.validity);
    if cli.json {
        print_json(&json!({
            "device": enrolment.device,
            "site": enrolment.site,
            "broker": enrolment.broker.url,
            "not_before": validity.not_before,
            "not_after": validity.not_after,
            "is_new": matches!(enrolled, Enrolled::New(_)),
        }))?;
        return Ok(Exit::Done);
    }
    let (device, site, until) = (&enrolment.device, &enrolment.site.name, validity.not_after);
    print_line(&match enrolled {
        Enrolled::New(_) => text!("enrol-done", device = device, site = site, until = until),
        Enrolled::Already(_) => text!("enrol-already", device = device, site = site, until = until),
    });
    print_line(&text!("enrol-broker", broker = enrolment.broker.url));
    print_line(&text!("enrol-next"));
    Ok(Exit::Done)
}

/// Only its owner may read it: it holds the claim.
fn write(path: &Path, request: &EnrolRequest) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |error: std::io::Error| {
        let fault = match error.kind() {
            std::io::ErrorKind::StorageFull => Some(Fault::DiskFull),
            _ => None,
        };
        notice!("enrol-file", fault, path = path.display(), reason = explain::io_reason(&error))
    };
    let text = serde_json::to_vec_pretty(request)?;
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(())
}

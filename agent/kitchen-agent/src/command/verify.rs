//! `verify`: whether an exported folder is what the box exported, and who says so. Works on any machine, without the
//! box's configuration.

mod trust;

use std::path::Path;

use anyhow::Result;
use kitchen_core::evidence::PublicKey;
use kitchen_core::exported::{Examined, Manifest, MissingFile, examine};
use serde_json::{Value, json};

use self::trust::Trusted;
use super::{print_json, print_line, rule_name};
use crate::cli::{Cli, Exit, VerifyArguments};
use crate::exported_folder::{self, SaidFlaw, said};
use crate::text::text;

pub fn run(cli: &Cli, arguments: &VerifyArguments) -> Result<Exit> {
    let folder = exported_folder::read(&arguments.folder)?;
    let trusted = trust::from(arguments, &folder)?;
    let examined = examine(&folder, trusted.key());
    let mut flaws: Vec<SaidFlaw> = examined.flaws.iter().map(said).collect();
    flaws.extend(trusted.flaw());
    let outcome = match (flaws.is_empty(), &trusted) {
        (false, _) => Outcome::Flawed,
        (true, Trusted::Key(_)) => Outcome::Trusted,
        (true, _) => Outcome::Consistent,
    };
    if cli.json {
        print_json(&document(&arguments.folder, &examined, &flaws, outcome))?;
    } else {
        tell(&examined, &flaws, outcome, &trusted);
    }
    Ok(outcome.exit())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Trusted,
    /// The folder agrees with itself.
    Consistent,
    Flawed,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Consistent => "consistent",
            Self::Flawed => "flawed",
        }
    }

    const fn exit(self) -> Exit {
        match self {
            Self::Trusted => Exit::Done,
            Self::Consistent => Exit::CouldNotCheck,
            Self::Flawed => Exit::ProblemFound,
        }
    }
}

fn document(folder: &Path, examined: &Examined, flaws: &[SaidFlaw], outcome: Outcome) -> Value {
    let mut document = json!({
        "folder": folder, "result": outcome.as_str(), "flaws": flaws,
        "key_id": examined.key.as_ref().map(PublicKey::id), "chain_heads": examined.heads,
    });
    if let Some(manifest) = &examined.manifest {
        document["device"] = json!(manifest.device);
        document["alert_id"] = json!(manifest.alert_id);
        document["exported_at"] = json!(manifest.exported_at);
        document["records"] = json!(manifest.records);
        document["missing"] = json!(manifest.missing);
    }
    if let Some(first) = examined.records.first() {
        for (key, pointer) in FACTS {
            document[key] = first.pointer(pointer).cloned().unwrap_or_default();
        }
    }
    document
}

/// What the first record says.
const FACTS: [(&str, &str); 4] = [
    ("rule", "/body/rule"),
    ("camera", "/body/camera"),
    ("opened_at", "/body/opened_at"),
    ("time_quality", "/time_quality"),
];

fn tell(examined: &Examined, flaws: &[SaidFlaw], outcome: Outcome, trusted: &Trusted) {
    if let Some(manifest) = &examined.manifest {
        tell_manifest(manifest, examined);
    }
    for SaidFlaw { file, text, .. } in flaws {
        match file {
            Some(file) => print_line(&format!("✗ {file}: {text}")),
            None => print_line(&format!("✗ {text}")),
        }
    }
    let key_id = examined.key.as_ref().map(PublicKey::id).unwrap_or_default();
    print_line(&match (outcome, trusted) {
        (Outcome::Flawed, _) => text!("verify-flawed", count = flaws.len()),
        (Outcome::Trusted, _) => text!("verify-trusted", key = key_id),
        (Outcome::Consistent, Trusted::OwnKey) => text!("verify-own-key", key = key_id),
        (Outcome::Consistent, Trusted::NoCertificate) => text!("verify-no-certificate", key = key_id),
        (Outcome::Consistent, _) => text!("verify-consistent", key = key_id),
    });
}

fn tell_manifest(manifest: &Manifest, examined: &Examined) {
    let fact = |pointer: &str| {
        let value = examined.records.first().and_then(|first| first.pointer(pointer));
        value.and_then(Value::as_str).unwrap_or("?").to_owned()
    };
    let (rule, camera) = (rule_name(&fact("/body/rule")), fact("/body/camera"));
    print_line(&text!("verify-alert", id = manifest.alert_id, rule = rule, device = manifest.device, camera = camera));
    let (began, quality) = (fact("/body/opened_at"), fact("/time_quality"));
    let began = match quality.as_str() {
        "floor" | "none" => text!("verify-time-unsure", time = began),
        _ => text!("verify-time", time = began, quality = quality),
    };
    print_line(&began);
    print_line(&text!("verify-content", records = manifest.records.len(), files = manifest.files.len()));
    for head in &examined.heads {
        print_line(&text!("verify-head", store = head.store, count = head.count, hash = head.hash));
    }
    for MissingFile { name, reason, .. } in &manifest.missing {
        print_line(&exported_folder::missing(name, *reason));
    }
}

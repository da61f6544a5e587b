//! Claims that the authority will honour: those of a batch's manifest, and single ones for boxes that are replaced.

use std::collections::BTreeMap;
use std::time::Duration;

use kitchen_core::enrolment::{Claim, Manifest, ManifestEntry, ManifestError, NewClaim};
use kitchen_core::time::Wall;
use kitchen_core::wire::hex;

use super::folder::{Authority, AuthorityError};
use super::office::audit;
use super::register::{Register, RegisterError};
use super::signing::random;

const COMMAND_LINE: &str = "command line";

#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("{} of the manifest's devices have a claim already: {}; nothing was imported. For a box that is replaced: kitchen-district ca claim DEVICE", .0.len(), .0.join(", "))]
    Known(Vec<String>),
    #[error("no claim of {0} was ever imported: check the device id, or import its batch first")]
    Unknown(String),
    #[error("board serial {0:?} can't be one: expected up to 64 letters, digits and -_.:")]
    Serial(String),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Register(#[from] RegisterError),
}

/// Takes a manifest in, all of it or nothing. The same manifest again changes nothing. How many boxes are new.
///
/// # Errors
/// When it is not this authority's, or names a device that has another claim.
pub fn import(authority: &Authority, register: &Register, text: &str, now: Wall) -> Result<usize, ClaimsError> {
    let manifest = Manifest::parse(text, &authority.key.public())?;
    register.transaction(|| {
        let known: BTreeMap<String, String> =
            register.newest_claims()?.into_iter().map(|claim| (claim.entry.device, claim.claim_id)).collect();
        let is_new = |entry: &&ManifestEntry| !known.contains_key(&entry.device);
        let is_other =
            |entry: &&ManifestEntry| known.get(&entry.device).is_some_and(|claim_id| *claim_id != entry.claim_id);
        // A claim that took the manifest's own place is no reason to refuse the manifest.
        let mut others = Vec::new();
        for entry in manifest.boxes.iter().filter(is_other) {
            if register.claim(&entry.claim_id)?.is_none() {
                others.push(entry.device.clone());
            }
        }
        if !others.is_empty() {
            return Err(ClaimsError::Known(others));
        }
        let mut count = 0;
        for entry in manifest.boxes.iter().filter(is_new) {
            register.insert_claim(&manifest.batch, entry, manifest.expires, now)?;
            register.note(&audit("imported", &entry.device, COMMAND_LINE, format!("batch {}", manifest.batch), now))?;
            count += 1;
        }
        Ok(count)
    })
}

/// A new claim for a device that is known: for a box that takes the place of another one. Claims of before are void from
/// now on; the certificate of the box so far holds until the new one is enrolled.
///
/// # Errors
/// When the device is not known.
pub fn new_claim(
    authority: &Authority,
    register: &Register,
    device: &str,
    serial: Option<String>,
    valid_for: Duration,
    now: Wall,
) -> Result<Claim, ClaimsError> {
    if let Some(wrong) = serial.as_ref().filter(|serial| !kitchen_core::enrolment::is_serial(serial)) {
        return Err(ClaimsError::Serial(wrong.clone()));
    }
    register.transaction(|| {
        let before = register.newest_claim(device)?.ok_or_else(|| ClaimsError::Unknown(device.to_owned()))?;
        let (batch, expires) = ("single".to_owned(), now.after(valid_for));
        let claim = NewClaim {
            device: device.to_owned(),
            claim_id: format!("{batch}-{}", hex(&random::<6>())),
            secret: random(),
            batch: batch.clone(),
            serial,
            camera: before.entry.camera,
            issued: now,
            expires,
            site: before.entry.site,
            url: authority.settings.url.clone(),
            ca: authority.ca_pem.clone(),
        };
        let claim = Claim::new(claim, &authority.key);
        register.void_claims(device)?;
        register.insert_claim(&batch, &ManifestEntry::of(&claim), expires, now)?;
        register.remove_revoked_device(device)?;
        register.note(&audit("claim_made", device, COMMAND_LINE, claim.claim_id.clone(), now))?;
        Ok(claim)
    })
}

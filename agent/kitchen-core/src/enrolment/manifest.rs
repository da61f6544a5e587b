//! A batch's manifest: which boxes there will be, with what an authority needs to know of their claims, and no secret.

use serde::{Deserialize, Serialize};

use super::{AuthorityKey, Claim, VERSION, is_device_id, signed};
use crate::evidence::PublicKey;
use crate::time::Wall;
use crate::wire::Site;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub v: u32,
    pub batch: String,
    pub issued: Wall,
    pub expires: Wall,
    pub boxes: Vec<ManifestEntry>,
    /// By the authority's key, over all of it.
    #[serde(default)]
    signature: String,
}

/// One box.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestEntry {
    pub device: String,
    pub claim_id: String,
    pub secret_sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    pub camera: String,
    pub site: Site,
}

impl ManifestEntry {
    /// What an authority has to know of a claim.
    #[must_use]
    pub fn of(claim: &Claim) -> Self {
        Self {
            device: claim.device.clone(),
            claim_id: claim.claim_id.clone(),
            secret_sha256: claim.secret_sha256(),
            serial: claim.serial.clone(),
            camera: claim.camera.clone(),
            site: claim.site.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("it is no manifest: {0}")]
    Text(String),
    #[error("it is of version {0}, this program knows {VERSION}: use a newer kitchen-district")]
    Version(u32),
    #[error("it is not signed by this authority, or was altered since: take the file that the batch wrote")]
    Signature,
    #[error("device id {0:?} is not of the form [a-z0-9-]{{3,48}}")]
    Device(String),
}

impl Manifest {
    #[must_use]
    pub fn new(batch: &str, issued: Wall, expires: Wall, boxes: Vec<ManifestEntry>, key: &AuthorityKey) -> Self {
        let (v, batch) = (VERSION, batch.to_owned());
        let mut manifest = Self { v, batch, issued, expires, boxes, signature: String::new() };
        manifest.signature = signed::sign(&manifest, key);
        manifest
    }

    /// Reads a manifest that `key` has signed.
    ///
    /// # Errors
    /// When it is none, or not signed by that key.
    pub fn parse(text: &str, key: &PublicKey) -> Result<Self, ManifestError> {
        let manifest: Self = serde_json::from_str(text).map_err(|error| ManifestError::Text(error.to_string()))?;
        if manifest.v != VERSION {
            return Err(ManifestError::Version(manifest.v));
        }
        if !signed::is_signed(&manifest, &manifest.signature, key) {
            return Err(ManifestError::Signature);
        }
        match manifest.boxes.iter().find(|entry| !is_device_id(&entry.device)) {
            Some(entry) => Err(ManifestError::Device(entry.device.clone())),
            None => Ok(manifest),
        }
    }

    /// The file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("keys are text");
        text.push('\n');
        text
    }
}

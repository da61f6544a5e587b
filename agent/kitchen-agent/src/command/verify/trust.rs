//! Whose word the verifier takes for the box's key: a key that he brings, or a certificate authority that vouches for the
//! key in the folder by a certificate on it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use kitchen_core::evidence::PublicKey;
use kitchen_core::exported::{CERTIFICATE, Found, MANIFEST, Manifest};
use kitchen_core::time::Wall;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::OID_SIG_ED25519;
use x509_parser::pem::Pem;

use crate::cli::VerifyArguments;
use crate::exported_folder::SaidFlaw;
use crate::text::text;

pub enum Trusted {
    Key(PublicKey),
    /// The verifier brought neither key nor authority.
    Nobody,
    /// The key that was brought lies in the folder itself, and proves no more than the folder does.
    OwnKey,
    /// An authority was brought, and the folder has no certificate.
    NoCertificate,
    /// The certificate does not vouch for the folder's box.
    Refused(String),
}

impl Trusted {
    pub const fn key(&self) -> Option<&PublicKey> {
        match self {
            Self::Key(key) => Some(key),
            _ => None,
        }
    }

    pub fn flaw(&self) -> Option<SaidFlaw> {
        let Self::Refused(text) = self else { return None };
        Some(SaidFlaw { flaw: "certificate", file: Some(CERTIFICATE.to_owned()), text: text.clone() })
    }
}

/// # Errors
/// When the key or authority that was brought can't be read.
pub fn from(arguments: &VerifyArguments, folder: &BTreeMap<String, Found>) -> Result<Trusted> {
    if let Some(path) = &arguments.key {
        if lies_in(path, &arguments.folder) {
            return Ok(Trusted::OwnKey);
        }
        let text = read(path)?;
        let key = String::from_utf8_lossy(&text).parse::<PublicKey>().ok();
        return Ok(Trusted::Key(key.with_context(|| text!("verify-key-unreadable", path = path.display()))?));
    }
    let Some(path) = &arguments.ca else { return Ok(Trusted::Nobody) };
    let authorities = pem_blocks(&read(path)?);
    if authorities.is_empty() {
        bail!(text!("verify-ca-unreadable", path = path.display()));
    }
    let content = |name: &str| folder.get(name).and_then(|found| found.content.as_deref());
    let Some(certificate) = content(CERTIFICATE) else { return Ok(Trusted::NoCertificate) };
    let manifest = content(MANIFEST).and_then(|content| serde_json::from_slice::<Manifest>(content).ok());
    Ok(match vouched(certificate, &authorities, manifest.as_ref()) {
        Ok(key) => Trusted::Key(key),
        Err(why) => Trusted::Refused(why),
    })
}

fn lies_in(path: &Path, folder: &Path) -> bool {
    path.canonicalize().ok().zip(folder.canonicalize().ok()).is_some_and(|(path, folder)| path.starts_with(folder))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| text!("verify-unreadable", path = path.display()))
}

fn pem_blocks(text: &[u8]) -> Vec<Vec<u8>> {
    let blocks = Pem::iter_from_buffer(text).filter_map(Result::ok);
    blocks.filter(|block| block.label == "CERTIFICATE").map(|block| block.contents).collect()
}

/// The key of a certificate that one of the authorities signed for the manifest's box, and that was valid when the folder
/// was exported.
fn vouched(certificate: &[u8], authorities: &[Vec<u8>], manifest: Option<&Manifest>) -> Result<PublicKey, String> {
    let blocks = pem_blocks(certificate);
    let certificate = blocks.first().and_then(|der| x509_parser::parse_x509_certificate(der).ok());
    let (_, certificate) = certificate.ok_or_else(|| text!("verify-certificate-unreadable"))?;
    let signed = authorities.iter().any(|der| {
        let authority = x509_parser::parse_x509_certificate(der).ok();
        authority.is_some_and(|(_, authority)| {
            authority.is_ca()
                && certificate.issuer() == authority.subject()
                && certificate.verify_signature(Some(authority.public_key())).is_ok()
        })
    });
    if !signed {
        return Err(text!("verify-certificate-foreign"));
    }
    if let Some(manifest) = manifest {
        if common_name(&certificate) != Some(manifest.device.as_str()) {
            let name = common_name(&certificate).unwrap_or("?");
            return Err(text!("verify-certificate-other-box", found = name, device = manifest.device));
        }
        if !was_valid(&certificate, manifest.exported_at) {
            return Err(text!("verify-certificate-expired", time = manifest.exported_at));
        }
    }
    let is_ed25519 = certificate.public_key().algorithm.algorithm == OID_SIG_ED25519;
    let bytes = <&[u8; 32]>::try_from(&*certificate.public_key().subject_public_key.data).ok();
    let key = bytes.filter(|_| is_ed25519).and_then(|bytes| PublicKey::from_bytes(bytes).ok());
    key.ok_or_else(|| text!("verify-certificate-no-key"))
}

fn common_name<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok())
}

fn was_valid(certificate: &X509Certificate<'_>, at: Wall) -> bool {
    let seconds = at.as_unix_millis().div_euclid(1000);
    let validity = certificate.validity();
    (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&seconds)
}

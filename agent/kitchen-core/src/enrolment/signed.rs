//! Signatures over values: Ed25519 over the canonical JSON (RFC 8785) of the value without its key `signature`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

use crate::evidence::{EvidenceKey, PublicKey};

/// The signature in base64.
pub(super) fn sign<T: Serialize>(value: &T, key: &EvidenceKey) -> String {
    STANDARD.encode(key.sign(&bytes(value)))
}

/// Whether `signature` is the key's over the value.
pub(super) fn is_signed<T: Serialize>(value: &T, signature: &str, key: &PublicKey) -> bool {
    STANDARD.decode(signature).is_ok_and(|signature| key.has_signed_bytes(&bytes(value), &signature))
}

fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
    let mut value = serde_json::to_value(value).expect("keys are text");
    if let Some(object) = value.as_object_mut() {
        object.remove("signature");
    }
    canonical(&value)
}

fn canonical(value: &Value) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value).expect("whole numbers have a canonical form")
}

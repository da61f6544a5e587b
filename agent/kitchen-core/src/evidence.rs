//! The evidence chain: a record's digest, linked to the link before it and signed with the box's key.
//! Records and keys come in, links and flaws go out. Where the chain is kept is the store's matter, whom to trust the
//! verifier's.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use ed25519_dalek::{Signature, Signer as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::wire::hex;

/// Digits of a key's id.
const KEY_ID_DIGITS: usize = 16;
/// Bytes of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

/// A SHA-256; 64 lower-case hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Before the first link of a store.
    pub const ZERO: Self = Self([0; 32]);
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no SHA-256: expected 64 lower-case hexadecimal digits")]
pub struct HashError(String);

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let wrong = || HashError(text.chars().take(80).collect());
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut hash = [0; 32];
        if text.len() != 2 * hash.len() {
            return Err(wrong());
        }
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| high << 4 | low).ok_or_else(wrong)?;
        }
        Ok(Self(hash))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// `body.evidence` of a record: its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The hash of the link before.
    pub prev: Hash,
    pub hash: Hash,
    pub key_id: String,
    /// Ed25519 over the 32 bytes of `hash`, in base64.
    pub signature: String,
}

/// The box's evidence key. It is made on the box and never leaves it.
pub struct EvidenceKey(ed25519_dalek::SigningKey);

impl fmt::Debug for EvidenceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EvidenceKey({})", self.public().id())
    }
}

impl EvidenceKey {
    /// From 32 bytes that nobody can guess.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The next link, for a record with that digest.
    #[must_use]
    pub fn link(&self, prev: Hash, digest: Hash) -> Link {
        let hash = linked(prev, digest);
        let signature = STANDARD.encode(self.sign(&hash.0));
        Link { prev, hash, key_id: self.public().id(), signature }
    }

    /// Ed25519 over the bytes.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(bytes).to_bytes()
    }
}

/// The public part of an evidence key; its 32 bytes in base64 as text. PEM is read too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// The first 16 digits of the SHA-256 of its 32 bytes.
    #[must_use]
    pub fn id(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes())).chars().take(KEY_ID_DIGITS).collect()
    }

    /// Whether the link is signed with this key.
    #[must_use]
    pub fn has_signed(&self, link: &Link) -> bool {
        STANDARD.decode(&link.signature).is_ok_and(|signature| self.has_signed_bytes(&link.hash.0, &signature))
    }

    /// Whether `signature` is an Ed25519 signature of the bytes with this key.
    #[must_use]
    pub fn has_signed_bytes(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let signature = Signature::from_slice(signature);
        signature.is_ok_and(|signature| self.0.verify_strict(bytes, &signature).is_ok())
    }

    /// From its 32 bytes.
    ///
    /// # Errors
    /// When they are no point of the curve.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, PublicKeyError> {
        ed25519_dalek::VerifyingKey::from_bytes(bytes).map(Self).map_err(|_| PublicKeyError)
    }

    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// As PEM (`SubjectPublicKeyInfo`), which OpenSSL reads.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.0.to_public_key_pem(LineEnding::LF).expect("a public key of 32 bytes is always encoded")
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no Ed25519 public key: expected its 32 bytes in base64, or PEM")]
pub struct PublicKeyError;

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        if text.trim_start().starts_with("-----") {
            return ed25519_dalek::VerifyingKey::from_public_key_pem(text.trim()).map(Self).map_err(|_| PublicKeyError);
        }
        let bytes: [u8; 32] =
            STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(PublicKeyError)?;
        Self::from_bytes(&bytes)
    }
}

/// SHA-256 over the canonical JSON (RFC 8785) of an envelope without its `body.evidence`.
///
/// # Errors
/// When a number in it has no canonical form.
pub fn digest(envelope: &Value) -> Result<Hash, serde_json::Error> {
    let mut bare = envelope.clone();
    if let Some(body) = bare.get_mut("body").and_then(Value::as_object_mut) {
        body.remove("evidence");
    }
    let canonical = serde_json_canonicalizer::to_vec(&bare)?;
    Ok(Hash(Sha256::digest(&canonical).into()))
}

/// The hash of a link: SHA-256 over the hash before it and the record's digest.
#[must_use]
pub fn linked(prev: Hash, digest: Hash) -> Hash {
    Hash(Sha256::new().chain_update(prev.0).chain_update(digest.0).finalize().into())
}

/// What is wrong with a record's link by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("the record has no evidence, or none that can be read")]
    NoLink,
    #[error("the record is not the one that was linked: its hash is {found}, the link says {said}")]
    Altered { found: Hash, said: Hash },
    #[error("the record is linked with another key, {key_id}")]
    OtherKey { key_id: String },
    #[error("the signature is not by the key {key_id}")]
    Signature { key_id: String },
}

/// The link of an envelope, found sound against `key`, or by itself without one.
///
/// # Errors
/// What is wrong.
pub fn check(envelope: &Value, key: Option<&PublicKey>) -> Result<Link, Flaw> {
    let link = envelope.get("body").and_then(|body| body.get("evidence"));
    let link: Link = link.and_then(|link| Link::deserialize(link).ok()).ok_or(Flaw::NoLink)?;
    let found = linked(link.prev, digest(envelope).map_err(|_| Flaw::NoLink)?);
    if found != link.hash {
        return Err(Flaw::Altered { found, said: link.hash });
    }
    if let Some(key) = key {
        if key.id() != link.key_id {
            return Err(Flaw::OtherKey { key_id: link.key_id });
        }
        if !key.has_signed(&link) {
            return Err(Flaw::Signature { key_id: link.key_id });
        }
    }
    Ok(link)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn key() -> EvidenceKey {
        EvidenceKey::from_seed([7; 32])
    }

    fn record(number: u64) -> Value {
        json!({"v": 1, "id": format!("k7f3qa.17.{number}"), "body": {"rule": "rodent", "score": 0.8734, "zone": null}})
    }

    fn add_link(record: &mut Value, prev: Hash, key: &EvidenceKey) -> Link {
        let link = key.link(prev, digest(record).expect("canonical"));
        record["body"]["evidence"] = serde_json::to_value(&link).expect("string keys");
        link
    }

    #[test]
    fn a_digest_is_that_of_the_canonical_json() {
        let spaced: Value =
            serde_json::from_str("{\"b\": 1.0, \"a\": \"\u{e4}\\u0001\", \"body\": {\"evidence\": 1}}").expect("JSON");
        let canonical = Sha256::digest("{\"a\":\"\u{e4}\\u0001\",\"b\":1,\"body\":{}}");
        assert_eq!(digest(&spaced).expect("canonical"), Hash(canonical.into()));
    }

    #[test]
    fn links_follow_each_other_and_are_checked_with_and_without_the_key() {
        let key = key();
        let (mut first, mut second) = (record(1), record(2));
        let link = add_link(&mut first, Hash::ZERO, &key);
        let next = add_link(&mut second, link.hash, &key);
        assert_eq!(check(&first, Some(&key.public())), Ok(link.clone()));
        assert_eq!(next.prev, link.hash);
        assert_eq!(check(&second, None), Ok(next));
        let other = EvidenceKey::from_seed([8; 32]);
        let key_id = key.public().id();
        assert_eq!(check(&first, Some(&other.public())), Err(Flaw::OtherKey { key_id: key_id.clone() }));
        first["body"]["evidence"]["signature"] = other.link(Hash::ZERO, Hash::ZERO).signature.into();
        assert_eq!(check(&first, Some(&key.public())), Err(Flaw::Signature { key_id }));
        assert_eq!(check(&record(3), None), Err(Flaw::NoLink));
    }

    #[test]
    fn texts_are_read_as_they_are_written() {
        let public = key().public();
        assert_eq!(public.to_string().parse::<PublicKey>().expect("own text"), public);
        assert_eq!(public.to_pem().parse::<PublicKey>().expect("own PEM"), public);
        assert_eq!((public.id().len(), public.to_string().len()), (16, 44));
        let hash = linked(Hash::ZERO, Hash::ZERO);
        assert_eq!(hash.to_string().parse::<Hash>().expect("own text"), hash);
        for wrong in ["", "00", &"g".repeat(64), &"A".repeat(64)] {
            assert!(wrong.parse::<Hash>().is_err() && wrong.parse::<PublicKey>().is_err(), "{wrong:?}");
        }
    }

    proptest! {
        /// One byte of a record's text altered anywhere: it is no JSON any more, reads the same, or is found.
        #[test]
        fn an_altered_byte_is_found(at: prop::sample::Index, bit in 0_u8..8) {
            let key = key();
            let mut record = record(1);
            add_link(&mut record, Hash::ZERO, &key);
            let mut bytes = serde_json::to_vec(&record).expect("string keys");
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(altered) = serde_json::from_slice::<Value>(&bytes) && altered != record {
                prop_assert!(check(&altered, Some(&key.public())).is_err(), "{altered}");
            }
        }
    }
}

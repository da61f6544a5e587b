//! An exported alert: what the signed manifest of its folder says, and what is wrong with the folder.
//! The folder's content comes in, flaws go out. A record is bound by the chain and its own signature, pictures and clips
//! by the hashes in the records, every file by the manifest, and the manifest by its signature: each is looked at for
//! itself, so that whatever was altered is named.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::evidence::{self, Flaw, Hash, Link, PublicKey, linked};
use crate::time::Wall;
use crate::wire::{ChainHead, MessageId};

/// The manifest's file, and its signature's: 64 bytes over the manifest's.
pub const MANIFEST: &str = "evidence.json";
pub const SIGNATURE: &str = "evidence.json.sig";
/// The box's public key as PEM.
pub const KEY: &str = "evidence-key.pem";
/// Who vouches for that key, where somebody does.
pub const CERTIFICATE: &str = "evidence-certificate.pem";
pub const SNAPSHOT: &str = "snapshot.jpg";
pub const ORIGINAL: &str = "original.jpg";
pub const PAGE: &str = "index.html";

const VERSION: u8 = 1;
const KIND: &str = "evidence.export";

/// How the file of a record or of a clip is named.
#[must_use]
pub fn record_file(id: &str) -> String {
    format!("record-{id}.json")
}

#[must_use]
pub fn clip_file(clip_id: &str) -> String {
    format!("clip-{clip_id}.mp4")
}

/// Everything that the folder holds, and what is not in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub v: u8,
    #[serde(rename = "type")]
    pub kind: String,
    pub device: String,
    pub alert_id: MessageId,
    pub exported_at: Wall,
    /// Version of the agent that exported it.
    pub agent: String,
    pub key_id: String,
    /// In the order of the chain.
    pub records: Vec<RecordEntry>,
    /// The chain from the alert's first record up to the newest link of the box, in one part unless links were lost.
    pub chain: Vec<ChainPart>,
    /// All files but the manifest and its signature.
    pub files: Vec<FileEntry>,
    pub missing: Vec<MissingFile>,
}

impl Manifest {
    #[must_use]
    pub fn new(device: &str, alert_id: MessageId, exported_at: Wall, agent: &str, key: &PublicKey) -> Self {
        Self {
            v: VERSION,
            kind: KIND.to_owned(),
            device: device.to_owned(),
            alert_id,
            exported_at,
            agent: agent.to_owned(),
            key_id: key.id(),
            records: Vec::new(),
            chain: Vec::new(),
            files: Vec::new(),
            missing: Vec::new(),
        }
    }
}

/// A record of the alert and its place in the chain of its store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordEntry {
    pub id: MessageId,
    #[serde(rename = "type")]
    pub kind: String,
    pub file: String,
    /// Absent for a record that was made before this box linked its records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
}

/// Links that follow each other: their digests, from which with `prev` all hashes follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainPart {
    pub store: String,
    /// Number of the first digest's link; a store counts from 1.
    pub first: u64,
    /// The hash before the first.
    pub prev: Hash,
    pub digests: Vec<Hash>,
}

impl ChainPart {
    /// Number, digest and hash of each link.
    fn links(&self) -> impl Iterator<Item = (u64, Hash, Hash)> {
        let mut prev = self.prev;
        (0_u64..).zip(&self.digests).map(move |(place, digest)| {
            prev = linked(prev, *digest);
            // Somebody else's manifest may say any number.
            (self.first.saturating_add(place), *digest, prev)
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub name: String,
    pub bytes: u64,
    pub sha256: Hash,
}

/// A file that a record names and that is not in the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingFile {
    pub name: String,
    pub sha256: String,
    pub reason: MissingReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingReason {
    /// The clean picture, with bystanders' faces: it leaves the box only where that is asked for.
    Kept,
    /// It had to go, by the quota or on a full disk.
    Evicted,
    /// The box should have it.
    Lost,
}

/// A file of the folder.
#[derive(Clone, Debug)]
pub struct Found {
    pub bytes: u64,
    pub sha256: Hash,
    /// Absent for pictures and clips: their hash is enough.
    pub content: Option<Vec<u8>>,
}

/// What is wrong with a folder, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FolderFlaw {
    #[error("{MANIFEST} is missing: the folder can't be checked as a whole")]
    NoManifest,
    #[error("{MANIFEST} can't be read as the manifest of an export")]
    ManifestUnreadable,
    #[error("{KEY} is missing or no key")]
    NoKey,
    #[error("{KEY} is another key, {found}, than the trusted one, {trusted}: the folder was not signed by that box")]
    OtherKey { found: String, trusted: String },
    #[error("{MANIFEST} is not what was signed: it or {SIGNATURE} was altered, or signed by another key")]
    ManifestAltered,
    #[error("{file} is missing")]
    Missing { file: String },
    #[error("{file} was altered: its SHA-256 is {found}, the manifest says {said}")]
    Altered { file: String, found: Hash, said: Hash },
    #[error("{file} is not part of the export")]
    Unlisted { file: String },
    #[error("{file} can't be read as a record")]
    RecordUnreadable { file: String },
    #[error("{file}: {flaw}")]
    Record { file: String, flaw: Flaw },
    #[error("{file} is a record of another alert or box")]
    RecordForeign { file: String },
    #[error("{file} is not the record that stands at number {number} of the chain")]
    RecordPlace { file: String, number: u64 },
    #[error("the records do not begin with the alert's alert.opened, or do not follow the chain's order")]
    RecordOrder,
    #[error("the chain of {store} lacks the links {from} to {to}")]
    Gap { store: String, from: u64, to: u64 },
    #[error("{file} is not the file that the record {record} names: it belongs to another alert, or was replaced")]
    NotNamed { file: String, record: String },
    #[error("the record {record} names {file}, which is neither here nor told as missing")]
    Unexplained { file: String, record: String },
}

/// What an examination came to.
#[derive(Clone, Debug, Default)]
pub struct Examined {
    pub flaws: Vec<FolderFlaw>,
    pub manifest: Option<Manifest>,
    /// The records that can be read, in the manifest's order.
    pub records: Vec<Value>,
    /// The newest link of each store that the folder shows.
    pub heads: Vec<ChainHead>,
    /// The key that the folder brings along.
    pub key: Option<PublicKey>,
}

/// Looks through the content of a folder. With `trusted` everything has to be signed with that key; without, with the
/// key that lies in the folder, which proves only that the folder agrees with itself.
#[must_use]
pub fn examine(folder: &BTreeMap<String, Found>, trusted: Option<&PublicKey>) -> Examined {
    let mut examined = Examined { key: own_key(folder), ..Examined::default() };
    match (&examined.key, trusted) {
        (None, _) => examined.flaws.push(FolderFlaw::NoKey),
        (Some(found), Some(trusted)) if found != trusted => {
            let flaw = FolderFlaw::OtherKey { found: found.id(), trusted: trusted.id() };
            examined.flaws.push(flaw);
        }
        _ => {}
    }
    let Some(content) = folder.get(MANIFEST).and_then(|found| found.content.as_deref()) else {
        examined.flaws.push(FolderFlaw::NoManifest);
        return examined;
    };
    let key = trusted.copied().or(examined.key);
    let signature = folder.get(SIGNATURE).and_then(|found| found.content.as_deref());
    let is_signed = key.zip(signature).is_some_and(|(key, signature)| key.has_signed_bytes(content, signature));
    if signature.is_none() {
        examined.flaws.push(FolderFlaw::Missing { file: SIGNATURE.to_owned() });
    } else if !is_signed {
        examined.flaws.push(FolderFlaw::ManifestAltered);
    }
    let manifest = serde_json::from_slice::<Manifest>(content).ok();
    let Some(manifest) = manifest.filter(|manifest| (manifest.v, manifest.kind.as_str()) == (VERSION, KIND)) else {
        examined.flaws.push(FolderFlaw::ManifestUnreadable);
        return examined;
    };
    examined.flaws.extend(files(folder, &manifest));
    let (flaws, records) = records(folder, &manifest, key.as_ref());
    examined.flaws.extend(flaws);
    examined.flaws.extend(order(&manifest));
    examined.flaws.extend(gaps(&manifest));
    examined.flaws.extend(evidence_files(folder, &manifest, &records));
    examined.records = records;
    examined.heads = heads(&manifest);
    examined.manifest = Some(manifest);
    examined
}

fn own_key(folder: &BTreeMap<String, Found>) -> Option<PublicKey> {
    let text = folder.get(KEY)?.content.as_deref()?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The files against the manifest.
fn files(folder: &BTreeMap<String, Found>, manifest: &Manifest) -> Vec<FolderFlaw> {
    let mut flaws = Vec::new();
    for FileEntry { name, bytes, sha256 } in &manifest.files {
        match folder.get(name) {
            None => flaws.push(FolderFlaw::Missing { file: name.clone() }),
            Some(found) if (found.sha256, found.bytes) != (*sha256, *bytes) => {
                flaws.push(FolderFlaw::Altered { file: name.clone(), found: found.sha256, said: *sha256 });
            }
            Some(_) => {}
        }
    }
    let listed: BTreeSet<&str> = manifest.files.iter().map(|entry| entry.name.as_str()).collect();
    let is_listed = |name: &str| listed.contains(name) || [MANIFEST, SIGNATURE].contains(&name);
    let unlisted = folder.keys().filter(|name| !is_listed(name));
    flaws.extend(unlisted.map(|file| FolderFlaw::Unlisted { file: file.clone() }));
    flaws
}

/// Each record by itself, and in its place of the chain.
fn records(
    folder: &BTreeMap<String, Found>,
    manifest: &Manifest,
    key: Option<&PublicKey>,
) -> (Vec<FolderFlaw>, Vec<Value>) {
    let (mut flaws, mut records) = (Vec::new(), Vec::new());
    let chain: BTreeMap<(&str, u64), (Hash, Hash)> = manifest
        .chain
        .iter()
        .flat_map(|part| part.links().map(|(number, digest, hash)| ((part.store.as_str(), number), (digest, hash))))
        .collect();
    for RecordEntry { id, file, number, .. } in &manifest.records {
        let Some(content) = folder.get(file) else {
            flaws.push(FolderFlaw::Missing { file: file.clone() });
            continue;
        };
        let record = content.content.as_deref().and_then(|content| serde_json::from_slice::<Value>(content).ok());
        let Some(record) = record else {
            flaws.push(FolderFlaw::RecordUnreadable { file: file.clone() });
            continue;
        };
        if let Err(flaw) = evidence::check(&record, key) {
            flaws.push(FolderFlaw::Record { file: file.clone(), flaw });
        }
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let alert_id = text(record.get("body").and_then(|body| body.get("alert_id")));
        let told = (text(record.get("id")), alert_id, text(record.get("device")));
        if told != (Some(id.to_string()), Some(manifest.alert_id.to_string()), Some(manifest.device.clone())) {
            flaws.push(FolderFlaw::RecordForeign { file: file.clone() });
        }
        let link = record.get("body").and_then(|body| Link::deserialize(body.get("evidence")?).ok());
        if let (Some(number), Some(link)) = (number, link) {
            let place = chain.get(&(id.store.as_str(), *number));
            if place.copied() != evidence::digest(&record).ok().map(|digest| (digest, link.hash)) {
                flaws.push(FolderFlaw::RecordPlace { file: file.clone(), number: *number });
            }
        }
        records.push(record);
    }
    (flaws, records)
}

/// The first record opens the alert, and each further one stands behind the one before.
fn order(manifest: &Manifest) -> Option<FolderFlaw> {
    let opens = manifest.records.first().is_some_and(|first| first.id == manifest.alert_id);
    let follows = manifest.records.windows(2).all(|pair| {
        let [before, after] = pair else { return true };
        before.id.store != after.id.store || (before.number, before.id.sequence) < (after.number, after.id.sequence)
    });
    (!opens || !follows).then_some(FolderFlaw::RecordOrder)
}

/// Links that no part holds, between the first and the last of a store.
fn gaps(manifest: &Manifest) -> Vec<FolderFlaw> {
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    let mut flaws = Vec::new();
    for part in &manifest.chain {
        let (store, first) = (part.store.as_str(), part.first);
        if let Some(expected) = ends.get(store).copied().filter(|expected| *expected != first) {
            flaws.push(FolderFlaw::Gap { store: part.store.clone(), from: expected, to: first.saturating_sub(1) });
        }
        ends.insert(store, first.saturating_add(part.digests.len() as u64));
    }
    flaws
}

/// Pictures and clips against the records that name them.
fn evidence_files(folder: &BTreeMap<String, Found>, manifest: &Manifest, records: &[Value]) -> Vec<FolderFlaw> {
    let named = named_files(records);
    let mut flaws = Vec::new();
    for Named { file, sha256, record } in &named {
        let is_told = || manifest.missing.iter().any(|missing| missing.name == *file && missing.sha256 == *sha256);
        match folder.get(file) {
            Some(found) if found.sha256.to_string() != *sha256 => {
                flaws.push(FolderFlaw::NotNamed { file: file.clone(), record: record.clone() });
            }
            None if !is_told() => {
                flaws.push(FolderFlaw::Unexplained { file: file.clone(), record: record.clone() });
            }
            _ => {}
        }
    }
    let is_evidence = |name: &str| name == SNAPSHOT || name == ORIGINAL || name.starts_with("clip-");
    let strange = folder.keys().filter(|name| is_evidence(name) && named.iter().all(|named| named.file != **name));
    flaws
        .extend(strange.map(|file| FolderFlaw::NotNamed { file: file.clone(), record: manifest.alert_id.to_string() }));
    flaws
}

/// A picture or clip that a record names, under the name that it has in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    pub file: String,
    pub sha256: String,
    /// Id of the first record that names it.
    pub record: String,
}

/// The pictures and clips that the records name.
#[must_use]
pub fn named_files(records: &[Value]) -> Vec<Named> {
    let mut named: Vec<Named> = Vec::new();
    for record in records {
        let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str);
        let id = text("/id").unwrap_or_default();
        let clip = text("/body/clip/clip_id").map(clip_file);
        let files = [
            (Some(SNAPSHOT.to_owned()), text("/body/snapshot/sha256")),
            (Some(ORIGINAL.to_owned()), text("/body/snapshot/original_sha256")),
            (clip, text("/body/clip/sha256")),
        ];
        for (file, sha256) in files.into_iter().filter_map(|(file, sha256)| file.zip(sha256)) {
            if named.iter().all(|known| (known.file.as_str(), known.sha256.as_str()) != (&file, sha256)) {
                named.push(Named { file, sha256: sha256.to_owned(), record: id.to_owned() });
            }
        }
    }
    named
}

fn heads(manifest: &Manifest) -> Vec<ChainHead> {
    let mut heads: BTreeMap<&str, ChainHead> = BTreeMap::new();
    for part in &manifest.chain {
        if let Some((count, _, hash)) = part.links().last() {
            heads.insert(&part.store, ChainHead { store: part.store.clone(), count, hash });
        }
    }
    heads.into_values().collect()
}

#[cfg(test)]
mod tests;

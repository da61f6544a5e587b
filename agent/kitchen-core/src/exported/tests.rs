use proptest::prelude::*;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::evidence::EvidenceKey;
use crate::wire::sha256_hex;

const PICTURE: &[u8] = b"the picture that was sent";
const CLEAN: &[u8] = b"the clean picture";

/// A folder as its bytes; hashes are taken when it is examined.
type Folder = BTreeMap<String, Vec<u8>>;

fn key() -> EvidenceKey {
    EvidenceKey::from_seed([7; 32])
}

fn id(sequence: u64) -> MessageId {
    MessageId { store: "k7f3qa".to_owned(), boot: 17, sequence }
}

/// A box's chain: alerts 1 and 2 have three records each, one after the other's.
struct Chain {
    key: EvidenceKey,
    links: Vec<(Hash, Hash)>,
    records: Vec<Value>,
}

impl Chain {
    fn new(key: EvidenceKey) -> Self {
        let mut chain = Self { key, links: Vec::new(), records: Vec::new() };
        for kind in ["alert.opened", "alert.clip", "alert.closed"] {
            for alert in 1..=2 {
                chain.add(alert, kind);
            }
        }
        chain
    }

    fn add(&mut self, alert: u64, kind: &str) {
        let number = self.links.len() as u64 + 1;
        let sequence = if kind == "alert.opened" { alert } else { 10 + number };
        let clip = clip_of(alert);
        let snapshot =
            json!({"sha256": sha256_hex(PICTURE), "bytes": PICTURE.len(), "original_sha256": sha256_hex(CLEAN)});
        let clip = json!({"clip_id": id(100 + alert).to_string(), "sha256": sha256_hex(&clip), "bytes": clip.len()});
        let mut record = json!({
            "v": 1, "id": id(sequence).to_string(), "type": kind, "device": "mh07-000123",
            "time": "2026-11-24T05:12:31.250Z", "time_quality": "ntp", "uptime_ms": 8_123_450,
            "body": {"alert_id": id(alert).to_string(), "rule": "rodent", "score": 0.8734, "snapshot": snapshot,
                "clip": if kind == "alert.opened" { Value::Null } else { clip }},
        });
        let digest = evidence::digest(&record).expect("canonical");
        let prev = self.links.last().map_or(Hash::ZERO, |(_, hash)| *hash);
        let link = self.key.link(prev, digest);
        self.links.push((digest, link.hash));
        record["body"]["evidence"] = serde_json::to_value(link).expect("string keys");
        self.records.push(record);
    }

    /// The folder of an alert, signed with the chain's key.
    fn export(&self, alert: u64) -> Folder {
        let public = self.key.public();
        let mut manifest = Manifest::new("mh07-000123", id(alert), Wall::from_unix_millis(0), "1.2.3", &public);
        let mut folder = Folder::new();
        let mut first = None;
        for (number, record) in (1..).zip(&self.records) {
            if record["body"]["alert_id"] == id(alert).to_string().as_str() {
                let id: MessageId = record["id"].as_str().expect("a text").parse().expect("an id");
                let file = record_file(&id.to_string());
                folder.insert(file.clone(), record.to_string().into_bytes());
                let kind = record["type"].as_str().expect("a text").to_owned();
                manifest.records.push(RecordEntry { id, kind, file, number: Some(number) });
                first = first.or(Some(number));
            }
        }
        let first = first.expect("the alert has records");
        let before = usize::try_from(first - 1).expect("small");
        let prev = before.checked_sub(1).map_or(Hash::ZERO, |last| self.links[last].1);
        let digests = self.links[before..].iter().map(|(digest, _)| *digest).collect();
        manifest.chain.push(ChainPart { store: "k7f3qa".to_owned(), first, prev, digests });
        folder.insert(SNAPSHOT.to_owned(), PICTURE.to_vec());
        folder.insert(ORIGINAL.to_owned(), CLEAN.to_vec());
        folder.insert(clip_file(&id(100 + alert).to_string()), clip_of(alert));
        folder.insert(KEY.to_owned(), public.to_pem().into_bytes());
        folder.insert(PAGE.to_owned(), b"<!doctype html>".to_vec());
        sign(&mut folder, manifest, &self.key);
        folder
    }
}

fn clip_of(alert: u64) -> Vec<u8> {
    format!("the clip of alert {alert}").into_bytes()
}

/// Lists the folder's files in the manifest and signs it.
fn sign(folder: &mut Folder, mut manifest: Manifest, key: &EvidenceKey) {
    folder.remove(MANIFEST);
    folder.remove(SIGNATURE);
    let entry = |(name, bytes): (&String, &Vec<u8>)| FileEntry {
        name: name.clone(),
        bytes: bytes.len() as u64,
        sha256: Hash(Sha256::digest(bytes).into()),
    };
    manifest.files = folder.iter().map(entry).collect();
    let bytes = serde_json::to_vec_pretty(&manifest).expect("string keys");
    folder.insert(SIGNATURE.to_owned(), key.sign(&bytes).to_vec());
    folder.insert(MANIFEST.to_owned(), bytes);
}

fn manifest_of(folder: &Folder) -> Manifest {
    serde_json::from_slice(&folder[MANIFEST]).expect("a manifest")
}

fn examined(folder: &Folder, trusted: Option<&PublicKey>) -> Examined {
    let found = |bytes: &Vec<u8>| Found {
        bytes: bytes.len() as u64,
        sha256: Hash(Sha256::digest(bytes).into()),
        content: Some(bytes.clone()),
    };
    let folder = folder.iter().map(|(name, bytes)| (name.clone(), found(bytes))).collect();
    examine(&folder, trusted)
}

fn flaws(folder: &Folder) -> Vec<FolderFlaw> {
    examined(folder, Some(&key().public())).flaws
}

fn record_of(alert: u64, number: usize) -> String {
    let manifest = manifest_of(&Chain::new(key()).export(alert));
    manifest.records[number].file.clone()
}

#[test]
fn a_folder_as_it_was_exported_has_no_flaw_with_and_without_the_key() {
    for alert in [1, 2] {
        let folder = Chain::new(key()).export(alert);
        assert_eq!(flaws(&folder), []);
        let alone = examined(&folder, None);
        assert_eq!(alone.flaws, []);
        assert_eq!((alone.records.len(), alone.heads[0].count), (3, 6));
        assert_eq!(alone.heads[0].hash, Chain::new(key()).links[5].1, "what a heartbeat would show");
    }
}

#[test]
fn a_removed_record_is_named() {
    let mut folder = Chain::new(key()).export(1);
    let file = record_of(1, 1);
    folder.remove(&file);
    assert!(flaws(&folder).contains(&FolderFlaw::Missing { file: file.clone() }));
    // With its entry taken out of the manifest too, which then nobody has signed.
    let mut manifest = manifest_of(&folder);
    manifest.records.remove(1);
    sign(&mut folder, manifest, &EvidenceKey::from_seed([8; 32]));
    assert!(flaws(&folder).contains(&FolderFlaw::ManifestAltered));
}

#[test]
fn an_inserted_record_is_named() {
    let chain = Chain::new(key());
    let mut folder = chain.export(1);
    let file = record_of(2, 1);
    folder.insert(file.clone(), chain.export(2)[&file].clone());
    assert_eq!(flaws(&folder), [FolderFlaw::Unlisted { file: file.clone() }]);
    // By somebody who has the box's key: the record is still another alert's.
    let mut manifest = manifest_of(&folder);
    let entry = manifest_of(&chain.export(2)).records[1].clone();
    manifest.records.insert(1, entry);
    sign(&mut folder, manifest, &key());
    assert!(flaws(&folder).contains(&FolderFlaw::RecordForeign { file }));
}

#[test]
fn reordered_records_are_named() {
    let mut folder = Chain::new(key()).export(1);
    let (first, second) = (record_of(1, 1), record_of(1, 2));
    let (one, other) = (folder[&first].clone(), folder[&second].clone());
    folder.insert(first.clone(), other);
    folder.insert(second.clone(), one);
    let found = flaws(&folder);
    for file in [first, second] {
        assert!(found.contains(&FolderFlaw::RecordForeign { file: file.clone() }), "{found:?}");
        assert!(found.iter().any(|flaw| matches!(flaw, FolderFlaw::RecordPlace { file: named, .. } if *named == file)));
    }
    let mut folder = Chain::new(key()).export(1);
    let mut manifest = manifest_of(&folder);
    manifest.records.swap(1, 2);
    sign(&mut folder, manifest, &key());
    assert_eq!(flaws(&folder), [FolderFlaw::RecordOrder]);
}

#[test]
fn digests_taken_out_of_the_chain_are_a_gap_or_break_it() {
    let mut folder = Chain::new(key()).export(1);
    let mut manifest = manifest_of(&folder);
    let part = manifest.chain[0].clone();
    let prev = Chain::new(key()).links[3].1;
    manifest.chain = vec![
        ChainPart { digests: part.digests[..3].to_vec(), ..part.clone() },
        ChainPart { first: 5, prev, digests: part.digests[4..].to_vec(), ..part.clone() },
    ];
    sign(&mut folder, manifest.clone(), &key());
    assert_eq!(flaws(&folder), [FolderFlaw::Gap { store: "k7f3qa".to_owned(), from: 4, to: 4 }]);
    let mut digests = part.digests.clone();
    digests.remove(3);
    manifest.chain = vec![ChainPart { digests, ..part }];
    sign(&mut folder, manifest, &key());
    let place = FolderFlaw::RecordPlace { file: record_of(1, 2), number: 5 };
    assert!(flaws(&folder).contains(&place), "{:?}", flaws(&folder));
    let mut manifest = manifest_of(&folder);
    manifest.chain[0].first = u64::MAX;
    sign(&mut folder, manifest, &key());
    assert!(flaws(&folder).contains(&place), "numbers beyond all bounds: {:?}", flaws(&folder));
}

#[test]
fn a_folder_wholly_signed_anew_agrees_with_itself_but_not_with_the_trusted_key() {
    let other = EvidenceKey::from_seed([8; 32]);
    let folder = Chain::new(EvidenceKey::from_seed([8; 32])).export(1);
    assert_eq!(examined(&folder, None).flaws, []);
    let (found, trusted) = (other.public().id(), key().public().id());
    let flaws = flaws(&folder);
    assert!(flaws.contains(&FolderFlaw::OtherKey { found: found.clone(), trusted }));
    assert!(flaws.contains(&FolderFlaw::ManifestAltered));
    let flaw = Flaw::OtherKey { key_id: found };
    assert!(flaws.contains(&FolderFlaw::Record { file: record_of(1, 0), flaw }));
}

#[test]
fn a_clip_of_another_alert_is_named_even_if_the_folder_was_signed_with_it() {
    let chain = Chain::new(key());
    let mut folder = chain.export(1);
    let clip = clip_file(&id(101).to_string());
    folder.insert(clip.clone(), clip_of(2));
    let not_named = FolderFlaw::NotNamed { file: clip.clone(), record: record_id(&record_of(1, 1)) };
    assert!(flaws(&folder).contains(&not_named));
    let manifest = manifest_of(&folder);
    sign(&mut folder, manifest, &key());
    assert_eq!(flaws(&folder), [not_named]);
    // Under its own name.
    let mut folder = chain.export(1);
    folder.remove(&clip);
    let others = clip_file(&id(102).to_string());
    folder.insert(others.clone(), clip_of(2));
    let manifest = manifest_of(&folder);
    sign(&mut folder, manifest, &key());
    let found = flaws(&folder);
    assert!(found.contains(&FolderFlaw::Unexplained { file: clip, record: record_id(&record_of(1, 1)) }), "{found:?}");
    assert!(found.contains(&FolderFlaw::NotNamed { file: others, record: id(1).to_string() }), "{found:?}");
}

fn record_id(file: &str) -> String {
    file.trim_start_matches("record-").trim_end_matches(".json").to_owned()
}

#[test]
fn a_clip_that_the_box_has_not_any_more_is_no_flaw_once_the_manifest_says_so() {
    let mut folder = Chain::new(key()).export(1);
    let clip = clip_file(&id(101).to_string());
    folder.remove(&clip);
    let mut manifest = manifest_of(&folder);
    let missing = MissingFile { name: clip, sha256: sha256_hex(&clip_of(1)), reason: MissingReason::Evicted };
    manifest.missing.push(missing);
    sign(&mut folder, manifest, &key());
    assert_eq!(flaws(&folder), []);
}

#[test]
fn a_folder_without_manifest_signature_or_key_is_found() {
    for file in [MANIFEST, SIGNATURE, KEY] {
        let mut folder = Chain::new(key()).export(1);
        folder.remove(file);
        assert!(!flaws(&folder).is_empty() && !examined(&folder, None).flaws.is_empty(), "{file}");
    }
    assert!(!flaws(&Folder::new()).is_empty());
}

/// The file that a flaw is about; the manifest's are its signature's too.
fn named(flaw: &FolderFlaw) -> Option<&str> {
    match flaw {
        FolderFlaw::Altered { file, .. }
        | FolderFlaw::Missing { file }
        | FolderFlaw::Unlisted { file }
        | FolderFlaw::NotNamed { file, .. }
        | FolderFlaw::Record { file, .. } => Some(file),
        FolderFlaw::ManifestAltered | FolderFlaw::ManifestUnreadable => Some(MANIFEST),
        FolderFlaw::NoKey | FolderFlaw::OtherKey { .. } => Some(KEY),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// One byte anywhere in any file becomes another, goes, or is put in: the file is named.
    #[test]
    fn an_altered_byte_of_any_file_is_found(file: prop::sample::Index, at: prop::sample::Index, byte: u8, how in 0..3) {
        let mut folder = Chain::new(key()).export(1);
        let names: Vec<String> = folder.keys().cloned().collect();
        let name = &names[file.index(names.len())];
        let bytes = folder.get_mut(name).expect("listed");
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = if bytes[at] == byte { !byte } else { byte },
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
        let flaws = flaws(&folder);
        let expected = if name == SIGNATURE { MANIFEST } else { name };
        prop_assert!(flaws.iter().any(|flaw| named(flaw) == Some(expected)), "{name} at {at}: {flaws:?}");
    }
}

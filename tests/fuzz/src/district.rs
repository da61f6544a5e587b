//! Messages of a box as the district takes them, in one batch and then all once more. Messages are parted by a line `---`;
//! each is the topic (below `kitchen/v1/mh07-000123/up/`, or whole), lines `name: value` of user properties, an empty
//! line, the payload. The value `auto` of `sha256` and `crc32` stands for the right one.

use std::path::Path;

use kitchen_core::time::Wall;
use kitchen_core::transfer::MAX_RANGES;
use kitchen_core::wire::{ClipReceipt, ClipReceiptState, MessageId, is_device_id, sha256_hex, split_topic, up};
use kitchen_district::{DistrictEvent, Intake, IntakeError, Outcome};
use kitchen_uplink::Message;
use kitchen_uplink::clip::crc_text;

use crate::scratch;

const DEVICE: &str = "mh07-000123";
const MAX_MESSAGES: usize = 32;
/// As the district limits clips.
const MAX_CLIP_BYTES: u64 = 256 * 1024 * 1024;

pub fn check(input: &[u8]) {
    let messages: Vec<Message> = parts(input).into_iter().take(MAX_MESSAGES).filter_map(message).collect();
    if messages.is_empty() {
        return;
    }
    let folder = scratch::folder();
    let root = folder.path().join("store");
    let intake = Intake::open(&root).expect("an empty folder becomes a store");
    let first = take(&intake, &messages, &root);
    let second = take(&intake, &messages, &root);
    for ((message, first), second) in messages.iter().zip(&first).zip(&second) {
        is_repeatable(message, first.as_ref(), second.as_ref());
    }
    only_whole_files(&root);
}

fn parts(input: &[u8]) -> Vec<&[u8]> {
    const MARK: &[u8] = b"\n---\n";
    let mut parts = Vec::new();
    let mut rest = input;
    while let Some(at) = rest.windows(MARK.len()).position(|window| window == MARK) {
        parts.push(&rest[..at]);
        rest = &rest[at + MARK.len()..];
    }
    parts.push(rest);
    parts
}

fn message(part: &[u8]) -> Option<Message> {
    let end = part.windows(2).position(|window| window == b"\n\n");
    let (head, payload) = end.map_or((part, &[][..]), |end| (&part[..end], &part[end + 2..]));
    let mut lines = std::str::from_utf8(head).ok()?.lines();
    let topic = lines.next()?;
    let topic = if topic.starts_with("kitchen/") { topic.to_owned() } else { up(DEVICE, topic) };
    let properties = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| {
        let value = match (name, value) {
            ("sha256", "auto") => sha256_hex(payload),
            ("crc32", "auto") => crc_text(payload),
            _ => value.to_owned(),
        };
        (name.to_owned(), value)
    });
    Some(Message { topic, payload: payload.to_vec().into(), retain: false, properties: properties.collect() })
}

/// What became of each message; `None` where it was malformed.
fn take(intake: &Intake, messages: &[Message], root: &Path) -> Vec<Option<Outcome>> {
    let now = Wall::from_unix_millis(1_795_497_151_250);
    let outcomes = intake.take_all(messages, now).expect("the store takes a batch");
    let taken = messages.iter().zip(outcomes).map(|(message, outcome)| match outcome {
        Ok(outcome) => {
            is_sound(message, &outcome, root);
            Some(outcome)
        }
        Err(IntakeError::Malformed(_)) => None,
        Err(other) => panic!("a message broke the store: {other:?}"),
    });
    taken.collect()
}

fn is_sound(message: &Message, outcome: &Outcome, root: &Path) {
    let (device, leaf) = split_topic(&message.topic, "up").expect("a message without a device is malformed");
    assert!(is_device_id(device));
    if let Some(stored) = &outcome.receipt {
        assert_eq!(stored.device, device, "acknowledged to whom it came from");
        assert!(stored.receipt.id.parse::<MessageId>().is_ok(), "{:?} acknowledged", stored.receipt);
    }
    if let Some((of, answer)) = &outcome.answer {
        assert_eq!((of.as_str(), leaf.split('/').nth(1)), (device, Some(answer.clip_id.as_str())));
        is_answer(answer);
    }
    for event in &outcome.events {
        assert!(!event.line().is_empty());
        assert!(!event.json().contains('\n'));
        let (DistrictEvent::Snapshot { path, .. } | DistrictEvent::Clip { path, .. }) = event else { continue };
        assert!(path.starts_with(root.join(device)) && path.is_file(), "{} is no file of the store", path.display());
    }
}

fn is_answer(answer: &ClipReceipt) {
    assert!(answer.missing.len() <= MAX_RANGES);
    assert!(answer.missing.iter().all(|[from, to]| from < to && *to <= MAX_CLIP_BYTES), "{:?}", answer.missing);
    assert_eq!(answer.missing.is_empty(), answer.state != ClipReceiptState::Missing);
    assert_eq!(answer.reason.is_some(), answer.state == ClipReceiptState::Rejected);
}

/// The same bytes lead to the same receipt, and to no second alert; stored stays stored.
fn is_repeatable(message: &Message, first: Option<&Outcome>, second: Option<&Outcome>) {
    let receipt = |outcome: Option<&Outcome>| {
        outcome.and_then(|outcome| outcome.receipt.as_ref()).map(|stored| stored.receipt.clone())
    };
    assert_eq!(receipt(first), receipt(second), "{}", message.topic);
    if receipt(second).is_some() {
        let events = second.map_or(&[][..], |outcome| &outcome.events);
        assert!(events.is_empty(), "{} told twice: {events:?}", message.topic);
    }
    let is_stored = |outcome: Option<&Outcome>| {
        let answer = outcome.and_then(|outcome| outcome.answer.as_ref());
        answer.is_some_and(|(_, answer)| answer.state == ClipReceiptState::Stored)
    };
    assert!(!is_stored(first) || is_stored(second), "{} was stored and is no more", message.topic);
}

/// Snapshots, clips and parts, of devices, and nothing left aside.
fn only_whole_files(root: &Path) {
    let mut found = Vec::new();
    files(root, root, &mut found);
    for path in found.iter().filter(|path| !path.starts_with("district.sqlite")) {
        let [device, kind, name] = *path.split('/').collect::<Vec<_>>() else { panic!("{path} lies elsewhere") };
        let extension = name.rsplit('.').next().unwrap_or_default();
        assert!(is_device_id(device), "{path}");
        assert!(matches!((kind, extension), ("snapshots", "jpg") | ("clips", "mp4" | "part")), "{path}");
    }
}

fn files(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the store").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            files(root, &path, found);
        } else {
            let within = path.strip_prefix(root).expect("lies below it");
            found.push(within.to_string_lossy().into_owned());
        }
    }
}

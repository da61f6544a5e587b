//! Literal stamps, bodies and pictures for the store's tests.
#![allow(dead_code, reason = "each test program uses a part")]

use std::path::Path;

use kitchen_core::alert::AlertBody;
use kitchen_core::rules::RuleId;
use kitchen_core::time::{Mono, Stamp, TimeQuality, Wall};
use kitchen_core::wire::{ClipReceipt, ClipReceiptState, Receipt, VERSION};
use kitchen_store::{NewClip, NewSnapshot, OpenOptions, Receipted, Store, StoreError};

pub const DAY_MS: i64 = 86_400_000;

pub fn wall() -> Wall {
    "2026-11-24T05:12:31.250Z".parse().expect("literal")
}

pub fn stamp() -> Stamp {
    Stamp { mono: Mono::from_millis(8_123_450), wall: wall(), quality: TimeQuality::Ntp }
}

/// `stamp()` that many milliseconds later on both clocks.
pub fn later(ms: i64) -> Stamp {
    Stamp {
        mono: Mono::from_millis(8_123_450 + u64::try_from(ms).expect("later")),
        wall: Wall::from_unix_millis(wall().as_unix_millis() + ms),
        quality: TimeQuality::Ntp,
    }
}

pub fn open(dir: &Path, boot_id: &str) -> Store {
    Store::open(OpenOptions { dir, device: "mh07-000123", boot_id }).expect("store opens")
}

pub fn body(rule: RuleId) -> AlertBody {
    AlertBody {
        alert_id: None,
        rule,
        tier: rule.defaults().tier,
        camera: "stove".to_owned(),
        zone: None,
        opened_at: wall(),
        duration_ms: 3000,
        score: Some(0.87),
        boxes: Vec::new(),
        model: None,
        snapshot: None,
        snapshot_status: None,
        clip: None,
        clip_status: "none".to_owned(),
        reason: None,
        detail: None,
    }
}

pub fn snapshot(seed: u8) -> NewSnapshot {
    NewSnapshot { sent: vec![seed; 3000], original: vec![seed ^ 0xff; 5000], width: 640, height: 360 }
}

pub fn clip(seed: u8) -> NewClip {
    NewClip {
        bytes: vec![seed; 70_000],
        duration_ms: 10_000,
        start: wall(),
        width: 640,
        height: 360,
        codec: "avc1.64001f".to_owned(),
        media_type: "video/mp4".to_owned(),
        reencoded: false,
    }
}

/// They are sent, and the district acknowledges them.
pub fn deliver(store: &Store, ids: &[String], at: Stamp) -> Result<Receipted, StoreError> {
    let receipts: Vec<Receipt> = ids.iter().map(|id| Receipt::of(id)).collect();
    store.outbox_sent(ids, at.wall)?;
    store.outbox_receipted(&receipts, at.wall)
}

/// The clip is sent, and the district has stored it.
pub fn deliver_clip(store: &Store, clip_id: &str, at: Stamp) -> Result<bool, StoreError> {
    store.outbox_sent(&[clip_id.to_owned()], at.wall)?;
    store.outbox_clip_stored(&answer(clip_id, ClipReceiptState::Stored, None), at.wall)
}

/// What the district says of a clip.
pub fn answer(clip_id: &str, state: ClipReceiptState, sha256: Option<&str>) -> ClipReceipt {
    let reason = (state == ClipReceiptState::Rejected).then(|| "too large".to_owned());
    let (clip_id, sha256) = (clip_id.to_owned(), sha256.map(ToOwned::to_owned));
    ClipReceipt { v: VERSION, clip_id, state, missing: Vec::new(), reason, sha256 }
}

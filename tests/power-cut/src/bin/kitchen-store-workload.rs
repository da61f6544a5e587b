//! Runs in the emulated box: drives a store as hard as it can until the power is cut. Says on standard output what is
//! durable after the call that made it so has returned, and `yielded` before a call that lets a message go.
//! `kitchen-store-workload FOLDER`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use kitchen_core::alert::{AlertBody, AlertRecord, CloseReason};
use kitchen_core::outbox::OutboxKind;
use kitchen_core::rules::RuleId;
use kitchen_core::time::{Mono, Stamp, TimeQuality, Wall};
use kitchen_core::wire::{ClipReceipt, ClipReceiptState, MessageId, Receipt, VERSION, sha256_hex};
use kitchen_power_cut::check::DEVICE;
use kitchen_power_cut::told::MARK;
use kitchen_store::{NewSnapshot, OpenOptions, OutboxRow, Quotas, Store};
use kitchen_test_support::{alert_body, new_clip};
use serde_json::json;

/// So small that everything is evicted and forgotten soon.
const QUOTAS: Quotas = Quotas { clips_bytes: 400 << 10, snapshots_bytes: 200 << 10, database_bytes: 200 << 10 };
/// The first message's time; each further one is an hour later.
const BEGINNING_MS: i64 = 1_795_000_000_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Calls between two openings of the store.
const LIFE: u32 = 60;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: kitchen-store-workload FOLDER");
        return ExitCode::from(64);
    };
    loop {
        if let Err(error) = live(&folder) {
            eprintln!("failed: {error:#}");
            return ExitCode::FAILURE;
        }
    }
}

/// From one opening of the store to the next.
fn live(folder: &Path) -> Result<()> {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("reading the boot's id")?;
    let store = Store::open(OpenOptions { dir: folder, device: DEVICE, boot_id: boot_id.trim() })?;
    store.tell_losses(stamp(&store)?)?;
    let open = store.open_alerts()?.into_iter().map(|alert| (alert.alert_id, alert.body)).collect();
    let mut life = Life { store, folder, open };
    for _ in 0..LIFE {
        life.step()?;
    }
    Ok(())
}

struct Life<'a> {
    store: Store,
    folder: &'a Path,
    open: BTreeMap<MessageId, AlertBody>,
}

impl Life<'_> {
    fn step(&mut self) -> Result<()> {
        match fastrand::u8(..32) {
            0..8 => self.open_alert(),
            8..12 => self.attach_clip(),
            12..15 => self.append_detail(),
            15..19 => self.close_alert(),
            19..22 => self.append_record(),
            22..26 => self.receipt(),
            26 => self.set_aside(),
            27 => self.drop_message(),
            28 => self.expire(),
            29..31 => self.tidy(),
            _ => self.count_session(),
        }
    }

    fn open_alert(&mut self) -> Result<()> {
        let rule = if fastrand::bool() { RuleId::Fire } else { RuleId::Intrusion };
        let now = stamp(&self.store)?;
        let snapshot = (fastrand::u8(..4) > 0).then(|| NewSnapshot {
            sent: bytes(2_000..9_000),
            original: bytes(2_000..14_000),
            width: 640,
            height: 360,
        });
        let hashes = snapshot.as_ref().map(|new| format!(" {} {}", sha256_hex(&new.sent), sha256_hex(&new.original)));
        let mut body = alert_body(rule, now.wall);
        let opened = self.store.open_alert(now, body.clone(), snapshot)?;
        say(&format!("alert {}{}", opened.alert_id, hashes.unwrap_or_default()));
        body.snapshot = opened.snapshot;
        self.open.insert(opened.alert_id, body);
        Ok(())
    }

    fn attach_clip(&mut self) -> Result<()> {
        let Some((alert, body)) = self.any_open() else { return Ok(()) };
        let now = stamp(&self.store)?;
        let clip = new_clip(bytes(5_000..60_000), now.wall);
        let clip = self.store.attach_clip(now, &alert, clip, body)?;
        say(&format!("clip {} {alert} {}", clip.clip_id, clip.sha256));
        Ok(())
    }

    fn append_detail(&mut self) -> Result<()> {
        let Some((alert, body)) = self.any_open() else { return Ok(()) };
        let id = self.store.append_alert_record(stamp(&self.store)?, &alert, AlertRecord::Updated, body)?;
        say(&format!("detail {id} {alert}"));
        Ok(())
    }

    fn close_alert(&mut self) -> Result<()> {
        let Some((alert, mut body)) = self.any_open() else { return Ok(()) };
        body.reason = Some(CloseReason::Cleared);
        let id = self.store.append_alert_record(stamp(&self.store)?, &alert, AlertRecord::Closed, body)?;
        say(&format!("detail {id} {alert}"));
        self.open.remove(&alert);
        Ok(())
    }

    fn append_record(&mut self) -> Result<()> {
        let body = json!({ "text": "x".repeat(fastrand::usize(..2_000)) });
        let id = self.store.append_record(stamp(&self.store)?, "power.test", body)?;
        say(&format!("record {id}"));
        Ok(())
    }

    /// The district acknowledges what waits longest, and has stored a clip.
    fn receipt(&mut self) -> Result<()> {
        let now = stamp(&self.store)?.wall;
        let waiting = self.store.outbox_waiting(fastrand::usize(5..40))?;
        let (clips, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|one| one.kind == OutboxKind::Clip);
        let others: Vec<String> = others.into_iter().map(|one| one.id).collect();
        self.store.outbox_sent(&others, now)?;
        self.store.outbox_sent(&clips.iter().map(|one| one.id.clone()).collect::<Vec<_>>(), now)?;
        for ids in others.chunks(8) {
            say(&format!("yielded {}", ids.join(" ")));
        }
        let receipts: Vec<Receipt> = others.iter().map(|id| Receipt::of(id)).collect();
        self.store.outbox_receipted(&receipts, now)?;
        for clip in clips {
            say(&format!("yielded {}", clip.id));
            let state = ClipReceiptState::Stored;
            let answer =
                ClipReceipt { v: VERSION, clip_id: clip.id, state, missing: Vec::new(), reason: None, sha256: None };
            self.store.outbox_clip_stored(&answer, now)?;
        }
        Ok(())
    }

    fn set_aside(&mut self) -> Result<()> {
        let waiting = self.store.outbox_waiting(50)?;
        let Some(one) = fastrand::choice(&waiting) else { return Ok(()) };
        self.store.outbox_set_aside(&one.id, "refused", stamp(&self.store)?)?;
        say(&format!("aside {}", one.id));
        Ok(())
    }

    fn drop_message(&mut self) -> Result<()> {
        let Some(one) = fastrand::choice(self.outbox()?) else { return Ok(()) };
        say(&format!("yielded {}", one.id));
        self.store.outbox_drop(&one.id, stamp(&self.store)?)?;
        say(&format!("dropped {}", one.id));
        Ok(())
    }

    fn expire(&mut self) -> Result<()> {
        let now = stamp(&self.store)?;
        for one in self.outbox()? {
            let age_ms = now.wall.as_unix_millis() - one.created.as_unix_millis();
            if one.kind.expiry_days().is_some_and(|days| age_ms >= i64::from(days) * DAY_MS) {
                say(&format!("yielded {}", one.id));
            }
        }
        self.store.expire(now)?;
        self.store.save_time(now.wall);
        Ok(())
    }

    fn tidy(&mut self) -> Result<()> {
        let tidied = self.store.tidy(stamp(&self.store)?, QUOTAS)?;
        say(&format!("tidied {}", tidied.clips + tidied.snapshots + tidied.alerts));
        Ok(())
    }

    fn count_session(&mut self) -> Result<()> {
        say(&format!("session {}", self.store.next_session()?.n));
        Ok(())
    }

    fn any_open(&self) -> Option<(MessageId, AlertBody)> {
        fastrand::choice(self.open.iter()).map(|(id, body)| (id.clone(), body.clone()))
    }

    /// With what is set aside.
    fn outbox(&self) -> Result<Vec<OutboxRow>> {
        Ok(Store::read_only(self.folder)?.outbox(usize::MAX)?)
    }
}

/// An hour after the one before, through all boots.
fn stamp(store: &Store) -> Result<Stamp> {
    let hours = store.next_id()?.sequence;
    let wall = Wall::from_unix_millis(BEGINNING_MS + i64::try_from(hours)? * HOUR_MS);
    Ok(Stamp { mono: Mono::from_millis(hours), wall, quality: TimeQuality::Ntp })
}

fn bytes(length: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = vec![0; fastrand::usize(length)];
    fastrand::Rng::new().fill(&mut bytes);
    bytes
}

/// In one write: the console passes a line on as a whole.
fn say(what: &str) {
    use std::io::Write as _;
    // Nobody hears it only when the power is gone.
    let _ = std::io::stdout().write_all(format!("{MARK}{what}\n").as_bytes());
    let _ = std::io::stdout().flush();
}

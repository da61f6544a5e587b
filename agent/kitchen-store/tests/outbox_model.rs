//! The store on a real database against a reference of plain lists, step by step: what waits in which order, its bytes,
//! the alerts, the files, and the records that tell what was given up. `PROPTEST_CASES` for the long form.

mod reference;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use kitchen_core::alert::{AlertRecord, CloseReason};
use kitchen_core::outbox::{OutboxKind, Payload};
use kitchen_core::rules::RuleId;
use kitchen_core::time::{Mono, Stamp, TimeQuality, Wall};
use kitchen_core::wire::{ClipReceiptState, Envelope, MessageId, Receipt};
use kitchen_store::{NewClip, NewSnapshot, Quotas, Store};
use proptest::prelude::*;
use proptest::test_runner::Config;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use reference::{Message, Place, Reference, Report, Step};
use serde_json::{Value, json};
use support::{answer, body, clip, open, snapshot};
use tempfile::TempDir;

const PICTURE_BYTES: usize = 300;
const CLIP_BYTES: usize = 900;
const PLENTY: u64 = 1 << 30;
const DAY_MS: u64 = 86_400_000;
const UNKNOWN: &str = "k7f3qa.9000.9000";

struct Outbox;

impl ReferenceStateMachine for Outbox {
    type State = Reference;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Reference> {
        Just(Reference::default()).boxed()
    }

    fn transitions(_: &Reference) -> BoxedStrategy<Step> {
        let number = || 0_usize..10_000;
        let some = || prop::collection::vec(0_usize..10_000, 0..5);
        prop_oneof![
            6 => (any::<bool>(), prop::option::weighted(0.8, any::<u8>()))
                .prop_map(|(is_grave, picture)| Step::Open { is_grave, picture }),
            1 => number().prop_map(|alert| Step::Update { alert }),
            4 => number().prop_map(|alert| Step::Close { alert }),
            4 => (number(), any::<u8>()).prop_map(|(alert, seed)| Step::Clip { alert, seed }),
            1 => Just(Step::Record),
            2 => some().prop_map(Step::Sent),
            4 => some().prop_map(Step::Receipted),
            2 => number().prop_map(Step::ClipStored),
            1 => number().prop_map(Step::ClipRejected),
            2 => number().prop_map(Step::SetAside),
            2 => number().prop_map(Step::Requeue),
            1 => number().prop_map(Step::Drop),
            4 => Just(Step::Expire),
            2 => (0_usize..8, 0_usize..8, any::<bool>())
                .prop_map(|(clips, pictures, forgets)| Step::Tidy { clips, pictures, forgets }),
            2 => any::<bool>().prop_map(|is_new_boot| Step::Reopen { is_new_boot }),
            3 => (0..20 * DAY_MS).prop_map(|ms| Step::Pass { ms }),
            1 => prop::sample::select(vec![1, 40, 3_652]).prop_flat_map(|days| {
                let ms = days * 86_400_000_i64;
                prop::sample::select(vec![ms, -ms])
            }).prop_map(|ms| Step::ClockJumps { ms }),
            1 => prop::bool::weighted(0.7).prop_map(Step::ClockIsTrusted),
        ]
        .boxed()
    }

    fn apply(mut state: Reference, step: &Step) -> Reference {
        state.take(step);
        state
    }
}

/// The store, and the id that it gave to each message of the reference.
struct Real {
    folder: TempDir,
    store: Option<Store>,
    /// The reference before the step, whose numbers the step picks from.
    before: Reference,
    ids: Vec<String>,
    /// The bytes of each record as it was first loaded.
    texts: BTreeMap<String, Vec<u8>>,
}

impl Real {
    fn store(&self) -> &Store {
        self.store.as_ref().expect("open")
    }

    fn id(&self, number: usize) -> String {
        self.ids.get(self.before.pick_message(number)).map_or_else(|| UNKNOWN.to_owned(), Clone::clone)
    }

    fn some_ids(&self, numbers: &[usize]) -> Vec<String> {
        numbers.iter().map(|number| self.id(*number)).collect()
    }

    fn alert(&self, number: usize) -> (MessageId, RuleId) {
        let alert = self.before.pick_alert(number);
        let Some(known) = self.before.alerts.get(alert) else {
            return (UNKNOWN.parse().expect("an id"), RuleId::Phone);
        };
        (self.alert_id(&self.before, alert).parse().expect("an id"), rule(known.is_grave))
    }

    /// An alert has the id of its first record.
    fn alert_id(&self, reference: &Reference, alert: usize) -> &String {
        let (first, _) = reference.of_alert(alert).next().expect("an alert has a record");
        &self.ids[first]
    }

    fn take(&mut self, step: Step, now: Stamp) {
        let store = self.store();
        match step {
            Step::Open { is_grave, picture } => {
                let picture = picture.map(picture_of);
                store.open_alert(now, body(rule(is_grave)), picture).expect("stored");
            }
            Step::Update { alert } => self.append(alert, AlertRecord::Updated, now),
            Step::Close { alert } => self.append(alert, AlertRecord::Closed, now),
            Step::Clip { alert, seed } => {
                let (id, rule) = self.alert(alert);
                let _ = store.attach_clip(now, &id, clip_of(seed), body(rule));
            }
            Step::Record => {
                store.append_record(now, "budget.month", json!({})).expect("stored");
            }
            Step::Sent(numbers) => store.outbox_sent(&self.some_ids(&numbers), now.wall).expect("noted"),
            Step::Receipted(numbers) => {
                let receipts: Vec<Receipt> = self.some_ids(&numbers).iter().map(|id| Receipt::of(id)).collect();
                store.outbox_receipted(&receipts, now.wall).expect("noted");
            }
            Step::ClipStored(number) => {
                let stored = answer(&self.id(number), ClipReceiptState::Stored, None);
                store.outbox_clip_stored(&stored, now.wall).expect("noted");
            }
            Step::ClipRejected(number) => {
                let rejected = answer(&self.id(number), ClipReceiptState::Rejected, None);
                store.outbox_clip_rejected(&rejected, now).expect("noted");
            }
            Step::SetAside(number) => {
                store.outbox_set_aside(&self.id(number), "failed alone", now).expect("noted");
            }
            Step::Requeue(number) => {
                store.outbox_requeue(&self.id(number)).expect("noted");
            }
            Step::Drop(number) => {
                store.outbox_drop(&self.id(number), now).expect("noted");
            }
            Step::Expire => {
                store.expire(now).expect("expired");
            }
            Step::Tidy { clips, pictures, forgets } => {
                let quotas = Quotas {
                    clips_bytes: (clips * CLIP_BYTES) as u64,
                    snapshots_bytes: (pictures * 2 * PICTURE_BYTES) as u64,
                    database_bytes: if forgets { 0 } else { PLENTY },
                };
                store.tidy(now, quotas).expect("tidied");
            }
            Step::Reopen { is_new_boot } => {
                self.store = None;
                let boot = self.before.boot + u32::from(is_new_boot);
                self.store = Some(open(self.folder.path(), &format!("boot-{boot}")));
            }
            Step::Pass { .. } | Step::ClockJumps { .. } | Step::ClockIsTrusted(_) => {}
        }
    }

    /// Fails for an alert that is not there, or closed already.
    fn append(&self, alert: usize, record: AlertRecord, now: Stamp) {
        let (id, rule) = self.alert(alert);
        let mut body = body(rule);
        body.reason = (record == AlertRecord::Closed).then_some(CloseReason::Cleared);
        let _ = self.store().append_alert_record(now, &id, record, body);
    }

    /// New messages of the store and of the reference are in the order of their ids.
    fn name_new(&mut self, reference: &Reference) {
        let known: BTreeSet<&String> = self.ids.iter().collect();
        let reader = Store::read_only(self.folder.path()).expect("readable");
        let rows = reader.outbox(usize::MAX).expect("outbox").into_iter();
        let mut new: Vec<String> = rows.map(|row| row.id).filter(|id| !known.contains(id)).collect();
        new.sort_by_key(|id| id.parse::<MessageId>().expect("an id"));
        self.ids.extend(new);
        assert_eq!(self.ids.len(), reference.messages.len(), "messages that the store has ever had");
    }

    fn check_outbox(&mut self, reference: &Reference) {
        let listed = self.store().outbox_waiting(usize::MAX).expect("outbox");
        let ids: Vec<&String> = listed.iter().map(|waiting| &waiting.id).collect();
        let expected: Vec<&String> = reference.waiting().into_iter().map(|number| &self.ids[number]).collect();
        assert_eq!(ids, expected, "what waits, in its order");
        for (waiting, number) in listed.iter().zip(reference.waiting()) {
            let message = &reference.messages[number];
            assert_eq!((waiting.kind, waiting.priority), (message.kind, message.priority));
            assert_eq!((waiting.attempts, waiting.sent), (message.attempts, message.sent.map(Wall::from_unix_millis)));
            self.check_payload(reference, number);
        }
        let reader = Store::read_only(self.folder.path()).expect("readable");
        let rows = reader.outbox(usize::MAX).expect("outbox").into_iter();
        let aside: BTreeSet<String> = rows.filter(|row| row.set_aside.is_some()).map(|row| row.id).collect();
        let expected = reference.in_place(Place::SetAside).into_iter().map(|number| self.ids[number].clone());
        assert_eq!(aside, expected.collect::<BTreeSet<_>>(), "what is set aside");
        for number in reference.in_place(Place::SetAside).into_iter().chain(reference.in_place(Place::Gone)) {
            assert_eq!(self.store().outbox_load(&self.ids[number]).expect("no error"), None, "not to be sent");
        }
    }

    fn check_payload(&mut self, reference: &Reference, number: usize) {
        let (id, message) = (self.ids[number].clone(), &reference.messages[number]);
        match self.store().outbox_load(&id).expect("loads").expect("waits") {
            Payload::Record { bytes, .. } => {
                let envelope: Envelope = serde_json::from_slice(&bytes).expect("an envelope");
                assert_eq!((envelope.id.to_string(), envelope.kind.as_str()), (id.clone(), message.says));
                if let Some(report) = &message.report {
                    assert_eq!(envelope.body, self.wording(report));
                }
                let first = self.texts.entry(id).or_insert_with(|| bytes.clone());
                assert_eq!(*first, bytes, "the same bytes at each resend");
            }
            Payload::Snapshot { bytes, .. } => assert_eq!(bytes, picture_of(message.seed).sent),
            Payload::Clip { init, path } => {
                assert_eq!(init.clip_id, id);
                assert_eq!(fs::read(path).expect("a clip's file"), clip_of(message.seed).bytes);
            }
        }
    }

    fn wording(&self, report: &Report) -> Value {
        let ids = |numbers: &[usize]| numbers.iter().map(|number| self.ids[*number].clone()).collect::<Vec<_>>();
        match report {
            Report::Expired(kind, numbers) => {
                json!({ "kind": kind.as_str(), "count": numbers.len(), "ids": ids(numbers) })
            }
            Report::SetAside(number, kind, reason) => {
                json!({ "id": self.ids[*number], "kind": kind.as_str(), "reason": reason })
            }
            Report::Evicted(what, numbers) => json!({ "what": what, "ids": ids(numbers), "reason": "quota" }),
            Report::Dropped(number, kind) => {
                json!({ "what": kind.as_str(), "ids": ids(&[*number]), "reason": "dropped by hand" })
            }
        }
    }

    fn check_alerts(&self, reference: &Reference) {
        let rows = self.store().alerts(usize::MAX).expect("alerts");
        let known = (0..reference.alerts.len()).rev().filter(|alert| !reference.alerts[*alert].is_forgotten);
        let known: Vec<usize> = known.collect();
        assert_eq!(rows.len(), known.len(), "alerts, newest first");
        for (row, alert) in rows.iter().zip(known) {
            assert_eq!(row.alert_id.to_string(), *self.alert_id(reference, alert));
            assert_eq!(row.closed_at.is_some(), reference.alerts[alert].is_closed);
            let records: Vec<_> = row.records.iter().map(|it| (it.id.clone(), it.sent, it.receipted_at)).collect();
            let is_record = |message: &Message| message.kind == OutboxKind::Alert;
            let expected = reference.of_alert(alert).filter(|(_, message)| is_record(message));
            let wall = |ms: Option<i64>| ms.map(Wall::from_unix_millis);
            let expected =
                expected.map(|(number, it)| (self.ids[number].clone(), wall(it.record_sent), wall(it.receipted)));
            assert_eq!(records, expected.collect::<Vec<_>>());
            let has_file =
                |kind| reference.of_alert(alert).any(|(_, message)| message.kind == kind && message.has_file);
            assert_eq!(row.snapshot.as_ref().is_some_and(|path| path.exists()), has_file(OutboxKind::Snapshot));
            assert_eq!(row.clip.as_ref().is_some_and(|path| path.exists()), has_file(OutboxKind::Clip));
        }
        let files = |kind| reference.messages.iter().filter(|it| it.kind == kind && it.has_file).count();
        let lie_in = |folder: &str| fs::read_dir(self.folder.path().join(folder)).expect("a folder").count();
        assert_eq!(lie_in("clips"), files(OutboxKind::Clip));
        assert_eq!(lie_in("snapshots"), 2 * files(OutboxKind::Snapshot), "sent and clean one of each");
    }
}

struct OutboxTest;

impl StateMachineTest for OutboxTest {
    type SystemUnderTest = Real;
    type Reference = Outbox;

    fn init_test(reference: &Reference) -> Real {
        let folder = tempfile::tempdir_in(quick_folder()).expect("a folder");
        let store = Some(open(folder.path(), "boot-1"));
        Real { folder, store, before: reference.clone(), ids: Vec::new(), texts: BTreeMap::new() }
    }

    fn apply(mut real: Real, reference: &Reference, step: Step) -> Real {
        let before = &real.before;
        let quality = if before.is_trusted { TimeQuality::Ntp } else { TimeQuality::Floor };
        let now = Stamp { mono: Mono::from_millis(before.mono), wall: Wall::from_unix_millis(before.wall), quality };
        real.take(step, now);
        real.name_new(reference);
        real.check_outbox(reference);
        real.check_alerts(reference);
        real.before = reference.clone();
        real
    }

    fn teardown(real: Real, _: Reference) {
        let reader = Store::read_only(real.folder.path()).expect("readable");
        assert_eq!(reader.damage_in_full().expect("checked"), None);
    }
}

prop_state_machine! {
    #![proptest_config(Config { failure_persistence: None, max_shrink_iters: 2_000, ..Config::with_cases(cases(150)) })]

    #[test]
    fn the_outbox_does_what_plain_lists_do(sequential 1..60 => OutboxTest);
}

/// As many as `PROPTEST_CASES` says, else `few`.
fn cases(few: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}

/// Syncs cost nothing in memory; what is written is the same.
fn quick_folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

fn rule(is_grave: bool) -> RuleId {
    if is_grave { RuleId::Fire } else { RuleId::Phone }
}

fn picture_of(seed: u8) -> NewSnapshot {
    let fill = |seed| vec![seed; PICTURE_BYTES];
    NewSnapshot { sent: fill(seed), original: fill(seed ^ 0xff), ..snapshot(seed) }
}

fn clip_of(seed: u8) -> NewClip {
    NewClip { bytes: vec![seed; CLIP_BYTES], ..clip(seed) }
}

//! A box that gets its name after it has stored alerts: what waits goes out under the new name, with a sound chain.

mod support;

use kitchen_core::alert::AlertRecord;
use kitchen_core::evidence::{Hash, check};
use kitchen_core::outbox::Payload;
use kitchen_core::rules::RuleId;
use kitchen_core::wire::{Envelope, Receipt};
use kitchen_store::{OpenOptions, Store};
use serde_json::{Value, json};
use support::{body, later, snapshot, stamp};
use tempfile::tempdir;

fn open(dir: &std::path::Path, device: &str) -> Store {
    Store::open(OpenOptions { dir, device, boot_id: "boot-a" }).expect("opens")
}

fn waiting(store: &Store) -> Vec<Value> {
    let mut rows = store.outbox_waiting(1000).expect("outbox");
    rows.sort_by_key(|row| row.id.rsplit('.').next().and_then(|number| number.parse::<u64>().ok()));
    let load = |id: &str| match store.outbox_load(id).expect("load") {
        Some(Payload::Record { bytes, .. }) => Some(serde_json::from_slice(&bytes).expect("an envelope")),
        _ => None,
    };
    rows.iter().filter_map(|row| load(&row.id)).collect()
}

#[test]
fn what_waits_goes_out_under_the_new_name_in_a_sound_chain() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "waiting-box");
    let alert = store.open_alert(stamp(), body(RuleId::Phone), Some(snapshot(1))).expect("alert").alert_id;
    store.append_record(stamp(), "clock.fix", json!({})).expect("record");
    store.append_alert_record(later(2), &alert, AlertRecord::Closed, body(RuleId::Phone)).expect("closed");
    let key = store.evidence_key();
    drop(store);

    let store = open(dir.path(), "mh07-000123");
    store.open_alert(later(3), body(RuleId::Fire), None).expect("goes on");
    let mut last = Hash::ZERO;
    for record in waiting(&store) {
        let envelope: Envelope = serde_json::from_value(record.clone()).expect("an envelope");
        assert_eq!(envelope.device, "mh07-000123");
        if record["type"] == "clock.fix" {
            continue;
        }
        let link = check(&record, Some(&key)).expect("signed, and the record is the one that was linked");
        assert_eq!(link.prev, last);
        last = link.hash;
    }
    let head = store.chain_head().expect("head");
    assert_eq!((head.count, head.hash), (3, last));
    let evidence = store.alerts(10).expect("alerts");
    assert_eq!(evidence.len(), 2);
}

#[test]
fn what_the_district_has_keeps_the_name_under_which_it_has_it() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "mh07-000123");
    let first = store.open_alert(stamp(), body(RuleId::Phone), None).expect("alert").alert_id;
    let second = store.open_alert(later(1), body(RuleId::Fire), None).expect("alert").alert_id;
    let receipt = Receipt { id: first.to_string(), digest: None };
    store.outbox_sent(&[first.to_string()], stamp().wall).expect("sent");
    store.outbox_receipted(&[receipt], stamp().wall).expect("receipted");
    drop(store);

    let store = open(dir.path(), "mh07-000124");
    let records = waiting(&store);
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((&record["id"], &record["device"]), (&json!(second.to_string()), &json!("mh07-000124")));
    let link = check(record, Some(&store.evidence_key())).expect("sound");
    assert_ne!(link.prev, Hash::ZERO, "behind the link of the one that the district has");
    drop(store);
    let again = open(dir.path(), "mh07-000124");
    assert_eq!(waiting(&again), records, "once");
}

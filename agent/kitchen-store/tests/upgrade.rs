//! Databases of released versions, kept as files: each is upgraded and goes on with what it held.

mod support;

use std::fs;
use std::path::Path;

use kitchen_core::alert::CloseReason;
use kitchen_core::outbox::Payload;
use kitchen_core::rules::RuleId;
use kitchen_core::wire::Envelope;
use kitchen_store::Store;
use support::{body, open, snapshot, stamp};
use tempfile::tempdir;

/// A boot number 17 of the store `k7f3qa`: a closed alert of which the end has no receipt, and a clip.
const VERSION_1: &str = "tests/fixtures/version-1.db";
/// The same after its upgrade by a program of version 2.
const VERSION_2: &str = "tests/fixtures/version-2.db";

/// That one after the next step.
const VERSION_3: &str = "tests/fixtures/version-3.db";
/// And after the one that brought the evidence chain.
const VERSION_4: &str = "tests/fixtures/version-4.db";
/// And after the one that brought the recording's index.
const VERSION_5: &str = "tests/fixtures/version-5.db";

#[test]
fn a_database_of_version_1_goes_on_with_what_it_held() {
    goes_on(VERSION_1);
}

#[test]
fn a_database_of_version_2_goes_on_with_what_it_held() {
    goes_on(VERSION_2);
}

#[test]
fn a_database_of_version_3_goes_on_with_what_it_held() {
    goes_on(VERSION_3);
}

#[test]
fn a_database_of_version_4_goes_on_with_what_it_held() {
    goes_on(VERSION_4);
}

#[test]
fn a_database_of_version_5_goes_on_with_what_it_held() {
    goes_on(VERSION_5);
}

fn goes_on(fixture: &str) {
    let dir = tempdir().expect("tempdir");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture);
    fs::copy(fixture, dir.path().join("agent.db")).expect("copied");
    let store = open(dir.path(), "boot-b");
    assert_eq!((store.store_id().as_str(), store.boot()), ("k7f3qa", 18));
    assert!(!dir.path().join("agent.db.damaged-1").exists(), "an old database is no damaged one");
    let rows = store.alerts(10).expect("alerts");
    let [alert] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((alert.rule, alert.close_reason), (RuleId::Phone, Some(CloseReason::Cleared)));
    assert!(alert.clip.is_some());
    let waiting = store.outbox_waiting(10).expect("outbox");
    assert_eq!((waiting.len(), waiting[0].id.as_str(), waiting[0].attempts), (1, "k7f3qa.17.2", 2));
    let Some(Payload::Record { bytes, .. }) = store.outbox_load("k7f3qa.17.2").expect("load") else {
        panic!("a record")
    };
    let envelope: Envelope = serde_json::from_slice(&bytes).expect("envelope");
    assert_eq!((envelope.kind.as_str(), envelope.body["reason"].as_str()), ("alert.closed", Some("cleared")));
    let new = store.open_alert(stamp(), body(RuleId::Fire), Some(snapshot(1))).expect("goes on").alert_id;
    assert!(new.boot == 18 && new.sequence >= 65, "{new}");
    drop(store);
    assert_eq!(Store::read_only(dir.path()).expect("readable").alerts(10).expect("alerts").len(), 2);
}

//! The ledger, the months told, what messages ask for: saved once, read back whatever happened in between.

mod support;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use kitchen_core::budget::{
    Bucket, ByClass, Demand, DemandRow, Forecast, Period, Traffic, TrafficClass, Usage, Wanted, month_record,
};
use kitchen_core::outbox::{OutboxKind, Payload};
use kitchen_core::rules::RuleId;
use kitchen_core::time::{Mono, Stamp, TimeQuality, Wall};
use kitchen_core::wire::Envelope;
use kitchen_store::{Quotas, Reader, Store, StoreError};
use rusqlite::Connection;
use serde_json::{Value, json};
use support::{DAY_MS, body, clip, deliver, deliver_clip, later, open, snapshot, stamp, wall};
use tempfile::tempdir;

const PLENTY: Quotas = Quotas { clips_bytes: 1 << 30, snapshots_bytes: 1 << 30, database_bytes: 1 << 30 };
const ALL: Wall = Wall::from_unix_millis(i64::MIN);
const HOUR_MS: i64 = 3_600_000;
const DAY: Duration = Duration::from_secs(86_400);

fn traffic(bytes: u64) -> Traffic {
    let yuan = "0.000020000000001".parse().expect("a number");
    Traffic { bytes, free_bytes: bytes / 3, yuan, worst_yuan: "1.5".parse().expect("a number") }
}

/// The `hour`th hour of a boot: `bytes` of clips and a text.
fn bucket(boot: i64, hour: i64, bytes: u64) -> Bucket {
    let at = later(hour * HOUR_MS);
    let mut classes = ByClass::default();
    classes[TrafficClass::Clip as usize] = traffic(bytes);
    classes[TrafficClass::Text as usize] = traffic(1_000);
    Bucket { boot, first: at.mono, last: Mono::from_millis(at.mono.as_millis() + 5), label: at.wall, classes }
}

fn sum(buckets: &[Bucket]) -> u64 {
    buckets.iter().flat_map(|bucket| bucket.classes).map(|traffic| traffic.bytes).sum()
}

fn edit(directory: &Path, sql: &str) {
    Connection::open(directory.join("agent.db")).and_then(|database| database.execute_batch(sql)).expect("edited");
}

/// The losses that the store tells.
fn losses(store: &Store) -> Vec<Value> {
    store.tell_losses(later(6000)).expect("told");
    records(store, "loss")
}

fn records(store: &Store, kind: &str) -> Vec<Value> {
    let waiting = store.outbox_waiting(1000).expect("outbox").into_iter();
    let envelopes = waiting.filter_map(|row| match store.outbox_load(&row.id).expect("load") {
        Some(Payload::Record { bytes, .. }) => serde_json::from_slice::<Envelope>(&bytes).ok(),
        _ => None,
    });
    envelopes.filter(|envelope| envelope.kind == kind).map(|envelope| envelope.body).collect()
}

#[test]
fn buckets_are_read_back_after_a_reopen_and_saved_again_in_their_place() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    assert_eq!((store.ledger(ALL).expect("ledger"), store.counting().expect("counting")), (Vec::new(), None));
    let mut buckets = vec![bucket(1, 5, 700), bucket(1, 2, u64::from(u32::MAX) * 1000), bucket(-9, 5, 1)];
    store.save_ledger(stamp(), &buckets, json!({ "n": 1 })).expect("saved");
    drop(store);
    let store = open(dir.path(), "boot-b");
    assert_eq!(store.ledger(ALL).expect("ledger"), buckets);
    assert_eq!(store.counting().expect("counting"), Some(json!({ "n": 1 })));

    buckets[0].classes[TrafficClass::Alert as usize] = traffic(5);
    buckets[0].label = later(7 * HOUR_MS).wall;
    store.save_ledger(stamp(), &buckets[..1], json!([2])).expect("saved");
    assert_eq!(store.ledger(ALL).expect("ledger"), buckets, "the order is that of the first save");
    assert_eq!(store.counting().expect("counting"), Some(json!([2])));
    assert_eq!(store.ledger(later(6 * HOUR_MS).wall).expect("ledger"), buckets[..1]);

    buckets[2].classes[TrafficClass::Clip as usize] = Traffic::default();
    store.save_ledger(stamp(), &buckets, json!({})).expect("saved");
    assert_eq!(store.ledger(ALL).expect("ledger"), buckets);
    drop(store);
    let rows: i64 = Connection::open(dir.path().join("agent.db"))
        .and_then(|database| database.query_row("SELECT count(*) FROM ledger", [], |row| row.get(0)))
        .expect("rows");
    assert_eq!(rows, 6, "no row for a class without bytes");
}

#[test]
fn a_log_that_ends_anywhere_holds_buckets_and_counting_of_one_save() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    for turn in 1..=4 {
        let buckets: Vec<Bucket> = (0..40).map(|hour| bucket(1, hour, turn)).collect();
        store.save_ledger(stamp(), &buckets, json!({ "turn": turn })).expect("saved");
    }
    // What a killed process leaves: the database was never closed.
    let left = ["agent.db", "agent.db-wal", "evidence.key"].map(|name| {
        let bytes = fs::read(dir.path().join(name)).expect(name);
        (name, bytes)
    });
    let length = left[1].1.len();
    let mut seen = Vec::new();
    for cut in (0..=length).step_by(4_096).chain([length]) {
        let copy = tempdir().expect("tempdir");
        for (name, bytes) in &left {
            let kept = if name.ends_with("-wal") { &bytes[..cut] } else { bytes.as_slice() };
            fs::write(copy.path().join(name), kept).expect("written");
        }
        let store = open(copy.path(), "boot-a");
        let buckets = store.ledger(ALL).expect("ledger");
        let turn = store.counting().expect("counting").map_or(0, |counting| counting["turn"].as_u64().expect("turn"));
        let expected = if turn == 0 { 0 } else { 40 * (1_000 + turn) };
        assert_eq!(sum(&buckets), expected, "a log of {cut} bytes");
        seen.push(turn);
    }
    assert_eq!((seen[0], *seen.last().expect("tried")), (0, 4), "{seen:?}");
    assert!((1..=4).all(|turn| seen.contains(&turn)), "{seen:?}");
}

#[test]
fn a_row_that_is_altered_hides_no_other() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    store.save_ledger(stamp(), &[bucket(1, 0, 7), bucket(1, 1, 8)], json!({})).expect("saved");
    store.tell_month(stamp(), period(), &usage(5), json!({})).expect("told");
    drop(store);
    edit(
        dir.path(),
        "UPDATE ledger SET class = 'clap' WHERE bytes = 7; UPDATE ledger SET worst_yuan = '1,5' WHERE bytes = 8; \
            UPDATE counting SET body = '{'; UPDATE months SET told = '{\"clip\": 5}'; \
            INSERT INTO demand (hour, demand, bytes, count) VALUES (5, 'none', 1, 1), (6, 'clip_1', -1, 1)",
    );
    let store = open(dir.path(), "boot-a");
    let rest = store.ledger(ALL).expect("ledger");
    assert_eq!((rest.len(), sum(&rest)), (2, 2_000));
    assert_eq!(store.counting().expect("counting"), None);
    assert_eq!(store.told_months().expect("months"), []);
    assert_eq!(store.demand(0).expect("demand").len(), 1, "that of the record");
}

#[test]
fn a_rescue_keeps_the_ledger_under_boots_of_a_former_store() {
    let dir = tempdir().expect("tempdir");
    let mut store = open(dir.path(), "boot-a");
    store.save_ledger(stamp(), &[bucket(1, 0, 7), bucket(1, 1, 8)], json!({ "n": 1 })).expect("saved");
    store.tell_month(stamp(), period(), &usage(5), json!({})).expect("told");
    for round in ["first", "second"] {
        let (months, demand) = (store.told_months().expect("months"), store.demand(0).expect("demand"));
        store.mark_damaged("test").expect("marked");
        drop(store);
        store = open(dir.path(), "boot-a");
        let kept = store.ledger(ALL).expect("ledger");
        let boots: Vec<i64> = kept.iter().map(|bucket| bucket.boot).collect();
        assert_eq!((boots.as_slice(), sum(&kept)), ([-1, -2, -3, -4].as_slice(), 2_015), "{round}");
        assert_eq!(kept[0].classes[TrafficClass::Text as usize], traffic(1_000));
        assert_eq!(store.counting().expect("counting"), Some(json!({ "n": 1 })), "nothing is missing");
        assert_eq!(store.told_months().expect("months"), months);
        assert_eq!(store.demand(0).expect("demand"), demand, "what waits again asks for nothing more");
        assert_eq!(losses(&store).last().expect("told")["lost"]["incomplete"], json!([]));
        // The new store's own hours look like none of the former's.
        assert_eq!(store.boot(), 1);
        store.save_ledger(stamp(), &[bucket(1, 0, 100)], json!({ "n": 1 })).expect("saved");
        assert_eq!(sum(&store.ledger(ALL).expect("ledger")), 3_115);
        store.save_ledger(stamp(), &[own_without_bytes()], json!({ "n": 1 })).expect("saved");
    }
}

fn own_without_bytes() -> Bucket {
    Bucket { classes: ByClass::default(), ..bucket(1, 0, 0) }
}

/// Damages a store with `buckets` and the counting `{"n": 1}`; what is told of the loss, and the store.
fn rescued(directory: &Path, damage: impl FnOnce(&Path)) -> (Store, Value) {
    let store = open(directory, "boot-a");
    let buckets: Vec<Bucket> = (0..200).map(|hour| bucket(1, hour, 7)).collect();
    store.save_ledger(stamp(), &buckets, json!({ "n": 1 })).expect("saved");
    store.mark_damaged("test").expect("marked");
    drop(store);
    damage(directory);
    let store = open(directory, "boot-a");
    let loss = losses(&store).remove(0);
    (store, loss["lost"]["incomplete"].clone())
}

#[test]
fn a_ledger_that_has_lost_a_page_is_marked_in_the_counting() {
    let dir = tempdir().expect("tempdir");
    let (store, incomplete) = rescued(dir.path(), |directory| {
        let database = Connection::open(directory.join("agent.db")).expect("database");
        let leaf = "SELECT pageno FROM dbstat WHERE name = 'ledger' AND pagetype = 'leaf' ORDER BY pageno LIMIT 1";
        let page = database.query_row(leaf, [], |row| row.get::<_, i64>(0));
        // Without that table in SQLite: the root, and with it all rows.
        let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'ledger'";
        let page = page.or_else(|_| database.query_row(root, [], |row| row.get(0))).expect("a page");
        drop(database);
        let file = fs::OpenOptions::new().write(true).open(directory.join("agent.db")).expect("open");
        file.write_all_at(&[0; 4096], u64::try_from(page - 1).expect("page") * 4096).expect("wipe");
    });
    assert_eq!(incomplete, json!(["ledger"]));
    assert!(store.ledger(ALL).expect("ledger").len() < 400);
    assert_eq!(store.counting().expect("counting"), Some(json!({ "n": 1, "ledger_incomplete": true })));
}

#[test]
fn a_ledger_with_an_altered_row_is_marked_and_so_is_one_without_a_counting() {
    let dir = tempdir().expect("tempdir");
    let alter = "UPDATE ledger SET yuan = 'q' WHERE position = 3; UPDATE counting SET body = 'q'";
    let (store, incomplete) = rescued(dir.path(), |directory| edit(directory, alter));
    assert_eq!(incomplete, json!(["ledger"]));
    assert_eq!(store.ledger(ALL).expect("ledger").len(), 399);
    assert_eq!(store.counting().expect("counting"), Some(json!({ "ledger_incomplete": true })));

    for gone in ["DROP TABLE ledger", "ALTER TABLE ledger RENAME COLUMN yuan TO yuam"] {
        let dir = tempdir().expect("tempdir");
        let damage = format!("{gone}; DELETE FROM counting");
        let (store, incomplete) = rescued(dir.path(), |directory| edit(directory, &damage));
        assert_eq!((incomplete, store.ledger(ALL).expect("ledger")), (json!(["ledger"]), Vec::new()), "{gone}");
        assert_eq!(store.counting().expect("counting"), Some(json!({ "ledger_incomplete": true })), "{gone}");
    }
}

#[test]
fn a_ledger_is_rescued_although_the_version_says_that_there_is_none() {
    let dir = tempdir().expect("tempdir");
    let (store, incomplete) = rescued(dir.path(), |directory| edit(directory, "PRAGMA user_version = 3"));
    assert_eq!(incomplete, json!([]));
    assert_eq!(store.ledger(ALL).expect("ledger").len(), 400);
}

#[test]
fn a_damaged_database_that_never_had_a_ledger_has_lost_none() {
    let dir = tempdir().expect("tempdir");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-5.db");
    fs::copy(fixture, dir.path().join("agent.db")).expect("copied");
    fs::write(dir.path().join("agent.db.is-damaged"), "test").expect("marked");
    let store = open(dir.path(), "boot-a");
    assert_eq!(losses(&store)[0]["lost"]["incomplete"], json!([]));
    assert_eq!((store.ledger(ALL).expect("ledger"), store.counting().expect("counting")), (Vec::new(), None));
}

#[test]
fn a_message_asks_once_however_often_it_is_sent() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let fire = store.open_alert(stamp(), body(RuleId::Fire), Some(snapshot(1))).expect("alert").alert_id;
    let phone = store.open_alert(stamp(), body(RuleId::Phone), None).expect("alert").alert_id;
    let clip_id = store.attach_clip(stamp(), &fire, clip(1), body(RuleId::Fire)).expect("clip").clip_id;
    store.attach_clip(later(HOUR_MS), &phone, clip(1), body(RuleId::Phone)).expect("clip");
    store.append_record(later(HOUR_MS), "clock.fix", json!({})).expect("record");

    let hour = Forecast::hour(stamp().wall);
    let mut expected: Vec<DemandRow> = Vec::new();
    let waiting = store.outbox_waiting(100).expect("outbox");
    for row in &waiting {
        let demand = Demand::of(row.kind, row.tier, false);
        let (hour, bytes) = (Forecast::hour(row.created), Wanted::message(row.kind, row.tier, row.bytes).bytes);
        match expected.iter_mut().find(|known| (known.hour, known.demand) == (hour, demand)) {
            Some(known) => (known.bytes, known.count) = (known.bytes + bytes, known.count + 1),
            None => expected.push(DemandRow { hour, demand, bytes, count: 1 }),
        }
    }
    let asked = || {
        let mut rows = store.demand(i64::MIN).expect("demand");
        rows.sort_by_key(|row| (row.hour, row.demand));
        rows
    };
    expected.sort_by_key(|row| (row.hour, row.demand));
    assert_eq!(asked(), expected);
    let counts: Vec<(i64, Demand, u64)> = expected.iter().map(|row| (row.hour - hour, row.demand, row.count)).collect();
    let phones_clip = Demand::of(OutboxKind::Clip, body(RuleId::Phone).tier, false);
    let of_the_next_hour = [(1, Demand::Text, 2), (1, phones_clip, 1)];
    let of_this_hour = [(0, Demand::Alert, 2), (0, Demand::Text, 1), (0, Demand::Snapshot1, 1), (0, Demand::Clip1, 1)];
    assert_eq!(counts, [of_this_hour.as_slice(), &of_the_next_hour].concat());

    for _ in 0..3 {
        store.outbox_sent(&waiting.iter().map(|row| row.id.clone()).collect::<Vec<_>>(), stamp().wall).expect("sent");
    }
    assert!(store.outbox_requeue(&fire.to_string()).expect("queued again"));
    deliver(&store, &[fire.to_string()], later(5)).expect("receipted");
    deliver_clip(&store, &clip_id, later(5)).expect("stored");
    assert_eq!(asked(), expected);
    assert_eq!(store.demand(hour + 1).expect("demand").len(), 2);
}

#[test]
fn a_figure_that_is_damaged_holds_no_message_up() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    store.append_record(stamp(), "clock.fix", json!({})).expect("record");
    drop(store);
    edit(dir.path(), "UPDATE demand SET bytes = 9223372036854775807, count = 9223372036854775807");
    let store = open(dir.path(), "boot-a");
    store.append_record(stamp(), "clock.fix", json!({})).expect("goes on");
    assert_eq!(store.outbox_waiting(10).expect("outbox").len(), 2);
}

fn period() -> Period {
    Period { from: Wall::from_unix_millis(1_793_462_400_000), to: Wall::from_unix_millis(1_796_054_400_000) }
}

fn usage(bytes: u64) -> Usage {
    Usage { classes: bucket(1, 0, bytes).classes }
}

#[test]
fn a_month_is_told_with_its_record_and_a_correction_takes_its_place() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let body = |now: &Usage, before: Option<&Usage>| month_record(period(), now, before).expect("news");
    let first = body(&usage(5), None);
    let id = store.tell_month(stamp(), period(), &usage(5), first.clone()).expect("told");
    assert_eq!(store.outbox_waiting(10).expect("outbox")[0].id, id.to_string());
    drop(store);
    let store = open(dir.path(), "boot-b");
    let told = store.told_months().expect("months");
    assert_eq!(told, [(period(), usage(5))]);
    assert_eq!(month_record(period(), &usage(5), Some(&told[0].1)), None, "nothing to tell again");
    let (earlier, correction) =
        (Period { from: wall().before(DAY * 90), to: period().from }, body(&usage(9), Some(&usage(5))));
    store.tell_month(stamp(), period(), &usage(9), correction.clone()).expect("told");
    store.tell_month(stamp(), earlier, &usage(1), json!({})).expect("told");
    assert_eq!(store.told_months().expect("months"), [(earlier, usage(1)), (period(), usage(9))]);
    assert_eq!(records(&store, "budget.month"), [first, correction, json!({})]);
}

#[test]
fn a_reader_sees_what_was_saved_beside_the_agent_and_without_it() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let reader = Store::read_only(dir.path()).expect("readable");
    store.save_ledger(stamp(), &[bucket(1, 0, 7)], json!({ "n": 1 })).expect("saved");
    store.tell_month(stamp(), period(), &usage(5), json!({})).expect("told");
    let check = |reader: &Reader| {
        assert_eq!(reader.ledger(ALL).expect("ledger"), [bucket(1, 0, 7)]);
        assert_eq!(reader.ledger(later(1).wall).expect("ledger"), []);
        assert_eq!(reader.counting().expect("counting"), Some(json!({ "n": 1 })));
        assert_eq!(reader.told_months().expect("months"), [(period(), usage(5))]);
        assert_eq!(reader.demand(0).expect("demand").len(), 1);
    };
    check(&reader);
    drop((store, reader));
    check(&Store::read_only(dir.path()).expect("readable"));
}

#[test]
fn a_reader_finds_nothing_of_it_in_a_database_of_the_version_before() {
    let dir = tempdir().expect("tempdir");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fs::copy(fixtures.join("version-5.db"), dir.path().join("agent.db")).expect("copied");
    let reader = Store::read_only(dir.path()).expect("readable");
    assert_eq!(reader.alerts(10).expect("alerts").len(), 1);
    assert_eq!((reader.ledger(ALL).expect("ledger"), reader.counting().expect("counting")), (Vec::new(), None));
    assert_eq!((reader.told_months().expect("months"), reader.demand(0).expect("demand")), (Vec::new(), Vec::new()));
    drop(reader);
    fs::copy(fixtures.join("version-4.db"), dir.path().join("agent.db")).expect("copied");
    assert!(matches!(Store::read_only(dir.path()), Err(StoreError::SchemaOlder { found: 4, .. })));
}

#[test]
fn old_rows_go_bit_by_bit_and_a_clock_that_is_wrong_takes_none() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let hours: Vec<Bucket> = (0..400).map(|hour| bucket(1, hour, 7)).collect();
    store.save_ledger(stamp(), &hours, json!({})).expect("saved");
    store.append_record(stamp(), "clock.fix", json!({})).expect("record");
    let newest = later(410 * DAY_MS);
    store.append_record(newest, "clock.fix", json!({})).expect("record");
    store.tidy(newest, PLENTY).expect("tidy");
    assert_eq!(store.ledger(ALL).expect("ledger").len(), 400, "no newer hour is known");
    store.save_ledger(newest, &[bucket(2, 410 * 24, 7)], json!({})).expect("saved");

    let untrusted = Stamp { quality: TimeQuality::Floor, ..newest };
    let wrong = Stamp { wall: wall(), ..newest };
    for now in [untrusted, wrong] {
        store.append_record(later(20 * 365 * DAY_MS), "clock.fix", json!({})).expect("record");
        store.tidy(now, PLENTY).expect("tidy");
        assert_eq!(store.ledger(ALL).expect("ledger").len(), 401);
    }
    store.tidy(newest, PLENTY).expect("tidy");
    let left = store.ledger(ALL).expect("ledger").len();
    assert!((401 - 250..=401 - 200).contains(&left), "a part in each call: {left} left");
    store.tidy(newest, PLENTY).expect("tidy");
    let left = store.ledger(ALL).expect("ledger");
    assert_eq!((left.len(), left[0].label), (401 - 240, later(10 * DAY_MS).wall), "400 days are kept");
    let hours: Vec<i64> = store.demand(i64::MIN).expect("demand").iter().map(|row| row.hour).collect();
    assert_eq!(hours, [Forecast::hour(newest.wall), Forecast::hour(later(20 * 365 * DAY_MS).wall)]);
}

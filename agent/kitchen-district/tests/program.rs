//! The program itself: killed like a power cut, its lines, its exit codes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod parts;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use parts::{DEVICE, Kitchen, Mosquitto, eventually, noise, rows};

fn program(broker: &Mosquitto, store: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_kitchen-district"))
        .args(["--broker", &broker.url(), "--json", "--store"])
        .arg(store)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Reads the events away, so that the program is not held up.
fn drain(child: &mut Child) -> std::thread::JoinHandle<Vec<serde_json::Value>> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    std::thread::spawn(move || {
        lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()).collect()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_district_acknowledged_it_has() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("district");
    let kitchen = Kitchen::open(&broker);
    let mut alerts = Vec::new();
    let mut pictures = 0;
    for round in 0..4 {
        for number in 0..60 {
            alerts.push(kitchen.outbox.add_alert());
            if number % 10 == 0 {
                kitchen.outbox.add_snapshot(alerts.last().unwrap(), noise(20_000, round * 100 + number));
                pictures += 1;
            }
        }
        kitchen.wake.notify_one();
        let mut child = program(&broker, &store);
        let events = drain(&mut child);
        let before = kitchen.outbox.count();
        eventually("some are receipted", || kitchen.outbox.count() + 20 < before).await;
        child.kill().unwrap();
        child.wait().unwrap();
        events.join().unwrap();
    }
    let mut child = program(&broker, &store);
    let events = drain(&mut child);
    kitchen.emptied().await;
    let mut stored = rows(&store, "SELECT id FROM records");
    stored.sort();
    alerts.sort();
    assert_eq!(stored, alerts);
    let paths = rows(&store, "SELECT path FROM snapshots");
    assert_eq!(paths.len(), pictures);
    assert!(paths.iter().all(|path| std::fs::read(path).unwrap().len() == 20_000));
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0), "ends in order on SIGTERM");
    let events = events.join().unwrap();
    let alert = events.iter().find(|event| event["event"] == "alert").unwrap();
    assert_eq!(
        (&alert["device"], &alert["rule"], &alert["type"]),
        (&DEVICE.into(), &"no_mask".into(), &"alert.opened".into())
    );
    assert_eq!(alert["record"]["id"], alert["id"]);
    kitchen.stop().await;
}

#[test]
fn what_is_not_there_yet_says_so_and_exits_with_2() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_kitchen-district")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for arguments in
        [&["send", DEVICE, "snapshot"][..], &["desired", DEVICE, "x"], &["feedback", DEVICE, "a", "confirmed"]]
    {
        let (code, text) = run(arguments);
        assert!(code == Some(2) && text.contains("not available in this version"), "{text}");
    }
    let (code, text) = run(&["--broker", "mqtt://broker.example", "--store", "/dev/null/x"]);
    assert!(code == Some(2) && text.contains("loopback"), "{text}");
    let (code, text) = run(&["--broker", "mqtt://127.0.0.1:1", "--store", "/dev/null/x"]);
    assert!(code == Some(2) && text.contains("/dev/null/x"), "{text}");
}

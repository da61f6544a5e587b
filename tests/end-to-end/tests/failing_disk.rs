//! A disk that fails under a running agent: it watches on, says so, and raises afterwards what it could not store.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::time::Duration;

use kitchen_test_support::{Agent, AgentConfig, District, Mosquitto, RtspCamera, preload, videos, wait_until};

const DEVICE: &str = "mh07-000123";
const FAULTY_DISK: &str = "agent/kitchen-store/tests/faulty_disk.c";
const BOUND: Duration = Duration::from_secs(90);

/// Every write below the agent's state fails with `errno` for a while.
fn an_alert_waits_for_the_disk(errno: i32) {
    let directory = tempfile::tempdir().unwrap();
    let fails = directory.path().join("the-disk-fails");
    let mut camera = RtspCamera::start(&[("view", &videos::people())]);
    let broker = Mosquitto::start();
    let mut district = District::start(&broker);
    let config = AgentConfig::new(DEVICE, directory.path())
        .rtsp_camera("stove", &camera.url("view"))
        .uplink(&broker)
        .set("uplink.keepalive_s", 10)
        .set("uplink.heartbeat_s", 10)
        .rule("camera_offline", "window_s = 3\ncool_down_s = 1")
        .environment("LD_PRELOAD", preload(FAULTY_DISK, directory.path()).to_str().unwrap())
        .environment("FAULT_DIRECTORY", directory.path().join("state").to_str().unwrap())
        .environment("FAULT_WHILE", fails.to_str().unwrap())
        .environment("FAULT_ERRNO", &errno.to_string());
    let mut agent = Agent::start(config);
    district.wait_for(BOUND, "a heartbeat that counts frames", |event| {
        event["heartbeat"]["body"]["cameras"][0]["frames"].as_u64().is_some_and(|frames| frames > 0)
    });
    fs::write(&fails, "").unwrap();
    camera.kill();
    let beats = |district: &District| district.events().iter().filter(|event| !event["heartbeat"].is_null()).count();
    let before = beats(&district);
    wait_until(BOUND, "the link stays up", || beats(&district) > before + 1);
    agent.assert_running();
    assert!(district.messages("alert.opened").is_empty(), "nothing is sent that was not stored");
    let status = agent.command(&["status", "--json"]);
    assert!(status.code <= 1, "{status:#?}");

    fs::remove_file(&fails).unwrap();
    let opened = district.wait_for_message(BOUND, "alert.opened", |_| true);
    assert_eq!(opened["body"]["rule"], "camera_offline");
    agent.assert_running();
}

#[test]
fn a_disk_with_errors() {
    const EIO: i32 = 5;
    an_alert_waits_for_the_disk(EIO);
}

#[test]
fn a_disk_that_turned_read_only() {
    const EROFS: i32 = 30;
    an_alert_waits_for_the_disk(EROFS);
}

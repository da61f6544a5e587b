//! A camera's main stream serves closer looks only: it is opened beside the sub-stream, and alerts need it not.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use kitchen_test_support::{Agent, AgentConfig, District, Mosquitto, RtspCamera, videos, wait_until};

const DEVICE: &str = "mh07-000123";
/// Model load, window and transfer on a busy machine.
const BOUND: Duration = Duration::from_secs(60);

fn config(directory: &Path, sub: &RtspCamera, main: &RtspCamera, broker: &Mosquitto) -> AgentConfig {
    AgentConfig::new(DEVICE, directory)
        .rtsp_camera("stove", &sub.url("people"))
        .main_stream(&main.url("main"))
        .uplink(broker)
        .rule("intrusion", "score = 0.5\nwindow_s = 3\ncool_down_s = 600\nschedule = \"00:00-24:00\"")
        .environment("KITCHEN_AGENT_LOG", "debug")
}

#[test]
fn the_main_stream_is_opened_and_its_loss_disturbs_no_alert() {
    let directory = tempfile::tempdir().unwrap();
    let sub = RtspCamera::start(&[("people", &videos::people_after_a_while())]);
    let mut main = RtspCamera::start(&[("main", &videos::people())]);
    let broker = Mosquitto::start();
    let mut district = District::start(&broker);
    let mut agent = Agent::start(config(directory.path(), &sub, &main, &broker));

    wait_until(BOUND, "the main stream is opened", || agent.log().contains("main stream opened"));
    main.kill();
    wait_until(BOUND, "its loss is told", || agent.log().contains("main stream lost"));
    let opened = district.wait_for_message(BOUND, "alert.opened", |_| true);
    assert_eq!(opened["body"]["rule"], "intrusion", "{opened:#}");

    let status = agent.command(&["status", "--json"]).json();
    assert_eq!(status["cameras"][0]["state"], "online", "the camera is its sub-stream: {status:#}");
    assert!(agent.terminate().success());
    assert!(!agent.log().contains(RtspCamera::PASSWORD), "a password in the log:\n{}", agent.log());
}

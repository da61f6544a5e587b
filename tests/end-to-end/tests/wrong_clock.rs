//! A box whose clock starts in 1970, and one whose clock jumps by days and decades: it connects, keeps the order, and loses
//! nothing.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use kitchen_core::time::Wall;
use kitchen_core::wire::MessageId;
use kitchen_test_support::{Agent, AgentConfig, District, Mosquitto, preload, videos, wait_until};
use serde_json::Value;

const DEVICE: &str = "mh07-000123";
const WRONG_CLOCK: &str = "tests/end-to-end/tests/wrong_clock.c";
const BOUND: Duration = Duration::from_secs(90);
const DAY_S: i64 = 86_400;
const TEN_YEARS_S: i64 = 3650 * DAY_S;

struct Site {
    agent: Agent,
    district: District,
    offset: PathBuf,
    _broker: Mosquitto,
    _directory: tempfile::TempDir,
}

impl Site {
    fn start(offset_s: i64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let broker = Mosquitto::start();
        let district = District::start(&broker);
        let offset = directory.path().join("clock-offset");
        fs::write(&offset, offset_s.to_string()).unwrap();
        let config = AgentConfig::new(DEVICE, directory.path())
            .uplink(&broker)
            .set("uplink.heartbeat_s", 10)
            .camera("stove", &format!("file://{}", videos::people().display()))
            .rule("intrusion", "score = 0.5\nwindow_s = 2\ncool_down_s = 1\nevidence = \"snapshot\"")
            .environment("LD_PRELOAD", preload(WRONG_CLOCK, directory.path()).to_str().unwrap())
            .environment("CLOCK_OFFSET_FILE", offset.to_str().unwrap());
        Self { agent: Agent::start(config), district, offset, _broker: broker, _directory: directory }
    }

    fn jump(&self, offset_s: i64) {
        // Renamed, so that it is never read half written.
        let aside = self.offset.with_extension("new");
        fs::write(&aside, offset_s.to_string()).unwrap();
        fs::rename(&aside, &self.offset).unwrap();
    }

    fn opened(&self) -> Vec<Value> {
        self.district.messages("alert.opened")
    }

    fn heartbeats(&self) -> usize {
        self.district.events().iter().filter(|event| !event["heartbeat"].is_null()).count()
    }

    fn wait_for_a_further_alert(&self) {
        let known = self.opened().len();
        wait_until(BOUND, "a further alert at the district", || self.opened().len() > known);
    }
}

fn now_s() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

#[test]
fn a_box_that_starts_in_1970_connects_by_its_floor_and_says_so() {
    let mut site = Site::start(-now_s());
    let opened = site.district.wait_for_message(BOUND, "alert.opened", |_| true);
    assert_eq!(opened["time_quality"], "floor");
    let time: Wall = opened["time"].as_str().unwrap().parse().unwrap();
    let built: Wall = "2026-11-24T00:00:00Z".parse().unwrap();
    assert!(time >= built, "no label before the program was built: {time}");
    site.agent.assert_running();
}

#[test]
fn jumps_of_days_and_decades_change_no_order_and_lose_nothing() {
    let mut site = Site::start(0);
    site.wait_for_a_further_alert();
    for offset_s in [DAY_S, -DAY_S, TEN_YEARS_S, -TEN_YEARS_S, 0] {
        site.jump(offset_s);
        let beats = site.heartbeats();
        wait_until(BOUND, "it goes on", || site.heartbeats() > beats);
        // Somebody stands in the picture all the time: the next alert comes with the next start.
        site.agent.kill();
        site.agent.restart();
        site.wait_for_a_further_alert();
    }
    let ids: Vec<MessageId> =
        site.opened().iter().map(|alert| alert["id"].as_str().unwrap().parse().unwrap()).collect();
    let order: Vec<(u32, u64)> = ids.iter().map(|id| (id.boot, id.sequence)).collect();
    assert!(order.is_sorted(), "as they were opened, whatever the clock showed: {order:?}");
    wait_until(BOUND, "every alert of the box is at the district", || {
        let box_side = site.agent.alerts();
        let arrived = site.opened();
        box_side.iter().all(|alert| arrived.iter().any(|opened| opened["id"] == alert["alert_id"]))
    });
    assert_eq!(site.district.messages("expired"), Vec::<Value>::new(), "a jump expires nothing");
    assert_eq!(site.district.events_of("conflict"), Vec::<Value>::new());
}

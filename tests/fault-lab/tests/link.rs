//! The box behind a bad line to a real Mosquitto: whatever the store took arrives, byte for byte.
//!
//! `FAULT_LINK_ROUNDS` repeats what is sent (1).

use std::env;
use std::time::{Duration, Instant};

use kitchen_fault_lab::link_proxy::{Line, LinkProxy};
use kitchen_fault_lab::site::{Site, Urls};
use kitchen_test_support::Mosquitto;

/// For each round.
const BOUND: Duration = Duration::from_secs(90);
const SEED: u64 = 20_261_127;

struct Behind {
    name: &'static str,
    proxy: LinkProxy,
    site: Site,
    rounds: u32,
    started: Instant,
    _broker: Mosquitto,
}

impl Behind {
    async fn start(name: &'static str, line: Line) -> Self {
        let broker = Mosquitto::plain();
        let proxy = LinkProxy::start(broker.port(), line, SEED).await.expect("loopback has a free port");
        let urls = Urls { of_box: proxy.url(), of_district: broker.url() };
        let site = Site::start(urls, SEED);
        let rounds = env::var("FAULT_LINK_ROUNDS").map_or(1, |text| text.parse().expect("FAULT_LINK_ROUNDS"));
        Self { name, proxy, site, rounds, started: Instant::now(), _broker: broker }
    }

    async fn put(&mut self, pictures: usize, picture_bytes: usize, clip_bytes: Option<usize>) {
        for _ in 0..pictures {
            self.site.put_alert(None).await;
            self.site.put_alert(Some(picture_bytes)).await;
            self.site.put_record().await;
        }
        if let Some(bytes) = clip_bytes {
            self.site.put_clip(bytes).await;
        }
    }

    async fn assert_all_arrives(self) {
        let left = self.site.emptied(BOUND * self.rounds).await;
        let (accepted, loads, cuts) = (self.site.accepted(), self.site.loads(), self.proxy.cuts());
        eprintln!(
            "{}: {accepted} messages in {:.1?}, {} sent again, {cuts} connections cut",
            self.name,
            self.started.elapsed(),
            loads.saturating_sub(accepted)
        );
        assert_eq!(left, Vec::<String>::new(), "still waits");
        assert_eq!(self.site.set_aside(), Vec::<String>::new(), "set aside");
        assert_eq!(self.site.findings(None).await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_with_delay_and_stalls_delivers_all() {
    let delay = Duration::from_millis(300);
    let line = Line { delay, stalls_percent: 3, stall_ms: 1_000..5_000, ..Line::default() };
    let mut behind = Behind::start("300 ms and stalls", line).await;
    for _ in 0..behind.rounds {
        behind.put(6, 15_000, Some(70_000)).await;
    }
    behind.assert_all_arrives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_32_kbps_delivers_a_clip_between_alerts() {
    let line = Line { bits_per_second: Some(32_000), delay: Duration::from_millis(50), ..Line::default() };
    let mut behind = Behind::start("32 kbps", line).await;
    for _ in 0..behind.rounds {
        behind.put(0, 0, Some(70_000)).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        behind.put(3, 6_000, None).await;
    }
    behind.assert_all_arrives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_cut_at_any_byte_delivers_all() {
    let line = Line { cut_after_bytes: Some(1_000..120_000), ..Line::default() };
    let mut behind = Behind::start("cuts", line).await;
    behind.site.set_speed(8);
    for _ in 0..behind.rounds {
        behind.put(6, 10_000, Some(150_000)).await;
    }
    behind.assert_all_arrives().await;
}

/// The line is dead for 8 hours of the box's clock, then for 3 more; alerts go on being raised.
#[tokio::test(flavor = "multi_thread")]
async fn outages_of_hours_lose_nothing() {
    const SPEED: u32 = 1800;
    let mut behind = Behind::start("hours without a line", Line::default()).await;
    for _ in 0..behind.rounds {
        behind.put(1, 20_000, Some(300_000)).await;
        for dark in [Duration::from_secs(16), Duration::from_secs(6)] {
            behind.proxy.go_dark(dark);
            behind.site.set_speed(SPEED);
            let end = Instant::now() + dark;
            while Instant::now() < end {
                behind.put(1, 10_000, None).await;
                behind.site.nudge();
                tokio::time::sleep(Duration::from_millis(900)).await;
            }
            behind.site.set_speed(8);
            behind.put(0, 0, Some(100_000)).await;
        }
    }
    behind.assert_all_arrives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outages_hold_everything_up_and_lose_nothing() {
    let mut behind = Behind::start("outages", Line::default()).await;
    for _ in 0..behind.rounds {
        behind.put(2, 20_000, Some(500_000)).await;
        behind.proxy.go_dark(Duration::from_secs(8));
        behind.put(2, 20_000, None).await;
        tokio::time::sleep(Duration::from_secs(9)).await;
        behind.put(2, 20_000, Some(500_000)).await;
        behind.proxy.go_dark(Duration::from_secs(8));
        behind.proxy.cut();
        behind.put(2, 20_000, None).await;
    }
    behind.assert_all_arrives().await;
}

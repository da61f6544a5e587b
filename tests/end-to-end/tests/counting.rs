//! What the agent believes to have sent, beside what passed: a real box in a network of its own, its ledger compared with
//! the counters of the only cable. With an interface within 2 %, by the model alone within 5 %, across kills, lost
//! connections, a cut cable and downloads; and what an idle box needs in a year, by its parts.
//!
//! An operator counts IP packets. `budget.interface` is compared with what that interface counts; the model with the IP
//! packets alone, without the 14 bytes of Ethernet that a cable adds to each.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells its figures")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::ops::RangeBounds;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kitchen_core::alert::AlertRecord;
use kitchen_core::budget::{TrafficClass, UNSAVED_BYTES};
use kitchen_core::rules::RuleId;
use kitchen_core::time::{Mono, Stamp, TimeQuality, Wall};
use kitchen_store::{OpenOptions, Store};
use kitchen_test_support::{
    Agent, AgentConfig, Counted, District, Mosquitto, Network, stored_alert, system, videos, wait_until,
};
use serde_json::json;

const DEVICE: &str = "mh07-000123";
const BOUND: Duration = Duration::from_secs(60);
/// The shortest that the configuration allows.
const KEEPALIVE_S: u32 = 10;
const HEARTBEAT_S: u32 = 10;
/// Longer than a round trip, shorter than the time between keepalive and heartbeat.
const PAUSE: Duration = Duration::from_millis(1500);

/// How often the agent reads its interface.
const READ_EVERY: Duration = Duration::from_secs(10);

const ALERTS: usize = 30;
const CLIPS: usize = 8;

/// How the box counts, and by how much it may be off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Interface,
    Model,
}

impl By {
    const BOTH: [Self; 2] = [Self::Interface, Self::Model];

    const fn name(self) -> &'static str {
        match self {
            Self::Interface => "at the interface",
            Self::Model => "by the model",
        }
    }

    const fn tolerance(self) -> f64 {
        match self {
            Self::Interface => 0.02,
            Self::Model => 0.05,
        }
    }

    /// What is compared with its ledger.
    fn truth(self, counted: Counted) -> u64 {
        match self {
            Self::Interface => counted.bytes,
            Self::Model => counted.ip_bytes(),
        }
    }
}

/// A box, its cable, and the district's end.
struct Site {
    agent: Agent,
    district: District,
    broker: Mosquitto,
    network: Network,
    by: By,
    directory: tempfile::TempDir,
}

impl Site {
    /// The box starts with what `fill` puts into its store.
    fn start(by: By, fill: impl FnOnce(&Store)) -> Self {
        Self::start_as(by, fill, |config| config)
    }

    fn start_as(by: By, fill: impl FnOnce(&Store), configure: impl FnOnce(AgentConfig) -> AgentConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let network = Network::start();
        let broker = Mosquitto::start_at(network.host().into());
        let district = District::start(&broker);
        let folder = directory.path().join("state/store");
        fs::create_dir_all(&folder).unwrap();
        let store = Store::open(OpenOptions { dir: &folder, device: DEVICE, boot_id: "boot-before" }).unwrap();
        fill(&store);
        drop(store);
        let config = AgentConfig::new(DEVICE, directory.path())
            .network(&network)
            .uplink(&broker)
            .set("uplink.keepalive_s", i64::from(KEEPALIVE_S))
            .set("uplink.heartbeat_s", i64::from(HEARTBEAT_S))
            // Nobody is there: the camera costs nothing.
            .camera("stove", "rtsp://127.0.0.1:9/none");
        let config = match by {
            By::Interface => config.set("budget.interface.name", Network::INTERFACE),
            By::Model => config,
        };
        Self { agent: Agent::start(configure(config)), district, broker, network, by, directory }
    }

    fn folder(&self) -> PathBuf {
        self.directory.path().join("state/store")
    }

    /// The ledger's rows.
    fn ledger(&self) -> BTreeMap<TrafficClass, u64> {
        let buckets = Store::read_only(&self.folder()).unwrap().ledger(Wall::from_unix_millis(i64::MIN)).unwrap();
        let mut sums = BTreeMap::new();
        for bucket in &buckets {
            for (class, traffic) in TrafficClass::ALL.into_iter().zip(bucket.classes) {
                *sums.entry(class).or_default() += traffic.bytes;
            }
        }
        sums
    }

    /// `budget --json`.
    fn report(&self) -> BTreeMap<TrafficClass, u64> {
        let report = self.agent.command(&["budget", "--json"]).expect_code(0).json();
        let classes = report["classes"].as_object().unwrap().iter();
        classes.map(|(class, sums)| (class.parse().unwrap(), sums["bytes"].as_u64().unwrap())).collect()
    }

    fn waiting(&self) -> Option<u64> {
        let status = self.agent.command(&["status", "--json"]);
        if status.code > 1 { None } else { status.json()["outbox"]["count"].as_u64() }
    }

    fn wait_until_delivered(&self) {
        wait_until(BOUND, "nothing waits any more", || self.waiting() == Some(0));
    }

    fn heartbeats(&self) -> usize {
        self.district.events_of("heartbeat").len()
    }

    fn wait_for_heartbeats(&self, count: usize) {
        let before = self.heartbeats();
        wait_until(BOUND, "heartbeats", || self.heartbeats() >= before + count);
    }

    /// The running agent's figures beside what passed. It reads its interface every ten seconds.
    fn assert_report_is_near(&self, what: &str) -> BTreeMap<TrafficClass, u64> {
        let began = Instant::now();
        let mut seen = (Counted::default(), BTreeMap::new());
        wait_until(BOUND, what, || {
            let passed = self.network.counted();
            seen = (passed, self.report());
            let is_quiet = passed == self.network.counted();
            is_quiet && (self.is_near(&seen) || began.elapsed() > READ_EVERY * 2)
        });
        self.assert_near(what, &seen);
        seen.1
    }

    /// The stopped agent's rows beside what passed.
    fn assert_ledger_is_near(&self, what: &str) {
        self.assert_near(what, &(self.network.counted_when_quiet(PAUSE, BOUND), self.ledger()));
    }

    fn is_near(&self, (passed, sums): &(Counted, BTreeMap<TrafficClass, u64>)) -> bool {
        error(total(sums), self.by.truth(*passed)).abs() <= self.by.tolerance()
    }

    fn assert_near(&self, what: &str, seen: &(Counted, BTreeMap<TrafficClass, u64>)) {
        tell(what, self.by, seen.0, &seen.1);
        assert!(self.is_near(seen), "{what}, {}: {seen:?}", self.by.name());
    }

    /// Another client of the district's speaks to the box: acknowledgements of what it never sent.
    fn acknowledge_unknown(&mut self, messages: usize, ids: usize) {
        // Both have the same client id, and a broker lets the newer one stay.
        self.district.kill();
        let identity = self.broker.district().unwrap();
        let url: Vec<String> = self.broker.url().split([':', '/']).map(str::to_owned).collect();
        let mut command = Command::new(system("mosquitto_pub", "mosquitto-clients"));
        command.args(["-h", &url[3], "-p", &url[4], "-V", "5", "-q", "1", "-i", "district", "-l"]);
        command.arg("-t").arg(format!("kitchen/v1/{DEVICE}/down/ack"));
        command.arg("--cafile").arg(&identity.ca).arg("--cert").arg(&identity.certificate);
        command.arg("--key").arg(&identity.key).stdin(Stdio::piped());
        let mut publisher = command.spawn().unwrap();
        let mut lines = publisher.stdin.take().unwrap();
        for message in 0..messages {
            let ids: Vec<String> = (0..ids).map(|id| format!("zzzzzz.{message}.{id}")).collect();
            writeln!(lines, "{}", json!({ "v": 1, "ids": ids })).unwrap();
        }
        drop(lines);
        assert!(publisher.wait().unwrap().success(), "mosquitto_pub");
        let _ = self.network.counted_when_quiet(PAUSE, BOUND);
        self.district.restart();
    }

    fn wait_until_connected(&self) {
        wait_until(BOUND, "the box is connected", || {
            let status = self.agent.command(&["status", "--json"]);
            status.code <= 1 && !status.json()["link"]["connected_since"].is_null()
        });
    }
}

fn total(sums: &BTreeMap<TrafficClass, u64>) -> u64 {
    sums.values().sum()
}

fn error(ledger: u64, truth: u64) -> f64 {
    ledger as f64 / truth as f64 - 1.0
}

fn tell(what: &str, by: By, passed: Counted, sums: &BTreeMap<TrafficClass, u64>) {
    let truth = by.truth(passed);
    let ledger = total(sums);
    let of_class = |(class, bytes): (&TrafficClass, &u64)| format!("{class} {bytes}");
    let classes: Vec<String> = sums.iter().filter(|(_, bytes)| **bytes > 0).map(of_class).collect();
    println!(
        "{what}, {}: {ledger} of {truth} ({:+.2} %); {}; {} frames",
        by.name(),
        error(ledger, truth) * 100.0,
        classes.join(", "),
        passed.frames
    );
}

/// Bytes that nobody can compress, of sizes that repeat from run to run.
fn noise(random: &mut fastrand::Rng, length: impl RangeBounds<usize>) -> Vec<u8> {
    let length = random.usize(length);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

fn now() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let wall = Wall::from_unix_millis(i64::try_from(since.as_millis()).unwrap());
    Stamp { mono: Mono::from_millis(60_000), wall, quality: TimeQuality::Ntp }
}

fn store_alert(store: &Store, rule: RuleId, picture: Option<Vec<u8>>, clip: Option<Vec<u8>>, is_closed: bool) {
    let stamp = now();
    let (alert_id, body) = stored_alert(store, stamp, rule, picture, clip);
    if is_closed {
        store.append_alert_record(stamp, &alert_id, AlertRecord::Closed, body).unwrap();
    }
}

/// A busy week's evidence.
fn mix(store: &Store) {
    let mut random = fastrand::Rng::with_seed(7);
    for alert in 0..ALERTS {
        let rule = [RuleId::Rodent, RuleId::Phone, RuleId::NoHat][alert % 3];
        let picture = noise(&mut random, 20_000..40_000);
        let clip = (alert < CLIPS).then(|| noise(&mut random, 200_000..700_000));
        store_alert(store, rule, Some(picture), clip, true);
    }
}

fn sends_receives_and_reconnects(by: By) {
    let mut site = Site::start(by, mix);
    site.wait_until_delivered();
    assert_eq!(site.district.messages("alert.opened").len(), ALERTS);
    let sums = site.assert_report_is_near("a busy week");
    let unknown = sums[&TrafficClass::Other] as f64 / total(&sums) as f64;
    assert!(unknown <= by.tolerance(), "each byte has its class: {sums:?}");
    site.acknowledge_unknown(20, 1500);
    site.assert_report_is_near("and downloads");
    for _ in 0..2 {
        site.broker.kill();
        site.broker.restart();
        site.wait_until_connected();
    }
    site.assert_report_is_near("and two lost connections");
    site.wait_for_heartbeats(2);
    site.assert_report_is_near("and a quiet while");
    assert!(site.agent.terminate().success());
    site.assert_ledger_is_near("in the end");
}

#[test]
fn at_an_interface_the_ledger_has_what_passed_within_two_per_cent() {
    sends_receives_and_reconnects(By::Interface);
}

#[test]
fn by_the_model_the_ledger_has_what_passed_within_five_per_cent() {
    sends_receives_and_reconnects(By::Model);
}

/// Never less than what passed by more than may be unsaved; at an interface nothing is lost within a boot.
fn is_killed(by: By) {
    let mut site = Site::start(by, mix);
    for share in [3, 2] {
        let all = u64::try_from(ALERTS * 30_000 + CLIPS * 450_000).unwrap();
        wait_until(BOUND, "the box is in the middle of it", || site.network.counted().bytes >= all / share);
        site.agent.kill();
        let passed = site.by.truth(site.network.counted_when_quiet(PAUSE, BOUND));
        let saved = total(&site.ledger());
        println!("killed, {}: {saved} saved of {passed}", by.name());
        assert!(saved + UNSAVED_BYTES >= passed, "{} bytes lack, {}", passed - saved, by.name());
        site.agent.restart();
    }
    site.wait_until_delivered();
    assert!(site.agent.terminate().success());
    let passed = site.network.counted_when_quiet(PAUSE, BOUND);
    let sums = site.ledger();
    tell("killed twice", by, passed, &sums);
    let (ledger, truth) = (total(&sums), by.truth(passed));
    match by {
        By::Interface => assert!(error(ledger, truth).abs() <= by.tolerance(), "{sums:?} for {passed:?}"),
        By::Model => {
            let unknown = 2 * UNSAVED_BYTES;
            assert_eq!(sums[&TrafficClass::Other], unknown, "what may have passed unsaved is charged");
            let least = truth as f64 * (1.0 - by.tolerance());
            let most = (truth + unknown) as f64 * (1.0 + by.tolerance());
            assert!((least..=most).contains(&(ledger as f64)), "{sums:?} for {passed:?}");
        }
    }
}

#[test]
fn what_an_agent_killed_in_the_middle_had_sent_is_charged() {
    std::thread::scope(|scope| {
        By::BOTH.map(|by| scope.spawn(move || is_killed(by))).map(|thread| thread.join().unwrap())
    });
}

fn loses_its_cable(by: By) {
    let mut site = Site::start(by, mix);
    site.wait_until_delivered();
    site.network.cut();
    wait_until(BOUND, "the box notices", || {
        let status = site.agent.command(&["status", "--json"]);
        status.code <= 1 && status.json()["link"]["connected_since"].is_null()
    });
    site.network.join();
    site.wait_until_connected();
    site.assert_report_is_near("after a cut cable");
    assert!(site.agent.terminate().success());
    site.assert_ledger_is_near("after a cut cable, in the end");
}

#[test]
fn a_cut_cable_costs_no_byte_that_is_not_counted() {
    std::thread::scope(|scope| {
        By::BOTH.map(|by| scope.spawn(move || loses_its_cable(by))).map(|thread| thread.join().unwrap())
    });
}

/// What an idle, connected box may need in a year with one lost connection a day.
const QUIET_YEAR_BYTES: u64 = 60_000_000;
/// As the agent comes.
const KEEPALIVES_A_YEAR: u64 = 365 * 86_400 / 300;
const HEARTBEATS_A_YEAR: u64 = 365 * 86_400 / 900;
const CONNECTIONS_A_YEAR: u64 = 365;

/// What passed, as IP packets, and what the model took it for.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    passed: u64,
    modelled: u64,
}

impl Part {
    fn since(self, before: Self) -> Self {
        Self { passed: self.passed - before.passed, modelled: self.modelled - before.modelled }
    }

    fn mean(parts: &[Self]) -> Self {
        let mean = |of: fn(&Self) -> u64| parts.iter().map(of).sum::<u64>().div_ceil(parts.len() as u64);
        Self { passed: mean(|part| part.passed), modelled: mean(|part| part.modelled) }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (model {:+.1} %)", self.passed, error(self.modelled, self.passed) * 100.0)
    }
}

impl Site {
    fn part(&self, passed: Counted) -> Part {
        let mut sums = self.report();
        // What may have passed unsaved before a kill.
        sums.remove(&TrafficClass::Other);
        Part { passed: passed.ip_bytes(), modelled: total(&sums) }
    }

    /// All until what comes next has passed, and whether that was a heartbeat.
    fn next_burst(&self) -> (Part, bool) {
        let (before, heartbeats) = (self.network.counted(), self.heartbeats());
        wait_until(BOUND, "something passes", || self.network.counted() != before);
        let passed = self.network.counted_when_quiet(PAUSE, BOUND);
        (self.part(passed), self.heartbeats() > heartbeats)
    }

    /// All until a box has connected and has sent what it has, before its first heartbeat.
    fn connected_and_quiet(&self) -> Part {
        self.wait_until_connected();
        self.wait_until_delivered();
        self.part(self.network.counted_when_quiet(PAUSE, BOUND))
    }
}

/// Keepalive, heartbeat, and connections without and with a waiting session.
fn idle_parts() -> [Part; 4] {
    let mut site = Site::start(By::Model, |_| ());
    let first = site.connected_and_quiet();
    let (mut keepalives, mut heartbeats, mut before) = (Vec::new(), Vec::new(), first);
    while keepalives.len() < 2 || heartbeats.len() < 2 {
        let (after, is_heartbeat) = site.next_burst();
        let burst = after.since(before);
        if is_heartbeat { &mut heartbeats } else { &mut keepalives }.push(burst);
        before = after;
    }
    site.agent.kill();
    let passed = site.network.counted_when_quiet(PAUSE, BOUND);
    let before = Part { passed: passed.ip_bytes(), modelled: total(&site.ledger()) };
    site.agent.restart();
    let again = site.connected_and_quiet().since(before);
    [Part::mean(&keepalives), Part::mean(&heartbeats), first, again]
}

/// One alert's text that comes while nothing else passes.
fn lone_text() -> Part {
    let configure = |config: AgentConfig| {
        let config = config.set("uplink.keepalive_s", 300).set("uplink.heartbeat_s", 900);
        config.rule("camera_offline", "window_s = 10")
    };
    let site = Site::start_as(By::Model, |_| (), configure);
    let (mut before, mut after) = (Part::default(), site.connected_and_quiet());
    while site.district.messages("alert.opened").is_empty() {
        before = after;
        after = site.next_burst().0;
    }
    after.since(before)
}

/// A box that connects and sends one alert, opened and closed, with what it has.
fn one_alert(picture: Option<Vec<u8>>, clip: Option<Vec<u8>>) -> Part {
    let site = Site::start(By::Model, |store| store_alert(store, RuleId::Rodent, picture, clip, true));
    site.connected_and_quiet()
}

#[test]
fn an_idle_box_needs_less_than_sixty_megabytes_a_year() {
    const PICTURE_BYTES: usize = 38_000;
    let picture = noise(&mut fastrand::Rng::with_seed(7), PICTURE_BYTES..=PICTURE_BYTES);
    let clip = fs::read(videos::ten_seconds()).unwrap();
    let clip_bytes = clip.len();
    let ([keepalive, heartbeat, connection, with_session], text, [texts, with_picture, with_clip]) =
        std::thread::scope(|scope| {
            let (idle, text) = (scope.spawn(idle_parts), scope.spawn(lone_text));
            let alerts = [(None, None), (Some(picture), None), (None, Some(clip))]
                .map(|(picture, clip)| scope.spawn(|| one_alert(picture, clip)));
            (idle.join().unwrap(), text.join().unwrap(), alerts.map(|alert| alert.join().unwrap()))
        });
    println!("bytes of IP packets in both directions, TLS 1.3, certificates of both sides:");
    println!("keepalive {keepalive}, heartbeat {heartbeat}");
    println!("connection with birth and will {connection}, with a waiting session {with_session}");
    println!("text of an alert {text}; two at once {}", texts.since(connection));
    println!("picture of {PICTURE_BYTES} bytes {}", with_picture.since(texts));
    println!("clip of 10 s, {clip_bytes} bytes, with its text {}", with_clip.since(texts));
    let year = |part: Part, count: u64| count * part.passed;
    let parts =
        [year(keepalive, KEEPALIVES_A_YEAR), year(heartbeat, HEARTBEATS_A_YEAR), year(connection, CONNECTIONS_A_YEAR)];
    let bytes = parts.iter().sum::<u64>();
    println!("a quiet year {bytes}: keepalives {}, heartbeats {}, a connection a day {}", parts[0], parts[1], parts[2]);
    assert!(bytes <= QUIET_YEAR_BYTES, "{bytes} bytes a year");
    for (part, name) in [(keepalive, "keepalive"), (heartbeat, "heartbeat"), (connection, "connection"), (text, "text")]
    {
        assert!(error(part.modelled, part.passed).abs() <= By::Model.tolerance(), "{name}: {part}");
    }
}

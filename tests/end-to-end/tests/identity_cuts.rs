//! Cuts at every step between a claim or an old certificate and the new one in use, and an authority that comes and goes:
//! a box has one identity that is whole, and the district gets everything. Certificates of a minute: a year of them in a
//! minute. `RENEWAL_ROUNDS=90` makes it an hour.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells its figures")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, UNIX_EPOCH};

use kitchen_test_support::{Agent, AgentConfig, Authority, Bureau, claim_of, wait_until};
use kitchen_uplink::identity::IdentityFolder;

/// In the order in which they come.
const STEPS: [&str; 5] = ["identity-key", "identity-written", "identity-named", "identity-linked", "identity-current"];
/// Nobody.
const OWNER: u32 = 65_534;
/// Comes only with a claim: the certificate is in use, the claim is still there.
const LAST_STEP: &str = "identity-in-use";
const BOUND: Duration = Duration::from_secs(60);
/// A certificate's lifetime, and the time that a box needs to notice that the authority is there again.
const RENEWAL_BOUND: Duration = Duration::from_secs(90);
const LIFETIME: &str = "1min";
/// The authority is away for nearly a third of each lifetime: a box that would have asked the moment it went has a third
/// left, and needs a moment of that.
const AWAY: Duration = Duration::from_secs(18);
const THERE: Duration = Duration::from_secs(42);
/// A camera that is not there is an alert, at each start of the agent anew.
const OFFLINE: &str = "window_s = 3\ncool_down_s = 1";

fn config(folder: &Path) -> AgentConfig {
    AgentConfig::unenrolled(folder)
        .camera("stove", "rtsp://127.0.0.1:9/none")
        .rule("camera_offline", OFFLINE)
        .set("uplink.heartbeat_s", 10)
}

fn device(number: usize) -> String {
    format!("mh07-{number:06}")
}

/// What lies in the box's folder of its identity.
struct Seen {
    folder: PathBuf,
    identity: IdentityFolder,
}

impl Seen {
    fn of(config: &AgentConfig) -> Self {
        let state = config.directory().join("state");
        Self { folder: state.join("identity"), identity: IdentityFolder::of(&state) }
    }

    fn generations(&self) -> BTreeSet<u64> {
        let names = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| name.strip_prefix('g').and_then(|number| number.parse().ok())).collect()
    }

    fn in_use(&self) -> Option<u64> {
        self.identity.current_name().map(|name| name.to_str().unwrap()[1..].parse().unwrap())
    }

    /// Whether a box that is stopped at `step` on its way to the next generation has come there.
    fn is_at(&self, step: &str, next: u64) -> bool {
        match step {
            "identity-key" => self.folder.join("next/device.key").exists(),
            "identity-written" => self.folder.join("next/claim-id").exists(),
            "identity-named" => self.generations().contains(&next),
            "identity-linked" => self.folder.join("previous").exists(),
            "identity-current" => self.in_use() == Some(next),
            other => panic!("{other} is no step"),
        }
    }

    /// Milliseconds since the certificate in use has expired; below zero while it holds. Panics when it is not whole.
    fn expired_ms(&self) -> i64 {
        let held = self.identity.current().unwrap().unwrap();
        assert!(held.key_file().exists() && self.identity.key_file().exists(), "the key is there");
        let now = i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        now - held.validity.not_after.as_unix_millis()
    }

    fn belongs_to(&self, user: u32) -> bool {
        let files = ["device.key", "device.pem", "enrolment.json"].map(|name| self.folder.join("current").join(name));
        files.iter().chain([&self.folder]).all(|path| fs::metadata(path).unwrap().uid() == user)
    }

    fn is_only(&self, generation: u64) -> bool {
        self.generations() == BTreeSet::from([generation]) && !self.folder.join("previous").exists()
    }
}

#[test]
fn an_enrolment_that_is_cut_at_any_step_is_finished_by_the_next_try() {
    let mut bureau = Bureau::open("365d");
    let steps: Vec<&str> = STEPS.into_iter().chain([LAST_STEP]).collect();
    let devices: Vec<String> = (0..steps.len()).map(device).collect();
    let claims = bureau.authority.batch(&devices.iter().map(String::as_str).collect::<Vec<_>>());
    bureau.authority.serve();
    let directory = tempfile::tempdir().unwrap();
    for (step, device) in steps.iter().zip(&devices) {
        let config = config(&directory.path().join(step));
        config.write();
        // As on a box, where root enrols and the agent's user has the state.
        let state = config.directory().join("state");
        fs::create_dir(&state).unwrap();
        chown(&state, Some(OWNER), Some(OWNER)).unwrap();
        let claim = claim_of(&claims, device);
        let cut = config.clone().environment("FAILPOINTS", &format!("{step}=panic"));
        let cut = cut.run(&["enrol", "--claim", claim.to_str().unwrap()]);
        assert!(cut.code != 0 && cut.stderr.contains(step), "{step}: {cut:?}");

        let told = config.run(&["enrol", "--json"]).expect_code(0).json();
        assert_eq!(told["device"], *device, "{step}");
        let seen = Seen::of(&config);
        assert!(seen.is_only(1) && seen.in_use() == Some(1) && seen.expired_ms() < 0, "{step}");
        assert!(!seen.folder.join("kitchen-claim.toml").exists(), "{step}: the used claim is gone");
        assert!(seen.belongs_to(OWNER), "{step}: the agent may read it");
        let _ = config.run(&["check", "enrolment"]).expect_code(0);
    }
    assert!(bureau.authority.events("refused").is_empty());

    // Nobody tries again: the agent itself takes up what lies there.
    let mut agent = Agent::start(config(&directory.path().join("identity-named")));
    wait_until(BOUND, "an alert arrives", || has_arrived(&agent));
    agent.assert_running();
    assert!(!bureau.district.messages("alert.opened").is_empty());
}

#[test]
fn a_box_cut_at_any_step_of_its_renewals_keeps_one_identity_and_every_receipt() {
    let rounds: usize = std::env::var("RENEWAL_ROUNDS").map_or(2, |text| text.parse().unwrap());
    let mut bureau = Bureau::open(LIFETIME);
    let devices: Vec<String> = (0..STEPS.len()).map(device).collect();
    let claims = bureau.authority.batch(&devices.iter().map(String::as_str).collect::<Vec<_>>());
    bureau.authority.serve();
    let directory = tempfile::tempdir().unwrap();
    let is_over = AtomicBool::new(false);
    let longest_expired_ms = AtomicI64::new(i64::MIN);
    let agents = thread::scope(|scope| {
        let _coming_and_going = scope.spawn(|| come_and_go(&mut bureau.authority, &is_over));
        let boxes: Vec<_> = (devices.iter().enumerate())
            .map(|(number, device)| {
                let (config, claim) = (config(&directory.path().join(device)), claim_of(&claims, device));
                let longest_expired_ms = &longest_expired_ms;
                scope.spawn(move || {
                    config.write();
                    wait_until(RENEWAL_BOUND, "enrolled", || {
                        config.run(&["enrol", "--claim", claim.to_str().unwrap()]).code == 0
                    });
                    let mut agent = Agent::start(config);
                    for round in 0..rounds {
                        let expired_ms = renew(&mut agent, STEPS[(number + round) % STEPS.len()]);
                        longest_expired_ms.fetch_max(expired_ms, Ordering::Relaxed);
                    }
                    agent
                })
            })
            .collect();
        let agents: Vec<_> = boxes.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Relaxed);
        agents.into_iter().map(Result::unwrap).collect::<Vec<Agent>>()
    });
    for agent in &agents {
        wait_until(RENEWAL_BOUND, "everything has arrived", || has_all_arrived(agent));
    }
    let opened: Vec<String> = agents.iter().flat_map(alert_ids).collect();
    let received: Vec<String> =
        bureau.district.messages("alert.opened").iter().map(|alert| alert["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(received.len(), received.iter().collect::<BTreeSet<_>>().len(), "none came twice");
    assert_eq!(received.into_iter().collect::<BTreeSet<_>>(), opened.into_iter().collect(), "none is lost");
    for trouble in ["conflict", "alarm"] {
        assert!(bureau.district.events_of(trouble).is_empty(), "{:?}", bureau.district.events_of(trouble));
    }
    let renewed = bureau.authority.events("renewed").len();
    let audit = bureau.authority.ca(&["audit", "--json"]).expect_code(0).stdout;
    assert!(renewed >= rounds * STEPS.len() && !audit.contains("second_box"), "{renewed} renewals: {audit}");
    let longest_expired_ms = longest_expired_ms.into_inner();
    println!("{renewed} renewals; the certificate in use expired at {longest_expired_ms} ms before now at the latest");
    assert!(longest_expired_ms < 0, "a certificate had expired for {longest_expired_ms} ms");
}

fn come_and_go(authority: &mut Authority, is_over: &AtomicBool) {
    let wait = |whole: Duration| {
        let steps = whole.as_millis() / 100;
        (0..steps).take_while(|_| !is_over.load(Ordering::Relaxed)).for_each(|_| sleep(Duration::from_millis(100)));
    };
    while !is_over.load(Ordering::Relaxed) {
        wait(THERE);
        authority.kill();
        wait(AWAY);
        authority.serve();
    }
}

/// Lets the agent renew its certificate and kills it at `step`; how long, at most, the certificate in use had expired.
fn renew(agent: &mut Agent, step: &str) -> i64 {
    let seen = Seen::of(agent.config());
    let before = seen.in_use().unwrap();
    let mut longest_ms = i64::MIN;
    agent.kill();
    agent.set_environment("FAILPOINTS", &format!("{step}=pause"));
    agent.restart();
    wait_until(RENEWAL_BOUND, step, || {
        longest_ms = longest_ms.max(seen.expired_ms());
        seen.is_at(step, before + 1)
    });
    agent.kill();
    longest_ms = longest_ms.max(seen.expired_ms());
    agent.set_environment("FAILPOINTS", "");
    agent.restart();
    wait_until(RENEWAL_BOUND, "the new certificate has connected, and is the only one", || {
        longest_ms = longest_ms.max(seen.expired_ms());
        seen.in_use() > Some(before) && seen.is_only(seen.in_use().unwrap())
    });
    agent.assert_running();
    longest_ms
}

fn has_arrived(agent: &Agent) -> bool {
    agent.alerts().iter().any(is_receipted)
}

fn has_all_arrived(agent: &Agent) -> bool {
    let alerts = agent.alerts();
    let waiting = agent.command(&["outbox", "list", "--json"]).expect_code(0).json();
    !alerts.is_empty() && alerts.iter().all(is_receipted) && waiting["messages"].as_array().unwrap().is_empty()
}

fn is_receipted(alert: &serde_json::Value) -> bool {
    alert["records"].as_array().unwrap().iter().all(|record| !record["receipted_at"].is_null())
}

fn alert_ids(agent: &Agent) -> Vec<String> {
    agent.alerts().iter().map(|alert| alert["alert_id"].as_str().unwrap().to_owned()).collect()
}

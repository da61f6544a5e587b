//! A box from its claim to the district: it watches before it is enrolled, gets its own certificate, and what it kept
//! arrives. Real authority, broker with client certificates and a list of revoked ones, receiver, agent.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use kitchen_core::enrolment::{AuthorityKey, Claim, NewClaim};
use kitchen_core::evidence::PublicKey;
use kitchen_test_support::{
    Agent, AgentConfig, Authority, Bureau, District, Finished, Mosquitto, claim_of, free_port, videos, wait_until,
};

const DEVICE: &str = "mh07-000123";
const BOUND: Duration = Duration::from_secs(60);
const RULE: &str = "score = 0.5\nwindow_s = 1\ncool_down_s = 1\nevidence = \"snapshot\"";

/// A box that is not enrolled yet. Its camera shows people.
fn config(folder: &Path) -> AgentConfig {
    AgentConfig::unenrolled(folder)
        .camera("stove", &format!("file://{}", videos::people().display()))
        .rule("intrusion", RULE)
}

fn enrol(config: &AgentConfig, claim: &Path) -> Finished {
    config.run(&["enrol", "--json", "--claim", claim.to_str().unwrap()])
}

/// A box that is enrolled and whose first alert has arrived.
fn working_box(bureau: &mut Bureau, folder: &Path) -> Agent {
    let claims = bureau.authority.batch(&[DEVICE]);
    bureau.authority.serve();
    let config = config(folder);
    config.write();
    let _ = enrol(&config, &claim_of(&claims, DEVICE)).expect_code(0);
    let agent = Agent::start(config);
    wait_until(BOUND, "its alert arrives", || is_acknowledged(&agent));
    agent
}

fn is_acknowledged(agent: &Agent) -> bool {
    agent.alerts().iter().any(|alert| {
        alert["records"]
            .as_array()
            .unwrap()
            .iter()
            .any(|record| record["type"] == "alert.opened" && !record["receipted_at"].is_null())
    })
}

#[test]
fn a_box_watches_before_it_is_enrolled_and_what_it_kept_arrives_afterwards() {
    let mut bureau = Bureau::open("365d");
    let claims = bureau.authority.batch(&[DEVICE]);
    let directory = tempfile::tempdir().unwrap();
    let config = config(&directory.path().join("box"));
    config.write();
    let claim = claim_of(&claims, DEVICE);

    // The authority is away: the claim is kept, and with it the box has its name.
    let away = enrol(&config, &claim).expect_code(2);
    assert!(away.stderr.contains("K-ENR-09"), "{}", away.stderr);
    let mut agent = Agent::start(config.clone());
    wait_until(BOUND, "an alert is kept", || !agent.alerts().is_empty());
    let checked = agent.command(&["check", "enrolment", "--json"]).expect_code(1).json();
    assert_eq!(checked["checks"][0]["code"], "K-ENR-09", "{checked}");

    bureau.authority.serve();
    let told = enrol(&config, &claim).expect_code(0).json();
    assert_eq!((&told["device"], &told["is_new"]), (&DEVICE.into(), &true.into()));
    assert!(!claim.exists(), "the used claim is gone");
    wait_until(BOUND, "the district has the alert from before", || is_acknowledged(&agent));
    agent.assert_running();
    let opened = bureau.district.wait_for_message(BOUND, "alert.opened", |_| true);
    assert_eq!(opened["device"], DEVICE);
    let state = bureau.district.wait_for(BOUND, "its birth", |event| event["event"] == "state");
    assert_eq!(state["state"]["body"]["site"]["name"], format!("老王火锅 {DEVICE}"));
    assert!(state["state"]["body"]["board"].is_string(), "{state}");

    let again = config.run(&["enrol", "--json"]).expect_code(0).json();
    assert_eq!((&again["device"], &again["is_new"]), (&DEVICE.into(), &false.into()));
    let _ = agent.command(&["check", "enrolment", "certificate.expiry"]).expect_code(0);
    let shown = agent.command(&["config", "show", "--json"]).expect_code(0).json();
    let broker =
        shown["settings"].as_array().unwrap().iter().find(|setting| setting["key"] == "uplink.broker").unwrap();
    assert_eq!((&broker["origin"], &broker["value"]), (&"enrolment".into(), &bureau.broker.url().into()));
    for file in ["identity/current/device.key", "store/evidence.key"] {
        let mode = fs::metadata(config.directory().join("state").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let vouched = bureau.authority.ca(&["key", DEVICE]).expect_code(0).stdout;
    assert_eq!(vouched.parse::<PublicKey>().unwrap().to_string(), state["state"]["body"]["evidence_key"]);
    let report = bureau.authority.ca(&[
        "report",
        "--enrolment",
        "--json",
        "--receiver",
        bureau.district.store().to_str().unwrap(),
    ]);
    let report = report.expect_code(0).json();
    assert_eq!((&report["sites"][0]["state"], &report["counts"]["connected"]), (&"connected".into(), &1.into()));
}

/// A claim like this one, of an authority at `url` that nobody knows.
fn strangers(claim: &Claim, url: &str) -> String {
    let new = NewClaim {
        device: claim.device.clone(),
        claim_id: claim.claim_id.clone(),
        secret: [7; 32],
        batch: claim.batch.clone(),
        serial: None,
        camera: claim.camera.clone(),
        issued: claim.issued,
        expires: claim.expires,
        site: claim.site.clone(),
        url: url.to_owned(),
        ca: claim.authority.ca.clone(),
    };
    Claim::new(new, &AuthorityKey::from_seed([9; 32])).to_toml()
}

#[test]
fn a_claim_that_is_not_good_says_why_and_leaves_the_box_as_it_was() {
    let mut bureau = Bureau::open("365d");
    let claims = bureau.authority.batch(&[DEVICE, "mh07-000124", "mh07-000125"]);
    let unknown = bureau.authority.unimported_batch(&["mh07-000200"]).join("claims");
    bureau.authority.serve();
    let directory = tempfile::tempdir().unwrap();
    let boxed = |name: &str| {
        let config = config(&directory.path().join(name));
        config.write();
        config
    };
    let refused = |config: &AgentConfig, claim: &Path, code: &str| {
        let told = enrol(config, claim);
        assert!(told.code != 0 && told.stderr.contains(code), "{code}: {told:?}");
        assert!(!config.directory().join("state/identity/current").exists(), "nothing half done");
        let checked = config.run(&["check", "enrolment", "--json"]);
        assert!(checked.stdout.contains(code), "check names {code}: {}", checked.stdout);
    };
    let edited = |name: &str, claim: &Path, edit: &dyn Fn(String) -> String| {
        let path = directory.path().join(name);
        fs::write(&path, edit(fs::read_to_string(claim).unwrap())).unwrap();
        path
    };

    let good = claim_of(&claims, "mh07-000124");
    let copy = edited("copy.toml", &good, &|text| text);
    let first = boxed("first");
    let _ = enrol(&first, &good).expect_code(0);
    refused(&boxed("second"), &copy, "K-ENR-07");

    refused(&boxed("unknown"), &claim_of(&unknown, "mh07-000200"), "K-ENR-06");

    // Of a stranger who wrote this district's address into it, and one whose name no server knows.
    let whole = claim_of(&claims, DEVICE);
    let ours = Claim::parse(&fs::read_to_string(&whole).unwrap()).unwrap();
    let strange = edited("strange.toml", &whole, &|_| strangers(&ours, &ours.authority.url));
    refused(&boxed("foreign"), &strange, "K-ENR-04");
    let lost = edited("lost.toml", &whole, &|_| strangers(&ours, "https://ca.invalid:8443"));
    refused(&boxed("lost"), &lost, "K-ENR-10");
    let cut = edited("cut.toml", &whole, &|text| text[..text.len() / 2].to_owned());
    let damaged = enrol(&boxed("cut"), &cut);
    assert!(damaged.code != 0 && damaged.stderr.contains("K-ENR-02"), "{damaged:?}");
    let bent = edited("bent.toml", &whole, &|text| text.replace(DEVICE, "mh07-000125"));
    let damaged = enrol(&boxed("bent"), &bent);
    assert!(damaged.code != 0 && damaged.stderr.contains("K-ENR-02"), "{damaged:?}");

    // A new claim for the first box's device makes the old one void and takes the old certificate back.
    let stick = directory.path().join("stick");
    let _ = bureau.authority.ca(&["claim", DEVICE, "--out", stick.to_str().unwrap()]).expect_code(0);
    refused(&boxed("void"), &whole, "K-ENR-07");
    let replaced = boxed("replaced");
    let _ = enrol(&replaced, &stick.join("kitchen-claim.toml")).expect_code(0);

    // For another board than this one, and one that has expired.
    let bound = directory.path().join("bound");
    let arguments = ["claim", "mh07-000125", "--serial", "10000000deadbeef", "--out", bound.to_str().unwrap()];
    let _ = bureau.authority.ca(&arguments).expect_code(0);
    refused(&boxed("board"), &bound.join("kitchen-claim.toml"), "K-ENR-08");
    let late = directory.path().join("late");
    let arguments = ["claim", "mh07-000125", "--expires", "1s", "--out", late.to_str().unwrap()];
    let _ = bureau.authority.ca(&arguments).expect_code(0);
    let expires = Claim::parse(&fs::read_to_string(late.join("kitchen-claim.toml")).unwrap()).unwrap().expires;
    let now = || i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    wait_until(BOUND, "the claim has expired", || now() > expires.as_unix_millis());
    refused(&boxed("late"), &late.join("kitchen-claim.toml"), "K-ENR-03");
}

#[test]
fn a_box_without_network_is_enrolled_by_a_stick() {
    let bureau = Bureau::open("365d");
    let claims = bureau.authority.batch(&[DEVICE, "mh07-000124"]);
    let directory = tempfile::tempdir().unwrap();
    let stick = directory.path().join("stick");
    fs::create_dir(&stick).unwrap();
    let stick = stick.to_str().unwrap();
    let boxed = |name: &str, device: &str| {
        let config = config(&directory.path().join(name));
        config.write();
        let claim = claim_of(&claims, device);
        let exported = config.run(&["enrol", "export", stick, "--claim", claim.to_str().unwrap()]);
        assert!(exported.expect_code(0).stdout.contains("kitchen-district ca sign"));
        config
    };
    let first = boxed("first", DEVICE);
    let second = boxed("second", "mh07-000124");
    for device in [DEVICE, "mh07-000124"] {
        let request = format!("{stick}/kitchen-request-{device}.json");
        let _ = bureau.authority.ca(&["sign", &request, "--out", stick]).expect_code(0);
    }
    let answer = |device: &str| format!("{stick}/kitchen-answer-{device}.json");
    let crossed = first.run(&["enrol", "import", &answer("mh07-000124")]);
    assert!(crossed.code != 0 && crossed.stderr.contains("K-ENR-12"), "{crossed:?}");
    let altered = directory.path().join("altered.json");
    fs::write(&altered, fs::read_to_string(answer(DEVICE)).unwrap().replace("mqtts://localhost", "mqtts://elsewhere"))
        .unwrap();
    let altered = first.run(&["enrol", "import", altered.to_str().unwrap()]);
    assert!(altered.code != 0 && altered.stderr.contains("K-ENR-12"), "{altered:?}");
    for (config, device) in [(&first, DEVICE), (&second, "mh07-000124")] {
        let told = config.run(&["enrol", "import", &answer(device), "--json"]).expect_code(0).json();
        assert_eq!(told["device"], device);
    }
    let agent = Agent::start(first);
    wait_until(BOUND, "its alert arrives", || is_acknowledged(&agent));
}

#[test]
fn a_revoked_box_is_off_soon_after_the_broker_s_reload_and_says_why() {
    let mut bureau = Bureau::open("365d");
    let directory = tempfile::tempdir().unwrap();
    let agent = working_box(&mut bureau, &directory.path().join("box"));

    let _ = bureau.authority.ca(&["revoke", DEVICE, "--reason", "stolen"]).expect_code(0);
    bureau.broker.reload();
    wait_until(Duration::from_secs(60), "the box is off within a minute, and says why", || {
        agent.command(&["status", "--json"]).stdout.contains("K-ENR-15")
    });
    let checked = agent.command(&["check", "broker.auth"]).expect_code(1);
    assert!(checked.stdout.contains("K-ENR-15"), "{}", checked.stdout);
    let report = bureau.authority.ca(&["report", "--enrolment", "--json"]).expect_code(0).json();
    assert_eq!(report["sites"][0]["state"], "revoked");
}

#[test]
fn records_signed_by_another_key_than_the_enrolled_one_are_reported() {
    let mut bureau = Bureau::open("365d");
    let claims = bureau.authority.batch(&[DEVICE]);
    bureau.authority.serve();
    let directory = tempfile::tempdir().unwrap();
    let config = config(&directory.path().join("box"));
    config.write();
    let _ = enrol(&config, &claim_of(&claims, DEVICE)).expect_code(0);
    fs::remove_file(config.directory().join("state/store/evidence.key")).unwrap();
    let agent = Agent::start(config);
    wait_until(BOUND, "its alert arrives", || is_acknowledged(&agent));
    let store = bureau.district.store();
    let report = bureau.authority.ca(&["report", "--enrolment", "--json", "--receiver", store.to_str().unwrap()]);
    let report = report.expect_code(0).json();
    let told = report["sites"][0]["second_box"].to_string();
    assert!(told.contains("signed by evidence key"), "{report}");
}

#[test]
fn a_wrong_broker_is_named_and_the_right_one_comes_with_the_next_certificate() {
    let wrong = free_port();
    let mut authority = Authority::make(wrong, "1min");
    let broker = Mosquitto::start_with(free_port(), authority.account("broker"), authority.revocations());
    let district = District::start_as(&broker, Some(authority.account("district")));
    let claims = authority.batch(&[DEVICE]);
    authority.serve();
    let directory = tempfile::tempdir().unwrap();
    let config = config(&directory.path().join("box"));
    config.write();
    let _ = enrol(&config, &claim_of(&claims, DEVICE)).expect_code(0);
    let mut agent = Agent::start(config);
    wait_until(BOUND, "an alert is kept", || !agent.alerts().is_empty());
    let checked = agent.command(&["check", "--json"]).expect_code(1).stdout;
    assert!(checked.contains("K-LNK-03") && checked.contains(&wrong.to_string()), "{checked}");

    let settings = authority.store().join("authority.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text.replace(&format!("mqtts://localhost:{wrong}"), &broker.url())).unwrap();
    authority.serve();
    wait_until(BOUND * 2, "the alert arrives at the right one", || is_acknowledged(&agent));
    agent.assert_running();
    assert!(!district.messages("alert.opened").is_empty());
}

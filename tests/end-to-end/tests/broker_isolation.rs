//! The broker's access list as the contract demands it, on a real Mosquitto: one box can't read, write or disturb
//! another's topics. Mosquitto answers a forbidden SUBSCRIBE with success, so delivery itself is what is looked at.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kitchen_test_support::{Certificates, Finished, Identity, Mosquitto, Process, run, system, wait_until};

const OWN: &str = "mh07-000123";
const OTHER: &str = "mh07-000456";
const BOUND: Duration = Duration::from_secs(10);

fn client(program: &str, broker: &Mosquitto, identity: &Identity) -> Command {
    // Into a file it would keep its lines back.
    let mut command = Command::new(system("stdbuf", "coreutils"));
    command.arg("-oL").arg(system(program, "mosquitto-clients"));
    command.args(["-h", "localhost", "-p", &broker.port().to_string(), "-V", "5", "-i"]);
    command.arg(identity.certificate.file_stem().expect("a certificate is named as its CN"));
    command.arg("--cafile").arg(&identity.ca).arg("--cert").arg(&identity.certificate).arg("--key").arg(&identity.key);
    command
}

fn publish(broker: &Mosquitto, identity: &Identity, topic: &str, payload: &str) -> Finished {
    let mut command = client("mosquitto_pub", broker, identity);
    run(command.args(["-q", "1", "-t", topic, "-m", payload]))
}

/// A subscriber that notes a line `topic payload` a message.
struct Subscriber {
    process: Process,
}

impl Subscriber {
    fn start(broker: &Mosquitto, identity: &Identity, filters: &[&str], directory: &Path, name: &str) -> Self {
        let mut command = client("mosquitto_sub", broker, identity);
        command.args(["-d", "-q", "1", "-F", "got %t %p"]);
        for filter in filters {
            command.args(["-t", filter]);
        }
        let subscriber = Self { process: Process::start(name, command, directory) };
        wait_until(BOUND, "the broker answers SUBSCRIBE", || subscriber.process.stdout().contains("Subscribed (mid"));
        subscriber
    }

    fn received(&self) -> Vec<String> {
        let stdout = self.process.stdout();
        stdout.lines().filter_map(|line| line.strip_prefix("got ")).map(str::to_owned).collect()
    }

    fn wait_for(&self, message: &str) {
        wait_until(BOUND, message, || self.received().iter().any(|received| received == message));
    }
}

fn up(device: &str, leaf: &str) -> String {
    format!("kitchen/v1/{device}/up/{leaf}")
}

fn down(device: &str, leaf: &str) -> String {
    format!("kitchen/v1/{device}/down/{leaf}")
}

#[test]
fn a_device_reaches_the_district_and_is_answered() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let broker = Mosquitto::start();
    let (district, device) = (broker.certificates().district(), broker.certificates().device(OWN));
    // An identity is one client id and so one connection: each side subscribes in turn.
    let own = Subscriber::start(&broker, &device, &[&down(OWN, "#")], directory.path(), "device");
    let _ = publish(&broker, &district, &down(OWN, "ack"), "stored").expect_code(0);
    own.wait_for(&format!("{} stored", down(OWN, "ack")));
    drop(own);
    let receiver = Subscriber::start(&broker, &district, &["kitchen/v1/+/up/#"], directory.path(), "district");
    let _ = publish(&broker, &device, &up(OWN, "alert/fire"), "burning").expect_code(0);
    receiver.wait_for(&format!("{} burning", up(OWN, "alert/fire")));
}

#[test]
fn a_device_writes_to_no_others_topics() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let broker = Mosquitto::start();
    let (district, device) = (broker.certificates().district(), broker.certificates().device(OWN));
    let receiver = Subscriber::start(&broker, &district, &["kitchen/v1/+/up/#"], directory.path(), "district");
    let victim = broker.certificates().device(OTHER);
    let other = Subscriber::start(&broker, &victim, &[&down(OTHER, "#")], directory.path(), "other");
    for topic in [up(OTHER, "alert/fire"), down(OTHER, "command/1"), down(OWN, "ack"), "kitchen/v1/up/x".to_owned()] {
        let refused = publish(&broker, &device, &topic, "forged");
        assert!(refused.text().contains("Not authorized"), "{topic}: {refused:#?}");
    }
    // What comes after the forged messages is proof that these would have come too.
    let _ = publish(&broker, &device, &up(OWN, "record"), "last").expect_code(0);
    receiver.wait_for(&format!("{} last", up(OWN, "record")));
    assert_eq!(receiver.received(), [format!("{} last", up(OWN, "record"))]);
    drop(receiver);
    let _ = publish(&broker, &district, &down(OTHER, "ack"), "last").expect_code(0);
    other.wait_for(&format!("{} last", down(OTHER, "ack")));
    assert_eq!(other.received(), [format!("{} last", down(OTHER, "ack"))]);
}

#[test]
fn a_device_receives_nothing_of_others_whatever_it_subscribes_to() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let broker = Mosquitto::start();
    let (district, device) = (broker.certificates().district(), broker.certificates().device(OWN));
    let victim = broker.certificates().device(OTHER);
    let filters = ["#", "kitchen/v1/+/up/#", "kitchen/v1/+/down/#", "$share/all/kitchen/v1/+/down/#"];
    let spy = Subscriber::start(&broker, &device, &filters, directory.path(), "spy");
    let _ = publish(&broker, &victim, &up(OTHER, "alert/fire"), "secret").expect_code(0);
    let _ = publish(&broker, &district, &down(OTHER, "command/1"), "secret").expect_code(0);
    let _ = publish(&broker, &district, &down(OWN, "ack"), "last").expect_code(0);
    spy.wait_for(&format!("{} last", down(OWN, "ack")));
    let foreign: Vec<String> = spy.received().into_iter().filter(|line| line.contains("secret")).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

#[test]
fn a_device_can_t_throw_another_off_with_its_client_id() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let broker = Mosquitto::start();
    let (district, attacker) = (broker.certificates().district(), broker.certificates().device(OTHER));
    let device = broker.certificates().device(OWN);
    let own = Subscriber::start(&broker, &device, &[&down(OWN, "#")], directory.path(), "device");
    let mut command = client("mosquitto_pub", &broker, &attacker);
    let attack = run(command.args(["-i", OWN, "-u", OWN, "-q", "1", "-t", &up(OTHER, "state"), "-m", "attack"]));
    let _ = attack.expect_code(0);
    let _ = publish(&broker, &district, &down(OWN, "ack"), "still here").expect_code(0);
    own.wait_for(&format!("{} still here", down(OWN, "ack")));
    let connects = own.process.stdout().matches("received CONNACK").count();
    assert_eq!(connects, 1, "the device was thrown off and came back:\n{}", own.process.stdout());
}

#[test]
fn nobody_connects_without_a_certificate_of_the_authority() {
    let broker = Mosquitto::start();
    let foreign = broker.certificates().foreign_device(OWN);
    let refused = publish(&broker, &foreign, &up(OWN, "state"), "foreign");
    assert_ne!(refused.code, 0, "{refused:#?}");
    let mut command = Command::new(system("mosquitto_pub", "mosquitto-clients"));
    command.args(["-h", "localhost", "-p", &broker.port().to_string(), "-V", "5"]);
    command.arg("--cafile").arg(&foreign.ca).args(["-t", &up(OWN, "state"), "-m", "anonymous"]);
    let anonymous = run(&mut command);
    assert_ne!(anonymous.code, 0, "{anonymous:#?}");
}

#[test]
fn a_broker_with_a_foreign_certificate_is_not_trusted() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let broker = Mosquitto::start();
    let stranger = Certificates::make(directory.path());
    let device = Identity { ca: stranger.broker().ca, ..broker.certificates().device(OWN) };
    let refused = publish(&broker, &device, &up(OWN, "state"), "to whom?");
    assert_ne!(refused.code, 0, "{refused:#?}");
}

#[test]
fn a_killed_broker_comes_back_on_its_port() {
    let mut broker = Mosquitto::start();
    let device = broker.certificates().device(OWN);
    let _ = publish(&broker, &device, &up(OWN, "state"), "before").expect_code(0);
    broker.kill();
    assert_ne!(publish(&broker, &device, &up(OWN, "state"), "meanwhile").code, 0);
    broker.restart();
    let _ = publish(&broker, &device, &up(OWN, "state"), "after").expect_code(0);
}

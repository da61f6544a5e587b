//! Every way in which a broker can be unreachable or refuse a box, on a real Mosquitto with TLS:
//! the link's last words tell what to check.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kitchen_uplink::{Link, LinkEvent, LinkOptions, Publication, Will};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

const DEVICE: &str = "mh07-000123";
const LIMIT: Duration = Duration::from_secs(30);

struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), pem)
    }

    /// Writes `{name}.pem` and `{name}.key`.
    fn issue(&self, folder: &Path, name: &str, common_name: &str, host: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        let paths = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        std::fs::write(&paths.0, certificate).unwrap();
        std::fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    }
}

/// Mosquitto that asks for client certificates and lets each device write below its own topics.
struct Broker {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
    authority: Authority,
}

impl Broker {
    fn start() -> Self {
        kitchen_uplink::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("district CA");
        let path = folder.path();
        std::fs::write(path.join("ca.pem"), &authority.1).unwrap();
        authority.issue(path, "broker", "broker", "localhost");
        std::fs::write(path.join("acl"), "pattern write kitchen/v1/%u/up/#\npattern read kitchen/v1/%u/down/#\n")
            .unwrap();
        let port = free_port();
        let at = |name: &str| path.join(name).display().to_string();
        let config = format!(
            "listener {port} 127.0.0.1\nuser root\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
             use_identity_as_username true\nuse_username_as_clientid true\nacl_file {}\n",
            at("ca.pem"),
            at("broker.pem"),
            at("broker.key"),
            at("acl"),
        );
        std::fs::write(path.join("mosquitto.conf"), config).unwrap();
        let child = Command::new("mosquitto")
            .env("PATH", format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default()))
            .arg("-c")
            .arg(path.join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Mosquitto is missing: apt-get install -y mosquitto");
        let end = Instant::now() + LIMIT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "Mosquitto does not listen on port {port}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, folder, port, authority }
    }

    fn options(&self, device: &str) -> LinkOptions {
        let (certificate, key) = self.authority.issue(self.folder.path(), device, device, device);
        LinkOptions {
            ca_file: Some(self.folder.path().join("ca.pem")),
            certificate_file: Some(certificate),
            key_file: Some(key),
            ..LinkOptions::new(&format!("mqtts://localhost:{}", self.port), device)
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn last_words(options: &LinkOptions) -> String {
    let mut link = Link::open(options, None).unwrap();
    match tokio::time::timeout(LIMIT, link.next()).await.expect("an outcome") {
        LinkEvent::Disconnected { error } => error.text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_box_with_the_right_identity_gets_in_and_only_to_its_own_topics() {
    let broker = Broker::start();
    let mut options = broker.options(DEVICE);
    options.subscriptions = vec![format!("kitchen/v1/{DEVICE}/down/ack")];
    let will =
        Will { topic: format!("kitchen/v1/{DEVICE}/up/state"), payload: b"{}".to_vec(), delay_s: 60, retain: true };
    let mut link = Link::open(&options, Some(will)).unwrap();
    assert!(matches!(link.next().await, LinkEvent::Connected { session_present: false }));
    let own = link.publisher().publish(Publication::new(format!("kitchen/v1/{DEVICE}/up/record"), "x")).unwrap();
    let foreign = link.publisher().publish(Publication::new("kitchen/v1/mh07-000999/up/record".into(), "x")).unwrap();
    for expected in [own, foreign] {
        match link.next().await {
            LinkEvent::Confirmed { token, refused } => {
                assert_eq!((token, refused.is_some()), (expected, expected == foreign), "{refused:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(link.publisher().publish(Publication::new("kitchen/+/x".into(), "x")).is_err());
    link.close(LIMIT).await;
    let mut link = Link::open(&options, None).unwrap();
    assert!(matches!(link.next().await, LinkEvent::Connected { session_present: true }));
}

#[tokio::test]
async fn a_broker_of_another_ca_is_unknown() {
    let broker = Broker::start();
    let mut options = broker.options(DEVICE);
    let other = broker.folder.path().join("other-ca.pem");
    std::fs::write(&other, Authority::new("other CA").1).unwrap();
    options.ca_file = Some(other);
    let text = last_words(&options).await;
    assert!(text.starts_with("unknown CA") && text.contains("uplink.ca_file"), "{text}");
}

#[tokio::test]
async fn a_broker_of_another_name_is_a_mismatch() {
    let broker = Broker::start();
    let mut options = broker.options(DEVICE);
    options.broker = format!("mqtts://127.0.0.1:{}", broker.port);
    let text = last_words(&options).await;
    assert!(text.starts_with("name mismatch") && text.contains("uplink.broker"), "{text}");
}

#[tokio::test]
async fn a_box_of_another_ca_is_refused() {
    let broker = Broker::start();
    let mut options = broker.options(DEVICE);
    let (certificate, key) = Authority::new("other CA").issue(broker.folder.path(), "foreign", DEVICE, DEVICE);
    (options.certificate_file, options.key_file) = (Some(certificate), Some(key));
    let text = last_words(&options).await;
    assert!(text.starts_with("refused certificate") && text.contains(DEVICE), "{text}");
}

#[tokio::test]
async fn nothing_listens() {
    let options = LinkOptions::new(&format!("mqtt://127.0.0.1:{}", free_port()), DEVICE);
    let text = last_words(&options).await;
    assert!(text.starts_with("connection refused"), "{text}");
}

#[tokio::test]
async fn a_port_that_speaks_tls_is_named_to_who_speaks_none() {
    let broker = Broker::start();
    let options = LinkOptions::new(&format!("mqtt://127.0.0.1:{}", broker.port), DEVICE);
    let text = last_words(&options).await;
    assert!(text.contains("check"), "{text}");
}

#[tokio::test]
async fn a_second_box_with_the_same_identity_is_named() {
    let broker = Broker::start();
    let options = broker.options(DEVICE);
    let mut first = Link::open(&options, None).unwrap();
    assert!(matches!(first.next().await, LinkEvent::Connected { .. }));
    let _second = Link::open(&options, None).unwrap();
    match first.next().await {
        LinkEvent::Disconnected { error } => {
            assert!(error.text.contains("second box") && error.text.contains(DEVICE), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_broker_without_tls_beyond_loopback_is_a_configuration_error() {
    let error = Link::open(&LinkOptions::new("mqtt://broker.example:1883", DEVICE), None).unwrap_err();
    assert!(error.to_string().contains("loopback"), "{error}");
}

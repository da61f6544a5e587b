//! The folder of a box's identity, with certificates that a test's authority makes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use kitchen_core::enrolment::{Authority, BrokerAccess, Enrolment};
use kitchen_core::time::Wall;
use kitchen_core::wire::Site;
use kitchen_uplink::identity::IdentityFolder;
use rcgen::{CertificateParams, DnType, KeyPair};

const DEVICE: &str = "mh07-000123";

/// Asks for the next certificate and takes the answer; the public key that asked.
fn renew(identity: &IdentityFolder) -> Vec<u8> {
    let (key, answer) = answer_for(identity);
    let _ = identity.accept(&answer, "claim-1").unwrap();
    key
}

fn answer_for(identity: &IdentityFolder) -> (Vec<u8>, Enrolment) {
    let _ = identity.request(DEVICE).unwrap();
    let key = KeyPair::from_pem(&fs::read_to_string(identity.path().join("next/device.key")).unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, DEVICE);
    let certificate = params.self_signed(&key).unwrap().pem();
    let site = Site { name: String::new(), licence: String::new(), town: String::new() };
    let broker = BrokerAccess { url: "mqtts://localhost".to_owned(), ca: certificate.clone() };
    let authority = Authority { url: String::new(), key: String::new(), ca: String::new() };
    let time = Wall::from_unix_millis(0);
    let answer = Enrolment::unsigned(DEVICE.to_owned(), site, certificate, broker, String::new(), authority, time);
    (key.public_key_raw().to_vec(), answer)
}

fn in_use(identity: &IdentityFolder) -> String {
    identity.current_name().unwrap().to_str().unwrap().to_owned()
}

/// Folders of generations, and of one that is being made.
fn held(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let folders = names.filter(|entry| entry.file_type().unwrap().is_dir());
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_refused_certificate_gives_way_to_the_one_before_and_its_key_asks_again() {
    let state = tempfile::tempdir().unwrap();
    let identity = IdentityFolder::of(state.path());
    let first = renew(&identity);
    identity.keep().unwrap();
    let second = renew(&identity);
    assert_eq!((in_use(&identity), first == second), ("g2".to_owned(), false));

    assert!(identity.take_back().unwrap());
    assert_eq!(in_use(&identity), "g1");
    identity.resume().unwrap();
    assert_eq!(in_use(&identity), "g1", "nobody takes up what the broker refused");
    assert!(!identity.take_back().unwrap(), "there is none before");
    assert_eq!(renew(&identity), second, "the authority knows this key: it repeats its answer");
    identity.keep().unwrap();
    assert_eq!((in_use(&identity), held(identity.path())), ("g2".to_owned(), vec!["g2".to_owned()]));
}

#[test]
fn a_generation_that_is_not_whole_is_not_taken_up() {
    let state = tempfile::tempdir().unwrap();
    let identity = IdentityFolder::of(state.path());
    identity.resume().unwrap();
    let _ = renew(&identity);
    fs::create_dir(identity.path().join("g7")).unwrap();
    fs::write(identity.path().join("g7/device.pem"), "cut").unwrap();
    identity.resume().unwrap();
    assert_eq!(in_use(&identity), "g1");
}

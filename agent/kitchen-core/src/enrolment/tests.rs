//! Claims that were altered, used, or made elsewhere; requests and answers that don't hold.

use proptest::prelude::*;

use super::*;
use crate::evidence::EvidenceKey;
use crate::time::Wall;
use crate::wire::Site;

const CA: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const NOW: Wall = Wall::from_unix_millis(1_000_000);

fn key() -> AuthorityKey {
    AuthorityKey::from_seed([1; 32])
}

fn box_key() -> EvidenceKey {
    EvidenceKey::from_seed([2; 32])
}

fn claim_by(key: &AuthorityKey) -> Claim {
    let site = Site { name: "老王火锅".to_owned(), licence: "JY13301".to_owned(), town: "青山".to_owned() };
    let new = NewClaim {
        device: "mh07-000123".to_owned(),
        claim_id: "b1-7".to_owned(),
        secret: [9; 32],
        batch: "b1".to_owned(),
        serial: None,
        camera: "灶台".to_owned(),
        issued: Wall::from_unix_millis(0),
        expires: Wall::from_unix_millis(2_000_000),
        site,
        url: "https://ca.example:8443".to_owned(),
        ca: CA.to_owned(),
    };
    Claim::new(new, key)
}

fn held() -> HeldClaim {
    let claim = claim_by(&key());
    HeldClaim {
        device: claim.device.clone(),
        secret_sha256: claim.secret_sha256(),
        serial: None,
        expires: claim.expires,
        state: ClaimState::Open,
    }
}

fn request(claim: Claim, serial: &str) -> EnrolRequest {
    EnrolRequest::new(claim, serial, "csr".to_owned(), "0.1.0", &box_key())
}

fn judge(claim: Claim, serial: &str, held: Option<&HeldClaim>) -> Result<Grant, Refusal> {
    judge_claim(&request(claim, serial), "key-a", held, &key().public(), false, NOW)
}

#[test]
fn a_claim_reads_what_it_writes_and_hides_its_secret() {
    let claim = claim_by(&key());
    let text = claim.to_toml();
    assert_eq!(Claim::parse(&text), Ok(claim.clone()));
    let secret = text.lines().find_map(|line| line.strip_prefix("secret = ")).expect("a secret").trim_matches('"');
    assert!(!format!("{claim:?}").contains(secret));
}

#[test]
fn a_claim_that_is_cut_or_edited_says_what_to_do() {
    let text = claim_by(&key()).to_toml();
    let cut = &text[..text.len() * 2 / 3];
    assert_eq!(Claim::parse(cut), Err(ClaimError::Cut));
    assert_eq!(Claim::parse(&text.replace("site]", "site")), Err(ClaimError::Text { line: 13 }));
    assert_eq!(Claim::parse(&text.replace("mh07-000123", "mh07-000124")), Err(ClaimError::Altered));
    assert_eq!(Claim::parse(&text.replace("mh07-000123", "MH07")), Err(ClaimError::Value("device")));
    assert_eq!(Claim::parse(&text.replace("https://", "http://")), Err(ClaimError::Value("authority.url")));
    assert_eq!(Claim::parse(&text.replace("v = 1", "v = 2")), Err(ClaimError::Version(2)));
}

#[test]
fn a_claim_is_for_one_box_once() {
    let claim = claim_by(&key());
    assert_eq!(judge(claim.clone(), "board-a", Some(&held())), Ok(Grant::Issue));
    let redeemed = ClaimState::Redeemed {
        serial: "board-a".to_owned(),
        key_sha256: "key-a".to_owned(),
        evidence_key: box_key().public().to_string(),
    };
    let used = HeldClaim { state: redeemed, expires: Wall::from_unix_millis(0), ..held() };
    assert_eq!(judge(claim.clone(), "board-a", Some(&used)), Ok(Grant::Repeat), "also after it has expired");
    assert_eq!(judge(claim.clone(), "board-b", Some(&used)), Err(Refusal::ClaimUsed));
    let other_key = judge_claim(&request(claim, "board-a"), "key-b", Some(&used), &key().public(), false, NOW);
    assert_eq!(other_key, Err(Refusal::ClaimUsed));
}

#[test]
fn each_claim_that_is_not_good_has_its_own_refusal() {
    let claim = claim_by(&key());
    assert_eq!(judge(claim_by(&AuthorityKey::from_seed([3; 32])), "s", Some(&held())), Err(Refusal::ClaimForeign));
    let mut tampered = claim.clone();
    tampered.expires = Wall::from_unix_millis(9_000_000);
    assert_eq!(judge(tampered, "s", Some(&held())), Err(Refusal::ClaimTampered));
    assert_eq!(judge(claim.clone(), "s", None), Err(Refusal::ClaimUnknown));
    let late = HeldClaim { expires: NOW, ..held() };
    assert_eq!(judge(claim.clone(), "s", Some(&late)), Err(Refusal::ClaimExpired));
    let bound = HeldClaim { serial: Some("board-a".to_owned()), ..held() };
    assert_eq!(judge(claim.clone(), "board-b", Some(&bound)), Err(Refusal::WrongSerial));
    let void = HeldClaim { state: ClaimState::Void, ..held() };
    assert_eq!(judge(claim.clone(), "s", Some(&void)), Err(Refusal::ClaimVoid));
    let revoked = judge_claim(&request(claim, "s"), "key-a", Some(&held()), &key().public(), true, NOW);
    assert_eq!(revoked, Err(Refusal::Revoked));
}

#[test]
fn a_renewal_is_for_the_box_that_has_the_newest_certificate() {
    let request = RenewRequest::new("board-a", "csr".to_owned(), "0.1.0", &box_key());
    assert_eq!(request.check(), Ok(()));
    let held = HeldCertificate {
        serial: "board-a".to_owned(),
        evidence_key: box_key().public().to_string(),
        is_revoked: false,
        next_key_sha256: None,
    };
    assert_eq!(judge_renewal(&request, "key-b", &held), Ok(Grant::Issue));
    let renewed = HeldCertificate { next_key_sha256: Some("key-b".to_owned()), ..held.clone() };
    assert_eq!(judge_renewal(&request, "key-b", &renewed), Ok(Grant::Repeat), "its answer was lost");
    assert_eq!(judge_renewal(&request, "key-c", &renewed), Err(Refusal::SecondBox));
    let elsewhere = HeldCertificate { serial: "board-b".to_owned(), ..held.clone() };
    assert_eq!(judge_renewal(&request, "key-b", &elsewhere), Err(Refusal::SecondBox));
    let revoked = HeldCertificate { is_revoked: true, ..held };
    assert_eq!(judge_renewal(&request, "key-b", &revoked), Err(Refusal::Revoked));
}

#[test]
fn an_answer_holds_only_for_its_box_and_from_its_authority() {
    let authority = Authority { url: "https://ca.example".to_owned(), key: String::new(), ca: CA.to_owned() };
    let answer = |broker: &str| {
        let broker = BrokerAccess { url: broker.to_owned(), ca: CA.to_owned() };
        let device = "mh07-000123".to_owned();
        Enrolment::unsigned(device, Site::default(), CA.to_owned(), broker, String::new(), authority.clone(), NOW)
            .signed(&key())
    };
    let good = answer("mqtts://broker.example");
    assert_eq!(good.check("mh07-000123", &key().public()), Ok(()));
    assert_eq!(good.check("mh07-000124", &key().public()), Err(ExchangeError::Value("device")));
    assert_eq!(good.check("mh07-000123", &box_key().public()), Err(ExchangeError::Signature));
    assert_eq!(
        answer("mqtt://broker.example").check("mh07-000123", &key().public()),
        Err(ExchangeError::Value("broker.url"))
    );
    let mut altered = good;
    altered.command_key = box_key().public().to_string();
    assert_eq!(altered.check("mh07-000123", &key().public()), Err(ExchangeError::Signature));
}

#[test]
fn a_manifest_is_read_only_from_its_own_authority() {
    let entry = ManifestEntry {
        device: "mh07-000123".to_owned(),
        claim_id: "b1-7".to_owned(),
        secret_sha256: held().secret_sha256,
        serial: None,
        camera: "灶台".to_owned(),
        site: Site::default(),
    };
    let manifest = Manifest::new("b1", NOW, NOW, vec![entry], &key());
    let text = manifest.to_json();
    assert_eq!(Manifest::parse(&text, &key().public()), Ok(manifest));
    assert_eq!(Manifest::parse(&text, &box_key().public()), Err(ManifestError::Signature));
    assert_eq!(Manifest::parse(&text.replace("b1-7", "b1-8"), &key().public()), Err(ManifestError::Signature));
}

#[test]
fn a_refusal_of_a_later_version_is_read() {
    let body: RefusalBody =
        serde_json::from_str(r#"{"v":1,"error":"moon_phase","time":"2026-11-24T05:12:31Z"}"#).expect("is read");
    assert_eq!((body.error, body.error.is_passing()), (Refusal::Other, true));
}

proptest! {
    /// One byte of a claim altered anywhere, as on a worn stick: it is found, or the claim says the same as before.
    #[test]
    fn an_altered_byte_of_a_claim_is_found(at: prop::sample::Index, bit in 0_u8..8) {
        let claim = claim_by(&key());
        let mut bytes = claim.to_toml().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Some(read) = String::from_utf8(bytes).ok().and_then(|text| Claim::parse(&text).ok()) {
            prop_assert_eq!(read, claim);
        }
    }
}

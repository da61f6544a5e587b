//! Many boxes that are enrolled at once over a line that cuts at random points, each until it has succeeded: no identity
//! twice, none lost. `ENROL_BOXES=1000` makes it a district's whole batch, and `ENROL_SEED` repeats the cuts.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells its figures")]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kitchen_core::enrolment::{Claim, EnrolRequest};
use kitchen_core::evidence::EvidenceKey;
use kitchen_test_support::{Authority, claim_of, free_port};
use kitchen_uplink::authority::Access;
use kitchen_uplink::identity::IdentityFolder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Boxes that try at the same time.
const AT_ONCE: usize = 32;
/// Of all connections so many in a hundred are cut, at a byte within what an enrolment takes.
const CUT: u64 = 40;
const EXCHANGE_BYTES: u64 = 9_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boxes_enrolled_over_a_line_that_cuts_get_each_its_own_identity_once() {
    kitchen_uplink::install_crypto();
    let boxes = number("ENROL_BOXES", 60);
    let seed = number("ENROL_SEED", fastrand::u64(..1_000_000));
    let mut authority = Authority::make(free_port(), "365d");
    let devices: Vec<String> = (0..boxes).map(|box_number| format!("mh07-{box_number:06}")).collect();
    let claims = authority.batch(&devices.iter().map(String::as_str).collect::<Vec<_>>());
    authority.serve();
    let cuts = Arc::new(AtomicU64::new(0));
    let line = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = line.local_addr().unwrap().port();
    tokio::spawn(cutting(line, authority.port(), seed, Arc::clone(&cuts)));

    let folder = tempfile::tempdir().unwrap();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let began = Instant::now();
    let enrolling: Vec<_> = devices
        .iter()
        .enumerate()
        .map(|(index, device)| {
            let text = std::fs::read_to_string(claim_of(&claims, device)).unwrap();
            let (state, places) = (folder.path().join(device), Arc::clone(&places));
            tokio::spawn(async move {
                let _place = places.acquire_owned().await.unwrap();
                enrol(&Claim::parse(&text).unwrap(), &state, index, port).await
            })
        })
        .collect();
    let mut tries = 0;
    for task in enrolling {
        tries += task.await.unwrap();
    }
    let took = began.elapsed();
    println!(
        "{boxes} boxes in {took:.1?}, {:.1} a second, {tries} tries, {} connections cut, seed {seed}",
        boxes as f64 / took.as_secs_f64(),
        cuts.load(Ordering::Relaxed)
    );
    let report = authority.ca(&["report", "--enrolment", "--json"]).expect_code(0).json();
    assert_eq!(report["counts"]["enrolled"], boxes, "{}", report["counts"]);
    let mut keys = BTreeSet::new();
    for device in &devices {
        let current = IdentityFolder::of(&folder.path().join(device)).current().unwrap().unwrap();
        assert_eq!(current.enrolment.device, *device);
        keys.insert(std::fs::read(current.key_file()).unwrap());
    }
    assert_eq!(keys.len() as u64, boxes, "no two boxes have one key");
    let audit = authority.ca(&["audit", "--json"]).expect_code(0);
    let enrolled = audit.json_lines().into_iter().filter(|event| event["event"] == "enrolled");
    let named: Vec<String> = enrolled.map(|event| event["device"].as_str().unwrap().to_owned()).collect();
    assert_eq!(named.len() as u64, boxes, "each was given a certificate once, however often it asked");
    assert_eq!(named.iter().collect::<BTreeSet<_>>().len(), named.len());
}

/// Tries until it succeeds, each time as after a power cut: with nothing but what lies on its disk. How often it tried.
async fn enrol(claim: &Claim, state: &Path, index: usize, port: u16) -> u64 {
    let mut authority = claim.authority.clone();
    authority.url = format!("https://localhost:{port}");
    let access = Access { authority, not_before: claim.issued };
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&(index as u64).to_le_bytes());
    let key = EvidenceKey::from_seed(seed);
    let mut tries = 0;
    loop {
        tries += 1;
        assert!(tries < 100, "{} is not enrolled after {tries} tries", claim.device);
        let identity = IdentityFolder::of(state);
        let csr = identity.request(&claim.device).unwrap();
        let request = EnrolRequest::new(claim.clone(), &format!("board-{index}"), csr, "0.1.0", &key);
        match access.enrol(&request).await {
            Ok(answer) => {
                identity.accept(&answer, &claim.claim_id).unwrap();
                return tries;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn cutting(line: TcpListener, port: u16, seed: u64, cuts: Arc<AtomicU64>) {
    let mut random = fastrand::Rng::with_seed(seed);
    while let Ok((near, _)) = line.accept().await {
        let left = if random.u64(..100) < CUT { random.u64(1..EXCHANGE_BYTES) } else { u64::MAX };
        let cuts = Arc::clone(&cuts);
        tokio::spawn(async move {
            let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
            let left = Arc::new(AtomicU64::new(left));
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::select! {
                () = pass(near_in, far_out, &left) => {}
                () = pass(far_in, near_out, &left) => {}
            }
            if left.load(Ordering::Relaxed) == 0 {
                cuts.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

/// Until one side ends, or both together have passed what the line lets through.
async fn pass(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf, left: &AtomicU64) {
    let mut buffer = vec![0; 4096];
    while let Ok(count) = from.read(&mut buffer).await {
        let allowed = left.load(Ordering::Relaxed).min(count as u64);
        if allowed < u64::MAX && left.load(Ordering::Relaxed) != u64::MAX {
            left.fetch_sub(allowed, Ordering::Relaxed);
        }
        let passed = usize::try_from(allowed).unwrap_or(count).min(count);
        if count == 0 || to.write_all(&buffer[..passed]).await.is_err() || passed < count {
            return;
        }
    }
}

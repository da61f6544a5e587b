//! `alerts export` and `verify`: what an inspector takes away proves itself to whoever brings the district's key, and
//! every alteration of it is found and named.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kitchen_core::alert::{AlertBody, AlertRecord, CloseReason};
use kitchen_core::evidence::PublicKey;
use kitchen_core::rules::RuleId;
use kitchen_core::time::{Mono, Stamp, TimeQuality, Wall};
use kitchen_store::{NewSnapshot, OpenOptions, Store};
use kitchen_test_support::{
    Agent, AgentConfig, Browser, Certificates, District, Finished, Mosquitto, alert_body, built, in_english, new_clip,
    repository, run, target, videos,
};
use serde_json::Value;

const DEVICE: &str = "mh07-000123";
const BOUND: Duration = Duration::from_secs(90);
const PROVEN: i32 = 0;
const PROBLEM_FOUND: i32 = 1;
const COULD_NOT_CHECK: i32 = 2;

fn verify(folder: &Path, arguments: &[&str]) -> Finished {
    let mut command = Command::new(built("kitchen-agent"));
    in_english(&mut command);
    run(command.args(["verify", folder.to_str().unwrap()]).args(arguments))
}

/// What is wrong, as `flaw` and `file`.
fn flaws(verified: &Finished) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let document = verified.json();
    let flaws = document["flaws"].as_array().unwrap();
    flaws.iter().map(|flaw| (text(&flaw["flaw"]), text(&flaw["file"]))).collect()
}

#[test]
fn an_exported_alert_is_proven_by_the_key_that_the_district_keeps() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let mut district = District::start(&broker);
    let config = AgentConfig::new(DEVICE, directory.path())
        .camera("stove", &format!("file://{}", videos::people().display()))
        .uplink(&broker)
        .rule("intrusion", "score = 0.5\nwindow_s = 2\ncool_down_s = 600\nevidence = \"clip\"")
        .set("clip.pre_s", 1)
        .set("clip.post_s", 1);
    let agent = Agent::start(config);
    district.wait_for(BOUND, "a clip", |event| event["event"] == "clip");

    let key_file = directory.path().join("district-key.pem");
    let mut key = Command::new(built("kitchen-district"));
    key.args(["key", DEVICE, "--store"]).arg(district.store());
    fs::write(&key_file, run(&mut key).expect_code(0).stdout).unwrap();
    let key = fs::read_to_string(&key_file).unwrap().parse::<PublicKey>().unwrap();
    let state = directory.path().join("state");
    let authority = Certificates::make(&directory.path().join("authority"));
    fs::create_dir_all(state.join("identity")).unwrap();
    fs::write(state.join("identity/evidence.pem"), authority.vouch(DEVICE, key.to_bytes())).unwrap();

    let alert_id = agent.alerts()[0]["alert_id"].as_str().unwrap().to_owned();
    let folder = directory.path().join("for the inspector");
    let path = folder.to_str().unwrap().to_owned();
    let exported = agent.command(&["alerts", "export", &alert_id, &path, "--original", "--json"]).expect_code(0).json();
    assert_eq!(exported["flaws"], Value::Array(Vec::new()), "{exported:#}");
    let names: Vec<&str> =
        exported["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
    for name in ["snapshot.jpg", "original.jpg", "evidence-key.pem", "evidence-certificate.pem", "index.html"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(names.iter().any(|name| name.starts_with("clip-")), "{names:?}");

    let key_argument = ["--key", key_file.to_str().unwrap()];
    let proven = verify(&folder, &[&key_argument[..], &["--json"]].concat()).expect_code(PROVEN).json();
    assert_eq!((proven["result"].as_str(), proven["device"].as_str()), (Some("trusted"), Some(DEVICE)), "{proven:#}");
    assert_eq!((&proven["alert_id"], &proven["rule"]), (&Value::from(alert_id.as_str()), &Value::from("intrusion")));
    let consistent = verify(&folder, &[]).expect_code(COULD_NOT_CHECK);
    assert!(consistent.stdout.contains("consistent, key not vouched for"), "{}", consistent.stdout);
    let own_key = folder.join("evidence-key.pem");
    let own = verify(&folder, &["--key", own_key.to_str().unwrap()]).expect_code(COULD_NOT_CHECK);
    assert!(own.stdout.contains("lies in the folder itself"), "{}", own.stdout);
    let authority_file = directory.path().join("authority/ca.pem");
    let vouched = verify(&folder, &["--ca", authority_file.to_str().unwrap()]).expect_code(PROVEN);
    assert!(vouched.stdout.contains("✓ proven"), "{}", vouched.stdout);
    let chinese = verify(&folder, &[&key_argument[..], &["--lang", "zh"]].concat());
    assert!(chinese.stdout.contains("已证明"), "{}", chinese.stdout);

    let other = Certificates::make(&directory.path().join("other"));
    let other_file = directory.path().join("other/ca.pem");
    let refused = verify(&folder, &["--ca", other_file.to_str().unwrap(), "--json"]).expect_code(PROBLEM_FOUND);
    assert_eq!(flaws(&refused), [("certificate".to_owned(), "evidence-certificate.pem".to_owned())]);
    drop(other);
    let twice = agent.command(&["alerts", "export", &alert_id, &path]).expect_code(COULD_NOT_CHECK);
    assert!(twice.stderr.contains("not empty"), "{}", twice.stderr);

    // Unless it is asked for, the picture in which nobody is blurred stays.
    let blurred = directory.path().join("blurred");
    let exported = agent.command(&["alerts", "export", &alert_id, blurred.to_str().unwrap(), "--json"]).expect_code(0);
    let missing = &exported.json()["missing"][0];
    assert_eq!((missing["name"].as_str(), missing["reason"].as_str()), (Some("original.jpg"), Some("kept")));
    assert!(blurred.join("snapshot.jpg").is_file() && !blurred.join("original.jpg").exists());
    let proven = verify(&blurred, &key_argument).expect_code(PROVEN);
    assert!(proven.stdout.contains("it stays on the box"), "{}", proven.stdout);

    // What the district stored is what the folder holds.
    let clip = district.events_of("clip").remove(0);
    let stored = fs::read(district.file(clip["path"].as_str().unwrap())).unwrap();
    let own = names.iter().find(|name| name.starts_with("clip-")).unwrap();
    assert_eq!(fs::read(folder.join(own)).unwrap(), stored);
}

fn stamp(second: u64) -> Stamp {
    let wall = Wall::from_unix_millis(1_795_000_000_000 + second.cast_signed() * 1000);
    Stamp { mono: Mono::from_millis(second * 1000), wall, quality: TimeQuality::Ntp }
}

/// A picture in one colour with a bright stripe.
fn jpeg(colour: [u8; 3]) -> Vec<u8> {
    let paint = |_, y| if (100..140).contains(&y) { image::Rgb([250, 250, 250]) } else { image::Rgb(colour) };
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_fn(640, 360, paint).write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

/// Two alerts of one box, their records one after the other's, exported; and the box's key.
struct Exports {
    directory: tempfile::TempDir,
    alerts: Vec<String>,
    key: PathBuf,
}

impl Exports {
    fn make() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("state/store");
        fs::create_dir_all(&folder).unwrap();
        let store = Store::open(OpenOptions { dir: &folder, device: DEVICE, boot_id: "boot-a" }).unwrap();
        let mut opened = Vec::new();
        for number in 0..2_u8 {
            let picture = |red: u8| jpeg([red, 60 + number, 90]);
            let snapshot = NewSnapshot { sent: picture(200), original: picture(40), width: 640, height: 360 };
            let body =
                AlertBody { clip_status: "recording".to_owned(), ..alert_body(RuleId::Intrusion, stamp(1).wall) };
            let alert = store.open_alert(stamp(1), body.clone(), Some(snapshot)).unwrap();
            let body = AlertBody { alert_id: Some(alert.alert_id.clone()), snapshot: alert.snapshot, ..body };
            opened.push((alert.alert_id, body));
        }
        for (number, (alert_id, body)) in opened.iter_mut().enumerate() {
            // Longer than a file is: each alert has another one.
            let padding = [0, 0, 0, 8, b'f', b'r', b'e', b'e'].repeat(number);
            let clip = new_clip([fs::read(videos::b_frames()).unwrap(), padding].concat(), stamp(0).wall);
            body.clip = Some(store.attach_clip(stamp(6), alert_id, clip, body.clone()).unwrap());
            body.clip_status = "attached".to_owned();
        }
        for (alert_id, body) in &mut opened {
            body.reason = Some(CloseReason::Cleared);
            store.append_alert_record(stamp(60), alert_id, AlertRecord::Closed, body.clone()).unwrap();
        }
        let key = directory.path().join("key.txt");
        fs::write(&key, store.evidence_key().to_string()).unwrap();
        drop(store);
        let alerts = opened.iter().map(|(alert_id, _)| alert_id.to_string()).collect();
        let exports = Self { directory, alerts, key };
        let config = AgentConfig::new(DEVICE, exports.directory.path())
            .set("device.site.name", "老张面馆 <b>&amp;")
            .set("device.site.town", "城关镇");
        config.write();
        for alert in &exports.alerts {
            let folder = exports.folder(alert);
            let _ = config.run(&["alerts", "export", alert, folder.to_str().unwrap(), "--original"]).expect_code(0);
        }
        exports
    }

    fn folder(&self, alert: &str) -> PathBuf {
        self.directory.path().join(alert)
    }

    /// The first alert's folder with something done to it; what is wrong then.
    fn with(&self, alter: impl FnOnce(&Path)) -> Vec<(String, String)> {
        let folder = self.directory.path().join("altered");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        for entry in fs::read_dir(self.folder(&self.alerts[0])).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
        alter(&folder);
        flaws(&verify(&folder, &["--key", self.key.to_str().unwrap(), "--json"]).expect_code(PROBLEM_FOUND))
    }

    /// Names in the folder of an alert that begin so, in order.
    fn names(&self, alert: usize, start: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder(&self.alerts[alert])).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with(start)).collect();
        names.sort();
        names
    }
}

fn copy(from: &Path, to: &Path) {
    fs::write(to, fs::read(from).unwrap()).unwrap();
}

#[test]
fn whatever_is_done_to_an_exported_folder_is_named() {
    let exports = Exports::make();
    let found = |flaws: &[(String, String)], flaw: &str, file: &str| {
        assert!(flaws.contains(&(flaw.to_owned(), file.to_owned())), "{flaw} {file}: {flaws:?}");
    };
    let other = exports.folder(&exports.alerts[1]);
    let records = exports.names(0, "record-");
    assert_eq!(records.len(), 3);

    for name in exports.names(0, "") {
        let flaws = exports.with(|folder| {
            let mut bytes = fs::read(folder.join(&name)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(folder.join(&name), bytes).unwrap();
        });
        match name.as_str() {
            "evidence.json" | "evidence.json.sig" => found(&flaws, "manifest_altered", "evidence.json"),
            _ => found(&flaws, "altered", &name),
        }
        let flaws = exports.with(|folder| fs::remove_file(folder.join(&name)).unwrap());
        assert!(flaws.iter().any(|(_, file)| *file == name), "{name} removed: {flaws:?}");
    }
    let inserted = &exports.names(1, "record-")[1];
    let flaws = exports.with(|folder| copy(&other.join(inserted), &folder.join(inserted)));
    assert_eq!(flaws, [("unlisted".to_owned(), inserted.clone())]);
    let flaws = exports.with(|folder| {
        fs::rename(folder.join(&records[1]), folder.join("aside")).unwrap();
        fs::rename(folder.join(&records[2]), folder.join(&records[1])).unwrap();
        fs::rename(folder.join("aside"), folder.join(&records[2])).unwrap();
    });
    found(&flaws, "record_place", &records[1]);
    found(&flaws, "record_place", &records[2]);
    let (clip, others) = (&exports.names(0, "clip-")[0], &exports.names(1, "clip-")[0]);
    let flaws = exports.with(|folder| copy(&other.join(others), &folder.join(clip)));
    found(&flaws, "not_named", clip);
    let flaws = exports.with(|folder| std::os::unix::fs::symlink("/etc/hostname", folder.join("more.jpg")).unwrap());
    assert_eq!(flaws, [("unlisted".to_owned(), "more.jpg".to_owned())]);
    // A whole folder of another box: sound, and signed by that box.
    let foreign = Exports::make();
    let folder = foreign.folder(&foreign.alerts[0]);
    let refused = verify(&folder, &["--key", exports.key.to_str().unwrap(), "--json"]).expect_code(PROBLEM_FOUND);
    found(&self::flaws(&refused), "other_key", "evidence-key.pem");
    let _ = verify(&folder, &[]).expect_code(COULD_NOT_CHECK);
}

#[test]
fn what_the_box_has_lost_is_told_and_a_damaged_picture_is_no_export() {
    let exports = Exports::make();
    let state = exports.directory.path().join("state/store");
    let alert = &exports.alerts[0];
    let again = exports.directory.path().join("again");
    let config = AgentConfig::new(DEVICE, exports.directory.path());
    let export = || config.run(&["alerts", "export", alert, again.to_str().unwrap(), "--original", "--json"]);

    fs::remove_file(state.join(format!("snapshots/{alert}.original.jpg"))).unwrap();
    let told = export().expect_code(PROVEN).json();
    let missing = &told["missing"][0];
    assert_eq!(
        (missing["name"].as_str(), missing["reason"].as_str()),
        (Some("original.jpg"), Some("lost")),
        "{told:#}"
    );
    let key = exports.key.to_str().unwrap();
    let verified = verify(&again, &["--key", key]).expect_code(PROVEN);
    assert!(verified.stdout.contains("! original.jpg is not in the folder"), "{}", verified.stdout);

    fs::remove_dir_all(&again).unwrap();
    fs::write(state.join(format!("snapshots/{alert}.jpg")), "a torn picture").unwrap();
    let told = export().expect_code(PROBLEM_FOUND);
    assert!(flaws(&told).contains(&("not_named".to_owned(), "snapshot.jpg".to_owned())), "{}", told.stdout);
    // Nothing is left beside the folder, and a wrong place is told.
    let left = fs::read_dir(exports.directory.path())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    assert!(left.filter(|name| name.starts_with(".again")).count() == 0);
    let refused = config.run(&["alerts", "export", alert, key]).expect_code(COULD_NOT_CHECK);
    assert!(refused.stderr.contains("is a file"), "{}", refused.stderr);
    let nothing = verify(&exports.directory.path().join("nowhere"), &[]).expect_code(COULD_NOT_CHECK);
    assert!(nothing.stderr.contains("can't read"), "{}", nothing.stderr);
}

/// What differs from one run to the next, and the fonts of this machine, are no part of the picture.
const LIKE_EVERY_TIME: &str = "(async () => {
    const font = new FontFace('caption', 'url(FONT)');
    document.fonts.add(await font.load());
    document.body.style.fontFamily = 'caption';
    for (const code of document.querySelectorAll('code, pre')) code.style.fontFamily = 'caption';
    for (const code of document.querySelectorAll('code')) code.textContent = 'x'.repeat(code.textContent.length);
    for (const link of document.querySelectorAll('td a')) link.textContent = link.textContent.replace(/^(record|clip)-.*\\./, '$1-x.');
    for (const cell of document.querySelectorAll('.number')) cell.textContent = '1';
    for (const time of document.querySelectorAll('.now')) time.textContent = 'now';
    const head = document.querySelector('header p');
    head.textContent = head.textContent.replace(/^\\S+/, 'x');
    const video = document.querySelector('video');
    await new Promise(done => { video.onseeked = done; video.currentTime = 1; });
})()";

#[test]
fn the_page_of_an_export_opens_offline_and_looks_as_approved() {
    let exports = Exports::make();
    let page = exports.folder(&exports.alerts[0]).join("index.html");
    let mut browser = Browser::start();
    browser.open(page.to_str().unwrap());
    let shown = browser.evaluate(
        "({ pictures: [...document.images].map(image => image.naturalWidth), text: document.body.innerText,
            seconds: document.querySelector('video').duration, bold: document.querySelectorAll('b').length,
            elsewhere: performance.getEntriesByType('resource').filter(entry => !entry.name.startsWith('file:')).length })",
    );
    assert_eq!(shown["pictures"], serde_json::json!([640, 640]), "{shown:#}");
    assert!(shown["seconds"].as_f64().is_some_and(|seconds| (9.0..11.0).contains(&seconds)), "{shown:#}");
    assert_eq!((&shown["elsewhere"], &shown["bold"]), (&0.into(), &0.into()), "nothing from outside, and no markup");
    let text = shown["text"].as_str().unwrap();
    for expected in ["非工作时段闯入", "Person outside working hours", "老张面馆 <b>&amp;", "已不再出现", "stove"]
    {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let font = repository().join("agent/kitchen-vision/assets/caption-font/NotoSansCJKsc-Regular-GB2312.otf");
    browser.evaluate(&LIKE_EVERY_TIME.replace("FONT", &format!("file://{}", font.display())));
    let taken = exports.directory.path().join("page.png");
    browser.screenshot(900, &taken);
    assert_like(&taken, &repository().join("tests/end-to-end/tests/pictures/export.png"));
}

/// Mean difference of the whole page, in steps of 255: browsers smooth edges in their own ways.
const PAGE_DIFFERS: f64 = 4.0;

/// With UPDATE_PICTURES=1 the picture is taken as the approved one: look at it before you commit it.
fn assert_like(taken: &Path, approved: &Path) {
    if std::env::var_os("UPDATE_PICTURES").is_some() {
        copy(taken, approved);
    }
    let open = |path: &Path| image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).to_luma8();
    let (found, expected) = (open(taken), open(approved));
    let kept = target().join("export-page.png");
    copy(taken, &kept);
    let ((width, height), (wanted_width, wanted_height)) = (found.dimensions(), expected.dimensions());
    assert!(
        width == wanted_width && height.abs_diff(wanted_height) <= 8,
        "{width}×{height} instead of {wanted_width}×{wanted_height}: look at {}",
        kept.display(),
    );
    let pixels = found.rows().zip(expected.rows()).flat_map(|(found, expected)| found.zip(expected));
    let differences = pixels.map(|(found, expected)| u64::from(found[0].abs_diff(expected[0])));
    let mean = differences.sum::<u64>() as f64 / f64::from(width * height.min(wanted_height));
    assert!(mean <= PAGE_DIFFERS, "the page differs by {mean:.2}: look at {}", kept.display());
}

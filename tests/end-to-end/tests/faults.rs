//! Every fault that a site can have, made in the world and not in the agent: `check` names its root first, blames
//! nothing else, and skips what depends on it. Needs root for disks and for another user's key, as in CI.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kitchen_core::time::Wall;
use kitchen_store::{OpenOptions, Store};
use kitchen_test_support::{
    Agent, AgentConfig, Disk, District, Finished, Identity, Mosquitto, RtspCamera, assert_root_user, repository, run,
    system, videos, wait_until,
};
use serde_json::Value;

const DEVICE: &str = "mh07-000123";
const BOUND: Duration = Duration::from_secs(60);
const HEALTHY: i32 = 0;
const PROBLEM_FOUND: i32 = 1;
const WRONG_USE: i32 = 64;
const CAMERA: [&str; 5] = ["camera.reach", "camera.auth", "camera.codec", "camera.rate", "camera.view"];
const LINK: [&str; 5] = ["link.route", "link.dns", "broker.tls", "broker.auth", "broker.roundtrip"];

/// A site where all is well: a broker, a district, a box.
struct Site {
    directory: tempfile::TempDir,
    broker: Mosquitto,
    _district: District,
}

impl Site {
    fn new() -> Self {
        let broker = Mosquitto::start();
        let district = District::start(&broker);
        Self { directory: tempfile::tempdir().unwrap(), broker, _district: district }
    }

    /// The box's configuration, with a video file as its camera.
    fn config(&self) -> AgentConfig {
        self.without_camera().camera("stove", &format!("file://{}", videos::people().display()))
    }

    fn without_camera(&self) -> AgentConfig {
        AgentConfig::new(DEVICE, self.directory.path()).uplink(&self.broker)
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }
}

/// `check --json` on a box whose sensors are out of reach: the tester's own machine may be hot.
fn command(config: &AgentConfig, names: &[&str]) -> Command {
    config.write();
    let nothing = config.directory().join("no-sysfs");
    let mut command = config.command(&[&["check", "--json"], names].concat());
    command.env("KITCHEN_AGENT_SYSFS", &nothing);
    command
}

fn check(config: &AgentConfig) -> Finished {
    run(&mut command(config, &[]))
}

fn checks(finished: &Finished) -> Vec<Value> {
    finished.json()["checks"].as_array().unwrap().clone()
}

fn names(checks: &[Value], result: &str) -> Vec<String> {
    let with = checks.iter().filter(|check| check["result"] == result);
    with.map(|check| check["name"].as_str().unwrap().to_owned()).collect()
}

/// `name` alone fails, with `code` and a next step; each of `skipped` is skipped because of it.
#[track_caller]
fn assert_root(finished: Finished, name: &str, code: &str, skipped: &[&str]) {
    let finished = finished.expect_code(PROBLEM_FOUND);
    let checks = checks(&finished);
    assert_eq!(names(&checks, "fail"), [name], "{finished:#?}");
    let failed = checks.iter().find(|check| check["result"] == "fail").unwrap();
    assert_eq!(failed["code"], code, "{failed:#}");
    for key in ["found", "expected", "next_step"] {
        assert!(failed[key].as_str().is_some_and(|text| !text.is_empty()), "{key} in {failed:#}");
    }
    let because = checks.iter().filter(|check| check["because_of"] == name);
    let because: Vec<&str> = because.map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(because, skipped, "{finished:#?}");
    assert!(!finished.text().contains(RtspCamera::PASSWORD), "{finished:#?}");
}

#[track_caller]
fn assert_healthy(finished: Finished) {
    let finished = finished.expect_code(HEALTHY);
    let checks = checks(&finished);
    assert!(names(&checks, "fail").is_empty(), "{finished:#?}");
    let good = names(&checks, "ok");
    for name in CAMERA.iter().filter(|name| **name != "camera.auth").chain(&LINK).filter(|name| **name != "link.dns") {
        assert!(good.contains(&(*name).to_owned()), "{name} is not ok: {finished:#?}");
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn all_is_well_with_the_agent_down_and_with_the_agent_up() {
    let site = Site::new();
    let mut config = site.config();
    assert_healthy(check(&config));
    config = config.set("uplink.heartbeat_s", 60);
    let mut agent = Agent::start(config);
    wait_until(BOUND, "the agent answers", || agent.command(&["status", "--json"]).code <= 1);
    assert_healthy(check(agent.config()));
    agent.assert_running();
    let log = agent.log();
    assert!(!log.contains("another client connected"), "the check threw the agent off:\n{log}");
    let up = checks(&check(agent.config()));
    assert!(names(&up, "ok").contains(&"service".to_owned()), "{up:#?}");
}

#[test]
fn one_check_can_be_named_and_an_unknown_one_is_wrong_use() {
    let site = Site::new();
    let config = site.config();
    let finished = run(&mut command(&config, &["link.route"])).expect_code(HEALTHY);
    assert_eq!(names(&checks(&finished), "ok"), ["link.route"]);
    let wrong = run(&mut command(&config, &["soup"])).expect_code(WRONG_USE);
    assert!(wrong.stderr.contains("camera.reach"), "the known ones are not named: {wrong:#?}");
}

#[test]
fn a_camera_with_another_password() {
    let site = Site::new();
    let camera = RtspCamera::start(&[("view", &videos::people())]);
    let config = site.without_camera().camera_with_password("stove", &camera.url("view"), "Wrong-Secret-4410");
    let finished = check(&config);
    assert!(!finished.text().contains("Wrong-Secret-4410"), "{finished:#?}");
    assert_root(finished, "camera.auth", "K-CAM-02", &CAMERA[2..]);
}

#[test]
fn a_camera_that_is_away() {
    let site = Site::new();
    let mut camera = RtspCamera::start(&[("view", &videos::people())]);
    let config = site.without_camera().rtsp_camera("stove", &camera.url("view"));
    camera.kill();
    assert_root(check(&config), "camera.reach", "K-CAM-01", &CAMERA[1..]);
}

#[test]
fn a_camera_that_hangs() {
    let site = Site::new();
    let camera = RtspCamera::start(&[("view", &videos::people())]);
    let config = site.without_camera().rtsp_camera("stove", &camera.url("view"));
    camera.hang();
    assert_root(check(&config), "camera.reach", "K-CAM-04", &CAMERA[1..]);
}

#[test]
fn a_camera_that_sends_h265() {
    let site = Site::new();
    let camera = RtspCamera::start(&[("view", &videos::h265())]);
    let config = site.without_camera().rtsp_camera("stove", &camera.url("view"));
    assert_root(check(&config), "camera.codec", "K-CAM-03", &CAMERA[3..]);
}

#[test]
fn a_camera_without_such_a_stream() {
    let site = Site::new();
    let camera = RtspCamera::start(&[("view", &videos::people())]);
    let config = site.without_camera().rtsp_camera("stove", &camera.url("other"));
    assert_root(check(&config), "camera.codec", "K-CAM-05", &CAMERA[3..]);
}

#[test]
fn a_covered_lens_beside_a_camera_that_sees() {
    let site = Site::new();
    let camera = RtspCamera::start(&[("door", &videos::people()), ("stove", &videos::covered())]);
    let config =
        site.without_camera().rtsp_camera("door", &camera.url("door")).rtsp_camera("stove", &camera.url("stove"));
    let finished = check(&config);
    let failed = checks(&finished).into_iter().find(|check| check["result"] == "fail").unwrap();
    assert_eq!(failed["camera"], "stove", "{finished:#?}");
    assert_root(finished, "camera.view", "K-CAM-06", &[]);
}

/// The store's last saved time lies ahead of the system's clock, as after a start without a battery.
#[test]
fn a_clock_that_runs_behind() {
    let site = Site::new();
    let config = site.config();
    let folder = site.state().join("store");
    fs::create_dir_all(&folder).unwrap();
    let store = Store::open(OpenOptions { dir: &folder, device: DEVICE, boot_id: "test" }).unwrap();
    store.save_time("2099-01-01T00:00:00Z".parse::<Wall>().unwrap());
    drop(store);
    assert_root(check(&config), "clock", "K-BOX-01", &LINK[2..]);
}

#[test]
fn a_name_that_no_server_knows() {
    let site = Site::new();
    let config = site.config().set("uplink.broker", "mqtts://broker.invalid:8883");
    assert_root(check(&config), "link.dns", "K-LNK-02", &LINK[2..]);
}

#[test]
fn no_network_at_all() {
    let site = Site::new();
    let config = site.config().set("uplink.broker", "mqtts://broker.invalid:8883");
    let inside = command(&config, &[]);
    let mut alone = Command::new(system("unshare", "util-linux"));
    alone.arg("--net").arg(inside.get_program()).args(inside.get_args());
    alone.env("LANG", "en_US.UTF-8").env("KITCHEN_AGENT_SYSFS", "/nonexistent");
    assert_root(run(&mut alone), "link.route", "K-LNK-01", &LINK[1..]);
}

#[test]
fn a_broker_that_is_down() {
    let mut site = Site::new();
    let config = site.config();
    site.broker.kill();
    assert_root(check(&config), "broker.tls", "K-LNK-03", &LINK[3..]);
}

#[test]
fn a_broker_whose_certificate_has_expired() {
    let mut site = Site::new();
    let config = site.config();
    site.broker.certificates().expire_broker();
    site.broker.restart();
    assert_root(check(&config), "broker.tls", "K-LNK-04", &LINK[3..]);
}

#[test]
fn a_broker_of_a_foreign_authority() {
    let site = Site::new();
    let foreign = site.broker.certificates().foreign_authority();
    let config = site.config().set("uplink.ca_file", path(&foreign));
    assert_root(check(&config), "broker.tls", "K-LNK-05", &LINK[3..]);
}

#[test]
fn a_broker_of_another_name() {
    let mut site = Site::new();
    let config = site.config();
    site.broker.certificates().rename_broker("broker.example");
    site.broker.restart();
    assert_root(check(&config), "broker.tls", "K-LNK-06", &LINK[3..]);
}

#[test]
fn a_broker_that_refuses_the_box() {
    let site = Site::new();
    let Identity { certificate, key, .. } = site.broker.certificates().foreign_device(DEVICE);
    let config = site.config().set("uplink.certificate_file", path(&certificate)).set("uplink.key_file", path(&key));
    assert_root(check(&config), "broker.auth", "K-LNK-07", &LINK[4..]);
}

#[test]
fn a_broker_that_forbids_the_box_its_topics() {
    let mut site = Site::new();
    let config = site.config();
    site.broker.forbid_boxes();
    assert_root(check(&config), "broker.auth", "K-LNK-08", &LINK[4..]);
}

#[test]
fn a_broker_that_forbids_the_running_agent_its_topics() {
    let mut site = Site::new();
    site.broker.forbid_boxes();
    let agent = Agent::start(site.config());
    wait_until(BOUND, "the agent answers", || agent.command(&["status", "--json"]).code <= 1);
    assert_root(check(agent.config()), "broker.auth", "K-LNK-08", &LINK[4..]);
}

#[test]
fn a_district_that_is_silent() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let config = AgentConfig::new(DEVICE, directory.path())
        .uplink(&broker)
        .camera("stove", &format!("file://{}", videos::people().display()));
    assert_root(check(&config), "broker.roundtrip", "K-LNK-09", &[]);
    let agent = Agent::start(config);
    wait_until(BOUND, "the agent answers", || agent.command(&["status", "--json"]).code <= 1);
    assert_root(check(agent.config()), "broker.roundtrip", "K-LNK-09", &[]);
}

/// Root without the right to pass over file modes is as any user.
#[test]
fn a_key_that_belongs_to_another_user() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    assert_root_user();
    let site = Site::new();
    let config = site.config();
    let key = site.broker.device(DEVICE).unwrap().key;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&key, Some(65_534), Some(65_534)).unwrap();
    let inside = command(&config, &[]);
    let mut without = Command::new(system("setpriv", "util-linux"));
    without.args(["--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]);
    without.arg(inside.get_program()).args(inside.get_args());
    without.env("LANG", "en_US.UTF-8").env("KITCHEN_AGENT_SYSFS", "/nonexistent");
    assert_root(run(&mut without), "certificate.expiry", "K-LNK-10", &LINK[2..]);
}

#[test]
fn a_box_whose_certificate_has_expired() {
    let site = Site::new();
    let config = site.config();
    let _ = site.broker.certificates().expired_device(DEVICE);
    assert_root(check(&config), "certificate.expiry", "K-LNK-11", &LINK[2..]);
}

/// A store as a box has it that has sent something.
fn used_store(config: &AgentConfig) {
    assert_healthy(check(config));
}

#[test]
fn a_full_disk() {
    let site = Site::new();
    let config = site.config();
    let _disk = Disk::mount(&site.state(), "size=24m");
    used_store(&config);
    let filler = vec![b'x'; 1 << 20];
    let mut file = fs::File::create(site.state().join("somebody's.log")).unwrap();
    while std::io::Write::write_all(&mut file, &filler).is_ok() {}
    assert_root(check(&config), "disk", "K-STO-02", &["recording", "broker.roundtrip", "service"]);
}

#[test]
fn a_disk_that_protects_itself() {
    let site = Site::new();
    let config = site.config();
    let disk = Disk::mount(&site.state(), "size=64m");
    used_store(&config);
    disk.make_read_only();
    let finished = check(&config);
    assert_root(finished, "disk", "K-STO-03", &["recording", "broker.roundtrip", "service"]);
}

#[test]
fn a_damaged_database() {
    let site = Site::new();
    let config = site.config();
    used_store(&config);
    let database = site.state().join("store/agent.db");
    let mut bytes = fs::read(&database).unwrap();
    assert!(bytes.len() > 8192, "several pages");
    bytes[4096..8192].fill(0xa5);
    fs::write(&database, bytes).unwrap();
    assert_root(check(&config), "database", "K-STO-01", &["recording", "broker.roundtrip", "service"]);
}

/// A copy of the model pack, changed by `change`.
fn pack(directory: &Path, change: impl FnOnce(&Path)) -> PathBuf {
    let pack = directory.join("models");
    copy(&repository().join("models/objects"), &pack.join("objects"));
    change(&pack.join("objects"));
    pack
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            let _ = fs::copy(&source, &target).unwrap();
        }
    }
}

#[test]
fn a_model_that_is_missing() {
    let site = Site::new();
    let pack = pack(site.directory.path(), |objects| fs::remove_file(objects.join("objects.onnx")).unwrap());
    let config = site.config().set("detector.models_dir", path(&pack));
    assert_root(check(&config), "detector.load", "K-DET-01", &["detector.speed", "service"]);
}

#[test]
fn a_model_with_one_byte_changed() {
    let site = Site::new();
    let pack = pack(site.directory.path(), |objects| {
        let mut bytes = fs::read(objects.join("objects.onnx")).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(objects.join("objects.onnx"), bytes).unwrap();
    });
    let config = site.config().set("detector.models_dir", path(&pack));
    assert_root(check(&config), "detector.load", "K-DET-02", &["detector.speed", "service"]);
}

#[test]
fn a_broken_configuration() {
    let site = Site::new();
    let config = site.config().set("device.time_zone", "Asia/Atlantis");
    let finished = check(&config).expect_code(PROBLEM_FOUND);
    let checks = checks(&finished);
    assert_eq!(names(&checks, "fail"), ["config"], "{finished:#?}");
    assert_eq!(checks[0]["code"], "K-CFG-02");
    assert!(checks[0]["found"].as_str().unwrap().contains("Asia/Atlantis"), "{finished:#?}");
    assert!(checks[1..].iter().all(|check| check["because_of"] == "config"), "{finished:#?}");
}

#[test]
fn a_hot_box_with_too_little_voltage() {
    let site = Site::new();
    let config = site.config();
    let sysfs = site.directory.path().join("sys");
    let zone = sysfs.join("class/thermal/thermal_zone0");
    let firmware = sysfs.join("devices/platform/soc/soc:firmware");
    fs::create_dir_all(&zone).unwrap();
    fs::create_dir_all(&firmware).unwrap();
    fs::write(zone.join("temp"), "91000\n").unwrap();
    fs::write(firmware.join("get_throttled"), "50005\n").unwrap();
    let finished = run(command(&config, &["temperature", "power"]).env("KITCHEN_AGENT_SYSFS", &sysfs));
    let checks = checks(&finished.expect_code(PROBLEM_FOUND));
    let codes: Vec<&str> = checks.iter().filter_map(|check| check["code"].as_str()).collect();
    assert_eq!(codes, ["K-BOX-02", "K-BOX-03"]);
}

#[test]
fn a_camera_is_probed_and_gives_a_picture() {
    let site = Site::new();
    let camera =
        RtspCamera::start(&[("view", &videos::people()), ("b", &videos::b_frames()), ("hevc", &videos::h265())]);
    let config = site
        .without_camera()
        .rtsp_camera("stove", &camera.url("view"))
        .rtsp_camera("door", &camera.url("b"))
        .rtsp_camera("back", &camera.url("hevc"));
    config.write();
    let good = config.run(&["camera", "probe", "stove", "--json"]).expect_code(HEALTHY).json();
    assert_eq!((&good["width"], &good["height"], &good["b_frames"]), (&640.into(), &360.into(), &false.into()));
    assert!((9.0..11.0).contains(&good["frame_rate"].as_f64().unwrap()), "{good:#}");
    assert!(good["clock_offset_s"].as_f64().is_some_and(|offset| offset.abs() < 5.0), "{good:#}");
    let b_frames = config.run(&["camera", "probe", "door", "--json"]).expect_code(HEALTHY).json();
    assert!(b_frames["advice"].as_array().unwrap().iter().any(|advice| advice["name"] == "b_frames"), "{b_frames:#}");
    let hevc = config.run(&["camera", "probe", "back", "--json"]).expect_code(PROBLEM_FOUND).json();
    assert_eq!((&hevc["verdict"], &hevc["code"]), (&"unusable".into(), &"K-CAM-03".into()), "{hevc:#}");
    let out = site.directory.path().join("view.jpg");
    let _ = config.run(&["camera", "snapshot", "stove", "--out", path(&out)]).expect_code(HEALTHY);
    assert_eq!(image::open(&out).unwrap().to_rgb8().dimensions(), (640, 360));
}

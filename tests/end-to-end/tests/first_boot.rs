//! The first boot as an installer meets it: a claim on the boot partition, a lamp, a result file; and what goes wrong on
//! site, each with its code, and nothing half done.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use kitchen_test_support::{
    AgentConfig, Authority, Disk, Process, claim_of, free_port, in_english, preload, run, system, wait_for, wait_until,
};

const DEVICE: &str = "mh07-000123";
const BOUND: Duration = Duration::from_secs(60);
const WRONG_CLOCK: &str = "tests/end-to-end/tests/wrong_clock.c";

/// A box before its first boot: a lamp, a boot partition, no name.
struct Box {
    config: AgentConfig,
    folder: PathBuf,
}

impl Box {
    fn new(folder: &Path) -> Self {
        let folder = folder.to_owned();
        for name in ["boot/firmware", "media", "sys/class/leds/ACT", "run"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::write(folder.join("sys/class/leds/ACT/max_brightness"), "255\n").unwrap();
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let config = AgentConfig::new("", &folder)
            .environment("KITCHEN_AGENT_BOOT", &path("boot"))
            .environment("KITCHEN_AGENT_MEDIA", &path("media"))
            .environment("KITCHEN_AGENT_SYSFS", &path("sys"))
            .environment("KITCHEN_AGENT_RUN", &path("run"));
        config.write();
        Self { config, folder }
    }

    fn bring(&self, claim: &Path) {
        fs::copy(claim, self.boot("kitchen-claim.toml")).unwrap();
    }

    fn boot(&self, name: &str) -> PathBuf {
        self.folder.join("boot/firmware").join(name)
    }

    fn start(&self) -> Process {
        let mut plain = self.config.command(&["enrol", "--first-boot"]);
        in_english(&mut plain);
        // With the umask of its unit.
        let mut command = Command::new(system("sh", "dash"));
        command.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(plain.get_program()).args(plain.get_args());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Process::start("first-boot", command, &self.folder)
    }

    fn result(&self) -> String {
        fs::read_to_string(self.boot("kitchen-result.txt")).unwrap_or_default()
    }

    fn lamp(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join("sys/class/leds/ACT").join(file)).unwrap_or_default()
    }

    fn is_enrolled(&self) -> bool {
        self.folder.join("state/identity/current").exists()
    }
}

#[test]
fn a_claim_on_the_boot_partition_enrols_the_box_and_lamp_and_file_say_so() {
    let mut authority = Authority::make(free_port(), "365d");
    let claims = authority.batch(&[DEVICE]);
    let directory = tempfile::tempdir().unwrap();
    let kitchen = Box::new(directory.path());
    let mut boot = kitchen.start();
    wait_until(BOUND, "a short flash every two seconds: there is no claim", || kitchen.lamp("delay_off") == "1900");

    // The installer brings claim, configuration and password; the authority is away at first.
    let state = directory.path().join("state");
    let own = format!(
        "[device]\nid = \"\"\nstate_dir = \"{}\"\n[[camera]]\nid = \"stove\"\nurl = \"rtsp://192.168.8.64/1\"\n",
        state.display()
    );
    fs::write(kitchen.boot("kitchen-agent.toml"), format!("\u{feff}{own}")).unwrap();
    fs::write(kitchen.boot("camera.password"), "geheim\n").unwrap();
    kitchen.bring(&claim_of(&claims, DEVICE));
    wait_until(BOUND, "it says that it tries again", || kitchen.result().contains("K-ENR-09"));
    assert_eq!((kitchen.lamp("trigger").as_str(), kitchen.lamp("delay_on").as_str()), ("timer", "500"));
    assert_eq!(fs::read_to_string(kitchen.config.path()).unwrap(), own);
    assert_eq!(fs::read_to_string(directory.path().join("camera.password")).unwrap(), "geheim\n");
    let mode = fs::metadata(kitchen.config.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "the agent's group may read it");
    assert!(!kitchen.boot("camera.password").exists(), "the password does not stay on the card");

    authority.serve();
    let status = wait_for(BOUND, "the first boot ends", || boot.ended());
    assert!(status.success());
    let result = kitchen.result();
    assert!(result.starts_with('\u{feff}') && result.contains("\r\n"), "for any editor: {result:?}");
    for said in [DEVICE, "登记成功", "Done. This box is", "老王火锅"] {
        assert!(result.contains(said), "{said}: {result}");
    }
    assert!(!kitchen.boot("kitchen-claim.toml").exists(), "the used claim is gone");
    assert_eq!((kitchen.lamp("trigger").as_str(), kitchen.lamp("brightness").as_str()), ("none", "255"));
    let mut again = kitchen.start();
    let status = wait_for(BOUND, "later boots have nothing to do", || again.ended());
    assert!(status.success() && authority.events("enrolled").len() == 1);
}

#[test]
fn a_claim_on_a_stick_takes_the_card_s_configuration_along() {
    let mut authority = Authority::make(free_port(), "365d");
    let claims = authority.batch(&[DEVICE]);
    authority.serve();
    let directory = tempfile::tempdir().unwrap();
    let kitchen = Box::new(directory.path());
    let stick = directory.path().join("media/stick");
    fs::create_dir(&stick).unwrap();
    let state = directory.path().join("state");
    let own = format!("[device]\nstate_dir = \"{}\"\n", state.display());
    fs::write(kitchen.boot("kitchen-agent.toml"), &own).unwrap();
    fs::write(kitchen.boot("camera.password"), "alt\n").unwrap();
    fs::write(stick.join("camera.password"), "geheim\n").unwrap();
    fs::copy(claim_of(&claims, DEVICE), stick.join("kitchen-claim.toml")).unwrap();
    let mut boot = kitchen.start();
    let status = wait_for(BOUND, "the first boot ends", || boot.ended());
    assert!(status.success() && kitchen.is_enrolled());
    assert_eq!(fs::read_to_string(kitchen.config.path()).unwrap(), own);
    let password = fs::read_to_string(directory.path().join("camera.password")).unwrap();
    assert_eq!(password, "geheim\n", "what lies beside the claim goes before");
    assert!(fs::read_to_string(stick.join("kitchen-result.txt")).unwrap().contains("Done."));
    assert!(!stick.join("kitchen-claim.toml").exists() && !stick.join("camera.password").exists());
}

#[test]
fn a_refused_claim_is_shown_and_the_right_one_helps_without_a_restart() {
    let mut authority = Authority::make(free_port(), "365d");
    let unknown = authority.unimported_batch(&["mh07-000200"]).join("claims");
    let claims = authority.batch(&[DEVICE]);
    authority.serve();
    let directory = tempfile::tempdir().unwrap();
    let kitchen = Box::new(directory.path());
    kitchen.bring(&claim_of(&unknown, "mh07-000200"));
    let mut boot = kitchen.start();
    wait_until(BOUND, "five flashes a second", || kitchen.lamp("delay_off") == "100");
    let result = kitchen.result();
    assert!(result.contains("K-ENR-06") && result.contains("下一步") && result.contains("Next:"), "{result}");
    // A configuration that is wrong keeps nobody from being enrolled, and is told all the same.
    let before = fs::read_to_string(kitchen.config.path()).unwrap();
    fs::write(kitchen.boot("kitchen-agent.toml"), "[[camera]]\nid = \"stove\"\nurl = \"htp://\"\n").unwrap();
    kitchen.bring(&claim_of(&claims, DEVICE));
    let status = wait_for(BOUND, "the first boot ends", || boot.ended());
    assert!(status.success() && kitchen.is_enrolled());
    let result = kitchen.result();
    assert!(result.contains("Done.") && result.contains("K-CFG-02") && result.contains("camera.stove.url"), "{result}");
    assert_eq!(
        (kitchen.lamp("delay_off"), fs::read_to_string(kitchen.config.path()).unwrap()),
        ("100".to_owned(), before)
    );
}

#[test]
fn what_goes_wrong_on_site_has_its_code_and_leaves_nothing_half_done() {
    let mut authority = Authority::make(free_port(), "365d");
    let foreign = Authority::make(free_port(), "365d");
    let claims = authority.batch(&[DEVICE, "mh07-000124"]);
    let directory = tempfile::tempdir().unwrap();
    let kitchen = Box::new(directory.path());
    let claim = claim_of(&claims, DEVICE).to_str().unwrap().to_owned();
    let refused = |code: &str| {
        let told = kitchen.config.run(&["enrol", "--claim", &claim]);
        assert!(told.code != 0 && told.stderr.contains(code), "{code}: {told:?}");
        assert!(!kitchen.is_enrolled(), "nothing half done");
        let checked = kitchen.config.run(&["check", "enrolment", "--json"]);
        assert!(checked.stdout.contains(code), "check names {code}: {}", checked.stdout);
    };
    // No network at all.
    let inside = kitchen.config.command(&["enrol", "--claim", &claim]);
    let mut alone = Command::new(system("unshare", "util-linux"));
    alone.arg("--net").arg(inside.get_program()).args(inside.get_args());
    in_english(&mut alone);
    let told = run(&mut alone);
    assert!(told.code == 2 && told.stderr.contains("K-LNK-01") && !kitchen.is_enrolled(), "{told:?}");
    // A page in the authority's place: of the right authority's certificate, as a wrong server behind it would answer,
    // and of somebody else's, as a captive portal does.
    for (identity, status) in [("own", 200), ("own", 302), ("foreign", 200)] {
        let identity = if identity == "own" { authority.account("broker") } else { foreign.account("broker") };
        let _portal = portal(authority.port(), &identity, status, directory.path());
        refused("K-ENR-11");
    }
    // The folder of the next key can't be written.
    let next = directory.path().join("state/identity/next");
    fs::remove_dir_all(&next).unwrap();
    fs::create_dir_all(next.join("device.key")).unwrap();
    let told = kitchen.config.run(&["enrol"]);
    assert!(told.code != 0 && told.stderr.contains("K-ENR-13"), "{told:?}");
    fs::remove_dir_all(&next).unwrap();
    // A clock at 1970 is no hindrance: the claim says that it is later.
    authority.serve();
    let since_1970 = i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let offset = directory.path().join("clock-offset");
    fs::write(&offset, (-since_1970 + 60).to_string()).unwrap();
    let early = kitchen
        .config
        .clone()
        .environment("LD_PRELOAD", preload(WRONG_CLOCK, directory.path()).to_str().unwrap())
        .environment("CLOCK_OFFSET_FILE", offset.to_str().unwrap());
    let told = early.run(&["enrol", "--json"]).expect_code(0).json();
    assert_eq!(told["device"], DEVICE);
}

#[test]
fn a_full_disk_keeps_a_box_from_being_enrolled_and_room_lets_it() {
    let mut authority = Authority::make(free_port(), "365d");
    let claims = authority.batch(&[DEVICE]);
    authority.serve();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    let _disk = Disk::mount(&disk, "size=1m");
    let kitchen = Box::new(directory.path());
    let config = kitchen.config.set("device.state_dir", disk.join("state").to_str().unwrap());
    config.write();
    let ballast = disk.join("ballast");
    let _ = fs::write(&ballast, vec![0; 2 << 20]);
    let claim = claim_of(&claims, DEVICE);
    let enrol = || config.run(&["enrol", "--claim", claim.to_str().unwrap()]);
    let told = enrol();
    assert!(told.code != 0 && told.stderr.contains("K-STO-02"), "{told:?}");
    assert!(claim.exists() && !disk.join("state/identity/current").exists());
    fs::remove_file(&ballast).unwrap();
    let _ = enrol().expect_code(0);
}

/// A server on the authority's port that answers every question with a page, or sends it elsewhere.
fn portal(port: u16, identity: &kitchen_test_support::Identity, status: u16, folder: &Path) -> Process {
    let mut command = Command::new(system("python3", "python3"));
    command.args(["-c", PORTAL, &port.to_string(), &status.to_string()]);
    command.arg(&identity.certificate).arg(&identity.key);
    let mut process = Process::start("portal", command, folder);
    wait_until(BOUND, "the portal listens", || {
        process.assert_running();
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    process
}

const PORTAL: &str = r#"
import http.server, ssl, sys
port, status, certificate, key = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
class Page(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Location", "https://portal.example/login")
        self.end_headers()
        self.wfile.write(b"<html>please log in</html>")
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Page)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

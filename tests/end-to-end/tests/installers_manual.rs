//! Every command of the manual for installers, in its order and as it stands there: only hosts, ports and folders are the
//! test's own.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kitchen_test_support::{
    Agent, AgentConfig, District, Finished, Identity, Mosquitto, Process, built, free_port, repository, run, wait_until,
};

const BOUND: Duration = Duration::from_secs(60);
const DEVICE: &str = "mh07-000123";

/// Blocks without a language, and what begins with a program's name between two backticks.
fn commands(manual: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, part) in manual.split("```").enumerate() {
        if index % 2 == 1 {
            found.extend(part.strip_prefix('\n').into_iter().flat_map(str::lines).map(str::to_owned));
        } else {
            let spans = part.split('`').skip(1).step_by(2);
            let is_command = |span: &&str| {
                ["kitchen-agent ", "kitchen-district ", "systemctl ", "sudo "].iter().any(|name| span.starts_with(name))
            };
            found.extend(spans.filter(is_command).map(str::to_owned));
        }
    }
    found
}

/// The list of sites that the manual shows.
fn sites(manual: &str) -> &str {
    manual.split("```csv\n").nth(1).unwrap().split("```").next().unwrap()
}

/// A district and a box, with folders in the place of the manual's.
struct Site {
    folder: PathBuf,
    authority_port: u16,
    broker_port: u16,
    config: AgentConfig,
    /// Running servers, once the manual has come to them.
    authority: Option<Process>,
    broker: Option<Mosquitto>,
    district: Option<District>,
    agent: Option<Agent>,
}

impl Site {
    fn new(folder: &Path, manual: &str) -> Self {
        for name in ["desk", "stick", "boot"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        fs::write(folder.join("desk/sites.csv"), sites(manual)).unwrap();
        let config = AgentConfig::unenrolled(&folder.join("box"))
            .environment("KITCHEN_AGENT_BOOT", folder.join("boot").to_str().unwrap());
        config.write();
        Self {
            folder: folder.to_owned(),
            authority_port: free_port(),
            broker_port: free_port(),
            config,
            authority: None,
            broker: None,
            district: None,
            agent: None,
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn account(&self, folder: &str, name: &str) -> Identity {
        let file = |name: String| self.folder.join(folder).join(name);
        let ca = self.folder.join("ca/ca.pem");
        Identity { ca, certificate: file(format!("{name}.pem")), key: file(format!("{name}.key")) }
    }

    /// The words of a command with the test's hosts, ports and folders.
    fn words(&self, command: &str) -> Vec<String> {
        let (authority, broker) = (self.authority_port, self.broker_port);
        let places = [
            ("ca.example:8443", format!("localhost:{authority}")),
            ("broker.example:8883", format!("localhost:{broker}")),
            ("broker.example", "localhost".to_owned()),
            ("0.0.0.0:8443", format!("127.0.0.1:{authority}")),
            ("/etc/mosquitto/certs", self.path("certs")),
            ("/etc/kitchen-district", self.path("account")),
            (
                "/var/lib/kitchen-district",
                self.district.as_ref().map_or_else(String::new, |district| district.store().display().to_string()),
            ),
            ("/media/usb", self.path("stick")),
        ];
        let placed = places.iter().fold(command.to_owned(), |text, (name, place)| text.replace(name, place));
        placed.split_whitespace().filter(|word| *word != "sudo").map(str::to_owned).collect()
    }

    fn follow(&mut self, command: &str) {
        let words = self.words(command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["systemctl", "reload", "mosquitto"] => self.broker.as_ref().unwrap().reload(),
            ["kitchen-agent", ref arguments @ ..] => {
                let _ = self.config.run(arguments).expect_code(0);
            }
            ["kitchen-district", "ca", "serve", ..] => self.serve(&words[1..]),
            ["kitchen-district", ref arguments @ ..] => {
                let _ = self.ask_district(arguments).expect_code(0);
            }
            // The images' own test runs these, and takes hours.
            [script, ..] if script.starts_with("provisioning/image/") => assert_is_run_by_the_images_test(script),
            _ => panic!("this test can't follow {command:?}"),
        }
        self.look_after(&words);
    }

    fn ask_district(&self, arguments: &[&str]) -> Finished {
        // Who signs a request has the stick before him.
        let place = if arguments.contains(&"sign") { "stick" } else { "desk" };
        run(self.district_command(arguments).current_dir(self.folder.join(place)))
    }

    fn district_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(built("kitchen-district"));
        command.args(arguments).args(["--store", &self.path("ca")]);
        command
    }

    fn serve(&mut self, arguments: &[&str]) {
        self.authority = Some(Process::start("ca", self.district_command(arguments), &self.folder));
        wait_until(BOUND, "the authority listens", || TcpStream::connect(("127.0.0.1", self.authority_port)).is_ok());
    }

    /// What the manual lets people see or do between its commands.
    fn look_after(&mut self, words: &[&str]) {
        match words {
            ["kitchen-district", "ca", "certificate", "district", ..] => {
                let crl = self.folder.join("ca/crl.pem");
                let broker = Mosquitto::start_with(self.broker_port, self.account("certs", "broker"), crl);
                self.district = Some(District::start_as(&broker, Some(self.account("account", "district"))));
                self.broker = Some(broker);
            }
            ["kitchen-district", "ca", "import", ..] => {
                let claim = self.folder.join("desk/batch-7/claims").join(DEVICE).join("kitchen-claim.toml");
                fs::copy(claim, self.folder.join("boot/kitchen-claim.toml")).unwrap();
                assert!(self.folder.join("desk/batch-7/labels.pdf").exists());
                assert!(self.folder.join("desk/batch-7/import.csv").exists());
            }
            ["kitchen-agent", "enrol", "import", ..] => {
                self.agent = Some(Agent::start(self.config.clone()));
                let district = self.district.as_mut().unwrap();
                let _ =
                    district.wait_for(BOUND, "the box", |event| event["event"] == "state" && event["device"] == DEVICE);
            }
            ["systemctl", ..] => {
                let agent = self.agent.as_ref().unwrap();
                wait_until(BOUND, "the revoked box is off, and says why", || {
                    agent.command(&["status", "--json"]).stdout.contains("K-ENR-15")
                });
            }
            _ => {}
        }
    }
}

fn assert_is_run_by_the_images_test(script: &str) {
    let name = Path::new(script).file_name().unwrap().to_str().unwrap();
    let test = fs::read_to_string(repository().join("provisioning/image/test.sh")).unwrap();
    assert!(repository().join(script).is_file() && test.contains(&format!("manual {name} ")), "{script}");
}

#[test]
fn every_command_of_the_manual_works_where_it_stands() {
    let manual = fs::read_to_string(repository().join("provisioning/README.md")).unwrap();
    let commands = commands(&manual);
    assert!(commands.len() > 10, "{commands:?}");
    let directory = tempfile::tempdir().unwrap();
    let mut site = Site::new(directory.path(), &manual);
    for command in &commands {
        site.follow(command);
    }
    for needed in ["ca init", "batch", "ca claim", "ca revoke", "enrol export", "enrol import", "check enrolment"] {
        assert!(commands.iter().any(|command| command.contains(needed)), "{needed} is not in the manual");
    }
}

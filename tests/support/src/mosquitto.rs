//! Mosquitto as the contract wants a broker: MQTT 5, client certificates, user and client id taken from the
//! certificate, an access list for each device. It can be killed, stopped, and started again on its port.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::certificates::{Certificates, Identity};
use crate::process::Process;
use crate::program::system;
use crate::waiting::wait_until;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const START_BOUND: Duration = Duration::from_secs(10);

const ACCESS: &str = "\
pattern write kitchen/v1/%u/up/#
pattern read kitchen/v1/%u/down/#

user district
topic read kitchen/v1/+/up/#
topic write kitchen/v1/+/down/#
";

/// A broker, on loopback unless it is told otherwise.
pub struct Mosquitto {
    process: Option<Process>,
    address: IpAddr,
    port: u16,
    /// The authority of the test's own.
    certificates: Option<Certificates>,
    /// Its certificate, key and authority.
    tls: Option<Identity>,
    /// Certificates that are taken back.
    revocations: Option<PathBuf>,
    directory: TempDir,
}

impl Mosquitto {
    /// With TLS and client certificates, on a free port.
    #[must_use]
    pub fn start() -> Self {
        Self::start_at(LOOPBACK)
    }

    /// As [`Self::start`], where somebody beyond this machine's loopback reaches it.
    #[must_use]
    pub fn start_at(address: IpAddr) -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let certificates = Certificates::make_for(&directory.path().join("certificates"), address);
        let tls = certificates.broker();
        Self::launch(address, free_port_at(address), directory, Some(certificates), Some(tls), None)
    }

    /// Without TLS and without accounts.
    #[must_use]
    pub fn plain() -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        Self::launch(LOOPBACK, free_port_at(LOOPBACK), directory, None, None, None)
    }

    /// With certificates of an authority from elsewhere and its list of revoked ones, on a port that is known before.
    #[must_use]
    pub fn start_with(port: u16, tls: Identity, revocations: PathBuf) -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        Self::launch(LOOPBACK, port, directory, None, Some(tls), Some(revocations))
    }

    fn launch(
        address: IpAddr,
        port: u16,
        directory: TempDir,
        certificates: Option<Certificates>,
        tls: Option<Identity>,
        revocations: Option<PathBuf>,
    ) -> Self {
        let mut broker = Self { process: None, address, port, certificates, tls, revocations, directory };
        fs::write(broker.configuration(), broker.configuration_text()).expect("a temporary folder takes files");
        fs::write(broker.directory.path().join("access"), ACCESS).expect("a temporary folder takes files");
        broker.restart();
        broker
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "mqtts" } else { "mqtt" };
        match self.address {
            LOOPBACK => format!("{scheme}://localhost:{}", self.port),
            address => format!("{scheme}://{address}:{}", self.port),
        }
    }

    /// The authority of a broker with TLS.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("a broker started with TLS")
    }

    /// The identity of a box, or none at a broker without TLS.
    #[must_use]
    pub fn device(&self, id: &str) -> Option<Identity> {
        self.certificates.as_ref().map(|certificates| certificates.device(id))
    }

    /// The district's identity, or none at a broker without TLS.
    #[must_use]
    pub fn district(&self) -> Option<Identity> {
        self.certificates.as_ref().map(Certificates::district)
    }

    /// SIGKILL: what it had not saved is gone, sessions too.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again, on the same port and with what it saved.
    pub fn restart(&mut self) {
        self.process = None;
        let mut command = Command::new(system("mosquitto", "mosquitto"));
        command.arg("-c").arg(self.configuration());
        let mut process = Process::start("mosquitto", command, self.directory.path());
        wait_until(START_BOUND, "mosquitto listens", || {
            process.assert_running();
            TcpStream::connect((self.address, self.port)).is_ok()
        });
        self.process = Some(process);
    }

    /// Takes the boxes' access rights away; the district keeps its own.
    pub fn forbid_boxes(&mut self) {
        let district = ACCESS.find("user district").expect("the district has rights");
        fs::write(self.directory.path().join("access"), &ACCESS[district..]).expect("a temporary folder takes files");
        self.restart();
    }

    /// It hangs: connections stay open, nothing is answered.
    pub fn stop(&self) {
        self.running().stop();
    }

    pub fn cont(&self) {
        self.running().cont();
    }

    /// It reads certificates, revoked ones and access rights anew, as `systemctl reload` lets it.
    pub fn reload(&self) {
        self.running().hang_up();
    }

    /// What it logged: connections, disconnections, refusals.
    #[must_use]
    pub fn log(&self) -> String {
        self.running().stderr()
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("the broker was not killed")
    }

    fn configuration(&self) -> PathBuf {
        self.directory.path().join("mosquitto.conf")
    }

    fn configuration_text(&self) -> String {
        let directory = self.directory.path().display();
        // Started by root it would give its rights up, and could not write to the folder.
        let mut text = format!(
            "user root\nlog_dest stderr\nlog_type all\nconnection_messages true\n\
             persistence true\npersistence_location {directory}/\n\
             max_packet_size 1048576\nmax_queued_messages 10000\nlistener {} {}\n",
            self.port, self.address
        );
        match &self.tls {
            None => text.push_str("allow_anonymous true\n"),
            Some(Identity { ca, certificate, key }) => {
                if let Some(list) = &self.revocations {
                    text += &format!("crlfile {}\n", list.display());
                }
                text += &format!(
                    "cafile {}\ncertfile {}\nkeyfile {}\n\
                     require_certificate true\nuse_identity_as_username true\nuse_username_as_clientid true\n\
                     allow_anonymous false\nacl_file {directory}/access\n",
                    ca.display(),
                    certificate.display(),
                    key.display()
                );
            }
        }
        text
    }
}

/// A port of loopback on which nothing listens.
#[must_use]
pub fn free_port() -> u16 {
    free_port_at(LOOPBACK)
}

fn free_port_at(address: IpAddr) -> u16 {
    let listener = TcpListener::bind((address, 0)).expect("an address of this machine has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

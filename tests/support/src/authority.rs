//! The district's authority as an operator sets it up: made, with certificates for the broker and the district's own
//! account, fed with a batch, and serving on loopback.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::certificates::Identity;
use crate::mosquitto::free_port;
use crate::process::{Finished, Process};
use crate::program::{built, run};
use crate::waiting::wait_until;

const START_BOUND: Duration = Duration::from_secs(10);
const HEADER: &str = "label,town,restaurant,licence,camera,serial\n";

/// `kitchen-district ca`.
pub struct Authority {
    process: Option<Process>,
    port: u16,
    directory: TempDir,
}

impl Authority {
    /// Made and not serving yet; the broker will listen on `broker_port` of loopback, a box's certificate hold for
    /// `lifetime`, such as `365d`.
    #[must_use]
    pub fn make(broker_port: u16, lifetime: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let authority = Self { process: None, port: free_port(), directory };
        let broker = format!("mqtts://localhost:{broker_port}");
        let url = authority.url();
        let _ = authority.ca(&["init", "--url", &url, "--broker", &broker, "--lifetime", lifetime]).expect_code(0);
        let out = authority.accounts();
        let out = out.to_str().expect("test paths are UTF-8");
        let _ = authority.ca(&["certificate", "broker", "--host", "localhost", "--out", out]).expect_code(0);
        let _ = authority.ca(&["certificate", "district", "--out", out]).expect_code(0);
        authority
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.directory.path().join("ca")
    }

    /// For the broker's `crlfile`.
    #[must_use]
    pub fn revocations(&self) -> PathBuf {
        self.store().join("crl.pem")
    }

    /// Of the broker or of the district's account.
    #[must_use]
    pub fn account(&self, name: &str) -> Identity {
        let file = |end: &str| self.accounts().join(format!("{name}.{end}"));
        Identity { ca: self.store().join("ca.pem"), certificate: file("pem"), key: file("key") }
    }

    /// Runs `kitchen-district ca ARGUMENTS` on its folder.
    #[must_use]
    pub fn ca(&self, arguments: &[&str]) -> Finished {
        run(Command::new(built("kitchen-district")).arg("ca").args(arguments).arg("--store").arg(self.store()))
    }

    /// Makes a batch for these device ids, imports it, and gives the folder of the boxes' claims.
    #[must_use]
    pub fn batch(&self, devices: &[&str]) -> PathBuf {
        let folder = self.unimported_batch(devices);
        let manifest = folder.join("manifest.json");
        let _ = self.ca(&["import", manifest.to_str().expect("test paths are UTF-8")]).expect_code(0);
        folder.join("claims")
    }

    /// As [`Self::batch`], and nobody has told the authority.
    #[must_use]
    pub fn unimported_batch(&self, devices: &[&str]) -> PathBuf {
        let mut sites = HEADER.to_owned();
        for device in devices {
            let _ = writeln!(sites, "{device},青山镇,老王火锅 {device},JY-{device},灶台,");
        }
        let list = self.directory.path().join("sites.csv");
        fs::write(&list, sites).expect("a temporary folder takes files");
        let out = self.directory.path().join(format!("batch-{}", fastrand::u32(..)));
        let mut command = Command::new(built("kitchen-district"));
        command.arg("batch").arg(list).arg("--store").arg(self.store()).arg("--out").arg(&out);
        let _ = run(&mut command).expect_code(0);
        out
    }

    /// Listens, and answers boxes.
    pub fn serve(&mut self) {
        self.process = None;
        let mut command = Command::new(built("kitchen-district"));
        command.args(["ca", "serve", "--json", "--listen", &format!("127.0.0.1:{}", self.port), "--store"]);
        command.arg(self.store());
        let mut process = Process::start("ca", command, self.directory.path());
        wait_until(START_BOUND, "the authority listens", || {
            process.assert_running();
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
        });
        self.process = Some(process);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Events of one kind that the running service has told, e.g. `enrolled`.
    #[must_use]
    pub fn events(&self, event: &str) -> Vec<serde_json::Value> {
        let told = fs::read_to_string(self.directory.path().join("ca.out")).unwrap_or_default();
        let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
        told.lines().filter_map(parse).filter(|told| told["event"] == event).collect()
    }

    fn accounts(&self) -> PathBuf {
        self.directory.path().join("accounts")
    }
}

/// The claim of a box in a batch's folder.
#[must_use]
pub fn claim_of(claims: &Path, device: &str) -> PathBuf {
    claims.join(device).join("kitchen-claim.toml")
}

//! The serial number of the board that this program runs on, as anybody on it may read it.

use std::fs;
use std::path::Path;

use kitchen_core::enrolment::is_serial;
use kitchen_core::wire::sha256_hex;

use crate::health;

const MACHINE_ID: &str = "/etc/machine-id";

/// The board's own number (Raspberry Pi, Rockchip); where there is none, one that belongs to this installation.
#[must_use]
pub fn serial() -> Option<String> {
    own(&health::proc()).or_else(|| of_installation(Path::new(MACHINE_ID)))
}

fn own(proc: &Path) -> Option<String> {
    let tree = fs::read(proc.join("device-tree/serial-number")).ok();
    let tree = tree.map(|bytes| String::from_utf8_lossy(&bytes).trim_matches(['\0', '\n', ' ']).to_owned());
    let from_processor = || {
        let text = fs::read_to_string(proc.join("cpuinfo")).ok()?;
        let line = text.lines().find(|line| line.starts_with("Serial"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    // A board that was never given one says zeros.
    let is_real = |serial: &String| is_serial(serial) && serial.bytes().any(|byte| byte != b'0');
    tree.filter(is_real).or_else(from_processor).filter(is_real)
}

/// The machine id itself is not for others to know.
fn of_installation(path: &Path) -> Option<String> {
    let id = fs::read_to_string(path).ok()?;
    let id = id.trim();
    let digest = sha256_hex(format!("kitchen-agent board {id}").as_bytes());
    (id.len() == 32).then(|| format!("machine-{}", &digest[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_s_number_is_read_where_there_is_one() {
        let proc = tempfile::tempdir().expect("a folder");
        assert_eq!(own(proc.path()), None);
        fs::write(proc.path().join("cpuinfo"), "Model\t: Pi\nSerial\t\t: 10000000deadbeef\n").expect("written");
        assert_eq!(own(proc.path()).as_deref(), Some("10000000deadbeef"));
        fs::create_dir(proc.path().join("device-tree")).expect("made");
        fs::write(proc.path().join("device-tree/serial-number"), "00000000\0").expect("written");
        assert_eq!(own(proc.path()).as_deref(), Some("10000000deadbeef"), "zeros are none");
        fs::write(proc.path().join("device-tree/serial-number"), "8f3a5c2b\0").expect("written");
        assert_eq!(own(proc.path()).as_deref(), Some("8f3a5c2b"));
    }

    #[test]
    fn an_installation_has_a_number_that_does_not_tell_its_machine_id() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("machine-id");
        fs::write(&path, "0123456789abcdef0123456789abcdef\n").expect("written");
        let serial = of_installation(&path).expect("one");
        assert!(serial.starts_with("machine-") && !serial.contains("0123456789abcdef") && is_serial(&serial));
        fs::write(&path, "uninitialized\n").expect("written");
        assert_eq!(of_installation(&path), None);
    }
}

//! How the box itself fares, as the kernel tells it: temperature, supply voltage, memory.
//! Plain functions that take the root of sysfs or proc; what a box can't measure is `None`, never zero.

use std::fs;
use std::path::{Path, PathBuf};

/// Bits of the Raspberry Pi firmware's `get_throttled`.
const UNDERVOLTAGE_NOW: u32 = 1 << 0;
const UNDERVOLTAGE_SINCE_BOOT: u32 = 1 << 16;

/// Where sysfs lies: `/sys`, or what `KITCHEN_AGENT_SYSFS` says.
#[must_use]
pub fn sysfs() -> PathBuf {
    root("KITCHEN_AGENT_SYSFS", "/sys")
}

/// Where proc lies: `/proc`, or what `KITCHEN_AGENT_PROC` says.
#[must_use]
pub fn proc() -> PathBuf {
    root("KITCHEN_AGENT_PROC", "/proc")
}

/// Where run lies: `/run`, or what `KITCHEN_AGENT_RUN` says.
#[must_use]
pub fn run() -> PathBuf {
    root("KITCHEN_AGENT_RUN", "/run")
}

fn root(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| default.into(), PathBuf::from)
}

/// The hottest thermal zone in degrees Celsius.
#[must_use]
pub fn temperature_c(sysfs: &Path) -> Option<f32> {
    let zones = fs::read_dir(sysfs.join("class/thermal")).ok()?.filter_map(Result::ok);
    let zones = zones.filter(|zone| zone.file_name().to_string_lossy().starts_with("thermal_zone"));
    let read = |zone: fs::DirEntry| number::<i32>(&zone.path().join("temp"));
    // Sensors that are off say 0, or less than a kitchen can be cold.
    let thousandths = zones.filter_map(read).filter(|value| *value > 0 && *value < 200_000).max()?;
    #[expect(clippy::cast_precision_loss, reason = "below 200,000")]
    Some(thousandths as f32 / 1000.0)
}

/// What the supply voltage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Power {
    pub too_low_now: bool,
    pub too_low_since_boot: bool,
}

/// The supply voltage's alarm, where the box has one (Raspberry Pi).
#[must_use]
pub fn power(sysfs: &Path) -> Option<Power> {
    let throttled = text(&sysfs.join("devices/platform/soc/soc:firmware/get_throttled"));
    let bits = throttled.and_then(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok());
    let from_firmware = bits.map(|bits| Power {
        too_low_now: bits & UNDERVOLTAGE_NOW != 0,
        too_low_since_boot: bits & (UNDERVOLTAGE_NOW | UNDERVOLTAGE_SINCE_BOOT) != 0,
    });
    let alarm = voltage_alarm(sysfs).map(|is_low| Power { too_low_now: is_low, too_low_since_boot: is_low });
    match (from_firmware, alarm) {
        (Some(firmware), Some(alarm)) => Some(Power {
            too_low_now: firmware.too_low_now || alarm.too_low_now,
            too_low_since_boot: firmware.too_low_since_boot || alarm.too_low_now,
        }),
        (firmware, alarm) => firmware.or(alarm),
    }
}

/// The alarm of the driver `rpi_volt`.
fn voltage_alarm(sysfs: &Path) -> Option<bool> {
    let monitors = fs::read_dir(sysfs.join("class/hwmon")).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let mut monitors = monitors.filter(|path| text(&path.join("name")).as_deref() == Some("rpi_volt"));
    let alarm: u32 = number(&monitors.next()?.join("in0_lcrit_alarm"))?;
    Some(alarm != 0)
}

/// Memory of the box in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What programs can still get without swapping.
    pub available: u64,
    pub total: u64,
}

#[must_use]
pub fn memory(proc: &Path) -> Option<Memory> {
    let text = text(&proc.join("meminfo"))?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    };
    Some(Memory { available: value("MemAvailable")?, total: value("MemTotal")? })
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number<T: std::str::FromStr>(path: &Path) -> Option<T> {
    text(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, content) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
            fs::write(path, content).expect("written");
        }
        folder
    }

    #[test]
    fn the_hottest_zone_counts_and_dead_sensors_do_not() {
        let sysfs = tree(&[
            ("class/thermal/thermal_zone0/temp", "48312\n"),
            ("class/thermal/thermal_zone1/temp", "71000\n"),
            ("class/thermal/thermal_zone2/temp", "-274000\n"),
            ("class/thermal/cooling_device0/temp", "99000\n"),
        ]);
        assert_eq!(temperature_c(sysfs.path()), Some(71.0));
        assert_eq!(temperature_c(tree(&[]).path()), None);
    }

    #[test]
    fn low_voltage_is_seen_now_and_since_boot() {
        let throttled = |bits: &str| {
            let sysfs = tree(&[("devices/platform/soc/soc:firmware/get_throttled", bits)]);
            power(sysfs.path())
        };
        assert_eq!(throttled("0"), Some(Power { too_low_now: false, too_low_since_boot: false }));
        assert_eq!(throttled("50005\n"), Some(Power { too_low_now: true, too_low_since_boot: true }));
        assert_eq!(throttled("0x50000\n"), Some(Power { too_low_now: false, too_low_since_boot: true }));
        assert_eq!(throttled("e0000"), Some(Power { too_low_now: false, too_low_since_boot: false }));
    }

    #[test]
    fn the_voltage_driver_s_alarm_counts_where_the_firmware_says_nothing() {
        let sysfs = tree(&[
            ("class/hwmon/hwmon0/name", "cpu_thermal\n"),
            ("class/hwmon/hwmon1/name", "rpi_volt\n"),
            ("class/hwmon/hwmon1/in0_lcrit_alarm", "1\n"),
        ]);
        assert_eq!(power(sysfs.path()), Some(Power { too_low_now: true, too_low_since_boot: true }));
        assert_eq!(power(tree(&[("class/hwmon/hwmon0/name", "nvme")]).path()), None);
    }

    #[test]
    fn memory_is_what_programs_can_still_get() {
        let proc = tree(&[("meminfo", "MemTotal:  2000 kB\nMemFree:  10 kB\nMemAvailable:     500 kB\n")]);
        assert_eq!(memory(proc.path()), Some(Memory { available: 512_000, total: 2_048_000 }));
        assert_eq!(memory(tree(&[("meminfo", "MemTotal: x kB")]).path()), None);
    }
}

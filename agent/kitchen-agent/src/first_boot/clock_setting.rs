//! The clock of a box without a battery: it starts anywhere. Certificates need a date that is not before their own, and
//! labels the right time: the floor at once, then the modem's network or NTP, and in the end the authority's answer.

use std::process::{Command, Stdio};
use std::time::Duration;

use kitchen_core::time::Wall;
use rustix::time::{ClockId, Timespec, clock_settime};
use tracing::{debug, info};

use crate::clock;
use crate::text::text;

/// A clock that is further off is set.
const NEAR: Duration = Duration::from_secs(30);

/// The clock shows at least this; where it shows less, the modem's network is asked first.
pub fn not_before(floor: Wall) {
    if clock::is_synchronised() || clock::now() >= floor {
        return;
    }
    match modem_time().filter(|time| *time >= floor) {
        Some(time) => set(time, "modem"),
        None => set(floor, "floor"),
    }
}

/// What the authority said, over a connection that nobody else can answer on.
pub fn by_authority(time: Wall) {
    let (now, far) = (clock::now(), time.after(NEAR));
    if !clock::is_synchronised() && (now < time.before(NEAR) || now > far) {
        set(time, "district");
    }
}

fn set(time: Wall, source: &str) {
    let milliseconds = time.as_unix_millis();
    let timespec =
        Timespec { tv_sec: milliseconds.div_euclid(1000), tv_nsec: milliseconds.rem_euclid(1000) * 1_000_000 };
    match clock_settime(ClockId::Realtime, timespec) {
        Ok(()) => info!("{}", text!("first-boot-clock", time = time, source = source)),
        Err(error) => debug!(%error, source, "the clock can't be set"),
    }
}

/// The time that the modem has from its network, where ModemManager runs.
fn modem_time() -> Option<Wall> {
    let asked = Command::new("mmcli").args(["-m", "any", "--time", "-J"]).stderr(Stdio::null()).output().ok()?;
    of_modem_manager(&asked.stdout)
}

/// `{"modem":{"time":{"current":"2026-11-24T13:12:31+08", …}}}`
fn of_modem_manager(json: &[u8]) -> Option<Wall> {
    let value: serde_json::Value = serde_json::from_slice(json).ok()?;
    let text = value["modem"]["time"]["current"].as_str()?;
    // ModemManager leaves the minutes of the offset out where they are none.
    [text.to_owned(), format!("{text}:00"), format!("{text}Z")].iter().find_map(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_s_time_is_read_with_and_without_minutes_of_the_offset() {
        let read = |text: &str| {
            of_modem_manager(format!(r#"{{"modem":{{"time":{{"current":"{text}"}}}}}}"#).as_bytes())
                .map(|wall| wall.to_string())
        };
        assert_eq!(read("2026-11-24T13:12:31+08").as_deref(), Some("2026-11-24T05:12:31.000Z"));
        assert_eq!(read("2026-11-24T13:12:31+08:00").as_deref(), Some("2026-11-24T05:12:31.000Z"));
        assert_eq!(read("2026-11-24T05:12:31").as_deref(), Some("2026-11-24T05:12:31.000Z"));
        assert_eq!(read("--"), None);
        assert_eq!(of_modem_manager(b"error: no modems"), None);
    }
}

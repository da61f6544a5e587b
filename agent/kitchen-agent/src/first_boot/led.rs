//! The board's lamp: the one thing that an installer without a screen sees.

use std::fs;
use std::path::PathBuf;

use crate::health;

/// What the lamp says; the installer's page explains each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Dark, with a short flash every two seconds: there is no claim.
    NoClaim,
    /// Half a second on, half a second off: it works on it.
    Trying,
    /// Five flashes a second: somebody has to do something.
    Failed,
    /// On.
    Done,
}

impl Pattern {
    /// Milliseconds on and off; `None`: on.
    const fn flashes(self) -> Option<(u32, u32)> {
        match self {
            Self::NoClaim => Some((100, 1900)),
            Self::Trying => Some((500, 500)),
            Self::Failed => Some((100, 100)),
            Self::Done => None,
        }
    }
}

/// Names of boards' own lamps, the likeliest first: Raspberry Pi's activity lamp, and what RK3588 boards call theirs.
const NAMES: &[&str] = &["kitchen", "ACT", "led0", "status", "sys", "work", "user", "heartbeat", "act"];

/// A lamp, where the board has one.
#[derive(Debug, Default)]
pub struct Led {
    folder: Option<PathBuf>,
}

impl Led {
    #[must_use]
    pub fn find() -> Self {
        let entries = fs::read_dir(health::sysfs().join("class/leds")).into_iter().flatten().filter_map(Result::ok);
        let mut lamps: Vec<(usize, PathBuf)> = entries
            .filter_map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                // Lamps of network sockets and keyboards have other owners.
                let rank = NAMES
                    .iter()
                    .position(|known| name == *known || name.split([':', '-', '_']).any(|part| part == *known))?;
                Some((rank, entry.path()))
            })
            .collect();
        lamps.sort();
        Self { folder: lamps.into_iter().next().map(|(_, path)| path) }
    }

    /// A lamp that can't be set says nothing, and is no reason to stop.
    pub fn show(&self, pattern: Pattern) {
        let Some(folder) = &self.folder else { return };
        let write = |file: &str, value: &str| {
            if let Err(error) = fs::write(folder.join(file), value) {
                tracing::debug!(file, %error, "the lamp can't be set");
            }
        };
        match pattern.flashes() {
            Some((on, off)) => {
                write("trigger", "timer");
                write("delay_on", &on.to_string());
                write("delay_off", &off.to_string());
            }
            None => {
                write("trigger", "none");
                let brightest = fs::read_to_string(folder.join("max_brightness")).unwrap_or_default();
                write("brightness", if brightest.trim().is_empty() { "1" } else { brightest.trim() });
            }
        }
    }
}

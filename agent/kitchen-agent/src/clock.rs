//! The box's clocks: time since boot for order and measure, the wall clock for labels, and what it is worth.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use kitchen_core::time::{Clock, Mono, Stamp, TimeQuality, Wall};
use rustix::time::{ClockId, clock_gettime};

use crate::health;
use crate::notice::notice;

/// The program is not older than this: 2026-11-24T00:00:00Z, or SOURCE_DATE_EPOCH where the build sets it.
const BUILT: i64 = 1_795_478_400_000;
/// systemd-timesyncd touches it at each synchronisation.
const SYNCHRONISED: &str = "systemd/timesync/synchronized";

/// The date of this program, before which no clock can be right.
#[must_use]
pub fn built() -> Wall {
    let epoch = option_env!("SOURCE_DATE_EPOCH").and_then(|seconds| seconds.parse::<i64>().ok());
    Wall::from_unix_millis(epoch.map_or(BUILT, |seconds| seconds * 1000))
}

/// What the system's clock shows, right or wrong.
#[must_use]
pub fn now() -> Wall {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall::from_unix_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Whether systemd-timesyncd has set the clock since the start.
#[must_use]
pub fn is_synchronised() -> bool {
    health::run().join(SYNCHRONISED).exists()
}

/// Whether the box has a clock with a battery.
#[must_use]
pub fn has_own_clock() -> bool {
    Path::new("/dev/rtc0").exists()
}

/// Reads the kernel's clocks. A clock that nobody has set right never shows less than the floor. One that is
/// synchronised is right even below it: the floor was saved by a clock that ran ahead.
#[derive(Debug)]
pub struct SystemClock {
    floor_ms: AtomicI64,
}

impl SystemClock {
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { floor_ms: AtomicI64::new(built().as_unix_millis()) })
    }

    /// The last time saved on disk: it is not earlier now.
    pub fn raise_floor(&self, saved: Wall) {
        self.floor_ms.fetch_max(saved.as_unix_millis(), Ordering::Relaxed);
    }
}

impl Clock for SystemClock {
    fn mono(&self) -> Mono {
        let time = clock_gettime(ClockId::Boottime);
        let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
        Mono::from_millis(seconds * 1000 + nanos / 1_000_000)
    }

    fn stamp(&self) -> Stamp {
        let now = now().as_unix_millis();
        if is_synchronised() && now >= built().as_unix_millis() {
            return Stamp { mono: self.mono(), wall: Wall::from_unix_millis(now), quality: TimeQuality::Ntp };
        }
        let floor = self.floor_ms.load(Ordering::Relaxed);
        let quality = if now < floor {
            TimeQuality::Floor
        } else if has_own_clock() {
            TimeQuality::Rtc
        } else {
            TimeQuality::Floor
        };
        Stamp { mono: self.mono(), wall: Wall::from_unix_millis(now.max(floor)), quality }
    }
}

/// The kernel's name for this boot.
///
/// # Errors
/// Where the kernel does not tell it.
pub fn boot_id() -> anyhow::Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).with_context(|| notice!("file-unreadable", None, path = path))?;
    Ok(text.trim().to_owned())
}

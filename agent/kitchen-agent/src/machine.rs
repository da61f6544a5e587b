//! The box itself, measured every few seconds: its alerts, and how much of its looks detection may take.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use kitchen_core::rules::box_health::{BoxHealth, Readings};

use crate::{health, status};

/// The share of looks in thousandths, and why it is not all of them; read by the cameras' stages and by `status`.
#[derive(Debug)]
pub struct Machine {
    pace: AtomicU32,
    slowed_by: Mutex<Option<String>>,
}

impl Default for Machine {
    fn default() -> Self {
        Self { pace: AtomicU32::new(1000), slowed_by: Mutex::default() }
    }
}

impl Machine {
    /// 1 for a box that is well.
    #[must_use]
    pub fn pace(&self) -> f32 {
        f32::from(u16::try_from(self.pace.load(Ordering::Relaxed)).unwrap_or(1000)) / 1000.0
    }

    #[must_use]
    pub fn slowed_by(&self) -> Option<String> {
        self.slowed_by.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What `health` has made of the readings; the change is logged.
    pub fn note(&self, health: &BoxHealth) {
        let slowed_by = (health.pace() < 1.0).then(|| health.to_string());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
        let pace = (health.pace() * 1000.0) as u32;
        if self.pace.swap(pace, Ordering::Relaxed) != pace {
            match &slowed_by {
                Some(why) => tracing::warn!(pace = health.pace(), why, "detection slowed down"),
                None => tracing::info!("detection at its full pace again"),
            }
        }
        *self.slowed_by.lock().unwrap_or_else(PoisonError::into_inner) = slowed_by;
    }
}

/// What this box can measure now; its state lies in `state_dir`.
#[must_use]
pub fn readings(state_dir: &Path) -> Readings {
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let share = |memory: health::Memory| memory.available as f32 / memory.total.max(1) as f32;
    let sysfs = health::sysfs();
    Readings {
        temperature_c: health::temperature_c(&sysfs),
        undervoltage: health::power(&sysfs).map(|power| power.too_low_now),
        memory_available: health::memory(&health::proc()).map(share),
        disk_free_bytes: status::disk(state_dir).map(|disk| disk.free_bytes),
    }
}

//! What the store needs from time to time: the time saved and a set clock recorded, overdue messages given up, quotas kept, and once a week a look
//! through the whole database, beside everything else.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kitchen_core::clock_watch::ClockWatch;
use kitchen_core::config::{Config, StorageConfig};
use kitchen_core::time::{Clock, Mono, Stamp};
use kitchen_store::{Quotas, Store, StoreError, Tidied};
use serde_json::json;
use tokio::sync::Notify;
use tracing::{error, info};

/// A tidying is a part of a long work, so it comes often; the rest every tenth time.
const TIDY_EVERY: Duration = Duration::from_secs(60);
const SAVE_TIME_EVERY: u32 = 10;
const LOOK_THROUGH_EVERY: Duration = Duration::from_secs(7 * 86_400);

/// Whether the weekly look has found the database damaged: the agent ends then, and its next start rescues what it can.
#[derive(Clone, Debug, Default)]
pub struct FoundDamage(Arc<AtomicBool>);

impl FoundDamage {
    #[must_use]
    pub fn is_found(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

pub struct Housekeeping {
    store: Store,
    folder: PathBuf,
    quotas: Quotas,
    clock: Arc<dyn Clock>,
    wake: Arc<Notify>,
    damage: FoundDamage,
    watch: Mutex<ClockWatch>,
}

impl Housekeeping {
    #[must_use]
    pub fn new(config: &Config, store: Store, clock: Arc<dyn Clock>, wake: Arc<Notify>) -> Self {
        let folder = config.device.state_dir.join("store");
        Self {
            store,
            folder,
            quotas: quotas(&config.storage),
            clock,
            wake,
            damage: FoundDamage::default(),
            watch: Mutex::default(),
        }
    }

    #[must_use]
    pub fn damage(&self) -> FoundDamage {
        self.damage.clone()
    }

    /// Goes on until it is dropped.
    pub async fn run(self) {
        let this = Arc::new(self);
        let mut every = tokio::time::interval(TIDY_EVERY);
        let mut looked = this.clock.mono();
        for round in 0_u32.. {
            every.tick().await;
            let now = this.clock.mono();
            let is_due = now.since(looked) >= LOOK_THROUGH_EVERY;
            if is_due {
                looked = now;
            }
            let house = Arc::clone(&this);
            let kept = tokio::task::spawn_blocking(move || house.keep(round.is_multiple_of(SAVE_TIME_EVERY), is_due));
            let _ = kept.await;
        }
    }

    fn keep(&self, saves_time: bool, looks_through: bool) {
        let now = self.clock.stamp();
        self.watch_clock(now);
        if saves_time {
            self.store.save_time(now.wall);
            match self.store.expire(now) {
                Ok(0) => {}
                Ok(_) => self.wake.notify_one(),
                Err(error) => error!(error = &error as &dyn std::error::Error, "expiry failed"),
            }
        }
        match self.store.tidy(now, self.quotas) {
            Ok(Tidied { clips: 0, snapshots: 0, alerts: 0, .. }) => {}
            Ok(Tidied { clips, snapshots, alerts, unsent }) => {
                info!(clips, snapshots, alerts, unsent, "removed to keep the quotas");
                self.wake.notify_one();
            }
            Err(error) => error!(error = &error as &dyn std::error::Error, "quotas not kept"),
        }
        if looks_through && let Err(error) = self.look_through(now.mono) {
            error!(error = &error as &dyn std::error::Error, "the database could not be looked through");
        }
    }

    fn watch_clock(&self, now: Stamp) {
        let step = self.watch.lock().unwrap_or_else(PoisonError::into_inner).handle_stamp(now);
        let Some(offset_ms) = step else { return };
        info!(offset_ms, "the clock was set");
        let body = json!({ "store": self.store.store_id(), "boot": self.store.boot(), "offset_ms": offset_ms });
        match self.store.append_record(now, "clock.fix", body) {
            Ok(_) => self.wake.notify_one(),
            Err(error) => error!(error = &error as &dyn std::error::Error, "a set clock was not recorded"),
        }
    }

    fn look_through(&self, began: Mono) -> Result<(), StoreError> {
        let damage = Store::read_only(&self.folder)?.damage_in_full()?;
        let took_s = self.clock.mono().since(began).as_secs();
        let Some(damage) = damage else {
            info!(took_s, "the database is sound");
            return Ok(());
        };
        error!(damage, took_s, "the database is damaged: starting again to rescue what can be read");
        self.store.mark_damaged(&damage)?;
        self.damage.0.store(true, Ordering::Relaxed);
        Ok(())
    }
}

fn quotas(storage: &StorageConfig) -> Quotas {
    // Checked to be a sensible number when the configuration was read.
    let bytes = |gigabytes: f64| (gigabytes * 1e9) as u64;
    Quotas {
        clips_bytes: bytes(storage.clips_gb),
        snapshots_bytes: bytes(storage.snapshots_gb),
        database_bytes: u64::from(storage.database_mb) * 1_000_000,
    }
}

//! The first minutes of a box: finds the claim that an installer brings, sets the clock as well as it can, enrols, and shows
//! what came of it where somebody without a screen sees it. Goes on until the box is enrolled.

mod clock_setting;
mod led;
mod medium;
mod outcome;
mod supplies;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use kitchen_core::enrolment::{CLAIM_FILE, Claim};
use kitchen_uplink::identity;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use self::led::{Led, Pattern};
use self::medium::{Media, Medium};
use self::outcome::Outcome;
use crate::cli::Exit;
use crate::enrolling::{Enrolled, Enrolling, Trouble};
use crate::notice::Notice;
use crate::supervise;
use crate::text::text;

/// How often sticks are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A claim on the boot partition or on a stick that is mounted already.
///
/// # Errors
/// When there is one, and it can't be used.
pub fn claim_on_this_box() -> Result<Option<(PathBuf, Claim)>, Trouble> {
    for folder in medium::mounted() {
        let path = folder.join(CLAIM_FILE);
        if let Some(claim) = identity::read_claim(&path)? {
            return Ok(Some((path, claim)));
        }
    }
    Ok(None)
}

/// Runs until the box is enrolled; at once when it is, and no other claim lies ready.
///
/// # Errors
/// When it can't even begin.
pub fn run(enrolling: Enrolling, config: PathBuf) -> Result<Exit> {
    kitchen_uplink::install_crypto();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
        let mut boot = FirstBoot {
            enrolling,
            config,
            media: Media::default(),
            medium: None,
            led: Led::find(),
            refused: None,
            supplies_trouble: None,
            told: None,
        };
        tokio::select! {
            () = boot.until_enrolled() => {}
            _ = terminate.recv() => {}
        }
        anyhow::Ok(())
    })?;
    Ok(Exit::Done)
}

struct FirstBoot {
    enrolling: Enrolling,
    /// Where the configuration belongs.
    config: PathBuf,
    media: Media,
    /// Where the claim came from.
    medium: Option<Medium>,
    led: Led,
    /// The claim that was refused: another one is waited for.
    refused: Option<String>,
    /// What lay ready for the box and could not be taken.
    supplies_trouble: Option<Notice>,
    told: Option<Outcome>,
}

impl FirstBoot {
    async fn until_enrolled(&mut self) {
        clock_setting::not_before(crate::clock::built());
        info!("{}", text!("first-boot-looking", file = CLAIM_FILE));
        let mut pause = FIRST_PAUSE;
        let mut next_try = Instant::now();
        let mut is_first = true;
        loop {
            let found = self.look();
            if std::mem::take(&mut is_first) {
                // The agent starts now: it watches, and has its name, before the district knows of it.
                supervise::notify("READY=1");
            }
            match found {
                Err(trouble) => self.show(Outcome::Failed(trouble.notice)),
                Ok(true) => (pause, next_try) = (FIRST_PAUSE, Instant::now()),
                Ok(false) => {}
            }
            if self.is_done() {
                return;
            }
            let waiting = self.claim_id();
            if waiting.is_none() && self.told.is_none() {
                self.show(Outcome::NoClaim);
            }
            if waiting.is_some() && waiting != self.refused && Instant::now() >= next_try {
                match self.enrolling.enrol().await {
                    Ok(enrolled) => return self.finish(&enrolled),
                    Err(trouble) => {
                        if trouble.is_passing {
                            self.show(Outcome::Waiting(trouble.notice));
                        } else {
                            self.refused = waiting;
                            self.show(Outcome::Failed(trouble.notice));
                        }
                        let jitter = fastrand::f64() / 2.0 + 0.5;
                        next_try = Instant::now() + pause.mul_f64(jitter);
                        info!("{}", text!("enrol-again", seconds = pause.as_secs()));
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Looks for a claim that is not known yet, and keeps it. Whether there was one.
    fn look(&mut self) -> Result<bool, Trouble> {
        let mut broken = None;
        let media = self.media.all();
        for medium in &media {
            let path = medium.folder.join(CLAIM_FILE);
            let claim = match identity::read_claim(&path) {
                Ok(Some(claim)) => claim,
                Ok(None) => continue,
                Err(error) => {
                    self.medium = Some(medium.clone());
                    broken = Some(Trouble::from(error));
                    continue;
                }
            };
            let is_known = self.claim_id().as_ref() == Some(&claim.claim_id)
                || self.refused.as_ref() == Some(&claim.claim_id)
                || self.used_claim_id().as_ref() == Some(&claim.claim_id);
            self.medium = Some(medium.clone());
            if is_known {
                continue;
            }
            info!("{}", text!("first-boot-found", device = claim.device, path = path.display()));
            self.led.show(Pattern::Trying);
            clock_setting::not_before(claim.issued);
            let others = media.iter().filter(|other| *other != medium);
            let places: Vec<&Medium> = [medium].into_iter().chain(others).collect();
            self.supplies_trouble = supplies::take(&places, &claim, &self.config).err();
            self.enrolling.keep(&claim)?;
            return Ok(true);
        }
        match broken {
            Some(trouble) if self.claim_id().is_none() => Err(trouble),
            _ => Ok(false),
        }
    }

    fn finish(&mut self, enrolled: &Enrolled) {
        let enrolment = &enrolled.generation().enrolment;
        clock_setting::by_authority(enrolment.time);
        if let Some(medium) = &self.medium {
            // A claim of another box on the same stick stays.
            let path = medium.folder.join(CLAIM_FILE);
            let is_used = identity::read_claim(&path)
                .is_ok_and(|claim| claim.is_some_and(|claim| claim.claim_id == enrolled.generation().claim_id));
            if is_used && let Err(error) = identity::wipe(&path) {
                warn!(error = %error, "the used claim can't be removed");
            }
        }
        let site = enrolment.site.name.clone();
        let but = self.supplies_trouble.take();
        self.show(Outcome::Done { device: enrolment.device.clone(), site, but });
    }

    /// Whether there is nothing to do, or nothing any more.
    fn is_done(&self) -> bool {
        let is_enrolled = self.used_claim_id().is_some();
        is_enrolled && (self.claim_id().is_none() || self.claim_id() == self.used_claim_id())
    }

    fn claim_id(&self) -> Option<String> {
        self.enrolling.identity.claim().ok().flatten().map(|claim| claim.claim_id)
    }

    fn used_claim_id(&self) -> Option<String> {
        self.enrolling.identity.current().ok().flatten().map(|current| current.claim_id)
    }

    /// Lamp, result file and log, at each change.
    fn show(&mut self, outcome: Outcome) {
        if self.told.as_ref() == Some(&outcome) {
            return;
        }
        self.led.show(outcome.pattern());
        outcome.log();
        if let Some(medium) = &self.medium {
            outcome.write(medium);
        }
        self.told = Some(outcome);
    }
}

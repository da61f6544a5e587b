//! How far the boxes of a district are: one row a site, from what the authority and the receiver know of it.

use std::collections::BTreeMap;
use std::path::Path;

use kitchen_core::enrolment::Validity;
use kitchen_core::time::Wall;
use serde::Serialize;

use super::register::{CertificateRow, ClaimRow, Register, RegisterError};
use crate::store::{DATABASE, SeenDevice, Store};

/// Where a site stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteState {
    /// Its claim waits.
    Waiting,
    /// Its claim has expired unused.
    ClaimExpired,
    /// It has a certificate, and was never seen at the broker.
    Enrolled,
    /// It was seen at the broker.
    Connected,
    /// Its certificate has expired, or should have been renewed long ago.
    CertificateEnds,
    Revoked,
}

/// One site.
#[derive(Clone, Debug, Serialize)]
pub struct SiteRow {
    pub device: String,
    pub town: String,
    pub restaurant: String,
    pub licence: String,
    pub camera: String,
    pub batch: String,
    pub state: SiteState,
    pub board: Option<String>,
    pub enrolled_at: Option<Wall>,
    pub seen_at: Option<Wall>,
    pub certificate_until: Option<Wall>,
    pub agent: Option<String>,
    /// Requests that were refused, and why the newest was.
    pub refused: u64,
    pub refused_because: Option<String>,
    /// What points to a second box with this identity.
    pub second_box: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct EnrolmentReport {
    pub at: Wall,
    pub counts: BTreeMap<SiteState, u64>,
    /// By town: sites, and how many of them are enrolled.
    pub towns: BTreeMap<String, (u64, u64)>,
    pub sites: Vec<SiteRow>,
}

impl EnrolmentReport {
    /// From the register, and the receiver's store where one is named.
    ///
    /// # Errors
    /// When the register can't be read.
    pub fn make(register: &Register, receiver: Option<&Path>, now: Wall) -> Result<Self, RegisterError> {
        let mut certificates: BTreeMap<String, CertificateRow> =
            register.newest_certificates()?.into_iter().map(|row| (row.device.clone(), row)).collect();
        let revoked: BTreeMap<String, String> =
            register.revoked_devices()?.into_iter().map(|(device, reason, _)| (device, reason)).collect();
        let mut refused = BTreeMap::new();
        let mut second: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (device, event, count, detail) in register.troubles()? {
            if event == "second_box" {
                second.entry(device).or_default().push(format!("{count} refused renewals, the last by {detail}"));
            } else {
                refused.insert(device, (count, detail));
            }
        }
        let seen = receiver.map(seen_by).unwrap_or_default();
        let mut report = Self { at: now, counts: BTreeMap::new(), towns: BTreeMap::new(), sites: Vec::new() };
        for claim in register.newest_claims()? {
            let device = claim.entry.device.clone();
            let certificate = certificates.remove(&device);
            let seen = seen.get(&device);
            let state = state(&claim, certificate.as_ref(), revoked.contains_key(&device), seen.is_some(), now);
            *report.counts.entry(state).or_default() += 1;
            let town = report.towns.entry(claim.entry.site.town.clone()).or_default();
            town.0 += 1;
            town.1 += u64::from(certificate.is_some());
            let (count, because) = refused.remove(&device).map_or((0, None), |(count, why)| (count, Some(why)));
            let mut second_box = second.remove(&device).unwrap_or_default();
            second_box.extend(seen.iter().flat_map(|seen| seen.alarms.clone()));
            second_box.extend(certificate.as_ref().zip(seen).and_then(|(row, seen)| other_key(row, seen)));
            report.sites.push(SiteRow {
                town: claim.entry.site.town,
                restaurant: claim.entry.site.name,
                licence: claim.entry.site.licence,
                camera: claim.entry.camera,
                batch: claim.batch,
                state,
                board: certificate.as_ref().map(|row| row.serial.clone()),
                enrolled_at: claim.used_at,
                seen_at: seen.map(|seen| seen.at),
                certificate_until: certificate.as_ref().map(|row| row.not_after),
                agent: certificate.map(|row| row.agent),
                refused: count,
                refused_because: because,
                second_box,
                device,
            });
        }
        Ok(report)
    }

    /// For a terminal or a mail: counts first, then what somebody has to look at.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec![format!("{} sites at {}", self.sites.len(), self.at)];
        for (state, count) in &self.counts {
            lines.push(format!("  {count:>6}  {}", words(*state)));
        }
        lines.push(String::new());
        for (town, (sites, enrolled)) in &self.towns {
            lines.push(format!("  {enrolled:>4} of {sites:>4} enrolled  {town}"));
        }
        let troubled = self.sites.iter().filter(|site| {
            !site.second_box.is_empty()
                || matches!(site.state, SiteState::ClaimExpired | SiteState::CertificateEnds | SiteState::Revoked)
                || site.refused > 0 && site.state == SiteState::Waiting
        });
        for (number, site) in troubled.enumerate() {
            if number == 0 {
                lines.push("\nto look at:".to_owned());
            }
            lines.push(format!("  {}  {} {}: {}", site.device, site.town, site.restaurant, words(site.state)));
            if let Some(why) = site.refused_because.as_ref().filter(|_| site.refused > 0) {
                lines.push(format!("      refused {} times, the last because of {why}", site.refused));
            }
            lines.extend(site.second_box.iter().map(|what| format!("      a second box? {what}")));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

fn words(state: SiteState) -> &'static str {
    match state {
        SiteState::Waiting => "wait for their box",
        SiteState::ClaimExpired => "claim expired unused: kitchen-district ca claim DEVICE",
        SiteState::Enrolled => "enrolled, never seen at the broker",
        SiteState::Connected => "enrolled and seen at the broker",
        SiteState::CertificateEnds => "certificate expired or about to: is the box off?",
        SiteState::Revoked => "revoked",
    }
}

fn state(
    claim: &ClaimRow,
    certificate: Option<&CertificateRow>,
    is_revoked: bool,
    was_seen: bool,
    now: Wall,
) -> SiteState {
    match certificate {
        _ if is_revoked => SiteState::Revoked,
        Some(row) if (Validity { not_before: row.issued_at, not_after: row.not_after }).is_overdue(now) => {
            SiteState::CertificateEnds
        }
        Some(_) if was_seen => SiteState::Connected,
        Some(_) => SiteState::Enrolled,
        None if claim.expires <= now => SiteState::ClaimExpired,
        None => SiteState::Waiting,
    }
}

/// Whoever signs with another key than the box was enrolled with is not that box.
fn other_key(enrolled: &CertificateRow, seen: &SeenDevice) -> Option<String> {
    let shown = seen.evidence_key.as_ref().filter(|shown| **shown != enrolled.evidence_key)?;
    Some(format!("its records are signed by evidence key {shown}, it was enrolled with {}", enrolled.evidence_key))
}

/// What the receiver whose store this is knows of each device. A receiver that was never started knows none.
fn seen_by(folder: &Path) -> BTreeMap<String, SeenDevice> {
    let rows = Store::open_to_read(&folder.join(DATABASE)).and_then(|store| store.seen_devices());
    let rows = rows.unwrap_or_else(|error| {
        tracing::warn!(folder = %folder.display(), error = &error as &dyn std::error::Error, "no receiver's store");
        Vec::new()
    });
    rows.into_iter().map(|seen| (seen.device.clone(), seen)).collect()
}

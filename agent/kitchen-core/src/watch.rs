//! All rules of one camera: tracks, pictures and losses come in, violations open, update and close.
//! Owns an episode for every rule and area. Never sees pixels, never writes an alert.

use std::collections::VecDeque;

use crate::alert::CloseReason;
use crate::config::{CameraConfig, RuleSettings};
use crate::detection::Detection;
use crate::episode::{Episode, EpisodeOutput, EpisodeSettings};
use crate::rules::camera_offline::{CameraOffline, CameraOfflineOutput};
use crate::rules::lens_covered::LensView;
use crate::rules::{Hit, Look, Looked, RuleId, look_of};
use crate::time::{LocalTime, Mono, Stamp, TimeZone};
use crate::tracker::Track;
use crate::view::LumaGrid;
use crate::zone::Area;

/// Which violation: at most one episode of each runs on a camera.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViolationKey {
    pub rule: RuleId,
    pub zone: Option<String>,
}

/// What becomes of a violation. Times are those of the box's monotonic clock.
#[derive(Clone, Debug, PartialEq)]
pub enum Violation {
    /// Answer with `handle_raised` or `handle_suppressed`.
    Opened {
        key: ViolationKey,
        began: Mono,
        score: Option<f32>,
        detail: Option<String>,
    },
    Updated {
        key: ViolationKey,
        began: Mono,
        score: Option<f32>,
    },
    Closed {
        key: ViolationKey,
        began: Mono,
        ended: Mono,
        score: Option<f32>,
        reason: CloseReason,
    },
}

/// A hit of one look, for whoever keeps the best picture of the opening window.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    pub key: ViolationKey,
    /// Absent where no model scores.
    pub score: Option<f32>,
    pub boxes: Vec<Detection>,
}

/// One rule that reads tracks, in one area.
struct Watched {
    settings: RuleSettings,
    area: Area,
    look: Look,
    episode: Episode,
}

impl Watched {
    fn key(&self) -> ViolationKey {
        ViolationKey { rule: self.settings.rule, zone: self.area.zone.clone() }
    }
}

pub struct CameraWatch {
    time_zone: TimeZone,
    watched: Vec<Watched>,
    lens: Option<(RuleSettings, LensView, Episode)>,
    offline: Option<(RuleSettings, CameraOffline)>,
    output: VecDeque<Violation>,
}

impl CameraWatch {
    /// `rules` are those that can run: switched on, and with a model where they need one.
    #[must_use]
    pub fn new(camera: &CameraConfig, rules: &[RuleSettings], time_zone: &TimeZone, started: Mono) -> Self {
        let find = |rule| rules.iter().find(|settings| settings.rule == rule).cloned();
        let watched = rules.iter().filter_map(|settings| Some((settings, look_of(settings.rule)?)));
        let watched = watched.flat_map(|(settings, look)| {
            settings.areas(camera).into_iter().map(move |area| Watched {
                settings: settings.clone(),
                area,
                look,
                episode: Episode::new(episode_settings(settings)),
            })
        });
        let lens = find(RuleId::LensCovered).map(|settings| {
            let episode = Episode::new(episode_settings(&settings));
            (settings, LensView::new(time_zone.clone()), episode)
        });
        let offline = find(RuleId::CameraOffline).map(|settings| {
            let rule = CameraOffline::new(settings.window, settings.cool_down, started);
            (settings, rule)
        });
        Self { time_zone: time_zone.clone(), watched: watched.collect(), lens, offline, output: VecDeque::new() }
    }

    /// A sampled picture, whether it is analysed or not; `changed` when it differs from the one before by a bit.
    pub fn handle_picture(&mut self, changed: bool, grid: &LumaGrid, stamp: Stamp) -> Option<Sighting> {
        if let Some((_, offline)) = &mut self.offline {
            offline.handle_picture(changed, stamp.mono);
        }
        let local = stamp.wall.local(&self.time_zone);
        let mut sighting = None;
        if let Some((settings, view, episode)) = &mut self.lens
            && settings.is_active(local)
        {
            let covered = view.look(grid, stamp);
            episode.handle_look(covered.then_some(1.0), stamp.mono);
            let key = ViolationKey { rule: settings.rule, zone: None };
            sighting = covered.then(|| Sighting { key, score: None, boxes: Vec::new() });
        }
        self.collect(stamp);
        sighting
    }

    /// What one look of the detector saw, as tracks; returns the hits of this look.
    pub fn handle_tracks(&mut self, tracks: &[Track], stamp: Stamp) -> Vec<Sighting> {
        let local = stamp.wall.local(&self.time_zone);
        let mut sightings = Vec::new();
        for watched in self.watched.iter_mut().filter(|watched| watched.settings.is_active(local)) {
            let hit = match (watched.look)(tracks, &watched.area) {
                Looked::NotAsked => {
                    // Whoever was suspected may have gone: without looks the suspicion has to end by time.
                    watched.episode.handle_timeout(stamp.mono);
                    continue;
                }
                Looked::Clear => None,
                Looked::Hit(hit) => Some(hit),
            };
            watched.episode.handle_look(hit.as_ref().map(|hit| hit.score), stamp.mono);
            if let Some(Hit { score, boxes }) = hit {
                sightings.push(Sighting { key: watched.key(), score: Some(score), boxes });
            }
        }
        self.collect(stamp);
        sightings
    }

    /// The stream was lost; `why` has no credentials in it.
    pub fn handle_lost(&mut self, why: &str, stamp: Stamp) {
        if let Some((_, offline)) = &mut self.offline {
            offline.handle_lost(why, stamp.mono);
        }
        self.collect(stamp);
    }

    /// The alert of this violation is committed.
    pub fn handle_raised(&mut self, key: &ViolationKey, now: Mono) {
        if let Some((_, offline)) = self.offline.as_mut().filter(|(settings, _)| settings.rule == key.rule) {
            offline.handle_raised(now);
        } else if let Some(episode) = self.episode(key) {
            episode.handle_raised(now);
        }
    }

    /// The alert of this violation was not raised: no cool-down, and no end will be told.
    pub fn handle_suppressed(&mut self, key: &ViolationKey, now: Mono) {
        if let Some((_, offline)) = self.offline.as_mut().filter(|(settings, _)| settings.rule == key.rule) {
            offline.handle_suppressed(now);
        } else if let Some(episode) = self.episode(key) {
            episode.handle_suppressed();
        }
    }

    pub fn handle_timeout(&mut self, stamp: Stamp) {
        for episode in self.episodes() {
            episode.handle_timeout(stamp.mono);
        }
        if let Some((_, offline)) = &mut self.offline {
            offline.handle_timeout(stamp.mono);
        }
        self.collect(stamp);
    }

    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        let episodes = self.watched.iter().map(|watched| &watched.episode).chain(self.lens.iter().map(|lens| &lens.2));
        let offline = self.offline.iter().filter_map(|(_, offline)| offline.poll_timeout());
        episodes.filter_map(Episode::poll_timeout).chain(offline).min()
    }

    pub fn poll_output(&mut self) -> Option<Violation> {
        self.output.pop_front()
    }

    /// Whether a rule has a candidate or an open episode and therefore needs looks even at a still scene.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.watched.iter().any(|watched| watched.episode.is_pending())
    }

    /// Whether the picture kept for `key` may still be wanted: its window could yet open.
    #[must_use]
    pub fn is_candidate(&self, key: &ViolationKey) -> bool {
        let watched = self.watched.iter().find(|watched| watched.key() == *key).map(|watched| &watched.episode);
        let lens = self.lens.iter().find(|lens| lens.0.rule == key.rule).map(|lens| &lens.2);
        watched.or(lens).is_some_and(|episode| episode.is_pending() && !episode.is_open())
    }

    /// Whether the output still holds the opening of `key`.
    #[must_use]
    pub fn has_opened(&self, key: &ViolationKey) -> bool {
        self.output.iter().any(|violation| matches!(violation, Violation::Opened { key: opened, .. } if opened == key))
    }

    fn episode(&mut self, key: &ViolationKey) -> Option<&mut Episode> {
        let watched = self.watched.iter_mut().find(|watched| watched.key() == *key).map(|watched| &mut watched.episode);
        let lens = self.lens.iter_mut().find(|lens| lens.0.rule == key.rule).map(|lens| &mut lens.2);
        watched.or(lens)
    }

    fn episodes(&mut self) -> impl Iterator<Item = &mut Episode> {
        self.watched.iter_mut().map(|watched| &mut watched.episode).chain(self.lens.iter_mut().map(|lens| &mut lens.2))
    }

    /// Moves what the episodes have to say into the output.
    fn collect(&mut self, stamp: Stamp) {
        let local = stamp.wall.local(&self.time_zone);
        let output = &mut self.output;
        for watched in &mut self.watched {
            let key = watched.key();
            while let Some(said) = watched.episode.poll_output() {
                output.push_back(violation(&key, said));
            }
        }
        if let Some((settings, _, episode)) = &mut self.lens {
            let key = ViolationKey { rule: settings.rule, zone: None };
            while let Some(said) = episode.poll_output() {
                output.push_back(violation(&key, said));
            }
        }
        if let Some((settings, offline)) = &mut self.offline {
            collect_offline(settings, offline, local, stamp.mono, output);
        }
    }
}

fn collect_offline(
    settings: &RuleSettings,
    offline: &mut CameraOffline,
    local: LocalTime,
    now: Mono,
    output: &mut VecDeque<Violation>,
) {
    let key = ViolationKey { rule: settings.rule, zone: None };
    while let Some(said) = offline.poll_output() {
        match said {
            CameraOfflineOutput::Opened { .. } if !settings.is_active(local) => offline.handle_suppressed(now),
            CameraOfflineOutput::Opened { began, why } => {
                output.push_back(Violation::Opened { key: key.clone(), began, score: None, detail: Some(why) });
            }
            CameraOfflineOutput::Closed { began, ended, reason } => {
                output.push_back(Violation::Closed { key: key.clone(), began, ended, score: None, reason });
            }
        }
    }
}

fn episode_settings(settings: &RuleSettings) -> EpisodeSettings {
    EpisodeSettings { score: settings.score, window: settings.window, cool_down: settings.cool_down }
}

fn violation(key: &ViolationKey, said: EpisodeOutput) -> Violation {
    let key = key.clone();
    match said {
        EpisodeOutput::Opened { began, score } => Violation::Opened { key, began, score, detail: None },
        EpisodeOutput::Updated { began, score } => Violation::Updated { key, began, score },
        EpisodeOutput::Closed { began, ended, score, reason } => Violation::Closed { key, began, ended, score, reason },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Config;
    use crate::detection::{Attributes, Label};
    use crate::rules::testing::track;
    use crate::time::{TimeQuality, Wall};

    const NIGHT_MS: i64 = 1_795_543_200_000; // 2026-11-24T17:20:00Z, 01:20 in Shanghai

    fn stamp(ms: u64) -> Stamp {
        let wall = Wall::from_unix_millis(NIGHT_MS + ms as i64);
        Stamp { mono: Mono::from_millis(ms), wall, quality: TimeQuality::Ntp }
    }

    fn watch(rules: &str) -> CameraWatch {
        let text = format!(
            r#"
            [device]
            id = "mh07-000123"
            [[camera]]
            id = "stove"
            url = "rtsp://192.168.8.64/1"
            [[camera.zone]]
            id = "left"
            polygon = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
            [[camera.zone]]
            id = "right"
            polygon = [[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]
            {rules}"#
        );
        let config = Config::parse(&text, &[]).expect("valid");
        let rules: Vec<RuleSettings> = config.rule_settings().into_iter().filter(|rule| rule.enabled).collect();
        CameraWatch::new(&config.cameras[0], &rules, &config.time_zone(), Mono::ZERO)
    }

    fn violations(watch: &mut CameraWatch) -> Vec<Violation> {
        std::iter::from_fn(|| watch.poll_output()).collect()
    }

    #[test]
    fn zones_have_episodes_of_their_own() {
        let mut watch = watch("[rules.intrusion]\nzones = [\"left\", \"right\"]\nwindow_s = 4");
        let person = track(Label::Person, 0.8, [0.1, 0.2, 0.1, 0.5]);
        for ms in (0..4000).step_by(500) {
            let sightings = watch.handle_tracks(std::slice::from_ref(&person), stamp(ms));
            assert_eq!(sightings.len(), 1);
            assert_eq!(sightings[0].key.zone.as_deref(), Some("left"));
        }
        let opened = violations(&mut watch);
        assert!(matches!(&opened[..], [Violation::Opened { key, .. }] if key.zone.as_deref() == Some("left")));
        assert!(watch.is_pending());
    }

    fn masks(mask: f32, no_mask: f32, is_asked: bool) -> Track {
        let attributes = Attributes::from([(Label::Mask, mask), (Label::NoMask, no_mask)]);
        let asked = if is_asked { attributes.keys().copied().collect() } else { BTreeSet::new() };
        Track { attributes, asked, ..track(Label::Person, 0.9, [0.1, 0.2, 0.1, 0.5]) }
    }

    #[test]
    fn a_suspect_who_leaves_does_not_hold_the_gate_open() {
        let mut watch = watch("[rules.no_mask]\nwindow_s = 4");
        watch.handle_tracks(&[masks(0.05, 0.9, true)], stamp(0));
        assert!(watch.is_pending());
        watch.handle_tracks(&[masks(0.05, 0.9, false)], stamp(3_500));
        assert!(watch.is_pending(), "the window is not over");
        watch.handle_tracks(&[], stamp(4_500));
        assert!(!watch.is_pending());
    }

    #[test]
    fn a_violation_whose_model_runs_no_more_is_lost_though_the_detector_goes_on() {
        let mut watch = watch("[rules.no_mask]\nwindow_s = 4");
        for ms in (0..5_000).step_by(500) {
            watch.handle_tracks(&[masks(0.05, 0.9, ms % 1000 == 0)], stamp(ms));
        }
        let opened = violations(&mut watch);
        assert!(matches!(&opened[..], [Violation::Opened { key, .. }] if key.rule == RuleId::NoMask), "{opened:?}");
        for ms in (5_000..60_000).step_by(500) {
            watch.handle_tracks(&[masks(0.05, 0.9, false)], stamp(ms));
        }
        let closed = violations(&mut watch);
        assert!(matches!(&closed[..], [Violation::Closed { reason: CloseReason::Lost, .. }]), "{closed:?}");
        assert!(!watch.is_pending());
    }

    #[test]
    fn who_can_not_be_judged_is_never_a_violation() {
        let mut watch = watch("[rules.no_mask]\nwindow_s = 4");
        for ms in (0..20_000).step_by(1000) {
            watch.handle_tracks(&[masks(0.1, 0.2, true)], stamp(ms));
        }
        assert!(violations(&mut watch).is_empty() && !watch.is_pending());
    }

    #[test]
    fn a_rule_outside_its_schedule_looks_at_nothing() {
        let mut watch = watch("[rules.intrusion]\nschedule = \"09:00-21:00\"\nwindow_s = 2");
        let person = track(Label::Person, 0.8, [0.1, 0.2, 0.1, 0.5]);
        for ms in (0..20_000).step_by(500) {
            assert!(watch.handle_tracks(std::slice::from_ref(&person), stamp(ms)).is_empty());
        }
        assert!(violations(&mut watch).is_empty() && !watch.is_pending());
    }

    #[test]
    fn a_lost_camera_opens_after_its_window_by_time_alone() {
        let mut watch = watch("");
        watch.handle_lost("connection refused", stamp(1000));
        assert_eq!(watch.poll_timeout(), Some(Mono::from_millis(180_000)));
        watch.handle_timeout(stamp(180_000));
        let opened = violations(&mut watch);
        let [Violation::Opened { key, detail, .. }] = &opened[..] else { panic!("{opened:?}") };
        assert_eq!((key.rule, detail.as_deref()), (RuleId::CameraOffline, Some("connection refused")));
    }

    #[test]
    fn the_kept_picture_is_wanted_until_the_episode_opens() {
        let mut watch = watch("[rules.intrusion]\nwindow_s = 2");
        let key = ViolationKey { rule: RuleId::Intrusion, zone: None };
        assert!(!watch.is_candidate(&key));
        let person = track(Label::Person, 0.8, [0.1, 0.2, 0.1, 0.5]);
        watch.handle_tracks(std::slice::from_ref(&person), stamp(0));
        assert!(watch.is_candidate(&key));
        for ms in (500..3000).step_by(500) {
            watch.handle_tracks(std::slice::from_ref(&person), stamp(ms));
        }
        assert!(!watch.is_candidate(&key));
    }
}

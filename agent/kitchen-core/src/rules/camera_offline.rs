//! `camera_offline`: no changing picture from a camera for a whole window, whether it is dead, hung or frozen.
//! It closes when changing pictures have come for as long. Needs no model; the camera's word is not trusted:
//! a picture that repeats without a bit of change counts as none.

use std::collections::VecDeque;
use std::time::Duration;

use crate::alert::CloseReason;
use crate::time::Mono;

/// A gap between changing pictures up to this is normal.
const NORMAL_GAP: Duration = Duration::from_secs(12);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CameraOfflineOutput {
    /// `why` tells the technician what was seen, e.g. the last error.
    Opened {
        began: Mono,
        why: String,
    },
    Closed {
        began: Mono,
        ended: Mono,
        reason: CloseReason,
    },
}

#[derive(Debug)]
pub struct CameraOffline {
    window: Duration,
    cool_down: Duration,
    /// When the last picture came that differed from the one before.
    last_change: Mono,
    /// When any picture came last.
    last_picture: Option<Mono>,
    /// Since when changing pictures have come without an abnormal gap.
    healthy_since: Option<Mono>,
    last_error: Option<String>,
    open_since: Option<Mono>,
    cool_until: Option<Mono>,
    output: VecDeque<CameraOfflineOutput>,
}

impl CameraOffline {
    /// A camera that has never delivered is measured from `started`.
    #[must_use]
    pub fn new(window: Duration, cool_down: Duration, started: Mono) -> Self {
        Self {
            window,
            cool_down,
            last_change: started,
            last_picture: None,
            healthy_since: None,
            last_error: None,
            open_since: None,
            cool_until: None,
            output: VecDeque::new(),
        }
    }

    /// A picture came; `changed` when it is not bit for bit the one before.
    pub fn handle_picture(&mut self, changed: bool, now: Mono) {
        // The gap before this picture may have filled the window.
        self.handle_timeout(now);
        self.last_picture = Some(now);
        if !changed {
            return;
        }
        if self.healthy_since.is_none() || now.since(self.last_change) > self.normal_gap() {
            self.healthy_since = Some(now);
        }
        self.last_change = now;
        self.last_error = None;
        self.close_if_healthy(now);
    }

    /// The stream was lost; `why` has no credentials in it.
    pub fn handle_lost(&mut self, why: &str, now: Mono) {
        self.last_error = Some(why.to_owned());
        self.handle_timeout(now);
    }

    /// The alert is committed: the cool-down counts.
    pub fn handle_raised(&mut self, now: Mono) {
        self.cool_until = Some(now + self.cool_down);
    }

    /// The alert was not raised: it is tried again a window later.
    pub fn handle_suppressed(&mut self, now: Mono) {
        self.open_since = None;
        self.cool_until = Some(now + self.window);
    }

    pub fn handle_timeout(&mut self, now: Mono) {
        if self.open_since.is_some() || self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        self.open_since = Some(self.last_change);
        self.output.push_back(CameraOfflineOutput::Opened { began: self.last_change, why: self.why(now) });
    }

    /// When the window is full, if no changing picture comes.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        if self.open_since.is_some() {
            return None;
        }
        let due = self.last_change + self.window;
        Some(self.cool_until.map_or(due, |until| due.max(until)))
    }

    pub fn poll_output(&mut self) -> Option<CameraOfflineOutput> {
        self.output.pop_front()
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open_since.is_some()
    }

    fn close_if_healthy(&mut self, now: Mono) {
        let healthy = self.healthy_since.is_some_and(|since| now.since(since) >= self.window);
        if let Some(began) = self.open_since.filter(|_| healthy) {
            self.open_since = None;
            let ended = self.healthy_since.unwrap_or(now);
            self.output.push_back(CameraOfflineOutput::Closed { began, ended, reason: CloseReason::Cleared });
        }
    }

    fn normal_gap(&self) -> Duration {
        NORMAL_GAP.min(self.window)
    }

    fn why(&self, now: Mono) -> String {
        match (&self.last_error, self.last_picture) {
            (Some(error), _) => error.clone(),
            (None, None) => "no picture since the agent started".to_owned(),
            (None, Some(last)) if now.since(last) < self.normal_gap() => {
                "the picture is frozen: the same picture comes again and again".to_owned()
            }
            (None, Some(_)) => "the stream is open, but no picture comes".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(180);

    fn at(s: u64) -> Mono {
        Mono::from_millis(s * 1000)
    }

    fn rule() -> CameraOffline {
        CameraOffline::new(WINDOW, Duration::from_secs(3600), at(0))
    }

    fn opened(rule: &mut CameraOffline) -> Option<String> {
        match rule.poll_output() {
            Some(CameraOfflineOutput::Opened { why, .. }) => Some(why),
            _ => None,
        }
    }

    #[test]
    fn a_camera_that_never_answers_is_offline_after_the_window_and_says_why() {
        let mut rule = rule();
        rule.handle_lost("connection refused", at(1));
        rule.handle_timeout(at(179));
        assert_eq!(rule.poll_output(), None);
        rule.handle_timeout(at(180));
        assert_eq!(opened(&mut rule).as_deref(), Some("connection refused"));
        rule.handle_timeout(at(400));
        assert_eq!(rule.poll_output(), None);
    }

    #[test]
    fn a_frozen_picture_is_offline_although_frames_come() {
        let mut rule = rule();
        rule.handle_picture(true, at(1));
        for s in 2..=181 {
            rule.handle_picture(false, at(s));
        }
        let why = opened(&mut rule).expect("180 s without a change");
        assert!(why.contains("frozen"), "{why}");
    }

    #[test]
    fn it_closes_after_a_window_of_changing_pictures_and_a_relapse_starts_that_window_again() {
        let mut rule = rule();
        rule.handle_timeout(at(180));
        assert!(opened(&mut rule).is_some());
        rule.handle_raised(at(180));
        for s in (200..300).chain(320..=499) {
            rule.handle_picture(true, at(s));
            assert_eq!(rule.poll_output(), None, "at {s}");
        }
        rule.handle_picture(true, at(500));
        let closed = CameraOfflineOutput::Closed { began: at(0), ended: at(320), reason: CloseReason::Cleared };
        assert_eq!(rule.poll_output(), Some(closed));
    }

    #[test]
    fn a_suppressed_alert_is_tried_again_after_a_window_a_raised_one_after_the_cool_down() {
        let mut rule = rule();
        rule.handle_timeout(at(180));
        rule.handle_suppressed(at(180));
        assert!(opened(&mut rule).is_some());
        assert_eq!(rule.poll_timeout(), Some(at(360)));
        rule.handle_timeout(at(360));
        assert!(opened(&mut rule).is_some());
        rule.handle_raised(at(360));
        for s in 361..=560 {
            rule.handle_picture(true, at(s));
        }
        assert!(matches!(rule.poll_output(), Some(CameraOfflineOutput::Closed { .. })));
        assert_eq!(rule.poll_timeout(), Some(at(360 + 3600)));
    }
}

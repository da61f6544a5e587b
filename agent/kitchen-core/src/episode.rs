//! From single looks to one episode of a violation: it opens when the window is satisfied, updates while it lasts,
//! and closes once. Knows nothing of cameras, models or alerts; every rule × zone owns one.

use std::collections::VecDeque;
use std::time::Duration;

use crate::alert::CloseReason;
use crate::time::Mono;

/// Share of the looks in a window that must hit to open.
const ENTER: f32 = 0.6;
/// An open episode clears when fewer hit than this.
const CLEAR: f32 = 0.2;
/// A window counts with at least this many looks.
const LEAST_LOOKS: usize = 3;
/// A continuing episode is updated at most this often.
const UPDATE_EVERY: Duration = Duration::from_secs(600);
/// Least time without any look before an episode is lost: a still scene is looked at only every 10 s.
const LEAST_UNTIL_LOST: Duration = Duration::from_secs(15);
/// Scores kept for an episode's median; beyond it the oldest go.
const SCORES: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpisodeSettings {
    /// The median of the hits' scores has to reach it; absent where no model scores.
    pub score: Option<f32>,
    pub window: Duration,
    pub cool_down: Duration,
}

/// What becomes of an episode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EpisodeOutput {
    /// Began with the first hit of its window. Answer with `handle_raised` once the alert is committed.
    Opened {
        began: Mono,
        score: Option<f32>,
    },
    Updated {
        began: Mono,
        score: Option<f32>,
    },
    Closed {
        began: Mono,
        ended: Mono,
        score: Option<f32>,
        reason: CloseReason,
    },
}

#[derive(Clone, Copy, Debug)]
struct Look {
    at: Mono,
    /// The score of a hit.
    hit: Option<f32>,
}

#[derive(Debug)]
struct Open {
    began: Mono,
    last_hit: Mono,
    updated: Mono,
    scores: VecDeque<f32>,
    /// Whether an alert stands for it.
    raised: bool,
}

#[derive(Debug)]
pub struct Episode {
    settings: EpisodeSettings,
    looks: VecDeque<Look>,
    open: Option<Open>,
    cool_until: Option<Mono>,
    output: VecDeque<EpisodeOutput>,
}

impl Episode {
    #[must_use]
    pub fn new(settings: EpisodeSettings) -> Self {
        Self { settings, looks: VecDeque::new(), open: None, cool_until: None, output: VecDeque::new() }
    }

    /// One look of the rule: the hit's score, or nothing seen. A rule without scores gives 1.
    pub fn handle_look(&mut self, hit: Option<f32>, now: Mono) {
        // The look that comes after a gap must not hide that nothing was looked at before it.
        self.handle_timeout(now);
        self.looks.push_back(Look { at: now, hit });
        self.forget_before(now - self.settings.window);
        match &mut self.open {
            None => self.open_if_satisfied(now),
            Some(open) => {
                if let Some(score) = hit {
                    open.last_hit = now;
                    open.scores.push_back(score);
                    if open.scores.len() > SCORES {
                        open.scores.pop_front();
                    }
                }
                self.go_on(now);
            }
        }
    }

    /// The alert of the opened episode is committed: from here on the cool-down counts.
    pub fn handle_raised(&mut self, now: Mono) {
        self.cool_until = Some(now + self.settings.cool_down);
    }

    /// The alert could not be raised (a day's cap, a failed commit): the episode goes on unreported, no cool-down.
    pub fn handle_suppressed(&mut self) {
        if let Some(open) = &mut self.open {
            open.raised = false;
        }
    }

    pub fn handle_timeout(&mut self, now: Mono) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.close(CloseReason::Lost);
        }
        if self.open.is_none() {
            self.forget_before(now - self.settings.window);
        }
    }

    /// When an open episode is lost, if no look comes.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.open.as_ref()?;
        let last = self.looks.back().map(|look| look.at)?;
        Some(last + self.settings.window.max(LEAST_UNTIL_LOST))
    }

    pub fn poll_output(&mut self) -> Option<EpisodeOutput> {
        self.output.pop_front()
    }

    /// Whether looks are needed: something was seen in this window, or an episode is open.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.open.is_some() || self.looks.iter().any(|look| look.hit.is_some())
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn open_if_satisfied(&mut self, now: Mono) {
        if self.cool_until.is_some_and(|until| now < until) || self.looks.len() < LEAST_LOOKS {
            return;
        }
        let Some(began) = self.looks.iter().find(|look| look.hit.is_some()).map(|look| look.at) else { return };
        // Few looks, as in a still scene, must not open early: the hits have to span the share of the window too.
        let lasted = now.since(began) >= self.settings.window.mul_f32(ENTER);
        let scores: VecDeque<f32> = self.looks.iter().filter_map(|look| look.hit).collect();
        let median = median(&scores);
        let scored = self.settings.score.is_none_or(|least| median.is_some_and(|median| median >= least));
        if !lasted || self.hit_share() < ENTER || !scored {
            return;
        }
        let score = self.settings.score.and(median);
        self.open = Some(Open { began, last_hit: now, updated: now, scores, raised: true });
        self.output.push_back(EpisodeOutput::Opened { began, score });
    }

    fn go_on(&mut self, now: Mono) {
        let share = self.hit_share();
        let Some(open) = &mut self.open else { return };
        let covered = now.since(open.last_hit.max(open.began)) >= self.settings.window.mul_f32(1.0 - CLEAR);
        if covered && self.looks.len() >= LEAST_LOOKS && share < CLEAR {
            self.close(CloseReason::Cleared);
        } else if now.since(open.updated) >= UPDATE_EVERY && open.raised {
            open.updated = now;
            let score = self.settings.score.and(median(&open.scores));
            self.output.push_back(EpisodeOutput::Updated { began: open.began, score });
        }
    }

    fn close(&mut self, reason: CloseReason) {
        let Some(open) = self.open.take() else { return };
        self.looks.clear();
        if open.raised {
            let score = self.settings.score.and(median(&open.scores));
            self.output.push_back(EpisodeOutput::Closed { began: open.began, ended: open.last_hit, score, reason });
        }
    }

    fn forget_before(&mut self, from: Mono) {
        while self.looks.front().is_some_and(|look| look.at < from) {
            self.looks.pop_front();
        }
    }

    fn hit_share(&self) -> f32 {
        let hits = self.looks.iter().filter(|look| look.hit.is_some()).count();
        hits as f32 / self.looks.len().max(1) as f32
    }
}

fn median(scores: &VecDeque<f32>) -> Option<f32> {
    let mut sorted: Vec<f32> = scores.iter().copied().collect();
    sorted.sort_by(f32::total_cmp);
    let middle = sorted.len().checked_sub(1)? / 2;
    Some(if sorted.len() % 2 == 1 { sorted[middle] } else { f32::midpoint(sorted[middle], sorted[middle + 1]) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: EpisodeSettings =
        EpisodeSettings { score: Some(0.65), window: Duration::from_secs(10), cool_down: Duration::from_secs(600) };

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    /// Looks at 2 a second in `[from_s, to_s)`; whether and how they hit is told by `hit` of the look's second.
    fn look(
        episode: &mut Episode,
        from_s: u64,
        to_s: u64,
        hit: impl Fn(u64) -> Option<f32>,
    ) -> Vec<(u64, EpisodeOutput)> {
        let mut seen = Vec::new();
        for ms in (from_s * 1000..to_s * 1000).step_by(500) {
            episode.handle_look(hit(ms), at(ms));
            while let Some(output) = episode.poll_output() {
                if matches!(output, EpisodeOutput::Opened { .. }) {
                    episode.handle_raised(at(ms));
                }
                seen.push((ms, output));
            }
        }
        seen
    }

    #[test]
    fn opens_when_six_tenths_of_the_window_hit_and_began_with_the_first_hit() {
        let mut episode = Episode::new(SETTINGS);
        let seen = look(&mut episode, 0, 40, |ms| (ms >= 20_000).then_some(0.8));
        assert_eq!(seen, [(26_000, EpisodeOutput::Opened { began: at(20_000), score: Some(0.8) })]);
    }

    #[test]
    fn a_low_median_never_opens() {
        let mut episode = Episode::new(SETTINGS);
        assert!(look(&mut episode, 0, 60, |_| Some(0.64)).is_empty());
        assert!(episode.is_pending() && !episode.is_open());
    }

    #[test]
    fn half_of_the_looks_is_not_enough() {
        let mut episode = Episode::new(SETTINGS);
        assert!(look(&mut episode, 0, 60, |ms| (ms % 1000 == 0).then_some(0.9)).is_empty());
    }

    #[test]
    fn a_few_quick_hits_after_a_still_scene_do_not_open_early() {
        let mut episode = Episode::new(SETTINGS);
        for ms in [0, 10_000, 20_000] {
            episode.handle_look(None, at(ms));
        }
        for ms in (25_000..30_900).step_by(500) {
            episode.handle_look(Some(0.9), at(ms));
            assert_eq!(episode.poll_output(), None, "at {ms}");
        }
        episode.handle_look(Some(0.9), at(31_000));
        assert!(episode.is_open());
    }

    #[test]
    fn clears_once_after_as_long_without_it_and_keeps_quiet_through_the_cool_down() {
        let mut episode = Episode::new(SETTINGS);
        let seen = look(&mut episode, 0, 700, |ms| (!(20_000..60_000).contains(&ms)).then_some(0.7));
        let closed =
            EpisodeOutput::Closed { began: at(0), ended: at(19_500), score: Some(0.7), reason: CloseReason::Cleared };
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert_eq!(seen[1].1, closed);
        assert!((28_000..=30_000).contains(&seen[1].0), "{}", seen[1].0);
        // Opened at 6 s, so quiet until 606 s, then the violation that still lasts is reported.
        assert_eq!(seen[2].0, 606_000);
    }

    #[test]
    fn a_suppressed_alert_uses_up_no_cool_down_and_never_closes_aloud() {
        let mut episode = Episode::new(SETTINGS);
        for ms in (0..6_500).step_by(500) {
            episode.handle_look(Some(0.9), at(ms));
        }
        assert!(matches!(episode.poll_output(), Some(EpisodeOutput::Opened { .. })));
        episode.handle_suppressed();
        assert!(look(&mut episode, 7, 30, |_| None).is_empty());
        let seen = look(&mut episode, 30, 50, |_| Some(0.9));
        assert!(matches!(seen[..], [(_, EpisodeOutput::Opened { .. })]), "{seen:?}");
    }

    #[test]
    fn nothing_to_look_at_for_a_window_loses_the_episode() {
        let mut episode = Episode::new(SETTINGS);
        look(&mut episode, 0, 10, |_| Some(0.9));
        assert_eq!(episode.poll_timeout(), Some(at(24_500)));
        episode.handle_timeout(at(24_499));
        assert_eq!(episode.poll_output(), None);
        episode.handle_timeout(at(24_500));
        let closed = episode.poll_output();
        assert!(matches!(closed, Some(EpisodeOutput::Closed { reason: CloseReason::Lost, .. })), "{closed:?}");
        assert_eq!(episode.poll_timeout(), None);
    }

    #[test]
    fn a_lasting_violation_updates_every_ten_minutes_and_stays_one_episode() {
        let mut episode = Episode::new(SETTINGS);
        let seen = look(&mut episode, 0, 3600, |_| Some(0.9));
        let updates = seen.iter().filter(|(_, o)| matches!(o, EpisodeOutput::Updated { .. })).count();
        assert_eq!((seen.len(), updates), (6, 5));
    }

    #[test]
    fn a_candidate_that_nothing_looks_at_any_more_is_forgotten_after_its_window() {
        let mut episode = Episode::new(SETTINGS);
        episode.handle_look(Some(0.9), at(0));
        episode.handle_timeout(at(10_000));
        assert!(episode.is_pending());
        episode.handle_timeout(at(10_001));
        assert!(!episode.is_pending());
    }

    proptest! {
        #[test]
        fn outputs_alternate_between_opened_and_closed(
            steps in prop::collection::vec((1u64..20_000, prop::option::of(0.0f32..1.0)), 1..300)
        ) {
            let mut episode = Episode::new(EpisodeSettings { cool_down: Duration::from_secs(30), ..SETTINGS });
            let (mut now, mut open) = (0, false);
            for (step, hit) in steps {
                now += step;
                episode.handle_look(hit, at(now));
                while let Some(output) = episode.poll_output() {
                    match output {
                        EpisodeOutput::Opened { began, .. } => {
                            prop_assert!(!open && at(now).since(began) <= SETTINGS.window);
                            open = true;
                            episode.handle_raised(at(now));
                        }
                        EpisodeOutput::Updated { .. } => prop_assert!(open),
                        EpisodeOutput::Closed { began, ended, .. } => {
                            prop_assert!(open && began <= ended);
                            open = false;
                        }
                    }
                }
                prop_assert_eq!(open, episode.is_open());
            }
        }
    }
}

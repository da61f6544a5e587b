//! Which tracked subjects a classifier looks at, and what its looks come to: at most one look a second a subject, the
//! longest waiting first, and the mean of the last few looks counts. Sees boxes and scores, never pixels.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::detection::{Attributes, Label, Rect};
use crate::time::Mono;
use crate::tracker::Track;

/// A subject is looked at so often at most.
pub const EVERY: Duration = Duration::from_secs(1);
/// Looks that vote.
const VOTES: usize = 5;
/// An older look says nothing of now.
const FRESH: Duration = Duration::from_secs(8);
/// Looks of one classifier at one frame: more would delay the next frame.
const MOST_A_FRAME: usize = 4;
/// A head belongs to a person when it lies this far inside of the upper part of the box.
const WITHIN: f32 = 0.6;
const UPPER_PART: f32 = 0.5;

/// What a classifier is to look at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Subject {
    /// The person's track; of a head that no person holds, its own.
    pub track: u64,
    /// The head's or the person's box.
    pub rect: Rect,
}

#[derive(Debug, Default)]
struct Judged {
    last: Option<Mono>,
    looks: VecDeque<(Mono, Attributes)>,
}

/// One classifier's looks at one camera's subjects.
#[derive(Debug)]
pub struct Judging {
    of: Label,
    /// Pixels of a box's shorter side below which a look would say nothing.
    min_px: u32,
    judged: BTreeMap<u64, Judged>,
}

impl Judging {
    /// `of` is whose box the classifier is shown, a head's or a person's.
    #[must_use]
    pub const fn new(of: Label, min_px: u32) -> Self {
        Self { of, min_px, judged: BTreeMap::new() }
    }

    /// Whom to look at in a frame of this size. Answer each with [`Judging::handle_scores`].
    pub fn due(&mut self, tracks: &[Track], (width, height): (u32, u32), now: Mono) -> Vec<Subject> {
        self.judged.retain(|_, judged| judged.last.is_some_and(|last| now.since(last) <= FRESH));
        let subjects = match self.of {
            Label::Head => heads(tracks),
            _ => people(tracks).map(|track| Subject { track: track.id, rect: track.rect }).collect(),
        };
        #[expect(clippy::cast_precision_loss, reason = "sides of pictures")]
        let shorter_px = |rect: Rect| (rect.w * width as f32).min(rect.h * height as f32);
        let last = |subject: &Subject| self.judged.get(&subject.track).and_then(|judged| judged.last);
        let mut due: Vec<Subject> = subjects
            .into_iter()
            .filter(|subject| f64::from(shorter_px(subject.rect)) >= f64::from(self.min_px))
            .filter(|subject| last(subject).is_none_or(|last| now.since(last) >= EVERY))
            .collect();
        // Whoever was never looked at comes first.
        due.sort_by_key(last);
        due.truncate(MOST_A_FRAME);
        due
    }

    /// What the classifier saw of a subject.
    pub fn handle_scores(&mut self, subject: Subject, scores: Attributes, now: Mono) {
        let judged = self.judged.entry(subject.track).or_default();
        judged.last = Some(now);
        judged.looks.push_back((now, scores));
        if judged.looks.len() > VOTES {
            judged.looks.pop_front();
        }
    }

    /// Tells the tracks what the votes say of them, and which labels were asked for in the look at `now`.
    pub fn attach(&self, tracks: &mut [Track], now: Mono) {
        for track in tracks {
            let Some(judged) = self.judged.get(&track.id) else { continue };
            let fresh: Vec<&Attributes> =
                judged.looks.iter().filter(|(at, _)| now.since(*at) <= FRESH).map(|(_, scores)| scores).collect();
            track.attributes.extend(mean(&fresh));
            if judged.last == Some(now) {
                track.asked.extend(fresh.last().into_iter().flat_map(|scores| scores.keys().copied()));
            }
        }
    }
}

fn people(tracks: &[Track]) -> impl Iterator<Item = &Track> {
    tracks.iter().filter(|track| track.label == Label::Person)
}

/// Each head under the number of the smallest person who can hold it, or under its own. A person has one head: the
/// surest.
fn heads(tracks: &[Track]) -> Vec<Subject> {
    let mut heads: Vec<&Track> = tracks.iter().filter(|track| track.label == Label::Head).collect();
    heads.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut taken = Vec::new();
    let mut subjects = Vec::new();
    for head in heads {
        let upper = |person: Rect| Rect::new(person.x, person.y, person.w, person.h * UPPER_PART);
        let holders =
            people(tracks).filter(|person| head.rect.share_within(upper(person.rect).widened(0.1, 0.1)) >= WITHIN);
        let holder =
            holders.filter(|person| !taken.contains(&person.id)).min_by(|a, b| a.rect.area().total_cmp(&b.rect.area()));
        let track = holder.map_or(head.id, |person| person.id);
        taken.push(track);
        subjects.push(Subject { track, rect: head.rect });
    }
    subjects
}

/// The mean of each label over the looks that say something of it.
fn mean(looks: &[&Attributes]) -> Attributes {
    let mut sums: BTreeMap<Label, (f32, f32)> = BTreeMap::new();
    for (label, score) in looks.iter().flat_map(|scores| scores.iter()) {
        let (sum, count) = sums.entry(*label).or_default();
        *sum += score;
        *count += 1.0;
    }
    sums.into_iter().map(|(label, (sum, count))| (label, sum / count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::track;

    const SIZE: (u32, u32) = (640, 360);

    fn numbered(id: u64, label: Label, rect: [f32; 4]) -> Track {
        Track { id, ..track(label, 0.9, rect) }
    }

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    fn scores(no_hat: f32) -> Attributes {
        Attributes::from([(Label::Hat, 1.0 - no_hat), (Label::NoHat, no_hat), (Label::Unknown, 0.0)])
    }

    #[test]
    fn a_subject_is_looked_at_once_a_second() {
        let mut judging = Judging::new(Label::Person, 24);
        let person = [numbered(1, Label::Person, [0.1, 0.1, 0.2, 0.8])];
        let subject = Subject { track: 1, rect: person[0].rect };
        assert_eq!(judging.due(&person, SIZE, at(0)), [subject]);
        judging.handle_scores(subject, scores(0.9), at(0));
        assert_eq!(judging.due(&person, SIZE, at(500)), []);
        assert_eq!(judging.due(&person, SIZE, at(1000)), [subject]);
    }

    #[test]
    fn whoever_waits_longest_comes_first_and_few_at_once() {
        let mut judging = Judging::new(Label::Person, 24);
        let people: Vec<Track> =
            (1..=6_u16).map(|n| numbered(n.into(), Label::Person, [0.15 * f32::from(n - 1), 0.1, 0.1, 0.8])).collect();
        let ids = |subjects: &[Subject]| subjects.iter().map(|subject| subject.track).collect::<Vec<_>>();
        let first = judging.due(&people, SIZE, at(0));
        assert_eq!(ids(&first), [1, 2, 3, 4]);
        first.into_iter().for_each(|subject| judging.handle_scores(subject, scores(0.1), at(0)));
        assert_eq!(ids(&judging.due(&people, SIZE, at(1000))), [5, 6, 1, 2]);
    }

    #[test]
    fn what_is_too_small_is_not_looked_at() {
        let mut judging = Judging::new(Label::Head, 24);
        let small = [numbered(1, Label::Head, [0.1, 0.1, 0.03, 0.1])];
        assert_eq!(judging.due(&small, SIZE, at(0)), []);
    }

    #[test]
    fn a_head_counts_for_the_person_below_it() {
        let mut judging = Judging::new(Label::Head, 24);
        let tracks = [
            numbered(1, Label::Person, [0.1, 0.1, 0.8, 0.9]),
            numbered(2, Label::Person, [0.4, 0.2, 0.2, 0.7]),
            numbered(3, Label::Head, [0.45, 0.2, 0.1, 0.15]),
            numbered(4, Label::Head, [0.92, 0.7, 0.07, 0.15]),
        ];
        let due = judging.due(&tracks, SIZE, at(0));
        let owners: Vec<(u64, Rect)> = due.iter().map(|subject| (subject.track, subject.rect)).collect();
        assert_eq!(owners, [(2, tracks[2].rect), (4, tracks[3].rect)]);
    }

    #[test]
    fn the_votes_of_the_last_looks_count_and_old_ones_do_not() {
        let mut judging = Judging::new(Label::Person, 24);
        let person = || [numbered(1, Label::Person, [0.1, 0.1, 0.2, 0.8])];
        let subject = Subject { track: 1, rect: person()[0].rect };
        for (second, no_hat) in [0.0, 0.9, 0.9, 0.9, 0.9, 0.4].into_iter().enumerate() {
            judging.handle_scores(subject, scores(no_hat), at(second as u64 * 1000));
        }
        let mut tracks = person();
        judging.attach(&mut tracks, at(5000));
        assert!((tracks[0].attributes[&Label::NoHat] - 0.8).abs() < 1e-6, "{:?}", tracks[0].attributes);
        assert!(tracks[0].asked.contains(&Label::NoHat));
        let mut tracks = person();
        judging.attach(&mut tracks, at(5500));
        assert!(tracks[0].asked.is_empty() && tracks[0].attributes.contains_key(&Label::NoHat));
        let mut tracks = person();
        judging.attach(&mut tracks, at(20_000));
        assert!(tracks[0].attributes.is_empty());
    }
}

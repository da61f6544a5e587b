//! `rodent`: a rat that has moved. What lies still is a mop or a rag; what looks more like a cat or a dog is one.

use super::{Hit, has_rival};
use crate::detection::Label;
use crate::tracker::Track;
use crate::zone::Area;

/// Lengths of its own that it has to have moved: a still box wavers by a tenth.
const MOVED: f32 = 0.5;

#[must_use]
pub fn look(tracks: &[Track], area: &Area) -> Option<Hit> {
    let is_rat = |track: &&Track| track.label == Label::Rat && track.moved >= MOVED;
    let here = tracks.iter().filter(is_rat).filter(|track| area.contains(track.rect.foot()));
    Hit::of(here.filter(|rat| !has_rival(rat, tracks, &[Label::Cat, Label::Dog])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::track;

    fn rat(moved: f32) -> Track {
        Track { moved, ..track(Label::Rat, 0.7, [0.4, 0.8, 0.05, 0.03]) }
    }

    #[test]
    fn a_rat_has_to_move() {
        let everywhere = Area::whole_picture();
        assert_eq!(look(&[rat(0.2)], &everywhere), None);
        assert_eq!(look(&[rat(0.8)], &everywhere).expect("it moved").score, 0.7);
    }

    #[test]
    fn what_looks_more_like_a_cat_is_no_rat() {
        let everywhere = Area::whole_picture();
        let cat = |score, x| track(Label::Cat, score, [x, 0.8, 0.05, 0.03]);
        assert_eq!(look(&[rat(0.8), cat(0.8, 0.4)], &everywhere), None);
        assert!(look(&[rat(0.8), cat(0.6, 0.4)], &everywhere).is_some());
        assert!(look(&[rat(0.8), cat(0.9, 0.7)], &everywhere).is_some(), "a cat elsewhere is no rival");
    }
}

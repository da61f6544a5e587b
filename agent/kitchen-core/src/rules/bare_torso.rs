//! `bare_torso`: somebody with a bare upper body.

use super::{Looked, attribute};
use crate::detection::Label;
use crate::tracker::Track;
use crate::zone::Area;

#[must_use]
pub fn look(tracks: &[Track], area: &Area) -> Looked {
    attribute(tracks, area, Label::Bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::judged;

    #[test]
    fn a_bare_torso_counts_and_an_unknown_one_does_not() {
        let everywhere = Area::whole_picture();
        let violator =
            judged([0.1, 0.1, 0.2, 0.8], &[(Label::Bare, 0.8), (Label::WorkClothes, 0.1), (Label::Unknown, 0.1)]);
        let other =
            judged([0.6, 0.1, 0.2, 0.8], &[(Label::Bare, 0.1), (Label::WorkClothes, 0.8), (Label::Unknown, 0.1)]);
        let unknown =
            judged([0.6, 0.1, 0.2, 0.8], &[(Label::Bare, 0.1), (Label::WorkClothes, 0.0), (Label::Unknown, 0.9)]);
        let Looked::Hit(hit) = look(&[other.clone(), violator.clone()], &everywhere) else { panic!("no hit") };
        assert_eq!((hit.score, hit.boxes.len(), hit.boxes[0].rect), (0.8, 1, violator.rect));
        assert_eq!(look(&[other, unknown], &everywhere), Looked::Clear);
        // Between two looks of the classifier there is none of the rule.
        let waiting = Track { asked: Default::default(), ..violator };
        assert_eq!(look(&[waiting], &everywhere), Looked::NotAsked);
        assert_eq!(look(&[], &everywhere), Looked::NotAsked);
    }
}

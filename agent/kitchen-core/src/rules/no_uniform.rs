//! `no_uniform`: somebody in other clothes than work clothes. Whoever can't be judged is no violation.

use super::{Looked, attribute};
use crate::detection::Label;
use crate::tracker::Track;
use crate::zone::Area;

#[must_use]
pub fn look(tracks: &[Track], area: &Area) -> Looked {
    attribute(tracks, area, Label::OtherClothes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::judged;

    #[test]
    fn other_clothes_count_and_unknown_ones_do_not() {
        let everywhere = Area::whole_picture();
        let violator = judged(
            [0.1, 0.1, 0.2, 0.8],
            &[(Label::OtherClothes, 0.8), (Label::WorkClothes, 0.1), (Label::Unknown, 0.1)],
        );
        let other = judged(
            [0.6, 0.1, 0.2, 0.8],
            &[(Label::OtherClothes, 0.1), (Label::WorkClothes, 0.8), (Label::Unknown, 0.1)],
        );
        let unknown = judged(
            [0.6, 0.1, 0.2, 0.8],
            &[(Label::OtherClothes, 0.1), (Label::WorkClothes, 0.0), (Label::Unknown, 0.9)],
        );
        let Looked::Hit(hit) = look(&[other.clone(), violator.clone()], &everywhere) else { panic!("no hit") };
        assert_eq!((hit.score, hit.boxes.len(), hit.boxes[0].rect), (0.8, 1, violator.rect));
        assert_eq!(look(&[other, unknown], &everywhere), Looked::Clear);
        // Between two looks of the classifier there is none of the rule.
        let waiting = Track { asked: Default::default(), ..violator };
        assert_eq!(look(&[waiting], &everywhere), Looked::NotAsked);
        assert_eq!(look(&[], &everywhere), Looked::NotAsked);
    }
}

//! `animal`: a cat or a dog in the kitchen. What looks more like a rat is one.

use super::{Hit, has_rival};
use crate::detection::Label;
use crate::tracker::Track;
use crate::zone::Area;

#[must_use]
pub fn look(tracks: &[Track], area: &Area) -> Option<Hit> {
    let is_pet = |track: &&Track| matches!(track.label, Label::Cat | Label::Dog);
    let here = tracks.iter().filter(is_pet).filter(|track| area.contains(track.rect.foot()));
    Hit::of(here.filter(|pet| !has_rival(pet, tracks, &[Label::Rat])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::track;

    #[test]
    fn cats_and_dogs_count_and_nothing_else() {
        let everywhere = Area::whole_picture();
        let (cat, dog) = (track(Label::Cat, 0.6, [0.1, 0.5, 0.1, 0.1]), track(Label::Dog, 0.8, [0.5, 0.5, 0.2, 0.2]));
        let person = track(Label::Person, 0.9, [0.5, 0.2, 0.1, 0.5]);
        let hit = look(&[cat, dog, person.clone()], &everywhere).expect("two pets");
        assert_eq!((hit.score, hit.boxes.len()), (0.8, 2));
        assert_eq!(look(&[person], &everywhere), None);
    }

    #[test]
    fn what_looks_more_like_a_rat_is_no_pet() {
        let cat = track(Label::Cat, 0.6, [0.1, 0.5, 0.1, 0.1]);
        let rat = |score| track(Label::Rat, score, [0.1, 0.5, 0.1, 0.1]);
        assert_eq!(look(&[cat.clone(), rat(0.7)], &Area::whole_picture()), None);
        assert!(look(&[cat, rat(0.5)], &Area::whole_picture()).is_some());
    }
}

//! `intrusion`: a person in the kitchen while the rule is active, outside working hours by its schedule.
//! A person is where the feet are.

use super::Hit;
use crate::detection::Label;
use crate::tracker::Track;
use crate::zone::Area;

#[must_use]
pub fn look(tracks: &[Track], area: &Area) -> Option<Hit> {
    Hit::of(tracks.iter().filter(|track| track.label == Label::Person && area.contains(track.rect.foot())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::track;

    #[test]
    fn a_person_counts_where_the_feet_are() {
        let area = Area::zone("store", vec![[0.0, 0.5], [1.0, 0.5], [1.0, 1.0], [0.0, 1.0]]);
        let near = track(Label::Person, 0.7, [0.4, 0.3, 0.1, 0.4]);
        let far = track(Label::Person, 0.9, [0.4, 0.1, 0.1, 0.3]);
        let hit = look(&[near.clone(), far], &area).expect("one stands inside");
        assert_eq!((hit.score, hit.boxes), (0.7, vec![near.detection()]));
    }

    #[test]
    fn a_cat_is_no_intruder() {
        assert_eq!(look(&[track(Label::Cat, 0.9, [0.4, 0.4, 0.1, 0.1])], &Area::whole_picture()), None);
    }
}

//! `smoking`: a cigarette at a person: near the head or in a hand. One that lies alone is not smoked, and on a head
//! that wears a mask it is a strap or a fold of the mask.

use super::Hit;
use crate::detection::{Label, Rect};
use crate::tracker::Track;
use crate::zone::Area;

/// Share of a person's width and height by which a hand reaches beyond the box.
const REACH: f32 = 0.1;
/// The same of a head that no person was seen with, to the mouth and a raised hand.
const ABOUT_THE_HEAD: f32 = 0.75;
/// From here on a mask is more likely worn than not.
const MASKED: f32 = 0.5;
/// Share of a head's width and height by which a mask's straps may lie beyond its box.
const STRAPS: f32 = 0.15;
/// What is larger than this share of the person is no cigarette.
const MOST_OF_PERSON: f32 = 0.1;

#[must_use]
pub fn look(tracks: &[Track], area: &Area) -> Option<Hit> {
    let smoker = |cigarette: &Track| {
        let near = tracks.iter().filter(|other| is_at(cigarette.rect, other));
        // Shown is the whole person rather than the head, which stands in for one that was not seen.
        let order = |track: &Track| (track.label != Label::Person, track.rect.area());
        near.min_by(|a, b| order(a).partial_cmp(&order(b)).expect("areas are numbers"))
    };
    let is_strap = |cigarette: &Track| tracks.iter().any(|other| is_on_mask(cigarette.rect, other));
    let cigarettes =
        tracks.iter().filter(|track| track.label == Label::Cigarette && area.contains(track.rect.centre()));
    let cigarettes = cigarettes.filter(|cigarette| !is_strap(cigarette));
    let smoked: Vec<(&Track, &Track)> =
        cigarettes.filter_map(|cigarette| Some((cigarette, smoker(cigarette)?))).collect();
    let mut hit = Hit::of(smoked.iter().map(|(cigarette, _)| *cigarette))?;
    hit.boxes.extend(smoked.iter().map(|(_, smoker)| smoker.detection()));
    Some(hit)
}

/// Mask straps are what the detector takes for cigarettes most often.
fn is_on_mask(cigarette: Rect, other: &Track) -> bool {
    other.label == Label::Head
        && other.attributes.get(&Label::Mask).is_some_and(|score| *score >= MASKED)
        && other.rect.widened(STRAPS, STRAPS).contains(cigarette.centre())
}

fn is_at(cigarette: Rect, other: &Track) -> bool {
    match other.label {
        Label::Person => {
            other.rect.widened(REACH, REACH).contains(cigarette.centre())
                && cigarette.area() <= other.rect.area() * MOST_OF_PERSON
        }
        Label::Head => {
            other.rect.widened(ABOUT_THE_HEAD, ABOUT_THE_HEAD).contains(cigarette.centre())
                && cigarette.area() <= other.rect.area()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::track;

    #[test]
    fn a_cigarette_counts_at_a_person_only() {
        let everywhere = Area::whole_picture();
        let person = track(Label::Person, 0.9, [0.4, 0.2, 0.2, 0.6]);
        let head = track(Label::Head, 0.8, [0.45, 0.2, 0.1, 0.12]);
        let smoked = track(Label::Cigarette, 0.7, [0.52, 0.3, 0.02, 0.01]);
        let on_the_table = track(Label::Cigarette, 0.8, [0.9, 0.4, 0.02, 0.01]);
        assert_eq!(look(&[person.clone(), on_the_table.clone()], &everywhere), None);
        assert_eq!(look(std::slice::from_ref(&smoked), &everywhere), None);
        let hit = look(&[head, person.clone(), smoked.clone(), on_the_table], &everywhere).expect("smoked");
        assert_eq!((hit.score, hit.boxes), (0.7, vec![smoked.detection(), person.detection()]));
    }

    #[test]
    fn a_strap_of_a_mask_is_no_cigarette_but_one_in_the_hand_is() {
        let everywhere = Area::whole_picture();
        let person = track(Label::Person, 0.9, [0.4, 0.2, 0.2, 0.6]);
        let mut head = track(Label::Head, 0.8, [0.45, 0.2, 0.1, 0.12]);
        let strap = track(Label::Cigarette, 0.8, [0.53, 0.25, 0.02, 0.01]);
        let in_the_hand = track(Label::Cigarette, 0.8, [0.42, 0.5, 0.02, 0.01]);
        assert!(look(&[person.clone(), head.clone(), strap.clone()], &everywhere).is_some());
        head.attributes.insert(Label::Mask, 0.7);
        assert_eq!(look(&[person.clone(), head.clone(), strap], &everywhere), None);
        assert!(look(&[person, head, in_the_hand], &everywhere).is_some());
    }

    #[test]
    fn a_head_alone_can_smoke_too_and_a_pole_is_no_cigarette() {
        let everywhere = Area::whole_picture();
        let head = track(Label::Head, 0.9, [0.3, 0.2, 0.3, 0.5]);
        let smoked = track(Label::Cigarette, 0.7, [0.58, 0.6, 0.1, 0.04]);
        assert!(look(&[head.clone(), smoked], &everywhere).is_some());
        let pole = track(Label::Cigarette, 0.7, [0.1, 0.3, 0.5, 0.4]);
        assert_eq!(look(&[head, pole], &everywhere), None);
    }
}

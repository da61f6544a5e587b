//! `fire`: open fire or smoke in the watched area; zones leave the stove out.

use super::Hit;
use crate::detection::Label;
use crate::tracker::Track;
use crate::zone::Area;

#[must_use]
pub fn look(tracks: &[Track], area: &Area) -> Option<Hit> {
    Hit::of(tracks.iter().filter(|track| track.label == Label::Fire && area.contains(track.rect.centre())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::track;

    #[test]
    fn fire_counts_where_it_is_watched_for() {
        let area = Area::zone("left", vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]);
        let (inside, outside) =
            (track(Label::Fire, 0.7, [0.1, 0.4, 0.2, 0.3]), track(Label::Fire, 0.9, [0.6, 0.4, 0.2, 0.3]));
        let person = track(Label::Person, 0.9, [0.1, 0.4, 0.2, 0.3]);
        let hit = look(&[inside.clone(), outside.clone(), person.clone()], &area).expect("one inside");
        assert_eq!((hit.score, hit.boxes), (0.7, vec![inside.detection()]));
        assert_eq!(look(&[outside, person], &area), None);
    }
}

//! `waste`: an overflowing bin, or waste on the floor.

use super::Hit;
use crate::detection::Label;
use crate::tracker::Track;
use crate::zone::Area;

#[must_use]
pub fn look(tracks: &[Track], area: &Area) -> Option<Hit> {
    Hit::of(tracks.iter().filter(|track| track.label == Label::Waste && area.contains(track.rect.foot())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::assert_counts_in_its_area;

    #[test]
    fn waste_counts_where_it_lies() {
        assert_counts_in_its_area(look, Label::Waste);
    }
}

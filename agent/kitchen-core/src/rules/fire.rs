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
    use crate::rules::testing::assert_counts_in_its_area;

    #[test]
    fn fire_counts_where_it_is_watched_for() {
        assert_counts_in_its_area(look, Label::Fire);
    }
}

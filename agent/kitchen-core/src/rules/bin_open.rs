//! `bin_open`: a bin without its lid.

use super::Hit;
use crate::detection::Label;
use crate::tracker::Track;
use crate::zone::Area;

#[must_use]
pub fn look(tracks: &[Track], area: &Area) -> Option<Hit> {
    Hit::of(tracks.iter().filter(|track| track.label == Label::BinOpen && area.contains(track.rect.foot())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::assert_counts_in_its_area;

    #[test]
    fn an_open_bin_counts_where_it_stands() {
        assert_counts_in_its_area(look, Label::BinOpen);
    }
}

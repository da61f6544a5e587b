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
    use crate::rules::testing::assert_acts_on_attribute;

    #[test]
    fn other_clothes_count_and_unknown_ones_do_not() {
        assert_acts_on_attribute(look, Label::OtherClothes, Label::WorkClothes);
    }
}

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
    use crate::rules::testing::assert_acts_on_attribute;

    #[test]
    fn a_bare_torso_counts_and_an_unknown_one_does_not() {
        assert_acts_on_attribute(look, Label::Bare, Label::WorkClothes);
    }
}

//! Areas of the picture that a rule watches. Polygons in fractions of the picture; never pixels.

use crate::config::Polygon;

/// A named area, or the whole picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Area {
    /// Absent for the whole picture.
    pub zone: Option<String>,
    polygon: Polygon,
}

impl Area {
    #[must_use]
    pub const fn whole_picture() -> Self {
        Self { zone: None, polygon: Vec::new() }
    }

    #[must_use]
    pub fn zone(id: &str, polygon: Polygon) -> Self {
        Self { zone: Some(id.to_owned()), polygon }
    }

    /// Whether the point lies inside, by the even-odd rule.
    #[must_use]
    pub fn contains(&self, [x, y]: [f32; 2]) -> bool {
        if self.zone.is_none() {
            return true;
        }
        let corners = &self.polygon;
        let mut inside = false;
        for (index, &[x1, y1]) in corners.iter().enumerate() {
            let [x2, y2] = corners[(index + 1) % corners.len()];
            if (y1 > y) != (y2 > y) && x < x1 + (y - y1) / (y2 - y1) * (x2 - x1) {
                inside = !inside;
            }
        }
        inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dented_polygon_leaves_out_its_dent() {
        let dented = vec![[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.5, 0.4], [0.1, 0.9]];
        let area = Area::zone("cooking", dented);
        assert!(area.contains([0.2, 0.6]));
        assert!(!area.contains([0.5, 0.7]));
        assert!(!area.contains([0.95, 0.5]));
        assert!(Area::whole_picture().contains([2.0, 2.0]));
    }
}

//! The pictures of an alert: the one for the district, with bystanders blurred, boxes and a caption, and the clean
//! original that stays on the box.

use anyhow::Result;
use kitchen_core::bystander::Bystanders;
use kitchen_core::config::Config;
use kitchen_core::time::{Stamp, TimeZone};
use kitchen_core::watch::ViolationKey;
use kitchen_store::NewSnapshot;
use kitchen_vision::picture::{self, AlertPicture};

use crate::analysis::Sight;

/// Says that the time beside it may be wrong.
const CLOCK_NOT_SET: &str = "时钟未校准 / clock not set";
/// As wide as a Chinese character: it needs no space.
const BETWEEN: &str = "·";

/// What all pictures of this box have in common.
#[derive(Clone, Debug)]
pub struct Photographer {
    device: String,
    zone: TimeZone,
    blur_bystanders: bool,
}

impl Photographer {
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            device: config.device.id.clone(),
            zone: config.time_zone(),
            blur_bystanders: config.privacy.blur_bystanders,
        }
    }

    /// The one for the district has `max_bytes` at most.
    ///
    /// # Errors
    /// When a picture can't be encoded.
    pub fn snapshot(&self, camera: &str, key: &ViolationKey, sight: &Sight, max_bytes: usize) -> Result<NewSnapshot> {
        let bystanders = if self.blur_bystanders {
            Bystanders::of(key.rule, &sight.boxes, &sight.seen)
        } else {
            Bystanders::default()
        };
        let caption = self.caption(camera, key, sight.at);
        let picture =
            AlertPicture { frame: &sight.frame, boxes: &sight.boxes, bystanders: &bystanders, caption: &caption };
        let sent = picture.encode(max_bytes)?;
        let original = picture::clean(&sight.frame)?;
        Ok(NewSnapshot { sent: sent.bytes, original: original.bytes, width: sent.width, height: sent.height })
    }

    /// What happened, when and where.
    fn caption(&self, camera: &str, key: &ViolationKey, at: Stamp) -> [String; 3] {
        let rule = key.rule.defaults();
        let mut when = at.wall.local_text(&self.zone);
        if !at.quality.is_trusted() {
            when = format!("{when} {CLOCK_NOT_SET}");
        }
        let place = [Some(camera), key.zone.as_deref(), Some(&self.device)];
        let place: Vec<&str> = place.into_iter().flatten().collect();
        [format!("{} {}", rule.chinese, rule.english), when, place.join(BETWEEN)]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kitchen_core::detection::{Detection, Label, Rect};
    use kitchen_core::rules::RuleId;
    use kitchen_core::time::{Mono, TimeQuality, Wall};
    use kitchen_vision::frame::Frame;
    use kitchen_vision::picture::{ALERT_BYTES, without_glyph};

    use super::*;

    fn photographer() -> Photographer {
        configured("")
    }

    fn configured(more: &str) -> Photographer {
        let text = format!("[device]\nid = \"mh07-000123\"\n{more}");
        Photographer::new(&Config::parse(&text, &[]).expect("valid"))
    }

    /// Fine stripes, in which somebody was seen, doubtfully, on the left.
    fn sight() -> Sight {
        let stripes = image::RgbImage::from_fn(640, 360, |x, _| image::Rgb(if x % 6 < 3 { [40; 3] } else { [210; 3] }));
        let head = Detection { label: Label::Head, score: 0.2, rect: Rect::new(0.1, 0.3, 0.06, 0.1) };
        let at = Stamp { mono: Mono::ZERO, wall: Wall::from_unix_millis(0), quality: TimeQuality::Ntp };
        let frame = Arc::new(Frame::from_rgb(&stripes).expect("a picture"));
        Sight { frame, boxes: Vec::new(), seen: [head].into(), at, quality: 1.0 }
    }

    /// The greatest step from pixel to pixel in the middle of that head.
    fn contrast(jpeg: &[u8]) -> u8 {
        let picture = image::load_from_memory(jpeg).expect("a JPEG").to_luma8();
        let row: Vec<u8> = (70..96).map(|x| picture.get_pixel(x, 126).0[0]).collect();
        row.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().expect("pixels")
    }

    #[test]
    fn faces_are_blurred_in_what_leaves_the_box_and_in_nothing_else() {
        let key = ViolationKey { rule: RuleId::LensCovered, zone: None };
        let taken = photographer().snapshot("stove", &key, &sight(), ALERT_BYTES).expect("encodes");
        assert!(contrast(&taken.sent) < 30, "{}", contrast(&taken.sent));
        assert!(contrast(&taken.original) > 100, "the original stays as it is");
        let unblurred = configured("[privacy]\nblur_bystanders = false").snapshot("stove", &key, &sight(), ALERT_BYTES);
        assert!(contrast(&unblurred.expect("encodes").sent) > 100);
    }

    fn caption(rule: RuleId, zone: Option<&str>, quality: TimeQuality) -> [String; 3] {
        let wall = Wall::from_unix_millis(1_795_543_205_000);
        let key = ViolationKey { rule, zone: zone.map(str::to_owned) };
        photographer().caption("stove", &key, Stamp { mono: Mono::ZERO, wall, quality })
    }

    #[test]
    fn a_caption_says_what_when_in_local_time_and_where() {
        let said = caption(RuleId::NoMask, Some("left"), TimeQuality::Ntp);
        assert_eq!(said, ["未戴口罩 No mask", "2026-11-25 02:00:05", "stove·left·mh07-000123"]);
        assert_eq!(caption(RuleId::NoMask, None, TimeQuality::Rtc)[2], "stove·mh07-000123");
    }

    #[test]
    fn a_clock_that_was_never_set_is_told_beside_its_time() {
        for (quality, is_told) in [
            (TimeQuality::Ntp, false),
            (TimeQuality::Modem, false),
            (TimeQuality::Rtc, false),
            (TimeQuality::Floor, true),
            (TimeQuality::None, true),
        ] {
            assert_eq!(caption(RuleId::NoHat, None, quality)[1].contains(CLOCK_NOT_SET), is_told, "{quality:?}");
        }
    }

    #[test]
    fn the_font_has_every_character_that_a_caption_can_have() {
        for rule in RuleId::all() {
            let said = caption(rule, Some("炒菜区"), TimeQuality::None).concat();
            assert!(without_glyph(&said).is_empty(), "{rule}: {said}");
        }
        let ascii: String = (' '..='~').collect();
        let texts = [include_str!("../locales/zh/fault.ftl"), include_str!("../locales/zh/command.ftl")].concat();
        let chinese: String = texts.chars().filter(|character| ('一'..='龥').contains(character)).collect();
        let missing = without_glyph(&(ascii + &chinese));
        assert!(missing.is_empty(), "{missing:?}");
    }
}

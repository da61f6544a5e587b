//! The Chinese font of the stickers: found on the machine or named, asked which characters it has and how wide they are.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use krilla::text::{Font, GlyphId, KrillaGlyph};
use skrifa::MetadataProvider as _;
use skrifa::instance::{LocationRef, Size};
use skrifa::raw::FileRef;
use skrifa::string::StringId;

/// Where Debian's packages fonts-noto-cjk, fonts-wqy-microhei and fonts-wqy-zenhei put theirs. That of
/// fonts-droid-fallback has no Latin letters.
const PLACES: [&str; 4] = [
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
];

/// What any batch's labels are written with, whatever its sites are called.
pub(super) const ALWAYS: &str = "0123456789abcdefghijklmnopqrstuvwxyz-_./ABCDEFGHIJKLMNOPQRSTUVWXYZ… 摄像头第页批次";

/// Why there is no font to write with.
#[derive(Debug, thiserror::Error)]
pub enum FontError {
    #[error("no Chinese font is installed: run `apt install fonts-noto-cjk`, or name one with --font")]
    None,
    #[error("{path} can't be read: name a font's file, or run `apt install fonts-noto-cjk`")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{0} is not a font that can be used: name a TrueType or OpenType font, or run `apt install fonts-noto-cjk`"
    )]
    Form(PathBuf),
    #[error(
        "{path} can't write the labels alone, it lacks {lacking:?}: name another, or run `apt install fonts-noto-cjk`"
    )]
    Lacks { path: PathBuf, lacking: String },
}

/// A font and what it has of the characters that are used.
pub(super) struct LabelFont {
    pub font: Font,
    glyphs: Glyphs,
}

/// With their advances in em.
type Glyphs = HashMap<char, (GlyphId, f32)>;

impl LabelFont {
    /// The font of that file, else the first that can be used of those installed. It learns the characters `used`, which
    /// it need not have.
    ///
    /// # Errors
    /// When there is none, or it can't even write what is always written.
    pub(super) fn load(named: Option<&Path>, used: &BTreeSet<char>) -> Result<Self, FontError> {
        match named {
            Some(path) => Self::read(path, used),
            None => Self::first_of(&PLACES, used),
        }
    }

    fn first_of(places: &[&str], used: &BTreeSet<char>) -> Result<Self, FontError> {
        let installed = places.iter().map(Path::new).filter(|place| place.exists());
        let mut unusable = None;
        for place in installed {
            match Self::read(place, used) {
                Ok(font) => return Ok(font),
                Err(error) => unusable = unusable.or(Some(error)),
            }
        }
        Err(unusable.unwrap_or(FontError::None))
    }

    fn read(path: &Path, used: &BTreeSet<char>) -> Result<Self, FontError> {
        let data = std::fs::read(path).map_err(|source| FontError::Read { path: path.to_owned(), source })?;
        let form = || FontError::Form(path.to_owned());
        let (index, glyphs) = chosen_face(&data, used).ok_or_else(form)?;
        let font = Font::new(Arc::new(data).into(), index).ok_or_else(form)?;
        let font = Self { font, glyphs };
        let lacking: String = ALWAYS.chars().filter(|c| !font.has(*c)).collect();
        if lacking.is_empty() { Ok(font) } else { Err(FontError::Lacks { path: path.to_owned(), lacking }) }
    }

    pub(super) fn has(&self, c: char) -> bool {
        self.glyphs.contains_key(&c)
    }

    /// In the unit of `size`.
    pub(super) fn width(&self, text: &str, size: f32) -> f32 {
        text.chars().filter_map(|c| self.glyphs.get(&c)).map(|(_, advance)| advance * size).sum()
    }

    pub(super) fn glyphs(&self, text: &str) -> Vec<KrillaGlyph> {
        let glyph = |(at, c): (usize, char)| {
            let (id, advance) = *self.glyphs.get(&c)?;
            Some(KrillaGlyph::new(id, advance, 0.0, 0.0, 0.0, at..at + c.len_utf8(), None))
        };
        text.char_indices().filter_map(glyph).collect()
    }
}

/// The face for simplified Chinese of a collection that has several, and its glyphs.
fn chosen_face(data: &[u8], used: &BTreeSet<char>) -> Option<(u32, Glyphs)> {
    let faces: Vec<_> = FileRef::new(data).ok()?.fonts().collect::<Result<_, _>>().ok()?;
    let family = |face: &skrifa::FontRef<'_>| {
        face.localized_strings(StringId::FAMILY_NAME).english_or_first().map(|name| name.to_string())
    };
    let is_simplified = |name: String| name.ends_with(" SC") && !name.contains("Mono");
    let index = faces.iter().position(|face| family(face).is_some_and(is_simplified)).unwrap_or(0);
    let face = faces.get(index)?;
    let metrics = face.glyph_metrics(Size::new(1.0), LocationRef::default());
    let charmap = face.charmap();
    let glyph = |c: char| {
        let id = charmap.map(c).filter(|id| id.to_u32() != 0)?;
        Some((c, (GlyphId::new(id.to_u32()), metrics.advance_width(id)?)))
    };
    let glyphs = ALWAYS.chars().chain(used.iter().copied()).filter_map(glyph).collect();
    Some((u32::try_from(index).ok()?, glyphs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_font_the_package_to_install_is_named() {
        let error = LabelFont::first_of(&["/nowhere/font.ttc"], &BTreeSet::new()).err().expect("none");
        assert!(error.to_string().contains("apt install fonts-noto-cjk"), "{error}");
    }
}

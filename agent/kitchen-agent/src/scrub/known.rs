//! Secrets that this box is known to hold, found in plain, base64 and hex, whole or in part.

use std::ops::Range;

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A shorter secret would blacken ordinary words; it is only found where its place gives it away.
const SHORTEST: usize = 4;
/// Bytes of a secret that are secret without the rest.
const PART: usize = 8;
/// Of a longer secret, such as a key, longer parts are looked for at every so many bytes.
const LONG: usize = 128;
const STRIDE: usize = 8;

/// One way of writing one secret.
#[derive(Debug)]
struct Form {
    bytes: Vec<u8>,
    /// Length of the parts that are looked for.
    part: usize,
}

#[derive(Debug)]
pub(super) struct Known {
    forms: Vec<Form>,
    needles: AhoCorasick,
    /// Form and place in it of each needle.
    places: Vec<(usize, usize)>,
}

impl Known {
    /// None where nothing is known.
    pub fn new(secrets: &[String], public: &str) -> Option<Self> {
        let secrets = secrets.iter().filter(|secret| secret.len() >= SHORTEST);
        let forms: Vec<Form> = secrets.flat_map(|secret| forms(secret.as_bytes())).collect();
        let public = public.to_ascii_lowercase();
        let (mut needles, mut places) = (Vec::new(), Vec::new());
        for (number, form) in forms.iter().enumerate() {
            let (part, stride) = if form.bytes.len() > LONG { (2 * PART, STRIDE) } else { (form.part, 1) };
            let part = part.min(form.bytes.len());
            for place in (0..=form.bytes.len() - part).step_by(stride) {
                let needle = &form.bytes[place..place + part];
                if part == form.bytes.len() || !contains(public.as_bytes(), &needle.to_ascii_lowercase()) {
                    needles.push(needle);
                    places.push((number, place));
                }
            }
            // The whole, should all its parts be public.
            needles.push(&form.bytes);
            places.push((number, 0));
        }
        if needles.is_empty() {
            return None;
        }
        let needles = AhoCorasick::builder().ascii_case_insensitive(true).build(&needles).ok()?;
        Some(Self { forms, needles, places })
    }

    /// Tells the ranges of every secret and part of one.
    pub fn find(&self, text: &[u8], found: &mut impl FnMut(Range<usize>)) {
        for hit in self.needles.find_overlapping_iter(text) {
            let (form, place) = self.places[hit.pattern().as_usize()];
            let form = &self.forms[form].bytes;
            let before = text[..hit.start()].iter().rev().zip(form[..place].iter().rev());
            let after = text[hit.end()..].iter().zip(&form[place + hit.len()..]);
            found(hit.start() - alike(before)..hit.end() + alike(after));
        }
    }
}

fn alike<'a>(pairs: impl Iterator<Item = (&'a u8, &'a u8)>) -> usize {
    pairs.take_while(|(one, other)| one.eq_ignore_ascii_case(other)).count()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn forms(secret: &[u8]) -> Vec<Form> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers: Vec<String> = secret.iter().map(ToString::to_string).collect();
    let numbers = numbers.join(", ").into_bytes();
    let mut forms = vec![
        Form { bytes: secret.to_vec(), part: PART },
        Form { bytes: hex.into_bytes(), part: 2 * PART },
        Form { part: numbers.len(), bytes: numbers },
    ];
    for offset in 0..3 {
        let standard = base64_within(&STANDARD_NO_PAD, secret, offset);
        let url_safe = base64_within(&URL_SAFE_NO_PAD, secret, offset);
        let part = (PART * 4).div_ceil(3);
        // Shorter ones are ordinary words by chance.
        for bytes in [Some(standard.clone()), (url_safe != standard).then_some(url_safe)].into_iter().flatten() {
            if bytes.len() > SHORTEST {
                forms.push(Form { bytes, part });
            }
        }
    }
    forms
}

/// The characters that depend on `secret` alone when it stands `offset` bytes (of three) into what is encoded.
fn base64_within(engine: &impl Engine, secret: &[u8], offset: usize) -> Vec<u8> {
    let padded: Vec<u8> = std::iter::repeat_n(0, offset).chain(secret.iter().copied()).collect();
    let encoded = engine.encode(&padded).into_bytes();
    let end = padded.len() * 8 / 6;
    encoded[(offset * 8).div_ceil(6)..end].to_vec()
}

//! Which size, rate and bits come nearest to a number of bytes, from what earlier tries took. Pure.

/// Size and rate of a clip's pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub width: u32,
    pub height: u32,
    /// Of so many pictures one is kept.
    pub every: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attempt {
    pub shape: Shape,
    /// For the beginning and for the rest. One quantiser looks better than a rate control that spends the same bytes.
    pub quantisers: (u8, u8),
    /// The share of the clip that is its beginning.
    pub beginning: f32,
}

/// What is to be encoded.
#[derive(Clone, Copy, Debug)]
pub struct Material {
    pub width: u32,
    pub height: u32,
    pub frame_rate: f32,
    pub seconds: f32,
}

/// A clip that takes this share of the bytes needs no further try.
const GOOD_SHARE: f32 = 0.95;
/// What a try aims at.
const AIM_SHARE: f32 = 0.98;
/// Tries while there is a clip already; without one it goes on, ever coarser.
const TRIES: u32 = 7;
const LAST_TRIES: u32 = 14;
/// Below so many bits a pixel most scenes look better in the next coarser shape.
const LEAST_BITS_A_PIXEL: f32 = 0.03;
/// Beyond these quantisers another shape looks better for the same bytes: measured with people who walk by.
const FINEST: u8 = 22;
const COARSEST: u8 = 36;
const USUAL: u8 = 30;
/// What the encoder can do.
const LEAST_QUANTISER: u8 = 12;
const MOST_QUANTISER: u8 = 51;
/// How the bytes fall from one quantiser to the next, as an exponent: about a tenth, until two tries tell.
const STEP: f32 = 0.1;
const STEPS: std::ops::RangeInclusive<f32> = 0.04..=0.2;
/// Motion stays readable down to this rate, then to that one.
const RATES: [f32; 2] = [12.0, 6.0];
const SCALES: [f32; 8] = [1.0, 5.0 / 6.0, 2.0 / 3.0, 0.5, 0.375, 1.0 / 3.0, 0.25, 1.0 / 6.0];
/// A shorter part would need a keyframe of its own.
const BEGINNINGS: std::ops::RangeInclusive<f32> = 0.2..=0.8;
const WIDTHS: std::ops::RangeInclusive<u32> = 128..=1280;
/// Where the change of quantisers leaves bytes unused, the finer quantiser has them in a picture a little smaller: so
/// often its size is tried, within these shares of the width.
const SQUEEZES: u32 = 3;
const SQUEEZED: std::ops::RangeInclusive<f32> = 0.75..=0.99;
/// How the bytes grow with the width, as an exponent: a little less than the pixels do.
const BYTES_BY_WIDTH: f32 = 1.6;

/// Tries one after another, until one is good enough or there is no hope of a better one.
#[derive(Debug)]
pub struct Search {
    max_bytes: f32,
    /// From fine to coarse.
    shapes: Vec<Shape>,
    at: usize,
    quantisers: (u8, u8),
    beginning: f32,
    /// With two quantisers: the longest beginning that fitted, and the shortest that did not, with their bytes.
    shorter: (f32, f32),
    longer: (f32, f32),
    /// Of this shape: the finest quantiser that fitted, and the coarsest that did not, with their bytes.
    below: Option<(u8, f32)>,
    above: Option<(u8, f32)>,
    /// The last try with one quantiser, and what it taught about the step to the next.
    last: Option<(u8, f32)>,
    step: f32,
    /// The way that shapes were changed; never back.
    direction: Option<Direction>,
    /// The shape and the bytes of the best clip.
    best: Option<(usize, f32)>,
    squeeze: Option<Squeeze>,
    tries: u32,
    is_over: bool,
}

/// One quantiser at a share of the shape's width.
#[derive(Clone, Copy, Debug)]
struct Squeeze {
    width: f32,
    /// The widest that fitted, and the narrowest that did not.
    narrower: f32,
    wider: f32,
    tries: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Finer,
    Coarser,
}

impl Search {
    #[must_use]
    pub fn new(material: &Material, max_bytes: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "the bytes of a clip")]
        let max_bytes = max_bytes as f32;
        let shapes = shapes(material);
        let bits = max_bytes * AIM_SHARE * 8.0 / material.seconds;
        let is_fine = |shape: &Shape| bits / shape.pixels_a_second(material) >= LEAST_BITS_A_PIXEL;
        let at = shapes.iter().position(is_fine).unwrap_or(shapes.len() - 1);
        Self {
            max_bytes,
            shapes,
            at,
            quantisers: (USUAL, USUAL),
            beginning: 1.0,
            shorter: (0.0, 0.0),
            longer: (1.0, 0.0),
            below: None,
            above: None,
            last: None,
            step: STEP,
            direction: None,
            best: None,
            squeeze: None,
            tries: 0,
            is_over: false,
        }
    }

    /// What to try next; `None` when nothing better is to be had.
    #[must_use]
    pub fn attempt(&self) -> Option<Attempt> {
        let (quantisers, beginning) = (self.quantisers, self.beginning);
        let shape = self.shapes[self.at];
        let (shape, has_tries) = match &self.squeeze {
            Some(squeeze) => (shape.at_width(squeeze.width), squeeze.tries < SQUEEZES),
            None => (shape, self.tries < self.limit()),
        };
        (!self.is_over && has_tries).then_some(Attempt { shape, quantisers, beginning })
    }

    fn limit(&self) -> u32 {
        if self.best.is_some() { TRIES } else { LAST_TRIES }
    }

    #[must_use]
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// So many bytes the attempt took. Whether its clip is the best so far.
    pub fn handle_bytes(&mut self, bytes: u64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "the bytes of a clip")]
        let bytes = bytes as f32;
        self.tries += 1;
        let fits = bytes <= self.max_bytes;
        // Of two shapes the one it has turned to is the better one.
        let is_best = fits && self.best.is_none_or(|(at, most)| self.at != at || bytes > most);
        if is_best {
            self.best = Some((self.at, bytes));
        }
        if self.squeeze.is_some() {
            self.is_over = fits && bytes >= self.max_bytes * GOOD_SHARE;
            self.squeeze_on(bytes);
            return is_best;
        }
        let (finest, coarsest) = self.quantisers;
        if finest < coarsest {
            let side = if fits { &mut self.shorter } else { &mut self.longer };
            *side = (self.beginning, bytes);
            self.move_boundary();
        } else if fits {
            self.below = Some((finest, bytes));
        } else {
            self.above = Some((finest, bytes));
        }
        let could_be_finer = finest > LEAST_QUANTISER || self.at > 0;
        if fits && (bytes >= self.max_bytes * GOOD_SHARE || !could_be_finer) {
            self.is_over = true;
        } else if finest == coarsest {
            self.choose(finest, bytes);
        }
        if finest < coarsest && (self.is_over || self.tries >= self.limit()) {
            self.begin_squeeze();
        }
        is_best
    }

    /// Unless the bytes are used.
    fn begin_squeeze(&mut self) {
        let is_used = self.best.is_some_and(|(_, bytes)| bytes >= self.max_bytes * GOOD_SHARE);
        let Some((finer, many)) = self.above.filter(|_| !is_used) else { return };
        (self.quantisers, self.beginning, self.is_over) = ((finer, finer), 1.0, false);
        self.squeeze = Some(Squeeze { width: 1.0, narrower: 0.0, wider: 1.0, tries: 0 });
        self.squeeze_on(many);
    }

    /// To the width that these bytes at the width before ask for.
    fn squeeze_on(&mut self, bytes: f32) {
        let aim = self.max_bytes * AIM_SHARE;
        let Some(squeeze) = &mut self.squeeze else { return };
        squeeze.tries += u32::from(squeeze.width < 1.0);
        let side = if bytes <= self.max_bytes { &mut squeeze.narrower } else { &mut squeeze.wider };
        *side = squeeze.width;
        let wanted = squeeze.width * (aim / bytes).powf(1.0 / BYTES_BY_WIDTH);
        let is_between = squeeze.narrower < wanted && wanted < squeeze.wider;
        let next = if is_between { wanted } else { f32::midpoint(squeeze.narrower, squeeze.wider) };
        self.is_over |= !SQUEEZED.contains(&next);
        squeeze.width = next;
    }

    /// From one quantiser to the next the bytes change by a tenth: what lies between comes from where one ends and the
    /// next begins.
    fn move_boundary(&mut self) {
        let ((short, few), (long, many)) = (self.shorter, self.longer);
        let share = (self.max_bytes * AIM_SHARE - few) / (many - few).max(1.0);
        let next = (short + (long - short) * share.clamp(0.1, 0.9)).clamp(*BEGINNINGS.start(), *BEGINNINGS.end());
        self.is_over |= (next - self.beginning).abs() < 0.01;
        self.beginning = next;
    }

    /// The next quantiser, or the next shape.
    fn choose(&mut self, tried: u8, bytes: f32) {
        let aim = self.max_bytes * AIM_SHARE;
        if let Some((before, had)) = self.last.replace((tried, bytes)).filter(|(before, _)| *before != tried) {
            let step = (had / bytes).ln() / (f32::from(tried) - f32::from(before));
            self.step = step.clamp(*STEPS.start(), *STEPS.end());
        }
        let away = (bytes / aim).ln() / self.step;
        let wanted = f32::from(tried) + if away > 0.0 { away.ceil() } else { away.ceil().min(-1.0) };
        if wanted > f32::from(COARSEST) && self.below.is_none() && self.turn(Direction::Coarser, wanted) {
            return;
        }
        if wanted < f32::from(FINEST) && self.above.is_none() && self.turn(Direction::Finer, wanted) {
            return;
        }
        let least = self.above.map_or(LEAST_QUANTISER, |(quantiser, _)| quantiser + 1);
        let most = self.below.map_or(MOST_QUANTISER, |(quantiser, _)| quantiser.saturating_sub(1));
        self.quantisers = match (self.above, self.below) {
            (Some((above, many)), Some((below, few))) if below <= above + 1 => {
                (self.shorter, self.longer) = ((0.0, few), (1.0, many));
                self.move_boundary();
                (above, below)
            }
            _ if least > most => return self.is_over = true,
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within these bounds")]
            _ => {
                let next = wanted.clamp(f32::from(least), f32::from(most)) as u8;
                (next, next)
            }
        };
    }

    /// To the next shape that way, with the quantiser it will want; `false` where there is none.
    fn turn(&mut self, direction: Direction, wanted: f32) -> bool {
        let next = match direction {
            Direction::Finer => self.at.checked_sub(1),
            Direction::Coarser => Some(self.at + 1).filter(|next| *next < self.shapes.len()),
        };
        let Some(next) = next.filter(|_| self.direction.is_none_or(|before| before == direction)) else { return false };
        // The bytes go with the pixels, a little less than in proportion.
        let ratio = self.shapes[next].pixels() / self.shapes[self.at].pixels();
        let guess = (wanted + 0.8 * ratio.ln() / self.step).clamp(f32::from(FINEST), f32::from(COARSEST));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within these bounds")]
        let guess = guess.round() as u8;
        (self.at, self.direction, self.quantisers) = (next, Some(direction), (guess, guess));
        (self.below, self.above, self.last) = (None, None, None);
        true
    }
}

impl Shape {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "pixels")]
    fn at_width(self, share: f32) -> Self {
        let even = |side: u32| ((side as f32 * share / 2.0).round() as u32 * 2).max(16);
        Self { width: even(self.width), height: even(self.height), ..self }
    }

    /// Pixels of all pictures, but for a factor that all shapes share.
    #[expect(clippy::cast_precision_loss, reason = "pixels of a picture")]
    fn pixels(self) -> f32 {
        (self.width * self.height) as f32 / self.every as f32
    }

    fn pixels_a_second(self, material: &Material) -> f32 {
        self.pixels() * material.frame_rate
    }
}

/// First fewer pictures, then smaller ones, then fewer still.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "pixels")]
fn shapes(material: &Material) -> Vec<Shape> {
    let every = |rate: f32| (material.frame_rate / rate).floor().max(1.0) as u32;
    let even = |side: u32, scale: f32| ((side as f32 * scale / 2.0).round() as u32 * 2).max(16);
    let scaled = |scale: f32, every: u32| match scale {
        1.0 => Shape { width: material.width, height: material.height, every },
        _ => Shape { width: even(material.width, scale), height: even(material.height, scale), every },
    };
    let [fluent, readable] = RATES.map(every);
    let mut shapes = vec![scaled(1.0, 1)];
    shapes.extend(SCALES.iter().map(|scale| scaled(*scale, if *scale < 0.35 { readable } else { fluent })));
    shapes.dedup();
    let smallest = shapes.iter().rposition(|shape| shape.width >= *WIDTHS.start()).unwrap_or(0);
    shapes.truncate(smallest + 1);
    // Larger ones would take too much of the box's memory and time.
    let largest = shapes.iter().position(|shape| shape.width <= *WIDTHS.end()).unwrap_or(smallest);
    shapes.split_off(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HD: Material = Material { width: 1920, height: 1080, frame_rate: 25.0, seconds: 10.0 };
    const SUB: Material = Material { width: 640, height: 360, frame_rate: 10.0, seconds: 10.0 };

    /// An encoder whose bytes are `gain` times the usual ones and fall by `step` from one quantiser to the next.
    fn run(material: Material, max_bytes: u64, gain: f32, step: f32) -> (Search, u64) {
        let mut search = Search::new(&material, max_bytes);
        let mut best = 0;
        while let Some(attempt) = search.attempt() {
            let pixels = attempt.shape.pixels_a_second(&material) * material.seconds;
            let at = |quantiser: u8| gain * pixels * 0.008 * (-step * (f32::from(quantiser) - 30.0)).exp();
            let (first, second) = attempt.quantisers;
            let keyframe = if first == second { 0.0 } else { 0.01 * at(second) };
            // The clip's end takes more than its beginning.
            let beginning = attempt.beginning.powi(3);
            let bytes = at(first) * beginning + at(second) * (1.0 - beginning) + keyframe;
            let bytes = bytes as u64 + 3000;
            if search.handle_bytes(bytes) {
                best = bytes;
            }
        }
        (search, best)
    }

    #[test]
    fn the_bytes_are_used_and_never_passed_whatever_the_content_takes() {
        for (material, max_bytes) in [(HD, 700_000), (HD, 1_500_000), (SUB, 150_000), (SUB, 400_000)] {
            for (gain, step) in [(0.5, 0.08), (0.5, 0.16), (1.0, 0.1), (2.0, 0.12), (4.0, 0.09)] {
                let (search, best) = run(material, max_bytes, gain, step);
                let share = best as f32 / max_bytes as f32;
                assert!((0.95..=1.0).contains(&share), "{share} of {max_bytes} at {gain}, {step}: {search:?}");
            }
        }
    }

    #[test]
    fn bytes_that_no_change_of_quantisers_uses_are_used_by_a_picture_a_little_smaller() {
        // All that moves comes at once: wherever the quantiser changes, too little or too much is coded finely.
        for jump in [0.1_f32, 0.5, 0.9] {
            let mut search = Search::new(&SUB, 150_000);
            let (mut best, mut shape) = (0, None);
            while let Some(attempt) = search.attempt() {
                let pixels = attempt.shape.pixels_a_second(&SUB) * SUB.seconds;
                let at = |quantiser: u8| pixels * 0.008 * (-0.14 * (f32::from(quantiser) - 30.0)).exp();
                let (first, second) = attempt.quantisers;
                let bytes = at(if attempt.beginning > jump { first } else { second }) as u64 + 3000;
                if search.handle_bytes(bytes) {
                    (best, shape) = (bytes, Some(attempt.shape));
                }
            }
            assert!((142_500..=150_000).contains(&best), "{best} of 150000: {search:?}");
            assert!(shape.is_some_and(|shape| shape.width <= 640 && shape.width > 480), "{shape:?}");
        }
    }

    #[test]
    fn a_still_scene_gets_the_finest_pictures_and_is_content_with_fewer_bytes() {
        let (search, best) = run(HD, 700_000, 0.02, 0.1);
        assert!(best > 0 && search.best.expect("fits").0 == 0, "{search:?}");
        let (search, best) = run(SUB, 5_000_000, 0.05, 0.1);
        assert!(best > 0 && search.tries() <= 3, "{search:?}");
    }

    #[test]
    fn restless_content_gets_coarser_pictures_until_it_fits() {
        let (search, best) = run(HD, 200_000, 20.0, 0.1);
        assert!((190_000..=200_000).contains(&best), "{search:?}");
        assert_eq!(run(HD, 2_000, 20.0, 0.1).1, 0, "nothing fits");
    }

    #[test]
    fn fewer_bytes_take_pictures_first_and_size_then() {
        let first =
            |material: Material, max_bytes| Search::new(&material, max_bytes).attempt().expect("the first").shape;
        let shape = |width, height, every| Shape { width, height, every };
        assert_eq!(first(SUB, 700_000), shape(640, 360, 1));
        assert_eq!(first(Material { frame_rate: 25.0, ..SUB }, 200_000), shape(640, 360, 2));
        assert_eq!(first(HD, 8_000_000), shape(1280, 720, 2));
        assert_eq!(first(HD, 300_000), shape(960, 540, 2));
        assert_eq!(first(Material { frame_rate: 6.0, ..SUB }, 100_000).every, 1);
        assert!(shapes(&Material { width: 160, height: 90, ..SUB }).iter().all(|shape| shape.width >= 128));
    }
}

//! The pictures that officers see, made from the demo's video, beside ones that people have looked at and approved.
//! With UPDATE_PICTURES=1 they are written anew: look at them before you commit them.

use std::path::{Path, PathBuf};

use image::imageops::{self, FilterType};
use kitchen_core::bystander::Bystanders;
use kitchen_core::detection::Label::{Head, Person};
use kitchen_core::detection::{Detection, Label, Rect};
use kitchen_core::rules::RuleId;
use kitchen_vision::camera::FileVideo;
use kitchen_vision::decode::Decoder;
use kitchen_vision::frame::Frame;
use kitchen_vision::picture::{ALERT_BYTES, AlertPicture};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../kitchen-agent/demo/people.mp4");
const PICTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pictures");
/// Mean difference of a whole picture, and of the worst 16×16 block, in steps of 255: scaling and encoding differ a
/// little from machine to machine.
const WHOLE: f64 = 1.5;
const BLOCK: f64 = 14.0;

type Seen = &'static [(Label, f32, [f32; 4])];

/// What the detector sees in three frames of the video, by their time in ms.
#[rustfmt::skip]
const SEEN: [(i64, Seen); 3] = [
    (8000, &[
        (Person, 1.00, [0.792, 0.082, 0.046, 0.190]),
        (Person, 1.00, [0.833, 0.328, 0.052, 0.232]),
        (Person, 1.00, [0.366, 0.541, 0.068, 0.329]),
        (Person, 1.00, [0.571, 0.077, 0.037, 0.205]),
        (Person, 1.00, [0.306, 0.543, 0.064, 0.323]),
        (Person, 0.99, [0.205, 0.061, 0.038, 0.154]),
        (Head, 0.93, [0.327, 0.549, 0.024, 0.046]),
        (Head, 0.91, [0.846, 0.331, 0.020, 0.036]),
        (Head, 0.76, [0.368, 0.541, 0.036, 0.062]),
        (Head, 0.37, [0.577, 0.073, 0.012, 0.031]),
        (Person, 0.19, [0.043, 0.060, 0.024, 0.052]),
        (Head, 0.11, [0.212, 0.059, 0.017, 0.047]),
    ]),
    (12000, &[
        (Person, 1.00, [0.300, 0.447, 0.066, 0.320]),
        (Person, 1.00, [0.243, 0.653, 0.090, 0.346]),
        (Person, 1.00, [0.879, 0.208, 0.055, 0.222]),
        (Person, 1.00, [0.759, 0.060, 0.044, 0.180]),
        (Person, 1.00, [0.832, 0.376, 0.041, 0.239]),
        (Person, 0.99, [0.370, 0.006, 0.036, 0.159]),
        (Head, 0.69, [0.771, 0.062, 0.016, 0.035]),
        (Head, 0.63, [0.319, 0.443, 0.024, 0.051]),
        (Head, 0.56, [0.842, 0.374, 0.020, 0.039]),
        (Head, 0.32, [0.251, 0.660, 0.039, 0.072]),
        (Head, 0.12, [0.899, 0.212, 0.016, 0.031]),
        (Head, 0.09, [0.900, 0.094, 0.035, 0.141]),
    ]),
    (16000, &[
        (Person, 1.00, [0.752, 0.269, 0.056, 0.253]),
        (Person, 1.00, [0.595, 0.074, 0.050, 0.180]),
        (Person, 1.00, [0.803, 0.335, 0.052, 0.249]),
        (Person, 1.00, [0.489, 0.649, 0.072, 0.351]),
        (Person, 1.00, [0.083, 0.080, 0.045, 0.156]),
        (Person, 1.00, [0.155, 0.000, 0.036, 0.147]),
        (Head, 0.92, [0.506, 0.646, 0.041, 0.066]),
        (Head, 0.65, [0.817, 0.350, 0.017, 0.042]),
        (Person, 0.60, [0.213, 0.101, 0.020, 0.045]),
        (Person, 0.46, [0.651, 0.448, 0.017, 0.114]),
        (Head, 0.42, [0.607, 0.069, 0.015, 0.030]),
        (Person, 0.28, [0.042, 0.061, 0.025, 0.059]),
        (Head, 0.20, [0.775, 0.268, 0.015, 0.035]),
        (Person, 0.13, [0.090, 0.080, 0.026, 0.105]),
        (Person, 0.13, [0.380, 0.100, 0.018, 0.038]),
        (Head, 0.12, [0.091, 0.081, 0.019, 0.071]),
    ]),
];

fn seen(ms: i64) -> Vec<Detection> {
    let (_, seen) = SEEN.iter().find(|(at, _)| *at == ms).expect("one of the three");
    let detection = |(label, score, [x, y, w, h]): &(Label, f32, [f32; 4])| {
        let (label, score, rect) = (*label, *score, Rect::new(*x, *y, *w, *h));
        Detection { label, score, rect }
    };
    seen.iter().map(detection).collect()
}

fn frame(ms: i64, size: Option<(u32, u32)>) -> Frame {
    let mut decoder = Decoder::new().expect("a decoder");
    for unit in FileVideo::open(Path::new(DEMO)).expect("the demo's video").units().expect("readable") {
        let frames = decoder.decode(&unit.expect("readable"), |pts, _| pts >= ms * 90).expect("undamaged");
        if let Some(frame) = frames.into_iter().next() {
            let Some((width, height)) = size else { return frame };
            let scaled = imageops::resize(&frame.to_rgb(), width, height, FilterType::CatmullRom);
            return Frame::from_rgb(&scaled).expect("a picture");
        }
    }
    panic!("the video is shorter than {ms} ms")
}

/// Makes the picture and compares it with the approved one.
#[track_caller]
fn assert_as_approved(name: &str, ms: i64, size: Option<(u32, u32)>, rule: RuleId, boxes: &[Detection]) {
    let (frame, names) = (frame(ms, size), rule.defaults());
    let caption = [
        format!("{} {}", names.chinese, names.english),
        "2026-11-24 01:20:05 时钟未校准 / clock not set".to_owned(),
        "stove·炒菜区·mh07-000123".to_owned(),
    ];
    let bystanders = Bystanders::of(rule, boxes, &seen(ms));
    let picture = AlertPicture { frame: &frame, boxes, bystanders: &bystanders, caption: &caption };
    let jpeg = picture.encode(ALERT_BYTES).expect("encodes");
    assert!(jpeg.bytes.len() <= ALERT_BYTES);
    let path = PathBuf::from(PICTURES).join(format!("{name}.jpg"));
    if std::env::var_os("UPDATE_PICTURES").is_some() {
        std::fs::create_dir_all(PICTURES).expect("a folder");
        std::fs::write(&path, &jpeg.bytes).expect("writable");
        return;
    }
    let approved = std::fs::read(&path).expect("made with UPDATE_PICTURES=1");
    let decoded = |bytes: &[u8]| image::load_from_memory(bytes).expect("a JPEG").to_rgb8();
    let (one, other) = (decoded(&jpeg.bytes), decoded(&approved));
    assert_eq!(one.dimensions(), other.dimensions(), "{name}");
    let (mean, worst) = difference(&one, &other);
    if mean > WHOLE || worst > BLOCK {
        let seen = std::env::temp_dir().join(format!("{name}.jpg"));
        std::fs::write(&seen, &jpeg.bytes).expect("writable");
        panic!("{name}: differs by {mean:.2}, {worst:.2} in the worst block; look at {}", seen.display());
    }
}

/// Mean of the whole, and of the worst block.
fn difference(one: &image::RgbImage, other: &image::RgbImage) -> (f64, f64) {
    let columns = one.width().div_ceil(16) as usize;
    let mut blocks = vec![(0_u64, 0_u64); columns * one.height().div_ceil(16) as usize];
    for (x, y, pixel) in one.enumerate_pixels() {
        let (sum, count) = &mut blocks[(y / 16) as usize * columns + (x / 16) as usize];
        let channels = pixel.0.iter().zip(other.get_pixel(x, y).0);
        *sum += channels.map(|(a, b)| u64::from(a.abs_diff(b))).sum::<u64>();
        *count += 3;
    }
    let (sum, count) = blocks.iter().fold((0, 0), |(sum, count), block| (sum + block.0, count + block.1));
    let mean = |(sum, count): (u64, u64)| sum as f64 / count.max(1) as f64;
    (mean((sum, count)), blocks.iter().map(|block| mean(*block)).fold(0.0, f64::max))
}

fn head_at_16_s() -> Vec<Detection> {
    seen(16_000).into_iter().filter(|one| one.label == Head && one.score > 0.9).collect()
}

fn rat() -> [Detection; 1] {
    [Detection { label: Label::Rat, score: 0.8, rect: Rect::new(0.5, 0.86, 0.05, 0.05) }]
}

#[test]
fn no_mask_shows_one_face_and_no_other() {
    assert_as_approved("no_mask", 16_000, None, RuleId::NoMask, &head_at_16_s());
}

#[test]
fn no_mask_small_large_and_in_portrait() {
    assert_as_approved("no_mask_352x288", 16_000, Some((352, 288)), RuleId::NoMask, &head_at_16_s());
    assert_as_approved("no_mask_1280x720", 16_000, Some((1280, 720)), RuleId::NoMask, &head_at_16_s());
    assert_as_approved("no_mask_360x640", 16_000, Some((360, 640)), RuleId::NoMask, &head_at_16_s());
}

#[test]
fn intrusion_shows_all_intruders() {
    let people: Vec<Detection> =
        seen(12_000).into_iter().filter(|one| one.label == Person && one.score > 0.9).collect();
    assert_as_approved("intrusion", 12_000, None, RuleId::Intrusion, &people);
    assert_as_approved("intrusion_by_one", 12_000, None, RuleId::Intrusion, &people[..1]);
}

#[test]
fn rodent_shows_no_face_at_all() {
    assert_as_approved("rodent", 8_000, None, RuleId::Rodent, &rat());
}

use image::GenericImageView as _;
use kitchen_core::bystander::Hidden;

use super::*;
use crate::frame::tests::painted;

fn decoded(jpeg: &Jpeg) -> image::DynamicImage {
    let image = image::load_from_memory_with_format(&jpeg.bytes, image::ImageFormat::Jpeg).expect("a JPEG");
    assert_eq!(image.dimensions(), (jpeg.width, jpeg.height));
    image
}

fn caption() -> Vec<String> {
    ["未戴口罩 No mask", "2026-11-24 01:20:05 时钟未校准 / clock not set", "stove · 炒菜区 · mh07-000123"]
        .map(str::to_owned)
        .to_vec()
}

fn alert(frame: &Frame, boxes: &[Detection], bystanders: &Bystanders, max_bytes: usize) -> Result<Jpeg, PictureError> {
    AlertPicture { frame, boxes, bystanders, caption: &caption() }.encode(max_bytes)
}

fn rat(score: f32, rect: Rect) -> Detection {
    Detection { label: Label::Rat, score, rect }
}

fn noise(width: u32, height: u32) -> Frame {
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = (0..width * height).map(|_| random.u8(..)).collect();
    painted(width, height, |x, y| noise[(y * width + x) as usize])
}

#[test]
fn limited_range_becomes_full_range() {
    let image = decoded(&clean(&painted(64, 48, |x, _| if x < 32 { 16 } else { 235 })).expect("encodes"));
    assert!(image.get_pixel(4, 4).0[0] < 4 && image.get_pixel(60, 4).0[0] > 251);
    let full = Frame { full_range: true, ..painted(64, 48, |_, _| 16) };
    let grey = decoded(&clean(&full).expect("encodes")).get_pixel(9, 9).0[1];
    assert!((13..=19).contains(&grey), "{grey}");
}

#[test]
fn the_box_lies_where_the_detection_is() {
    let detection = rat(0.9, Rect::new(0.25, 0.25, 0.5, 0.5));
    let frame = painted(640, 360, |_, _| 120);
    let pictures = [annotate(&frame, &[detection]), alert(&frame, &[detection], &Bystanders::default(), ALERT_BYTES)];
    for picture in pictures {
        let image = decoded(&picture.expect("encodes"));
        assert_eq!(image.dimensions(), (640, 360), "nothing is added beside the picture");
        let is_red = |x, y| image.get_pixel(x, y).0[0] > 180 && image.get_pixel(x, y).0[2] < 90;
        assert!(is_red(160, 180) && is_red(320, 90) && is_red(479, 200) && is_red(300, 269));
        assert!(!is_red(320, 180) && !is_red(100, 180) && !is_red(170, 100));
    }
}

#[test]
fn any_box_and_any_size_gives_a_picture_within_the_limit() {
    let mut random = fastrand::Rng::with_seed(7);
    let sides = [1, 2, 3, 17, 33, 64, 121, 352, 641, 1281];
    for _ in 0..60 {
        let side = |random: &mut fastrand::Rng| sides[random.usize(..sides.len())];
        let (width, height) = (side(&mut random), side(&mut random));
        let mut rect = || {
            let mut number = || random.f32() * 3.0 - 1.0;
            Rect::new(number(), number(), number(), number())
        };
        let boxes = [rat(0.5, rect()), rat(0.9, rect())];
        let hidden = vec![Hidden { face: rect(), margin: rect() }, Hidden { face: rect(), margin: rect() }];
        let bystanders = Bystanders { hidden, shown: vec![rect()] };
        let frame = painted(width, height, |x, y| u8::try_from((x * 7 + y * y) % 251).expect("small"));
        let jpeg = alert(&frame, &boxes, &bystanders, ALERT_BYTES).expect("encodes");
        assert!(jpeg.bytes.len() <= ALERT_BYTES, "{width}×{height}");
        decoded(&jpeg);
        decoded(&annotate(&frame, &boxes).expect("encodes"));
    }
}

#[test]
fn the_worst_picture_fits_and_stays_as_large_as_it_can() {
    for (width, height) in [(1920, 1080), (640, 360), (300, 4000)] {
        let jpeg = alert(&noise(width, height), &[], &Bystanders::default(), ALERT_BYTES).expect("encodes");
        let pixels = jpeg.width * jpeg.height;
        assert!(jpeg.bytes.len() <= ALERT_BYTES && jpeg.bytes.len() > ALERT_BYTES / 2, "{}", jpeg.bytes.len());
        assert!(pixels > 40_000, "{}×{}", jpeg.width, jpeg.height);
    }
    let none = alert(&noise(64, 64), &[], &Bystanders::default(), 100);
    assert!(matches!(none, Err(PictureError::Limit { .. })), "{none:?}");
}

#[test]
fn the_limit_is_used_for_quality() {
    let sizes = [12_000, 20_000, 40_000].map(|limit| {
        let frame = painted(640, 360, |x, y| u8::try_from((x * x / 40 + y * 3 + (x ^ y) % 24) % 256).expect("small"));
        alert(&frame, &[], &Bystanders::default(), limit).expect("encodes").bytes.len()
    });
    assert!(sizes[0] <= 12_000 && sizes[1] > 15_000 && sizes[1] <= 20_000 && sizes[2] >= sizes[1], "{sizes:?}");
}

/// A face of 40×40 in a picture of 640×360, with stripes a few pixels wide that begin at `phase`.
fn with_face(left: u32, phase: u32) -> Frame {
    painted(640, 360, |x, y| {
        let is_face = (left..left + 40).contains(&x) && (100..140).contains(&y);
        if is_face && (x + y + phase) % 8 < 4 { 220 } else { 110 }
    })
}

fn of_pixels(left: u32, top: u32, side: u32) -> Rect {
    let [x, w] = [left, side].map(|length| length as f32 / 640.0);
    let [y, h] = [top, side].map(|length| length as f32 / 360.0);
    Rect::new(x, y, w, h)
}

fn hidden(face: Rect) -> Hidden {
    Hidden { face, margin: face.widened(0.25, 0.25) }
}

#[test]
fn of_a_bystanders_face_nothing_is_left_that_tells_it_from_another() {
    let bystanders = Bystanders { hidden: vec![hidden(of_pixels(400, 100, 40))], shown: Vec::new() };
    let faces = [0, 4].map(|phase| {
        let mut canvas = Canvas::of(&with_face(400, phase));
        blur::hide(&mut canvas, &bystanders);
        canvas.planes[0].clone()
    });
    let differences = faces[0].iter().zip(&faces[1]).map(|(a, b)| a.abs_diff(*b));
    assert!(differences.max().expect("pixels") <= 12, "opposite stripes");
    let row = &faces[0][120 * 640..][395..445];
    assert!(row.windows(2).all(|pair| pair[0].abs_diff(pair[1]) <= 12), "{row:?}");
    assert!(row.iter().all(|luma| (100..200).contains(luma)), "{row:?}");
}

#[test]
fn a_subjects_face_stays_sharp_beside_a_bystanders() {
    let frame = with_face(400, 0);
    let (subject, neighbour) = (of_pixels(400, 100, 40), of_pixels(445, 100, 40));
    let bystanders = Bystanders { hidden: vec![hidden(neighbour)], shown: vec![subject] };
    let mut canvas = Canvas::of(&frame);
    blur::hide(&mut canvas, &bystanders);
    for y in 100..140 {
        let row = |plane: &[u8]| plane[y * 640 + 400..][..40].to_vec();
        assert_eq!(row(&canvas.planes[0]), row(frame.y()));
    }
}

#[test]
fn a_bystander_is_blurred_in_the_inset_too() {
    let boxes = [rat(0.9, of_pixels(400, 100, 20))];
    let striped = |phase: u32| {
        let frame = with_face(400, phase);
        let bystanders = Bystanders { hidden: vec![hidden(of_pixels(398, 98, 44))], shown: vec![] };
        decoded(&alert(&frame, &boxes, &bystanders, ALERT_BYTES).expect("encodes")).to_luma8()
    };
    let (one, other) = (striped(0), striped(4));
    let mean: f64 = one.iter().zip(other.iter()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>();
    assert!(mean / (640.0 * 360.0) < 0.5, "{mean}");
}

#[test]
fn small_subjects_are_enlarged_from_the_cameras_own_pixels() {
    // Stripes two pixels wide: gone in the picture of 1280×720, clear in the inset.
    let frame = painted(1920, 1080, |x, y| {
        let is_rat = (900..960).contains(&x) && (500..560).contains(&y);
        if is_rat && x % 4 < 2 { 230 } else { 100 }
    });
    let rect = Rect::new(900.0 / 1920.0, 500.0 / 1080.0, 60.0 / 1920.0, 60.0 / 1080.0);
    let picture = alert(&frame, &[rat(0.9, rect)], &Bystanders::default(), ALERT_BYTES).expect("encodes");
    let image = decoded(&picture).to_luma8();
    assert_eq!(image.dimensions(), (1280, 720));
    let contrast = |left: u32, y: u32, length: u32| {
        let row: Vec<u8> = (left..left + length).map(|x| image.get_pixel(x, y).0[0]).collect();
        row.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) > 15).count()
    };
    let inset = (720.0 * 0.42) as u32;
    let corner = (1280 - inset - inset / 16, inset / 16);
    let seen = contrast(corner.0 + inset / 3, corner.1 + inset / 2, inset / 3);
    assert!(seen > 20, "the upper right corner shows the stripes: {seen}");
    let large = rat(0.9, Rect::new(0.2, 0.2, 0.4, 0.4));
    assert!(inset::place(&Canvas::of(&frame), (1280, 720), &[large], None, &[]).is_none());
}

#[test]
fn an_inset_hides_no_box_and_no_caption() {
    let canvas = Canvas::of(&painted(640, 360, |_, _| 100));
    let small = |x, y| rat(0.9, Rect::new(x, y, 0.05, 0.05));
    let free = |boxes: &[Detection]| inset::place(&canvas, (640, 360), boxes, None, &[]).is_some();
    assert!(free(&[small(0.9, 0.1), small(0.9, 0.9), small(0.1, 0.9)]));
    assert!(!free(&[small(0.9, 0.1), small(0.9, 0.9), small(0.1, 0.9), small(0.1, 0.1)]));
    let corner = |others: &[Rect]| {
        let inset = inset::place(&canvas, (640, 360), &[small(0.5, 0.5)], None, others).expect("free");
        (inset.to.left > 320, inset.to.top > 180)
    };
    assert_eq!(corner(&[]), (true, false));
    assert_eq!(corner(&[Rect::new(0.9, 0.1, 0.05, 0.1)]), (true, true), "where nobody stands");
}

#[test]
fn the_caption_is_white_on_a_dimmed_bar_and_leaves_the_rest() {
    let frame = painted(640, 360, |_, _| 128);
    let image = decoded(&alert(&frame, &[], &Bystanders::default(), ALERT_BYTES).expect("encodes")).to_luma8();
    let bar = (310..360).flat_map(|y| (0..640).map(move |x| (x, y)));
    let (white, dark) = bar.fold((0, 0), |(white, dark), (x, y)| {
        let luma = image.get_pixel(x, y).0[0];
        (white + u32::from(luma > 200), dark + u32::from(luma < 60))
    });
    assert!(white > 1500 && dark > 15_000, "{white} {dark}");
    assert!((0..290).all(|y| image.get_pixel(320, y).0[0].abs_diff(130) < 6));
}

#[test]
fn characters_that_no_font_has_become_a_box_and_no_panic() {
    assert_eq!(without_glyph("未戴口罩 No mask 🐀"), vec!['🐀']);
    let frame = painted(320, 240, |_, _| 100);
    let caption = ["🐀\u{0}\u{202e}zone".to_owned()];
    let picture = AlertPicture { frame: &frame, boxes: &[], bystanders: &Bystanders::default(), caption: &caption };
    picture.encode(ALERT_BYTES).expect("encodes");
}

#[test]
fn a_sharp_large_and_sure_subject_makes_the_better_frame() {
    let scene = |soft: bool| {
        painted(640, 360, move |x, y| {
            let wave = ((x + y) % 16) as u8;
            if soft {
                100 + wave
            } else if wave < 8 {
                60
            } else {
                200
            }
        })
    };
    let subject = |score, side| [rat(score, Rect::new(0.4, 0.4, side, side))];
    let quality = |soft, score, side| quality::of(&scene(soft), &subject(score, side), score);
    let usual = quality(false, 0.7, 0.1);
    assert!(quality(true, 0.7, 0.1) < usual && quality(false, 0.7, 0.2) > usual && quality(false, 0.9, 0.1) > usual);
    assert!(quality(true, 0.75, 0.1) < usual, "a little surer does not make up for a smear");
    assert_eq!(quality::of(&scene(true), &[], 1.0), 1.0);
}

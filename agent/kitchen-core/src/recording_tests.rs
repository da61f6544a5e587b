use super::*;

fn segment(boot: u32, uptime_s: u64, wall_s: i64, quality: TimeQuality) -> Segment {
    Segment {
        camera: "stove".to_owned(),
        boot,
        boot_id: format!("{boot:08x}"),
        start: Stamp { mono: Mono::from_millis(uptime_s * 1000), wall: Wall::from_unix_millis(wall_s * 1000), quality },
        duration_ms: 10_000,
        opened: Mono::from_millis(5_000),
        first_pts_90k: i64::try_from(uptime_s).expect("small") * 90_000,
        parameters: "0a1b2c3d".to_owned(),
        bytes: 640_000,
    }
}

fn wall(seconds: i64) -> Wall {
    Wall::from_unix_millis(seconds * 1000)
}

#[test]
fn a_segment_is_known_from_its_name() {
    let mut one = segment(17, 8123, 1_795_497_151, TimeQuality::Ntp);
    one.first_pts_90k = -450;
    let name = one.file_name();
    assert_eq!(name, "00017_000008123000_20261124T051231000Z_ntp_10000_00000011_5000_-450_0a1b2c3d.mp4");
    assert_eq!(Segment::parse("stove", &name, 640_000), Some(one));
    for quality in ["modem", "rtc", "floor", "none"] {
        let name = name.replace("ntp", quality);
        assert_eq!(Segment::parse("stove", &name, 1).expect(quality).file_name(), name);
    }
}

#[test]
fn names_that_are_no_segment_s_are_not_taken_for_one() {
    let name = segment(17, 8123, 1_795_497_151, TimeQuality::Ntp).file_name();
    for other in
        ["", "x.mp4", "clip.mp4.tmp", &name[1..], &format!("{name}.tmp"), &name.replace("20261124", "20261324")]
    {
        let parsed = Segment::parse("stove", other, 1);
        assert!(parsed.is_none_or(|parsed| parsed.file_name() != *name), "{other}");
    }
    assert_eq!(Segment::parse("stove", &name.replace("ntp", "sun"), 1), None);
    assert_eq!(Segment::parse("stove", &name.replace("20261124", "2026é124"), 1), None);
    assert_eq!(Segment::parse("stove", &name.replace("_ntp", ""), 1), None);
}

#[test]
fn names_are_in_the_order_of_the_segments_whatever_the_clock_says() {
    let segments = [
        segment(9, 90_000, 2_000_000_000, TimeQuality::Ntp),
        segment(10, 20, 1_000_000_000, TimeQuality::Floor),
        segment(10, 30, 1_900_000_000, TimeQuality::Ntp),
        segment(10, 100_000, 1_500_000_000, TimeQuality::Ntp),
    ];
    let names: Vec<String> = segments.iter().map(Segment::file_name).collect();
    assert!(names.is_sorted(), "{names:?}");
    let placed = placed(segments.iter().rev().cloned().collect());
    let order: Vec<u64> = placed.iter().map(|placed| placed.segment.start.mono.as_millis() / 1000).collect();
    assert_eq!(order, [90_000, 20, 30, 100_000]);
}

#[test]
fn labels_of_a_wrong_clock_are_mended_by_a_right_one_of_the_same_boot() {
    let placed = placed(vec![
        segment(1, 10, 500, TimeQuality::Floor),
        segment(2, 10, 600, TimeQuality::Floor),
        segment(2, 20, 610, TimeQuality::Rtc),
        segment(2, 30, 1_000_030, TimeQuality::Ntp),
        segment(2, 40, 1_000_041, TimeQuality::Ntp),
        segment(2, 50, 700, TimeQuality::Floor),
    ]);
    let starts: Vec<(i64, TimeQuality)> =
        placed.iter().map(|placed| (placed.start.as_unix_millis() / 1000, placed.quality)).collect();
    let ntp = TimeQuality::Ntp;
    assert_eq!(
        starts,
        [
            (500, TimeQuality::Floor),
            (1_000_010, ntp),
            (1_000_020, ntp),
            (1_000_030, ntp),
            (1_000_041, ntp),
            (1_000_051, ntp)
        ]
    );
}

#[test]
fn the_piece_that_shows_most_of_a_span_is_chosen() {
    let ntp = |uptime_s| segment(1, uptime_s, 1_000_000 + i64::try_from(uptime_s).expect("small"), TimeQuality::Ntp);
    // 10 to 40 without an interruption, then from 45 to 65.
    let mut all: Vec<Segment> = [10, 20, 30, 45, 55].map(ntp).into();
    let piece = |all: &[Segment], from: i64, to: i64| {
        longest_piece(&placed(all.to_vec()), wall(1_000_000 + from), wall(1_000_000 + to))
    };
    assert_eq!(piece(&all, 12, 18), Some(0..1));
    assert_eq!(piece(&all, 12, 38), Some(0..3));
    assert_eq!(piece(&all, 36, 60), Some(3..5));
    assert_eq!(piece(&all, 25, 50), Some(1..3));
    assert_eq!(piece(&all, 35, 50), Some(2..3), "the first of two that show as much");
    assert_eq!(piece(&all, 40, 45), None);
    assert_eq!(piece(&all, 100, 200), None);
    all[1].parameters = "ffffffff".to_owned();
    assert_eq!(piece(&all, 12, 38), Some(1..2), "other parameters can't be in one file");
    all[1] = ntp(20);
    all[1].opened = Mono::from_millis(17_000);
    assert_eq!(piece(&all, 12, 28), Some(0..1), "timestamps of another session don't fit");
}

#[test]
fn a_boot_keeps_its_number_and_a_new_one_is_above_all() {
    let (old, current) = (segment(16, 1, 0, TimeQuality::None), segment(17, 1, 0, TimeQuality::None));
    assert_eq!(boot_number([&old, &current], "00000011", 1), 17, "its own segments say it");
    assert_eq!(boot_number([&old, &current], "ffffffff", 1), 18, "a replaced database counts anew");
    assert_eq!(boot_number([&old, &current], "ffffffff", 40), 40);
    assert_eq!(boot_number([], "ffffffff", 3), 3);
    assert_eq!(short_boot_id("8f3a-2b1c9d"), "8f3a2b1c");
    assert_eq!(short_boot_id("boot"), "b0000000");
}

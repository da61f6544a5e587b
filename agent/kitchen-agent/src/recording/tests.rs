//! The recording from access units to clips, on a real store, real files and real video; only the clock is made up.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use kitchen_core::recording::Segment;
use kitchen_core::time::{Clock, Mono, Stamp, TimeQuality, Wall};
use kitchen_store::{OpenOptions, Store, reconcile};
use kitchen_vision::access_unit::StreamInfo;
use kitchen_vision::camera::file::FileVideo;
use kitchen_vision::decode::Decoder;
use kitchen_vision::frame::Frame;
use kitchen_vision::h264;
use tempfile::TempDir;

use super::*;
use crate::footage::{CutError, Footage};

/// Noon; uptime 0 of the test's boot.
const EPOCH_MS: i64 = 1_795_521_600_000;
const BOOT_ID: &str = "8f3a2b1c-0000";

#[derive(Debug)]
struct TestClock(Mutex<(Mono, i64, TimeQuality)>);

impl Clock for TestClock {
    fn mono(&self) -> Mono {
        self.0.lock().expect("not poisoned").0
    }

    fn stamp(&self) -> Stamp {
        let (mono, offset_ms, quality) = *self.0.lock().expect("not poisoned");
        let uptime_ms = i64::try_from(mono.as_millis()).expect("small");
        Stamp { mono, wall: Wall::from_unix_millis(EPOCH_MS + uptime_ms + offset_ms), quality }
    }
}

/// A box that records.
struct Rig {
    dir: TempDir,
    store: Store,
    clock: Arc<TestClock>,
    state: Arc<RecordingState>,
    keeper: Keeper,
    tracks: Vec<Track>,
}

impl Rig {
    fn new(quota_bytes: u64, masks: &[config::PrivacyMask]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open_store(dir.path());
        let clock = Arc::new(TestClock(Mutex::new((Mono::from_millis(0), 0, TimeQuality::Ntp))));
        let cameras = ["stove", "door"].map(str::to_owned);
        let state = Arc::new(RecordingState::new(true, quota_bytes, cameras));
        let keeper = keeper(&store, dir.path(), &state, &clock);
        let tracks = vec![Track::new(masks), Track::new(masks)];
        Self { dir, store, clock, state, keeper, tracks }
    }

    fn set_clock(&self, offset_ms: i64, quality: TimeQuality) {
        let mut now = self.clock.0.lock().expect("not poisoned");
        (now.1, now.2) = (offset_ms, quality);
    }

    fn feed(&mut self, camera: usize, fed: Fed) {
        if let Fed::Unit(unit) = &fed {
            self.clock.0.lock().expect("not poisoned").0 = unit.received;
        }
        let cuts = self.tracks[camera].handle_fed(fed).expect("a sound stream");
        cuts.iter().for_each(|cut| self.keeper.keep(camera, cut));
    }

    /// Plays a video again and again from `from_s` to `to_s` of uptime, as one session.
    fn play(&mut self, camera: usize, video: &Video, from_s: u64, to_s: u64) {
        let now = Mono::from_millis(from_s * 1000);
        self.feed(camera, Fed::Opened(video.info.clone(), now));
        self.play_on(camera, video, from_s, to_s, 0);
    }

    fn play_on(&mut self, camera: usize, video: &Video, from_s: u64, to_s: u64, first_pts: i64) {
        let mut lap_90k = 0;
        loop {
            for unit in &video.units {
                let at_90k = unit.pts_90k + lap_90k;
                let uptime_ms = from_s * 1000 + u64::try_from((at_90k / 90).max(0)).expect("small");
                if uptime_ms >= to_s * 1000 {
                    return;
                }
                let received = Mono::from_millis(uptime_ms);
                self.feed(camera, Fed::Unit(AccessUnit { pts_90k: first_pts + at_90k, received, ..unit.clone() }));
            }
            lap_90k += video.lap_90k;
        }
    }

    /// Ends all segments and writes their rows.
    fn finish(&mut self) {
        for camera in 0..self.tracks.len() {
            self.feed(camera, Fed::Broken);
        }
        self.keeper.note();
    }

    fn footage(&self) -> Footage {
        Footage::new(&self.dir.path().join("recording"), self.store.recording().expect("an index")).expect("readable")
    }

    fn files(&self) -> Vec<PathBuf> {
        files(&self.dir.path().join("recording"))
    }

    /// The agent is started again, in the same boot.
    fn restart(&mut self) {
        self.keeper = keeper(&self.store, self.dir.path(), &self.state, &self.clock);
    }

    /// The frames of a clip.
    fn frames(&self, clip: &kitchen_vision::clip::Clip) -> Vec<Frame> {
        let path = self.dir.path().join("clip.mp4");
        fs::write(&path, &clip.bytes).expect("written");
        decoded(&path)
    }
}

fn open_store(dir: &Path) -> Store {
    Store::open(OpenOptions { dir: &dir.join("store"), device: "mh07-000123", boot_id: BOOT_ID }).expect("a store")
}

fn keeper(store: &Store, dir: &Path, state: &Arc<RecordingState>, clock: &Arc<TestClock>) -> Keeper {
    let folder = RecordingFolder::new(&dir.join("recording"));
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    Keeper::open(store.clone(), folder, Arc::clone(state), clock, BOOT_ID).expect("opened")
}

fn decoded(path: &Path) -> Vec<Frame> {
    let mut decoder = Decoder::new().expect("a decoder");
    let mut frames = Vec::new();
    for unit in FileVideo::open(path).expect("an MP4").units().expect("readable") {
        frames.extend(decoder.decode(&unit.expect("whole"), |_, _| true).expect("decodable"));
    }
    frames.extend(decoder.drain(|_, _| true));
    frames
}

fn files(root: &Path) -> Vec<PathBuf> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        entries.map(|entry| entry.expect("readable").path()).collect()
    };
    let mut all: Vec<PathBuf> = list(root).iter().flat_map(|camera| list(camera)).collect();
    all.sort();
    all
}

struct Video {
    info: StreamInfo,
    units: Vec<AccessUnit>,
    lap_90k: i64,
}

fn video(path: &str) -> Video {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let file = FileVideo::open(path).expect("part of the checkout");
    let units = file.units().expect("readable").collect::<Result<Vec<_>, _>>().expect("whole");
    let lap_90k = i64::try_from(file.duration_ms()).expect("short") * 90;
    Video { info: file.info().clone(), units, lap_90k }
}

fn people() -> Video {
    video("demo/people.mp4")
}

fn at(uptime_s: f64) -> Wall {
    #[expect(clippy::cast_possible_truncation, reason = "a test's literal")]
    Wall::from_unix_millis(EPOCH_MS + (uptime_s * 1000.0) as i64)
}

fn slices(units: &[AccessUnit]) -> Vec<Vec<u8>> {
    let is_slice = |nal: &&[u8]| matches!(h264::nal_type(nal), 1 | 5);
    units.iter().map(|unit| h264::nal_units(&unit.data).filter(is_slice).collect::<Vec<_>>().concat()).collect()
}

#[test]
fn a_clip_over_two_borders_is_what_the_camera_sent_without_a_seam() {
    let (mut rig, people) = (Rig::new(1 << 30, &[]), people());
    rig.play(0, &people, 100, 130);
    rig.finish();
    assert_eq!(rig.files().len(), 3);
    let cut = rig.footage().clip("stove", at(107.0), at(123.0)).expect("recorded");
    assert!(cut.start <= at(107.0) && cut.start > at(104.9), "{}", cut.start);
    assert_eq!((cut.lacks.as_millis(), cut.quality), (0, TimeQuality::Ntp));
    let path = rig.dir.path().join("clip.mp4");
    fs::write(&path, &cut.clip.bytes).expect("written");
    let clip: Vec<AccessUnit> =
        FileVideo::open(&path).expect("an MP4").units().expect("readable").map(|unit| unit.expect("whole")).collect();
    let first = usize::try_from((cut.start.as_unix_millis() - at(100.0).as_unix_millis()) / 100).expect("small");
    assert_eq!(slices(&clip), slices(&people.units[first..230]));
    assert!(clip.windows(2).all(|pair| pair[1].pts_90k - pair[0].pts_90k == 9000), "every picture at its time");
    assert_eq!(rig.frames(&cut.clip).len(), 230 - first);
}

#[test]
fn b_frames_keep_their_order_over_a_border() {
    let (mut rig, video) = (Rig::new(1 << 30, &[]), video("../kitchen-vision/tests/fixtures/reordered.mp4"));
    rig.play(0, &video, 10, 50);
    rig.finish();
    assert!(rig.files().len() >= 3, "{:?}", rig.files());
    let cut = rig.footage().clip("stove", at(15.0), at(45.0)).expect("recorded");
    let frames = rig.frames(&cut.clip);
    let step = frames[1].pts_90k - frames[0].pts_90k;
    assert!(frames.len() >= 240, "{}: eight a second", frames.len());
    assert!(frames.windows(2).all(|pair| (pair[1].pts_90k - pair[0].pts_90k - step).abs() <= 90), "evenly, in order");
}

#[test]
fn the_oldest_segments_of_all_cameras_go_first_and_the_quota_holds() {
    let (mut rig, people) = (Rig::new(1_500_000, &[]), people());
    rig.play(1, &people, 10, 60);
    rig.finish();
    for minute in 1..5 {
        rig.play(0, &people, 60 * minute, 60 * minute + 60);
        let bytes: u64 = rig.files().iter().map(|file| file.metadata().expect("there").len()).sum();
        assert!(bytes <= 1_500_000, "{bytes}");
    }
    rig.finish();
    assert!(rig.files().iter().all(|file| file.to_string_lossy().contains("/stove/")), "those of the door were older");
    let held = rig.footage().held("stove").expect("some");
    assert!(held.0 > at(100.0) && held.1 > at(299.0), "{held:?}");
    let named: Vec<String> = rig.store.recording().expect("an index").iter().map(Segment::file_name).collect();
    let there: Vec<String> =
        rig.files().iter().map(|file| file.file_name().expect("a name").to_string_lossy().into_owned()).collect();
    assert_eq!(named, there);
    assert_eq!(rig.state.cameras[0].gaps.load(Ordering::Relaxed), 0);
}

#[test]
fn a_segment_that_fits_no_quota_is_told_and_the_next_is_tried() {
    let (mut rig, people) = (Rig::new(1_000, &[]), people());
    rig.play(0, &people, 10, 40);
    rig.finish();
    assert_eq!(rig.files(), Vec::<PathBuf>::new());
    let report = rig.state.report(&rig.store, rig.clock.mono());
    assert_eq!((report.state.as_str(), report.cameras[0].gaps, report.cameras[0].dropped), ("failing", 3, 300));
    assert_eq!(report.notice.expect("why").code, Some(crate::fault::Fault::DiskFull));
}

#[test]
fn index_and_files_are_brought_together_at_the_start() {
    let (mut rig, people) = (Rig::new(1 << 30, &[]), people());
    rig.play(0, &people, 100, 160);
    rig.finish();
    let files = rig.files();
    let segments = rig.store.recording().expect("an index");
    assert_eq!((files.len(), segments.len()), (6, 6));
    fs::remove_file(&files[0]).expect("removed");
    rig.store.note_recording(&[], &segments[1..3]).expect("rows removed");
    let half = fs::read(&files[2]).expect("read");
    fs::write(&files[2], &half[..half.len() / 2]).expect("half of it");
    fs::write(&files[3], b"").expect("emptied");
    fs::write(files[4].with_extension("tmp"), b"half").expect("an interrupted write");
    let folder = RecordingFolder::new(&rig.dir.path().join("recording"));
    let done = reconcile(&rig.store, &folder, keeper::is_whole).expect("brought together");
    assert_eq!((done.segments, done.added, done.forgotten, done.removed), (3, 1, 2, 3));
    let left: Vec<PathBuf> = [1, 4, 5].map(|index| files[index].clone()).into();
    assert_eq!(rig.files(), left);
    let named: Vec<PathBuf> = rig.store.recording().expect("an index").iter().map(|it| folder.path(it)).collect();
    assert_eq!(named, left);
    assert_eq!(rig.store.recording().expect("an index")[0], segments[1], "as it was, from its name");
}

#[test]
fn a_clock_that_is_set_loses_and_reorders_nothing_and_times_before_are_found_by_the_right_one() {
    let (mut rig, people) = (Rig::new(1 << 30, &[]), people());
    let year_ms = 365 * 86_400_000_i64;
    rig.set_clock(-year_ms, TimeQuality::Floor);
    rig.play(0, &people, 10, 40);
    rig.finish();
    rig.set_clock(0, TimeQuality::Ntp);
    rig.play(0, &people, 40, 60);
    rig.finish();
    let uptimes: Vec<u64> =
        rig.store.recording().expect("an index").iter().map(|it| it.start.mono.as_millis() / 1000).collect();
    assert_eq!(uptimes, [10, 20, 30, 40, 50]);
    let cut = rig.footage().clip("stove", at(22.0), at(28.0)).expect("by the right time");
    assert_eq!((cut.lacks.as_millis(), cut.quality), (0, TimeQuality::Ntp));
    // Back again: what is written then is labelled so, and still is the newest.
    rig.set_clock(-3_600_000, TimeQuality::Ntp);
    rig.restart();
    rig.play(0, &people, 60, 70);
    rig.finish();
    let newest = rig.store.recording().expect("an index").pop().expect("some");
    assert_eq!((newest.start.mono, newest.start.wall), (Mono::from_millis(60_000), at(60.0 - 3600.0)));
}

#[test]
fn a_damaged_segment_costs_its_own_seconds_only() {
    let (mut rig, people) = (Rig::new(1 << 30, &[]), people());
    rig.play(0, &people, 100, 150);
    rig.finish();
    let files = rig.files();
    let whole = fs::read(&files[1]).expect("read");
    fs::write(&files[1], &whole[..whole.len() - 5_000]).expect("cut off");
    let cut = rig.footage().clip("stove", at(102.0), at(148.0)).expect("the rest");
    assert_eq!(cut.start, at(120.0), "the longer piece");
    assert_eq!(cut.lacks.as_millis(), 18_000);
    assert_eq!(rig.frames(&cut.clip).len(), 280);
    fs::remove_file(&files[3]).expect("removed in between");
    let cut = rig.footage().clip("stove", at(125.0), at(148.0)).expect("the rest");
    assert_eq!((cut.start, cut.lacks.as_millis()), (at(140.0), 15_000));
}

#[test]
fn changed_parameters_end_a_segment_and_a_clip() {
    let (mut rig, people) = (Rig::new(1 << 30, &[]), people());
    let other = video("../kitchen-vision/tests/fixtures/plain.mp4");
    rig.play(0, &people, 100, 115);
    // In the middle of a session, without a word: the next keyframe has another SPS.
    rig.play_on(0, &other, 115, 118, 15 * 90_000);
    rig.finish();
    let segments = rig.store.recording().expect("an index");
    assert!(segments.len() >= 3 && segments[1].parameters != segments[2].parameters, "{segments:?}");
    let cut = rig.footage().clip("stove", at(104.0), at(117.0)).expect("the longer piece");
    assert_eq!((cut.start, cut.clip.width), (at(104.0), 640));
    assert_eq!(cut.lacks.as_millis(), 2_000);
    for file in rig.files() {
        assert!(!decoded(&file).is_empty(), "{}", file.display());
    }
}

#[test]
fn what_was_never_recorded_is_told_with_what_there_is() {
    let (mut rig, people) = (Rig::new(1 << 30, &[]), people());
    let nothing = rig.footage().clip("stove", at(1.0), at(2.0)).expect_err("nothing");
    assert!(matches!(nothing, CutError::NothingHeld { .. }), "{nothing}");
    rig.play(0, &people, 100, 120);
    rig.finish();
    let nothing = rig.footage().clip("stove", at(200.0), at(210.0)).expect_err("later");
    let CutError::NothingThen { oldest, newest, .. } = nothing else { panic!("{nothing}") };
    assert_eq!((oldest, newest), (at(100.0), at(120.0)));
    assert!(matches!(rig.footage().clip("door", at(100.0), at(110.0)), Err(CutError::NothingHeld { .. })));
    assert!(matches!(rig.footage().clip("stove", at(110.0), at(110.0)), Err(CutError::Backwards)));
    assert!(matches!(rig.footage().clip("stove", at(0.0), at(900.0)), Err(CutError::TooLong)));
}

#[test]
fn a_clip_is_found_without_any_index() {
    let (mut rig, people) = (Rig::new(1 << 30, &[]), people());
    rig.play(0, &people, 100, 120);
    rig.finish();
    let footage = Footage::new(&rig.dir.path().join("recording"), Vec::new()).expect("readable");
    assert_eq!(footage.clip("stove", at(105.0), at(115.0)).expect("by names").lacks.as_millis(), 0);
}

#[test]
fn below_a_privacy_mask_nothing_of_the_camera_is_recorded() {
    let left_half = config::PrivacyMask { polygon: vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]] };
    let (mut rig, people) = (Rig::new(1 << 30, &[left_half]), people());
    rig.play(0, &people, 100, 125);
    rig.finish();
    assert!(rig.files().len() >= 2, "{:?}", rig.files());
    let cut = rig.footage().clip("stove", at(104.0), at(121.0)).expect("recorded");
    assert!(cut.lacks.as_millis() < 300, "{:?}", cut.lacks);
    let frames = rig.frames(&cut.clip);
    assert!(frames.len() >= 165, "{}", frames.len());
    let width = frames[0].width as usize;
    for frame in &frames {
        // The last columns before the edge are blurred by the encoder.
        let masked = frame.y().chunks(width).flat_map(|row| &row[..width / 2 - 16]);
        let (least, most) = masked.fold((255, 0), |(least, most), value| (least.min(*value), most.max(*value)));
        assert!(most - least <= 8, "{least} to {most}");
    }
    let seen: Vec<u8> = frames[50].y().chunks(width).flat_map(|row| row[width / 2 + 16..].iter().copied()).collect();
    assert!(seen.iter().max() > seen.iter().min().map(|least| least + 60).as_ref(), "the rest is there");
}

#[test]
fn a_disk_that_hangs_costs_pictures_and_no_decoder_waits() {
    let (people, queue) = (people(), Arc::new(Queue::default()));
    let state = RecordingState::new(true, 1 << 30, ["stove".to_owned()]);
    let counters = Arc::clone(&state.cameras[0]);
    let mut feed = Feed::new(Arc::clone(&queue), 0, Arc::clone(&counters));
    feed.handle_opened(&people.info, Mono::from_millis(0));
    for lap in 0..20 {
        for unit in &people.units {
            feed.handle_unit(&AccessUnit { pts_90k: unit.pts_90k + lap * people.lap_90k, ..unit.clone() });
        }
    }
    let dropped = counters.dropped.load(Ordering::Relaxed);
    assert_eq!(counters.gaps.load(Ordering::Relaxed), 1, "one interruption, however many pictures");
    let mut track = Track::new(&[]);
    let (mut taken, mut segments) = (0, Vec::new());
    while let Some((_, fed)) = queue.take(Duration::ZERO) {
        taken += u64::from(matches!(fed, Fed::Unit(_)));
        segments.extend(track.handle_fed(fed).expect("sound"));
    }
    assert_eq!(taken + dropped, 6000);
    assert!(!segments.is_empty() && dropped > 1000, "{dropped}");
    // It goes on with a keyframe, in a segment of its own.
    people.units.iter().for_each(|unit| feed.handle_unit(unit));
    let mut resumed = Vec::new();
    while let Some((_, fed)) = queue.take(Duration::ZERO) {
        resumed.push(fed);
    }
    assert!(matches!(&resumed[..2], [Fed::Broken, Fed::Unit(unit)] if unit.keyframe), "{:?}", &resumed[..2]);
    assert_eq!(counters.gaps.load(Ordering::Relaxed), 1);
}

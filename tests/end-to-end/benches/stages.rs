//! What each stage costs on this machine: decode, letterbox, detect, track, store.
//! `reference.py` beside it sets the results against libavcodec and ONNX Runtime.

#![expect(clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use kitchen_core::config::EngineChoice;
use kitchen_core::detection::{Detection, Label, Rect};
use kitchen_core::time::{Mono, Stamp, TimeQuality, Wall};
use kitchen_core::tracker::Tracker;
use kitchen_store::{OpenOptions, Store};
use kitchen_test_support::{repository, target, videos};
use kitchen_vision::access_unit::AccessUnit;
use kitchen_vision::camera::FileVideo;
use kitchen_vision::decode::Decoder;
use kitchen_vision::detect::letterbox::Letterbox;
use kitchen_vision::detect::{Detector, Manifest};
use kitchen_vision::frame::Frame;

const TRACKS: u16 = 30;
const LOOKS: u16 = 60;

fn units() -> Vec<AccessUnit> {
    let video = FileVideo::open(videos::people()).unwrap();
    video.units().unwrap().map(Result::unwrap).collect()
}

/// Every frame is decoded, as the agent does, and those at `wanted` are kept.
fn decode_all(units: &[AccessUnit], mut wanted: impl FnMut() -> bool) -> Vec<Frame> {
    let mut decoder = Decoder::new().unwrap();
    let mut frames: Vec<Frame> = units.iter().flat_map(|unit| decoder.decode(unit, |_, _| wanted()).unwrap()).collect();
    frames.extend(decoder.drain(|_, _| wanted()));
    frames
}

fn a_frame() -> Frame {
    let mut number = 0;
    let frames = decode_all(&units(), || {
        number += 1;
        number == 100
    });
    frames.into_iter().next().unwrap()
}

fn decode(criterion: &mut Criterion) {
    let units = units();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(units.len() as u64)).sample_size(20);
    group.bench_function("people", |bencher| bencher.iter(|| black_box(decode_all(&units, || false))));
    group.finish();
}

fn detect(criterion: &mut Criterion) {
    let models = repository().join("models");
    let frame = a_frame();
    let mut letterbox = Letterbox::new(Manifest::read(&models.join("objects")).unwrap().input);
    criterion.bench_function("letterbox", |bencher| bencher.iter(|| letterbox.fill(black_box(&frame)).unwrap()));
    let mut group = criterion.benchmark_group("detect");
    group.sample_size(30);
    for engine in [EngineChoice::Tract, EngineChoice::Rten] {
        let mut detector = Detector::load(&models, "objects", engine, 1).unwrap();
        let name = detector.engine_name();
        group.bench_function(name, |bencher| bencher.iter(|| detector.detect(black_box(&frame)).unwrap()));
    }
    group.finish();
}

/// People who walk in rows, at two looks a second.
fn crowd(look: u16) -> Vec<Detection> {
    let place = |number: u16| {
        let (row, column) = (f32::from(number / 10), f32::from(number % 10));
        let x = 0.1 * column + 0.005 * f32::from(look % 10);
        Detection { label: Label::Person, score: 0.8, rect: Rect::new(x, 0.3 * row, 0.05, 0.2) }
    };
    (0..TRACKS).map(place).collect()
}

fn track(criterion: &mut Criterion) {
    let looks: Vec<Vec<Detection>> = (0..LOOKS).map(crowd).collect();
    let mut group = criterion.benchmark_group("track");
    group.throughput(Throughput::Elements(u64::from(LOOKS)));
    group.bench_function("30", |bencher| {
        bencher.iter_batched_ref(
            Tracker::default,
            |tracker| {
                for (number, detections) in (0_u64..).zip(&looks) {
                    black_box(tracker.handle_detections(detections, Mono::from_millis(number * 500)));
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// With the disk's own flush: what an alert waits for before it is sent.
fn store(criterion: &mut Criterion) {
    // Beside the programs, for a temporary folder may lie in memory.
    let directory = tempfile::tempdir_in(target()).unwrap();
    let options = OpenOptions { dir: directory.path(), device: "mh07-000123", boot_id: "bench" };
    let store = Store::open(options).unwrap();
    let stamp = Stamp {
        mono: Mono::from_millis(1000),
        wall: Wall::from_unix_millis(1_795_497_151_250),
        quality: TimeQuality::Ntp,
    };
    let body = serde_json::json!({"reason": "x".repeat(1000)});
    criterion.bench_function("outbox_insert", |bencher| {
        bencher.iter(|| store.append_record(stamp, "loss", body.clone()).unwrap());
    });
}

criterion_group! {
    name = stages;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    targets = decode, detect, track, store
}
criterion_main!(stages);

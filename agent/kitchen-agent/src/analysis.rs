//! One camera's frames become violations: motion gate → detector → closer look → tracker → classifiers → rules.
//! The same code for the live camera and for a replayed video; time comes in with each frame.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use kitchen_core::attributes::Judging;
use kitchen_core::closer::Closer;
use kitchen_core::config::{CameraConfig, RuleSettings};
use kitchen_core::detection::{Detection, Label, suppress};
use kitchen_core::rules::{RuleId, SAME_THING};
use kitchen_core::time::{Mono, Stamp, TimeZone};
use kitchen_core::tracker::{Track, Tracker};
use kitchen_core::view::LumaGrid;
use kitchen_core::watch::{CameraWatch, Sighting, Violation, ViolationKey};
use kitchen_vision::detect::{Classifier, Detector};
use kitchen_vision::frame::{Frame, THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH, Thumbnail};
use kitchen_vision::motion::MotionGate;
use kitchen_vision::picture::quality;
use kitchen_vision::stage_timer::StageTimes;

use crate::main_stream::CloseView;
use crate::pack::{self, Pack};

/// Whom the detector misses for so long is still taken for somebody when faces are blurred.
const FLICKER: Duration = Duration::from_millis(1500);

/// The frame that shows a violation best, with what it shows.
#[derive(Clone, Debug)]
pub struct Sight {
    pub frame: Arc<Frame>,
    pub boxes: Vec<Detection>,
    /// Everything that was seen in this frame, doubtful or not, and who was followed into it and lost from sight.
    pub seen: Arc<[Detection]>,
    pub at: Stamp,
    /// See [`quality::of`].
    pub quality: f32,
}

/// What one frame came to.
#[derive(Debug)]
pub struct Looked {
    pub frame: Arc<Frame>,
    /// Absent when the scene was still and the detector rested.
    pub detections: Option<Vec<Detection>>,
    /// What these came to.
    pub tracks: Vec<Track>,
}

/// What the stages of the analysis cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnalysisTimes {
    pub motion: StageTimes,
    /// Looks at the picture's own resolution; the detector's stages count them too.
    pub closer: StageTimes,
    /// Cutting out, scaling and judging.
    pub attributes: StageTimes,
    pub track: StageTimes,
    pub rules: StageTimes,
}

pub struct Analysis {
    gate: MotionGate,
    detector: Detector,
    classifiers: Vec<(Classifier, Judging)>,
    closer: Closer,
    main_stream: Option<CloseView>,
    tracker: Tracker,
    watch: CameraWatch,
    sights: HashMap<ViolationKey, Sight>,
    windows: HashMap<RuleId, Duration>,
    previous: Option<Arc<Frame>>,
    /// Of the newest look; on a still scene it holds for the frames after it.
    seen: Arc<[Detection]>,
    times: AnalysisTimes,
}

impl Analysis {
    #[must_use]
    pub fn new(camera: &CameraConfig, rules: &[RuleSettings], zone: &TimeZone, pack: Pack, started: Mono) -> Self {
        let runs = |rule: RuleId| rules.iter().any(|settings| settings.rule == rule);
        // A classifier on whose word no rule acts, or refrains, is not asked.
        let asked = |classifier: &Classifier| {
            let labels = classifier.manifest().labels();
            let heeded =
                rules.iter().flat_map(|settings| [settings.rule.deciding_label(), settings.rule.refuting_label()]);
            heeded.flatten().any(|label| labels.contains(&label))
        };
        let classifiers = pack.classifiers.into_iter().filter(asked).map(|classifier| {
            let judging = pack::judging(&classifier);
            (classifier, judging)
        });
        Self {
            gate: MotionGate::new(),
            detector: pack.detector,
            classifiers: classifiers.collect(),
            closer: Closer::new(runs(RuleId::Rodent), runs(RuleId::Smoking)),
            main_stream: None,
            tracker: Tracker::default(),
            watch: CameraWatch::new(camera, rules, zone, started),
            sights: HashMap::new(),
            windows: rules.iter().map(|settings| (settings.rule, settings.window)).collect(),
            previous: None,
            seen: Arc::default(),
            times: AnalysisTimes::default(),
        }
    }

    /// Small things are looked for in this camera's main stream.
    #[must_use]
    pub fn with_main_stream(mut self, main_stream: Option<CloseView>) -> Self {
        self.main_stream = main_stream;
        self
    }

    /// One sampled frame.
    ///
    /// # Errors
    /// When the detector's engine fails; the frame has then been seen by the rules that need no model.
    pub fn handle_frame(&mut self, frame: Frame, stamp: Stamp) -> Result<Looked> {
        let frame = Arc::new(frame);
        let changed = self.previous.as_ref().is_none_or(|previous| !previous.same_picture(&frame));
        self.previous = Some(Arc::clone(&frame));
        let pending = self.watch.is_pending();
        let (gate, watch) = (&mut self.gate, &mut self.watch);
        let (run, sighting) = self.times.motion.measure(|| {
            let thumbnail = frame.thumbnail();
            let sighting = watch.handle_picture(changed, &grid(&thumbnail), stamp);
            (gate.look(&thumbnail, stamp.mono, pending), sighting)
        });
        let looked = if run { self.look(&frame, stamp) } else { Ok(None) };
        // After the look: a picture of a covered lens may show somebody too.
        self.keep(sighting, &frame, stamp);
        let (detections, tracks) =
            looked?.map_or((None, Vec::new()), |(detections, tracks)| (Some(detections), tracks));
        Ok(Looked { frame, detections, tracks })
    }

    fn look(&mut self, frame: &Arc<Frame>, stamp: Stamp) -> Result<Option<(Vec<Detection>, Vec<Track>)>> {
        let mut detections = self.detector.detect(frame)?;
        self.look_closer(frame, &mut detections, stamp.mono)?;
        let mut tracks = self.times.track.measure(|| self.tracker.handle_detections(&detections, stamp.mono));
        self.seen = detections.iter().copied().chain(self.tracker.lost_from_sight(stamp.mono, FLICKER)).collect();
        self.judge(frame, &mut tracks, stamp.mono)?;
        let sightings = self.times.rules.measure(|| self.watch.handle_tracks(&tracks, stamp));
        self.keep(sightings, frame, stamp);
        Ok(Some((detections, tracks)))
    }

    /// Adds what one place shows at its own resolution: of the main stream where there is one, else of this frame if
    /// it is larger than what the network sees of it.
    fn look_closer(&mut self, frame: &Frame, detections: &mut Vec<Detection>, now: Mono) -> Result<()> {
        let Self { detector, closer, main_stream, gate, times, .. } = self;
        let input = &detector.manifest().input;
        let is_larger = |frame: &Frame| frame.width > input.width || frame.height > input.height;
        let Some(centre) = closer.choose(detections, || gate.spots(), now) else { return Ok(()) };
        let source = main_stream.as_mut().and_then(|stream| stream.frame(now)).unwrap_or(frame);
        if !is_larger(source) {
            return Ok(());
        }
        let found = times.closer.measure_with_threads(|| detector.detect_around(source, centre))?;
        detections.extend(small_things(&found));
        *detections = suppress(std::mem::take(detections), detector.task().iou);
        Ok(())
    }

    /// Lets the classifiers look at whoever is due.
    fn judge(&mut self, frame: &Frame, tracks: &mut [Track], now: Mono) -> Result<()> {
        for (classifier, judging) in &mut self.classifiers {
            for subject in judging.due(tracks, (frame.width, frame.height), now) {
                let scores = self.times.attributes.measure_with_threads(|| classifier.judge(frame, subject.rect))?;
                judging.handle_scores(subject, scores, now);
            }
            judging.attach(tracks, now);
        }
        Ok(())
    }

    /// The stream was opened anew.
    pub fn handle_opened(&mut self) {
        self.gate.clear();
        self.previous = None;
    }

    /// The stream was lost; `why` has no credentials in it.
    pub fn handle_lost(&mut self, why: &str, stamp: Stamp) {
        self.watch.handle_lost(why, stamp);
    }

    pub fn handle_raised(&mut self, key: &ViolationKey, now: Mono) {
        self.watch.handle_raised(key, now);
    }

    pub fn handle_suppressed(&mut self, key: &ViolationKey, now: Mono) {
        self.watch.handle_suppressed(key, now);
    }

    pub fn handle_timeout(&mut self, stamp: Stamp) {
        self.watch.handle_timeout(stamp);
    }

    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.watch.poll_timeout()
    }

    /// The next violation, and for one that opens the frame of its window that shows it best.
    pub fn poll_violation(&mut self) -> Option<(Violation, Option<Sight>)> {
        let violation = self.watch.poll_output()?;
        let sight = match &violation {
            Violation::Opened { key, .. } => self.sights.remove(key),
            _ => None,
        };
        Some((violation, sight))
    }

    #[must_use]
    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    #[must_use]
    pub fn times(&self) -> AnalysisTimes {
        self.times
    }

    /// Keeps the frame for each violation that it shows better than the frame kept before, within one window.
    fn keep(&mut self, sightings: impl IntoIterator<Item = Sighting>, frame: &Arc<Frame>, stamp: Stamp) {
        for Sighting { key, score, boxes } in sightings {
            let quality = quality::of(frame, &boxes, score.unwrap_or(1.0));
            let window = self.windows.get(&key.rule).copied().unwrap_or_default();
            let better = self
                .sights
                .get(&key)
                .is_none_or(|kept| quality > kept.quality || stamp.mono.since(kept.at.mono) > window);
            if better {
                let (frame, seen) = (Arc::clone(frame), Arc::clone(&self.seen));
                self.sights.insert(key, Sight { frame, boxes, seen, at: stamp, quality });
            }
        }
        let watch = &self.watch;
        // A frame of a violation that has just opened is still to be fetched.
        self.sights.retain(|key, kept| watch.is_candidate(key) || kept.at == stamp || watch.has_opened(key));
    }
}

/// What a window is looked at for. People and animals that it cuts are seen better in the whole picture; a cat or dog in
/// it is heard only against a rat in the same place.
fn small_things(found: &[Detection]) -> impl Iterator<Item = Detection> {
    let is_pet = |other: &&Detection| matches!(other.label, Label::Cat | Label::Dog);
    let has_rival = move |rat: &Detection| {
        let pets = found.iter().filter(is_pet);
        pets.filter(|pet| pet.rect.iou(rat.rect) >= SAME_THING).any(|pet| pet.score > rat.score)
    };
    let small = move |one: &&Detection| match one.label {
        Label::Cigarette => true,
        Label::Rat => !has_rival(one),
        _ => false,
    };
    found.iter().filter(small).copied()
}

fn grid(thumbnail: &Thumbnail) -> LumaGrid {
    let cells = thumbnail.luma.iter().map(|luma| luma.round().clamp(0.0, 255.0) as u8).collect();
    LumaGrid { width: THUMBNAIL_WIDTH, height: THUMBNAIL_HEIGHT, cells }
}

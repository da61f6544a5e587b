//! A checked model, ready to look at pictures.

use std::path::{Path, PathBuf};

use kitchen_core::config::EngineChoice;
use kitchen_core::detection::Detection;

use super::engine::{self, Engine, EngineError};
use super::letterbox::{Letterbox, Placement};
use super::manifest::{self, Manifest, ModelError};
use super::yolox;
use crate::frame::Frame;
use crate::stage_timer::StageTimes;

/// One model on one engine. Holds its buffers: one thread at a time.
pub struct Detector {
    folder: PathBuf,
    manifest: Manifest,
    engine: Box<dyn Engine>,
    letterbox: Letterbox,
    output: Vec<f32>,
    times: DetectorTimes,
}

/// Cost of the stages of [`Detector::detect`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DetectorTimes {
    pub letterbox: StageTimes,
    pub inference: StageTimes,
    /// From the raw output to detections.
    pub decode: StageTimes,
}

/// How far this box's numbers lie from the ones the model was delivered with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GoldenReport {
    /// Of all numbers of the raw output.
    pub max_difference: f32,
    pub tolerance: f32,
    pub ok: bool,
}

impl Detector {
    /// Loads `models_dir/name`, checking manifest and SHA-256.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn load(models_dir: &Path, name: &str, choice: EngineChoice, threads: u32) -> Result<Self, ModelError> {
        let folder = models_dir.join(name);
        let manifest = Manifest::read(&folder)?;
        let network = manifest.read_network(&folder)?;
        let shape = [1, 3, manifest.input.height as usize, manifest.input.width as usize];
        let engine = engine::load(choice, network, shape, threads)
            .map_err(|source| ModelError::Engine { name: name.to_owned(), source })?;
        let letterbox = Letterbox::new(manifest.input.clone());
        let output = Vec::with_capacity(manifest.output_len());
        Ok(Self { folder, manifest, engine, letterbox, output, times: DetectorTimes::default() })
    }

    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// `tract` or `rten`.
    #[must_use]
    pub fn engine_name(&self) -> &'static str {
        self.engine.name()
    }

    /// Since the detector was loaded.
    #[must_use]
    pub fn times(&self) -> &DetectorTimes {
        &self.times
    }

    /// Detections by falling score, calibrated, rectangles as fractions of the frame.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn detect(&mut self, frame: &Frame) -> Result<Vec<Detection>, EngineError> {
        let Self { letterbox, times, .. } = self;
        let placement = times.letterbox.measure(|| letterbox.fill(frame))?;
        self.infer(placement)
    }

    /// The same for a still image.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn detect_rgb(&mut self, image: &image::RgbImage) -> Result<Vec<Detection>, EngineError> {
        let Self { letterbox, times, .. } = self;
        let placement = times.letterbox.measure(|| letterbox.fill_rgb(image))?;
        self.infer(placement)
    }

    /// Runs the network on the golden picture and compares its raw output.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn verify_golden(&mut self) -> Result<GoldenReport, ModelError> {
        let expected = self.golden_output()?;
        let picture = self.golden_input()?;
        let name = self.manifest.name.clone();
        let failed = |source| ModelError::Engine { name, source };
        self.letterbox.fill_rgb(&picture).and_then(|_| self.run_network()).map_err(failed)?;
        // Not f32::max, which passes over NaN.
        let greatest = |max: f32, difference: f32| if difference <= max { max } else { difference };
        let max_difference = self.output.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, greatest);
        let tolerance = self.manifest.golden.tolerance;
        Ok(GoldenReport { max_difference, tolerance, ok: max_difference <= tolerance })
    }

    fn infer(&mut self, placement: Placement) -> Result<Vec<Detection>, EngineError> {
        self.run_network()?;
        let Self { output, manifest, times, .. } = self;
        Ok(times.decode.measure(|| yolox::detections(output, manifest, placement)))
    }

    fn run_network(&mut self) -> Result<(), EngineError> {
        let Self { engine, letterbox, output, times, .. } = self;
        times.inference.measure_with_threads(|| engine.run(letterbox.values(), output))?;
        let expected = self.manifest.output_len();
        if self.output.len() != expected {
            return Err(EngineError::OutputSize { found: self.output.len(), expected });
        }
        Ok(())
    }

    fn golden_output(&self) -> Result<Vec<f32>, ModelError> {
        let bytes = manifest::read(&self.folder.join(&self.manifest.golden.output))?;
        let expected = self.manifest.output_len() * 4;
        if bytes.len() != expected {
            return Err(self.golden_error(format!("the output has {} bytes, expected {expected}", bytes.len())));
        }
        Ok(bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
    }

    fn golden_input(&self) -> Result<image::RgbImage, ModelError> {
        let bytes = manifest::read(&self.folder.join(&self.manifest.golden.input))?;
        let picture = image::load_from_memory(&bytes).map_err(|error| self.golden_error(error.to_string()))?.to_rgb8();
        let size = (self.manifest.input.width, self.manifest.input.height);
        if picture.dimensions() != size {
            return Err(self.golden_error(format!("the picture is {:?}, expected {size:?}", picture.dimensions())));
        }
        Ok(picture)
    }

    fn golden_error(&self, reason: String) -> ModelError {
        ModelError::Golden { name: self.manifest.name.clone(), reason }
    }
}

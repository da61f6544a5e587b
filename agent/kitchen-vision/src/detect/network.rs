//! A model's folder with its network on an engine: checked before it is used, and compared with the numbers it was
//! delivered with.

use std::path::{Path, PathBuf};

use kitchen_core::config::EngineChoice;

use super::engine::{self, Engine, EngineError};
use super::letterbox::Letterbox;
use super::manifest::{self, Manifest, ModelError};
use crate::stage_timer::StageTimes;

/// How far this box's numbers lie from the ones the model was delivered with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GoldenReport {
    /// Of all numbers of the raw output.
    pub max_difference: f32,
    pub tolerance: f32,
    pub ok: bool,
}

/// One network on one engine, with its buffers: one thread at a time.
pub struct Network {
    folder: PathBuf,
    manifest: Manifest,
    engine: Box<dyn Engine>,
    pub(super) letterbox: Letterbox,
    output: Vec<f32>,
    pub(super) inference: StageTimes,
}

impl Network {
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
        Ok(Self { folder, manifest, engine, letterbox, output, inference: StageTimes::default() })
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

    /// The raw output of the last run.
    pub(super) fn output(&self) -> &[f32] {
        &self.output
    }

    /// Runs the network on what the letterbox holds.
    pub(super) fn run(&mut self) -> Result<(), EngineError> {
        let Self { engine, letterbox, output, inference, .. } = self;
        inference.measure_with_threads(|| engine.run(letterbox.values(), output))?;
        let expected = self.manifest.output_len();
        if self.output.len() != expected {
            return Err(EngineError::OutputSize { found: self.output.len(), expected });
        }
        Ok(())
    }

    /// Runs the network on the golden picture and compares its raw output.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn verify_golden(&mut self) -> Result<GoldenReport, ModelError> {
        let expected = self.golden_output()?;
        self.run_golden(&self.golden_input()?)?;
        // Not f32::max, which passes over NaN.
        let greatest = |max: f32, difference: f32| if difference <= max { max } else { difference };
        let max_difference = self.output.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, greatest);
        let tolerance = self.manifest.golden.tolerance;
        Ok(GoldenReport { max_difference, tolerance, ok: max_difference <= tolerance })
    }

    /// One run on the golden picture, for whoever times it.
    ///
    /// # Errors
    /// [`ModelError::Engine`].
    pub fn run_golden(&mut self, picture: &image::RgbImage) -> Result<(), ModelError> {
        let filled = self.letterbox.fill_rgb(picture);
        let ran = filled.and_then(|_| self.run());
        ran.map_err(|source| ModelError::Engine { name: self.manifest.name.clone(), source })
    }

    /// The golden picture.
    ///
    /// # Errors
    /// [`ModelError::Read`], [`ModelError::Golden`].
    pub fn golden_input(&self) -> Result<image::RgbImage, ModelError> {
        let bytes = manifest::read(&self.folder.join(&self.manifest.golden.input))?;
        let picture = image::load_from_memory(&bytes).map_err(|error| self.golden_error(error.to_string()))?.to_rgb8();
        let size = (self.manifest.input.width, self.manifest.input.height);
        if picture.dimensions() != size {
            return Err(self.golden_error(format!("the picture is {:?}, expected {size:?}", picture.dimensions())));
        }
        Ok(picture)
    }

    fn golden_output(&self) -> Result<Vec<f32>, ModelError> {
        let bytes = manifest::read(&self.folder.join(&self.manifest.golden.output))?;
        let expected = self.manifest.output_len() * 4;
        if bytes.len() != expected {
            return Err(self.golden_error(format!("the output has {} bytes, expected {expected}", bytes.len())));
        }
        Ok(bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
    }

    fn golden_error(&self, reason: String) -> ModelError {
        ModelError::Golden { name: self.manifest.name.clone(), reason }
    }
}

//! What runs a network. Each engine takes the same file and must give the same numbers.

use kitchen_core::config::EngineChoice;

use super::{rten::RtenEngine, tract::TractEngine};

/// A loaded network with one input and one output of fixed shapes.
pub trait Engine: Send {
    fn name(&self) -> &'static str;

    /// Runs the network on one picture, `input` in the order of the input's shape; `output` is replaced.
    ///
    /// # Errors
    /// [`EngineError::Run`].
    fn run(&mut self, input: &[f32], output: &mut Vec<f32>) -> Result<(), EngineError>;
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{engine} can't load the network: {reason}")]
    Load { engine: &'static str, reason: String },
    #[error("{engine} failed to run the network: {reason}")]
    Run { engine: &'static str, reason: String },
    #[error("the network gave {found} numbers, its manifest says {expected}")]
    OutputSize { found: usize, expected: usize },
    #[error("the picture can't be scaled to the network's input: {reason}")]
    Letterbox { reason: String },
}

/// Loads the ONNX file `bytes` for an input of `shape` (NCHW). `Auto` is tract until the box has measured.
pub(super) fn load(
    choice: EngineChoice,
    bytes: Vec<u8>,
    shape: [usize; 4],
    threads: u32,
) -> Result<Box<dyn Engine>, EngineError> {
    let threads = usize::try_from(threads).unwrap_or(1).max(1);
    Ok(match choice {
        EngineChoice::Auto | EngineChoice::Tract => Box::new(TractEngine::load(&bytes, shape, threads)?),
        EngineChoice::Rten => Box::new(RtenEngine::load(bytes, shape, threads)?),
    })
}

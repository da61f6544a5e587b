//! The engine that is always there: tract, in the calling thread or on a pool of its own.

use std::io::Cursor;
use std::sync::Arc;

use tract_linalg::multithread::Executor;
use tract_onnx::prelude::*;

use super::engine::{Engine, EngineError};

const NAME: &str = "tract";

pub(super) struct TractEngine {
    model: Arc<TypedRunnableModel>,
    shape: [usize; 4],
}

impl TractEngine {
    /// Shapes that the file computes are ignored: tract works out its own from the input's.
    pub(super) fn load(bytes: &[u8], shape: [usize; 4], threads: usize) -> Result<Self, EngineError> {
        let executor = (threads > 1).then(|| Executor::multithread(threads));
        let options = RunOptions { executor, ..RunOptions::default() };
        let load = || -> TractResult<Arc<TypedRunnableModel>> {
            tract_onnx::onnx()
                .with_ignore_output_shapes(true)
                .with_ignore_value_info(true)
                .model_for_read(&mut Cursor::new(bytes))?
                .with_input_fact(0, f32::fact(shape).into())?
                .into_optimized()?
                .into_runnable_with_options(&options)
        };
        let model = load().map_err(|error| EngineError::Load { engine: NAME, reason: format!("{error:#}") })?;
        Ok(Self { model, shape })
    }
}

impl Engine for TractEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn run(&mut self, input: &[f32], output: &mut Vec<f32>) -> Result<(), EngineError> {
        let mut run = || -> TractResult<()> {
            let tensor = Tensor::from_shape(&self.shape, input)?;
            let results = self.model.run(tvec![tensor.into()])?;
            let result = results.first().ok_or_else(|| TractError::msg("no output"))?;
            output.clear();
            output.extend_from_slice(result.try_as_plain_ram()?.as_slice::<f32>()?);
            Ok(())
        };
        run().map_err(|error| EngineError::Run { engine: NAME, reason: format!("{error:#}") })
    }
}

//! The second engine: rten, on a pool of its own threads.

use std::sync::Arc;

use rten::{Model, RunOptions, ThreadPool, Value, ValueView};

use super::engine::{Engine, EngineError};

const NAME: &str = "rten";

pub(super) struct RtenEngine {
    model: Model,
    shape: [usize; 4],
    threads: Arc<ThreadPool>,
}

impl RtenEngine {
    pub(super) fn load(bytes: Vec<u8>, shape: [usize; 4], threads: usize) -> Result<Self, EngineError> {
        let model =
            Model::load(bytes).map_err(|error| EngineError::Load { engine: NAME, reason: error.to_string() })?;
        Ok(Self { model, shape, threads: Arc::new(ThreadPool::with_num_threads(threads)) })
    }
}

impl Engine for RtenEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn run(&mut self, input: &[f32], output: &mut Vec<f32>) -> Result<(), EngineError> {
        let failed = |reason: String| EngineError::Run { engine: NAME, reason };
        let view = ValueView::from_shape(self.shape, input).map_err(|error| failed(error.to_string()))?;
        let mut options = RunOptions::default();
        options.thread_pool = Some(Arc::clone(&self.threads));
        let result = self.model.run_one(view.into(), Some(options)).map_err(|error| failed(error.to_string()))?;
        let Value::FloatTensor(tensor) = result else { return Err(failed("the output is not of type f32".to_owned())) };
        output.clear();
        output.extend(tensor.into_data());
        Ok(())
    }
}

//! Why a model can't be used.

use kitchen_vision::detect::ModelError;

use super::io;
use crate::fault::Fault;
use crate::notice::{Notice, notice};

#[must_use]
pub fn model(error: &ModelError) -> Notice {
    match error {
        ModelError::Read { path, source } => {
            notice!("model-unreadable", Fault::ModelMissing, path = path.display(), reason = io::reason(source))
        }
        ModelError::Manifest { path, reason } => {
            let first = reason.lines().next().unwrap_or_default();
            notice!("model-manifest", Fault::ModelTampered, path = path.display(), reason = first)
        }
        ModelError::Checksum { path, .. } => notice!("model-checksum", Fault::ModelTampered, path = path.display()),
        ModelError::Golden { name, .. } => notice!("model-golden", Fault::ModelTampered, name = name),
        ModelError::Task { name, .. } | ModelError::Engine { name, .. } => {
            notice!("model-engine", Fault::ModelBroken, name = name)
        }
    }
}

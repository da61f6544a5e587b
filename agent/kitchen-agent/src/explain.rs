//! A failed command as the technician reads it: the fault's code, what failed, and the one next step, in the chosen
//! language. The libraries' own sentences are English and go to the log.

mod camera;
mod config;
mod enrolment;
mod io;
mod link;
mod model;
mod store;

use std::error::Error;

use kitchen_core::config::ConfigError;
use kitchen_store::StoreError;
use kitchen_uplink::LinkError;
use kitchen_vision::camera::CameraError;
use kitchen_vision::detect::ModelError;

pub use self::camera::camera;
pub use self::config::{config as config_problems, problem as config_problem, toml_text};
pub use self::enrolment::{authority, identity};
pub use self::io::reason as io_reason;
pub use self::link::{link, setup};
pub use self::model::model;
pub use self::store::store;
use crate::cli::Problem;
use crate::fault::Fault;
use crate::notice::Notice;
use crate::scrub;
use crate::text::text;

/// What is told of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub fault: Option<Fault>,
    pub text: String,
    pub next_step: String,
}

/// The failure in the chosen language.
#[must_use]
pub fn explain(error: &anyhow::Error) -> Explanation {
    let mut notices: Vec<Notice> = error.downcast_ref::<Notice>().cloned().into_iter().collect();
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = match known(cause) {
            Some(known) => {
                parts.push(known.0);
                notices.extend(known.1);
                // Its own text says what lies behind it.
                break;
            }
            None => cause.to_string(),
        };
        if text != Problem.to_string() {
            parts.push(text);
        }
    }
    Explanation {
        fault: notices.iter().find_map(|notice| notice.code),
        text: parts.join(&text!("error-because")).replace(": \n", ":\n"),
        next_step: notices.iter().find_map(Notice::next_step).unwrap_or_else(|| text!("error-next")),
    }
}

impl Explanation {
    /// `[K-CAM-02] the camera refuses the user "admin"`, and below it the next step.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let code = self.fault.map_or_else(String::new, |fault| format!("[{fault}] "));
        vec![format!("kitchen-agent: {code}{}", self.text), text!("next-step", step = self.next_step)]
    }
}

/// Tells a failure on stderr.
pub fn print(error: &anyhow::Error) {
    for line in explain(error).lines() {
        eprintln!("{}", scrub::text(&line));
    }
}

/// The text of a library's error, with the notice behind it where there is one.
fn known(cause: &(dyn Error + 'static)) -> Option<(String, Option<Notice>)> {
    let notice = if let Some(error) = cause.downcast_ref::<ConfigError>() {
        return Some((config::config(error), Some(Notice::new("config-wrong", Fault::ConfigWrong))));
    } else if let Some(error) = cause.downcast_ref::<CameraError>() {
        camera(error)
    } else if let Some(error) = cause.downcast_ref::<ModelError>() {
        model(error)
    } else if let Some(error) = cause.downcast_ref::<StoreError>() {
        store::store(error)
    } else if let Some(error) = cause.downcast_ref::<LinkError>() {
        link::setup(error)
    } else if let Some(error) = cause.downcast_ref::<std::io::Error>() {
        return Some((io::said(error), None));
    } else if let Some(image::ImageError::IoError(error)) = cause.downcast_ref::<image::ImageError>() {
        return Some((io::said(error), None));
    } else {
        return None;
    };
    Some((notice.to_string(), Some(notice)))
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;

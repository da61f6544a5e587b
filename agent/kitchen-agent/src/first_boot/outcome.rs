//! What came of the enrolment, for people: a file on the stick or the boot partition in both languages, and the journal.

use std::fmt::Write as _;
use std::fs;
use std::net::UdpSocket;

use tracing::{info, warn};

use super::led::Pattern;
use super::medium::Medium;
use crate::board;
use crate::cli::Language;
use crate::clock;
use crate::notice::Notice;
use crate::text;

/// Beside the claim.
pub const RESULT_FILE: &str = "kitchen-result.txt";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    NoClaim,
    /// It will be tried again.
    Waiting(Notice),
    /// Somebody has to do something.
    Failed(Notice),
    /// Enrolled; `but` is why what lay ready for the box could not be taken.
    Done {
        device: String,
        site: String,
        but: Option<Notice>,
    },
}

impl Outcome {
    #[must_use]
    pub const fn pattern(&self) -> Pattern {
        match self {
            Self::NoClaim => Pattern::NoClaim,
            Self::Waiting(_) => Pattern::Trying,
            Self::Failed(_) | Self::Done { but: Some(_), .. } => Pattern::Failed,
            Self::Done { but: None, .. } => Pattern::Done,
        }
    }

    pub fn log(&self) {
        match self {
            Self::NoClaim => info!("no claim yet"),
            Self::Waiting(notice) => warn!(code = ?notice.code.map(|fault| fault.code()), "not enrolled yet: {notice}"),
            Self::Failed(notice) => warn!(code = ?notice.code.map(|fault| fault.code()), "not enrolled: {notice}"),
            Self::Done { device, site, but: None } => info!(device, site, "enrolled"),
            Self::Done { device, site, but: Some(notice) } => warn!(device, site, "enrolled, but {notice}"),
        }
    }

    /// Whole or not at all, as any of our files; a stick that can't be written is no reason to stop.
    pub fn write(&self, medium: &Medium) {
        let (path, aside) = (medium.folder.join(RESULT_FILE), medium.folder.join("kitchen-result.tmp"));
        let written = fs::write(&aside, self.file())
            .and_then(|()| fs::File::open(&aside)?.sync_all())
            .and_then(|()| fs::rename(&aside, &path));
        if let Err(error) = written {
            warn!(path = %path.display(), %error, "the result can't be written");
        }
    }

    /// For any computer's text editor: a mark that it is UTF-8, and both characters at a line's end.
    fn file(&self) -> String {
        let mut text = String::from("\u{feff}");
        for (number, language) in [Language::Zh, Language::En].into_iter().enumerate() {
            if number > 0 {
                text.push('\n');
            }
            text.push_str(&self.lines(language));
        }
        text.replace('\n', "\r\n")
    }

    fn lines(&self, language: Language) -> String {
        let say = |id: &str, values: &[(&str, &dyn std::fmt::Display)]| text::get_in(language, id, values);
        let title = match self {
            Self::NoClaim | Self::Failed(_) => say("result-failed", &[]),
            Self::Waiting(_) => say("result-waiting", &[]),
            Self::Done { device, site, .. } => say("result-done", &[("device", device), ("site", site)]),
        };
        let mut lines = format!("{}\n{title}\n", say("result-title", &[]));
        if let Self::Waiting(notice) | Self::Failed(notice) | Self::Done { but: Some(notice), .. } = self {
            if let Some(fault) = notice.code {
                let named = say(&format!("fault-{fault}"), &[]);
                let _ = writeln!(lines, "{}", say("result-line-code", &[("code", &fault), ("title", &named)]));
            }
            let _ = writeln!(lines, "{}", say("result-line-found", &[("found", &notice.said(language))]));
            if let Some(next) = notice.next_step_in(language) {
                let _ = writeln!(lines, "{}", say("result-line-next", &[("next", &next)]));
            }
        }
        let board = board::serial().unwrap_or_else(|| "?".to_owned());
        let address = address().unwrap_or_else(|| say("result-no-address", &[]));
        let _ = writeln!(lines, "{}", say("result-line-board", &[("board", &board)]));
        let _ = writeln!(lines, "{}", say("result-line-addresses", &[("addresses", &address)]));
        let _ = writeln!(lines, "{}", say("result-line-time", &[("time", &clock::now())]));
        lines
    }
}

/// From which address the box would speak to the world; nothing is sent.
fn address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

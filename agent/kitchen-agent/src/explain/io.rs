//! The operating system's answers, by their kind.

use std::io::{Error, ErrorKind};

use crate::notice::Value;
use crate::text;

/// As a value of a notice.
pub fn reason(error: &Error) -> Value {
    id(error.kind()).map_or_else(|| Value::from(error), Value::text)
}

/// As a text in the chosen language.
pub fn said(error: &Error) -> String {
    id(error.kind()).map_or_else(|| error.to_string(), |id| text::get(id, &[]))
}

/// Of a library's text that quotes the operating system: `Connection refused (os error 111)`.
pub fn reason_of_text(text: &str) -> Value {
    if text.contains("lookup address") {
        return Value::text("io-name-unknown");
    }
    let number = text.rsplit_once("(os error ").and_then(|(_, rest)| rest.trim_end_matches(')').parse().ok());
    number.map_or_else(|| Value::from(text), |number| reason(&Error::from_raw_os_error(number)))
}

fn id(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::NotFound => "io-not-found",
        ErrorKind::PermissionDenied => "io-not-permitted",
        ErrorKind::ConnectionRefused => "io-refused",
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => "io-cut",
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "io-unreachable",
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "io-timed-out",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "io-disk-full",
        ErrorKind::ReadOnlyFilesystem => "io-read-only",
        ErrorKind::IsADirectory => "io-is-folder",
        ErrorKind::NotADirectory => "io-is-no-folder",
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => "io-damaged",
        _ => return None,
    })
}

//! The secrets that a configuration gives away or names: passwords in it and in the environment, and the contents of
//! its password and key files. What can't be read is left out, a wrong configuration is read all the same.

use std::io::Read as _;
use std::sync::LazyLock;

use regex::Regex;

use super::{MARK, pattern};

/// A longer file is neither a password nor a key.
const LONGEST: u64 = 64 * 1024;
/// Names that are no secret, whatever a password is made of.
const PUBLIC: &str = "kitchen-agent kitchen-district kitchen/v1 /etc/kitchen-agent /var/lib/kitchen-agent";

static FILE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?i)(?:password|key)_file["']?\s*=\s*["']([^"'\r\n]+)["']"#).expect("a pattern of this file")
});

/// All secrets of a configuration's text and of the environment's part of it.
#[must_use]
pub(super) fn of(text: &str, environment: &[(String, String)]) -> Vec<String> {
    let named = FILE.captures_iter(text).map(|captures| captures[1].to_owned());
    let in_environment = environment.iter().filter(|(name, _)| is_secret_file(name)).map(|(_, path)| path.clone());
    let mut secrets: Vec<String> = named.chain(in_environment).flat_map(|path| file(&path)).collect();
    secrets.extend(pattern::secrets(text));
    for (name, value) in environment {
        secrets.extend(pattern::secrets(value));
        if pattern::is_secret(name, value) {
            secrets.push(value.clone());
        }
    }
    // A password in a URL may be percent-encoded there, and plain elsewhere.
    let decoded: Vec<String> = secrets.iter().filter_map(|secret| decoded(secret)).collect();
    secrets.extend(decoded);
    secrets.retain(|secret| !secret.is_empty() && secret != MARK);
    secrets.sort();
    secrets.dedup();
    secrets
}

/// What of a configuration's text is no secret.
#[must_use]
pub(super) fn public(text: &str, secrets: &[String]) -> String {
    let clean = secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, MARK));
    format!("{PUBLIC}\n{clean}")
}

fn is_secret_file(name: &str) -> bool {
    ["PASSWORD_FILE", "KEY_FILE"].iter().any(|end| name.ends_with(end))
}

fn file(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    if !text.contains("-----BEGIN") {
        return Some(text.trim_end_matches(['\n', '\r']).to_owned());
    }
    Some(text.lines().map(str::trim).filter(|line| !line.starts_with('-') && !line.contains(':')).collect())
}

fn decoded(secret: &str) -> Option<String> {
    let view = super::View::of(secret).unescaped(super::Undone::All)?;
    String::from_utf8(view.bytes().to_vec()).ok()
}

//! What looks like a secret by its place: the user part of a URL, the value of a key named `password`, a header, a
//! private key.

use std::ops::Range;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::bytes::{Captures, Regex};

/// Group 1 is the secret: everything up to the last `@` of a URL, since a password may hold any sign.
const URL: &str = r#"(?i)[a-z][a-z0-9+.\-]{1,15}://([^\s"'<>\\]*)@"#;
const USER_AND_PASSWORD: &str = r#"(?i)(?:^|[\s"'(=,/])([a-z0-9_.\-]{1,32}:[^\s@/"'<>\\]{1,64})@[a-z0-9]"#;
const AUTHORIZATION: &str = r#"(?i)\bauthorization["']?\s*[:=]\s*(?:"((?:[^"\\]|\\.)*)"|([^"\s][^\r\n]*))"#;
const DIGEST: &str = r#"(?i)\b(?:response|c?nonce)\s*=\s*"?([0-9a-f]{16,})"#;
const BEARER: &str = r"(?i)\bbearer\s+([a-z0-9+/=_.\-~]{16,})";
const PRIVATE_KEY: &str = r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\z)";
/// What is left of a private key whose beginning was cut off.
const PRIVATE_KEY_END: &str = r"((?:[A-Za-z0-9+/=]{4,}\s+)+)-----END [A-Z ]*PRIVATE KEY-----";
/// Group 1 is a secret where it decodes to `user:password`.
const BASIC: &str = r"(?i)\bbasic\s+([a-z0-9+/]{6,}={0,2})";
/// Names of keys whose values are secret.
const NAME: &str = r"(?i)(?:password|passwd|passphrase|pwd|secret|token|credential|(?:api|private|client|session)[_\-]?key)[a-z0-9_\-]*$|^(?:key|pass)$";
/// A name and its value, bare or in quotes.
const ASSIGNMENT: &str =
    r#"(?i)([a-z0-9_\-]+)["'`]?\s*(?:=>|[:=])\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s,;&"'`}\])>\\]+))"#;

/// A `key` whose value begins so names a setting.
const SETTINGS: [&str; 11] = [
    "device.",
    "camera.",
    "detector.",
    "rules.",
    "clip.",
    "recording.",
    "storage.",
    "privacy.",
    "uplink.",
    "budget.",
    "KITCHEN_AGENT__",
];

struct Patterns {
    secret: Vec<Regex>,
    basic: Regex,
    name: Regex,
    assignment: Regex,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let regex = |pattern: &str| Regex::new(pattern).expect("a pattern of this file");
    let secret = [URL, USER_AND_PASSWORD, AUTHORIZATION, DIGEST, BEARER, PRIVATE_KEY, PRIVATE_KEY_END];
    Patterns {
        secret: secret.into_iter().map(regex).collect(),
        basic: regex(BASIC),
        name: regex(NAME),
        assignment: regex(ASSIGNMENT),
    }
});

/// Tells the ranges of all that looks like a secret.
pub(super) fn find(text: &[u8], found: &mut impl FnMut(Range<usize>)) {
    for pattern in &PATTERNS.secret {
        pattern.captures_iter(text).filter_map(|captures| first_group(&captures, 1)).for_each(&mut *found);
    }
    for range in PATTERNS.basic.captures_iter(text).filter_map(|captures| first_group(&captures, 1)) {
        if STANDARD.decode(&text[range.clone()]).is_ok_and(|decoded| decoded.contains(&b':')) {
            found(range);
        }
    }
    assignments(text).for_each(found);
}

/// The passwords that a text gives away by their place: those of URLs and those of keys.
pub(super) fn secrets(text: &str) -> Vec<String> {
    let bytes = text.as_bytes();
    let users = PATTERNS.secret[0].captures_iter(bytes).filter_map(|captures| first_group(&captures, 1));
    let passwords = users.filter_map(|user| {
        let colon = bytes[user.clone()].iter().position(|byte| *byte == b':')?;
        Some(user.start + colon + 1..user.end)
    });
    passwords.chain(assignments(bytes)).map(|range| String::from_utf8_lossy(&bytes[range]).into_owned()).collect()
}

/// Whether the value of a key named so is secret. Names of files and of settings are none.
pub(super) fn is_secret(name: &str, value: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let is_place = ["file", "path", "dir"].iter().any(|end| lower.ends_with(end));
    let is_setting = lower == "key" && SETTINGS.iter().any(|start| value.starts_with(start));
    !value.is_empty() && !is_place && !is_setting && PATTERNS.name.is_match(name.as_bytes())
}

/// Values of keys that are secret.
fn assignments(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let captures = PATTERNS.assignment.captures_at(text, at)?;
            let name = captures.get(1)?;
            let value = first_group(&captures, 2)?;
            let [shown_name, shown] = [name.as_bytes(), &text[value.clone()]].map(String::from_utf8_lossy);
            if is_secret(&shown_name, &shown) {
                at = value.end;
                return Some(value);
            }
            // What follows may be a name itself: `user=admin_password=…`.
            at = name.end();
        }
    })
}

/// Of the groups from `first` on the one that took part.
fn first_group(captures: &Captures<'_>, first: usize) -> Option<Range<usize>> {
    (first..captures.len()).find_map(|group| captures.get(group)).map(|group| group.range())
}

//! Takes secrets out of texts. Any text comes in; the same text goes out with `***` for passwords, keys, tokens and
//! credentials: those that look like one, and those that this box is known to hold, however they are written.
//! Everything that the program prints or logs passes here.

mod known;
mod pattern;
mod secrets;
mod view;

use std::borrow::Cow;
use std::io::Write;
use std::ops::Range;
use std::sync::OnceLock;

use serde_json::Value;

use self::known::Known;
use self::view::{Undone, View};
use crate::cli::Cli;
use crate::config_file;

const MARK: &str = "***";
/// So often a text may be percent-encoded or escaped over itself.
const LEVELS: usize = 3;

static SCRUBBER: OnceLock<Scrubber> = OnceLock::new();

/// Finds the secrets of the configuration, its files and the environment for [`text`] and [`value`].
pub fn learn(cli: &Cli) {
    let text = std::fs::read_to_string(config_file::path(cli)).unwrap_or_default();
    let environment = config_file::environment();
    let secrets = secrets::of(&text, &environment);
    let _ = SCRUBBER.set(Scrubber::new(&secrets, &secrets::public(&text, &secrets)));
}

/// `text` without the secrets of this box.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    current().scrub(text)
}

/// A JSON document without the secrets of this box; its form stays.
#[must_use]
pub fn value(value: Value) -> Value {
    current().scrub_value(value)
}

fn current() -> &'static Scrubber {
    SCRUBBER.get_or_init(|| Scrubber::new(&[], ""))
}

/// Standard error for the log: each event is written at once, and scrubbed.
#[derive(Debug)]
pub struct ScrubbedStderr;

impl Write for ScrubbedStderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        std::io::stderr().lock().write_all(text(&line).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// What is known to be secret, beside what looks like it.
#[derive(Debug)]
pub struct Scrubber {
    known: Option<Known>,
}

impl Scrubber {
    /// Parts of `secrets` that also stand in `public`, such as words of a path, are no secret; the whole always is.
    #[must_use]
    pub fn new(secrets: &[String], public: &str) -> Self {
        Self { known: Known::new(secrets, public) }
    }

    #[must_use]
    pub fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut found = Vec::new();
        self.find(text, &View::of(text), 0, &mut found);
        if found.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(without(text, found)) }
    }

    /// Ranges of `text` in which `view`, and what it encodes, holds a secret.
    fn find(&self, text: &str, view: &View, level: usize, found: &mut Vec<Range<usize>>) {
        let mut note = |range: Range<usize>| found.push(widened(text, view.original(range)));
        pattern::find(view.bytes(), &mut note);
        if let Some(known) = &self.known {
            known.find(view.bytes(), &mut note);
        }
        if level < LEVELS {
            for next in Undone::EACH.into_iter().filter_map(|undone| view.unescaped(undone)) {
                self.find(text, &next, level + 1, found);
            }
        }
    }

    /// Strings only: numbers and the names of keys stay, so that a reader still understands the document.
    #[must_use]
    pub fn scrub_value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.scrub(&text).into_owned()),
            Value::Array(items) => items.into_iter().map(|item| self.scrub_value(item)).collect(),
            Value::Object(entries) => entries
                .into_iter()
                .map(|(key, value)| match value {
                    Value::String(text) if pattern::is_secret(&key, &text) => (key, MARK.into()),
                    value => (key, self.scrub_value(value)),
                })
                .collect(),
            other => other,
        }
    }
}

/// The range up to whole characters.
fn widened(text: &str, range: Range<usize>) -> Range<usize> {
    text.floor_char_boundary(range.start)..text.ceil_char_boundary(range.end)
}

fn without(text: &str, mut ranges: Vec<Range<usize>>) -> String {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut clean = String::with_capacity(text.len());
    let mut end = 0;
    for range in ranges {
        if range.start > end || (end == 0 && range.start == 0) {
            clean.push_str(&text[end..range.start]);
            clean.push_str(MARK);
        }
        end = end.max(range.end);
    }
    clean.push_str(&text[end..]);
    clean
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn scrubbed(text: &str) -> String {
        Scrubber::new(&[], "").scrub(text).into_owned()
    }

    #[test]
    fn what_looks_like_a_secret_is_gone_and_the_rest_stays() {
        let table = [
            ("rtsp://admin:Pa55@192.168.8.64/102", "rtsp://***@192.168.8.64/102"),
            ("rtsp://admin:Pa@55/x#y@192.168.8.64/102 lost", "rtsp://***@192.168.8.64/102 lost"),
            ("open rtsp%3A%2F%2Fadmin%3APa55%40camera%2Flive", "open rtsp%3A%2F%2F***%40camera%2Flive"),
            (r"rtsp:\/\/admin:Pa55@camera", r"rtsp:\/\/***@camera"),
            ("camera admin:Pa55@192.168.8.64 refused", "camera ***@192.168.8.64 refused"),
            ("password = \"two words\" # stove", "password = \"***\" # stove"),
            (r#"{"password":"a\"b","port":554}"#, r#"{"password":"***","port":554}"#),
            (r#"{"message":"{\"api_key\":\"x1y2\"}"}"#, r#"{"message":"{\"api_key\":\"***\"}"}"#),
            ("GET /user=admin_password=tlJwpbo6&channel=1", "GET /user=admin_password=***&channel=1"),
            ("error: password: hunter2", "error: password: ***"),
            ("KITCHEN_AGENT__CAMERA__0__PASSWORD=hunter2", "KITCHEN_AGENT__CAMERA__0__PASSWORD=***"),
            ("key: 9f86d081, token => abc", "key: ***, token => ***"),
            ("Authorization: Digest username=\"admin\", response=\"00ff\"", "Authorization: ***"),
            (r#"{"authorization": "Basic YWRtaW46UGE1NQ=="}"#, r#"{"authorization": "***"}"#),
            ("sent Basic YWRtaW46UGE1NQ== twice", "sent Basic *** twice"),
            ("response=\"0123456789abcdef0123456789abcdef\"", "response=\"***\""),
            (
                "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n",
                "-----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY-----\n",
            ),
            ("-----BEGIN EC PRIVATE KEY-----\nMIGHAgEA", "-----BEGIN EC PRIVATE KEY-----***"),
            ("MIGHAgEA\nAgEA\n-----END PRIVATE KEY-----", "***-----END PRIVATE KEY-----"),
        ];
        for (text, expected) in table {
            assert_eq!(scrubbed(text), expected, "{text}");
            assert_eq!(scrubbed(expected), expected, "scrubbed again: {text}");
        }
    }

    #[test]
    fn what_a_technician_needs_is_not_taken_for_a_secret() {
        for text in [
            "camera refused admin: check username and password_file",
            "password_file = \"/etc/kitchen-agent/camera.password\"",
            r#"{"key":"uplink.key_file","value":"/var/lib/kitchen-agent/identity/device.key"}"#,
            "key=\"camera.stove.url\" accepted, but without effect",
            "uplink.command_key: found \"x\", expected an Ed25519 key in base64",
            "2026-11-24T05:12:31.250Z mqtts://broker.example:8883 connected",
            "rtsp://192.168.8.64:554/Streaming/Channels/102",
            "basic information, status 200 response=ok",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        ] {
            assert_eq!(scrubbed(text), text);
        }
    }

    #[test]
    fn a_document_keeps_its_form_its_numbers_and_its_keys() {
        let scrubber = Scrubber::new(&["12345".to_owned()], "");
        let document = json!({ "bytes": 1_234_567, "12345": "is 12345", "token": "x", "list": ["rtsp://u:p@h"] });
        let expected = json!({ "bytes": 1_234_567, "12345": "is ***", "token": "***", "list": ["rtsp://***@h"] });
        assert_eq!(scrubber.scrub_value(document), expected);
    }

    #[test]
    fn a_part_of_a_secret_that_is_an_ordinary_word_stays() {
        let scrubber = Scrubber::new(&["kitchen-Secret-7731".to_owned()], "/etc/kitchen-agent");
        assert_eq!(scrubber.scrub("kitchen-agent: kitchen-Secret-7731"), "kitchen-agent: ***");
        assert_eq!(scrubber.scrub("cut off: n-Secret-7"), "cut off: ***");
    }

    #[test]
    fn a_secret_that_looks_encoded_itself_is_found_however_it_is_written() {
        let secret = r"!A0\+%a0";
        let scrubber = Scrubber::new(&[secret.to_owned()], "");
        for text in
            [secret.to_owned(), format!("{secret:?}"), serde_json::to_string(&format!("{secret:?}")).expect("JSON")]
        {
            let clean = scrubber.scrub(&text).into_owned();
            assert!(!clean.contains("!A0"), "{clean} of {text}");
        }
    }

    #[test]
    fn a_key_is_found_where_its_lines_stand_alone() {
        let line = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2";
        let key = format!("{line}OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r");
        let scrubber = Scrubber::new(&[key], "");
        assert_eq!(scrubber.scrub(&format!("line 2: {line}\n")), "line 2: ***\n");
        assert_eq!(scrubber.scrub(&format!("cut: {}", &line[5..40])), "cut: ***");
    }

    #[test]
    fn the_secrets_of_a_configuration_are_found_though_it_is_wrong() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("camera.password");
        std::fs::write(&file, "Aus-der-Datei\n").expect("written");
        let text = format!(
            "[device\nurl = \"rtsp://admin:In%20Der%20Url@h/\"\npassword_file = \"{}\"\nsecret = 'Im-Text-1'",
            file.display()
        );
        let environment = [
            ("KITCHEN_AGENT__CAMERA__0__PASSWORD".to_owned(), "Aus-der-Umgebung".to_owned()),
            ("KITCHEN_AGENT__UPLINK__BROKER".to_owned(), "mqtts://box:Im-Broker-1@broker".to_owned()),
        ];
        let found = secrets::of(&text, &environment);
        for secret in ["Aus-der-Datei", "In%20Der%20Url", "In Der Url", "Im-Text-1", "Aus-der-Umgebung", "Im-Broker-1"]
        {
            assert!(found.iter().any(|one| one == secret), "{secret} not in {found:?}");
        }
    }

    /// How a secret may stand in a text.
    fn written(secret: &str, way: usize) -> String {
        let every_byte = |form: fn(u8) -> String| secret.bytes().map(form).collect::<String>();
        match way {
            0 => secret.to_owned(),
            1 => every_byte(|byte| format!("%{byte:02X}")),
            2 => every_byte(|byte| format!("%25{byte:02x}")),
            3 => {
                every_byte(
                    |byte| if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { format!("%{byte:02x}") },
                )
            }
            4 => every_byte(|byte| format!("\\u00{byte:02x}")),
            5 => format!("{secret:?}"),
            6 => serde_json::to_string(&json!({ "said": format!("{secret:?}") })).expect("JSON"),
            7 => every_byte(|byte| format!("{byte:02X}")),
            _ => format!("{:?}", secret.as_bytes()),
        }
    }

    proptest! {
        #[test]
        fn whatever_surrounds_a_secret_it_is_gone(
            secret in "[!-)+-~]{8,40}", before in ".{0,12}", after in ".{0,12}", way in 0_usize..9,
        ) {
            let scrubber = Scrubber::new(std::slice::from_ref(&secret), "");
            let form = written(&secret, way);
            let clean = scrubber.scrub(&format!("{before}{form}{after}")).into_owned();
            let core = form.trim_matches(['"', '[', ']']);
            prop_assert!(!clean.contains(core), "{} in {}", core, clean);
            for part in secret.as_bytes().windows(8) {
                prop_assert!(!clean.contains(std::str::from_utf8(part).expect("ASCII")), "{}", clean);
            }
        }

        #[test]
        fn a_part_of_eight_is_gone_too(secret in "[!-)+-~]{9,40}", start in 0_usize..32, before in ".{0,8}") {
            let scrubber = Scrubber::new(std::slice::from_ref(&secret), "");
            let start = start.min(secret.len() - 8);
            let part = &secret[start..start + 8];
            let text = format!("{before}{part}");
            prop_assert!(!scrubber.scrub(&text).contains(part));
        }

        #[test]
        fn base64_of_a_secret_is_gone_wherever_it_begins(
            secret in "[!-)+-~]{6,40}", before in ".{0,12}", after in ".{0,12}",
        ) {
            let scrubber = Scrubber::new(std::slice::from_ref(&secret), "");
            let encoded = STANDARD.encode(format!("{before}{secret}{after}"));
            let clean = scrubber.scrub(&encoded).into_owned();
            // Of what is left on both sides of the mark no eight bytes of the secret can be read.
            let left: Vec<&str> = clean.split(MARK).collect();
            prop_assert!(left.len() > 1, "{} unchanged", clean);
            let rest = left.iter().map(|part| part.len()).sum::<usize>();
            prop_assert!(rest <= encoded.len() - secret.len(), "{} of {}", clean, encoded);
        }

        #[test]
        fn a_text_without_secrets_is_left_alone(words in "[a-z ]{0,60}") {
            prop_assert_eq!(Scrubber::new(&["Zz9-Zz9-Zz9".to_owned()], "").scrub(&words), words.as_str());
        }
    }
}

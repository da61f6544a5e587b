use std::path::PathBuf;

use anyhow::Context as _;
use kitchen_core::config::{Config, Expected};
use kitchen_uplink::LinkReason;

use super::*;
use crate::notice::notice;
use crate::text;
use crate::text::tests::in_both_languages;

fn told(error: &anyhow::Error) -> String {
    in_both_languages(|| explain(error).lines().join("\n"))
}

fn wrong_configuration(text: &str) -> anyhow::Error {
    let path = PathBuf::from("/etc/kitchen-agent/agent.toml");
    let parsed = Config::parse(text, &[]).with_context(|| crate::config_file::is_wrong(&path));
    parsed.expect_err("is wrong")
}

#[test]
fn errors_in_both_languages() {
    let refused = CameraError::Credentials { user: Some("admin".to_owned()) };
    insta::assert_snapshot!("error_camera", told(&refused.into()));
    let missing = std::io::Error::from_raw_os_error(2);
    let unreadable = notice!("config-unreadable", Fault::ConfigUnreadable, path = "/etc/kitchen-agent/agent.toml");
    insta::assert_snapshot!("error_file", told(&anyhow::Error::new(missing).context(unreadable).context(Problem)));
    let values = "[device]\nid = \"MH 07\"\n[rules.phone]\nscore = 65.0\nschedule = \"9-14\"\nzones = [\"bar\"]\n\
                  [[camera]]\nid = \"a\"\nurl = \"rtsp://admin:secret1@192.168.8.64/1\"\n\
                  [[camera.zone]]\nid = \"z\"\npolygon = [[0.1, 0.1], [0.9, 0.9], [0.9, 0.1], [0.1, 0.9]]\n";
    insta::assert_snapshot!("error_values", told(&wrong_configuration(values)));
    let key = "[device]\nid = \"mh07-000123\"\n[clip]\nframes = 3\n";
    insta::assert_snapshot!("error_key", told(&wrong_configuration(key)));
    insta::assert_snapshot!("error_toml", told(&wrong_configuration("[device\nid = 3\n")));
    let kind = "[device]\nid = \"mh07-000123\"\n[clip]\npre_s = \"five\"\n";
    insta::assert_snapshot!("error_type", told(&wrong_configuration(kind)));
}

#[test]
fn the_systems_answers_are_read_out_of_a_library_s_text() {
    let error = CameraError::Unreachable {
        address: "192.168.8.64:554".to_owned(),
        reason: "Connection refused (os error 111)".to_owned(),
    };
    let said = told(&error.into());
    assert!(said.contains("连接被拒绝") && said.contains("K-CAM-01"), "{said}");
}

#[test]
fn whatever_a_configuration_expects_can_be_said() {
    for expected in [
        Expected::DeviceId,
        Expected::TimeZone,
        Expected::Language,
        Expected::AbsolutePath,
        Expected::Name,
        Expected::OwnName,
        Expected::CameraUrl,
        Expected::UrlWithoutCredentials,
        Expected::Corners,
        Expected::Fractions,
        Expected::NoCrossing,
        Expected::Area,
        Expected::Schedule(String::new()),
        Expected::ZoneId,
        Expected::Broker,
        Expected::BothFiles,
        Expected::EnvironmentKey,
        Expected::AtLeast(1),
        Expected::Between("0", "1"),
        Expected::Seconds(1, 30),
    ] {
        let id = format!("config-expected-{}", expected.key());
        assert!(text::has(&id), "{id} is missing");
    }
}

#[test]
fn every_trouble_of_the_link_names_a_next_step() {
    for reason in [
        LinkReason::NoAnswer,
        LinkReason::NoRoute,
        LinkReason::NameUnknown,
        LinkReason::NothingListens,
        LinkReason::Cut,
        LinkReason::NotTls,
        LinkReason::NotMqtt5,
        LinkReason::TlsFailed,
        LinkReason::ForeignAuthority,
        LinkReason::OtherName,
        LinkReason::NotValidToday,
        LinkReason::CertificateRefused,
        LinkReason::NotAuthorised,
        LinkReason::SecondBox,
        LinkReason::TopicForbidden,
        LinkReason::TooLarge,
        LinkReason::Setup,
        LinkReason::Closed,
        LinkReason::Other,
    ] {
        let notice = link(&reason.because("in English"));
        assert!(notice.is_known() && notice.next_step().is_some(), "{reason:?}");
    }
}

#[test]
fn a_failure_that_nobody_foresaw_still_ends_with_a_next_step() {
    let said = told(&anyhow::anyhow!("the moon fell"));
    assert!(said.contains("the moon fell") && said.contains("Next:") && said.contains("下一步："), "{said}");
}

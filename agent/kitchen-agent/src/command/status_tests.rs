use std::collections::BTreeMap;

use kitchen_core::wire::{CameraHealth, OutboxHealth};

use super::*;
use crate::explain;
use crate::recording::CameraRecordingReport;
use crate::status::{CameraReport, DetectorReport, DiskReport, HeldReport, LinkReport};
use crate::text::tests::in_both_languages;

fn report() -> StatusReport {
    let refused = kitchen_vision::camera::CameraError::Credentials { user: Some("admin".to_owned()) };
    let foreign = kitchen_uplink::LinkReason::ForeignAuthority.because("unknown CA");
    let camera = |id: &str, state: &str| CameraReport {
        health: CameraHealth { id: id.to_owned(), state: state.to_owned(), frames: 8120, analysed: 1080, dropped: 3 },
        address: "rtsp://192.168.8.64/Streaming/Channels/102".to_owned(),
        detail: None,
        notice: None,
        lost_packets: 0,
        damaged: 0,
        look_ms: None,
    };
    let stream = Notice::new("status-camera-stream-rate", None)
        .with("codec", "avc1.64001F")
        .with("size", "640×360")
        .with("rate", "15.0");
    let rules = [("intrusion", RuleState::On), ("animal", RuleState::On), ("lens_covered", RuleState::On)];
    let missing = ["rodent", "fire", "smoking", "no_hat", "no_mask", "phone", "waste", "bin_open", "bare_torso"];
    let missing = missing.map(|rule| (rule, RuleState::Unavailable));
    let all = rules.into_iter().chain(missing).chain([("camera_offline", RuleState::Off)]);
    StatusReport {
        device: "mh07-000123".to_owned(),
        agent: "0.1.0".to_owned(),
        uptime_s: 7500,
        time: "2026-11-24T05:12:31.250Z".parse().expect("a time"),
        time_quality: TimeQuality::Ntp,
        cameras: vec![
            CameraReport {
                notice: Some(stream),
                detail: Some("avc1.64001F 640×360, 15.0 frames/s".to_owned()),
                lost_packets: 2,
                look_ms: Some(38.4),
                ..camera("stove", "online")
            },
            CameraReport {
                notice: Some(explain::camera(&refused)),
                detail: Some(refused.to_string()),
                ..camera("door", "offline")
            },
        ],
        detector: Some(DetectorReport {
            model: "objects".to_owned(),
            version: "0.1.0".to_owned(),
            engine: "tract".to_owned(),
        }),
        rules: all.map(|(rule, state)| (rule.to_owned(), state)).collect::<BTreeMap<_, _>>(),
        alerts_today: Some(4),
        outbox: Some(OutboxHealth { count: 3, bytes: 52_000, oldest_s: 300 }),
        link: LinkReport {
            broker: "mqtts://broker.example:8883".to_owned(),
            connected_since: None,
            last_receipt: Some("2026-11-24T03:02:31.250Z".parse().expect("a time")),
            last_error: Some(foreign.text.clone()),
            notice: Some(explain::link(&foreign)),
            resting_until: None,
            district_silent: false,
        },
        disk: Some(DiskReport { free_bytes: 21_400_000_000, total_bytes: 29_000_000_000 }),
        written_bytes: Some(7_300_000),
        temperature_c: Some(58.2),
        restarts: std::collections::BTreeMap::new(),
        slowed_by: None,
        recording: Some(RecordingReport {
            state: "on".to_owned(),
            quota_bytes: 8_000_000_000,
            bytes: 1_340_000_000,
            written_bytes: 6_100_000,
            cameras: vec![CameraRecordingReport {
                id: "stove".to_owned(),
                held_s: 20_520,
                bytes: 1_340_000_000,
                oldest: Some("2026-11-23T23:30:00Z".parse().expect("a time")),
                newest: Some("2026-11-24T05:12:25Z".parse().expect("a time")),
                gaps: 2,
                dropped: 340,
            }],
            detail: None,
            notice: None,
        }),
        budget: Some(super::super::budget::tests::report()),
        held: vec![HeldReport {
            id: "k7f3qa.17.42".to_owned(),
            reason: "budget: snapshots_only".to_owned(),
            until: "2026-11-30T16:00:00Z".parse().expect("a time"),
        }],
    }
}

#[test]
fn the_screen_in_both_languages() {
    let zone = TimeZone::named("Asia/Shanghai").expect("a zone");
    insta::assert_snapshot!("status", in_both_languages(|| screen(&report(), &zone).join("\n")));
}

#[test]
fn the_columns_line_up_in_chinese_too() {
    let zone = TimeZone::named("Asia/Shanghai").expect("a zone");
    let screens = in_both_languages(|| screen(&report(), &zone).join("\n"));
    let rows = screens.lines().filter(|line| line.contains("rtsp://") || line.contains("stove"));
    for line in rows {
        let text = line.find("rtsp://").or(line.find("stove")).expect("one of them");
        assert_eq!(super::super::width(&line[..text]), TITLE, "{line}");
    }
}

#[test]
fn a_report_of_a_newer_agent_is_shown_by_its_english_detail() {
    let notice = Notice::new("camera-of-the-future", crate::fault::Fault::CameraHung);
    let shown = in_both_languages(|| told(Some(&notice), Some("camera asleep")));
    assert!(shown.lines().all(|line| line.starts_with("---") || line.contains("camera asleep")), "{shown}");
    let plain = Notice::new("of-the-future", None);
    assert_eq!(told(Some(&plain), Some("camera asleep")), "camera asleep");
}

#[test]
fn what_travels_in_json_reads_the_same_on_the_other_side() {
    let sent = report();
    let json = serde_json::to_string(&sent).expect("serialisable");
    assert_eq!(serde_json::from_str::<StatusReport>(&json).expect("read"), sent);
    assert!(json.contains("\"K-CAM-02\""), "{json}");
}

//! The page of an exported alert: one file that opens offline in any browser, in Chinese and English, and prints well.
//! It shows what the signed records say and proves nothing by itself; `verify` does.

use kitchen_core::alert::CloseReason;
use kitchen_core::config::Config;
use kitchen_core::exported::{CERTIFICATE, KEY, Manifest, MissingReason, ORIGINAL, SNAPSHOT};
use kitchen_core::time::{TimeZone, Wall};
use kitchen_store::AlertRow;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use crate::cli::Language;
use crate::text::{self, get_in};

const STYLE: &str = include_str!("page.css");

/// What the page is made of.
pub struct Page<'a> {
    pub config: &'a Config,
    pub alert: &'a AlertRow,
    pub manifest: &'a Manifest,
    /// In the manifest's order.
    pub records: &'a [Value],
}

impl Page<'_> {
    pub fn to_html(&self) -> String {
        let defaults = self.alert.rule.defaults();
        let title = format!("{} {} · {}", defaults.chinese, defaults.english, self.manifest.alert_id);
        let page = html! {
            (DOCTYPE)
            html lang="zh-CN" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { (defaults.chinese) " " span lang="en" { (defaults.english) } }
                        p { (self.manifest.alert_id) " · " (self.place()) }
                    }
                    (self.pictures())
                    (self.facts())
                    (self.record_table())
                    (self.proof())
                }
            }
        };
        page.into_string()
    }

    fn place(&self) -> String {
        let site = &self.config.device.site;
        let parts = [&site.town, &site.name, &site.licence].into_iter().filter(|part| !part.is_empty());
        let place: Vec<&str> = parts.map(String::as_str).collect();
        if place.is_empty() { self.manifest.device.clone() } else { place.join(" · ") }
    }

    fn has(&self, name: &str) -> bool {
        self.manifest.files.iter().any(|file| file.name == name)
    }

    fn pictures(&self) -> Markup {
        let clips = self.manifest.files.iter().filter(|file| file.name.starts_with("clip-"));
        html! {
            section.pictures {
                @if self.has(SNAPSHOT) {
                    figure {
                        img src=(SNAPSHOT) alt=(both("export-snapshot"));
                        figcaption { (label("export-snapshot")) }
                    }
                }
                @for clip in clips {
                    figure {
                        video src=(clip.name) controls preload="metadata" {}
                        figcaption { (label("export-clip")) }
                    }
                }
                @if self.has(ORIGINAL) {
                    figure {
                        img src=(ORIGINAL) alt=(both("export-original"));
                        figcaption { (label("export-original")) }
                    }
                }
            }
            @if !self.manifest.missing.is_empty() {
                section {
                    ul.missing {
                        @for missing in &self.manifest.missing {
                            li { code { (missing.name) } " " (label(reason_of(missing.reason))) }
                        }
                    }
                }
            }
        }
    }

    fn facts(&self) -> Markup {
        let (alert, body) = (self.alert, &self.alert.body);
        let zone = self.config.time_zone();
        let quality = self.records.first().and_then(|first| first.get("time_quality")).and_then(Value::as_str);
        let clock = format!("export-clock-{}", quality.unwrap_or("none"));
        let reason = match alert.close_reason {
            Some(CloseReason::Cleared) => Some("export-cleared"),
            Some(CloseReason::Lost) => Some("export-lost"),
            Some(CloseReason::Restart) => Some("export-restart"),
            None => None,
        };
        html! {
            section {
                h2 { (label("export-facts")) }
                table.facts {
                    (row("export-device", &html! { (self.manifest.device) }))
                    (row("export-camera", &html! { (alert.camera) @if let Some(zone) = &body.zone { " / " (zone) } }))
                    (row("export-tier", &html! { (alert.tier) }))
                    (row("export-opened", &time(alert.opened_at, &zone)))
                    (row("export-clock", &label(&clock)))
                    (row("export-duration", &html! { (format!("{:.1} s", body.duration_ms as f64 / 1000.0)) }))
                    @if let Some(closed) = alert.closed_at { (row("export-closed", &time(closed, &zone))) }
                    (row("export-end", &label(reason.unwrap_or("export-open"))))
                    @if let Some(score) = body.score { (row("export-score", &html! { (format!("{score:.2}")) })) }
                    @if let Some(model) = &body.model {
                        (row("export-model", &html! { (model.name) " " (model.version) br; code { (model.sha256) } }))
                    }
                    @if let Some(detail) = &body.detail { (row("export-detail", &html! { (detail) })) }
                    (row("export-clip-status", &clip_status(&body.clip_status)))
                }
            }
        }
    }

    fn record_table(&self) -> Markup {
        let zone = self.config.time_zone();
        let stamp = |record: &Value| record.get("time")?.as_str()?.parse::<Wall>().ok();
        html! {
            section {
                h2 { (label("export-records")) }
                div.wide { table {
                    thead { tr {
                        th { (label("export-number")) }
                        th { (label("export-record")) }
                        th { (label("export-time")) }
                        th { (label("export-receipt")) }
                    } }
                    tbody {
                        @for (entry, record) in self.manifest.records.iter().zip(self.records) {
                            tr {
                                td { @match entry.number { Some(number) => (number), None => "–" } }
                                td { (record_kind(&entry.kind)) br; code { (entry.id) } }
                                td { @if let Some(stamp) = stamp(record) { (stamp.local_text(&zone)) } }
                                td { (self.receipt(&entry.id.to_string(), &zone)) }
                            }
                        }
                    }
                } }
            }
        }
    }

    fn receipt(&self, id: &str, zone: &TimeZone) -> Markup {
        let receipted = self.alert.records.iter().find(|record| record.id == id).and_then(|record| record.receipted_at);
        match receipted {
            Some(receipted) => html! { (receipted.local_text(zone)) },
            None => label("export-no-receipt"),
        }
    }

    fn proof(&self) -> Markup {
        let zone = self.config.time_zone();
        let links: usize = self.manifest.chain.iter().map(|part| part.digests.len()).sum();
        html! {
            section {
                h2 { (label("export-proof")) }
                (paragraph("export-proof-text"))
                pre { "kitchen-agent verify DIR --key district-evidence-key.pem" }
                (paragraph("export-openssl-text"))
                pre { "openssl pkeyutl -verify -rawin -pubin -inkey district-evidence-key.pem \\\n"
                      "    -in evidence.json -sigfile evidence.json.sig\nsha256sum *" }
                table.facts {
                    (row("export-key", &html! { code { (self.manifest.key_id) } " (" (KEY) ")" }))
                    @if self.has(CERTIFICATE) { (row("export-certificate", &html! { (CERTIFICATE) })) }
                    (row("export-links", &html! { (links) }))
                    (row("export-exported", &html! { span.now { (time(self.manifest.exported_at, &zone)) } }))
                    (row("export-agent", &html! { (self.manifest.agent) }))
                }
                h3 { (label("export-files")) }
                div.wide { table {
                    tbody {
                        @for file in &self.manifest.files {
                            tr {
                                td { a href=(file.name) { (file.name) } }
                                td.number { (file.bytes) }
                                td { code { (file.sha256) } }
                            }
                        }
                    }
                } }
            }
        }
    }
}

/// `alert.opened` in both languages.
fn record_kind(kind: &str) -> Markup {
    let id = format!("record-{}", kind.strip_prefix("alert.").unwrap_or(kind));
    html! { @if text::has(&id) { (label(&id)) } @else { (kind) } }
}

/// `failed: <reason>`: the word in both languages, the reason as the record has it.
fn clip_status(status: &str) -> Markup {
    let (state, reason) = status.split_once(": ").map_or((status, None), |(state, reason)| (state, Some(reason)));
    let id = format!("clip-{}", state.replace('_', "-"));
    html! {
        @if text::has(&id) { (label(&id)) } @else { (state) }
        @if let Some(reason) = reason { ": " (reason) }
    }
}

const fn reason_of(reason: MissingReason) -> &'static str {
    match reason {
        MissingReason::Kept => "export-kept",
        MissingReason::Evicted => "export-evicted",
        MissingReason::Lost => "export-gone",
    }
}

/// Both languages, Chinese first.
fn label(id: &str) -> Markup {
    html! { (get_in(Language::Zh, id, &[])) " " span lang="en" { (get_in(Language::En, id, &[])) } }
}

fn both(id: &str) -> String {
    [Language::Zh, Language::En].map(|language| get_in(language, id, &[])).join(" ")
}

fn paragraph(id: &str) -> Markup {
    html! { p { (get_in(Language::Zh, id, &[])) } p lang="en" { (get_in(Language::En, id, &[])) } }
}

fn row(id: &str, value: &Markup) -> Markup {
    html! { tr { th { (label(id)) } td { (value) } } }
}

/// In the box's zone, and as the records have it.
fn time(time: Wall, zone: &TimeZone) -> Markup {
    html! { (time.local_text(zone)) " " small { (time) } }
}

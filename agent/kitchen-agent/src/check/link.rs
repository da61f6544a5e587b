//! The way to the district: route, name, TLS, the broker's welcome, the district's own receipt.
//! A running agent is asked and never competed with: a second client of its id would throw it off the broker.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use kitchen_core::config::Config;
use kitchen_core::outbox::Payload;
use kitchen_core::time::Clock as _;
use kitchen_core::wire::{AckBody, Receipt, down, up};
use kitchen_store::{OpenOptions, Store, StoreError};
use kitchen_uplink::explain::{LinkReason, LinkTrouble, chain};
use kitchen_uplink::tls::{Broker, LinkError};
use kitchen_uplink::{Link, LinkEvent, LinkOptions, Publication, Token, probe};
use serde_json::json;
use tokio::time::Instant;

use super::{Context, Finding, Name, Reports};
use crate::clock::{SystemClock, boot_id, now};
use crate::control::{self, AgentState, DeliveryReport};
use crate::explain;
use crate::fault::Fault;
use crate::text::text;

const NAME_LIMIT: Duration = Duration::from_secs(3);
const TLS_LIMIT: Duration = Duration::from_secs(4);
const ROUND_TRIP: Duration = Duration::from_secs(9);
const ASK_EVERY: Duration = Duration::from_millis(200);
const GOODBYE: Duration = Duration::from_secs(1);
/// Certificates are renewed by hand: a month's notice.
const EXPIRES_SOON: Duration = Duration::from_secs(30 * 86_400);
/// An address that belongs to nobody (RFC 5737), to ask the kernel for its default route; nothing is sent there.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1)), 9);
/// The record that makes the round trip.
const RECORD: &str = "check.roundtrip";

fn options(config: &Config) -> LinkOptions {
    let uplink = &config.uplink;
    let mut link = LinkOptions::new(&uplink.broker, &config.device.id);
    link.ca_file.clone_from(&uplink.ca_file);
    link.certificate_file.clone_from(&uplink.certificate_file);
    link.key_file.clone_from(&uplink.key_file);
    link
}

/// The box's own certificate and key.
pub(super) fn certificate(config: &Config) -> Finding {
    let options = options(config);
    match options.validate() {
        Ok(Broker { is_encrypted: true, .. }) => {}
        _ if config.uplink.broker.is_empty() => return Finding::absent(text!("check-link-none")),
        _ => return Finding::absent(text!("check-link-plain")),
    }
    let validity = match probe::identity(&options) {
        Ok(validity) => validity,
        Err(error) => {
            let found = match &error {
                LinkError::File { path, source, .. } => format!("{}: {source}", path.display()),
                other => explain::setup(other).to_string(),
            };
            return Finding::fail(Fault::KeyUnreadable, found, text!("check-certificate-readable"));
        }
    };
    let now = now();
    let found = text!("check-certificate-until", date = validity.not_after);
    let expected = text!("check-certificate-expected");
    if now > validity.not_after {
        Finding::fail(Fault::CertificateExpired, found, expected)
    } else if now < validity.not_before {
        let found = text!("check-certificate-from", date = validity.not_before);
        Finding::fail(Fault::CertificateExpired, found, expected)
    } else if now > validity.not_after.before(EXPIRES_SOON) {
        Finding::warn(Fault::CertificateExpired, found, expected)
    } else {
        Finding::ok(found)
    }
}

pub(super) async fn check(context: &Context, box_is_sound: bool, mut reports: Reports) {
    let options = options(&context.config);
    let Ok(broker) = options.validate() else {
        for name in [Name::LinkRoute, Name::LinkDns, Name::BrokerTls, Name::BrokerAuth, Name::BrokerRoundtrip] {
            reports.tell(name, Finding::absent(text!("check-link-none")));
        }
        return;
    };
    if !way(&broker, &mut reports).await || !box_is_sound {
        return;
    }
    let welcome = match probe::handshake(&options, TLS_LIMIT).await {
        Ok(welcome) => welcome,
        Err(trouble) => return reports.tell(Name::BrokerTls, no_tls(&trouble, &broker)),
    };
    let found = if broker.is_encrypted { text!("check-tls-good") } else { text!("check-link-plain") };
    reports.tell(Name::BrokerTls, Finding::ok(found));
    if let Err(trouble) = welcome {
        return reports.tell(Name::BrokerAuth, refused(&trouble));
    }
    match &context.agent {
        AgentState::Up(_) => ask_agent(&context.socket, &mut reports).await,
        AgentState::Down => go_there(&context.config, options, &mut reports).await,
        AgentState::Silent | AgentState::NotForUs => {
            reports.tell(Name::BrokerAuth, Finding::unchecked(text!("check-service-refused")));
        }
    }
}

/// Route and name; whether to go on.
async fn way(broker: &Broker, reports: &mut Reports) -> bool {
    let host = broker.host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse::<IpAddr>() {
        let has_route = tell_route(SocketAddr::new(address, broker.port), reports);
        reports.tell(Name::LinkDns, Finding::absent(text!("check-dns-needless")));
        return has_route;
    }
    let looked_up = tokio::time::timeout(NAME_LIMIT, tokio::net::lookup_host((host, broker.port))).await;
    let address = match looked_up {
        Ok(Ok(mut addresses)) => addresses.next().ok_or_else(|| text!("check-dns-nothing", host = host)),
        Ok(Err(_)) => Err(text!("check-dns-nothing", host = host)),
        Err(_) => Err(text!("check-dns-silent", seconds = NAME_LIMIT.as_secs())),
    };
    // Without a route no name server answers either: the route is asked first.
    if !tell_route(*address.as_ref().unwrap_or(&ANYWHERE), reports) {
        return false;
    }
    let is_known = address.is_ok();
    let finding = match address {
        _ if host == "localhost" => Finding::absent(text!("check-dns-needless")),
        Ok(address) => Finding::ok(format!("{host} = {}", address.ip())),
        Err(found) => Finding::fail(Fault::NameUnknown, found, text!("check-dns-expected", host = host)),
    };
    reports.tell(Name::LinkDns, finding);
    is_known
}

fn tell_route(address: SocketAddr, reports: &mut Reports) -> bool {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    // Connecting a datagram socket asks the kernel for the route and sends nothing.
    let asked = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(address)?;
        socket.local_addr()
    });
    let finding = match &asked {
        Ok(own) => Finding::ok(text!("check-route-good", address = own.ip())),
        Err(error) => Finding::fail(Fault::NoRoute, error.to_string(), text!("check-route-expected")),
    };
    reports.tell(Name::LinkRoute, finding);
    asked.is_ok()
}

fn no_tls(trouble: &LinkTrouble, broker: &Broker) -> Finding {
    let address = format!("{}:{}", broker.host, broker.port);
    let certificate = || text!("check-tls-expected", host = broker.host);
    let (fault, found, expected) = match trouble.reason {
        LinkReason::NotValidToday => (Fault::BrokerCertificateExpired, text!("check-tls-expired"), certificate()),
        LinkReason::ForeignAuthority => (Fault::BrokerForeign, text!("check-tls-foreign"), certificate()),
        LinkReason::OtherName => (Fault::BrokerOtherName, text!("check-tls-other-name"), certificate()),
        LinkReason::NoRoute => (Fault::NoRoute, address, text!("check-route-expected")),
        LinkReason::NothingListens => {
            (Fault::BrokerUnreachable, text!("check-broker-closed", address = address), text!("check-broker-expected"))
        }
        LinkReason::NoAnswer => {
            (Fault::BrokerUnreachable, text!("check-broker-silent", address = address), text!("check-broker-expected"))
        }
        _ => (Fault::BrokerUnreachable, trouble.text.clone(), text!("check-broker-expected")),
    };
    Finding::fail(fault, found, expected)
}

fn refused(trouble: &LinkTrouble) -> Finding {
    let expected = text!("check-auth-expected");
    match trouble.reason {
        LinkReason::CertificateRefused => {
            Finding::fail(Fault::BrokerRefuses, text!("check-auth-certificate"), expected)
        }
        LinkReason::Revoked => Finding::fail(Fault::Revoked, text!("link-revoked"), expected),
        LinkReason::NotAuthorised => Finding::fail(Fault::BrokerRefuses, text!("check-auth-not-let-in"), expected),
        LinkReason::SecondBox => Finding::fail(Fault::BrokerRefuses, text!("check-auth-second-box"), expected),
        LinkReason::TopicForbidden => forbidden(),
        LinkReason::NoAnswer | LinkReason::NothingListens => {
            Finding::fail(Fault::BrokerUnreachable, trouble.text.clone(), text!("check-broker-expected"))
        }
        _ => Finding::fail(Fault::BrokerRefuses, trouble.text.clone(), expected),
    }
}

fn forbidden() -> Finding {
    Finding::fail(Fault::BrokerForbids, text!("check-auth-forbidden"), text!("check-auth-topics"))
}

fn silent() -> Finding {
    let found = text!("check-roundtrip-silent", seconds = ROUND_TRIP.as_secs());
    Finding::fail(Fault::DistrictSilent, found, text!("check-roundtrip-expected"))
}

/// The running agent sends a record and tells when the district has it.
async fn ask_agent(socket: &Path, reports: &mut Reports) {
    let began = Instant::now();
    let asked = socket.to_owned();
    let id = match tokio::task::spawn_blocking(move || control::send_record(&asked, RECORD)).await {
        Ok(Ok(id)) => id,
        Ok(Err(error)) => return reports.tell(Name::BrokerAuth, Finding::unchecked(format!("{error:#}"))),
        Err(_) => return,
    };
    let mut last = DeliveryReport::default();
    while began.elapsed() < ROUND_TRIP {
        let (asked, id) = (socket.to_owned(), id.clone());
        if let Ok(Ok(report)) = tokio::task::spawn_blocking(move || control::delivery(&asked, &id)).await {
            last = report;
        }
        if last.receipted || last.trouble.as_deref() == Some("forbidden") {
            break;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    let trouble = |reason: LinkReason| reason.because(last.error.clone().unwrap_or_default());
    if !last.receipted {
        let finding = match last.trouble.as_deref() {
            Some("forbidden") => Some(forbidden()),
            _ if last.connected => None,
            Some("refused") => Some(refused(&trouble(LinkReason::NotAuthorised))),
            Some("second_box") => Some(refused(&trouble(LinkReason::SecondBox))),
            _ => {
                let found = last.error.clone().unwrap_or_else(|| text!("check-auth-not-connected"));
                Some(refused(&LinkReason::Other.because(found)))
            }
        };
        if let Some(finding) = finding {
            return reports.tell(Name::BrokerAuth, finding);
        }
    }
    reports.tell(Name::BrokerAuth, Finding::ok(text!("check-auth-agent")));
    let milliseconds = began.elapsed().as_millis();
    let made = Finding::ok(text!("check-roundtrip-good", milliseconds = milliseconds));
    reports.tell(Name::BrokerRoundtrip, if last.receipted { made } else { silent() });
}

/// No agent runs: this program takes its place at the broker for a moment, without will or state.
async fn go_there(config: &Config, mut options: LinkOptions, reports: &mut Reports) {
    let store = match open_store(config) {
        Ok(Some(store)) => store,
        Ok(None) => return reports.tell(Name::BrokerAuth, Finding::unchecked(text!("check-roundtrip-no-store"))),
        Err(error) => return reports.tell(Name::BrokerAuth, Finding::unchecked(chain(&error))),
    };
    options.subscriptions = vec![down(&options.client_id, "ack")];
    let link = match Link::open(&options, None) {
        Ok(link) => link,
        Err(error) => return reports.tell(Name::BrokerAuth, Finding::unchecked(chain(&error))),
    };
    let mut trip =
        Trip { device: options.client_id, store, link, sent: None, acknowledged: Vec::new(), is_let_in: false };
    let deadline = Instant::now() + ROUND_TRIP;
    loop {
        let event = tokio::time::timeout_at(deadline, trip.link.next()).await;
        let is_over = match event {
            Ok(event) => trip.take(event, reports),
            Err(_) => {
                let (name, finding) = if trip.is_let_in {
                    (Name::BrokerRoundtrip, silent())
                } else {
                    (Name::BrokerAuth, refused(&LinkReason::NoAnswer.because(text!("check-auth-not-connected"))))
                };
                reports.tell(name, finding);
                true
            }
        };
        if is_over {
            break;
        }
    }
    let Trip { store, link, sent, acknowledged, .. } = trip;
    link.close(GOODBYE).await;
    // Not noted, they are sent and acknowledged again.
    let note = move || {
        let sent: Vec<String> = sent.into_iter().map(|(_, id)| id).collect();
        store.outbox_sent(&sent, now()).and_then(|()| store.outbox_receipted(&acknowledged, now()))
    };
    let _ = tokio::task::spawn_blocking(note).await;
}

/// The agent's own store; `None` where it would have to be made for another user.
fn open_store(config: &Config) -> Result<Option<Store>, StoreError> {
    use std::os::unix::fs::MetadataExt as _;
    let folder = config.device.state_dir.join("store");
    let existing = folder.ancestors().find_map(|folder| folder.metadata().ok());
    let is_ours = existing.is_some_and(|folder| folder.uid() == rustix::process::geteuid().as_raw());
    if !folder.exists() && !is_ours {
        return Ok(None);
    }
    let Ok(boot_id) = boot_id() else { return Ok(None) };
    Store::open(OpenOptions { dir: &folder, device: &config.device.id, boot_id: &boot_id }).map(Some)
}

struct Trip {
    device: String,
    store: Store,
    link: Link,
    /// The publication and the record's id.
    sent: Option<(Token, String)>,
    acknowledged: Vec<Receipt>,
    is_let_in: bool,
}

impl Trip {
    /// Whether the trip is over.
    fn take(&mut self, event: LinkEvent, reports: &mut Reports) -> bool {
        match event {
            LinkEvent::Connected { .. } => match self.send() {
                Ok(sent) => self.sent = Some(sent),
                Err(found) => {
                    reports.tell(Name::BrokerAuth, Finding::unchecked(found));
                    return true;
                }
            },
            LinkEvent::SubscriptionRefused { .. } => {
                reports.tell(Name::BrokerAuth, forbidden());
                return true;
            }
            LinkEvent::Confirmed { token, refused } if self.sent.as_ref().is_some_and(|(sent, _)| *sent == token) => {
                if refused.is_some() {
                    reports.tell(Name::BrokerAuth, forbidden());
                    return true;
                }
                self.let_in(reports);
            }
            LinkEvent::Message(message) => {
                let ack = serde_json::from_slice::<AckBody>(&message.payload);
                self.acknowledged.extend(ack.map(|ack| ack.receipts()).unwrap_or_default());
                let is_back = |(_, sent): &(Token, String)| self.acknowledged.iter().any(|receipt| receipt.id == *sent);
                if self.sent.as_ref().is_some_and(is_back) {
                    self.let_in(reports);
                    let took = reports.began.elapsed().as_millis();
                    let made = text!("check-roundtrip-good", milliseconds = took);
                    reports.tell(Name::BrokerRoundtrip, Finding::ok(made));
                    return true;
                }
            }
            LinkEvent::Disconnected { error } => {
                let name = if self.is_let_in { Name::BrokerRoundtrip } else { Name::BrokerAuth };
                reports.tell(name, refused(&error));
                return true;
            }
            LinkEvent::Confirmed { .. } => {}
        }
        false
    }

    fn let_in(&mut self, reports: &mut Reports) {
        if !self.is_let_in {
            self.is_let_in = true;
            reports.tell(Name::BrokerAuth, Finding::ok(self.device.clone()));
        }
    }

    /// Stores a record as the agent would, and publishes it.
    fn send(&self) -> Result<(Token, String), String> {
        let id = self.store.append_record(SystemClock::new().stamp(), RECORD, json!({})).map_err(|e| chain(&e))?;
        let id = id.to_string();
        let payload = self.store.outbox_load(&id).map_err(|error| chain(&error))?;
        let Some(Payload::Record { topic_leaf, bytes }) = payload else { return Err(id) };
        let publication = Publication::new(up(&self.device, &topic_leaf), bytes);
        let token = self.link.publisher().publish(publication).map_err(|error| error.to_string())?;
        Ok((token, id))
    }
}

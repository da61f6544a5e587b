//! Throws revoked boxes off the broker. A revocation list keeps a box from connecting again, but brokers leave a
//! connection that is there alone; so the authority takes the box's place, as a short-lived client of the same name, which
//! ends the box's connection and its session, and holds it until nobody has come to claim it back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kitchen_uplink::{Link, LinkEvent, LinkOptions};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::now;
use super::office::Office;

/// How often the register is asked whom to throw off, and a lost place is taken again.
const EVERY: Duration = Duration::from_secs(10);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const GOODBYE: Duration = Duration::from_secs(2);
/// A box's longest pause between two tries is 10 minutes: who has not come by then stays away.
const HOLD: Duration = Duration::from_secs(15 * 60);
/// Of the certificate for it.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Holds the places of revoked boxes until `stop` turns true.
pub async fn run(office: Arc<Office>, mut stop: watch::Receiver<bool>) {
    // By the time of the revocation, so that one that is let in again and revoked again is thrown off again.
    let mut begun = BTreeMap::new();
    let mut holds = JoinSet::new();
    loop {
        let revoked = office.register().revoked_devices().unwrap_or_default();
        for (device, _, at) in revoked {
            if begun.insert(device.clone(), at) != Some(at) {
                holds.spawn(throw_off(Arc::clone(&office), device));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|is_over| *is_over) => return,
        }
        while holds.try_join_next().is_some() {}
    }
}

async fn throw_off(office: Arc<Office>, device: String) {
    while office.register().is_revoked_device(&device).unwrap_or(true) {
        match hold(&office, &device).await {
            Ok(true) => return info!(device, "a revoked box stays away from the broker"),
            Ok(false) => warn!(device, "a revoked box came back: has the broker loaded the new crl.pem?"),
            Err(error) => warn!(device, error, "the broker can't be reached to throw a revoked box off"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Takes the device's place; whether nobody took it back.
async fn hold(office: &Office, device: &str) -> Result<bool, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let authority = &office.authority;
    let made = authority.signer.account(device, &[], LIFETIME, now());
    let (certificate, key) = made.map_err(|error| error.to_string())?;
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        crate::files::write_secret_durably(&path, text.as_bytes()).map_err(|error| error.to_string())?;
        Ok::<_, String>(Some(path))
    };
    let mut options = LinkOptions::new(&authority.settings.broker, device);
    options.ca_file = file("ca.pem", &authority.broker_ca_pem)?;
    options.certificate_file = file("visit.pem", &certificate.pem)?;
    options.key_file = file("visit.key", &key)?;
    // The box's session ends, and its will is published.
    options.clean_start = true;
    options.session_expiry_s = 0;
    let mut link = Link::open(&options, None).map_err(|error| error.to_string())?;
    match tokio::time::timeout(CONNECT_LIMIT, link.next()).await {
        Ok(LinkEvent::Connected { .. }) => info!(device, "a revoked box was thrown off the broker"),
        Ok(LinkEvent::Disconnected { error }) => return Err(error.text),
        Ok(_) | Err(_) => return Err("the broker does not answer".to_owned()),
    }
    let stayed =
        tokio::time::timeout(HOLD, async { while !matches!(link.next().await, LinkEvent::Disconnected { .. }) {} });
    let is_gone = stayed.await.is_err();
    link.close(GOODBYE).await;
    Ok(is_gone)
}

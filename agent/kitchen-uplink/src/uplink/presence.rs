//! What the box says of itself on a connection: birth, heartbeat, farewell; the will is made of the same body.
//! Never kept in the outbox: the last value counts.

use std::sync::Arc;
use std::time::Duration;

use kitchen_core::time::Wall;
use kitchen_core::wire::{Session, up};
use serde_json::json;
use tokio::time::Instant;
use tracing::{error, info};

use super::Uplink;
use super::connection::Connection;
use crate::mqtt::{LinkEvent, Publication};
use crate::outbox::{OutboxError, blocking};

pub(super) const FAREWELL: Duration = Duration::from_secs(2);

impl Uplink {
    pub(super) async fn greet(&self, connection: &Connection) -> Result<(), String> {
        let birth = self.state(&connection.session, None, None).await.map_err(|error| error.to_string())?;
        let mut birth = Publication::new(up(&self.device, "state"), birth);
        birth.retain = true;
        let sync = blocking(&self.outbox, |outbox| outbox.envelope("sync", json!({})));
        let sync = sync.await.map_err(|error| error.to_string())?;
        let sync = Publication::new(up(&self.device, "sync"), sync.to_bytes());
        for publication in [birth, sync] {
            connection.link.publisher().publish(publication).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// The enveloped body of `up/state`; with a reason it is the one for offline.
    pub(super) async fn state(
        &self,
        session: &Session,
        offline: Option<String>,
        until: Option<Wall>,
    ) -> Result<Vec<u8>, OutboxError> {
        let session = session.clone();
        let presence = Arc::clone(&self.presence);
        blocking(&self.outbox, move |outbox| {
            let mut body = presence.state(session);
            if let Some(reason) = offline {
                body.online = false;
                body.reason = Some(reason);
                body.until = until;
            }
            let body = serde_json::to_value(body).map_err(OutboxError::new)?;
            Ok(outbox.envelope("state", body)?.to_bytes())
        })
        .await
    }

    pub(super) async fn beat(&self, connection: &Connection) {
        let presence = Arc::clone(&self.presence);
        let envelope = blocking(&self.outbox, move |outbox| {
            outbox.envelope("heartbeat", serde_json::to_value(presence.heartbeat()).map_err(OutboxError::new)?)
        });
        match envelope.await {
            Ok(envelope) => {
                let mut publication = Publication::new(up(&self.device, "heartbeat"), envelope.to_bytes());
                publication.is_confirmed = false;
                // The next one will do when the link is busy.
                let _ = connection.link.publisher().publish(publication);
            }
            Err(failure) => error!(error = %failure, "no heartbeat"),
        }
    }

    /// The state says offline on purpose, so that no will is needed.
    pub(super) async fn say_farewell(&self, mut connection: Connection, reason: String, until: Option<Wall>) {
        self.status.send_modify(|status| status.connected_since = None);
        let farewell = async {
            let Ok(state) = self.state(&connection.session, Some(reason), until).await else { return };
            let mut publication = Publication::new(up(&self.device, "state"), state);
            publication.retain = true;
            let Ok(farewell) = connection.link.publisher().publish(publication) else { return };
            loop {
                match connection.link.next().await {
                    LinkEvent::Confirmed { token, .. } if token == farewell => return,
                    LinkEvent::Disconnected { .. } => return,
                    _ => {}
                }
            }
        };
        let began = Instant::now();
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
        connection.link.close(FAREWELL.saturating_sub(began.elapsed())).await;
        info!("disconnected from the district's broker");
    }
}

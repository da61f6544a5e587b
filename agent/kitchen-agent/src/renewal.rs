//! The box's certificate is renewed while the agent runs: asked for with the old one, proved at the broker, and only then
//! is the old one given up. `kitchen-core` says when; a power cut at any step leaves one certificate in use.

use std::sync::Arc;
use std::time::Duration;

use kitchen_core::budget::TrafficClass;
use kitchen_core::enrolment::{RenewRequest, Renewal, RenewalOutput, Validity};
use kitchen_core::time::Clock;
use kitchen_uplink::authority::Access;
use kitchen_uplink::identity::Generation;
use kitchen_uplink::{Gate, LinkReason, LinkStatus};
use tokio::sync::{Notify, watch};
use tracing::{error, info, warn};

use crate::budget::Budget;
use crate::clock;
use crate::enrolling::{Enrolling, Trouble, board_serial};
use crate::fault::Fault;

/// While a new certificate is being proved, the link is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// One request over a TLS connection with both certificates, its answer, and what IP and TCP add.
const EXCHANGE_BYTES: u64 = 12_000;

/// What renewing needs to know.
pub struct Renewing {
    pub enrolling: Enrolling,
    pub clock: Arc<dyn Clock>,
    pub link: watch::Receiver<LinkStatus>,
    /// Makes the uplink connect anew.
    pub reconnect: Arc<Notify>,
    pub budget: Arc<Budget>,
}

impl Renewing {
    /// Runs as long as the agent; ends at once on a box whose certificate did not come by an enrolment.
    pub async fn run(mut self) {
        let (current, previous) = match (self.enrolling.identity.current(), self.enrolling.identity.previous()) {
            (Ok(Some(current)), previous) => (current, previous.ok().flatten()),
            (Ok(None), _) => return,
            (Err(failure), _) => {
                return error!(error = &failure as &dyn std::error::Error, "the certificate will not be renewed");
            }
        };
        let mut renewal = Renewal::new(current.validity, previous.is_some(), fastrand::u64(..), self.clock.stamp());
        info!(until = %current.validity.not_after, renewed_from = %renewal.due(), "the certificate's dates");
        let mut proving_since = 0;
        loop {
            renewal.handle_timeout(self.clock.stamp());
            while let Some(output) = renewal.poll_output() {
                match output {
                    RenewalOutput::Ask => self.ask(&mut renewal).await,
                    RenewalOutput::Prove => {
                        proving_since = self.link.borrow().connections;
                        self.reconnect.notify_one();
                    }
                    RenewalOutput::Keep => self.keep(),
                    RenewalOutput::TakeBack => self.take_back(),
                }
            }
            let now = self.clock.mono();
            let wait = renewal.poll_timeout().map_or(LOOK_EVERY, |at| at.since(now));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = self.link.changed() => if changed.is_err() { return },
            }
            self.look_at_link(&mut renewal, proving_since);
        }
    }

    async fn ask(&self, renewal: &mut Renewal) {
        let outcome = self.renew().await;
        self.enrolling.note(outcome.as_ref().err());
        match outcome {
            Ok(new) => {
                info!(until = %new.validity.not_after, "a new certificate: to be proved at the broker");
                renewal.handle_answer(new.validity);
            }
            Err(trouble) => {
                let code = trouble.notice.code.map(Fault::code);
                warn!(code, error = %trouble.notice, "the certificate is not renewed yet");
                renewal.handle_failure(self.clock.mono());
            }
        }
    }

    async fn renew(&self) -> Result<Generation, Trouble> {
        let _alone = self.enrolling.begin()?;
        let identity = &self.enrolling.identity;
        let current = self.enrolling.already()?.generation().clone();
        let serial = board_serial()?;
        let device = current.enrolment.device.clone();
        let csr = identity.request(&device)?;
        let key = self.enrolling.evidence_key()?;
        let request = RenewRequest::new(&serial, csr, env!("CARGO_PKG_VERSION"), &key);
        let not_before = clock::built().max(current.validity.not_before);
        let access = Access { authority: current.enrolment.authority.clone(), not_before };
        self.budget.passed(TrafficClass::Protocol, EXCHANGE_BYTES);
        let answer = access.renew(&device, &request, &current.certificate_file(), &current.key_file()).await?;
        Ok(identity.accept(&answer, &current.claim_id)?)
    }

    fn look_at_link(&self, renewal: &mut Renewal, proving_since: u64) {
        let link = self.link.borrow();
        if link.connected_since.is_some() {
            if link.connections > proving_since {
                renewal.handle_connected();
            }
            return;
        }
        let reason = link.last_error.as_ref().map(|trouble| trouble.reason);
        if matches!(reason, Some(LinkReason::CertificateRefused)) {
            let old: Option<Validity> =
                self.enrolling.identity.previous().ok().flatten().map(|previous| previous.validity);
            renewal.handle_refused(old, self.clock.mono());
        }
    }

    fn keep(&self) {
        match self.enrolling.identity.keep() {
            Ok(()) => info!("the new certificate has connected; the old one is given up"),
            Err(failure) => warn!(error = &failure as &dyn std::error::Error, "old certificates stay"),
        }
    }

    fn take_back(&self) {
        match self.enrolling.identity.take_back() {
            Ok(_) => warn!("the broker refuses the new certificate: the old one is in use again"),
            Err(failure) => error!(error = &failure as &dyn std::error::Error, "the old certificate can't be used"),
        }
        self.reconnect.notify_one();
    }
}

//! Whether the box has its certificate from the district, and why not.

use kitchen_core::config::Config;
use kitchen_core::time::Wall;
use kitchen_uplink::identity::{Generation, IdentityFolder};

use super::Finding;
use crate::clock;
use crate::enrolling::Enrolling;
use crate::explain;
use crate::fault::Fault;
use crate::notice::Notice;
use crate::text::text;

pub(super) fn look(config: &Config) -> Finding {
    let identity = IdentityFolder::of(&config.device.state_dir);
    let expected = || text!("check-enrolment-expected");
    let broken = |error: &_| of_notice(&explain::identity(error), expected());
    let current = match identity.current() {
        Ok(current) => current,
        Err(error) => return broken(&error),
    };
    let trouble = Enrolling::of(&config.device.state_dir).last_trouble();
    match (current, identity.claim()) {
        (_, Err(error)) => broken(&error),
        (current, Ok(Some(claim))) if current.as_ref().is_none_or(|held| held.claim_id != claim.claim_id) => {
            match trouble {
                Some(notice) => of_notice(&notice, expected()),
                None => {
                    let found = text!("check-enrolment-waits", device = claim.device);
                    Finding::warn(Fault::AuthorityUnreachable, found, expected())
                }
            }
        }
        (Some(current), Ok(_)) => dates(&current, trouble, clock::now()),
        (None, Ok(_)) if config.uplink.certificate_file.is_some() || config.uplink.broker.is_empty() => {
            Finding::absent(text!("check-enrolment-by-hand"))
        }
        (None, Ok(_)) => Finding::fail(Fault::ClaimMissing, text!("enrol-no-claim"), expected()),
    }
}

/// `trouble` is that of the newest try to renew it.
fn dates(current: &Generation, trouble: Option<Notice>, now: Wall) -> Finding {
    let device = &current.enrolment.device;
    let found = text!("check-enrolment-until", device = device, date = current.validity.not_after);
    if current.validity.is_overdue(now) {
        return Finding::warn(Fault::RenewalFails, found, text!("check-enrolment-renewed"));
    }
    if let Some(notice) = trouble {
        let fault = notice.code.unwrap_or(Fault::RenewalFails);
        return Finding::warn(fault, format!("{found}; {notice}"), text!("check-enrolment-renewed"));
    }
    Finding::ok(found)
}

fn of_notice(notice: &Notice, expected: String) -> Finding {
    Finding::fail(notice.code.unwrap_or(Fault::IdentityUnusable), notice.to_string(), expected)
}

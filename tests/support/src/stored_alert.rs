//! An alert as the desk would store it with its picture and clip, for tests that send alerts without a camera.

use kitchen_core::alert::AlertBody;
use kitchen_core::rules::RuleId;
use kitchen_core::time::Stamp;
use kitchen_core::wire::MessageId;
use kitchen_store::{NewSnapshot, Store};

use crate::alert_body::alert_body;
use crate::new_clip::new_clip;

/// Opened at `stamp`, with what is sent of it; its id, and the body with which it would be closed.
///
/// # Panics
/// When the store does not take it.
pub fn stored_alert(
    store: &Store,
    stamp: Stamp,
    rule: RuleId,
    picture: Option<Vec<u8>>,
    clip: Option<Vec<u8>>,
) -> (MessageId, AlertBody) {
    let mut body = alert_body(rule, stamp.wall);
    let picture = picture.map(|sent| NewSnapshot { original: sent.clone(), sent, width: 640, height: 360 });
    let opened = store.open_alert(stamp, body.clone(), picture).expect("the store takes an alert");
    if let Some(clip) = clip {
        let clip = store.attach_clip(stamp, &opened.alert_id, new_clip(clip, stamp.wall), body.clone());
        body.clip = Some(clip.expect("the store takes a clip"));
        body.clip_status = "attached".to_owned();
    }
    (opened.alert_id, body)
}

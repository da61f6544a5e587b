//! The clip under way: begun when its turn comes, continued between more urgent messages, ended by the district.

use std::path::PathBuf;

use kitchen_core::budget::Wanted;
use kitchen_core::outbox::OutboxKind;
use kitchen_core::time::Mono;
use kitchen_core::transfer::Output;
use kitchen_core::wire::{ClipInit, ClipReceipt, ClipReceiptState};
use serde_json::Value;
use tracing::{error, warn};

use super::Uplink;
use super::connection::{Connection, Part, UnderWay};
use crate::clip::ClipUnderWay;
use crate::mqtt::PublishError;
use crate::outbox::{OutboxError, blocking};

impl Uplink {
    pub(super) async fn begin_clip(&mut self, id: &str, init: ClipInit, path: PathBuf) -> Result<(), OutboxError> {
        let now = self.clock.mono();
        if let Some(clip) = self.clip.as_mut().filter(|clip| clip.clip_id == id) {
            clip.transfer.handle_connected(now);
            return Ok(());
        }
        let clip = blocking(&self.outbox, move |outbox| {
            let body = |value: Result<Value, serde_json::Error>| value.map_err(OutboxError::new);
            let init_envelope = outbox.envelope("clip.init", body(serde_json::to_value(&init))?)?;
            let fin = body(serde_json::to_value(ClipUnderWay::fin_body(&init)))?;
            let fin_envelope = outbox.envelope("clip.fin", fin)?;
            Ok(ClipUnderWay::new(&init, path, &init_envelope, &fin_envelope, fastrand::u64(..), now))
        })
        .await?;
        self.clip = Some(clip);
        Ok(())
    }

    /// The clip's next messages; between chunks whatever is more urgent has gone first.
    pub(super) async fn go_on_with_clip(&mut self, connection: &mut Connection) {
        let now = self.clock.mono();
        let is_urgent = self.scheduler.is_urgent();
        let Some(clip) = &mut self.clip else { return };
        clip.transfer.handle_urgency(is_urgent, now);
        clip.transfer.handle_timeout(now);
        loop {
            self.save_if_due().await;
            let Some(clip) = &mut self.clip else { return };
            let Some(output) = clip.transfer.poll_output() else { return };
            let now = self.clock.mono();
            let publisher = connection.link.publisher();
            match output {
                // Should the link be full, the transfer asks again after a while.
                Output::SendInit => {
                    let _ = publisher.publish(clip.init_publication());
                }
                Output::SendFin => {
                    let _ = publisher.publish(clip.fin_publication());
                }
                Output::SendChunk { length, .. } if !self.gate.may_go_on(chunk_bytes(length)) => {
                    clip.transfer.handle_disconnected(now);
                    self.scheduler.handle_held(&clip.clip_id, now);
                    return;
                }
                Output::SendChunk { offset, length } => {
                    let publication = match clip.chunk_publication(offset, length).await {
                        Ok(publication) => publication,
                        Err(failure) => {
                            error!(clip = %clip.clip_id, error = %failure, "the clip's file can't be read");
                            self.give_clip_up(now);
                            return;
                        }
                    };
                    let bytes = publication.packet_bytes();
                    match publisher.publish(publication) {
                        Ok(token) => {
                            let part = Part::Chunk { clip_id: clip.clip_id.clone(), offset };
                            connection.under_way.insert(token, UnderWay { part, bytes });
                        }
                        Err(PublishError::TooLarge { .. }) => clip.transfer.handle_too_large(offset, now),
                        Err(PublishError::Closed) => {
                            clip.transfer.handle_disconnected(now);
                            return;
                        }
                        Err(_) => clip.transfer.handle_refused(offset, now),
                    }
                }
                Output::Progress => self.scheduler.handle_progress(&clip.clip_id, now),
                Output::Stuck => self.give_clip_up(now),
                // Stored and rejected are taken from the answer itself, which also comes for a clip not under way.
                Output::Stored | Output::Rejected { .. } => self.clip = None,
            }
        }
    }

    pub(super) fn give_clip_up(&mut self, now: Mono) {
        if let Some(clip) = self.clip.take() {
            self.scheduler.handle_refused(&clip.clip_id, now);
        }
    }

    pub(super) async fn take_answer(&mut self, connection: &mut Connection, answer: ClipReceipt) {
        let clip_id = answer.clip_id.clone();
        let state = answer.state;
        let is_about_another =
            self.clip.as_ref().is_some_and(|clip| clip.clip_id == clip_id && !answer.is_for(&clip.sha256));
        let is_counted = if is_about_another {
            Ok(false)
        } else if state == ClipReceiptState::Missing {
            Ok(true)
        } else {
            if let Some(reason) = answer.reason.as_ref().filter(|_| state == ClipReceiptState::Rejected) {
                warn!(clip = %clip_id, reason, "the district rejected a clip");
            }
            let answer = answer.clone();
            blocking(&self.outbox, move |outbox| outbox.clip_ended(&answer)).await
        };
        let now = self.clock.stamp();
        match is_counted {
            Ok(true) => {}
            Ok(false) => return self.scheduler.handle_heard(now.mono),
            Err(failure) => {
                error!(clip = %clip_id, error = %failure, "an answer was not noted; it will be asked for again");
                return;
            }
        }
        if let Some(clip) = self.clip.as_mut().filter(|clip| clip.clip_id == clip_id) {
            clip.transfer.handle_answer(&answer, now.mono);
        }
        match state {
            ClipReceiptState::Missing => self.scheduler.handle_answer(&clip_id, now.mono),
            ClipReceiptState::Stored | ClipReceiptState::Rejected => self.scheduler.handle_receipt(&clip_id, now.mono),
        }
        self.note_receipt(connection, now.wall);
    }
}

/// A chunk on the link, with what comes back for it.
const fn chunk_bytes(length: u32) -> u64 {
    Wanted::message(OutboxKind::Clip, 3, length as u64).bytes
}

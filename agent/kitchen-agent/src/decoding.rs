//! A camera's events become the ring of access units and the sampled frames.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kitchen_core::sample::Sampler;
use kitchen_core::time::Clock;
use kitchen_vision::access_unit::StreamInfo;
use kitchen_vision::camera::CameraEvent;
use kitchen_vision::decode::Decoder;
use kitchen_vision::privacy_mask::PrivacyMask;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{debug, error};

use crate::evidence::Recorder;
use crate::frame_slot::{FrameSlot, StreamNews};
use crate::machine::Machine;
use crate::notice::{Notice, notice};
use crate::pipeline::LONGEST_WAIT;
use crate::recording::Feed;
use crate::status::CameraCounters;
use crate::supervise::Pulse;
use crate::{explain, scrub};

/// One camera's decoder and where its output goes.
pub struct Decoding {
    pub camera: String,
    pub recorder: Arc<Recorder>,
    pub recording: Option<Feed>,
    pub mask: Arc<PrivacyMask>,
    pub slot: Arc<FrameSlot>,
    pub counters: Arc<CameraCounters>,
    pub sampler: Sampler,
    pub machine: Arc<Machine>,
    pub decoder: Option<Decoder>,
}

/// Camera events → ring and sampled frames. Ends when the camera's task has ended.
pub fn decode(
    mut decoding: Decoding,
    mut events: mpsc::Receiver<CameraEvent>,
    runtime: &Handle,
    pulse: &Pulse,
    clock: &dyn Clock,
) {
    loop {
        pulse.beat(clock.mono());
        match runtime.block_on(async { tokio::time::timeout(LONGEST_WAIT, events.recv()).await }) {
            Err(_) => {}
            Ok(None) => break,
            Ok(Some(event)) => {
                decoding.record(&event, clock);
                decoding.handle_event(event);
            }
        }
    }
}

impl Decoding {
    /// Before anything else: what can't be decoded is recorded all the same.
    fn record(&mut self, event: &CameraEvent, clock: &dyn Clock) {
        let Some(feed) = &mut self.recording else { return };
        match event {
            CameraEvent::Opened(info) => feed.handle_opened(info, clock.mono()),
            CameraEvent::Unit(unit) => feed.handle_unit(unit),
            CameraEvent::Lost { .. } => feed.handle_lost(),
        }
    }

    fn handle_event(&mut self, event: CameraEvent) {
        fail::fail_point!("capture");
        let Self { camera, recorder, mask, slot, counters, sampler, machine, decoder, .. } = self;
        sampler.set_pace(machine.pace());
        match event {
            CameraEvent::Opened(info) => {
                counters.set_stream("online", describe(&info), stream_notice(&info));
                recorder.handle_opened(info);
                *decoder = Decoder::new().map_err(|error| error!(camera, %error, "no decoder")).ok();
                slot.tell(StreamNews::Opened);
            }
            CameraEvent::Unit(unit) => {
                counters.frames.fetch_add(1, Ordering::Relaxed);
                counters.lost_packets.fetch_add(u64::from(unit.lost_packets), Ordering::Relaxed);
                let Some(decoder) = decoder else { return };
                match decoder.decode(&unit, |_, received| sampler.take(received)) {
                    Ok(frames) => frames.into_iter().for_each(|frame| slot.put(mask.burn(frame))),
                    Err(error) => {
                        counters.damaged.fetch_add(1, Ordering::Relaxed);
                        debug!(camera, %error, "access unit damaged");
                    }
                }
                counters.dropped.store(slot.dropped(), Ordering::Relaxed);
                recorder.handle_unit(unit);
            }
            CameraEvent::Lost { error } => {
                let why = scrub::text(&error.to_string()).into_owned();
                counters.set_stream("offline", why.clone(), explain::camera(&error));
                slot.tell(StreamNews::Lost(why));
            }
        }
    }
}

fn describe(info: &StreamInfo) -> String {
    let rate = info.frame_rate.map_or_else(String::new, |rate| format!(", {rate:.1} frames/s"));
    format!("{} {}×{}{rate}", info.codec, info.width, info.height)
}

/// The same for whoever reads `status` in another language.
fn stream_notice(info: &StreamInfo) -> Notice {
    let size = format!("{}×{}", info.width, info.height);
    match info.frame_rate {
        Some(rate) => {
            notice!("status-camera-stream-rate", None, codec = &info.codec, size = size, rate = format!("{rate:.1}"))
        }
        None => notice!("status-camera-stream", None, codec = &info.codec, size = size),
    }
}

//! The district of a simulated month: stores what arrives, once, and says so. Its clips go through the same
//! [`Receiving`] as the real one's, and survive its restarts as ranges.

use std::collections::{BTreeMap, BTreeSet};

use kitchen_core::transfer::{Chunk, Receiving};
use kitchen_core::wire::{
    AckBody, ClipFin, ClipInit, ClipReceipt, ClipReceiptState, Envelope, Receipt, VERSION, sha256_hex, short_digest,
};

/// A message from the box.
#[derive(Clone, Debug)]
pub(super) enum Up {
    Text { id: String, bytes: Vec<u8> },
    Picture { id: String, bytes: Vec<u8> },
    ClipInit(ClipInit),
    ClipChunk { clip_id: String, offset: u64, bytes: Vec<u8> },
    ClipFin(ClipFin),
}

impl Up {
    pub fn length(&self) -> u64 {
        match self {
            Self::Text { bytes, .. } | Self::Picture { bytes, .. } | Self::ClipChunk { bytes, .. } => {
                bytes.len() as u64 + 100
            }
            Self::ClipInit(_) | Self::ClipFin(_) => 800,
        }
    }
}

/// A message to the box.
#[derive(Clone, Debug)]
pub(super) enum Down {
    Ack(AckBody),
    Clip(ClipReceipt),
}

/// What the district holds durably.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    held: BTreeMap<String, Vec<u8>>,
    clips: BTreeMap<String, HeldClip>,
    rejects: BTreeSet<String>,
    pub repeated: u64,
    pub findings: Vec<String>,
}

#[derive(Debug)]
struct HeldClip {
    sha256: String,
    bytes: Vec<u8>,
    received: Vec<[u64; 2]>,
    is_stored: bool,
}

impl Receiver {
    /// This clip will not be taken, whatever is sent.
    pub fn reject(&mut self, clip_id: &str) {
        self.rejects.insert(clip_id.to_owned());
    }

    pub fn take(&mut self, message: Up) -> Option<Down> {
        match message {
            Up::Text { id, bytes } | Up::Picture { id, bytes } => {
                let receipt = Receipt { id: id.clone(), digest: Some(short_digest(&sha256_hex(&bytes))) };
                match self.held.get(&id) {
                    None => drop(self.held.insert(id, bytes)),
                    Some(held) => {
                        self.repeated += 1;
                        if *held != bytes {
                            self.findings.push(format!("{id} came again with other bytes"));
                        }
                    }
                }
                Some(Down::Ack(AckBody::new(&[receipt], Vec::new())))
            }
            Up::ClipInit(init) => {
                let length = usize::try_from(init.bytes).expect("small");
                let clip = self.clips.entry(init.clip_id.clone()).or_insert_with(|| HeldClip {
                    sha256: init.sha256.clone(),
                    bytes: vec![0; length],
                    received: Vec::new(),
                    is_stored: false,
                });
                if clip.sha256 != init.sha256 {
                    self.findings.push(format!("the clip {} was announced with another hash", init.clip_id));
                }
                self.answer(&init.clip_id)
            }
            Up::ClipChunk { clip_id, offset, bytes } => {
                self.take_chunk(&clip_id, offset, &bytes);
                None
            }
            Up::ClipFin(fin) => self.answer(&fin.clip_id),
        }
    }

    fn take_chunk(&mut self, clip_id: &str, offset: u64, bytes: &[u8]) {
        let Some(clip) = self.clips.get_mut(clip_id).filter(|clip| !clip.is_stored) else { return };
        // Restored each time, as a district that starts anew does.
        let mut receiving = Receiving::restore(clip.bytes.len() as u64, &clip.received);
        let length = bytes.len() as u64;
        match receiving.look_at(offset, length) {
            Chunk::New => {
                let from = usize::try_from(offset).expect("small");
                clip.bytes[from..from + bytes.len()].copy_from_slice(bytes);
                receiving.handle_chunk(offset, length);
                clip.received = receiving.received().as_pairs().to_vec();
            }
            Chunk::Repeated => self.repeated += 1,
            Chunk::OutOfBounds => self.findings.push(format!("a chunk past the end of {clip_id}")),
        }
    }

    fn answer(&mut self, clip_id: &str) -> Option<Down> {
        let clip = self.clips.get_mut(clip_id)?;
        let receiving = Receiving::restore(clip.bytes.len() as u64, &clip.received);
        if receiving.is_complete() && !clip.is_stored {
            clip.is_stored = true;
            if sha256_hex(&clip.bytes) != clip.sha256 {
                self.findings.push(format!("the clip {clip_id} arrived with other bytes"));
            }
        }
        let is_rejected = self.rejects.contains(clip_id);
        let (state, missing) = match clip.is_stored {
            _ if is_rejected => (ClipReceiptState::Rejected, Vec::new()),
            true => (ClipReceiptState::Stored, Vec::new()),
            false => (ClipReceiptState::Missing, receiving.missing()),
        };
        let reason = is_rejected.then(|| "of no use".to_owned());
        Some(Down::Clip(ClipReceipt { v: VERSION, clip_id: clip_id.to_owned(), state, missing, reason, sha256: None }))
    }

    /// Whether it holds this message with these bytes.
    pub fn holds(&self, id: &str, sha256: &str) -> bool {
        match self.clips.get(id) {
            Some(clip) => clip.is_stored && clip.sha256 == sha256 && sha256_hex(&clip.bytes) == sha256,
            None => self.held.get(id).is_some_and(|bytes| sha256_hex(bytes) == sha256),
        }
    }

    pub fn ids(&self) -> impl Iterator<Item = &String> {
        let stored = self.clips.iter().filter(|(_, clip)| clip.is_stored).map(|(id, _)| id);
        self.held.keys().chain(stored)
    }

    /// The envelopes among what it holds.
    pub fn envelopes(&self) -> impl Iterator<Item = Envelope> {
        self.held.values().filter_map(|bytes| serde_json::from_slice(bytes).ok())
    }
}

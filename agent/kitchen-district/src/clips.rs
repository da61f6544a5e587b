//! Clips as they arrive: `init`, chunks, `fin`, `abort`, for one clip at a time.
//! Bytes are synced into a part file before their range is recorded; the file is checked before it is called stored.

use std::io;
use std::path::PathBuf;

use kitchen_core::time::Wall;
use kitchen_core::transfer::{Chunk, Receiving};
use kitchen_core::wire::{ClipFin, ClipInit, ClipReceipt, ClipReceiptState, MessageId, VERSION};

use crate::event::DistrictEvent;
use crate::files::{self, Files};
use crate::store::{ClipRow, ClipState, Store, StoreError};

/// Larger clips are rejected.
pub const MAX_CLIP_BYTES: u64 = 256 * 1024 * 1024;
/// Larger chunks are malformed, whatever `chunk_bytes` says.
pub const MAX_CHUNK_BYTES: usize = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("clip file {path} failed: check the disk's space and health", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

/// What a message about a clip leads to.
#[derive(Debug, Default)]
pub struct ClipOutcome {
    pub answer: Option<ClipReceipt>,
    pub events: Vec<DistrictEvent>,
}

/// One clip of one device.
pub struct Clip<'a> {
    pub store: &'a Store,
    pub files: &'a Files,
    pub device: &'a str,
    pub clip_id: &'a MessageId,
    pub now: Wall,
}

impl Clip<'_> {
    /// Announced: answers what lacks, or that it is there already.
    pub fn init(&self, init: &ClipInit, envelope: &[u8]) -> Result<ClipOutcome, ClipError> {
        if let Some(reason) = unacceptable(&init.sha256, init.bytes) {
            return Ok(self.answer(&init.sha256, ClipReceiptState::Rejected, Vec::new(), Some(reason)));
        }
        let mut events = Vec::new();
        if self.store.has_other_clip(self.device, &self.id(), &init.sha256)?
            && self.store.insert_clip_conflict(self.device, &self.id(), &init.sha256, self.now)?
        {
            events.push(self.conflict());
        }
        let held = self.store.clip(self.device, &self.id(), Some(&init.sha256))?;
        if let Some(row) = held.as_ref().filter(|row| row.state == ClipState::Stored && row.bytes != init.bytes) {
            let reason = format!("init says {} bytes, a clip of this sha256 is stored with {}", init.bytes, row.bytes);
            return Ok(self.answer(&init.sha256, ClipReceiptState::Rejected, Vec::new(), Some(reason)));
        }
        // A rejected clip that is announced again gets another chance.
        let held = held.filter(|row| row.bytes == init.bytes && row.state != ClipState::Rejected);
        let mut row = held.unwrap_or_else(|| empty(&init.sha256, init.bytes));
        row.alert_id = init.alert_id.clone();
        row.init = Some(envelope.to_vec());
        let mut outcome = self.go_on(row)?;
        outcome.events.splice(0..0, events);
        Ok(outcome)
    }

    /// A piece. Written twice changes nothing; of an unknown clip nothing is kept, its `init` will come.
    pub fn chunk(&self, offset: u64, bytes: &[u8]) -> Result<ClipOutcome, ClipError> {
        if bytes.len() > MAX_CHUNK_BYTES {
            return Err(ClipError::Malformed("a chunk larger than 1 MiB"));
        }
        let row = self.store.clip(self.device, &self.id(), None)?;
        let Some(mut row) = row.filter(|row| row.state == ClipState::Receiving) else {
            return Ok(ClipOutcome::default());
        };
        let mut receiving = Receiving::restore(row.bytes, &row.received);
        let length = bytes.len() as u64;
        match receiving.look_at(offset, length) {
            Chunk::OutOfBounds => return Err(ClipError::Malformed("a chunk past the end of its clip")),
            Chunk::Repeated => return Ok(ClipOutcome::default()),
            Chunk::New => {}
        }
        let part = self.part(&row);
        if !part.exists() {
            // Whatever was recorded lay in a file that is gone.
            receiving = Receiving::restore(row.bytes, &[]);
        }
        files::write_at_durably(&part, offset, bytes).map_err(|source| ClipError::File { path: part, source })?;
        receiving.handle_chunk(offset, length);
        row.received = receiving.received().as_pairs().to_vec();
        self.store.put_clip(self.device, &self.id(), &row, self.now)?;
        Ok(ClipOutcome::default())
    }

    /// All was sent: answers what lacks still, stored, or rejected.
    pub fn fin(&self, fin: &ClipFin) -> Result<ClipOutcome, ClipError> {
        if let Some(reason) = unacceptable(&fin.sha256, fin.bytes) {
            return Ok(self.answer(&fin.sha256, ClipReceiptState::Rejected, Vec::new(), Some(reason)));
        }
        let row = self.store.clip(self.device, &self.id(), Some(&fin.sha256))?;
        match row {
            Some(row) if row.bytes != fin.bytes => {
                let reason = format!("fin says {} bytes, init said {}", fin.bytes, row.bytes);
                Ok(self.answer(&fin.sha256, ClipReceiptState::Rejected, Vec::new(), Some(reason)))
            }
            Some(row) => self.go_on(row),
            // Its `init` was lost with an older store of the district: enough is known to go on.
            None => self.go_on(empty(&fin.sha256, fin.bytes)),
        }
    }

    /// The box gives it up: what was received is dropped, unless the clip is whole.
    pub fn abort(&self) -> Result<ClipOutcome, ClipError> {
        let row = self.store.clip(self.device, &self.id(), None)?;
        if let Some(row) = row.filter(|row| row.state != ClipState::Stored) {
            self.store.delete_clip(self.device, &self.id(), &row.sha256)?;
            let part = self.part(&row);
            files::remove(&part).map_err(|source| ClipError::File { path: part, source })?;
        }
        Ok(ClipOutcome::default())
    }

    /// Answers by what is there, and finishes a clip of which nothing lacks.
    fn go_on(&self, mut row: ClipRow) -> Result<ClipOutcome, ClipError> {
        match row.state {
            // Wherever the file has been moved since: stored stays stored.
            ClipState::Stored => {
                self.store.put_clip(self.device, &self.id(), &row, self.now)?;
                return Ok(self.answer(&row.sha256, ClipReceiptState::Stored, Vec::new(), None));
            }
            ClipState::Rejected => {
                return Ok(self.answer(&row.sha256, ClipReceiptState::Rejected, Vec::new(), row.reason));
            }
            ClipState::Receiving => {}
        }
        let receiving = Receiving::restore(row.bytes, &row.received);
        if receiving.is_complete() {
            return self.finish(row);
        }
        if !row.received.is_empty() && !self.part(&row).exists() {
            row.received = Vec::new();
        }
        let missing = Receiving::restore(row.bytes, &row.received).missing();
        self.store.put_clip(self.device, &self.id(), &row, self.now)?;
        Ok(self.answer(&row.sha256, ClipReceiptState::Missing, missing, None))
    }

    fn finish(&self, mut row: ClipRow) -> Result<ClipOutcome, ClipError> {
        let part = self.part(&row);
        let path = self.path_for(&row)?;
        let failed = |path: &PathBuf, source| ClipError::File { path: path.clone(), source };
        let hash_of = |path: &PathBuf| files::sha256_of(path).map_err(|source| failed(path, source));
        match hash_of(&part)? {
            Some(hash) if hash == row.sha256 => {
                files::rename_durably(&part, &path).map_err(|source| failed(&part, source))?;
            }
            Some(hash) => {
                let reason = format!("its SHA-256 is {hash}, not {}", row.sha256);
                files::remove(&part).map_err(|source| failed(&part, source))?;
                row.state = ClipState::Rejected;
                row.received = Vec::new();
                row.reason = Some(reason.clone());
                self.store.put_clip(self.device, &self.id(), &row, self.now)?;
                let mut outcome =
                    self.answer(&row.sha256, ClipReceiptState::Rejected, Vec::new(), Some(reason.clone()));
                let (device, clip_id) = (self.device.to_owned(), self.id());
                outcome.events.push(DistrictEvent::ClipRejected { device, clip_id, reason, received_at: self.now });
                return Ok(outcome);
            }
            // Renamed by a run that ended before it could record it.
            None if hash_of(&path)?.as_ref() == Some(&row.sha256) => {}
            None => {
                row.received = Vec::new();
                self.store.put_clip(self.device, &self.id(), &row, self.now)?;
                let missing = Receiving::restore(row.bytes, &[]).missing();
                return Ok(self.answer(&row.sha256, ClipReceiptState::Missing, missing, None));
            }
        }
        row.state = ClipState::Stored;
        row.path = Some(path.clone());
        self.store.put_clip(self.device, &self.id(), &row, self.now)?;
        let mut outcome = self.answer(&row.sha256, ClipReceiptState::Stored, Vec::new(), None);
        outcome.events.push(DistrictEvent::Clip {
            device: self.device.to_owned(),
            clip_id: self.id(),
            alert_id: row.alert_id,
            bytes: row.bytes,
            received_at: self.now,
            path,
        });
        Ok(outcome)
    }

    /// The plain name, unless another clip of this id has it.
    fn path_for(&self, row: &ClipRow) -> Result<PathBuf, ClipError> {
        let has_other = self.store.has_other_clip(self.device, &self.id(), &row.sha256)?;
        let plain = self.files.clip(self.device, self.clip_id, None);
        let is_taken = has_other && plain.exists();
        Ok(if is_taken { self.files.clip(self.device, self.clip_id, Some(&row.sha256)) } else { plain })
    }

    fn part(&self, row: &ClipRow) -> PathBuf {
        self.files.part(self.device, self.clip_id, &row.sha256)
    }

    fn id(&self) -> String {
        self.clip_id.to_string()
    }

    fn conflict(&self) -> DistrictEvent {
        DistrictEvent::Conflict { device: self.device.to_owned(), id: self.id(), received_at: self.now }
    }

    fn answer(
        &self,
        sha256: &str,
        state: ClipReceiptState,
        missing: Vec<[u64; 2]>,
        reason: Option<String>,
    ) -> ClipOutcome {
        let sha256 = Some(sha256.to_owned());
        let answer = ClipReceipt { v: VERSION, clip_id: self.id(), state, missing, reason, sha256 };
        ClipOutcome { answer: Some(answer), events: Vec::new() }
    }
}

fn empty(sha256: &str, bytes: u64) -> ClipRow {
    ClipRow {
        sha256: sha256.to_owned(),
        bytes,
        alert_id: None,
        init: None,
        received: Vec::new(),
        state: ClipState::Receiving,
        reason: None,
        path: None,
    }
}

/// Why a clip can't be taken at all.
fn unacceptable(sha256: &str, bytes: u64) -> Option<String> {
    if !is_sha256(sha256) {
        return Some("its sha256 is not 64 lower-case hexadecimal digits".to_owned());
    }
    match bytes {
        0 => Some("it is empty".to_owned()),
        bytes if bytes > MAX_CLIP_BYTES => Some(format!("its {bytes} bytes are more than {MAX_CLIP_BYTES}")),
        _ => None,
    }
}

/// Whether the text is a SHA-256 as the contract writes it.
#[must_use]
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

//! A clip under way: its file, its two JSON messages and the state machine that says what is sent next.
//! Never holds more of the file in memory than one chunk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kitchen_core::budget::TrafficClass;
use kitchen_core::time::Mono;
use kitchen_core::transfer::Transfer;
use kitchen_core::wire::{ClipFin, ClipInit, Envelope, up};

use crate::mqtt::Publication;

/// User property of a chunk: its CRC-32 as 8 lower-case hexadecimal digits.
pub const CRC_PROPERTY: &str = "crc32";

/// A chunk's checksum as it is sent.
#[must_use]
pub fn crc_text(chunk: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(chunk))
}

/// The clip whose turn it is, or whose transfer was cut off.
#[derive(Debug)]
pub struct ClipUnderWay {
    pub clip_id: String,
    pub sha256: String,
    pub transfer: Transfer,
    init: Bytes,
    fin: Bytes,
    path: PathBuf,
    device: String,
}

impl ClipUnderWay {
    /// `init` and `fin` are the two envelopes, made once, so that a repeat has the same bytes.
    #[must_use]
    pub fn new(clip: &ClipInit, path: PathBuf, init: &Envelope, fin: &Envelope, seed: u64, now: Mono) -> Self {
        Self {
            clip_id: clip.clip_id.clone(),
            sha256: clip.sha256.clone(),
            transfer: Transfer::new(clip.bytes, clip.chunk_bytes, seed, now),
            init: init.to_bytes().into(),
            fin: fin.to_bytes().into(),
            path,
            device: init.device.clone(),
        }
    }

    /// Body of `fin`.
    #[must_use]
    pub fn fin_body(clip: &ClipInit) -> ClipFin {
        ClipFin { clip_id: clip.clip_id.clone(), bytes: clip.bytes, sha256: clip.sha256.clone() }
    }

    #[must_use]
    pub fn init_publication(&self) -> Publication {
        Publication::new(self.topic("init"), self.init.clone()).of_class(TrafficClass::Clip)
    }

    #[must_use]
    pub fn fin_publication(&self) -> Publication {
        Publication::new(self.topic("fin"), self.fin.clone()).of_class(TrafficClass::Clip)
    }

    /// One chunk, read off the runtime.
    ///
    /// # Errors
    /// When the file is gone or shorter than it was.
    pub async fn chunk_publication(&self, offset: u64, length: u32) -> io::Result<Publication> {
        let path = self.path.clone();
        let chunk = tokio::task::spawn_blocking(move || read_chunk(&path, offset, length)).await??;
        let crc = crc_text(&chunk);
        let mut publication = Publication::new(self.topic(&offset.to_string()), chunk).of_class(TrafficClass::Clip);
        publication.properties.push((CRC_PROPERTY.to_owned(), crc));
        Ok(publication)
    }

    fn topic(&self, last: &str) -> String {
        up(&self.device, &format!("clip/{}/{last}", self.clip_id))
    }
}

fn read_chunk(path: &Path, offset: u64, length: u32) -> io::Result<Vec<u8>> {
    let mut chunk = vec![0; usize::try_from(length).unwrap_or(0)];
    File::open(path)?.read_exact_at(&mut chunk, offset)?;
    Ok(chunk)
}

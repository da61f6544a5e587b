//! The boxes of an MP4, looked through before its index is read: whether it is one, where it ends, and what of it the
//! reader may see. The reader trusts sizes and counts: a box of size 0 is read for ever, a count costs its memory.

use std::io::{self, Read, Seek, SeekFrom};

/// Boxes that are nothing but boxes.
const CONTAINERS: [&[u8; 4]; 9] = [b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"mvex", b"traf", b"moof"];
/// What no picture needs: metadata and messages.
const NOT_NEEDED: [&[u8; 4]; 3] = [b"udta", b"meta", b"emsg"];
/// Descriptions of video that the reader takes apart without a loop. A track of another kind is left out: an hour of
/// uncompressed sound has 30 million samples.
const VIDEO: [&[u8; 4]; 4] = [b"avc1", b"hvc1", b"hev1", b"av01"];
const DEEPEST: u32 = 8;
/// Coded pictures differ in size. A table that gives one size for all costs no byte a sample, so they are few.
const MAX_EQUAL_SAMPLES: u64 = 65_536;
/// Fields of a picture's description before its boxes.
const AVC1_FIELDS: u64 = 78;
/// Flags of a track run that has at least one field for each sample.
const FIELDS_OF_A_SAMPLE: u32 = 0xf00;

/// The boxes at the top of the file, as far as they matter before the index is read.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub is_mp4: bool,
    pub has_index: bool,
    /// A box in the index does not fit where it lies, or promises too much.
    pub is_damaged: bool,
    /// Where a reader can stop: behind the last box that is complete, or is media data.
    pub readable_end: u64,
    /// Where the kinds of boxes stand that the reader is to skip, ascending.
    hidden: Vec<u64>,
    /// Tracks that are hidden, so that their fragments are too.
    hidden_tracks: Vec<u32>,
    equal_samples: u64,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    kind: [u8; 4],
    /// Where the kind stands.
    kind_at: u64,
    content: u64,
    end: u64,
}

impl Layout {
    /// `length` of the file in bytes.
    pub fn scan(file: &mut (impl Read + Seek), length: u64) -> io::Result<Self> {
        let mut layout = Self::default();
        let mut position = 0;
        while let Some(found) = header(file, position, length, true)? {
            layout.is_mp4 |= position == 0 && found.kind == *b"ftyp";
            if found.end > length && found.kind != *b"mdat" {
                break;
            }
            match &found.kind {
                b"moov" => {
                    layout.has_index = true;
                    layout.is_damaged |= !layout.look_into(file, found, 0)?;
                }
                b"moof" => layout.is_damaged |= !layout.look_into(file, found, 0)?,
                kind if NOT_NEEDED.contains(&kind) => layout.hidden.push(found.kind_at),
                _ => {}
            }
            layout.readable_end = found.end;
            position = found.end;
        }
        layout.hidden.sort_unstable();
        Ok(layout)
    }

    /// The file as the reader is to see it.
    pub fn reader<R: Read + Seek>(self, file: R) -> Reader<R> {
        Reader { file, position: 0, hidden: self.hidden }
    }

    /// Whether all in `parent` fits.
    fn look_into(&mut self, file: &mut (impl Read + Seek), parent: Header, depth: u32) -> io::Result<bool> {
        let mut position = parent.content;
        while position < parent.end {
            let Some(child) = child(file, position, parent.end)? else { return Ok(false) };
            let fits = match &child.kind {
                b"trak" if !is_video(file, child)? => {
                    self.hidden_tracks.extend(track_id(file, child, b"tkhd")?);
                    self.hide(child)
                }
                b"traf" if track_id(file, child, b"tfhd")?.is_some_and(|id| self.hidden_tracks.contains(&id)) => {
                    self.hide(child)
                }
                kind if NOT_NEEDED.contains(&kind) => self.hide(child),
                kind if CONTAINERS.contains(&kind) => depth < DEEPEST && self.look_into(file, child, depth + 1)?,
                b"dref" => self.look_into(file, Header { content: child.content + 8, ..child }, DEEPEST)?,
                b"stsd" => self.look_into_description(file, child)?,
                b"stsz" => {
                    let [size, count] = words(file, child.content + 4)?;
                    size == 0 || self.adds(count)
                }
                b"trun" => {
                    let [flags, count] = words(file, child.content)?;
                    flags & FIELDS_OF_A_SAMPLE != 0 || self.adds(count)
                }
                _ => true,
            };
            if !fits {
                return Ok(false);
            }
            position = child.end;
        }
        Ok(true)
    }

    fn hide(&mut self, found: Header) -> bool {
        self.hidden.push(found.kind_at);
        true
    }

    fn adds(&mut self, samples: u32) -> bool {
        self.equal_samples = self.equal_samples.saturating_add(u64::from(samples));
        self.equal_samples <= MAX_EQUAL_SAMPLES
    }

    /// Of a description the reader takes the first entry, and of this the boxes up to the codec's.
    fn look_into_description(&mut self, file: &mut (impl Read + Seek), description: Header) -> io::Result<bool> {
        let Some(entry) = first_entry(file, description)? else { return Ok(false) };
        if !VIDEO.contains(&&entry.kind) {
            return Ok(self.hide(entry));
        }
        let mut position = entry.content.saturating_add(AVC1_FIELDS);
        while let Some(found) = child(file, position, entry.end)? {
            // The reader misjudges where a box with a wide size ends here.
            if found.content != found.kind_at + 4 {
                break;
            }
            if matches!(&found.kind, b"avcC" | b"hvcC" | b"av1C") {
                return Ok(true);
            }
            position = found.end;
        }
        Ok(false)
    }
}

/// As the reader tells it: by the first entry of the first description.
fn is_video(file: &mut (impl Read + Seek), track: Header) -> io::Result<bool> {
    let mut found = track;
    for kind in [b"mdia", b"minf", b"stbl", b"stsd"] {
        match find(file, found, kind)? {
            Some(inner) => found = inner,
            None => return Ok(false),
        }
    }
    Ok(first_entry(file, found)?.is_some_and(|entry| VIDEO.contains(&&entry.kind)))
}

/// The track that a `trak` is, or a `traf` belongs to, as its header of `kind` says.
fn track_id(file: &mut (impl Read + Seek), of: Header, kind: &[u8; 4]) -> io::Result<Option<u32>> {
    let Some(found) = find(file, of, kind)? else { return Ok(None) };
    let [version_and_flags, first] = words(file, found.content)?;
    // Before it a track header tells two times, of 64 bits from version 1 on.
    let [id, _] = match (kind, version_and_flags >> 24) {
        (b"tfhd", _) => [first, 0],
        (_, 0) => words(file, found.content + 12)?,
        _ => words(file, found.content + 20)?,
    };
    Ok(Some(id))
}

fn find(file: &mut (impl Read + Seek), parent: Header, kind: &[u8; 4]) -> io::Result<Option<Header>> {
    let mut position = parent.content;
    while let Some(found) = child(file, position, parent.end)? {
        if found.kind == *kind {
            return Ok(Some(found));
        }
        position = found.end;
    }
    Ok(None)
}

fn first_entry(file: &mut (impl Read + Seek), description: Header) -> io::Result<Option<Header>> {
    child(file, description.content.saturating_add(8), description.end)
}

/// The box at `position`, where it lies whole before `end`.
fn child(file: &mut (impl Read + Seek), position: u64, end: u64) -> io::Result<Option<Header>> {
    Ok(header(file, position, end, false)?.filter(|found| found.end <= end))
}

/// The box at `position`, which may reach beyond `end`; its header does not. The last of a file may have the size 0.
fn header(file: &mut (impl Read + Seek), position: u64, end: u64, may_be_last: bool) -> io::Result<Option<Header>> {
    let room = end.saturating_sub(position);
    if room < 8 {
        return Ok(None);
    }
    let [size, kind] = words(file, position)?;
    let (size, header_bytes) = match size {
        0 if may_be_last => (room, 8),
        1 if room < 16 => return Ok(None),
        1 => {
            let [high, low] = words(file, position + 8)?;
            (u64::from(high) << 32 | u64::from(low), 16)
        }
        size => (u64::from(size), 8),
    };
    let found = position.checked_add(size).filter(|_| size >= header_bytes);
    let content = position + header_bytes;
    Ok(found.map(|end| Header { kind: kind.to_be_bytes(), kind_at: position + 4, content, end }))
}

/// Two numbers of 32 bits; zeros behind the end of the file.
fn words(file: &mut (impl Read + Seek), position: u64) -> io::Result<[u32; 2]> {
    let mut bytes = Vec::with_capacity(8);
    file.seek(SeekFrom::Start(position))?;
    file.take(8).read_to_end(&mut bytes)?;
    bytes.resize(8, 0);
    let word = |at: usize| bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    Ok([word(0), word(4)])
}

/// A file in which some boxes are of the kind that is skipped.
#[derive(Debug)]
pub(super) struct Reader<R> {
    file: R,
    position: u64,
    hidden: Vec<u64>,
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        let end = self.position + count as u64;
        let first = self.hidden.partition_point(|kind_at| kind_at + 4 <= self.position);
        for kind_at in self.hidden[first..].iter().take_while(|kind_at| **kind_at < end) {
            for (at, letter) in (*kind_at..).zip(*b"free") {
                if let Some(byte) = at.checked_sub(self.position).and_then(|at| usize::try_from(at).ok())
                    && byte < count
                {
                    buffer[byte] = letter;
                }
            }
        }
        self.position = end;
        Ok(count)
    }
}

impl<R: Seek> Seek for Reader<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.file.seek(to)?;
        Ok(self.position)
    }

    fn stream_position(&mut self) -> io::Result<u64> {
        Ok(self.position)
    }
}

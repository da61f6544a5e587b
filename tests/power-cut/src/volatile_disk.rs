//! A disk with a volatile write cache: what was not flushed survives a power cut sector by sector or not at all, so
//! that writes are torn and reordered. Lives in memory; the same seed and calls give the same disk.
//! Only the superblock of ext4 stays in one piece: the file system takes that for granted, and no program can help it.

use std::collections::BTreeMap;

/// What a disk writes in one piece.
pub const SECTOR_BYTES: usize = 512;

/// Whether the disk keeps its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Honesty {
    Honest,
    /// Says that it has flushed, and has not.
    Lying,
}

/// Without its second half, which has the checksum, it can't be mounted: seen at one of some 240 cuts.
const SUPERBLOCK: std::ops::Range<usize> = 2..4;

type Sector = [u8; SECTOR_BYTES];

#[derive(Debug)]
pub struct VolatileDisk {
    platter: Vec<u8>,
    cache: BTreeMap<usize, Sector>,
    honesty: Honesty,
    random: fastrand::Rng,
}

impl VolatileDisk {
    /// `platter` is what the disk holds; its length is a multiple of [`SECTOR_BYTES`].
    #[must_use]
    pub fn new(platter: Vec<u8>, honesty: Honesty, seed: u64) -> Self {
        Self { platter, cache: BTreeMap::new(), honesty, random: fastrand::Rng::with_seed(seed) }
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.platter.len()
    }

    /// Sectors that a power cut may take.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.cache.len()
    }

    /// `None` when it does not lie on the disk in whole sectors.
    #[must_use]
    pub fn read(&self, offset: usize, length: usize) -> Option<Vec<u8>> {
        let sectors = self.sectors(offset, length)?;
        let mut bytes = self.platter[offset..offset + length].to_vec();
        for (sector, cached) in self.cache.range(sectors) {
            let at = sector * SECTOR_BYTES - offset;
            bytes[at..at + SECTOR_BYTES].copy_from_slice(cached);
        }
        Some(bytes)
    }

    /// Takes whole sectors into the cache; `None` when they do not lie on the disk.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Option<()> {
        let sectors = self.sectors(offset, bytes.len())?;
        let mut superblock = None;
        for (sector, new) in sectors.zip(bytes.as_chunks::<SECTOR_BYTES>().0) {
            if let Some(former) = self.cache.insert(sector, *new)
                && survives(&mut self.random, sector, 0.5, &mut superblock)
            {
                // A disk writes its cache out when it likes to: an older state may have reached the platter.
                put(&mut self.platter, sector, &former);
            }
        }
        Some(())
    }

    pub fn flush(&mut self) {
        if self.honesty == Honesty::Honest {
            while let Some((sector, bytes)) = self.cache.pop_first() {
                put(&mut self.platter, sector, &bytes);
            }
        }
    }

    /// Flushes these sectors alone.
    pub fn flush_part(&mut self, offset: usize, length: usize) {
        let Some(sectors) = self.sectors(offset, length).filter(|_| self.honesty == Honesty::Honest) else { return };
        for sector in sectors {
            if let Some(bytes) = self.cache.remove(&sector) {
                put(&mut self.platter, sector, &bytes);
            }
        }
    }

    /// The disk as a power cut at this moment would leave it: each cached sector is written or lost. How many are
    /// written differs from cut to cut, from none to all.
    #[must_use]
    pub fn after_power_cut(&mut self) -> Vec<u8> {
        let chance = [0.0, 0.1, 0.5, 0.9, 1.0][self.random.usize(..5)];
        let (mut left, mut superblock) = (self.platter.clone(), None);
        for (sector, bytes) in &self.cache {
            if survives(&mut self.random, *sector, chance, &mut superblock) {
                put(&mut left, *sector, bytes);
            }
        }
        left
    }

    fn sectors(&self, offset: usize, length: usize) -> Option<std::ops::Range<usize>> {
        let end = offset.checked_add(length).filter(|end| *end <= self.platter.len())?;
        let is_whole = offset.is_multiple_of(SECTOR_BYTES) && end.is_multiple_of(SECTOR_BYTES);
        is_whole.then_some(offset / SECTOR_BYTES..end / SECTOR_BYTES)
    }
}

fn survives(random: &mut fastrand::Rng, sector: usize, chance: f64, superblock: &mut Option<bool>) -> bool {
    let survives = random.f64() < chance;
    if SUPERBLOCK.contains(&sector) { *superblock.get_or_insert(survives) } else { survives }
}

fn put(platter: &mut [u8], sector: usize, bytes: &Sector) {
    platter[sector * SECTOR_BYTES..][..SECTOR_BYTES].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(honesty: Honesty) -> VolatileDisk {
        VolatileDisk::new(vec![0; 64 * SECTOR_BYTES], honesty, 7)
    }

    fn cuts(disk: &mut VolatileDisk) -> Vec<Vec<u8>> {
        (0..50).map(|_| disk.after_power_cut()).collect()
    }

    #[test]
    fn what_was_written_is_read_before_it_is_flushed() {
        let mut disk = disk(Honesty::Honest);
        disk.write(SECTOR_BYTES, &[1; 2 * SECTOR_BYTES]).expect("on the disk");
        let read = disk.read(0, 4 * SECTOR_BYTES).expect("on the disk");
        assert_eq!(read, [[0; SECTOR_BYTES], [1; SECTOR_BYTES], [1; SECTOR_BYTES], [0; SECTOR_BYTES]].concat());
    }

    #[test]
    fn a_cut_tears_what_was_not_flushed_and_nothing_else() {
        let mut disk = disk(Honesty::Honest);
        disk.write(0, &[1; 8 * SECTOR_BYTES]).expect("on the disk");
        disk.flush();
        disk.write(8 * SECTOR_BYTES, &[2; 8 * SECTOR_BYTES]).expect("on the disk");
        let cuts = cuts(&mut disk);
        assert!(cuts.iter().all(|left| left[..8 * SECTOR_BYTES] == [1; 8 * SECTOR_BYTES]));
        let survivors = |left: &[u8]| left[8 * SECTOR_BYTES..].iter().filter(|byte| **byte == 2).count() / SECTOR_BYTES;
        assert!(cuts.iter().any(|left| survivors(left) == 0));
        assert!(cuts.iter().any(|left| (1..8).contains(&survivors(left))));
        assert!(cuts.iter().any(|left| survivors(left) == 8));
    }

    #[test]
    fn the_superblock_is_kept_or_lost_in_one_piece() {
        let mut disk = disk(Honesty::Honest);
        disk.write(0, &[1; 8 * SECTOR_BYTES]).expect("on the disk");
        assert!(cuts(&mut disk).iter().all(|left| left[2 * SECTOR_BYTES] == left[3 * SECTOR_BYTES]));
    }

    #[test]
    fn a_lying_disk_loses_what_it_said_to_have_flushed() {
        let mut disk = disk(Honesty::Lying);
        disk.write(0, &[1; SECTOR_BYTES]).expect("on the disk");
        disk.flush();
        assert_eq!(disk.unflushed(), 1);
        assert!(cuts(&mut disk).iter().any(|left| left[0] == 0));
    }

    #[test]
    fn a_write_through_the_cache_flushes_itself_alone() {
        let mut disk = disk(Honesty::Honest);
        disk.write(0, &[1; 2 * SECTOR_BYTES]).expect("on the disk");
        disk.flush_part(SECTOR_BYTES, SECTOR_BYTES);
        let cuts = cuts(&mut disk);
        assert!(cuts.iter().all(|left| left[SECTOR_BYTES] == 1));
        assert!(cuts.iter().any(|left| left[0] == 0));
    }

    #[test]
    fn what_does_not_lie_on_the_disk_is_refused() {
        let mut disk = disk(Honesty::Honest);
        assert_eq!(disk.read(63 * SECTOR_BYTES, 2 * SECTOR_BYTES), None);
        assert_eq!(disk.read(1, SECTOR_BYTES), None);
        assert_eq!(disk.write(usize::MAX - 511, &[0; SECTOR_BYTES]), None);
    }
}

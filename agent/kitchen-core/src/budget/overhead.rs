//! What a packet of MQTT makes of itself on the link: TLS records, TCP segments and their acknowledgements.
//! A model, for links whose interface can't be read, and for telling classes apart. Measured by `tests/end-to-end`.

/// TLS 1.3: header, content type and tag of a record.
const RECORD_BYTES: u64 = 22;
const RECORD_LENGTH: u64 = 16_384;
/// IPv4 20, TCP 20, timestamps 12.
const SEGMENT_BYTES: u64 = 52;
const SEGMENT_LENGTH: u64 = 1_448;

/// A connection from SYN to FIN with a full TLS 1.3 handshake and certificates of both sides, without MQTT's packets.
pub const HANDSHAKE_BYTES: u64 = 5_000;
/// A try to connect that nobody answers: a SYN and its repeats.
pub const TRY_BYTES: u64 = 360;

/// On the link for one packet of `bytes`, in either direction, acknowledged by TCP.
#[must_use]
pub const fn wire_bytes(bytes: u64, is_encrypted: bool) -> u64 {
    let records = if is_encrypted { bytes.div_ceil(RECORD_LENGTH) } else { 0 };
    let stream = bytes + records * RECORD_BYTES;
    let segments = stream.div_ceil(SEGMENT_LENGTH);
    // Every second full segment is acknowledged; the last one with the answer, or alone.
    let acknowledgements = segments / 2 + (segments == 1) as u64;
    stream + (segments + acknowledgements) * SEGMENT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_packets_cost_more_than_they_hold_and_large_ones_little_more() {
        assert_eq!(wire_bytes(2, true), 2 + 22 + 2 * 52);
        let chunk = wire_bytes(32_850, true);
        assert!((34_000..35_500).contains(&chunk), "{chunk}");
        assert_eq!(wire_bytes(0, true), 0);
    }
}

//! What a packet of MQTT makes of itself on the link: TLS records, TCP segments and their acknowledgements.
//! A model, for links whose interface can't be read, and for telling classes apart. Measured by `tests/end-to-end`.

/// TLS 1.3: header, content type and tag of a record.
const RECORD_BYTES: u64 = 22;
const RECORD_LENGTH: u64 = 16_384;
/// IPv4 20, TCP 20, timestamps 12.
const SEGMENT_BYTES: u64 = 52;
const SEGMENT_LENGTH: u64 = 1_448;

/// A connection from SYN to FIN with a full TLS 1.3 handshake and certificates of both sides, without MQTT's packets:
/// about this with P-256, 7,200 with RSA 2048, 8,200 with an intermediate authority besides. For planning.
pub const HANDSHAKE_BYTES: u64 = 5_000;
/// Its segments' headers, with those that end it.
const HANDSHAKE_HEADERS: u64 = 850;
/// What is no certificate in it.
const HANDSHAKE_REST: u64 = 860;
/// A try to connect that nobody answers: a SYN and its repeats.
pub const TRY_BYTES: u64 = 360;

/// As [`HANDSHAKE_BYTES`], for a box that shows a chain of `chain` bytes, `leaf` of them its own certificate's, in DER.
/// OpenSSL's brokers show their authority's certificate too, and send two tickets that hold the box's. The broker's
/// certificates are taken for as large as the box's; signatures grow with their keys. Measured with P-256, RSA 2048, and
/// RSA 2048 with an intermediate authority: within 1 %.
#[must_use]
pub const fn handshake_bytes(leaf: u64, chain: u64) -> u64 {
    let shown_by_broker = if chain > 2 * leaf { chain } else { 2 * leaf };
    let records = HANDSHAKE_REST + 3 * leaf + chain + shown_by_broker;
    records + HANDSHAKE_HEADERS
}

/// On the link for one small packet among others, which carry its acknowledgement.
#[must_use]
pub const fn accompanied_bytes(bytes: u64, is_encrypted: bool) -> u64 {
    bytes + if is_encrypted { RECORD_BYTES } else { 0 } + SEGMENT_BYTES
}

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
    fn a_handshake_costs_what_its_certificates_do() {
        assert!((4_700..5_100).contains(&handshake_bytes(513, 513)), "P-256");
        assert!((7_000..7_400).contains(&handshake_bytes(909, 909)), "RSA 2048");
        assert!((7_900..8_500).contains(&handshake_bytes(914, 1_829)), "with an intermediate authority");
    }

    #[test]
    fn small_packets_cost_more_than_they_hold_and_large_ones_little_more() {
        assert_eq!(wire_bytes(2, true), 2 + 22 + 2 * 52);
        let chunk = wire_bytes(32_850, true);
        assert!((34_000..35_500).contains(&chunk), "{chunk}");
        assert_eq!(wire_bytes(0, true), 0);
    }
}

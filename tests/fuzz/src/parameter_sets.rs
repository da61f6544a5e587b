//! NAL units and parameter sets as a camera or a file delivers them. The first byte chooses the length of the prefixes,
//! the rest is read as Annex B, as length-prefixed data and as one parameter set. No unit reaches beyond the data.

use kitchen_vision::h264;

pub fn check(input: &[u8]) {
    let Some((first, data)) = input.split_first() else { return };
    let units: Vec<&[u8]> = h264::nal_units(data).collect();
    assert!(units.iter().map(|unit| unit.len()).sum::<usize>() <= data.len());
    let mut again = Vec::new();
    units.iter().for_each(|unit| h264::push_annex_b(&mut again, unit));
    assert!(h264::nal_units(&again).eq(units.iter().copied()), "written and read again");

    let prefixed: Vec<Option<&[u8]>> = h264::length_prefixed(data, usize::from(first & 3) + 1).collect();
    assert!(prefixed.iter().rev().skip(1).all(Option::is_some), "nothing is read after a length beyond the end");
    assert!(prefixed.iter().flatten().map(|unit| unit.len()).sum::<usize>() <= data.len());

    let pps = units.iter().find(|unit| h264::nal_type(unit) == h264::PPS).copied().unwrap_or_default();
    for sps in units.into_iter().chain([data]) {
        let full_range = h264::is_full_range(sps);
        let Some(info) = h264::stream_info(sps, pps) else { continue };
        assert!(info.width > 0 && info.height > 0, "a picture of {}×{}", info.width, info.height);
        assert!(info.frame_rate.is_none_or(|rate| rate.is_finite() && rate > 0.0), "{:?}", info.frame_rate);
        assert_eq!((info.codec.len(), info.full_range), ("avc1.64001e".len(), full_range));
        assert_eq!((&info.sps[..], &info.pps[..]), (sps, pps));
    }
}

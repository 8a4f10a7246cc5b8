//! Makes a valid frame wrong, in the ways that find mistakes in parsers: a little, and where it matters.

use super::outer::{Frame, put16};
use crate::prng::Prng;

/// Bytes that sit on an edge.
const EDGES: [u8; 9] = [0, 1, 2, 0x3f, 0x40, 0x7f, 0x80, 0xfe, 0xff];

/// Changes `frame` in one to three ways; `donor` is another frame to take pieces from. The length stays within `sizes`.
pub fn mutate(frame: &mut Frame, donor: &[u8], sizes: (usize, usize), prng: &mut Prng) {
    for _ in 0..prng.between(1, 3) {
        once(frame, donor, prng);
    }
    // Behind a wrong checksum nobody looks at the rest: half of the frames get right ones.
    match prng.below(4) {
        0 => frame.seal(),
        1 => frame.set_checksums(),
        _ => {}
    }
    outer_lengths(frame, prng);
    let length = frame.bytes.len();
    if length < sizes.0 {
        prng.append(&mut frame.bytes, sizes.0 - length);
    }
    frame.bytes.truncate(sizes.1);
}

fn once(frame: &mut Frame, donor: &[u8], prng: &mut Prng) {
    // Two of three changes hit the DMSC packet, if there is one.
    let start = if prng.chance(66) { frame.dmsc } else { 0 };
    let bytes = &mut frame.bytes;
    let Some(span) = bytes.len().checked_sub(start + 1) else {
        return;
    };
    let reach = if prng.chance(70) { 80 } else { usize::MAX };
    let at = start + prng.below((span + 1).min(reach));
    match prng.below(9) {
        0 => {
            for _ in 0..prng.between(1, 8) {
                let bit = prng.below(8);
                let place = start + prng.below(span + 1);
                bytes[place] ^= 1 << bit;
            }
        }
        1 => bytes[at] = *prng.pick(&EDGES),
        2 => bytes.truncate(at),
        3 => {
            let most = if prng.chance(80) { 64 } else { 1500 };
            let more = prng.between(1, most);
            prng.append(bytes, more);
        }
        4 => {
            let from = prng.below(donor.len());
            let n = prng
                .between(1, 64)
                .min(donor.len() - from)
                .min(bytes.len() - at);
            bytes[at..at + n].copy_from_slice(&donor[from..from + n]);
        }
        5 => {
            // Two halves of different frames.
            bytes.truncate(at);
            bytes.extend_from_slice(&donor[at.min(donor.len())..]);
        }
        6 => {
            let n = prng.between(1, 32).min(bytes.len() - at);
            bytes.drain(at..at + n);
        }
        7 => {
            let n = prng.between(1, 32).min(bytes.len() - at);
            let piece = bytes[at..at + n].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => dmsc_lengths(frame, prng),
    }
}

/// Lengths inside of the DMSC header: of header, payload, names, components and options.
fn dmsc_lengths(frame: &mut Frame, prng: &mut Prng) {
    let dmsc = frame.dmsc;
    if dmsc == 0 || frame.bytes.len() < dmsc + 44 {
        return;
    }
    let bytes = &mut frame.bytes[dmsc..];
    let edge = *prng.pick(&EDGES);
    match prng.below(6) {
        at @ (0 | 1) => {
            let at = 4 + 2 * at;
            let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let new = match prng.below(4) {
                0 => old.wrapping_add(4),
                1 => old.wrapping_sub(4),
                2 => u16::from(edge),
                _ => prng.bits() as u16,
            };
            put16(bytes, at, new);
        }
        2 => bytes[36] = edge,
        3 => bytes[37] = edge,
        4 => bytes[40] = edge,
        _ => {
            let options =
                (40 + usize::from(bytes[36]) + usize::from(bytes[37])).next_multiple_of(4);
            if let Some(length) = bytes.get_mut(options + 1) {
                *length = edge;
            }
        }
    }
}

/// Lengths of IP and UDP that do not fit, now and then, behind checksums that may.
fn outer_lengths(frame: &mut Frame, prng: &mut Prng) {
    if frame.ip == 0 || !prng.chance(10) {
        return;
    }
    let value = match prng.below(3) {
        0 => u16::from(*prng.pick(&EDGES)),
        1 => frame.bytes.len() as u16,
        _ => prng.bits() as u16,
    };
    let at = match prng.below(4) {
        0 => frame.ip + 2,
        1 => frame.ip + 4,
        2 => frame.transport + 4,
        _ => frame.ip,
    };
    put16(&mut frame.bytes, at, value);
    if prng.chance(50) {
        frame.set_checksums();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_stay_in_range_and_nothing_panics() {
        let mut prng = Prng::new(7, 0);
        for round in 0..20_000 {
            let mut frame = Frame::default();
            let length = prng.between(1, 200);
            prng.append(&mut frame.bytes, length);
            if round % 2 == 0 && length > 60 {
                (frame.ip, frame.transport, frame.dmsc) = (14, 34, 42);
            }
            let mut donor = Vec::new();
            let other = prng.between(1, 300);
            prng.append(&mut donor, other);
            mutate(&mut frame, &donor, (15, 1514), &mut prng);
            assert!(
                (15..=1514).contains(&frame.bytes.len()),
                "{}",
                frame.bytes.len()
            );
        }
    }
}

//! The heads of HTTP/2's frames, in the bytes of a connection as they come.

use super::http::PREFACE;

/// Length, type, flags and stream (RFC 9113, 4.1).
const HEAD: usize = 9;

/// Goes from head to head of what a client says; what is between them is not looked at.
#[derive(Debug)]
pub struct Heads {
    /// Bytes before the next head.
    skip: usize,
    /// What has come of it.
    part: [u8; HEAD],
    come: usize,
}

impl Heads {
    /// Of a connection that begins with the preface.
    pub const fn new() -> Self {
        Self {
            skip: PREFACE.len(),
            part: [0; HEAD],
            come: 0,
        }
    }

    /// Tells `found` type and flags of each frame whose head ends in these bytes.
    pub fn read(&mut self, mut bytes: &[u8], mut found: impl FnMut(u8, u8)) {
        loop {
            let step = self.skip.min(bytes.len());
            self.skip -= step;
            bytes = &bytes[step..];
            if bytes.is_empty() {
                return;
            }
            let head = match bytes.split_first_chunk() {
                Some((head, rest)) if self.come == 0 => {
                    bytes = rest;
                    *head
                }
                _ => {
                    let step = bytes.len().min(HEAD - self.come);
                    self.part[self.come..self.come + step].copy_from_slice(&bytes[..step]);
                    self.come += step;
                    bytes = &bytes[step..];
                    if self.come < HEAD {
                        return;
                    }
                    self.come = 0;
                    self.part
                }
            };
            let [a, b, c, kind, flags, ..]: [u8; HEAD] = head;
            self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
            found(kind, flags);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u32) -> Vec<u8> {
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags, 0, 0, 0, 1]);
        // Payloads look like heads of pings.
        bytes.extend([0, 0, 8, 6].iter().cycle().take(length as usize));
        bytes
    }

    const FRAMES: [(u8, u8, u32); 6] = [
        (4, 0, 12),
        (1, 5, 30),
        (4, 1, 0),
        (0, 0, 70_000),
        (6, 0, 8),
        (0, 1, 1),
    ];

    fn connection() -> Vec<u8> {
        let frames = FRAMES.map(|(kind, flags, length)| frame(kind, flags, length));
        [PREFACE, &frames.concat()].concat()
    }

    fn found(pieces: &[&[u8]]) -> Vec<(u8, u8)> {
        let (mut heads, mut all) = (Heads::new(), Vec::new());
        for piece in pieces {
            heads.read(piece, |kind, flags| all.push((kind, flags)));
        }
        all
    }

    #[test]
    fn frames_are_found_wherever_the_bytes_are_split() {
        let bytes = connection();
        let expected = FRAMES.map(|(kind, flags, _)| (kind, flags));
        assert_eq!(found(&[&bytes]), expected);
        for at in 0..=bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_eq!(found(&[first, second]), expected, "split at {at}");
        }
        for length in 1..40 {
            let pieces: Vec<&[u8]> = bytes.chunks(length).collect();
            assert_eq!(found(&pieces), expected, "pieces of {length}");
        }
    }

    #[test]
    fn a_head_is_told_when_its_last_byte_is_there_and_not_before() {
        let bytes = [PREFACE, &frame(6, 0, 8)].concat();
        let end = PREFACE.len() + HEAD;
        assert_eq!(found(&[&bytes[..end - 1]]), []);
        assert_eq!(found(&[&bytes[..end]]), [(6, 0)]);
    }
}

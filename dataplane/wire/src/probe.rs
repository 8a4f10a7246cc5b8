//! Probes (type 6): four time stamps that measure one adjacency.

use crate::build::{BuildError, PacketBuilder};
use crate::ids::{Class, NodeId};
use crate::kind::Kind;

/// Payload of a probe, all stamps in nanoseconds of the stamping node's own clock (as in RFC 5905). A node
/// sends it with `t1`, the neighbour sends it back with `t2` and `t3`, the first notes `t4`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Probe {
    /// The sender's number of this probe.
    pub id: u64,
    /// Left the sender.
    pub t1: u64,
    /// Arrived at the neighbour; 0 on the way there.
    pub t2: u64,
    /// Left the neighbour; 0 on the way there.
    pub t3: u64,
    /// Arrived back; 0 on the wire.
    pub t4: u64,
}

/// Why a payload is not a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProbeError {
    /// Not exactly 40 bytes.
    #[error("probe payload of {0} bytes, expected 40")]
    BadLength(usize),
}

impl ProbeError {
    /// The reason as a kebab-case word.
    pub const fn reason(&self) -> &'static str {
        match self {
            ProbeError::BadLength(_) => "probe-bad-length",
        }
    }
}

impl Probe {
    /// Bytes of the payload.
    pub const PAYLOAD_LEN: usize = 40;
    /// Bytes of the packet.
    pub const PACKET_LEN: usize = crate::FIXED_LEN + Self::PAYLOAD_LEN;

    /// Whether the probe is on its way out and asks for an answer.
    pub fn is_question(&self) -> bool {
        self.t2 == 0 && self.t3 == 0
    }

    /// Nanoseconds on the way there and back, without the neighbour's own time; `None` until all stamps make sense.
    pub fn round_trip_ns(&self) -> Option<u64> {
        self.t4
            .checked_sub(self.t1)?
            .checked_sub(self.t3.checked_sub(self.t2)?)
    }

    /// The payload.
    pub fn payload(&self) -> [u8; Self::PAYLOAD_LEN] {
        let mut out = [0; Self::PAYLOAD_LEN];
        for (place, value) in out
            .chunks_exact_mut(8)
            .zip([self.id, self.t1, self.t2, self.t3, self.t4])
        {
            place.copy_from_slice(&value.to_be_bytes());
        }
        out
    }

    /// Writes the whole packet, hop limit 1, from `node` in `class` (which decides the queue that is measured).
    ///
    /// # Errors
    /// [`BuildError`] if `out` is shorter than [`Self::PACKET_LEN`] or the class above 7.
    pub fn write(&self, node: NodeId, class: Class, out: &mut [u8]) -> Result<usize, BuildError> {
        PacketBuilder::new(Kind::Probe)
            .hop_limit(1)
            .class(class)
            .source_gateway(node)
            .payload(&self.payload())
            .write(out)
    }

    /// Decodes the payload of a type 6 packet.
    ///
    /// # Errors
    /// [`ProbeError`] if it has not exactly 40 bytes.
    pub fn decode(payload: &[u8]) -> Result<Probe, ProbeError> {
        let Ok(payload) = <&[u8; Self::PAYLOAD_LEN]>::try_from(payload) else {
            return Err(ProbeError::BadLength(payload.len()));
        };
        let mut words = [0; 5];
        for (word, bytes) in words.iter_mut().zip(payload.as_chunks::<8>().0) {
            *word = u64::from_be_bytes(*bytes);
        }
        let [id, t1, t2, t3, t4] = words;
        Ok(Probe { id, t1, t2, t3, t4 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[test]
    fn a_probe_comes_back_as_it_was() {
        let probe = Probe {
            id: 1,
            t1: 1_000,
            t2: 70,
            t3: 80,
            t4: 1_110,
        };
        let mut out = [0; Probe::PACKET_LEN];
        assert_eq!(probe.write(NodeId(3), Class(6), &mut out), Ok(80));
        let header = parse(&out).expect("valid");
        assert_eq!(
            (header.hop_limit, header.class, header.source_gateway),
            (1, Class(6), NodeId(3))
        );
        assert_eq!(Probe::decode(header.payload(&out)), Ok(probe));
        assert_eq!(probe.round_trip_ns(), Some(100));
        assert!(
            !probe.is_question()
                && Probe {
                    t2: 0,
                    t3: 0,
                    ..probe
                }
                .is_question()
        );
        assert_eq!(Probe { t4: 5, ..probe }.round_trip_ns(), None);
        assert_eq!(Probe::decode(&out), Err(ProbeError::BadLength(80)));
    }
}

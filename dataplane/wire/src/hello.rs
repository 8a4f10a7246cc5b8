//! Hellos (type 5): who is at the other end of an adjacency, whether both hear each other, and for how long.
//!
//! This crate places the MAC and says which bytes it covers; the key and the HMAC are the router's.

use crate::FIXED_LEN;
use crate::build::{BuildError, PacketBuilder};
use crate::ids::{Class, NodeId, PortId};
use crate::kind::Kind;

/// State of one end of an adjacency, as in BFD (RFC 5880) without its administrative state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum HelloState {
    /// Nothing heard, or no longer.
    #[default]
    Down = 0,
    /// The peer is heard, but not known to hear us.
    Init = 1,
    /// Both hear each other.
    Up = 2,
}

impl HelloState {
    /// The state of a code, if it has one.
    pub const fn from_code(code: u8) -> Option<HelloState> {
        Some(match code {
            0 => HelloState::Down,
            1 => HelloState::Init,
            2 => HelloState::Up,
            _ => return None,
        })
    }

    /// Name for people, kebab-case.
    pub const fn as_str(self) -> &'static str {
        match self {
            HelloState::Down => "down",
            HelloState::Init => "init",
            HelloState::Up => "up",
        }
    }
}

/// What a node last heard from its peer on this adjacency.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Heard {
    /// The peer.
    pub node: NodeId,
    /// The peer's port.
    pub port: PortId,
    /// The peer's boot nonce.
    pub boot_nonce: u64,
    /// Sequence of the last hello that was accepted.
    pub sequence: u64,
    /// The peer's state in it.
    pub state: HelloState,
}

/// A hello (design §3). Equal structs have equal bytes and the other way round.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Hello {
    /// Who sends.
    pub node: NodeId,
    /// From which of its ports.
    pub port: PortId,
    /// Random per start of the dataplane: tells a restart from a gap, and old hellos from new.
    pub boot_nonce: u64,
    /// Grows by one per hello of this port and boot.
    pub sequence: u64,
    /// The sender's own state.
    pub state: HelloState,
    /// What it last heard; `None` as long as that is nothing.
    pub heard: Option<Heard>,
    /// Lowest version of the format that the sender understands, at least 1.
    pub version_min: u8,
    /// Highest version that the sender understands.
    pub version_max: u8,
    /// Milliseconds between its hellos, at least 1.
    pub interval_ms: u16,
    /// Missing hellos after which the peer is down, at least 1.
    pub multiplier: u8,
    /// Largest header + payload in bytes that the sender takes on this port.
    pub mtu: u16,
    /// Key of the MAC; 0: unsigned.
    pub key_id: u16,
    /// HMAC-SHA256 over [`Hello::signed_bytes`], cut to 16 bytes; zero if unsigned.
    pub mac: [u8; 16],
}

/// Why a payload is not a hello; checked in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HelloError {
    /// Not exactly 76 bytes.
    #[error("hello payload of {0} bytes, expected 76")]
    BadLength(usize),
    /// A reserved bit is set, or a field that must be zero without its flag or key is not.
    #[error("hello byte {0} must be zero here")]
    NotZero(usize),
    /// A state without a meaning.
    #[error("unknown hello state {0}")]
    BadState(u8),
    /// Minimum version 0 or above the maximum.
    #[error("hello versions {min}..{max} are not a range from 1 up")]
    BadVersions {
        /// Lowest.
        min: u8,
        /// Highest.
        max: u8,
    },
    /// Interval or multiplier 0.
    #[error("hello interval and multiplier must not be 0")]
    BadTiming,
}

impl HelloError {
    /// The reason as a kebab-case word.
    pub const fn reason(&self) -> &'static str {
        match self {
            HelloError::BadLength(_) => "hello-bad-length",
            HelloError::NotZero(_) => "hello-not-zero",
            HelloError::BadState(_) => "hello-bad-state",
            HelloError::BadVersions { .. } => "hello-bad-versions",
            HelloError::BadTiming => "hello-bad-timing",
        }
    }
}

/// Flag in byte 7: the fields about the peer are there.
const HEARD: u8 = 0x01;
/// Where the MAC starts.
const MAC_AT: usize = Hello::PAYLOAD_LEN - 16;

impl Hello {
    /// Bytes of the payload.
    pub const PAYLOAD_LEN: usize = 76;
    /// Bytes of the packet.
    pub const PACKET_LEN: usize = FIXED_LEN + Self::PAYLOAD_LEN;
    /// What the MAC covers starts with this, so that a key never signs two kinds of things alike.
    pub const MAC_CONTEXT: &'static [u8; 16] = b"dmsc hello v1\0\0\0";
    /// Bytes that the MAC covers.
    pub const SIGNED_LEN: usize = 16 + MAC_AT;

    /// The payload, with the MAC as it stands in the struct.
    pub fn payload(&self) -> [u8; Self::PAYLOAD_LEN] {
        let mut out = [0; Self::PAYLOAD_LEN];
        let mut put = |at: usize, value: &[u8]| out[at..at + value.len()].copy_from_slice(value);
        put(0, &self.node.0.to_be_bytes());
        put(4, &self.port.0.to_be_bytes());
        put(
            6,
            &[
                self.state as u8,
                if self.heard.is_some() { HEARD } else { 0 },
            ],
        );
        put(8, &self.boot_nonce.to_be_bytes());
        put(16, &self.sequence.to_be_bytes());
        put(24, &[self.version_min, self.version_max]);
        put(26, &self.interval_ms.to_be_bytes());
        put(28, &[self.multiplier]);
        put(30, &self.mtu.to_be_bytes());
        if let Some(heard) = self.heard {
            put(32, &heard.node.0.to_be_bytes());
            put(36, &heard.port.0.to_be_bytes());
            put(38, &[heard.state as u8]);
            put(40, &heard.boot_nonce.to_be_bytes());
            put(48, &heard.sequence.to_be_bytes());
        }
        put(56, &self.key_id.to_be_bytes());
        put(MAC_AT, &self.mac);
        out
    }

    /// What the MAC covers: a context string and all of the payload before the MAC.
    pub fn signed_bytes(&self) -> [u8; Self::SIGNED_LEN] {
        let mut out = [0; Self::SIGNED_LEN];
        out[..16].copy_from_slice(Self::MAC_CONTEXT);
        out[16..].copy_from_slice(&self.payload()[..MAC_AT]);
        out
    }

    /// The hello with `key_id` and the MAC that `mac` computes over [`Self::signed_bytes`].
    #[must_use]
    pub fn sign(mut self, key_id: u16, mac: impl FnOnce(&[u8]) -> [u8; 16]) -> Hello {
        self.key_id = key_id;
        self.mac = mac(&self.signed_bytes());
        self
    }

    /// Writes the whole packet: hop limit 1, class 7, source gateway = node, no names.
    ///
    /// # Errors
    /// [`BuildError::BufferTooSmall`] if `out` is shorter than [`Self::PACKET_LEN`].
    pub fn write(&self, out: &mut [u8]) -> Result<usize, BuildError> {
        PacketBuilder::new(Kind::Hello)
            .hop_limit(1)
            .class(Class::CONTROL)
            .source_gateway(self.node)
            .payload(&self.payload())
            .write(out)
    }

    /// The whole packet, as [`Self::write`].
    pub fn packet(&self) -> [u8; Self::PACKET_LEN] {
        let mut out = [0; Self::PACKET_LEN];
        // Cannot fail: no names, a valid class, and a buffer of exactly the length.
        let _ = self.write(&mut out);
        out
    }

    /// Decodes the payload of a type 5 packet. The MAC is not checked here.
    ///
    /// # Errors
    /// [`HelloError`]: the first check that failed, in the order of its variants.
    pub fn decode(payload: &[u8]) -> Result<Hello, HelloError> {
        let Ok(p) = <&[u8; Self::PAYLOAD_LEN]>::try_from(payload) else {
            return Err(HelloError::BadLength(payload.len()));
        };
        let be16 = |at: usize| u16::from_be_bytes([p[at], p[at + 1]]);
        let be32 = |at: usize| u32::from_be_bytes([p[at], p[at + 1], p[at + 2], p[at + 3]]);
        let be64 = |at: usize| u64::from(be32(at)) << 32 | u64::from(be32(at + 4));
        if p[7] & !HEARD != 0 {
            return Err(HelloError::NotZero(7));
        }
        let is_heard = p[7] & HEARD != 0;
        let key_id = be16(56);
        let heard_fields = if is_heard { 39..40 } else { 32..56 };
        let mac_field = if key_id == 0 {
            MAC_AT..Self::PAYLOAD_LEN
        } else {
            0..0
        };
        if let Some(at) = (29..30)
            .chain(heard_fields)
            .chain(58..60)
            .chain(mac_field)
            .find(|&at| p[at] != 0)
        {
            return Err(HelloError::NotZero(at));
        }
        let state = |at: usize| HelloState::from_code(p[at]).ok_or(HelloError::BadState(p[at]));
        let own_state = state(6)?;
        let heard = if is_heard {
            Some(Heard {
                node: NodeId(be32(32)),
                port: PortId(be16(36)),
                state: state(38)?,
                boot_nonce: be64(40),
                sequence: be64(48),
            })
        } else {
            None
        };
        let (min, max) = (p[24], p[25]);
        if min == 0 || min > max {
            return Err(HelloError::BadVersions { min, max });
        }
        let (interval_ms, multiplier) = (be16(26), p[28]);
        if interval_ms == 0 || multiplier == 0 {
            return Err(HelloError::BadTiming);
        }
        let mut mac = [0; 16];
        mac.copy_from_slice(&p[MAC_AT..]);
        Ok(Hello {
            node: NodeId(be32(0)),
            port: PortId(be16(4)),
            boot_nonce: be64(8),
            sequence: be64(16),
            state: own_state,
            heard,
            version_min: min,
            version_max: max,
            interval_ms,
            multiplier,
            mtu: be16(30),
            key_id,
            mac,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;
    use proptest::prelude::*;

    fn hello() -> Hello {
        Hello {
            node: NodeId(1),
            port: PortId(2),
            boot_nonce: 3,
            sequence: 4,
            state: HelloState::Up,
            heard: Some(Heard {
                node: NodeId(5),
                port: PortId(6),
                boot_nonce: 7,
                sequence: 8,
                state: HelloState::Init,
            }),
            version_min: 1,
            version_max: 1,
            interval_ms: 50,
            multiplier: 3,
            mtu: 1800,
            key_id: 0,
            mac: [0; 16],
        }
    }

    #[test]
    fn a_hello_is_a_packet_of_one_hop() {
        let signed = hello().sign(9, |bytes| {
            assert_eq!(
                (bytes.len(), &bytes[..16]),
                (Hello::SIGNED_LEN, &Hello::MAC_CONTEXT[..])
            );
            assert_eq!(bytes[16 + 57], 9, "the key id is covered");
            [0xaa; 16]
        });
        let packet = signed.packet();
        let header = parse(&packet).expect("valid");
        assert_eq!(
            (header.kind, header.hop_limit, header.class),
            (Kind::Hello, 1, Class(7))
        );
        assert_eq!(Hello::decode(header.payload(&packet)), Ok(signed));
        assert_eq!(packet[packet.len() - 16..], [0xaa; 16]);
    }

    #[test]
    fn payloads_are_checked() {
        let good = hello().payload();
        let with = |changes: &[(usize, u8)]| {
            let mut p = good;
            changes.iter().for_each(|&(at, value)| p[at] = value);
            Hello::decode(&p).map(|_| ()).map_err(|e| e.reason())
        };
        assert_eq!(with(&[]), Ok(()));
        assert_eq!(with(&[(6, 3)]), Err("hello-bad-state"));
        assert_eq!(with(&[(38, 3)]), Err("hello-bad-state"));
        for at in [29, 39, 58, 59, 60, 75] {
            assert_eq!(with(&[(at, 1)]), Err("hello-not-zero"), "byte {at}");
        }
        assert_eq!(with(&[(57, 1), (60, 1)]), Ok(()));
        assert_eq!(with(&[(7, 0)]), Err("hello-not-zero"));
        assert_eq!(with(&[(7, 3)]), Err("hello-not-zero"));
        assert_eq!(with(&[(24, 0)]), Err("hello-bad-versions"));
        assert_eq!(with(&[(24, 2)]), Err("hello-bad-versions"));
        assert_eq!(with(&[(27, 0)]), Err("hello-bad-timing"));
        assert_eq!(with(&[(28, 0)]), Err("hello-bad-timing"));
        assert_eq!(Hello::decode(&good[1..]), Err(HelloError::BadLength(75)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn accepted_payloads_come_back_byte_by_byte(changes in prop::collection::vec((0usize..76, any::<u8>()), 0..4)) {
            let mut payload = hello().payload();
            changes.iter().for_each(|&(at, value)| payload[at] = value);
            if let Ok(decoded) = Hello::decode(&payload) {
                prop_assert_eq!(decoded.payload(), payload);
            }
        }
    }
}

//! Probes (type 6): four time stamps that measure an adjacency or a way, and what the answerer says of itself.

use crate::build::{BuildError, PacketBuilder};
use crate::header::Header;
use crate::ids::{Class, NodeId};
use crate::kind::Kind;
use crate::reply::EchoSource;

/// How the answerer of a probe is; the later one is the worse.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum ProbeHealth {
    /// Takes calls.
    #[default]
    Healthy = 0,
    /// Answers what comes, and wants no new calls.
    Draining = 1,
    /// Has more than it can do.
    Overloaded = 2,
}

impl ProbeHealth {
    /// The health of a code, if it has one.
    pub const fn from_code(code: u8) -> Option<ProbeHealth> {
        Some(match code {
            0 => ProbeHealth::Healthy,
            1 => ProbeHealth::Draining,
            2 => ProbeHealth::Overloaded,
            _ => return None,
        })
    }

    /// The word for people and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            ProbeHealth::Healthy => "healthy",
            ProbeHealth::Draining => "draining",
            ProbeHealth::Overloaded => "overloaded",
        }
    }
}

/// What the answerer of a probe says of itself, found by its own self-detection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct ProbeState {
    /// How it is.
    pub health: ProbeHealth,
    /// How much of what it can do it does, in thousandths; may exceed 1,000.
    pub load_permille: u16,
}

/// Payload of a probe, all stamps in nanoseconds of the stamping node's own clock (as in RFC 5905). A node
/// sends it with `t1`, the answerer sends it back with `t2` and `t3`, the first notes `t4`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Probe {
    /// The sender's number of this probe.
    pub id: u64,
    /// Left the sender.
    pub t1: u64,
    /// Arrived at the answerer; 0 on the way there.
    pub t2: u64,
    /// Left the answerer; 0 on the way there.
    pub t3: u64,
    /// Arrived back; 0 on the wire.
    pub t4: u64,
    /// What the answerer says of itself; `None` on the way there, and of who does not know.
    pub state: Option<ProbeState>,
}

/// Why a payload is not a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProbeError {
    /// Not exactly 48 bytes.
    #[error("probe payload of {0} bytes, expected 48")]
    BadLength(usize),
    /// A bit or byte that must be 0: reserved ones, and the state where it is not known.
    #[error("probe: a reserved bit or byte is not 0")]
    NotZero,
    /// No health of this version.
    #[error("probe: health {0}, expected 0 to 2")]
    BadHealth(u8),
}

impl ProbeError {
    /// The reason as a kebab-case word.
    pub const fn reason(&self) -> &'static str {
        match self {
            ProbeError::BadLength(_) => "probe-bad-length",
            ProbeError::NotZero => "probe-not-zero",
            ProbeError::BadHealth(_) => "probe-bad-health",
        }
    }
}

/// Flag: health and load are known.
const KNOWN: u8 = 1;

impl Probe {
    /// Bytes of the payload.
    pub const PAYLOAD_LEN: usize = 48;
    /// Bytes of the packet between neighbours, which has no names.
    pub const PACKET_LEN: usize = crate::FIXED_LEN + Self::PAYLOAD_LEN;

    /// Whether the probe is on its way out and asks for an answer. An answer is none, and is never answered.
    pub fn is_question(&self) -> bool {
        self.t2 == 0 && self.t3 == 0
    }

    /// The same probe on its way back: arrived at `t2` and leaving at `t3` by the answerer's clock. Neither becomes 0, or it would be a question again.
    #[must_use]
    pub fn answered(self, t2: u64, t3: u64, state: Option<ProbeState>) -> Probe {
        Probe {
            t2: t2.max(1),
            t3: t3.max(t2).max(1),
            state,
            ..self
        }
    }

    /// Nanoseconds on the way there and back, without the answerer's own time; `None` until all stamps make sense.
    pub fn round_trip_ns(&self) -> Option<u64> {
        self.t4
            .checked_sub(self.t1)?
            .checked_sub(self.residence_ns()?)
    }

    /// Nanoseconds that the answerer had it; `None` if its stamps contradict each other.
    pub fn residence_ns(&self) -> Option<u64> {
        self.t3.checked_sub(self.t2)
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
        if let Some(state) = self.state {
            let [high, low] = state.load_permille.to_be_bytes();
            out[40..44].copy_from_slice(&[state.health as u8, KNOWN, high, low]);
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
    /// [`ProbeError`]: the first check that failed, in the order of its variants.
    pub fn decode(payload: &[u8]) -> Result<Probe, ProbeError> {
        let Ok(payload) = <&[u8; Self::PAYLOAD_LEN]>::try_from(payload) else {
            return Err(ProbeError::BadLength(payload.len()));
        };
        let mut words = [0; 5];
        for (word, bytes) in words.iter_mut().zip(payload.as_chunks::<8>().0) {
            *word = u64::from_be_bytes(*bytes);
        }
        let [id, t1, t2, t3, t4] = words;
        let [.., health, flags, high, low, r1, r2, r3, r4] = *payload;
        let load_permille = u16::from_be_bytes([high, low]);
        let known = flags & KNOWN != 0;
        if flags & !KNOWN != 0
            || [r1, r2, r3, r4] != [0; 4]
            || !known && (health, load_permille) != (0, 0)
        {
            return Err(ProbeError::NotZero);
        }
        let health = ProbeHealth::from_code(health).ok_or(ProbeError::BadHealth(health))?;
        let state = known.then_some(ProbeState {
            health,
            load_permille,
        });
        Ok(Probe {
            id,
            t1,
            t2,
            t3,
            t4,
            state,
        })
    }
}

/// Writes the answer to a `question` that came with names: to who asked and nobody else, hence pinned, and without options, so it is never longer than
/// the question. `probe` is what it [became](Probe::answered). Returns the length.
///
/// # Errors
/// [`BuildError`] if `out` is too small or a longer answering name makes the header too long.
pub fn build_probe_answer(
    question: &[u8],
    header: &Header,
    probe: &Probe,
    own: EchoSource<'_>,
    out: &mut [u8],
) -> Result<usize, BuildError> {
    let payload = probe.payload();
    let mut answer = PacketBuilder::reply_to(Kind::Probe, question, header)
        .pinned()
        .source_gateway(own.gateway)
        .source_attachment(own.attachment)
        .payload(&payload);
    if let Some(name) = own.name {
        answer = answer.source(name);
    }
    answer.write(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AttachmentId, Flags, NameBuf, RequestId, parse};

    const BUSY: ProbeState = ProbeState {
        health: ProbeHealth::Overloaded,
        load_permille: 1_200,
    };

    #[test]
    fn a_probe_comes_back_as_it_was() {
        let probe = Probe {
            id: 1,
            t1: 1_000,
            t2: 70,
            t3: 80,
            t4: 1_110,
            state: Some(BUSY),
        };
        let mut out = [0; Probe::PACKET_LEN];
        assert_eq!(probe.write(NodeId(3), Class(6), &mut out), Ok(88));
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
        assert_eq!(Probe::decode(&out), Err(ProbeError::BadLength(88)));
    }

    #[test]
    fn what_is_reserved_is_zero() {
        let good = Probe {
            state: Some(BUSY),
            ..Probe::default()
        }
        .payload();
        let with = |at: usize, value: u8| {
            let mut payload = good;
            payload[at] = value;
            Probe::decode(&payload)
        };
        assert_eq!(with(40, 3), Err(ProbeError::BadHealth(3)));
        // Without the flag nothing may be said.
        for (at, value) in [(41, 0), (41, 3), (44, 1), (47, 1)] {
            assert_eq!(with(at, value), Err(ProbeError::NotZero), "{at}");
        }
        let unknown = Probe::decode(&[0; 48]).expect("valid");
        assert_eq!(unknown.state, None);
    }

    #[test]
    fn an_answer_goes_to_who_asked_and_is_not_longer() {
        let (cart, router) = (
            NameBuf::parse("/shop/cart").expect("name"),
            NameBuf::parse("/dmsc/1").expect("name"),
        );
        let asked = Probe {
            id: 9,
            t1: 5,
            ..Probe::default()
        };
        let payload = asked.payload();
        let question = PacketBuilder::new(Kind::Probe)
            .destination(cart.as_name())
            .source(router.as_name())
            .request_id(RequestId(9))
            .flag(Flags::BY_DELAY | Flags::IDEMPOTENT)
            .source_gateway(NodeId(1))
            .option(crate::OptionType(0x01), b"opaque")
            .payload(&payload)
            .to_vec()
            .expect("builds");
        let header = parse(&question).expect("valid");
        let own = EchoSource {
            gateway: NodeId(2),
            attachment: AttachmentId(7),
            name: None,
        };
        let mut out = vec![0; question.len()];
        let answer = asked.answered(0, 0, Some(BUSY));
        let length =
            build_probe_answer(&question, &header, &answer, own, &mut out).expect("no longer");
        let back = parse(&out[..length]).expect("valid");
        assert_eq!(back.destination_name(&out), Some(router.as_name()));
        assert_eq!(
            (back.destination_gateway, back.source_attachment, back.flags),
            (NodeId(1), AttachmentId(7), Flags::PINNED | Flags::BY_DELAY)
        );
        let probe = Probe::decode(back.payload(&out)).expect("a probe");
        assert!(!probe.is_question());
        assert_eq!((probe.id, probe.t1, probe.state), (9, 5, Some(BUSY)));
    }
}

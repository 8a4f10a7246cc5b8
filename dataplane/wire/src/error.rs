//! Error packets (type 4): why a router dropped a packet, told to its source.

use crate::FIXED_LEN;
use crate::build::PacketBuilder;
use crate::header::Header;
use crate::ids::{NodeId, RequestId};
use crate::kind::Kind;
use crate::name::RouterName;

/// Bytes of the payload before the offender.
pub const PREAMBLE_LEN: usize = 16;
/// Most bytes of the offender that are carried.
pub const MAX_OFFENDER: usize = 128;

/// Why the packet was dropped (design §3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ErrorCode {
    /// No route to the name or its gateway, or no such attachment.
    NoRoute = 1,
    /// The hop limit ran out.
    HopLimit = 2,
    /// Larger than the way allows; the largest header and payload is in `mtu`.
    TooBig = 3,
    /// Access policy does not let this caller reach this name.
    Denied = 4,
    /// The source name does not belong to the sender.
    SourceNotOwned = 5,
    /// A budget or queue is exhausted.
    Overloaded = 6,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [ErrorCode; 6] = [
        ErrorCode::NoRoute,
        ErrorCode::HopLimit,
        ErrorCode::TooBig,
        ErrorCode::Denied,
        ErrorCode::SourceNotOwned,
        ErrorCode::Overloaded,
    ];

    /// The code of a number, if it has one.
    pub const fn from_code(code: u8) -> Option<ErrorCode> {
        Some(match code {
            1 => ErrorCode::NoRoute,
            2 => ErrorCode::HopLimit,
            3 => ErrorCode::TooBig,
            4 => ErrorCode::Denied,
            5 => ErrorCode::SourceNotOwned,
            6 => ErrorCode::Overloaded,
            _ => return None,
        })
    }

    /// Name for people and metrics, kebab-case.
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorCode::NoRoute => "no-route",
            ErrorCode::HopLimit => "hop-limit",
            ErrorCode::TooBig => "too-big",
            ErrorCode::Denied => "denied",
            ErrorCode::SourceNotOwned => "source-not-owned",
            ErrorCode::Overloaded => "overloaded",
        }
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Payload of an error packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorMessage<'a> {
    /// Why.
    pub code: ErrorCode,
    /// With [`ErrorCode::TooBig`] the largest header + payload in bytes that would have passed; else 0.
    pub mtu: u16,
    /// The router that dropped the packet.
    pub node: NodeId,
    /// Request id of the offender.
    pub request_id: RequestId,
    /// The first 40–128 bytes of the offender, as it was when it was dropped.
    pub offender: &'a [u8],
}

/// Why a payload is not an error message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ErrorMessageError {
    /// Shorter than the preamble and a fixed header, or longer than the preamble and 128 bytes.
    #[error("error payload of {0} bytes, expected 56..=144")]
    BadLength(usize),
    /// A code without a meaning.
    #[error("unknown error code {0}")]
    BadCode(u8),
}

impl ErrorMessageError {
    /// The reason as a kebab-case word.
    pub const fn reason(&self) -> &'static str {
        match self {
            ErrorMessageError::BadLength(_) => "error-bad-length",
            ErrorMessageError::BadCode(_) => "error-bad-code",
        }
    }
}

impl<'a> ErrorMessage<'a> {
    /// Decodes the payload of a type 4 packet.
    ///
    /// # Errors
    /// [`ErrorMessageError`] if length or code are out of range; the reserved byte is ignored.
    pub fn decode(payload: &'a [u8]) -> Result<ErrorMessage<'a>, ErrorMessageError> {
        let bad_length = ErrorMessageError::BadLength(payload.len());
        let Some((fixed, offender)) = payload.split_first_chunk::<PREAMBLE_LEN>() else {
            return Err(bad_length);
        };
        if !(FIXED_LEN..=MAX_OFFENDER).contains(&offender.len()) {
            return Err(bad_length);
        }
        let [code, _, m0, m1, n0, n1, n2, n3, id @ ..] = *fixed;
        Ok(ErrorMessage {
            code: ErrorCode::from_code(code).ok_or(ErrorMessageError::BadCode(code))?,
            mtu: u16::from_be_bytes([m0, m1]),
            node: NodeId(u32::from_be_bytes([n0, n1, n2, n3])),
            request_id: RequestId(u64::from_be_bytes(id)),
            offender,
        })
    }

    fn preamble(&self) -> [u8; PREAMBLE_LEN] {
        let [m0, m1] = self.mtu.to_be_bytes();
        let [n0, n1, n2, n3] = self.node.0.to_be_bytes();
        let [a, b, c, d, e, f, g, h] = self.request_id.0.to_be_bytes();
        [
            self.code as u8,
            0,
            m0,
            m1,
            n0,
            n1,
            n2,
            n3,
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
        ]
    }
}

/// Writes the error packet that answers `offender` (which `header` was parsed from) to the front of `out` and
/// returns its length: to the offender's source gateway, attachment and name, from `/dmsc/<node>`. Allocates nothing.
///
/// `None`: the offender is of a type that is never answered (error, hello, probe), or `out` is too small;
/// 1,024 bytes always suffice.
pub fn build_error(
    code: ErrorCode,
    mtu: u16,
    node: NodeId,
    offender: &[u8],
    header: &Header,
    out: &mut [u8],
) -> Option<usize> {
    if !header.kind.is_from_pods() {
        return None;
    }
    let carried = offender.get(..header.total_len().min(MAX_OFFENDER))?;
    let message = ErrorMessage {
        code,
        mtu,
        node,
        request_id: header.request_id,
        offender: carried,
    };
    let mut payload = [0; PREAMBLE_LEN + MAX_OFFENDER];
    let payload = &mut payload[..PREAMBLE_LEN + carried.len()];
    payload[..PREAMBLE_LEN].copy_from_slice(&message.preamble());
    payload[PREAMBLE_LEN..].copy_from_slice(carried);
    let own_name = RouterName::new(node);
    PacketBuilder::reply_to(Kind::Error, offender, header)
        .source(own_name.as_name())
        .source_gateway(node)
        .payload(payload)
        .write(out)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AttachmentId, Domain, Flags, NameBuf, parse};

    fn offender(kind: Kind, payload: &[u8]) -> Vec<u8> {
        let (a, b) = (
            NameBuf::parse("/a").expect("a"),
            NameBuf::parse("/b").expect("b"),
        );
        PacketBuilder::new(kind)
            .destination(a.as_name())
            .source(b.as_name())
            .domain(Domain(5))
            .request_id(RequestId(77))
            .source_gateway(NodeId(1))
            .source_attachment(AttachmentId(2))
            .pinned()
            .payload(payload)
            .to_vec()
            .expect("builds")
    }

    #[test]
    fn an_error_goes_to_the_source_of_its_offender() {
        for (payload, carried) in [(&[7u8; 300][..], 128), (&[][..], 44)] {
            let bad = offender(Kind::Request, payload);
            let header = parse(&bad).expect("valid");
            let mut out = [0xff; 1024];
            let length = build_error(ErrorCode::TooBig, 1400, NodeId(9), &bad, &header, &mut out)
                .expect("built");
            let packet = &out[..length];
            let back = parse(packet).expect("valid");
            assert_eq!(
                (back.kind, back.flags, back.domain),
                (Kind::Error, Flags::NONE, Domain(5))
            );
            assert_eq!(
                (back.destination_gateway, back.destination_attachment),
                (NodeId(1), AttachmentId(2))
            );
            assert_eq!(
                back.destination_name(packet)
                    .map(|n| n.to_string())
                    .as_deref(),
                Some("/b")
            );
            assert_eq!(
                back.source_name(packet).map(|n| n.to_string()).as_deref(),
                Some("/dmsc/9")
            );
            let message = ErrorMessage::decode(back.payload(packet)).expect("valid");
            assert_eq!(
                (message.code, message.mtu, message.node),
                (ErrorCode::TooBig, 1400, NodeId(9))
            );
            assert_eq!(message.request_id, RequestId(77));
            assert_eq!(message.offender, &bad[..carried]);
        }
    }

    #[test]
    fn errors_are_never_answered() {
        let bad = offender(Kind::Error, &[0; 56]);
        let header = parse(&bad).expect("valid");
        let mut out = [0; 1024];
        assert_eq!(
            build_error(ErrorCode::NoRoute, 0, NodeId(9), &bad, &header, &mut out),
            None
        );
        let bad = offender(Kind::Response, b"");
        let header = parse(&bad).expect("valid");
        assert_eq!(
            build_error(
                ErrorCode::NoRoute,
                0,
                NodeId(9),
                &bad,
                &header,
                &mut out[..60]
            ),
            None
        );
        assert_eq!(
            build_error(
                ErrorCode::NoRoute,
                0,
                NodeId(9),
                &bad[..30],
                &header,
                &mut out
            ),
            None
        );
    }

    #[test]
    fn payloads_are_checked() {
        assert_eq!(
            ErrorMessage::decode(&[1; 55]),
            Err(ErrorMessageError::BadLength(55))
        );
        assert_eq!(
            ErrorMessage::decode(&[1; 145]),
            Err(ErrorMessageError::BadLength(145))
        );
        assert_eq!(
            ErrorMessage::decode(&[0; 56]),
            Err(ErrorMessageError::BadCode(0))
        );
        assert_eq!(
            ErrorMessage::decode(&[7; 56]),
            Err(ErrorMessageError::BadCode(7))
        );
        assert!(ErrorMessage::decode(&[6; 144]).is_ok());
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(code as u8), Some(code));
        }
    }
}

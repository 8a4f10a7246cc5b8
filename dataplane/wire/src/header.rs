//! The header: one validating pass over a packet, and what it found as plain numbers.

use std::ops::Range;

use crate::ecn::Ecn;
use crate::flags::Flags;
use crate::ids::{AttachmentId, Class, Domain, FlowLabel, NodeId, RequestId};
use crate::kind::Kind;
use crate::name::{self, Name, NameError};
use crate::options::{self, OptionType, Options};
use crate::parse_error::{ParseError, WhichName};
use crate::{FIXED_LEN, MAX_HEADER, VERSION};

/// Byte offsets of the fixed fields, for [`patch`](crate::patch) and the builder.
pub(crate) mod at {
    pub const FLAGS: usize = 1;
    pub const HOP_LIMIT: usize = 2;
    pub const CLASS_ECN: usize = 3;
    pub const HEADER_LEN: usize = 4;
    pub const PAYLOAD_LEN: usize = 6;
    pub const DOMAIN: usize = 8;
    pub const FLOW_LABEL: usize = 12;
    pub const REQUEST_ID: usize = 16;
    pub const SOURCE_GATEWAY: usize = 24;
    pub const DESTINATION_GATEWAY: usize = 28;
    pub const SOURCE_ATTACHMENT: usize = 32;
    pub const DESTINATION_ATTACHMENT: usize = 34;
    pub const DESTINATION_NAME_LEN: usize = 36;
    pub const SOURCE_NAME_LEN: usize = 37;
}

/// A decoded header (design §3). Made by [`parse`] only from valid packets; the methods that take `bytes` want
/// the packet it was parsed from and answer "nothing" (never panic) for a shorter one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Type of the packet.
    pub kind: Kind,
    /// Flags, unknown bits included.
    pub flags: Flags,
    /// Hops left.
    pub hop_limit: u8,
    /// Traffic class.
    pub class: Class,
    /// Congestion field.
    pub ecn: Ecn,
    /// Bytes of the header: fixed part, names, padding and options.
    pub header_len: u16,
    /// Bytes of the payload.
    pub payload_len: u16,
    /// The caller's tenant.
    pub domain: Domain,
    /// Picks among equal choices.
    pub flow_label: FlowLabel,
    /// The caller's number of the call.
    pub request_id: RequestId,
    /// Gateway of the source; stamped by it.
    pub source_gateway: NodeId,
    /// Gateway of the destination; [`NodeId::NONE`] while unresolved.
    pub destination_gateway: NodeId,
    /// Attachment of the source at its gateway; stamped by it.
    pub source_attachment: AttachmentId,
    /// Attachment of the destination at its gateway, or any.
    pub destination_attachment: AttachmentId,
    /// Bytes of the destination name.
    pub destination_name_len: u8,
    /// Bytes of the source name.
    pub source_name_len: u8,
    /// Where the options start: behind the names, at a multiple of 4.
    pub options_offset: u16,
    /// Where the RECORD option starts; 0 if there is none.
    pub record: u16,
}

fn clamp(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// Validates a packet and decodes its header, in one pass, without allocating. Bytes behind the payload
/// (Ethernet padding) are ignored, as are reserved bits.
///
/// # Errors
/// [`ParseError`]: the first check that failed, in the order of its variants.
#[inline]
pub fn parse(bytes: &[u8]) -> Result<Header, ParseError> {
    let Some(fixed) = bytes.first_chunk::<FIXED_LEN>() else {
        return Err(ParseError::Truncated {
            need: FIXED_LEN as u16,
            have: clamp(bytes.len()),
        });
    };
    let be16 = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let be32 =
        |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);

    if fixed[0] >> 4 != VERSION {
        return Err(ParseError::BadVersion(fixed[0] >> 4));
    }
    let Some(kind) = Kind::from_code(fixed[0] & 0x0f) else {
        return Err(ParseError::BadKind(fixed[0] & 0x0f));
    };
    let header_len = be16(at::HEADER_LEN);
    let header_size = usize::from(header_len);
    if !(FIXED_LEN..=MAX_HEADER).contains(&header_size) || header_size % 4 != 0 {
        return Err(ParseError::BadHeaderLength(header_len));
    }
    let Some((header, behind)) = bytes.split_at_checked(header_size) else {
        return Err(ParseError::Truncated {
            need: header_len,
            have: clamp(bytes.len()),
        });
    };
    let payload_len = be16(at::PAYLOAD_LEN);
    if usize::from(payload_len) > behind.len() {
        return Err(ParseError::BadPayloadLength {
            length: payload_len,
            have: clamp(behind.len()),
        });
    }

    let destination_name_len = fixed[at::DESTINATION_NAME_LEN];
    let source_name_len = fixed[at::SOURCE_NAME_LEN];
    let flags = Flags(fixed[at::FLAGS]);
    let options_offset = check_names(header, kind, destination_name_len, source_name_len)?;
    let record_allowed = match kind {
        Kind::EchoRequest | Kind::EchoReply => true,
        Kind::Request => flags.contains(Flags::TELEMETRY),
        _ => false,
    };
    let record = if options_offset == header_size {
        0
    } else {
        options::check(header, options_offset, record_allowed)?
    };

    Ok(Header {
        kind,
        flags,
        hop_limit: fixed[at::HOP_LIMIT],
        class: Class(fixed[at::CLASS_ECN] >> 5),
        ecn: Ecn::from_bits(fixed[at::CLASS_ECN] >> 3),
        header_len,
        payload_len,
        domain: Domain(be32(at::DOMAIN)),
        flow_label: FlowLabel(be32(at::FLOW_LABEL)),
        request_id: RequestId(
            u64::from(be32(at::REQUEST_ID)) << 32 | u64::from(be32(at::REQUEST_ID + 4)),
        ),
        source_gateway: NodeId(be32(at::SOURCE_GATEWAY)),
        destination_gateway: NodeId(be32(at::DESTINATION_GATEWAY)),
        source_attachment: AttachmentId(be16(at::SOURCE_ATTACHMENT)),
        destination_attachment: AttachmentId(be16(at::DESTINATION_ATTACHMENT)),
        destination_name_len,
        source_name_len,
        options_offset: options_offset as u16,
        record,
    })
}

/// The destination name of a packet that [`parse`] accepted before, without decoding the header again. Of other bytes the answer
/// is nonsense or nothing, never a panic.
#[inline]
pub fn destination_name(bytes: &[u8]) -> Option<Name<'_>> {
    let length = *bytes.get(at::DESTINATION_NAME_LEN)?;
    Header::name(bytes, FIXED_LEN, length)
}

/// Checks presence, encoding and padding of the names; returns where the options start.
#[inline]
fn check_names(
    header: &[u8],
    kind: Kind,
    destination: u8,
    source: u8,
) -> Result<usize, ParseError> {
    let names_end = FIXED_LEN + usize::from(destination) + usize::from(source);
    let options_offset = names_end.next_multiple_of(4);
    if options_offset > header.len() {
        return Err(ParseError::NamesOverrun {
            destination,
            source_len: source,
        });
    }
    let present = [
        (WhichName::Destination, destination),
        (WhichName::Source, source),
    ];
    // The first test decides for all that is forwarded in numbers.
    if kind.is_named() || (kind.may_be_named() && destination | source != 0) {
        if let Some((which, _)) = present.into_iter().find(|&(_, length)| length == 0) {
            return Err(ParseError::MissingName(which));
        }
        let source_at = FIXED_LEN + usize::from(destination);
        check_name(header, FIXED_LEN..source_at, WhichName::Destination)?;
        check_name(header, source_at..names_end, WhichName::Source)?;
    } else if let Some((which, _)) = present.into_iter().find(|&(_, length)| length != 0) {
        return Err(ParseError::UnexpectedName(which));
    }
    if header[names_end..options_offset]
        .iter()
        .any(|&byte| byte != 0)
    {
        return Err(ParseError::PaddingNotZero);
    }
    Ok(options_offset)
}

#[inline]
fn check_name(header: &[u8], range: Range<usize>, which: WhichName) -> Result<(), ParseError> {
    name::check(&header[range]).map_err(|NameError { position, fault }| {
        // A name has at most 255 bytes.
        ParseError::NameNotCanonical {
            which,
            position: position as u8,
            fault,
        }
    })
}

impl Header {
    /// Bytes of header and payload.
    #[inline]
    pub fn total_len(&self) -> usize {
        usize::from(self.header_len) + usize::from(self.payload_len)
    }

    /// Destination name; `None` where the type has none.
    #[inline]
    pub fn destination_name<'a>(&self, bytes: &'a [u8]) -> Option<Name<'a>> {
        Self::name(bytes, FIXED_LEN, self.destination_name_len)
    }

    /// Source name; `None` where the type has none.
    #[inline]
    pub fn source_name<'a>(&self, bytes: &'a [u8]) -> Option<Name<'a>> {
        Self::name(
            bytes,
            FIXED_LEN + usize::from(self.destination_name_len),
            self.source_name_len,
        )
    }

    #[inline]
    fn name(bytes: &[u8], at: usize, length: u8) -> Option<Name<'_>> {
        if length == 0 {
            return None;
        }
        bytes
            .get(at..at + usize::from(length))
            .map(Name::from_checked)
    }

    /// The payload.
    #[inline]
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes
            .get(usize::from(self.header_len)..self.total_len())
            .unwrap_or(&[])
    }

    /// The options, PAD included.
    #[inline]
    pub fn options<'a>(&self, bytes: &'a [u8]) -> Options<'a> {
        let header = bytes.get(..usize::from(self.header_len)).unwrap_or(&[]);
        Options::new(header, usize::from(self.options_offset))
    }

    /// The options as one slice, a multiple of 4 long.
    #[inline]
    pub fn option_bytes<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes
            .get(usize::from(self.options_offset)..usize::from(self.header_len))
            .unwrap_or(&[])
    }

    /// Offset of the type byte of the RECORD option, if there is one.
    #[inline]
    pub fn record_offset(&self, bytes: &[u8]) -> Option<usize> {
        let offset = usize::from(self.record);
        (offset != 0 && bytes.get(offset) == Some(&OptionType::RECORD.0)).then_some(offset)
    }
}

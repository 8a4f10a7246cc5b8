//! Why a packet is not valid; the same words in drop counters, vectors and the dissector.

use crate::name::NameFault;

/// Why [`parse`](crate::parse) refused a packet. The checks run in the order of these variants, and the first
/// that fails decides; an independent decoder comes to the same reason (`FORMAT.md`, "Validity").
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// Fewer bytes than the fixed header, or than the header length says.
    #[error("packet has {have} bytes of a header of {need}")]
    Truncated {
        /// Bytes that the header needs.
        need: u16,
        /// Bytes that are there.
        have: u16,
    },
    /// A version other than 1.
    #[error("version {0}, expected 1")]
    BadVersion(u8),
    /// A type without a meaning.
    #[error("unknown type {0}")]
    BadKind(u8),
    /// A header length below 40, above 1,024 or not a multiple of 4.
    #[error("header length {0} is not a multiple of 4 in 40..=1024")]
    BadHeaderLength(u16),
    /// The payload ends beyond the packet.
    #[error("payload length {length} exceeds the {have} bytes behind the header")]
    BadPayloadLength {
        /// What the header says.
        length: u16,
        /// What is there.
        have: u16,
    },
    /// The names and their padding end beyond the header.
    #[error("names of {destination} and {source_len} bytes do not fit the header")]
    NamesOverrun {
        /// Length of the destination name.
        destination: u8,
        /// Length of the source name.
        source_len: u8,
    },
    /// A packet that travels by name lacks one; types 0–4 carry both.
    #[error("{0} name missing")]
    MissingName(WhichName),
    /// A hello carries no names.
    #[error("{0} name on a type that has none")]
    UnexpectedName(WhichName),
    /// A name that is not canonical.
    #[error("{which} name not canonical at byte {position}: {fault}")]
    NameNotCanonical {
        /// Which of the two.
        which: WhichName,
        /// Offset in that name.
        position: u8,
        /// What is wrong there.
        fault: NameFault,
    },
    /// The padding behind the names is not zero.
    #[error("padding behind the names is not zero")]
    PaddingNotZero,
    /// A malformed option.
    #[error("option at byte {position}: {fault}")]
    BadOption {
        /// Offset of the option's type in the packet.
        position: u16,
        /// What is wrong with it.
        fault: OptionFault,
    },
    /// An unknown option that asks to be dropped where it is unknown (type bit 7).
    #[error("option at byte {position}: unknown type {code:#04x} must not be passed on")]
    UnknownOption {
        /// Offset of the option's type in the packet.
        position: u16,
        /// Its type.
        code: u8,
    },
}

/// One of the two names of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhichName {
    /// Where the packet goes.
    Destination,
    /// Where it comes from.
    Source,
}

impl std::fmt::Display for WhichName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            WhichName::Destination => "destination",
            WhichName::Source => "source",
        })
    }
}

/// What is wrong with an option; checked in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OptionFault {
    /// The option ends beyond the header.
    #[error("ends beyond the header")]
    Truncated,
    /// PAD with a value that is not zero.
    #[error("PAD is not zero")]
    PadNotZero,
    /// A hop-by-hop option behind one that is not; PAD does not count.
    #[error("hop-by-hop option behind an end-to-end option")]
    Order,
    /// A second RECORD.
    #[error("second RECORD")]
    RecordRepeated,
    /// RECORD on a type that may not carry it.
    #[error("RECORD is for echo types and for requests with TELEMETRY")]
    RecordNotAllowed,
    /// RECORD whose length is not 4 + 12 n, 1 ≤ n ≤ 20, or with more used slots than slots.
    #[error("RECORD must have 1..=20 slots of 12 bytes, and no more used than there are")]
    RecordShape,
}

impl ParseError {
    /// Every reason, in the order in which they are checked: names of counters and of `dmsc.invalid`.
    pub const REASONS: [&'static str; 17] = [
        "truncated",
        "bad-version",
        "bad-kind",
        "bad-header-length",
        "bad-payload-length",
        "names-overrun",
        "missing-name",
        "unexpected-name",
        "name-not-canonical",
        "padding-not-zero",
        "option-truncated",
        "pad-not-zero",
        "option-order",
        "record-repeated",
        "record-not-allowed",
        "record-shape",
        "unknown-option",
    ];

    /// The reason as a kebab-case word.
    #[inline]
    pub const fn reason(&self) -> &'static str {
        Self::REASONS[self.reason_index()]
    }

    /// Position of the reason in [`Self::REASONS`], for arrays of counters.
    #[inline]
    pub const fn reason_index(&self) -> usize {
        match self {
            ParseError::Truncated { .. } => 0,
            ParseError::BadVersion(_) => 1,
            ParseError::BadKind(_) => 2,
            ParseError::BadHeaderLength(_) => 3,
            ParseError::BadPayloadLength { .. } => 4,
            ParseError::NamesOverrun { .. } => 5,
            ParseError::MissingName(_) => 6,
            ParseError::UnexpectedName(_) => 7,
            ParseError::NameNotCanonical { .. } => 8,
            ParseError::PaddingNotZero => 9,
            ParseError::BadOption { fault, .. } => match fault {
                OptionFault::Truncated => 10,
                OptionFault::Order => 12,
                OptionFault::PadNotZero => 11,
                OptionFault::RecordRepeated => 13,
                OptionFault::RecordNotAllowed => 14,
                OptionFault::RecordShape => 15,
            },
            ParseError::UnknownOption { .. } => 16,
        }
    }
}

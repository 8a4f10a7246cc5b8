//! Header options: `type(8) length-of-value(8) value`, walked and checked.

use crate::parse_error::{OptionFault, ParseError};
use crate::record;

/// Type byte of an option.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct OptionType(pub u8);

impl OptionType {
    /// Padding; its value is zero. Neither hop by hop nor end to end: it may stand anywhere.
    pub const PAD: OptionType = OptionType(0x00);
    /// Slots that routers fill on the way (see [`record`]).
    pub const RECORD: OptionType = OptionType(0x41);

    /// Bit 7: whoever does not know the option drops the packet.
    #[inline]
    pub const fn drop_if_unknown(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// Bit 6: read by every hop; such options come first.
    #[inline]
    pub const fn is_hop_by_hop(self) -> bool {
        self.0 & 0x40 != 0
    }
}

/// One option, borrowed from the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawOption<'a> {
    /// Its type.
    pub option_type: OptionType,
    /// Its value.
    pub value: &'a [u8],
    /// Offset of its type byte in the packet.
    pub offset: usize,
}

/// Iterator over the options of a validated header, PAD included.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Options<'a> {
    /// Options in `header[offset..]`; stops at the first that does not fit.
    pub(crate) fn new(header: &'a [u8], offset: usize) -> Self {
        Options {
            bytes: header,
            offset,
        }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = RawOption<'a>;

    #[inline]
    fn next(&mut self) -> Option<RawOption<'a>> {
        let offset = self.offset;
        let &[code, length, ..] = self.bytes.get(offset..)? else {
            return None;
        };
        let end = offset + 2 + usize::from(length);
        let value = self.bytes.get(offset + 2..end)?;
        self.offset = end;
        Some(RawOption {
            option_type: OptionType(code),
            value,
            offset,
        })
    }
}

/// Checks the options of `header` (cut at the header length) from `offset` on. Returns the offset of RECORD,
/// 0 if there is none.
#[inline]
pub(crate) fn check(header: &[u8], offset: usize, record_allowed: bool) -> Result<u16, ParseError> {
    let mut options = Options::new(header, offset);
    let mut end_to_end_seen = false;
    let mut record_at = 0;
    for option in options.by_ref() {
        // The header has at most 1,024 bytes.
        let position = option.offset as u16;
        let fail = |fault| Err(ParseError::BadOption { position, fault });
        if option.option_type == OptionType::PAD {
            if option.value.iter().any(|&byte| byte != 0) {
                return fail(OptionFault::PadNotZero);
            }
            continue;
        }
        if !option.option_type.is_hop_by_hop() {
            end_to_end_seen = true;
        } else if end_to_end_seen {
            return fail(OptionFault::Order);
        }
        if option.option_type == OptionType::RECORD {
            if record_at != 0 {
                return fail(OptionFault::RecordRepeated);
            }
            if !record_allowed {
                return fail(OptionFault::RecordNotAllowed);
            }
            if !record::is_well_formed(option.value) {
                return fail(OptionFault::RecordShape);
            }
            record_at = position;
        } else if option.option_type.drop_if_unknown() {
            return Err(ParseError::UnknownOption {
                position,
                code: option.option_type.0,
            });
        }
    }
    if options.offset != header.len() {
        return Err(ParseError::BadOption {
            position: options.offset as u16,
            fault: OptionFault::Truncated,
        });
    }
    Ok(record_at)
}

//! Builds packets: every field settable, everything checked, no allocation unless asked for.

use crate::ecn::Ecn;
use crate::flags::Flags;
use crate::header::{Header, at};
use crate::ids::{AttachmentId, Class, Domain, FlowLabel, NodeId, RequestId};
use crate::kind::Kind;
use crate::name::Name;
use crate::options::OptionType;
use crate::parse_error::WhichName;
use crate::record::{self, RecordSlot};
use crate::{DEFAULT_HOP_LIMIT, FIXED_LEN, MAX_HEADER, VERSION};

/// Most options that [`PacketBuilder::option`] takes.
pub const MAX_OPTIONS: usize = 4;

/// Why a packet cannot be built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BuildError {
    /// Types 0–4 carry both names.
    #[error("{kind} needs a {which} name")]
    MissingName {
        /// The type.
        kind: Kind,
        /// The name that is missing.
        which: WhichName,
    },
    /// A hello carries no names.
    #[error("{0} carries no names")]
    UnexpectedName(Kind),
    /// The class does not fit three bits.
    #[error("class {0} is not in 0..=7")]
    BadClass(Class),
    /// RECORD on a type that may not carry it.
    #[error("RECORD is for echo types and for requests with TELEMETRY, not for {0}")]
    RecordNotAllowed(Kind),
    /// No slots, more than 20, or more filled than reserved.
    #[error("RECORD takes 1..=20 slots, not {0}")]
    BadRecordSlots(usize),
    /// More options than the builder holds.
    #[error("more than 4 options")]
    TooManyOptions,
    /// PAD and RECORD have their own methods.
    #[error("option type {0:#04x} is written by the builder itself")]
    ReservedOption(u8),
    /// An option that every reader of version 1 would drop.
    #[error("option type {0:#04x} is unknown and asks to be dropped")]
    UnknownOption(u8),
    /// A hop-by-hop option behind one that is not.
    #[error("hop-by-hop option {0:#04x} must come before end-to-end options")]
    OptionOrder(u8),
    /// An option value of more than 255 bytes.
    #[error("option value of {0} bytes, at most 255")]
    OptionTooLong(usize),
    /// Names and options exceed the largest header.
    #[error("header of {0} bytes, at most 1024: shorten names or options")]
    HeaderTooLong(usize),
    /// The payload exceeds its length field.
    #[error("payload of {0} bytes, at most 65535")]
    PayloadTooLong(usize),
    /// The buffer is too small.
    #[error("packet needs {need} bytes, the buffer has {have}")]
    BufferTooSmall {
        /// Bytes of the packet.
        need: usize,
        /// Bytes of the buffer.
        have: usize,
    },
}

/// What stands behind the names.
#[derive(Clone, Copy, Debug)]
enum OptionPart<'a> {
    /// RECORD and options one by one; the builder closes with PAD.
    Listed,
    /// Options of a valid packet, copied as they are.
    Copied(&'a [u8]),
}

/// Builds one packet; a plain value, so a half-filled one serves as a template.
#[derive(Clone, Copy, Debug)]
pub struct PacketBuilder<'a> {
    kind: Kind,
    flags: Flags,
    hop_limit: u8,
    class: Class,
    ecn: Ecn,
    domain: Domain,
    flow_label: FlowLabel,
    request_id: RequestId,
    source_gateway: NodeId,
    destination_gateway: NodeId,
    source_attachment: AttachmentId,
    destination_attachment: AttachmentId,
    destination: &'a [u8],
    source: &'a [u8],
    record: Option<(u8, &'a [RecordSlot])>,
    options: [(u8, &'a [u8]); MAX_OPTIONS],
    option_count: usize,
    option_part: OptionPart<'a>,
    payload: &'a [u8],
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty),* $(,)?) => {
        $($(#[$doc])* #[inline] #[must_use] pub fn $name(mut self, $name: $type) -> Self {
            self.$name = $name;
            self
        })*
    };
}

impl<'a> PacketBuilder<'a> {
    /// A packet of `kind`: hop limit 64, everything else zero or absent.
    pub fn new(kind: Kind) -> Self {
        PacketBuilder {
            kind,
            flags: Flags::NONE,
            hop_limit: DEFAULT_HOP_LIMIT,
            class: Class(0),
            ecn: Ecn::NotEct,
            domain: Domain(0),
            flow_label: FlowLabel(0),
            request_id: RequestId(0),
            source_gateway: NodeId::NONE,
            destination_gateway: NodeId::NONE,
            source_attachment: AttachmentId::ANY,
            destination_attachment: AttachmentId::ANY,
            destination: &[],
            source: &[],
            record: None,
            options: [(0, &[]); MAX_OPTIONS],
            option_count: 0,
            option_part: OptionPart::Listed,
            payload: &[],
        }
    }

    /// The answer to a call: domain, class, flow label and request id of the call, to the gateway, attachment and
    /// name that it came from, in the name that was called, by the topology that it came by. Other flags, and options, start empty.
    pub fn reply_to(kind: Kind, call: &'a [u8], header: &Header) -> Self {
        let mut reply = PacketBuilder::new(kind)
            .class(header.class)
            .domain(header.domain)
            .flow_label(header.flow_label)
            .request_id(header.request_id)
            .destination_gateway(header.source_gateway)
            .destination_attachment(header.source_attachment);
        reply.flags = Flags::NONE.with_if(header.flags.contains(Flags::BY_DELAY), Flags::BY_DELAY);
        reply.destination = header.source_name(call).map_or(&[], Name::as_bytes);
        reply.source = header.destination_name(call).map_or(&[], Name::as_bytes);
        reply
    }

    setters! {
        /// Sets all flags.
        flags: Flags,
        /// Sets the hop limit.
        hop_limit: u8,
        /// Sets the traffic class, 0–7.
        class: Class,
        /// Sets the congestion field.
        ecn: Ecn,
        /// Sets the tenant; gateways overwrite it on packets from pods.
        domain: Domain,
        /// Sets the flow label.
        flow_label: FlowLabel,
        /// Sets the request id.
        request_id: RequestId,
        /// Sets the source gateway; gateways overwrite it on packets from pods.
        source_gateway: NodeId,
        /// Sets the destination gateway.
        destination_gateway: NodeId,
        /// Sets the source attachment; gateways overwrite it on packets from pods.
        source_attachment: AttachmentId,
        /// Sets the destination attachment.
        destination_attachment: AttachmentId,
        /// Sets the payload.
        payload: &'a [u8],
    }

    /// Sets the destination name.
    #[must_use]
    pub fn destination(mut self, name: Name<'a>) -> Self {
        self.destination = name.as_bytes();
        self
    }

    /// Sets the source name.
    #[must_use]
    pub fn source(mut self, name: Name<'a>) -> Self {
        self.source = name.as_bytes();
        self
    }

    /// Adds a flag.
    #[must_use]
    pub fn flag(mut self, flag: Flags) -> Self {
        self.flags.insert(flag);
        self
    }

    /// Adds PINNED.
    #[must_use]
    pub fn pinned(self) -> Self {
        self.flag(Flags::PINNED)
    }

    /// Adds IDEMPOTENT.
    #[must_use]
    pub fn idempotent(self) -> Self {
        self.flag(Flags::IDEMPOTENT)
    }

    /// Adds TELEMETRY.
    #[must_use]
    pub fn telemetry(self) -> Self {
        self.flag(Flags::TELEMETRY)
    }

    /// Reserves `slots` (1–20) empty slots of RECORD.
    #[must_use]
    pub fn record_slots(self, slots: u8) -> Self {
        self.record(slots, &[])
    }

    /// Writes RECORD with `slots` slots, the first of them `filled`.
    #[must_use]
    pub fn record(mut self, slots: u8, filled: &'a [RecordSlot]) -> Self {
        self.record = Some((slots, filled));
        self
    }

    /// Adds an option other than PAD and RECORD, hop-by-hop options first; at most [`MAX_OPTIONS`].
    #[must_use]
    pub fn option(mut self, option_type: OptionType, value: &'a [u8]) -> Self {
        if let Some(place) = self.options.get_mut(self.option_count) {
            *place = (option_type.0, value);
        }
        // Counted beyond the array too: `check` refuses it.
        self.option_count += 1;
        self
    }

    /// Takes over all options of a valid packet, RECORD with its filled slots included, instead of any listed
    /// with the other methods.
    #[must_use]
    pub fn options_of(mut self, bytes: &'a [u8], header: &Header) -> Self {
        self.option_part = OptionPart::Copied(header.option_bytes(bytes));
        self.record = header.record_offset(bytes).map(|_| (1, [].as_slice()));
        self
    }

    /// Offset of the options.
    fn options_offset(&self) -> usize {
        (FIXED_LEN + self.destination.len() + self.source.len()).next_multiple_of(4)
    }

    /// Bytes of the listed options without the closing PAD.
    fn listed_len(&self) -> usize {
        let record = self
            .record
            .map_or(0, |(slots, _)| 2 + record::value_len(usize::from(slots)));
        let listed = self.options.iter().take(self.option_count);
        record + listed.map(|(_, value)| 2 + value.len()).sum::<usize>()
    }

    /// Bytes of the closing PAD that aligns `length`: none, or 2–5.
    fn closing_pad(length: usize) -> usize {
        match length % 4 {
            0 => 0,
            // A PAD has at least two bytes.
            3 => 5,
            rest => 4 - rest,
        }
    }

    /// Bytes of the header that [`Self::write`] would write.
    pub fn header_len(&self) -> usize {
        let options = match self.option_part {
            OptionPart::Copied(bytes) => bytes.len(),
            OptionPart::Listed => self.listed_len() + Self::closing_pad(self.listed_len()),
        };
        self.options_offset() + options
    }

    /// Bytes of header and payload that [`Self::write`] would write.
    pub fn total_len(&self) -> usize {
        self.header_len() + self.payload.len()
    }

    fn check(&self) -> Result<(), BuildError> {
        let kind = self.kind;
        let has_name = !self.destination.is_empty() || !self.source.is_empty();
        if !kind.may_be_named() && has_name {
            return Err(BuildError::UnexpectedName(kind));
        }
        for (which, name) in [
            (WhichName::Destination, self.destination),
            (WhichName::Source, self.source),
        ] {
            if (kind.is_named() || has_name) && name.is_empty() {
                return Err(BuildError::MissingName { kind, which });
            }
        }
        if !self.class.is_valid() {
            return Err(BuildError::BadClass(self.class));
        }
        if let Some((slots, filled)) = self.record {
            let sampled = kind == Kind::Request && self.flags.contains(Flags::TELEMETRY);
            if !sampled && !matches!(kind, Kind::EchoRequest | Kind::EchoReply) {
                return Err(BuildError::RecordNotAllowed(kind));
            }
            if !(1..=record::MAX_SLOTS).contains(&usize::from(slots)) {
                return Err(BuildError::BadRecordSlots(usize::from(slots)));
            }
            if filled.len() > usize::from(slots) {
                return Err(BuildError::BadRecordSlots(filled.len()));
            }
        }
        self.check_options()?;
        let header = self.header_len();
        if header > MAX_HEADER {
            return Err(BuildError::HeaderTooLong(header));
        }
        if self.payload.len() > usize::from(u16::MAX) {
            return Err(BuildError::PayloadTooLong(self.payload.len()));
        }
        Ok(())
    }

    fn check_options(&self) -> Result<(), BuildError> {
        if self.option_count > MAX_OPTIONS {
            return Err(BuildError::TooManyOptions);
        }
        let mut end_to_end_seen = false;
        for &(code, value) in &self.options[..self.option_count] {
            let option_type = OptionType(code);
            if option_type == OptionType::PAD || option_type == OptionType::RECORD {
                return Err(BuildError::ReservedOption(code));
            }
            if option_type.drop_if_unknown() {
                return Err(BuildError::UnknownOption(code));
            }
            if option_type.is_hop_by_hop() && end_to_end_seen {
                return Err(BuildError::OptionOrder(code));
            }
            end_to_end_seen |= !option_type.is_hop_by_hop();
            if value.len() > 255 {
                return Err(BuildError::OptionTooLong(value.len()));
            }
        }
        Ok(())
    }

    /// Writes the packet to the front of `out` and returns its length.
    ///
    /// # Errors
    /// [`BuildError`]; `out` is then unchanged.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, BuildError> {
        self.check()?;
        let (need, have) = (self.total_len(), out.len());
        let Some(out) = out.get_mut(..need) else {
            return Err(BuildError::BufferTooSmall { need, have });
        };
        let (header, payload) = out.split_at_mut(self.header_len());
        // Checked above.
        self.put_header(header, self.payload.len() as u16);
        payload.copy_from_slice(self.payload);
        Ok(need)
    }

    /// Writes the header alone, of a packet with `payload` bytes of payload, to the front of `out`, and returns its length: for payloads that are somewhere else.
    ///
    /// # Errors
    /// [`BuildError`]; `out` is then unchanged.
    pub fn write_header(&self, payload: usize, out: &mut [u8]) -> Result<usize, BuildError> {
        self.check()?;
        let payload = u16::try_from(payload).map_err(|_| BuildError::PayloadTooLong(payload))?;
        let (need, have) = (self.header_len(), out.len());
        let Some(header) = out.get_mut(..need) else {
            return Err(BuildError::BufferTooSmall { need, have });
        };
        self.put_header(header, payload);
        Ok(need)
    }

    /// `header` is exactly as long as the header is.
    fn put_header(&self, header: &mut [u8], payload_len: u16) {
        header.fill(0);
        self.write_fixed(header, payload_len);
        let source_at = FIXED_LEN + self.destination.len();
        header[FIXED_LEN..source_at].copy_from_slice(self.destination);
        header[source_at..source_at + self.source.len()].copy_from_slice(self.source);
        let options = &mut header[self.options_offset()..];
        match self.option_part {
            OptionPart::Copied(bytes) => options.copy_from_slice(bytes),
            OptionPart::Listed => self.write_options(options),
        }
    }

    fn write_fixed(&self, header: &mut [u8], payload_len: u16) {
        let header_len = header.len() as u16;
        let mut put = |at: usize, value: &[u8]| header[at..at + value.len()].copy_from_slice(value);
        put(
            0,
            &[
                VERSION << 4 | self.kind.code(),
                self.flags.0,
                self.hop_limit,
            ],
        );
        put(at::CLASS_ECN, &[self.class.0 << 5 | self.ecn.bits() << 3]);
        put(at::HEADER_LEN, &header_len.to_be_bytes());
        put(at::PAYLOAD_LEN, &payload_len.to_be_bytes());
        put(at::DOMAIN, &self.domain.0.to_be_bytes());
        put(at::FLOW_LABEL, &self.flow_label.0.to_be_bytes());
        put(at::REQUEST_ID, &self.request_id.0.to_be_bytes());
        put(at::SOURCE_GATEWAY, &self.source_gateway.0.to_be_bytes());
        put(
            at::DESTINATION_GATEWAY,
            &self.destination_gateway.0.to_be_bytes(),
        );
        put(
            at::SOURCE_ATTACHMENT,
            &self.source_attachment.0.to_be_bytes(),
        );
        put(
            at::DESTINATION_ATTACHMENT,
            &self.destination_attachment.0.to_be_bytes(),
        );
        put(
            at::DESTINATION_NAME_LEN,
            &[self.destination.len() as u8, self.source.len() as u8],
        );
    }

    /// RECORD first (it is hop by hop), then the options as given, then PAD; `out` is zero and exactly as long.
    fn write_options(&self, out: &mut [u8]) {
        let mut rest = out;
        let mut take = |length: usize| {
            let (front, back) = std::mem::take(&mut rest).split_at_mut(length);
            rest = back;
            front
        };
        if let Some((slots, filled)) = self.record {
            let length = record::value_len(usize::from(slots));
            let option = take(2 + length);
            option[..3].copy_from_slice(&[OptionType::RECORD.0, length as u8, filled.len() as u8]);
            let places = option[2 + record::PREAMBLE_LEN..].chunks_exact_mut(record::SLOT_LEN);
            for (place, slot) in places.zip(filled) {
                place.copy_from_slice(&slot.to_bytes());
            }
        }
        for &(code, value) in &self.options[..self.option_count] {
            let option = take(2 + value.len());
            option[..2].copy_from_slice(&[code, value.len() as u8]);
            option[2..].copy_from_slice(value);
        }
        if let [code, length, value @ ..] = rest {
            *code = OptionType::PAD.0;
            *length = value.len() as u8;
        }
    }

    /// The packet as a vector.
    ///
    /// # Errors
    /// [`BuildError`], as [`Self::write`].
    pub fn to_vec(&self) -> Result<Vec<u8>, BuildError> {
        let mut out = vec![0; self.total_len()];
        self.write(&mut out)?;
        Ok(out)
    }
}

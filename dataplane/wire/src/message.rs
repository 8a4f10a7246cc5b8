//! A whole packet: its header, and its payload decoded where the type defines one.

use crate::error::{ErrorMessage, ErrorMessageError};
use crate::header::{Header, parse};
use crate::hello::{Hello, HelloError};
use crate::kind::Kind;
use crate::parse_error::ParseError;
use crate::probe::{Probe, ProbeError};

/// A packet decoded to the end; for endpoints, tools and tests. Forwarding needs [`parse`] only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// The header.
    pub header: Header,
    /// The payload.
    pub body: Body<'a>,
}

/// Payload of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body<'a> {
    /// Opaque bytes of types 0–3.
    Opaque(&'a [u8]),
    /// Type 4.
    Error(ErrorMessage<'a>),
    /// Type 5.
    Hello(Hello),
    /// Type 6.
    Probe(Probe),
}

/// Why a packet is not valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MessageError {
    /// The header.
    #[error(transparent)]
    Header(#[from] ParseError),
    /// The payload of an error packet.
    #[error(transparent)]
    Error(#[from] ErrorMessageError),
    /// The payload of a hello.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// The payload of a probe.
    #[error(transparent)]
    Probe(#[from] ProbeError),
}

impl MessageError {
    /// The reason as a kebab-case word.
    pub const fn reason(&self) -> &'static str {
        match self {
            MessageError::Header(e) => e.reason(),
            MessageError::Error(e) => e.reason(),
            MessageError::Hello(e) => e.reason(),
            MessageError::Probe(e) => e.reason(),
        }
    }
}

impl<'a> Message<'a> {
    /// Decodes a packet, header first.
    ///
    /// # Errors
    /// [`MessageError`]: the first check that failed.
    pub fn parse(bytes: &'a [u8]) -> Result<Message<'a>, MessageError> {
        let header = parse(bytes)?;
        let payload = header.payload(bytes);
        let body = match header.kind {
            Kind::Error => Body::Error(ErrorMessage::decode(payload)?),
            Kind::Hello => Body::Hello(Hello::decode(payload)?),
            Kind::Probe => Body::Probe(Probe::decode(payload)?),
            _ => Body::Opaque(payload),
        };
        Ok(Message { header, body })
    }
}

//! Names and the wire format of DMSC (Distributed Micro Service Communication), version 1 (design §3).
//!
//! [`parse`] validates a packet in one pass without allocating and returns a [`Header`] of plain numbers;
//! everything of variable length ([`Name`]s, options, payload) is borrowed from the packet through that header.
//! [`PacketBuilder`] writes packets, [`patch`] edits fields of a validated packet in place, and [`Message`]
//! decodes the payload of the kinds that have one ([`ErrorMessage`], [`Hello`], [`Probe`]). [`glance()`] reads what a router on
//! the way needs of a packet without options, and is as strict.
//!
//! The byte layout, complete enough for an independent implementation, is in `FORMAT.md` beside this crate.
//!
//! ```
//! use dmsc_wire::{Kind, NameBuf, PacketBuilder, parse};
//! let (cart, web) = (NameBuf::parse("/shop/cart/v1")?, NameBuf::parse("/shop/web")?);
//! let packet = PacketBuilder::new(Kind::Request)
//!     .destination(cart.as_name())
//!     .source(web.as_name())
//!     .payload(b"hello")
//!     .to_vec()?;
//! let header = parse(&packet)?;
//! assert_eq!(header.destination_name(&packet), Some(cart.as_name()));
//! assert_eq!(header.payload(&packet), b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod build;
pub mod ecn;
pub mod error;
pub mod flags;
pub mod glance;
pub mod header;
pub mod hello;
pub mod ids;
pub mod kind;
pub mod message;
pub mod name;
pub mod name_text;
pub mod options;
pub mod parse_error;
pub mod patch;
pub mod probe;
pub mod record;
pub mod reply;

pub use build::{BuildError, PacketBuilder};
pub use ecn::Ecn;
pub use error::{ErrorCode, ErrorMessage, ErrorMessageError, build_error};
pub use flags::Flags;
pub use glance::{Glance, GlancedNames, glance, is_to_router};
pub use header::{Header, destination_name, parse};
pub use hello::{Heard, Hello, HelloError, HelloState};
pub use ids::{AttachmentId, Class, Domain, FlowLabel, NodeId, PortId, RequestId};
pub use kind::Kind;
pub use message::{Body, Message, MessageError};
pub use name::{Name, NameBuf, NameError, NameFault, RouterName};
pub use name_text::{NameTextError, NameTextFault};
pub use options::{OptionType, Options, RawOption};
pub use parse_error::{OptionFault, ParseError, WhichName};
pub use probe::{Probe, ProbeError, ProbeHealth, ProbeState, build_probe_answer};
pub use record::{RecordSlot, Slots};
pub use reply::{EchoSource, build_echo_reply};

/// UDP destination port of DMSC unless configured otherwise (design §3).
pub const UDP_PORT: u16 = 35029;
/// EtherType of DMSC directly on Ethernet: IEEE 802 local experimental EtherType 1 (design §3).
pub const ETHERTYPE: u16 = 0x88B5;
/// Version of the format that this crate reads and writes.
pub const VERSION: u8 = 1;
/// Bytes of the header before the names.
pub const FIXED_LEN: usize = 40;
/// Largest header in bytes, names and options included.
pub const MAX_HEADER: usize = 1024;
/// Hop limit at the source unless configured otherwise.
pub const DEFAULT_HOP_LIMIT: u8 = 64;

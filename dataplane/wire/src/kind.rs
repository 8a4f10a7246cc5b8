//! The seven packet types.

use std::fmt;

/// Type of a packet: low four bits of byte 0 (design §3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A call.
    Request = 0,
    /// The answer to a call.
    Response = 1,
    /// `dmscctl ping` and `trace`.
    EchoRequest = 2,
    /// The answer to an echo-request.
    EchoReply = 3,
    /// A router tells a source why its packet was dropped.
    Error = 4,
    /// Keeps an adjacency; never forwarded.
    Hello = 5,
    /// Measures an adjacency, or with names a way; the payload tells question and answer apart.
    Probe = 6,
}

impl Kind {
    /// Every kind, in the order of its code.
    pub const ALL: [Kind; 7] = [
        Kind::Request,
        Kind::Response,
        Kind::EchoRequest,
        Kind::EchoReply,
        Kind::Error,
        Kind::Hello,
        Kind::Probe,
    ];

    /// The kind of a code, if it has one.
    #[inline]
    pub const fn from_code(code: u8) -> Option<Kind> {
        Some(match code {
            0 => Kind::Request,
            1 => Kind::Response,
            2 => Kind::EchoRequest,
            3 => Kind::EchoReply,
            4 => Kind::Error,
            5 => Kind::Hello,
            6 => Kind::Probe,
            _ => return None,
        })
    }

    /// The code in the packet.
    #[inline]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Whether the packet always travels by name and therefore carries both names: all but hello and probe.
    #[inline]
    pub const fn is_named(self) -> bool {
        (self as u8) <= Kind::Error as u8
    }

    /// Whether the packet may carry both names: with them a probe travels by name, without it stays on its adjacency.
    #[inline]
    pub const fn may_be_named(self) -> bool {
        !matches!(self, Kind::Hello)
    }

    /// Whether a pod may send it to anybody: request, response and the two echoes (design §4.2). Answers to probes go to routers only.
    #[inline]
    pub const fn is_from_pods(self) -> bool {
        (self as u8) <= Kind::EchoReply as u8
    }

    /// Request, echo-request or probe: what a name may be resolved for, also once more (late binding, design §4.3). Answers to probes are pinned.
    #[inline]
    pub const fn is_call(self) -> bool {
        matches!(self, Kind::Request | Kind::EchoRequest | Kind::Probe)
    }

    /// Response, echo-reply or error: goes to the gateway and attachment that the call carried.
    #[inline]
    pub const fn is_reply(self) -> bool {
        matches!(self, Kind::Response | Kind::EchoReply | Kind::Error)
    }

    /// Name for people and metrics, kebab-case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Request => "request",
            Kind::Response => "response",
            Kind::EchoRequest => "echo-request",
            Kind::EchoReply => "echo-reply",
            Kind::Error => "error",
            Kind::Hello => "hello",
            Kind::Probe => "probe",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

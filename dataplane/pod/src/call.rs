//! One call: its options, and what can go wrong.

use std::str::FromStr;
use std::time::Duration;

use dmsc_wire::{AttachmentId, Class, ErrorCode, ErrorMessage, FlowLabel, NodeId};
use thiserror::Error;

/// An instance chosen by the caller (design §4: pinned calls are placed by nobody else).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// Its gateway.
    pub gateway: NodeId,
    /// Its attachment there; 0 = any that has the name.
    pub attachment: AttachmentId,
}

/// Text that is no pin.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not GATEWAY or GATEWAY:ATTACHMENT; write for example 4 or 4:17")]
pub struct PinError(String);

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let error = || PinError(text.to_owned());
        let (gateway, attachment) = text.split_once(':').unwrap_or((text, "0"));
        let gateway: NodeId = gateway.parse().map_err(|_| error())?;
        if !gateway.is_some() {
            return Err(error());
        }
        Ok(Self {
            gateway,
            attachment: attachment.parse().map_err(|_| error())?,
        })
    }
}

/// How to make a call.
#[derive(Debug, Clone)]
pub struct CallOptions {
    /// How long to wait.
    pub timeout: Duration,
    /// Same label, same way and instance; `None` = a new label for every call.
    pub flow_label: Option<FlowLabel>,
    /// Go to this instance only.
    pub pin: Option<Pin>,
    /// Traffic class, 0–7; 6 and 7 follow the delay topology.
    pub class: Class,
    /// May be executed twice without harm; told to those on the way.
    pub idempotent: bool,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(1),
            flow_label: None,
            pin: None,
            class: Class(0),
            idempotent: false,
        }
    }
}

/// Why a call has no answer.
#[derive(Debug, Error)]
pub enum CallError {
    /// Nobody answered in time; whether the call was executed is not known.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// No instance of the name can be reached from that node.
    #[error("node {node} has no route to an instance of this name")]
    NoRoute {
        /// Who said so.
        node: NodeId,
    },
    /// The packet went too far.
    #[error("the hop limit ran out at node {node}: a loop, or a path longer than 64 hops")]
    HopLimit {
        /// Where.
        node: NodeId,
    },
    /// Header and payload do not fit the path.
    #[error("too big: at most {max} bytes of header and payload pass{}; shorten the payload", at(*.node))]
    TooBig {
        /// Largest header + payload in bytes.
        max: usize,
        /// Where; `None` = the pod's own link.
        node: Option<NodeId>,
    },
    /// Access policy.
    #[error("denied by the access policy of node {node}")]
    Denied {
        /// Whose.
        node: NodeId,
    },
    /// The gateway does not know this pod, or not with this name; the pod checks its registration by itself.
    #[error(
        "gateway {node} does not know this pod under the name that it used; it is being registered again, try later"
    )]
    SourceNotOwned {
        /// Which.
        node: NodeId,
    },
    /// Too much traffic.
    #[error("node {node} is overloaded; send less")]
    Overloaded {
        /// Which.
        node: NodeId,
    },
    /// The two names do not fit a header.
    #[error("names too long: {0}")]
    TooLong(dmsc_wire::BuildError),
    /// Too many calls wait already.
    #[error(
        "{limit} calls wait for their answers already; wait for some, or raise calls_in_flight"
    )]
    Busy {
        /// The limit.
        limit: u16,
    },
    /// The pod was closed.
    #[error("the pod was closed")]
    Closed,
    /// The socket failed.
    #[error("UDP socket: {0}")]
    Socket(#[from] std::io::Error),
}

fn at(node: Option<NodeId>) -> String {
    node.map_or_else(
        || " this pod's link".to_owned(),
        |node| format!(" node {node}"),
    )
}

impl CallError {
    /// The error that a router sent.
    #[must_use]
    pub fn from_message(message: &ErrorMessage<'_>) -> Self {
        let node = message.node;
        match message.code {
            ErrorCode::NoRoute => Self::NoRoute { node },
            ErrorCode::HopLimit => Self::HopLimit { node },
            ErrorCode::TooBig => Self::TooBig {
                max: usize::from(message.mtu),
                node: Some(node),
            },
            ErrorCode::Denied => Self::Denied { node },
            ErrorCode::SourceNotOwned => Self::SourceNotOwned { node },
            ErrorCode::Overloaded => Self::Overloaded { node },
        }
    }

    /// Kebab-case word for tables and JSON.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "timeout",
            Self::NoRoute { .. } => ErrorCode::NoRoute.as_str(),
            Self::HopLimit { .. } => ErrorCode::HopLimit.as_str(),
            Self::TooBig { .. } => ErrorCode::TooBig.as_str(),
            Self::Denied { .. } => ErrorCode::Denied.as_str(),
            Self::SourceNotOwned { .. } => ErrorCode::SourceNotOwned.as_str(),
            Self::Overloaded { .. } => ErrorCode::Overloaded.as_str(),
            Self::TooLong(_) => "names-too-long",
            Self::Busy { .. } => "busy",
            Self::Closed => "closed",
            Self::Socket(_) => "socket",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins() {
        let pin = |gateway, attachment| Pin {
            gateway: NodeId(gateway),
            attachment: AttachmentId(attachment),
        };
        assert_eq!("4".parse(), Ok(pin(4, 0)));
        assert_eq!("4:17".parse(), Ok(pin(4, 17)));
        for text in ["", "0", "x", "4:", "4:70000", "4:1:2"] {
            assert!(text.parse::<Pin>().is_err(), "{text}");
        }
    }
}

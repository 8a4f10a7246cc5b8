//! Newtypes for every identifier in a packet, so that no bare integer crosses a crate boundary.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        #[repr(transparent)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;
            fn from_str(text: &str) -> Result<Self, ParseIntError> {
                text.parse().map($name)
            }
        }

        impl From<$int> for $name {
            fn from(value: $int) -> Self {
                $name(value)
            }
        }
    };
}

id!(
    /// A router or gateway; a gateway's id is its node id. 0 in a packet: none, or not resolved yet.
    NodeId(u32)
);
id!(
    /// The caller's tenant; part of every lookup key.
    Domain(u32)
);
id!(
    /// One registered endpoint (pod, address, UDP port) of a gateway. 0: any of the destination name.
    AttachmentId(u16)
);
id!(
    /// Set once per call or connection; picks among equal choices and keeps a flow on its path.
    FlowLabel(u32)
);
id!(
    /// The caller's own number of a call; an answer carries it back.
    RequestId(u64)
);
id!(
    /// A port of a node, unique within that node only.
    PortId(u16)
);
id!(
    /// Traffic class 0–7: 0–5 follow the default topology, 6–7 the delay topology (design §4.4).
    Class(u8)
);

impl NodeId {
    /// No node: an unresolved destination gateway.
    pub const NONE: NodeId = NodeId(0);

    /// Whether this is a node at all.
    pub fn is_some(self) -> bool {
        self.0 != 0
    }
}

impl AttachmentId {
    /// Any attachment that owns the destination name.
    pub const ANY: AttachmentId = AttachmentId(0);
}

impl Class {
    /// Highest class; hellos use it.
    pub const CONTROL: Class = Class(7);

    /// Whether the value fits the three bits of the header.
    pub fn is_valid(self) -> bool {
        self.0 <= 7
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_and_print_as_decimal() {
        assert_eq!("17".parse::<NodeId>(), Ok(NodeId(17)));
        assert_eq!(RequestId(u64::MAX).to_string(), "18446744073709551615");
        assert!("70000".parse::<PortId>().is_err());
        assert_eq!(format!("{:>4}", AttachmentId(7)), "   7");
    }
}

//! Ids of what the tables hold. Numbers are given by whoever programs the tables.

use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// A published state of the tables; counts up from 1.
    Generation(u64);
    /// A service group: the gateways that serve a prefix.
    GroupId(u32);
    /// A set of attachments of this gateway that serve a prefix.
    LocalSetId(u32);
    /// A neighbour over one port: header template, MTU and liveness live with it.
    AdjacencyId(u16);
    /// Where the record of a prefix lies. Constant while the prefix is in the table, whatever its
    /// value; given to another prefix after it was deleted.
    RecordId(u32);
}

//! How routers treat a packet on its way.

use dmsc_wire::{Class, Flags};

/// What a header says of queues and ways; an answer says what its call said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Treatment {
    /// Traffic class, 0–7.
    pub class: Class,
    /// By the topology of least delay whatever the class. A gateway decides that of calls; of answers it is that of the call.
    pub by_delay: bool,
}

impl From<Class> for Treatment {
    fn from(class: Class) -> Self {
        Self {
            class,
            by_delay: false,
        }
    }
}

impl Treatment {
    pub(crate) fn flags(self) -> Flags {
        Flags::NONE.with_if(self.by_delay, Flags::BY_DELAY)
    }
}

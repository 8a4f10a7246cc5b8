//! The flags byte of the header.

use std::fmt;
use std::ops::BitOr;

/// Byte 1 of the header. Bits without a name are sent 0, ignored, and forwarded unchanged (design §3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct Flags(pub u8);

impl Flags {
    /// The source chose gateway and attachment; routers never choose again.
    pub const PINNED: Flags = Flags(0x80);
    /// Repeating the call does no harm.
    pub const IDEMPOTENT: Flags = Flags(0x40);
    /// Sampled: a request may carry RECORD and is reported.
    pub const TELEMETRY: Flags = Flags(0x20);
    /// Already resolved a second time (late binding); never a third.
    pub const REBOUND: Flags = Flags(0x10);
    /// Reserved for messages of several packets.
    pub const FIRST: Flags = Flags(0x08);
    /// Reserved for messages of several packets.
    pub const LAST: Flags = Flags(0x04);
    /// Goes by the topology of least delay, whatever its class. Gateways set and clear it on calls, as a policy says; answers carry it back.
    pub const BY_DELAY: Flags = Flags(0x02);
    /// No flag.
    pub const NONE: Flags = Flags(0);

    /// Whether all bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets the bits of `other`.
    #[inline]
    pub const fn insert(&mut self, other: Flags) {
        self.0 |= other.0;
    }

    /// Clears the bits of `other`.
    #[inline]
    pub const fn remove(&mut self, other: Flags) {
        self.0 &= !other.0;
    }

    /// These bits and those of `other`.
    #[inline]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// These bits, with those of `other` set or cleared.
    #[inline]
    pub const fn with_if(self, set: bool, other: Flags) -> Flags {
        if set {
            self.with(other)
        } else {
            self.without(other)
        }
    }

    /// These bits without those of `other`.
    #[inline]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        self.with(other)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Flags, &str); 7] = [
            (Flags::PINNED, "PINNED"),
            (Flags::IDEMPOTENT, "IDEMPOTENT"),
            (Flags::TELEMETRY, "TELEMETRY"),
            (Flags::REBOUND, "REBOUND"),
            (Flags::FIRST, "FIRST"),
            (Flags::LAST, "LAST"),
            (Flags::BY_DELAY, "BY_DELAY"),
        ];
        let mut rest = *self;
        let mut separator = "";
        for (flag, name) in NAMES {
            if self.contains(flag) {
                write!(f, "{separator}{name}")?;
                separator = "|";
                rest.remove(flag);
            }
        }
        if rest.0 != 0 {
            write!(f, "{separator}{:#04x}", rest.0)?;
        } else if separator.is_empty() {
            f.write_str("-")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_bits_stay_and_are_shown() {
        let mut flags = Flags(0x01);
        flags.insert(Flags::PINNED | Flags::REBOUND | Flags::BY_DELAY);
        assert_eq!(flags.to_string(), "PINNED|REBOUND|BY_DELAY|0x01");
        flags.remove(Flags::PINNED);
        assert_eq!(flags, Flags(0x13));
        assert_eq!(Flags::NONE.to_string(), "-");
    }
}

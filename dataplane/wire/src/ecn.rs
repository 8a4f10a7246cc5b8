//! Explicit congestion notification: the two bits, and how those of an outer header are combined with ours.

/// ECN field, code points of RFC 3168.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum Ecn {
    /// The transport does not understand ECN.
    #[default]
    NotEct = 0,
    /// ECN-capable, code point 1.
    Ect1 = 1,
    /// ECN-capable, code point 0.
    Ect0 = 2,
    /// Congestion experienced.
    Ce = 3,
}

impl Ecn {
    /// From the low two bits; the others are ignored.
    #[inline]
    pub const fn from_bits(bits: u8) -> Ecn {
        match bits & 3 {
            0 => Ecn::NotEct,
            1 => Ecn::Ect1,
            2 => Ecn::Ect0,
            _ => Ecn::Ce,
        }
    }

    /// The two bits.
    #[inline]
    pub const fn bits(self) -> u8 {
        self as u8
    }

    /// The header's field after a tunnel whose outer header arrived with `outer` (RFC 6040, figure 4).
    /// `None`: drop, congestion that the transport could not be told about.
    #[inline]
    pub const fn decapsulate(self, outer: Ecn) -> Option<Ecn> {
        match (self, outer) {
            (Ecn::NotEct, Ecn::Ce) => None,
            (Ecn::NotEct, _) => Some(Ecn::NotEct),
            (_, Ecn::Ce) => Some(Ecn::Ce),
            (Ecn::Ect0, Ecn::Ect1) => Some(Ecn::Ect1),
            (inner, _) => Some(inner),
        }
    }

    /// The field after this router found its queue congested; only capable transports are marked.
    #[inline]
    pub const fn mark(self) -> Ecn {
        match self {
            Ecn::NotEct => Ecn::NotEct,
            _ => Ecn::Ce,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ecn::{self, *};

    #[test]
    fn decapsulation_follows_figure_4_of_rfc_6040() {
        let outer = [NotEct, Ect0, Ect1, Ce];
        let table = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce); 4]),
        ];
        for (inner, row) in table {
            assert_eq!(outer.map(|o| inner.decapsulate(o)), row, "inner {inner:?}");
            assert_eq!(Ecn::from_bits(inner.bits() | 0xfc), inner);
        }
        assert_eq!((NotEct.mark(), Ect1.mark()), (NotEct, Ce));
    }
}

//! Of several rounds, beside what every record has: differences that are taken within a round, and where two curves cross.

use serde::Serialize;

use crate::record;
pub use crate::record::{Spread, ratio};

/// Of `figures`; none of none, and those that are no number do not count.
pub fn spread(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
    record::spread(&figures.into_iter().collect::<Vec<_>>())
}

/// Each figure less that of `base` in the same round.
pub fn less(figures: &[Option<f64>], base: &[Option<f64>]) -> Vec<Option<f64>> {
    figures
        .iter()
        .zip(base)
        .map(|(figure, base)| Some((*figure)? - (*base)?))
        .collect()
}

/// Where one curve is no longer above another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreakEven {
    /// It is never above, at any rate that was measured.
    Always,
    /// From this rate on, per second.
    From(f64),
    /// It is above up to the highest rate that both reached.
    Never,
}

/// The rate from which on `ours` costs no more than `theirs`; curves of (rate, cost) by rising rate, and only rates that both have count. Between two
/// rates cost is taken as a straight line over the logarithm of the rate.
pub fn break_even(ours: &[(u64, f64)], theirs: &[(u64, f64)]) -> Option<BreakEven> {
    let more: Vec<(f64, f64)> = ours
        .iter()
        .filter_map(|(rate, cost)| {
            let (_, other) = theirs.iter().find(|(r, _)| r == rate)?;
            Some((*rate as f64, cost - other))
        })
        .collect();
    if more.is_empty() {
        return None;
    }
    let Some(last_above) = more.iter().rposition(|(_, more)| *more > 0.0) else {
        return Some(BreakEven::Always);
    };
    let Some(below) = more.get(last_above + 1) else {
        return Some(BreakEven::Never);
    };
    let above = more[last_above];
    let share = above.1 / (above.1 - below.1);
    let (low, high) = (above.0.ln(), below.0.ln());
    Some(BreakEven::From((low + share * (high - low)).exp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_taken_within_a_round() {
        assert_eq!(
            less(&[Some(5.0), None], &[Some(2.0), Some(1.0)]),
            [Some(3.0), None]
        );
    }

    #[test]
    fn curves_cross_where_the_last_excess_ends() {
        let theirs = [(100, 10.0), (1_000, 10.0), (10_000, 10.0)];
        let crossing = [(100, 30.0), (1_000, 12.0), (10_000, 8.0)];
        let Some(BreakEven::From(rate)) = break_even(&crossing, &theirs) else {
            panic!("they cross");
        };
        assert!((rate - 1_000.0 * 10_f64.sqrt()).abs() < 1.0, "{rate}");
        let below = [(100, 1.0), (1_000, 10.0)];
        assert_eq!(break_even(&below, &theirs), Some(BreakEven::Always));
        let above = [(100, 1.0), (10_000, 11.0)];
        assert_eq!(break_even(&above, &theirs), Some(BreakEven::Never));
        assert_eq!(break_even(&[(7, 1.0)], &theirs), None);
    }
}

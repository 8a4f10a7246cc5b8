//! Of several rounds: medians, spreads, ratios that are taken within a round, and where two curves cross.

use serde::Serialize;

/// The middle of some figures and their range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// In the middle.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// How many there were.
    pub rounds: usize,
}

/// Of `figures`; none of none, and those that are no number do not count.
pub fn spread(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut sorted: Vec<f64> = figures.into_iter().filter(|f| f.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    let half = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[half]
    } else {
        f64::midpoint(sorted[half - 1], sorted[half])
    };
    Some(Spread {
        median,
        min: first,
        max: last,
        rounds: sorted.len(),
    })
}

/// `ours` to `theirs`, round by round; rounds that lack one, or in which theirs is not above zero, do not count.
pub fn ratio(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<Spread> {
    spread(
        ours.iter()
            .zip(theirs)
            .filter_map(|(ours, theirs)| Some((*ours)? / (*theirs).filter(|t| *t > 0.0)?)),
    )
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
    fn medians_have_their_range() {
        let odd = spread([3.0, f64::NAN, 1.0, 2.0]).expect("figures");
        assert_eq!(
            (odd.median, odd.min, odd.max, odd.rounds),
            (2.0, 1.0, 3.0, 3)
        );
        assert_eq!(spread([4.0, 1.0]).expect("figures").median, 2.5);
        assert_eq!(spread([]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let ours = [Some(1.0), Some(4.0), None, Some(9.0), Some(5.0)];
        let theirs = [Some(2.0), Some(4.0), Some(1.0), Some(3.0), Some(0.0)];
        let ratio = ratio(&ours, &theirs).expect("three rounds");
        assert_eq!(
            (ratio.median, ratio.min, ratio.max, ratio.rounds),
            (1.0, 0.5, 3.0, 3)
        );
        assert_eq!(super::ratio(&ours, &[]), None);
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

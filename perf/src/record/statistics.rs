//! Of several rounds: medians, ranges, and ratios that are taken within a round.

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

/// Of `values`; none of none, and those that are no number do not count.
pub fn spread(values: &[f64]) -> Option<Spread> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
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
    let ratios: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .filter_map(|(ours, theirs)| Some((*ours)? / (*theirs).filter(|t| *t > 0.0)?))
        .collect();
    spread(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_have_their_range() {
        let odd = spread(&[3.0, f64::NAN, 1.0, 2.0]).expect("figures");
        assert_eq!(
            (odd.median, odd.min, odd.max, odd.rounds),
            (2.0, 1.0, 3.0, 3)
        );
        assert_eq!(spread(&[4.0, 1.0]).expect("figures").median, 2.5);
        assert_eq!(spread(&[]), None);
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
    }
}

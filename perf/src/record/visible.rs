//! How long transactions took until all workers had observed them.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::spread;

/// From when a transaction was due until it was visible to all workers, ms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct VisibleMs {
    /// Half of them took no longer.
    pub p50: f64,
    /// One of a hundred took longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl VisibleMs {
    /// Of times in µs.
    pub fn of(us: &Histogram<u64>) -> VisibleMs {
        let ms = |us: u64| us as f64 / 1000.0;
        VisibleMs {
            p50: ms(us.value_at_quantile(0.5)),
            p99: ms(us.value_at_quantile(0.99)),
            max: ms(us.max()),
        }
    }

    /// Over several rounds: medians, and the longest of all.
    pub fn median(rounds: &[VisibleMs]) -> VisibleMs {
        let of = |get: fn(&VisibleMs) -> f64| {
            let values: Vec<f64> = rounds.iter().map(get).collect();
            spread(&values).map_or(0.0, |s| s.median)
        };
        VisibleMs {
            p50: of(|v| v.p50),
            p99: of(|v| v.p99),
            max: rounds.iter().map(|v| v.max).fold(0.0, f64::max),
        }
    }

    /// For a table.
    pub fn text(&self) -> String {
        format!("{:.2}, {:.2}, {:.2} ms", self.p50, self.p99, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_transaction_is_the_longest_of_all_rounds() {
        let mut times = Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds");
        for us in 1..=100 {
            times.record(us * 1_000).expect("within bounds");
        }
        let first = VisibleMs::of(&times);
        assert!((first.p50 - 50.0).abs() < 0.1, "{first:?}");
        assert!((first.p99 - 99.0).abs() < 0.1, "{first:?}");
        assert!((first.max - 100.0).abs() < 0.1, "{first:?}");
        let late = VisibleMs {
            p50: 2.0,
            p99: 3.0,
            max: 4_000.0,
        };
        let over = VisibleMs::median(&[first, late, late]);
        assert_eq!(over, late);
        assert_eq!(over.text(), "2.00, 3.00, 4000.00 ms");
        assert_eq!(VisibleMs::median(&[]), VisibleMs::default());
    }
}

//! How often which time was seen: every doubling in 16 buckets, below 16 µs one for each µs, as the scheduling center's histograms are.

use std::collections::BTreeMap;

use crate::v1;

/// Buckets of one doubling, as bits.
const PARTS: u32 = 4;

/// Counts by the least time of the bucket, µs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latency(BTreeMap<u32, u64>);

impl Latency {
    /// One more of this time, ns.
    pub fn add(&mut self, ns: u64) {
        let micros = u32::try_from(ns / 1_000).unwrap_or(u32::MAX);
        self.add_many(micros, 1);
    }

    /// So many more of this time, µs.
    pub fn add_many(&mut self, micros: u32, count: u64) {
        let sum = self.0.entry(least(micros)).or_default();
        *sum = sum.saturating_add(count);
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Latency) {
        for (from, count) in &other.0 {
            self.add_many(*from, *count);
        }
    }

    /// From, to (less than) in µs, and how often.
    pub fn buckets(&self) -> impl Iterator<Item = (u32, u32, u64)> {
        let all = self.0.iter();
        all.map(|(from, count)| (*from, from.saturating_add(1 << shift(*from)), *count))
    }

    /// As it travels.
    #[must_use]
    pub fn to_proto(&self) -> Vec<v1::LatencyBucket> {
        let buckets = self
            .buckets()
            .map(|(from_us, to_us, count)| v1::LatencyBucket {
                from_us,
                to_us,
                count,
            });
        buckets.collect()
    }

    /// How many times were seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, one| sum.saturating_add(*one))
    }
}

/// Bits of a time that its bucket does not tell.
fn shift(micros: u32) -> u32 {
    (31 - PARTS).saturating_sub((micros | 1).leading_zeros())
}

/// The least time of the bucket.
fn least(micros: u32) -> u32 {
    micros >> shift(micros) << shift(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Percentiles of the buckets beside those of HdrHistogram with three digits, of the same times.
    fn compare(distribution: &str, micros: impl Fn(u64) -> f64) {
        let mut latency = Latency::default();
        let mut exact = hdrhistogram::Histogram::<u64>::new(3).expect("three digits");
        for n in 0..100_000 {
            let ns = (micros(n) * 1_000.0) as u64;
            latency.add(ns);
            exact.record(ns / 1_000).expect("grows");
        }
        assert_eq!(latency.count(), exact.len());
        for share in [0.5, 0.9, 0.99, 0.999] {
            let wanted = (exact.len() as f64 * share).ceil() as u64;
            let mut seen = 0;
            let mut buckets = latency.buckets();
            let (from, to, _) = buckets
                .find(|(_, _, count)| {
                    seen += count;
                    seen >= wanted
                })
                .expect("one bucket has it");
            let (exact, width) = (exact.value_at_quantile(share), to - from);
            let near = u64::from(from.saturating_sub(width))..u64::from(to + width);
            assert!(
                near.contains(&exact),
                "{distribution}, {share}: {from} to {to} us, {exact} us"
            );
        }
    }

    /// From 0 to 1, the same in every run (SplitMix64).
    fn unit(n: u64) -> f64 {
        let mut bits = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    #[test]
    fn percentiles_are_those_of_hdrhistogram_within_a_bucket() {
        // About normal: the sum of twelve.
        let normal = |n| (0..12).map(|part| unit(n * 12 + part)).sum::<f64>() - 6.0;
        compare("uniform", |n| unit(n) * 50_000.0);
        compare("log-normal", |n| (6.0 + 0.8 * normal(n)).exp());
        // One call in seven waits for something.
        compare("bimodal", |n| match n % 7 {
            0 => 20_000.0 + 1_500.0 * normal(n),
            _ => 180.0 + 25.0 * normal(n),
        });
        compare("a few microseconds", |n| 20.0 * unit(n));
    }

    #[test]
    fn what_travels_adds_up() {
        let (mut one, mut other) = (Latency::default(), Latency::default());
        (0..1_000).for_each(|n| one.add(n * n * 1_000));
        (0..100).for_each(|n| other.add(n * 77_000));
        let mut sum = Latency::default();
        for bucket in one.to_proto().into_iter().chain(other.to_proto()) {
            sum.add_many(bucket.from_us, bucket.count);
        }
        one.merge(&other);
        assert_eq!((sum.count(), sum), (1_100, one));
    }

    #[test]
    fn a_bucket_is_at_most_a_sixteenth_wide() {
        for micros in [
            0,
            1,
            15,
            16,
            31,
            32,
            33,
            1_000,
            65_535,
            1 << 20,
            u32::MAX - 1,
        ] {
            let mut latency = Latency::default();
            latency.add(u64::from(micros) * 1_000 + 999);
            let all: Vec<_> = latency.buckets().collect();
            let [(from, to, 1)] = all[..] else {
                panic!("{all:?}")
            };
            assert!((from..=to).contains(&micros), "{micros}: {from} {to}");
            assert!(to - from <= from / 16 + 1, "{micros}: {from} {to}");
        }
    }
}

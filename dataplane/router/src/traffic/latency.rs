//! How often which time was seen: every doubling in 16 buckets, below 16 µs one for each µs, as the scheduling center's histograms are.

use std::collections::BTreeMap;

/// Buckets of one doubling, as bits.
const PARTS: u32 = 4;

/// Counts by the least time of the bucket, µs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latency(BTreeMap<u32, u64>);

impl Latency {
    /// One more of this time, ns.
    pub fn add(&mut self, ns: u64) {
        let micros = u32::try_from(ns / 1_000).unwrap_or(u32::MAX);
        *self.0.entry(least(micros)).or_default() += 1;
    }

    /// From, to (less than) in µs, and how often.
    pub fn buckets(&self) -> impl Iterator<Item = (u32, u32, u64)> {
        let all = self.0.iter();
        all.map(|(from, count)| (*from, from.saturating_add(1 << shift(*from)), *count))
    }

    /// How many times were seen.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
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

//! How often which time was seen: sparse, mergeable, a few bytes on the wire.
//!
//! Log-linear, as HdrHistogram is: times below 16 µs have a bucket each, then every doubling has 16. A histogram may be coarsened, which halves
//! the number of its buckets; two of different width merge at the wider, so merging is associative and commutative.

use crate::varint;

/// Buckets per doubling, as a power of two.
const SUB_BITS: u32 = 4;
/// Widest: one bucket for everything.
const WIDEST: u8 = 10;
/// Most buckets that are taken from the wire.
const MAX_BUCKETS: u64 = 512;

/// Times in µs and how often each was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How often it was coarsened.
    width: u8,
    /// Bucket and count, ascending; no count is 0.
    counts: Vec<(u16, u32)>,
}

impl Histogram {
    /// One more of this time, µs.
    pub fn add(&mut self, micros: u32) {
        self.add_many(micros, 1);
    }

    /// So many more of this time, µs.
    pub fn add_many(&mut self, micros: u32, count: u32) {
        if count == 0 {
            return;
        }
        let bucket = bucket(micros) >> self.width;
        match self.counts.binary_search_by_key(&bucket, |entry| entry.0) {
            Ok(at) => self.counts[at].1 = self.counts[at].1.saturating_add(count),
            Err(at) => self.counts.insert(at, (bucket, count)),
        }
    }

    /// As it travels by itself: nothing of none, else the encoding that reports have within (scheduling.proto).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.is_empty() {
            self.encode(&mut bytes);
        }
        bytes
    }

    /// The inverse of [`Histogram::to_bytes`]; `None` of other bytes.
    #[must_use]
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let histogram = Self::decode(&mut bytes)?;
        (bytes.is_empty() && !histogram.is_empty()).then_some(histogram)
    }

    /// How many times were seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|entry| u64::from(entry.1)).sum()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The time, µs, that `permille` of a thousand do not exceed: the middle of its bucket (within 3.2 % unless coarsened); `None` of none.
    #[must_use]
    pub fn quantile(&self, permille: u32) -> Option<u32> {
        let wanted = (self.count() * u64::from(permille.min(1_000)))
            .div_ceil(1_000)
            .max(1);
        let mut seen = 0;
        self.counts.iter().find_map(|&(bucket, count)| {
            seen += u64::from(count);
            (seen >= wanted).then(|| self.middle(bucket))
        })
    }

    /// How many thousandths of the times are at least `micros`, by the middles of their buckets; 0 of none.
    #[must_use]
    pub fn permille_from(&self, micros: u64) -> u32 {
        let above = self
            .counts
            .iter()
            .filter(|(bucket, _)| u64::from(self.middle(*bucket)) >= micros);
        let above: u64 = above.map(|(_, count)| u64::from(*count)).sum();
        (above * 1_000).checked_div(self.count()).unwrap_or(0) as u32
    }

    /// Mean of the buckets' middles, µs; `None` of none.
    #[must_use]
    pub fn mean(&self) -> Option<u32> {
        let count = self.count();
        let sum: u128 = self
            .counts
            .iter()
            .map(|&(bucket, count)| u128::from(self.middle(bucket)) * u128::from(count))
            .sum();
        let mean = sum.checked_div(u128::from(count))?;
        Some(u32::try_from(mean).unwrap_or(u32::MAX))
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Histogram) {
        while self.width < other.width {
            self.coarsen();
        }
        let shift = other.width.abs_diff(self.width);
        for &(bucket, count) in &other.counts {
            let bucket = bucket >> shift;
            match self.counts.binary_search_by_key(&bucket, |entry| entry.0) {
                Ok(at) => self.counts[at].1 = self.counts[at].1.saturating_add(count),
                Err(at) => self.counts.insert(at, (bucket, count)),
            }
        }
    }

    /// Makes each bucket twice as wide; says whether that was possible.
    pub fn coarsen(&mut self) -> bool {
        if self.width >= WIDEST {
            return false;
        }
        self.width += 1;
        for entry in &mut self.counts {
            entry.0 >>= 1;
        }
        self.counts.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 = kept.1.saturating_add(next.1);
            }
            same
        });
        true
    }

    /// Width, number of buckets, then distance from the last bucket and count of each.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.width);
        varint::put(out, self.counts.len() as u64);
        let mut last = 0;
        for &(bucket, count) in &self.counts {
            varint::put(out, u64::from(bucket - last));
            varint::put(out, u64::from(count));
            last = bucket;
        }
    }

    /// `None` if these bytes are none that [`Histogram::encode`] makes.
    pub(crate) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let (&width, rest) = bytes.split_first()?;
        *bytes = rest;
        let length = varint::take(bytes)?;
        if width > WIDEST || length > MAX_BUCKETS {
            return None;
        }
        let limit = bucket(u32::MAX) >> width;
        let mut counts: Vec<(u16, u32)> = Vec::with_capacity(length as usize);
        for _ in 0..length {
            let distance = u16::try_from(varint::take(bytes)?).ok()?;
            let bucket = match counts.last() {
                None => distance,
                Some(_) if distance == 0 => return None,
                Some(last) => last.0.checked_add(distance)?,
            };
            let count = u32::try_from(varint::take(bytes)?).ok()?;
            if bucket > limit || count == 0 {
                return None;
            }
            counts.push((bucket, count));
        }
        Some(Self { width, counts })
    }

    fn middle(&self, wide: u16) -> u32 {
        let first = low(u32::from(wide) << self.width);
        let end = low((u32::from(wide) + 1) << self.width);
        let middle = first + (end - first) / 2;
        u32::try_from(middle).unwrap_or(u32::MAX)
    }
}

/// The bucket of a time.
fn bucket(micros: u32) -> u16 {
    let octave = (32 - SUB_BITS).saturating_sub((micros | 1).leading_zeros());
    let bucket = if octave == 0 {
        micros
    } else {
        // The highest bit is in the octave already.
        (octave << SUB_BITS) + (micros >> (octave - 1)) - (1 << SUB_BITS)
    };
    bucket as u16
}

/// The least time of a bucket, the inverse of [`bucket`].
fn low(bucket: u32) -> u64 {
    let sub = 1u64 << SUB_BITS;
    let bucket = u64::from(bucket);
    match bucket >> SUB_BITS {
        0 => bucket,
        octave => ((bucket & (sub - 1)) + sub) << (octave.min(40) - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_without_a_gap() {
        for bucket_no in 0..464u32 {
            let first = low(bucket_no);
            let Ok(first) = u32::try_from(first) else {
                break;
            };
            assert_eq!(u32::from(bucket(first)), bucket_no, "{first}");
            if let Ok(last) = u32::try_from(low(bucket_no + 1) - 1) {
                assert_eq!(u32::from(bucket(last)), bucket_no, "{last}");
            }
        }
    }

    #[test]
    fn quantiles_are_within_a_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(500), histogram.mean()), (None, None));
        for micros in 1..=10_000 {
            histogram.add(micros);
        }
        for (permille, exact) in [(500, 5_000.0), (990, 9_900.0)] {
            let found = f64::from(histogram.quantile(permille).unwrap());
            assert!((found / exact - 1.0).abs() < 0.032, "{permille}: {found}");
        }
        assert_eq!(histogram.permille_from(20_000), 0);
        assert!((480..=520).contains(&histogram.permille_from(5_000)));
        let mean = f64::from(histogram.mean().unwrap());
        assert!((mean / 5_000.0 - 1.0).abs() < 0.02, "{mean}");
    }

    #[test]
    fn coarsened_to_the_end_it_is_one_bucket() {
        let mut histogram = Histogram::default();
        (0..32).for_each(|bit| histogram.add(1 << bit));
        while histogram.coarsen() {}
        assert_eq!((histogram.counts.len(), histogram.count()), (1, 32));
        let bytes = histogram.to_bytes();
        assert_eq!(Histogram::from_bytes(&bytes), Some(histogram));
        assert_eq!(Histogram::from_bytes(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(Histogram::from_bytes(&[]), Some(Histogram::default()));
    }
}

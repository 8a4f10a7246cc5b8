//! Scores for rendezvous hashing: for every slot a number per member that depends on nothing but the
//! member and the slot, so that the order of two members in a slot never depends on a third.
//!
//! Independent random numbers would leave a share of 50 % of 4,096 slots off by 0.8 points as a rule. So
//! the scores of a member are stratified: the 16 slots of a block get one number from each sixteenth of
//! the range, and the two slots of a pair opposite ones. Two equal members then share exactly, even over
//! a few flow labels in sequence.

use dmsc_wire::{FlowLabel, NodeId};

/// Slots of a block.
pub(crate) const BLOCK: usize = 16;
/// Blocks of a group.
pub(crate) const BLOCKS: usize = 256;
/// Tells these scores from all other uses of the same ids, as the choice of a next hop.
const SEED: u64 = 0x646d_7363_2f67_7270;

/// The slot of a flow label in every group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot(u16);

impl Slot {
    /// 16 labels in sequence from a multiple of 16 fill one block; blocks are spread by a full mix, so that strides and random labels
    /// reach all of them alike.
    #[inline(always)]
    pub fn of(flow: FlowLabel) -> Self {
        let high = flow.0 >> 4;
        let block = mix32(high ^ SEED as u32) >> 24;
        let within = (flow.0 ^ high.wrapping_mul(0x9e37_79b1) >> 28) & 15;
        Self((block << 4 | within) as u16)
    }

    /// Every one.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..(BLOCK * BLOCKS) as u16).map(Self)
    }

    /// Below `BLOCK * BLOCKS`.
    #[inline(always)]
    pub(crate) fn number(self) -> usize {
        usize::from(self.0)
    }
}

/// The scores of a member in the slots of one block, uniform over all `u32`.
pub(crate) fn scores(gateway: NodeId, block: usize) -> [u32; BLOCK] {
    let seed = mix64(((u64::from(gateway.0) << 32) | block as u64) ^ SEED);
    // Which of the lower eight sixteenths each pair gets: 56 bits of shuffling and 8 of direction.
    let mut strata: [u32; BLOCK / 2] = std::array::from_fn(|i| i as u32);
    let mut random = seed;
    for last in (1..strata.len()).rev() {
        strata.swap(last, ((random & 0xff) as usize * (last + 1)) >> 8);
        random >>= 8;
    }
    let mut scores = [0; BLOCK];
    for (pair, stratum) in strata.into_iter().enumerate() {
        let within =
            mix64(seed.wrapping_add((pair as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let score = stratum << 28 | (within >> 36) as u32;
        let score = if random >> pair & 1 == 0 {
            score
        } else {
            !score
        };
        scores[pair * 2] = score;
        scores[pair * 2 + 1] = !score;
    }
    scores
}

/// The place of a member in its slot, least first: −ln(score) / weight, which makes the member of
/// weight w first in w / Σ weights of all slots (weighted rendezvous).
///
/// All routers must agree, so this uses only operations that IEEE 754 defines to the last bit.
#[inline(always)]
pub(crate) fn rank(score: u32, weight: u16) -> f64 {
    -ln_of_fraction(score) / f64::from(weight)
}

/// ln((score + ½) / 2³²), to about 10⁻⁹.
fn ln_of_fraction(score: u32) -> f64 {
    let x = f64::from(score) + 0.5;
    let bits = x.to_bits();
    let exponent = (bits >> 52) as i32 - 1023;
    let mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    // ln(m) = 2 artanh((m − 1) / (m + 1)), with m within a factor of √2 of 1.
    let (mantissa, exponent) = if mantissa > std::f64::consts::SQRT_2 {
        (mantissa / 2.0, exponent + 1)
    } else {
        (mantissa, exponent)
    };
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let t2 = t * t;
    let mut series = 0.0;
    for n in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        series = series * t2 + 1.0 / n;
    }
    f64::from(exponent - 32) * std::f64::consts::LN_2 + 2.0 * t * series
}

#[inline(always)]
pub(crate) fn mix32(x: u32) -> u32 {
    let x = (x ^ x >> 16).wrapping_mul(0x7feb_352d);
    let x = (x ^ x >> 15).wrapping_mul(0x846c_a68b);
    x ^ x >> 16
}

/// A full mix of 64 bits (splitmix64's).
#[inline(always)]
pub(crate) fn mix64(x: u64) -> u64 {
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The i-th flow label of a kind.
    type Label = fn(u32) -> u32;

    #[test]
    fn the_logarithm_is_right() {
        for score in [
            0,
            1,
            77,
            1 << 20,
            0x6000_0000,
            0x7fff_ffff,
            0x8000_0000,
            u32::MAX,
        ] {
            let exact = ((f64::from(score) + 0.5) / 4_294_967_296.0).ln();
            assert!(
                (ln_of_fraction(score) - exact).abs() < 1e-8,
                "{score}: {exact}"
            );
        }
    }

    #[test]
    fn a_block_has_one_score_of_each_sixteenth_and_pairs_are_opposite() {
        for gateway in 0..50 {
            for block in 0..BLOCKS {
                let scores = scores(NodeId(gateway), block);
                let strata = scores.iter().fold(0u32, |set, s| set | 1 << (s >> 28));
                assert_eq!(strata, 0xffff);
                assert!(scores.chunks(2).all(|pair| pair[0] == !pair[1]));
            }
        }
    }

    #[test]
    fn labels_of_all_kinds_reach_all_slots_alike() {
        let samples = 1 << 20;
        let kinds: [(&str, Label); 5] = [
            ("sequential", |i| i),
            ("stride 16", |i| i.wrapping_mul(16)),
            ("stride 4096", |i| i.wrapping_mul(4096)),
            ("stride 1000", |i| i.wrapping_mul(1000)),
            ("random", |i| mix64(u64::from(i) + 12345) as u32),
        ];
        for (kind, label) in kinds {
            let mut counts = vec![0u32; BLOCK * BLOCKS];
            for i in 0..samples {
                counts[Slot::of(FlowLabel(label(i))).number()] += 1;
            }
            // 256 on average; 16 is one standard deviation of random labels.
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(*least > 150 && *most < 380, "{kind}: {least}..{most}");
        }
    }
}

//! Keyed hash of (domain, prefix) for all prefixes of a name in one pass (design §5).
//!
//! The key is random per process, so names from pods cannot be chosen to collide. AES rounds where
//! the build has them, a multiply-fold otherwise; the two give different hashes, which never leave
//! the process.

use std::hash::{BuildHasher, RandomState};

use dmsc_wire::Domain;

/// Longest canonical encoding of a name (design §3).
pub(crate) const MAX_NAME: usize = 255;
/// Most components of a name (design §3).
pub(crate) const MAX_COMPONENTS: usize = 16;

/// The secret of a table's hash, 128 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey([u64; 2]);

impl HashKey {
    /// A key from the operating system's randomness.
    pub fn random() -> Self {
        let random = RandomState::new();
        Self([random.hash_one(0u8), random.hash_one(1u8)])
    }

    /// A fixed key, for tests and reproducible measurements.
    pub const fn fixed(key: [u64; 2]) -> Self {
        Self(key)
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(secret)")
    }
}

/// Bytes that a name is hashed in.
pub(crate) const BLOCK: usize = 16;
/// Bytes of a name that are read at once: names up to this length are the fast ones.
pub(crate) const WINDOW: usize = NARROW * BLOCK;
/// Blocks of a window of that length.
pub(crate) const NARROW: usize = 4;
/// Blocks of a window for longer names.
pub(crate) const WIDE: usize = 8;

/// A name and what lies behind it, block by block.
pub(crate) type Window<const BLOCKS: usize> = [[u8; BLOCK]; BLOCKS];

/// Masks that keep the first n bytes of a block.
const MASKS: [[u8; BLOCK]; BLOCK + 1] = {
    let mut masks = [[0; BLOCK]; BLOCK + 1];
    let mut n = 1;
    while n <= BLOCK {
        masks[n] = masks[n - 1];
        masks[n][n - 1] = 0xff;
        n += 1;
    }
    masks
};

/// Hashes prefixes of names.
///
/// What is hashed is the encoding, padded with zeros to whole blocks. Because no component is empty, the padding is
/// never the beginning of another name. All prefixes of a name share what comes of the blocks before the one that
/// they end in, so each costs one block more, and none waits for another.
#[derive(Clone, Copy)]
pub(crate) struct Hasher(Key);

impl Hasher {
    #[inline(always)]
    pub(crate) fn new(key: HashKey) -> Self {
        Self(Key::new(key))
    }

    /// The start of all names of a domain.
    #[inline(always)]
    pub(crate) fn start(&self, domain: Domain) -> Sum {
        self.0.start(domain)
    }

    /// What has come of a name before each block of its window; before the first that is `start`. All blocks are
    /// hashed, whatever the length of the name: wrong guesses of the CPU when to stop cost more.
    #[inline(always)]
    pub(crate) fn window<const BLOCKS: usize>(
        &self,
        start: Sum,
        window: &Window<BLOCKS>,
    ) -> [Sum; BLOCKS] {
        let mut sums = [start; BLOCKS];
        for at in 1..BLOCKS {
            sums[at] = self.0.absorb(sums[at - 1], &window[at - 1]);
        }
        sums
    }

    /// The hash of the first `len` bytes of a name within its window.
    #[inline(always)]
    pub(crate) fn prefix<const BLOCKS: usize>(
        &self,
        sums: &[Sum; BLOCKS],
        window: &Window<BLOCKS>,
        len: u16,
    ) -> u32 {
        // Of no bytes, or of more than the window has, the hash means nothing.
        let last = usize::from(len).wrapping_sub(1) % (BLOCKS * BLOCK);
        self.last(sums[last / BLOCK], &window[last / BLOCK], last % BLOCK + 1)
    }

    /// Calls `each` with components, hash and bytes of encoding for the prefixes of a name of any length of which `wanted`
    /// has the bit (bit i: i + 1 components), the shortest first.
    pub(crate) fn prefixes(
        &self,
        start: Sum,
        name: &[u8],
        wanted: u16,
        mut each: impl FnMut(u8, u32, u8),
    ) {
        let mut padded = [0; MAX_NAME + 1];
        let len = name.len().min(MAX_NAME);
        padded[..len].copy_from_slice(&name[..len]);
        let (blocks, _) = padded.as_chunks::<BLOCK>();
        let (mut sum, mut block) = (start, 0);
        let (mut at, mut components, mut left_wanted) = (0, 0, wanted);
        while left_wanted != 0 && at < len {
            at = (at + 1 + usize::from(padded[at])).min(MAX_NAME);
            components += 1;
            let last = at - 1;
            while block < last / BLOCK {
                sum = self.0.absorb(sum, &blocks[block]);
                block += 1;
            }
            if left_wanted & 1 == 1 {
                let hash = self.last(sum, &blocks[block], last % BLOCK + 1);
                each(components, hash, at as u8);
            }
            left_wanted >>= 1;
        }
    }

    /// The hash of what ends with the first `len` bytes of `block`. Never 0: the tables mark free entries with that.
    #[inline(always)]
    fn last(&self, sum: Sum, block: &[u8; BLOCK], len: usize) -> u32 {
        self.0.last(sum, block, &MASKS[len]).max(1)
    }
}

/// The hash of a whole name.
pub(crate) fn hash_name(key: HashKey, domain: Domain, name: &[u8]) -> u32 {
    let hasher = Hasher::new(key);
    let mut hash = 1;
    hasher.prefixes(hasher.start(domain), name, u16::MAX, |_, prefix, _| {
        hash = prefix;
    });
    hash
}

#[cfg(all(target_arch = "x86_64", target_feature = "aes"))]
use with_aes::Key;
#[cfg(all(target_arch = "x86_64", target_feature = "aes"))]
pub(crate) use with_aes::Sum;
#[cfg(not(all(target_arch = "x86_64", target_feature = "aes")))]
use with_multiply::Key;
#[cfg(not(all(target_arch = "x86_64", target_feature = "aes")))]
pub(crate) use with_multiply::Sum;

#[cfg(all(target_arch = "x86_64", target_feature = "aes"))]
mod with_aes {
    use dmsc_wire::Domain;

    use super::{BLOCK, HashKey};
    use crate::raw::aes::Block;

    #[derive(Clone, Copy)]
    pub(crate) struct Sum(Block);

    #[derive(Clone, Copy)]
    pub(crate) struct Key(Block);

    impl Key {
        #[inline(always)]
        pub(super) fn new(key: HashKey) -> Self {
            let key = u128::from(key.0[1]) << 64 | u128::from(key.0[0]);
            Self(Block::load(&key.to_le_bytes()))
        }

        #[inline(always)]
        pub(super) fn start(self, domain: Domain) -> Sum {
            let domain = Block::load(&u128::from(domain.0).to_le_bytes());
            Sum(self.0.xor(domain).round(self.0))
        }

        /// Two rounds per block: after one, a guess of one byte cancels a difference in the next block.
        #[inline(always)]
        pub(super) fn absorb(self, sum: Sum, block: &[u8; BLOCK]) -> Sum {
            Sum(sum.0.xor(Block::load(block)).round(self.0).round(self.0))
        }

        /// Absorbs what `mask` leaves of the last block, and mixes once more.
        #[inline(always)]
        pub(super) fn last(self, sum: Sum, block: &[u8; BLOCK], mask: &[u8; BLOCK]) -> u32 {
            let block = Block::load(block).and(Block::load(mask));
            let sum = sum.0.xor(block).round(self.0).round(self.0);
            sum.round(self.0).low() as u32
        }
    }
}

#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "aes"))))]
mod with_multiply {
    use dmsc_wire::Domain;

    use super::{BLOCK, HashKey};

    #[derive(Clone, Copy)]
    pub(crate) struct Sum(u64);

    #[derive(Clone, Copy)]
    pub(crate) struct Key(HashKey);

    impl Key {
        #[inline(always)]
        pub(super) fn new(key: HashKey) -> Self {
            Self(key)
        }

        #[inline(always)]
        pub(super) fn start(self, domain: Domain) -> Sum {
            let [low, high] = self.0.0;
            Sum(fold(low ^ u64::from(domain.0), high | 1))
        }

        #[inline(always)]
        pub(super) fn absorb(self, sum: Sum, block: &[u8; BLOCK]) -> Sum {
            let block = u128::from_le_bytes(*block);
            let [low, high] = [block as u64, (block >> 64) as u64];
            let key = self.0.0;
            Sum(sum.0 ^ fold(low ^ key[0] ^ sum.0, high ^ key[1]))
        }

        #[inline(always)]
        pub(super) fn last(self, sum: Sum, block: &[u8; BLOCK], mask: &[u8; BLOCK]) -> u32 {
            let block = u128::from_le_bytes(*block) & u128::from_le_bytes(*mask);
            let sum = self.absorb(sum, &block.to_le_bytes());
            fold(sum.0 ^ self.0.0[1], 0x9e37_79b9_7f4a_7c15) as u32
        }
    }

    /// The two halves of the full product, folded together.
    #[inline(always)]
    fn fold(a: u64, b: u64) -> u64 {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn encode(components: &[&[u8]]) -> Vec<u8> {
        components
            .iter()
            .flat_map(|c| std::iter::once(c.len() as u8).chain(c.iter().copied()))
            .collect()
    }

    /// Components, hash and bytes of the wanted prefixes.
    fn prefixes(key: HashKey, domain: Domain, name: &[u8], wanted: u16) -> Vec<(u8, u32, u8)> {
        let hasher = Hasher::new(key);
        let mut found = Vec::new();
        let each = |components, hash, len| found.push((components, hash, len));
        hasher.prefixes(hasher.start(domain), name, wanted, each);
        // Those that lie within a window hash the same there, whatever is behind them.
        hash_the_same::<NARROW>(&hasher, domain, name, &found);
        hash_the_same::<WIDE>(&hasher, domain, name, &found);
        found
    }

    fn hash_the_same<const BLOCKS: usize>(
        hasher: &Hasher,
        domain: Domain,
        name: &[u8],
        found: &[(u8, u32, u8)],
    ) {
        let mut window = [[0xdd; BLOCK]; BLOCKS];
        let short = name.len().min(BLOCKS * BLOCK);
        window.as_flattened_mut()[..short].copy_from_slice(&name[..short]);
        let sums = hasher.window(hasher.start(domain), &window);
        for &(_, hash, len) in found.iter().filter(|prefix| usize::from(prefix.2) <= short) {
            assert_eq!(hasher.prefix(&sums, &window, len.into()), hash);
        }
    }

    #[test]
    fn a_prefix_hashes_like_the_same_name_alone() {
        let key = HashKey::random();
        let long = [b'x'; 40];
        let parts: [&[u8]; 5] = [
            b"shop",
            b"a",
            &long,
            b"exactly-15-byte",
            b"exactly-16-bytes",
        ];
        let name = encode(&parts);
        let expected: Vec<_> = (1..=5)
            .map(|n| {
                let alone = encode(&parts[..n]);
                (
                    n as u8,
                    hash_name(key, Domain(3), &alone),
                    alone.len() as u8,
                )
            })
            .collect();
        assert_eq!(prefixes(key, Domain(3), &name, u16::MAX), expected);
        assert_eq!(
            prefixes(key, Domain(3), &name, 0b1010),
            [expected[1], expected[3]]
        );
        assert_eq!(prefixes(key, Domain(3), &name, 0), []);
    }

    #[test]
    fn key_domain_and_boundaries_matter() {
        let [a, b] = [HashKey::fixed([1, 2]), HashKey::fixed([1, 3])];
        let name = encode(&[b"a", b"bc"]);
        let hash = hash_name(a, Domain(1), &name);
        assert_ne!(hash, hash_name(b, Domain(1), &name));
        assert_ne!(hash, hash_name(a, Domain(2), &name));
        assert_ne!(hash, hash_name(a, Domain(1), &encode(&[b"ab", b"c"])));
        assert_ne!(
            hash_name(a, Domain(1), &encode(&[b"a"])),
            hash_name(a, Domain(1), &encode(&[b"a\0"]))
        );
        assert_eq!(format!("{a:?}"), "HashKey(secret)");
    }

    #[test]
    fn longest_names_are_hashed_and_damaged_ones_do_not_panic() {
        let key = HashKey::random();
        let longest = encode(&[&[7; 254]]);
        assert_eq!(prefixes(key, Domain(0), &longest, 1)[0].2, 255);
        hash_name(key, Domain(0), &[255, 1, 2]);
        hash_name(key, Domain(0), &[0; 300]);
        hash_name(key, Domain(0), &[255; 300]);
        assert_eq!(hash_name(key, Domain(0), &[]), 1);
    }

    /// Among 100,000 hashes of 32 bits one expects about 1.2 equal pairs; both ways of mixing must
    /// come close, for names that differ little.
    #[test]
    fn both_ways_of_mixing_spread() {
        let mut distinct = [HashSet::new(), HashSet::new()];
        let key = HashKey::fixed([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
        for i in 0..100_000u32 {
            let name = encode(&[b"shop", format!("{i}").as_bytes()]);
            distinct[0].insert(hash_name(key, Domain(1), &name));
            let other = with_multiply::Key::new(key);
            let mut bytes = [0; BLOCK];
            bytes[..4].copy_from_slice(&i.to_le_bytes());
            let hash = other.last(other.start(Domain(1)), &bytes, &MASKS[BLOCK]);
            distinct[1].insert(hash);
        }
        assert!(
            distinct.iter().all(|d| d.len() > 99_980),
            "too many equal hashes"
        );
    }
}

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
const BLOCK: usize = 16;

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

/// One prefix of a hashed name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PrefixHash {
    /// Never 0: the tables mark free entries with it.
    pub hash: u32,
    /// Bytes of the prefix's encoding.
    pub len: u8,
}

/// The hashes of a name's prefixes, `[0]` for one component.
pub(crate) struct PrefixHashes {
    pub prefixes: [PrefixHash; MAX_COMPONENTS],
    pub count: usize,
}

/// Masks that keep the first n bytes of a little-endian block.
const MASKS: [u128; BLOCK + 1] = {
    let mut masks = [0; BLOCK + 1];
    let mut n = 1;
    while n <= BLOCK {
        masks[n] = u128::MAX >> (128 - 8 * n);
        n += 1;
    }
    masks
};

/// Hashes the prefixes of up to `max_components` components of a canonical name.
///
/// Every component is absorbed as its length byte and its bytes, padded with zeros to whole blocks: the
/// length makes the padding unambiguous.
#[inline]
pub(crate) fn hash_prefixes(
    key: HashKey,
    domain: Domain,
    name: &[u8],
    max_components: usize,
) -> PrefixHashes {
    // Room behind the name, so that a block can be read at any of its bytes.
    let mut padded = [0u8; MAX_NAME + 1 + BLOCK];
    let total = name.len().min(MAX_NAME);
    padded[..total].copy_from_slice(&name[..total]);

    let mut found = PrefixHashes {
        prefixes: [PrefixHash::default(); MAX_COMPONENTS],
        count: 0,
    };
    let mut state = State::new(key, domain);
    let mut at = 0;
    for prefix in found.prefixes.iter_mut().take(max_components) {
        if at >= total {
            break;
        }
        let mut left = usize::from(padded[at]) + 1;
        while left > 0 {
            let n = left.min(BLOCK);
            state.absorb(block(&padded, at) & MASKS[n]);
            at += n;
            left -= n;
        }
        *prefix = PrefixHash {
            hash: state.finish().max(1),
            len: at as u8,
        };
        found.count += 1;
    }
    found
}

/// The hash of a whole name, as [`hash_prefixes`] gives it for its last component.
pub(crate) fn hash_name(key: HashKey, domain: Domain, name: &[u8]) -> u32 {
    let hashes = hash_prefixes(key, domain, name, MAX_COMPONENTS);
    hashes
        .count
        .checked_sub(1)
        .map_or(1, |last| hashes.prefixes[last].hash)
}

#[inline(always)]
fn block(padded: &[u8; MAX_NAME + 1 + BLOCK], at: usize) -> u128 {
    // Canonical names keep `at` in range; anything else reads the end instead of panicking.
    let at = at.min(MAX_NAME + 1);
    let mut bytes = [0; BLOCK];
    bytes.copy_from_slice(&padded[at..at + BLOCK]);
    u128::from_le_bytes(bytes)
}

#[cfg(all(target_arch = "x86_64", target_feature = "aes"))]
use with_aes::State;
#[cfg(not(all(target_arch = "x86_64", target_feature = "aes")))]
use with_multiply::State;

#[cfg(all(target_arch = "x86_64", target_feature = "aes"))]
mod with_aes {
    use dmsc_wire::Domain;

    use super::HashKey;
    use crate::raw::aes::Block;

    #[derive(Clone, Copy)]
    pub(super) struct State {
        sum: Block,
        key: Block,
    }

    impl State {
        #[inline(always)]
        pub(super) fn new(key: HashKey, domain: Domain) -> Self {
            let key = Block::new(u128::from(key.0[1]) << 64 | u128::from(key.0[0]));
            let sum = key.xor(Block::new(u128::from(domain.0))).round(key);
            Self { sum, key }
        }

        /// Two rounds per block: after one, a guess of one byte cancels a difference in the next block.
        #[inline(always)]
        pub(super) fn absorb(&mut self, block: u128) {
            self.sum = self
                .sum
                .xor(Block::new(block))
                .round(self.key)
                .round(self.key);
        }

        #[inline(always)]
        pub(super) fn finish(self) -> u32 {
            self.sum.round(self.key).low() as u32
        }
    }
}

#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "aes"))))]
mod with_multiply {
    use dmsc_wire::Domain;

    use super::HashKey;

    #[derive(Clone, Copy)]
    pub(super) struct State {
        sum: u64,
        key: HashKey,
    }

    impl State {
        #[inline(always)]
        pub(super) fn new(key: HashKey, domain: Domain) -> Self {
            let sum = fold(key.0[0] ^ u64::from(domain.0), key.0[1] | 1);
            Self { sum, key }
        }

        #[inline(always)]
        pub(super) fn absorb(&mut self, block: u128) {
            let [low, high] = [block as u64, (block >> 64) as u64];
            self.sum = fold(low ^ self.key.0[0] ^ self.sum, high ^ self.key.0[1]) ^ self.sum;
        }

        #[inline(always)]
        pub(super) fn finish(self) -> u32 {
            fold(self.sum ^ self.key.0[1], 0x9e37_79b9_7f4a_7c15) as u32
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

    #[test]
    fn a_prefix_hashes_like_the_same_name_alone() {
        let key = HashKey::random();
        let long = [b'x'; 40];
        let parts: [&[u8]; 4] = [b"shop", b"a", &long, b"exactly-15-byte"];
        let name = encode(&parts);
        let all = hash_prefixes(key, Domain(3), &name, MAX_COMPONENTS);
        assert_eq!(all.count, 4);
        for n in 1..=4 {
            let alone = encode(&parts[..n]);
            assert_eq!(all.prefixes[n - 1].hash, hash_name(key, Domain(3), &alone));
            assert_eq!(usize::from(all.prefixes[n - 1].len), alone.len());
        }
        assert_eq!(hash_prefixes(key, Domain(3), &name, 2).count, 2);
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
        assert_eq!(
            hash_prefixes(key, Domain(0), &longest, MAX_COMPONENTS).prefixes[0].len,
            255
        );
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
            let mut state = with_multiply::State::new(key, Domain(1));
            let mut bytes = [0; BLOCK];
            bytes[..4].copy_from_slice(&i.to_le_bytes());
            state.absorb(u128::from_le_bytes(bytes));
            distinct[1].insert(state.finish());
        }
        assert!(
            distinct.iter().all(|d| d.len() > 99_980),
            "too many equal hashes"
        );
    }
}

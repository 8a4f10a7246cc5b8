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

/// A name with room behind it, so that a block can be read at any of its bytes. What lies behind the name
/// does not matter.
pub(crate) struct Padded([u8; MAX_NAME + 1 + BLOCK]);

impl Padded {
    pub(crate) fn new() -> Self {
        Self([0; MAX_NAME + 1 + BLOCK])
    }

    #[inline(always)]
    fn set(&mut self, name: &[u8]) -> usize {
        let len = name.len().min(MAX_NAME);
        self.0[..len].copy_from_slice(&name[..len]);
        len
    }

    #[inline(always)]
    fn block(&self, at: usize) -> &[u8; BLOCK] {
        // Canonical names keep `at` in range; anything else reads the end instead of panicking.
        match self.0.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(block) => block,
            None => &[0; BLOCK],
        }
    }
}

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

/// Calls `each` with components, hash and bytes of encoding for the prefixes of a canonical name of which
/// `wanted` has the bit (bit i: i + 1 components), the shortest first. A hash is never 0: the tables mark
/// free entries with that.
///
/// Every component is absorbed as its length byte and its bytes, padded with zeros to whole blocks: the
/// length makes the padding unambiguous.
#[inline(always)]
pub(crate) fn for_prefixes(
    key: HashKey,
    domain: Domain,
    name: &[u8],
    wanted: u16,
    padded: &mut Padded,
    mut each: impl FnMut(u8, u32, u8),
) {
    let total = padded.set(name);
    let mut state = State::new(key, domain);
    let mut left_wanted = wanted;
    let mut components = 0;
    let mut at = 0;
    while left_wanted != 0 && at < total {
        let mut left = usize::from(padded.0[at]) + 1;
        while left > BLOCK {
            state.absorb(padded.block(at), &MASKS[BLOCK]);
            at += BLOCK;
            left -= BLOCK;
        }
        state.absorb(padded.block(at), &MASKS[left]);
        at += left;
        components += 1;
        if left_wanted & 1 == 1 {
            each(components, state.finish().max(1), at as u8);
        }
        left_wanted >>= 1;
    }
}

/// The hash of a whole name, as [`for_prefixes`] gives it for all its components.
pub(crate) fn hash_name(key: HashKey, domain: Domain, name: &[u8]) -> u32 {
    let mut last = 1;
    for_prefixes(
        key,
        domain,
        name,
        u16::MAX,
        &mut Padded::new(),
        |_, hash, _| last = hash,
    );
    last
}

#[cfg(all(target_arch = "x86_64", target_feature = "aes"))]
use with_aes::State;
#[cfg(not(all(target_arch = "x86_64", target_feature = "aes")))]
use with_multiply::State;

#[cfg(all(target_arch = "x86_64", target_feature = "aes"))]
mod with_aes {
    use dmsc_wire::Domain;

    use super::{BLOCK, HashKey};
    use crate::raw::aes::Block;

    #[derive(Clone, Copy)]
    pub(super) struct State {
        sum: Block,
        key: Block,
    }

    impl State {
        #[inline(always)]
        pub(super) fn new(key: HashKey, domain: Domain) -> Self {
            let key = u128::from(key.0[1]) << 64 | u128::from(key.0[0]);
            let key = Block::load(&key.to_le_bytes());
            let domain = Block::load(&u128::from(domain.0).to_le_bytes());
            Self {
                sum: key.xor(domain).round(key),
                key,
            }
        }

        /// Two rounds per block: after one, a guess of one byte cancels a difference in the next block.
        #[inline(always)]
        pub(super) fn absorb(&mut self, block: &[u8; BLOCK], mask: &[u8; BLOCK]) {
            let block = Block::load(block).and(Block::load(mask));
            self.sum = self.sum.xor(block).round(self.key).round(self.key);
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

    use super::{BLOCK, HashKey};

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
        pub(super) fn absorb(&mut self, block: &[u8; BLOCK], mask: &[u8; BLOCK]) {
            let block = u128::from_le_bytes(*block) & u128::from_le_bytes(*mask);
            let [low, high] = [block as u64, (block >> 64) as u64];
            self.sum ^= fold(low ^ self.key.0[0] ^ self.sum, high ^ self.key.0[1]);
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

    fn prefixes(key: HashKey, domain: Domain, name: &[u8], wanted: u16) -> Vec<(u8, u32, u8)> {
        let mut padded = Padded([0xee; MAX_NAME + 1 + BLOCK]);
        let mut found = Vec::new();
        let each = |components, hash, len| found.push((components, hash, len));
        for_prefixes(key, domain, name, wanted, &mut padded, each);
        found
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
            let mut state = with_multiply::State::new(key, Domain(1));
            let mut bytes = [0; BLOCK];
            bytes[..4].copy_from_slice(&i.to_le_bytes());
            state.absorb(&bytes, &MASKS[BLOCK]);
            distinct[1].insert(state.finish());
        }
        assert!(
            distinct.iter().all(|d| d.len() > 99_980),
            "too many equal hashes"
        );
    }
}

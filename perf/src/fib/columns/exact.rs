//! `rte_hash_lookup_bulk` of one exact key of 40 bytes: the figure that people who build routers on DPDK know.

use std::hint::black_box;

use anyhow::Context as _;
use dmsc_dpdk::{Eal, EalConfig, ExactHash, ExactHashError, Huge};

use super::{BURST, Bytes, Column, Round};
use crate::fib::measure::timed;
use crate::prng::Prng;

/// Bytes of a key, about those of a name of the catalogue.
const KEY: usize = 40;

/// Room in the table for `keys` keys: half as many again, as its makers recommend.
fn capacity(keys: usize) -> u32 {
    (keys + keys / 2).max(64) as u32
}

/// What `rte_hash_create` allocates for room for `keys` keys (DPDK 22.11; no multiple writers, no table of extra buckets): a bucket of 64
/// bytes for eight, their number being a power of two; a ring of free places of 4 bytes, a power of two as well; and a place for
/// each key and one more, of 8 bytes for the value and the key, rounded up to 16. The heads of the three are left out.
fn bytes(keys: usize) -> usize {
    let room = capacity(keys) as usize;
    let buckets = room.next_power_of_two() / 8 * 64;
    let ring = (room + 1).next_power_of_two() * 4;
    buckets + ring + (room + 1) * (8 + KEY).next_multiple_of(16)
}

/// An EAL with 2 MB pages for a table of `keys` keys.
pub fn eal_for(keys: usize) -> anyhow::Result<Eal> {
    // Per key of room: 8 of index, free slots in ring and caches 16, the key with its value 48; buckets are rounded up.
    let bytes =
        capacity(keys) as usize * (KEY + 8 + 24) + capacity(keys).next_power_of_two() as usize * 8;
    let memory_mb = (bytes >> 20) as u32 + 64;
    Eal::init(&EalConfig {
        program: "dmsc-perf".into(),
        memory_mb,
        huge: Huge::Yes,
        ..EalConfig::default()
    })
    .context("rte_hash, which the name table is compared with, lies in huge pages; leave it out with --peers levels")
}

/// Bursts of lookups.
pub struct Exact {
    table: ExactHash<KEY>,
    bytes: usize,
    keys: Vec<[u8; KEY]>,
    positions: [i32; BURST],
    round: Round,
}

impl Exact {
    /// A table of `count` random keys, and the CPU time of making and filling it, s; looked up are those with the numbers `draws`.
    pub fn new(eal: &Eal, count: usize, draws: &[u32], seed: u64) -> anyhow::Result<(Self, f64)> {
        let mut prng = Prng::new(seed, 2);
        let mut key = || std::array::from_fn(|_| b'!' + prng.below(94) as u8);
        let keys: Vec<[u8; KEY]> = (0..count).map(|_| key()).collect();
        let (table, build_s) = timed(|| -> Result<_, ExactHashError> {
            let mut table = ExactHash::new(eal, "dmsc-perf", capacity(count))?;
            for key in &keys {
                table.insert(key)?;
            }
            Ok(table)
        });
        let exact = Self {
            table: table?,
            bytes: bytes(count),
            keys: draws.iter().map(|&index| keys[index as usize]).collect(),
            positions: [0; BURST],
            round: Round::new(draws.len()),
        };
        Ok((exact, build_s))
    }
}

impl Column for Exact {
    fn word(&self) -> &'static str {
        "rte_hash"
    }

    fn burst(&mut self) -> usize {
        let keys = &self.keys[self.round.next()];
        let mut asked: [&[u8; KEY]; BURST] = [&[0; KEY]; BURST];
        for (asked, key) in asked.iter_mut().zip(keys) {
            *asked = key;
        }
        self.table
            .lookup_bulk(&asked[..keys.len()], &mut self.positions);
        black_box(&self.positions)
            .iter()
            .filter(|&&position| position >= 0)
            .count()
    }

    fn bytes(&self) -> Option<Bytes> {
        Some(Bytes::reckoned(self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_what_dpdk_allocates_for_its_room() {
        // Room for 1,500,000: 2^21 / 8 buckets of 64 bytes, a ring of 2^21 places of 4, and 1,500,001 keys of 48.
        let expected = (2_097_152 / 8 * 64) + 2_097_152 * 4 + 1_500_001 * 48;
        assert_eq!(bytes(1_000_000), expected);
        // The least that DPDK is asked for: 64 keys; one place more than that makes the ring larger.
        assert_eq!(bytes(1), 8 * 64 + 128 * 4 + 65 * 48);
    }
}

//! `rte_hash_lookup_bulk` of one exact key of 40 bytes: the figure that people who build routers on DPDK know.

use std::hint::black_box;

use anyhow::Context as _;
use dmsc_dpdk::{Eal, EalConfig, ExactHash, Huge};

use super::{BURST, Column, Round};
use crate::prng::Prng;

/// Bytes of a key, about those of a name of the catalogue.
const KEY: usize = 40;

/// Room in the table for `keys` keys: half as many again, as its makers recommend.
fn capacity(keys: usize) -> u32 {
    (keys + keys / 2).max(64) as u32
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
    keys: Vec<[u8; KEY]>,
    positions: [i32; BURST],
    round: Round,
}

impl Exact {
    /// A table of `count` random keys; looked up are those with the numbers `draws`.
    pub fn new(eal: &Eal, count: usize, draws: &[u32], seed: u64) -> anyhow::Result<Self> {
        let mut prng = Prng::new(seed, 2);
        let mut key = || std::array::from_fn(|_| b'!' + prng.below(94) as u8);
        let keys: Vec<[u8; KEY]> = (0..count).map(|_| key()).collect();
        let mut table = ExactHash::new(eal, "dmsc-perf", capacity(count))?;
        for key in &keys {
            table.insert(key)?;
        }
        let keys = draws.iter().map(|&index| keys[index as usize]).collect();
        Ok(Self {
            table,
            keys,
            positions: [0; BURST],
            round: Round::new(draws.len()),
        })
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
}

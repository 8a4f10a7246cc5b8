//! The plainest table: a hash map per number of components, asked from the longest prefix down.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;

use dmsc_fib::LookupKey;
use dmsc_wire::{Domain, Name};

use super::{Column, Round};
use crate::fib::names::Names;

/// Maps of one domain, by components less one.
type Maps = [HashMap<Box<[u8]>, u32>; 16];

/// The maps of all domains. The standard library's hasher (SipHash) and layout.
#[derive(Debug, Default)]
pub struct Levels(BTreeMap<Domain, Maps>);

impl Levels {
    /// Prefix number i has the value i; the last of equal ones counts.
    pub fn new(prefixes: &Names) -> Self {
        let mut domains: BTreeMap<Domain, Maps> = BTreeMap::new();
        for (value, prefix) in prefixes.iter().enumerate() {
            let maps = domains.entry(prefix.domain).or_default();
            maps[prefix.name.component_count() - 1]
                .insert(prefix.name.as_bytes().into(), value as u32);
        }
        Self(domains)
    }

    /// Value and components of the longest prefix.
    pub fn lookup(&self, domain: Domain, name: Name<'_>) -> Option<(u32, u8)> {
        let maps = self.0.get(&domain)?;
        let mut ends = [0; 16];
        let mut count = 0;
        for component in name.components().take(16) {
            let start = if count == 0 { 0 } else { ends[count - 1] };
            ends[count] = start + 1 + component.len();
            count += 1;
        }
        (0..count).rev().find_map(|level| {
            if maps[level].is_empty() {
                return None;
            }
            let value = maps[level].get(&name.as_bytes()[..ends[level]])?;
            Some((*value, level as u8 + 1))
        })
    }
}

/// Bursts of lookups.
pub struct LevelsColumn<'a> {
    word: &'static str,
    levels: &'a Levels,
    keys: Vec<LookupKey<'a>>,
    round: Round,
}

impl<'a> LevelsColumn<'a> {
    /// Looks `names` up; `word` names the column.
    pub fn new(word: &'static str, levels: &'a Levels, names: &'a Names) -> Self {
        Self {
            word,
            levels,
            keys: names.iter().collect(),
            round: Round::new(names.len()),
        }
    }
}

impl Column for LevelsColumn<'_> {
    fn word(&self) -> &'static str {
        self.word
    }

    fn burst(&mut self) -> usize {
        let keys = &self.keys[self.round.next()];
        let found = keys
            .iter()
            .filter(|key| black_box(self.levels.lookup(key.domain, key.name)).is_some());
        found.count()
    }
}

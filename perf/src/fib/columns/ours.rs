//! The name table of the dataplane.

use std::hint::black_box;

use dmsc_fib::{Fib, Habit, HashKey, LocalSetId, LookupKey, Op, PrefixMatch, PrefixValue};

use super::{BURST, Bytes, Column, Round};
use crate::fib::names::Names;

/// Prefixes of one transaction while the table is filled.
const TRANSACTION: usize = 10_000;

/// Fills a table: prefix number i has the local set i.
pub fn build(prefixes: &Names, key: HashKey) -> anyhow::Result<Fib> {
    let mut fib = Fib::with_key(key);
    for start in (0..prefixes.len()).step_by(TRANSACTION) {
        let put = |index: usize| {
            let prefix = prefixes.get(index);
            Op::PutPrefix {
                domain: prefix.domain,
                name: prefix.name.to_owned(),
                value: PrefixValue::local(LocalSetId(index as u32)),
            }
        };
        let end = prefixes.len().min(start + TRANSACTION);
        let ops: Vec<Op> = (start..end).map(put).collect();
        fib = fib.apply(&ops)?;
    }
    Ok(fib)
}

/// Bursts of lookups in it.
pub struct Ours<'a> {
    word: &'static str,
    fib: &'a Fib,
    keys: Vec<LookupKey<'a>>,
    found: [Option<PrefixMatch>; BURST],
    habit: Habit,
    round: Round,
}

impl<'a> Ours<'a> {
    /// `word` names the column.
    pub fn new(word: &'static str, fib: &'a Fib, names: &'a Names) -> Self {
        Self {
            word,
            fib,
            keys: names.iter().collect(),
            found: [None; BURST],
            habit: Habit::default(),
            round: Round::new(names.len()),
        }
    }
}

impl Column for Ours<'_> {
    fn word(&self) -> &'static str {
        self.word
    }

    fn burst(&mut self) -> usize {
        let keys = &self.keys[self.round.next()];
        let habit = &mut self.habit;
        self.fib.lookup_burst_as(habit, keys, &mut self.found);
        black_box(&self.found).iter().flatten().count()
    }

    fn bytes(&self) -> Option<Bytes> {
        Some(Bytes::counted(self.fib.bytes()))
    }
}

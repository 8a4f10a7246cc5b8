//! The name table behind a cache of whole names, as a worker could have one: what that would bring, and what it costs where no name comes twice.

use std::hint::black_box;

use dmsc_fib::{Fib, Habit, LookupKey, PrefixMatch};

use super::{BURST, Bytes, Column, Round};
use crate::fib::names::{Names, WINDOW};

/// Words of a name that fits.
const WORDS: usize = WINDOW / 8;

/// A name, padded with zeros.
type Padded = [u64; WORDS];

/// What a name was found as.
#[derive(Clone, Copy, Default)]
struct Entry {
    name: Padded,
    /// Domain, and bytes of the name; 0: there is none.
    head: u64,
    found: Option<PrefixMatch>,
}

/// Bursts of lookups through the cache.
pub struct Cached<'a> {
    fib: &'a Fib,
    keys: Vec<LookupKey<'a>>,
    /// Each name and what lies behind it; `None` if it is too long, or at the very end.
    windows: Vec<Option<&'a [u8; WINDOW]>>,
    /// Masks that keep the first n bytes.
    masks: Vec<Padded>,
    /// A power of two.
    entries: Vec<Entry>,
    found: [Option<PrefixMatch>; BURST],
    habit: Habit,
    round: Round,
}

impl<'a> Cached<'a> {
    /// With room for at least `entries` names.
    pub fn new(fib: &'a Fib, names: &'a Names, entries: u32) -> Self {
        let mask = |len: usize| {
            let mut bytes = [0; WINDOW];
            bytes[..len].fill(0xff);
            words(&bytes)
        };
        Self {
            fib,
            keys: names.iter().collect(),
            windows: (0..names.len()).map(|index| names.window(index)).collect(),
            masks: (0..=WINDOW).map(mask).collect(),
            entries: vec![Entry::default(); entries.next_power_of_two() as usize],
            found: [None; BURST],
            habit: Habit::default(),
            round: Round::new(names.len()),
        }
    }
}

fn words(bytes: &[u8; WINDOW]) -> Padded {
    let (chunks, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|word| u64::from_le_bytes(chunks[word]))
}

/// A place for a name: folded multiplications, two words at a time, none of which waits for another.
#[inline(always)]
fn place(name: &Padded, head: u64) -> usize {
    const SECRET: [u64; WORDS] = [
        0x9e37_79b9_7f4a_7c15,
        0xbf58_476d_1ce4_e5b9,
        0x94d0_49bb_1331_11eb,
        0xd6e8_feb8_6659_fd93,
        0xa076_1d64_78bd_642f,
        0xe703_7ed1_a0b4_28db,
        0x8ebc_6af0_9c88_c6e3,
        0x5899_65cc_7537_4cc3,
    ];
    let mut sum = head;
    for pair in 0..WORDS / 2 {
        let (a, b) = (2 * pair, 2 * pair + 1);
        let product = u128::from(name[a] ^ SECRET[a]) * u128::from(name[b] ^ SECRET[b]);
        sum ^= (product >> 64) as u64 ^ product as u64;
    }
    (sum.wrapping_mul(SECRET[0]) >> 32) as usize
}

impl Column for Cached<'_> {
    fn word(&self) -> &'static str {
        "cached"
    }

    fn burst(&mut self) -> usize {
        let range = self.round.next();
        let keys = &self.keys[range.clone()];
        let windows = &self.windows[range];
        let room = self.entries.len() - 1;
        let mut names = [([0; WORDS], 0, 0); BURST];
        for ((key, window), name) in keys.iter().zip(windows).zip(&mut names) {
            if let Some(window) = window {
                let len = key.name.as_bytes().len();
                let mask = &self.masks[len.min(WINDOW)];
                let mut padded = words(window);
                for (word, mask) in padded.iter_mut().zip(mask) {
                    *word &= mask;
                }
                let head = u64::from(key.domain.0) << 8 | len as u64;
                *name = (padded, head, place(&padded, head) & room);
            }
        }
        let Some(first) = keys.first() else {
            return 0;
        };
        // Whether a name is there is nothing that the CPU could guess, so there is no jump that depends on it.
        let (mut others, mut count) = ([0; BURST], 0);
        for (number, (name, head, at)) in names.iter().enumerate().take(keys.len()) {
            let entry = &self.entries[*at];
            let is_it = (*head != 0) & (entry.head == *head) & (entry.name == *name);
            self.found[number] = entry.found;
            others[count] = number;
            count += usize::from(!is_it);
        }
        let (mut their_keys, mut found) = ([*first; BURST], [None; BURST]);
        for (key, number) in their_keys.iter_mut().zip(others).take(count) {
            *key = keys[number];
        }
        let their_keys = &their_keys[..count];
        self.fib
            .lookup_burst_as(&mut self.habit, their_keys, &mut found);
        for (number, found) in others.into_iter().zip(found).take(count) {
            self.found[number] = found;
            let (name, head, at) = names[number];
            if head != 0 {
                self.entries[at] = Entry { name, head, found };
            }
        }
        black_box(&self.found).iter().flatten().count()
    }

    fn bytes(&self) -> Option<Bytes> {
        let cache = self.entries.len() * size_of::<Entry>();
        Some(Bytes::counted(self.fib.bytes() + cache))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fib::columns::build;
    use crate::fib::names::made_up;
    use dmsc_fib::HashKey;
    use dmsc_wire::Domain;

    #[test]
    fn it_says_what_the_table_says() {
        let mut prefixes = Names::default();
        for i in 0..2_000 {
            prefixes.push(Domain(1), made_up(i).as_name());
        }
        let fib = build(&prefixes, HashKey::fixed([1, 2])).expect("a table");
        // Every name twice in a row, and again after all others, in few places.
        let mut names = Names::default();
        for i in (0..4_000).chain(0..4_000) {
            for _ in 0..2 {
                names.push(Domain(1), made_up(i / 2 * 2 + 500).as_name());
            }
        }
        let mut cached = Cached::new(&fib, &names, 64);
        let mut at = 0;
        for _ in 0..names.len() / BURST {
            cached.burst();
            for found in cached.found {
                let key = names.get(at);
                assert_eq!(found, fib.lookup(key.domain, key.name), "{}", key.name);
                at += 1;
            }
        }
        assert!(at > 15_000);
    }
}

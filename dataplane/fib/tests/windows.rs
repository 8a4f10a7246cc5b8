//! Names within packets: whatever lies behind a name, which its sender chose, its longest prefix is found.

use std::collections::HashMap;

use dmsc_fib::{Fib, Habit, LocalSetId, LookupKey, MAX_BURST, Op, PrefixValue};
use dmsc_wire::{Domain, Name};

/// Most components of prefixes, by domain.
const DEPTHS: [usize; 4] = [1, 5, 9, 16];
/// Bytes of names: those at which windows and their halves end, and everything else now and then.
const LENGTHS: [usize; 14] = [2, 16, 17, 33, 63, 64, 65, 96, 120, 125, 127, 128, 129, 255];
const BURSTS: usize = if cfg!(debug_assertions) {
    2_000
} else {
    20_000
};

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }

    /// A name of so many bytes, in up to so many components. Few bytes differ, so that names share prefixes.
    fn name(&mut self, len: usize, components: usize) -> Vec<u8> {
        let mut name = Vec::new();
        while name.len() < len {
            let left = len - name.len();
            let parts = components.saturating_sub(self.below(components)).max(1);
            let mut bytes = (left / parts).max(2).min(left);
            if left - bytes == 1 {
                bytes += 1; // one byte is no component
            }
            name.push(bytes as u8 - 1);
            name.resize(name.len() + bytes - 1, b'a' + self.below(2) as u8);
        }
        name
    }

    fn called(&mut self, most: usize) -> Vec<u8> {
        loop {
            let len = match self.below(4) {
                0 => 2 + self.below(254),
                _ => LENGTHS[self.below(LENGTHS.len())],
            };
            let components = 1 + self.below(most);
            let name = self.name(len, components);
            if Name::from_bytes(&name).is_ok() {
                return name;
            }
        }
    }

    /// What is behind a name: anything, or a step that seems to lead into the name again, from the first byte or a later one.
    fn behind(&mut self, name: &[u8]) -> Vec<u8> {
        let mut behind: Vec<u8> = (0..64 + self.below(128))
            .map(|_| self.below(256) as u8)
            .collect();
        let parsed = Name::from_bytes(name).expect("a name");
        let ends = (0..parsed.component_count()).map(|n| parsed.prefix(n).as_bytes().len());
        let ends: Vec<usize> = ends.collect();
        let mut at = 0;
        for _ in 0..self.below(4) {
            let to = ends[self.below(ends.len())];
            let step = (to + 1024 - (name.len() + at + 1)) % 256;
            if let Some(place) = behind.get_mut(at) {
                *place = step as u8;
            }
            at += 1 + step;
        }
        behind
    }
}

#[test]
fn what_is_behind_a_name_does_not_matter() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut model, mut ops, mut all) = (HashMap::new(), Vec::new(), Vec::new());
    for (domain, depth) in DEPTHS.into_iter().enumerate() {
        for _ in 0..400 {
            let name = random.called(depth);
            let parsed = Name::from_bytes(&name).expect("a name");
            for components in 1..=parsed.component_count().min(depth) {
                if random.below(3) == 0 {
                    continue;
                }
                let prefix = parsed.prefix(components).to_owned();
                let local = LocalSetId(ops.len() as u32);
                model.insert((domain, prefix.as_bytes().to_vec()), local);
                ops.push(Op::PutPrefix {
                    domain: Domain(domain as u32),
                    name: prefix,
                    value: PrefixValue::local(local),
                });
            }
            all.push((domain, name));
        }
    }
    let fib = Fib::new().apply(&ops).expect("valid");
    let expected = |domain: usize, name: &[u8]| {
        let parsed = Name::from_bytes(name).expect("a name");
        (1..=parsed.component_count()).rev().find_map(|components| {
            let value = model.get(&(domain, parsed.prefix(components).as_bytes().to_vec()))?;
            Some((*value, components as u8))
        })
    };
    let mut seen = [0; 2];
    for burst in 0..BURSTS {
        // Names of one domain, of all, short ones only, and such that are there as they are.
        let (kind, one) = (burst % 4, random.below(DEPTHS.len()));
        let asked: Vec<(usize, usize, Vec<u8>)> = (0..1 + random.below(MAX_BURST))
            .map(|_| {
                let known = all[random.below(all.len())].clone();
                let (domain, mut name) = match (kind, random.below(3)) {
                    (0, _) => (one, random.called(16)),
                    (_, 0) => (known.0, random.called(16)),
                    _ => known,
                };
                if kind == 2 && name.len() > 64 {
                    name = random.name(40, 5);
                }
                let (len, behind) = (name.len(), random.behind(&name));
                name.extend(behind);
                (domain, len, name)
            })
            .collect();
        let keys: Vec<LookupKey<'_>> = asked
            .iter()
            .map(|(domain, len, packet)| {
                let name = Name::from_bytes(&packet[..*len]).expect("a name");
                LookupKey::in_packet(Domain(*domain as u32), name, packet)
            })
            .collect();
        let mut found = vec![None; keys.len()];
        fib.lookup_burst(&keys, &mut found);
        let mut others = vec![None; keys.len()];
        fib.lookup_burst_as(&mut Habit::of_longer_names(), &keys, &mut others);
        assert_eq!(found, others, "whatever was looked up before");
        for ((domain, len, packet), found) in asked.iter().zip(found) {
            let found = found.and_then(|found| Some((found.value.local?, found.components)));
            let name = &packet[..*len];
            assert_eq!(
                found,
                expected(*domain, name),
                "{name:?} before {:?}",
                &packet[*len..]
            );
            seen[usize::from(found.is_some())] += 1;
        }
    }
    assert!(seen[0] > BURSTS && seen[1] > BURSTS, "{seen:?}");
}

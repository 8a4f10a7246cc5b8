//! Names that an attacker would send, and ordinary ones of as many components beside them.
//!
//! * `deep`: 16 components and 255 bytes under a registered prefix of one component;
//! * `nested`: all but the last of 16 components are the deepest of 15 prefixes that are nested in each other;
//! * `climbed`: names that cost most in a table with another hash key, found by hill climbing on
//!   [`Fib::lookup_cost`]. Whoever can measure a router may find names that are bad for it; the key is to make them
//!   useless elsewhere and after a restart.

use dmsc_fib::{Fib, HashKey};
use dmsc_wire::{Domain, NameBuf};

use super::columns::build;
use super::names::{Names, random};
use crate::prng::Prng;

/// Components of all names that are looked up.
const COMPONENTS: usize = 16;
/// Bytes of a component of an ordinary name, without its length.
const COMPONENT: usize = 8;
/// Chains of nested prefixes.
const CHAINS: usize = 4_096;
const DOMAIN: Domain = Domain(1);

/// A table that has prefixes of every depth, and what is asked.
pub struct Hostile {
    /// The prefixes.
    pub prefixes: Names,
    /// Prefixes of 16 components.
    pub ordinary: Names,
    /// The three attacks.
    pub attacks: [(&'static str, Names); 3],
}

/// Makes up the prefixes and the names.
pub fn prepare(prefixes: u32, draws: u32, seed: u64) -> anyhow::Result<Hostile> {
    let mut prng = Prng::new(seed, 3);
    let mut names = Names::default();
    let root = NameBuf::from_components(["x"])?;
    names.push(DOMAIN, root.as_name());
    let mut deepest = Vec::new();
    for _ in 0..CHAINS {
        let chain = random(&mut prng, COMPONENTS - 1, COMPONENT);
        for depth in 1..COMPONENTS {
            names.push(DOMAIN, chain.as_name().prefix(depth));
        }
        deepest.push(chain);
    }
    let mut of_16 = Vec::new();
    while names.len() < prefixes as usize {
        let components = 1 + names.len() % COMPONENTS;
        if components == COMPONENTS {
            of_16.push(names.len());
        }
        names.push(DOMAIN, random(&mut prng, components, COMPONENT).as_name());
    }
    let (mut ordinary, mut deep, mut nested) =
        (Names::default(), Names::default(), Names::default());
    for _ in 0..draws {
        let key = names.get(*prng.pick(&of_16));
        ordinary.push(DOMAIN, key.name);
        deep.push(DOMAIN, under(&root, &mut prng)?.as_name());
        let tail = random(&mut prng, 1, COMPONENT);
        let tail = &tail.as_bytes()[1..];
        nested.push(DOMAIN, prng.pick(&deepest).child(tail)?.as_name());
    }
    let other = build(&names, HashKey::random())?;
    let climbed = climb(&other, draws, &mut prng);
    Ok(Hostile {
        prefixes: names,
        ordinary,
        attacks: [("deep", deep), ("nested", nested), ("climbed", climbed)],
    })
}

/// A name of 16 components and 255 bytes below `root`, which has two bytes.
fn under(root: &NameBuf, prng: &mut Prng) -> anyhow::Result<NameBuf> {
    let mut name = root.clone();
    for at in 1..COMPONENTS {
        // 15 components share 253 bytes, lengths included: 13 of 17 bytes and two of 16.
        let length = if at <= 13 { 16 } else { 15 };
        name = name.child(&random(prng, 1, length).as_bytes()[1..])?;
    }
    Ok(name)
}

/// Names whose lookup costs most in `fib`: each is changed a component at a time, and keeps what made it worse.
fn climb(fib: &Fib, count: u32, prng: &mut Prng) -> Names {
    const STEPS: usize = 12;
    let mut climbed = Names::default();
    for _ in 0..count {
        let mut best = random(prng, COMPONENTS, COMPONENT);
        let mut cost = fib.lookup_cost(DOMAIN, best.as_name());
        for _ in 0..STEPS {
            // The last components are cheapest to vary: all before them stay as bad as they are.
            let at = COMPONENTS - 1 - prng.below(4);
            let fresh = random(prng, 1, COMPONENT);
            let changed = best
                .as_name()
                .components()
                .enumerate()
                .map(|(i, old)| if i == at { &fresh.as_bytes()[1..] } else { old });
            let Ok(changed) = NameBuf::from_components(changed) else {
                continue;
            };
            let new = fib.lookup_cost(DOMAIN, changed.as_name());
            if new >= cost {
                (best, cost) = (changed, new);
            }
        }
        climbed.push(DOMAIN, best.as_name());
    }
    climbed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attacks_are_what_they_say() {
        let hostile = prepare(70_000, 200, 1).expect("made");
        let fib = build(&hostile.prefixes, HashKey::random()).expect("built");
        let cost = |fib: &Fib, names: &Names| -> usize {
            let costs = names
                .iter()
                .map(|key| fib.lookup_cost(key.domain, key.name));
            costs.sum()
        };
        let found = |names: &Names, components: usize| {
            names.iter().all(|key| {
                let found = fib.lookup(key.domain, key.name);
                key.name.component_count() == COMPONENTS
                    && found.map_or(0, |found| usize::from(found.components)) == components
            })
        };
        let [(_, deep), (_, nested), (_, climbed)] = &hostile.attacks;
        assert!(found(&hostile.ordinary, 16) && found(deep, 1) && found(nested, 15));
        assert!(found(climbed, 0));
        assert!(deep.iter().all(|key| key.name.as_bytes().len() == 255));
        // Climbing got somewhere under its own key, so the names are not just random ones.
        let mut prng = Prng::new(9, 9);
        let mut plain = Names::default();
        (0..200).for_each(|_| plain.push(DOMAIN, random(&mut prng, 16, COMPONENT).as_name()));
        let again = climb(&fib, 200, &mut prng);
        let (bad, usual) = (cost(&fib, &again), cost(&fib, &plain));
        assert!(bad > usual, "{bad} of {usual}");
    }
}

//! Names that an attacker would send, and ordinary ones of as many components beside them: 16, or fewer if that is asked for.
//!
//! * `deep`: as many components and 255 bytes under a registered prefix of one component;
//! * `nested`: all but the last of its components are the deepest of 15 (or fewer) prefixes that are nested in each other;
//! * `mixed`: each either `nested` or ordinary, so that nothing can be learned from the one before;
//! * `climbed`: names that cost most in a table with another hash key, found by hill climbing on
//!   [`Fib::lookup_cost`]. Whoever can measure a router may find names that are bad for it; the key is to make them
//!   useless elsewhere and after a restart.

use dmsc_fib::{Fib, HashKey};
use dmsc_wire::{Domain, NameBuf};

use super::columns::build;
use super::names::{Names, random};
use crate::prng::Prng;

/// Most components of a name, and of a prefix in the table.
pub const COMPONENTS: usize = 16;
/// Bytes of the longest name.
const LONGEST: usize = 255;
/// Bytes of a component of an ordinary name, without its length.
const COMPONENT: usize = 8;
/// Chains of nested prefixes.
const CHAINS: usize = 4_096;
const DOMAIN: Domain = Domain(1);

/// A table that has prefixes of every depth, and what is asked.
pub struct Hostile {
    /// The prefixes.
    pub prefixes: Names,
    /// Prefixes of as many components as the attacks have.
    pub ordinary: Names,
    /// For each of those, its prefix; the exact tables look up the key of the same number.
    pub of: Vec<u32>,
    /// The attacks.
    pub attacks: [(&'static str, Names); 4],
}

/// Makes up the prefixes, and the names: of so many components, at least 2.
pub fn prepare(prefixes: u32, draws: u32, components: usize, seed: u64) -> anyhow::Result<Hostile> {
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
        deepest.push(NameBuf::from_components(
            chain.as_name().components().take(components - 1),
        )?);
    }
    let mut as_many = Vec::new();
    while names.len() < prefixes as usize {
        let its = 1 + names.len() % COMPONENTS;
        if its == components {
            as_many.push(names.len());
        }
        names.push(DOMAIN, random(&mut prng, its, COMPONENT).as_name());
    }
    let [mut ordinary, mut deep, mut nested, mut mixed] = [(); 4].map(|()| Names::default());
    let mut of = Vec::new();
    for _ in 0..draws {
        let number = *prng.pick(&as_many);
        let key = names.get(number);
        of.push(number as u32);
        ordinary.push(DOMAIN, key.name);
        deep.push(DOMAIN, under(&root, components, &mut prng)?.as_name());
        let tail = random(&mut prng, 1, COMPONENT);
        let name = prng.pick(&deepest).child(&tail.as_bytes()[1..])?;
        nested.push(DOMAIN, name.as_name());
        let either = [key.name, name.as_name()];
        mixed.push(DOMAIN, either[prng.below(2)]);
    }
    let other = build(&names, HashKey::random())?;
    let climbed = climb(&other, draws, components, &mut prng);
    Ok(Hostile {
        prefixes: names,
        ordinary,
        of,
        attacks: [
            ("deep", deep),
            ("nested", nested),
            ("mixed", mixed),
            ("climbed", climbed),
        ],
    })
}

/// A name of 255 bytes below `root`.
fn under(root: &NameBuf, components: usize, prng: &mut Prng) -> anyhow::Result<NameBuf> {
    let mut name = root.clone();
    for left in (1..components).rev() {
        // What is left is shared evenly, lengths included.
        let length = (LONGEST - name.as_name().as_bytes().len()) / left - 1;
        name = name.child(&random(prng, 1, length).as_bytes()[1..])?;
    }
    Ok(name)
}

/// Names whose lookup costs most in `fib`: each is changed a component at a time, and keeps what made it worse.
fn climb(fib: &Fib, count: u32, components: usize, prng: &mut Prng) -> Names {
    const STEPS: usize = 12;
    let mut climbed = Names::default();
    for _ in 0..count {
        let mut best = random(prng, components, COMPONENT);
        let mut cost = fib.lookup_cost(DOMAIN, best.as_name());
        for _ in 0..STEPS {
            // The last components are cheapest to vary: all before them stay as bad as they are.
            let at = components - 1 - prng.below(components.min(4));
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
        for components in [16, 8, 2] {
            let hostile = prepare(70_000, 200, components, 1).expect("made");
            let fib = build(&hostile.prefixes, HashKey::random()).expect("built");
            // How many components of each name are found.
            let found = |names: &Names| -> Vec<usize> {
                let one = |key: dmsc_fib::LookupKey<'_>| {
                    assert_eq!(key.name.component_count(), components);
                    let found = fib.lookup(key.domain, key.name);
                    found.map_or(0, |found| usize::from(found.components))
                };
                names.iter().map(one).collect()
            };
            let [(_, deep), (_, nested), (_, mixed), (_, climbed)] = &hostile.attacks;
            assert_eq!(found(&hostile.ordinary), [components; 200]);
            assert_eq!(found(deep), [1; 200]);
            assert_eq!(found(nested), [components - 1; 200]);
            assert!(found(climbed).iter().all(|found| *found < 2));
            let whole = found(mixed).iter().filter(|n| **n == components).count();
            assert!((50..150).contains(&whole), "{whole}");
            assert!(deep.iter().all(|key| key.name.as_bytes().len() == LONGEST));
        }
    }

    #[test]
    fn climbing_gets_somewhere_under_its_own_key() {
        let hostile = prepare(70_000, 1, COMPONENTS, 1).expect("made");
        let fib = build(&hostile.prefixes, HashKey::random()).expect("built");
        let cost = |names: &Names| -> usize {
            let costs = names
                .iter()
                .map(|key| fib.lookup_cost(key.domain, key.name));
            costs.sum()
        };
        let mut prng = Prng::new(9, 9);
        let mut plain = Names::default();
        (0..200).for_each(|_| plain.push(DOMAIN, random(&mut prng, 16, COMPONENT).as_name()));
        let climbed = climb(&fib, 200, COMPONENTS, &mut prng);
        let (bad, usual) = (cost(&climbed), cost(&plain));
        assert!(bad > usual, "{bad} of {usual}");
    }
}

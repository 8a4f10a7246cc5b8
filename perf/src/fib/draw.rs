//! What is looked up, drawn beforehand.

use dmsc_wire::NameBuf;

use super::args::Traffic;
use super::names::{Names, made_up};
use crate::prng::Prng;

/// Names to look up, and the numbers of the prefixes that they were drawn from.
#[derive(Debug, Default)]
pub struct Draws {
    /// The names.
    pub names: Names,
    /// For each, its prefix in the table; the exact tables look up the key of the same number.
    pub of: Vec<u32>,
}

/// Draws `count` names.
pub fn draw(prefixes: &Names, traffic: Traffic, extra: u8, count: u32, seed: u64) -> Draws {
    let mut prng = Prng::new(seed, 1);
    let ranks = (traffic == Traffic::Zipf).then(|| Zipf::new(prefixes.len(), &mut prng));
    let mut draws = Draws::default();
    for number in 0..count {
        let index = match &ranks {
            Some(zipf) => zipf.draw(&mut prng),
            None => prng.below(prefixes.len()) as u32,
        };
        let key = prefixes.get(index as usize);
        let name = match traffic {
            Traffic::Miss => another(&key.name.to_owned(), number, 0),
            Traffic::WrongTail => {
                another(&key.name.to_owned(), number, key.name.component_count() - 1)
            }
            _ => longer(key.name.to_owned(), extra),
        };
        draws.names.push(key.domain, name.as_name());
        draws.of.push(index);
    }
    draws
}

/// The name with `extra` more components; as many of them as fit.
fn longer(name: NameBuf, extra: u8) -> NameBuf {
    (0..extra).fold(name, |name, i| {
        name.child(format!("method-{i}")).unwrap_or(name)
    })
}

/// The name with component `which` changed to one that no prefix has, of the same length where that leaves room
/// for a number.
fn another(name: &NameBuf, number: u32, which: usize) -> NameBuf {
    let components = name.as_name().components().enumerate();
    let changed = components.map(|(at, component)| {
        if at != which {
            return component.to_vec();
        }
        let mut text = format!("\u{7f}{number:x}").into_bytes();
        text.resize(component.len().max(2), b'~');
        text
    });
    NameBuf::from_components(changed).unwrap_or_else(|_| made_up(u32::MAX))
}

/// Numbers whose n-th most frequent is drawn 1/n as often as the first.
struct Zipf {
    /// Sum of 1/rank up to each.
    sums: Vec<f64>,
    /// Which number has which rank.
    numbers: Vec<u32>,
}

impl Zipf {
    fn new(count: usize, prng: &mut Prng) -> Self {
        let mut sum = 0.0;
        let sums = (1..=count).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        let sums = sums.collect();
        let mut numbers: Vec<u32> = (0..count as u32).collect();
        for at in (1..count).rev() {
            numbers.swap(at, prng.below(at + 1));
        }
        Self { sums, numbers }
    }

    fn draw(&self, prng: &mut Prng) -> u32 {
        let total = self.sums.last().copied().unwrap_or(1.0);
        let at = (prng.bits() >> 11) as f64 / (1u64 << 53) as f64 * total;
        let rank = self.sums.partition_point(|&sum| sum <= at);
        self.numbers[rank.min(self.numbers.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use dmsc_wire::Domain;

    use super::*;

    fn prefixes() -> Names {
        let mut names = Names::default();
        (0..1000).for_each(|i| names.push(Domain(1), made_up(i).as_name()));
        names
    }

    #[test]
    fn every_kind_of_traffic_is_what_it_says() {
        let prefixes = prefixes();
        let all: HashSet<&[u8]> = prefixes.iter().map(|key| key.name.as_bytes()).collect();
        let covered = |traffic, extra| {
            let draws = draw(&prefixes, traffic, extra, 2000, 7);
            let covered = draws.names.iter().filter(|key| {
                (1..=key.name.component_count())
                    .any(|n| all.contains(key.name.prefix(n).as_bytes()))
            });
            covered.count()
        };
        assert_eq!(covered(Traffic::Uniform, 0), 2000);
        assert_eq!(covered(Traffic::Zipf, 1), 2000);
        assert_eq!(covered(Traffic::Miss, 0), 0);
        assert_eq!(covered(Traffic::WrongTail, 0), 0);
        let longer = draw(&prefixes, Traffic::Uniform, 2, 10, 7);
        for (key, &of) in longer.names.iter().zip(&longer.of) {
            let prefix = prefixes.get(of as usize).name;
            assert!(prefix.is_prefix_of(key.name));
            assert_eq!(key.name.component_count(), prefix.component_count() + 2);
        }
    }

    #[test]
    fn the_most_wanted_is_drawn_as_often_as_the_law_says() {
        let draws = draw(&prefixes(), Traffic::Zipf, 0, 100_000, 3);
        let mut counts = vec![0u32; 1000];
        draws.of.iter().for_each(|&of| counts[of as usize] += 1);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        // 1 / (ln 1000 + 0.577) of all.
        assert!((12_800..13_900).contains(&counts[0]), "{}", counts[0]);
        assert!((6_300..7_100).contains(&counts[1]), "{}", counts[1]);
    }
}

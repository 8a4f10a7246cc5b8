//! The tables against a plain map over long random sequences: names up to 16 components and 255 bytes, deletions, and
//! generations that must stay what they were. Every so many transactions ([`Run::audited`]) the newest generation and the older ones that are held
//! are walked over as a whole, too.

use std::collections::HashMap;

use dmsc_fib::{
    Fib, Group, GroupId, GroupPolicy, Habit, HashKey, LocalSetId, LookupKey, MAX_BURST, Member, Op,
    PrefixValue, Route,
};
use dmsc_wire::{Domain, Name, NameBuf, NodeId};

type Model = HashMap<(Domain, NameBuf), PrefixValue>;

/// A long sequence of changes and lookups.
struct Run {
    /// Changes and lookups.
    operations: usize,
    seed: u64,
    /// Most components of a name.
    components: usize,
    /// Most changes of a transaction.
    changes: usize,
    /// Transactions from one audit to the next: an audit costs some ten microseconds per prefix and generation in a debug build.
    audited: usize,
}

/// Older generations that are held, beside the one that is compared with its model.
const HELD: usize = 3;

/// SplitMix64 by Steele, Lea and Flood.
struct Random {
    state: u64,
    /// Most components of a name.
    components: usize,
}

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * n as u128) >> 64) as usize
    }

    /// One of some thousand names (with 16 components), most of them prefixes of others, every tenth of 255 bytes.
    fn name(&mut self) -> NameBuf {
        let components = 1 + self.below(self.components);
        let long = self.below(10) == 0;
        let mut left = 255;
        let parts = (0..components).map(|i| {
            // What is left is shared evenly, lengths included.
            let length = if long { left / (components - i) - 1 } else { 1 };
            left -= length + 1;
            vec![b'a' + self.below(if i < 6 { 2 } else { 1 }) as u8; length]
        });
        NameBuf::from_components(parts.collect::<Vec<_>>()).expect("within the limits")
    }

    fn domain(&mut self) -> Domain {
        Domain(self.below(3) as u32)
    }
}

fn expected(model: &Model, domain: Domain, name: Name<'_>) -> Option<(PrefixValue, u8)> {
    (1..=name.component_count()).rev().find_map(|n| {
        let value = model.get(&(domain, name.prefix(n).to_owned()))?;
        Some((*value, n as u8))
    })
}

/// Looks a burst of random names up, half of them with bytes behind them as in a packet.
fn look(fib: &Fib, model: &Model, random: &mut Random) {
    let asked: Vec<(Domain, usize, Vec<u8>)> = (0..MAX_BURST)
        .map(|_| {
            let (domain, name) = (random.domain(), random.name());
            let mut bytes = name.as_bytes().to_vec();
            let len = bytes.len();
            bytes.resize(len + random.below(2) * 64, 0xa5);
            (domain, len, bytes)
        })
        .collect();
    let key = |(domain, len, bytes): &(Domain, usize, Vec<u8>)| -> (Domain, NameBuf) {
        (
            *domain,
            NameBuf::from_bytes(&bytes[..*len]).expect("a name"),
        )
    };
    let keys: Vec<LookupKey<'_>> = asked
        .iter()
        .map(|(domain, len, bytes)| {
            let name = Name::from_bytes(&bytes[..*len]).expect("a name");
            LookupKey::in_packet(*domain, name, bytes)
        })
        .collect();
    let mut found = [None; MAX_BURST];
    fib.lookup_burst(&keys, &mut found);
    let mut others = [None; MAX_BURST];
    fib.lookup_burst_as(&mut Habit::of_longer_names(), &keys, &mut others);
    assert_eq!(found, others, "whatever was looked up before");
    for (asked, found) in asked.iter().zip(found) {
        let (domain, name) = key(asked);
        let found = found.map(|found| (found.value, found.components));
        assert_eq!(found, expected(model, domain, name.as_name()), "{name}");
        let alone = fib.lookup(domain, name.as_name());
        let alone = alone.map(|found| (found.value, found.components));
        assert_eq!(alone, found, "{name} alone");
    }
}

/// Groups that routes lead to.
const GROUPS: u32 = 4;

fn groups() -> Vec<Op> {
    let group = |id| {
        let member = Member {
            gateway: NodeId(id),
            metric: 1,
            weight: 1,
            delay_weight: 0,
        };
        Group::new(vec![member], GroupPolicy::Nearest).expect("a group")
    };
    (1..=GROUPS)
        .map(|id| Op::PutGroup {
            id: GroupId(id),
            group: group(id),
        })
        .collect()
}

/// So many prefixes are put, as a whole, or deleted.
fn change_prefixes(fib: &Fib, model: &mut Model, random: &mut Random, count: usize) -> Fib {
    let mut ops = Vec::new();
    for _ in 0..count {
        let (domain, name) = (random.domain(), random.name());
        let known = model.contains_key(&(domain, name.clone()));
        if known && random.below(2) == 0 {
            model.remove(&(domain, name.clone()));
            ops.push(Op::DeletePrefix { domain, name });
        } else {
            let value = PrefixValue::local(LocalSetId(random.below(1 << 30) as u32));
            model.insert((domain, name.clone()), value);
            ops.push(Op::PutPrefix {
                domain,
                name,
                value,
            });
        }
    }
    fib.apply(&ops).expect("what the model allows")
}

/// So many routes come, change or go; what else serves their prefixes stays.
fn change_routes(fib: &Fib, model: &mut Model, random: &mut Random, count: usize) -> Fib {
    let routes: Vec<(Domain, NameBuf, Option<GroupId>)> = (0..count)
        .map(|_| {
            let (domain, name) = (random.domain(), random.name());
            let value = model.entry((domain, name.clone())).or_default();
            let goes = value.group.is_some() && random.below(2) == 0;
            value.group = (!goes).then(|| GroupId(1 + random.below(GROUPS as usize) as u32));
            let group = value.group;
            if *value == PrefixValue::default() {
                model.remove(&(domain, name.clone()));
            }
            (domain, name, group)
        })
        .collect();
    let routes = routes.iter().map(|(domain, name, group)| Route {
        domain: *domain,
        name: name.as_name(),
        group: *group,
    });
    // What is refused, at its end, leaves nothing behind.
    let bad = Route {
        domain: random.domain(),
        name: Name::from_bytes(b"\x07nowhere").expect("a name"),
        group: [None, Some(GroupId(GROUPS + 1))][random.below(2)],
    };
    let refused = fib.apply_routes(routes.clone().chain([bad]));
    let refused = refused.map(drop).expect_err("no such route or group");
    assert_eq!(refused.index, count);
    fib.apply_routes(routes).expect("what the model allows")
}

fn run(run: Run) {
    let Run {
        seed, components, ..
    } = run;
    let mut random = Random {
        state: seed,
        components,
    };
    let (mut fib, mut model) = (Fib::with_key(HashKey::fixed([seed, !seed])), Model::new());
    let mut kept = (fib.clone(), model.clone());
    let mut held: [Fib; HELD] = std::array::from_fn(|_| fib.clone());
    let (mut done, mut transactions) = (0, 0);
    fib = fib.apply(&groups()).expect("groups");
    while done < run.operations {
        let count = 1 + random.below(run.changes);
        let next = if random.below(2) == 0 {
            change_routes(&fib, &mut model, &mut random, count)
        } else {
            change_prefixes(&fib, &mut model, &mut random, count)
        };
        if random.below(8) == 0 {
            held[random.below(HELD)] = fib.clone();
        }
        fib = next;
        transactions += 1;
        if transactions % run.audited == 0 {
            for generation in [&fib, &kept.0].into_iter().chain(&held) {
                assert_eq!(generation.audit(), Ok(()), "transaction {transactions}");
            }
        }
        look(&fib, &model, &mut random);
        done += count + 2 * MAX_BURST;
        assert_eq!(fib.len(), model.len());
        if random.below(200) == 0 {
            // A generation that was replaced long ago is what it was.
            for _ in 0..4 {
                look(&kept.0, &kept.1, &mut random);
            }
            let all = kept.0.prefixes().count();
            assert_eq!((all, kept.0.len()), (kept.1.len(), kept.1.len()));
            kept = (fib.clone(), model.clone());
        }
    }
    for prefix in fib.prefixes() {
        let key = (prefix.domain, prefix.name.clone());
        assert_eq!(Some(prefix.value), model.remove(&key), "{}", prefix.name);
    }
    assert!(model.is_empty(), "prefixes are missing");
}

/// Some hundred prefixes: every generation is audited, with the older ones that are held then. Few changes at a time, so that pages which a held
/// generation has are replaced long after it, too.
#[test]
fn every_generation_of_a_small_table() {
    run(Run {
        operations: 25_000,
        seed: 3,
        components: 6,
        changes: 8,
        audited: 1,
    });
}

#[test]
fn two_hundred_thousand_random_operations() {
    run(Run {
        operations: 200_000,
        seed: 1,
        components: 16,
        changes: 64,
        audited: 32,
    });
}

/// For `make deep`: `cargo test -p dmsc-fib --release --test differential -- --ignored`
#[test]
#[ignore = "takes minutes; run by `make differential`, part of `make deep`"]
fn ten_million_random_operations() {
    run(Run {
        operations: 10_000_000,
        seed: 2,
        components: 16,
        changes: 64,
        audited: 64,
    });
}

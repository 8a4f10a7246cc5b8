//! Sound tables pass, and damaged ones do not.

use std::sync::atomic::Ordering::Relaxed;

use dmsc_wire::{Domain, NameBuf, NodeId};

use super::*;
use crate::hash::{HashKey, hash_name};
use crate::ledger::Ledger;
use crate::page::{BUCKETS, ENTRIES, NamePage};
use crate::{AdjacencyId, Gateway, Group, GroupPolicy, Member, Op, PrefixValue};

const GROUPS: u32 = 4;

fn name(i: u32) -> NameBuf {
    let parts = [format!("service-{i}"), "b".into(), "c".into()];
    NameBuf::from_components(&parts[..1 + i as usize % 3]).expect("a name")
}

fn put(i: u32) -> Op {
    Op::PutPrefix {
        domain: Domain(1 + i % 2),
        name: name(i),
        value: PrefixValue::group(GroupId(i % GROUPS)),
    }
}

/// Several pages of names, groups of two, gateways.
fn tables() -> Fib {
    let member = |id| Member {
        gateway: NodeId(id),
        metric: 1,
        weight: 1,
        delay_weight: 0,
    };
    let group = |id| Op::PutGroup {
        id: GroupId(id),
        group: Group::new(vec![member(1), member(2 + id)], GroupPolicy::Nearest).expect("a group"),
    };
    let gateway = |id| Op::PutGateway {
        topology: Topology::Metric,
        node: NodeId(id),
        gateway: Gateway::new(1, [AdjacencyId(1)]),
    };
    let ops = (0..GROUPS).map(group).chain((1..40).map(gateway));
    let ops: Vec<Op> = ops.chain((0..1_000).map(put)).collect();
    let fib = Fib::with_key(HashKey::fixed([5, 6]));
    fib.apply(&ops).expect("valid")
}

/// The first page, and an entry of it: bucket, place, hash and record.
fn first(fib: &Fib) -> (u32, NamePage<'_>, [usize; 2], [u32; 2]) {
    let page = fib.names.index.page(0);
    let its = fib.names.pages.at(page);
    let places = (0..BUCKETS).flat_map(|bucket| (0..ENTRIES).map(move |at| [bucket, at]));
    let mut used = places.filter(|[bucket, at]| its.buckets[*bucket][*at].load(Relaxed) != 0);
    let [bucket, at] = used.next().expect("an entry");
    let words = &its.buckets[bucket];
    let entry = [at, ENTRIES + at].map(|at| words[at].load(Relaxed));
    (page, its, [bucket, at], entry)
}

fn with_ledger(fib: &Fib, change: impl FnOnce(&mut Ledger)) {
    let mut ledger = fib.names.ledger.lock().expect("not poisoned");
    change(ledger.as_mut().expect("in its place"));
}

/// What damage is called, what it does, and whether a fault tells of it.
type Damage = (&'static str, fn(&mut Fib), fn(&Fault) -> bool);

const DAMAGES: &[Damage] = &[
    (
        "a bit of a filter is lost",
        |fib| {
            let (_, its, _, [hash, _]) = first(fib);
            let filter = its.filter(hash);
            filter.store(filter.load(Relaxed) & (filter.load(Relaxed) - 1), Relaxed);
        },
        |fault| matches!(fault, Fault::Entry { .. }),
    ),
    (
        "a filter has a bit of nobody",
        |fib| {
            let (_, its, ..) = first(fib);
            its.filters[3].store(u64::MAX, Relaxed);
        },
        |fault| matches!(fault, Fault::Filter { bucket: 3, .. }),
    ),
    (
        "an entry has another hash",
        |fib| {
            let (_, its, [bucket, at], _) = first(fib);
            its.buckets[bucket][at].fetch_xor(1 << 9, Relaxed);
        },
        |fault| {
            matches!(
                fault,
                Fault::Entry { .. } | Fault::Filter { .. } | Fault::Record(_)
            )
        },
    ),
    (
        "an entry is in another bucket",
        |fib| {
            let (_, its, [bucket, at], [hash, record]) = first(fib);
            let other = &its.buckets[(bucket + 2) % BUCKETS];
            let free = (0..ENTRIES)
                .find(|&at| other[at].load(Relaxed) == 0)
                .expect("room");
            its.buckets[bucket][at].store(0, Relaxed);
            other[free].store(hash, Relaxed);
            other[ENTRIES + free].store(record, Relaxed);
        },
        |fault| matches!(fault, Fault::Entry { .. }),
    ),
    (
        "an entry is there twice",
        |fib| {
            let (_, its, _, [hash, record]) = first(fib);
            assert!(its.insert(hash, record));
        },
        |fault| matches!(fault, Fault::Record(_)),
    ),
    (
        "an entry is gone",
        |fib| {
            let (_, its, _, [hash, record]) = first(fib);
            its.remove(hash, record);
        },
        |fault| matches!(fault, Fault::Count { .. }),
    ),
    (
        "a record is far away",
        |fib| {
            let (_, its, [bucket, at], _) = first(fib);
            its.buckets[bucket][ENTRIES + at].store(u32::MAX, Relaxed);
        },
        |fault| *fault == Fault::Record(u32::MAX),
    ),
    (
        "a record is of another domain",
        |fib| {
            let (.., [_, record]) = first(fib);
            fib.names.units.at(record).fetch_xor(1 << 17, Relaxed);
        },
        |fault| matches!(fault, Fault::Record(_)),
    ),
    (
        "a name is another one",
        |fib| {
            let (.., [_, record]) = first(fib);
            fib.names.units.at(record + 1).fetch_xor(1 << 56, Relaxed);
        },
        |fault| matches!(fault, Fault::Record(_)),
    ),
    (
        "a page is there for hashes of another one",
        |fib| {
            let other = fib.names.index.page(u32::MAX);
            fib.names.index.set(0, fib.names.index.depth(), other);
        },
        |fault| matches!(fault, Fault::Index { .. }),
    ),
    (
        "a number of prefixes is wrong",
        |fib| fib.names.len += 1,
        |fault| {
            matches!(
                fault,
                Fault::Count {
                    what: "prefixes",
                    ..
                }
            )
        },
    ),
    (
        "a number of pages is wrong",
        |fib| fib.names.page_count -= 1,
        |fault| matches!(fault, Fault::Count { what: "pages", .. }),
    ),
    (
        "a domain counts one more prefix",
        |fib| {
            let mut depths = *fib.names.domains.get(1).expect("a domain");
            depths.change(2, 1);
            fib.names.domains.put(1, depths);
        },
        |fault| *fault == Fault::Depths(Domain(1)),
    ),
    (
        "a domain does not know that it has prefixes of two components",
        |fib| {
            let mut depths = *fib.names.domains.get(2).expect("a domain");
            depths.present &= !2;
            fib.names.domains.put(2, depths);
        },
        |fault| matches!(fault, Fault::Lookup { domain: Domain(2), name } if name.as_name().component_count() == 2),
    ),
    (
        "a page is free and in use",
        |fib| {
            let page = first(fib).0;
            with_ledger(fib, |ledger| ledger.free_wrongly(page));
        },
        |fault| matches!(fault, Fault::Free { what: "page", .. }),
    ),
    (
        "a page is neither free nor in use",
        |fib| {
            with_ledger(fib, |ledger| {
                ledger.take_page(0, 0);
            });
        },
        |fault| {
            matches!(
                fault,
                Fault::Count {
                    what: "pages, free or in use",
                    ..
                }
            )
        },
    ),
    (
        "a record is in use and waits to be free",
        |fib| {
            let before = fib.names.era.clone();
            *fib = fib.apply(&[put(1_000)]).expect("valid");
            let (.., [_, record]) = first(fib);
            // It will be free when nobody keeps the generation before any more.
            with_ledger(fib, |ledger| {
                ledger.retire_room(record, 2);
                ledger.commit(&before);
            });
        },
        |fault| matches!(fault, Fault::Free { what: "unit", .. }),
    ),
    (
        "a record is neither free nor in use",
        |fib| {
            with_ledger(fib, |ledger| {
                ledger.take_room(3);
            });
        },
        |fault| {
            matches!(
                fault,
                Fault::Count {
                    what: "units of records, free or in use",
                    ..
                }
            )
        },
    ),
    (
        "a page counts one more entry",
        |fib| {
            let page = first(fib).0;
            with_ledger(fib, |ledger| ledger.count(page, 1));
        },
        |fault| {
            matches!(
                fault,
                Fault::Count {
                    what: "entries of a page",
                    ..
                }
            )
        },
    ),
    (
        "a group counts other prefixes",
        |fib| {
            fib.references.put(1, 7);
        },
        |fault| {
            matches!(
                fault,
                Fault::References {
                    group: GroupId(1),
                    stored: 7,
                    found: 250
                }
            )
        },
    ),
    (
        "a group is missing",
        |fib| {
            fib.groups.remove(2);
        },
        |fault| *fault == Fault::UnknownGroup(GroupId(2)),
    ),
    (
        "a gateway has no way",
        |fib| {
            fib.gateways[1].put(9, Gateway::default());
        },
        |fault| {
            let (topology, node) = (Topology::Delay, NodeId(9));
            *fault == Fault::NoWay { topology, node }
        },
    ),
];

#[test]
fn damage_is_found() {
    for (damage, make, is_told) in DAMAGES {
        let mut fib = tables();
        assert_eq!(fib.audit(), Ok(()));
        make(&mut fib);
        let fault = fib.audit().expect_err(damage);
        assert!(is_told(&fault), "{damage}: {fault}");
    }
}

#[test]
fn a_generation_that_is_kept_is_damaged_by_what_frees_its_pages() {
    let old = tables();
    let new = old.apply(&[put(1_000)]).expect("valid");
    assert_eq!((old.audit(), new.audit()), (Ok(()), Ok(())));
    let hash = hash_name(old.names.key, Domain(1), name(1_000).as_bytes());
    let page = old.names.index.page(hash);
    assert_ne!(page, new.names.index.page(hash));
    with_ledger(&new, |ledger| ledger.free_wrongly(page));
    let (what, number) = ("page", page);
    assert_eq!(old.audit(), Err(Fault::Free { what, number }));
}

#[test]
fn tables_are_sound_while_a_transaction_is_under_way_and_after_one_that_was_refused() {
    let fib = tables();
    let draft = crate::draft::NameDraft::of(&fib.names);
    assert_eq!(fib.audit(), Ok(()));
    draft.abandon();
    assert_eq!(fib.audit(), Ok(()));
    assert_eq!(Fib::new().audit(), Ok(()));
}

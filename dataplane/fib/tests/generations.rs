//! Workers that look names up while transactions go on: every burst sees one generation as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use dmsc_fib::{Fib, HashKey, LocalSetId, LookupKey, MAX_BURST, Op, PrefixValue, qsbr};
use dmsc_wire::{Domain, NameBuf};

/// Prefixes that all transactions change; every one of them gives all of them one value.
const COMMON: usize = MAX_BURST;
/// Prefixes that come and go, so that memory is used again and pages split.
const OTHERS: u32 = 20_000;
const TRANSACTIONS: u32 = 3_000;
const WORKERS: usize = 2;

fn name(kind: &str, i: u32) -> NameBuf {
    NameBuf::from_components([kind.to_owned(), format!("{}", i % 97), format!("x{i}")])
        .expect("a name")
}

fn put(name: NameBuf, value: u32) -> Op {
    Op::PutPrefix {
        domain: Domain(1),
        name,
        value: PrefixValue::local(LocalSetId(value)),
    }
}

#[test]
fn a_burst_sees_one_generation() {
    let common = |value: u32| (0..COMMON as u32).map(move |i| put(name("common", i), value));
    let first = Fib::with_key(HashKey::fixed([3, 4]))
        .apply(&common(0).collect::<Vec<_>>())
        .expect("valid");
    let mut publisher = qsbr::channel(first, WORKERS);
    let running = Arc::new(AtomicBool::new(true));
    let bursts = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let mut reader = publisher.reader().expect("a place");
            let (running, bursts) = (Arc::clone(&running), Arc::clone(&bursts));
            std::thread::spawn(move || {
                let names: Vec<NameBuf> = (0..COMMON as u32).map(|i| name("common", i)).collect();
                let keys: Vec<_> = names
                    .iter()
                    .map(|name| LookupKey::new(Domain(1), name.as_name()))
                    .collect();
                let (mut found, mut newest) = ([None; MAX_BURST], 0);
                while running.load(Relaxed) {
                    reader.enter().lookup_burst(&keys, &mut found);
                    let values = found.map(|found| found.expect("always there").value.local);
                    let value = values[0].expect("local").0;
                    assert!(values.iter().all(|other| *other == values[0]), "{values:?}");
                    assert!(value >= newest, "{value} after {newest}");
                    newest = value;
                    reader.quiescent();
                    bursts.fetch_add(1, Relaxed);
                }
                reader.offline();
            })
        })
        .collect();
    for turn in 1..=TRANSACTIONS {
        let (come, go) = (turn * 40 % OTHERS, (turn * 40 + OTHERS / 2) % OTHERS);
        let mut ops: Vec<Op> = common(turn).collect();
        ops.extend((come..come + 40).map(|i| put(name("other", i), i)));
        let there = |i: &u32| {
            let name = name("other", *i);
            publisher
                .current()
                .prefix(Domain(1), name.as_name())
                .is_some()
        };
        ops.extend((go..go + 40).filter(there).map(|i| Op::DeletePrefix {
            domain: Domain(1),
            name: name("other", i),
        }));
        let next = publisher.current().apply(&ops).expect("valid");
        publisher.publish(next);
        publisher.reclaim();
        if turn % 256 == 0 {
            assert_eq!(publisher.current().audit(), Ok(()), "turn {turn}");
        }
        if turn % 64 == 0 {
            std::thread::yield_now(); // one core is enough for this test
        }
    }
    // Workers that never had a turn saw nothing.
    while bursts.load(Relaxed) < 1_000 && workers.iter().all(|worker| !worker.is_finished()) {
        std::thread::yield_now();
    }
    running.store(false, Relaxed);
    for worker in workers {
        worker.join().expect("one generation per burst");
    }
    assert!(publisher.reclaim() <= TRANSACTIONS as usize);
}

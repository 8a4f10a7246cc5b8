//! What can be done to a mbuf and a burst, and that every mbuf returns to its pool exactly once.

mod common;

use common::eal;
use dmsc_dpdk::{Burst, HEADROOM, Mempool, MempoolConfig};

#[test]
fn mbufs_and_bursts() {
    let eal = eal(64);
    let pool = Mempool::new(
        &eal,
        "p",
        MempoolConfig {
            count: 255,
            cache: 32,
            data_room: 256,
        },
    )
    .unwrap();
    one_mbuf(&pool);
    chains(&pool);
    bursts(&pool);
    other_threads(&pool);
    assert_eq!((pool.in_use(), pool.available()), (0, 255));

    // An mbuf that outlives every handle keeps the memory: no use after free, whatever the order.
    let late = pool.alloc().unwrap();
    drop((pool, eal));
    assert_eq!(late.headroom(), HEADROOM);
    drop(late);
}

fn one_mbuf(pool: &Mempool) {
    let mut mbuf = pool.alloc().unwrap();
    assert_eq!(
        (
            mbuf.len(),
            mbuf.headroom(),
            mbuf.tailroom(),
            mbuf.segments()
        ),
        (0, HEADROOM, 256, 1)
    );
    assert!(mbuf.append(257).is_none() && mbuf.len() == 0);
    mbuf.append(4).unwrap().copy_from_slice(&[1, 2, 3, 4]);
    mbuf.prepend(2).unwrap().copy_from_slice(&[8, 9]);
    assert_eq!(mbuf.data(), [8, 9, 1, 2, 3, 4]);
    assert_eq!(mbuf.append(1).unwrap().len(), 1);
    assert!(!mbuf.trim_to(8) && mbuf.trim_to(6) && mbuf.data().len() == 6);
    assert!(!mbuf.adj(7) && mbuf.adj(3));
    assert_eq!(mbuf.data(), [2, 3, 4]);
    assert!(mbuf.prepend(HEADROOM + 2).is_none() && mbuf.prepend(usize::MAX).is_none());
    assert_eq!(mbuf.prepend(HEADROOM + 1).unwrap().len(), HEADROOM + 1);
    assert_eq!((mbuf.headroom(), mbuf.len()), (0, HEADROOM + 4));
    mbuf.set_port(7);
    mbuf.set_hash(0xdead_beef);
    mbuf.set_user(42);
    mbuf.data_mut()[0] = 0xff;
    assert!(mbuf.copy_from(&[5; 256]) && !mbuf.copy_from(&[5; 257]));
    assert_eq!((mbuf.len(), mbuf.headroom()), (0, HEADROOM));
    assert_eq!(
        (mbuf.port(), mbuf.hash(), mbuf.user()),
        (7, 0xdead_beef, 42)
    );
    mbuf.prefetch();
    mbuf.prefetch_data();
    assert!(mbuf.is_sound());
}

fn chains(pool: &Mempool) {
    let part = |byte, n| {
        let mut mbuf = pool.alloc().unwrap();
        assert!(mbuf.copy_from(&vec![byte; n]));
        mbuf
    };
    let mut packet = part(1, 100);
    packet.chain(part(2, 100)).unwrap();
    packet.chain(part(3, 50)).unwrap();
    assert_eq!(
        (packet.len(), packet.data().len(), packet.segments()),
        (250, 100, 3)
    );
    assert!(packet.is_sound() && !packet.trim_to(10) && !packet.reset() && !packet.copy_from(&[0]));
    assert!(packet.adj(10));
    assert!(packet.linearise() && packet.is_contiguous() && packet.is_sound());
    let expected: Vec<u8> = [[1; 90].as_slice(), &[2; 100], &[3; 50]].concat();
    assert_eq!(packet.data(), expected);
    let mut large = part(1, 200);
    large.chain(part(2, 200)).unwrap();
    assert!(
        !large.linearise() && large.segments() == 2,
        "400 bytes do not fit into 256"
    );
    drop((packet, large));
    assert_eq!(pool.in_use(), 0);
}

fn bursts(pool: &Mempool) {
    let numbered = |n: u32| {
        let mut mbuf = pool.alloc().unwrap();
        mbuf.set_user(n);
        mbuf
    };
    let users = |burst: &Burst| burst.iter().map(|mbuf| mbuf.user()).collect::<Vec<_>>();
    let mut burst = Burst::new();
    for n in 0..Burst::CAPACITY as u32 {
        burst.push(numbered(n)).unwrap();
    }
    assert_eq!(burst.push(numbered(99)).unwrap_err().user(), 99);
    assert_eq!((burst.len(), burst.room()), (64, 0));
    assert_eq!(burst.pop().unwrap().user(), 63);

    let mut other = Burst::default();
    assert!(pool.alloc_bulk(&mut other, 60));
    other.iter_mut().for_each(|mbuf| mbuf.set_user(7));
    assert_eq!(other.append(&mut burst), 4);
    assert_eq!(users(&other)[60..], [0, 1, 2, 3]);
    assert_eq!(users(&burst)[..2], [4, 5]);
    assert_eq!((other.append(&mut burst), pool.in_use()), (0, 64 + 59));

    let mut drain = burst.drain();
    assert_eq!((drain.len(), drain.next().unwrap().user()), (59, 4));
    drop(drain);
    assert!(burst.is_empty() && burst.pop().is_none());
    assert_eq!(pool.in_use(), 64);
    burst.as_mut_slice().reverse();
    other.clear();
    assert_eq!(pool.in_use(), 0);

    for n in 0..11 {
        assert_eq!(burst.bytes(), (0..n).sum::<u64>());
        let mut mbuf = pool.alloc().unwrap();
        mbuf.append(n as usize).unwrap();
        burst.push(mbuf).unwrap();
    }
    burst.clear();

    // A pool runs empty without an accident, and nothing is lost.
    let mut all = Vec::new();
    while let Some(mbuf) = pool.alloc() {
        all.push(mbuf);
    }
    assert_eq!((all.len(), pool.available()), (255, 0));
    assert!(!pool.alloc_bulk(&mut burst, 1) && burst.is_empty());
    drop(all);
    assert_eq!(pool.in_use(), 0);
}

fn other_threads(pool: &Mempool) {
    let mut burst = Burst::new();
    assert!(pool.alloc_bulk(&mut burst, 64));
    let back = std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            drop(burst.pop());
            burst
        });
        worker.join().unwrap()
    });
    assert_eq!(pool.in_use(), 63);
    drop(back);
}

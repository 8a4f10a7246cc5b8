//! A ring port receives what it transmits, in order, and takes no more than it holds.

mod common;

use common::{eal, frame, pair};
use dmsc_dpdk::{Burst, Device, Mempool, MempoolConfig, Port, PortConfig};

#[test]
fn loopback() {
    let eal = eal(64);
    let pool = Mempool::new(
        &eal,
        "p",
        MempoolConfig {
            count: 4095,
            cache: 0,
            data_room: 2048,
        },
    )
    .unwrap();
    let port = Port::create(&eal, "a-name-of-no-short-length", &Device::Ring).unwrap();
    let (handle, mut rx, mut tx) = pair(port.start(PortConfig::new(&pool)).unwrap());
    assert!(handle.link_up());
    let mut burst = Burst::new();
    let mut sent = 0;
    // Fill it: what does not fit stays in the burst, in order.
    loop {
        assert!(pool.alloc_bulk(&mut burst, 32));
        for mbuf in &mut burst {
            assert!(mbuf.copy_from(&frame(60)));
            mbuf.set_user(sent);
            sent += 1;
        }
        tx.burst(&mut burst);
        if let Some(first) = burst.iter().next() {
            sent = first.user();
            break;
        }
    }
    burst.clear();
    assert_eq!(pool.in_use(), sent);
    let mut expected = 0;
    while rx.burst(&mut burst) > 0 {
        for mbuf in burst.drain() {
            assert_eq!(
                (mbuf.user(), mbuf.port(), mbuf.len()),
                (expected, mbuf.port(), 60)
            );
            expected += 1;
        }
    }
    assert_eq!(expected, sent);
    // What is left in the ring when its port goes is lost to the pool, as in DPDK: empty it first.
    drop((handle, rx, tx));
    assert_eq!(pool.in_use(), 0);
}

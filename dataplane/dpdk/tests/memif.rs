//! Two memif ports of one process, joined by a socket: packets both ways, also larger than a buffer.

mod common;

use common::{eal, frame, pair, receive, send, try_receive, wait_for};
use dmsc_dpdk::{Device, MacAddr, MemifRole, Mempool, MempoolConfig, Port, PortConfig};

#[test]
fn self_loop() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("memif.sock").to_str().unwrap().to_owned();
    let eal = eal(128);
    let pool = Mempool::new(
        &eal,
        "p",
        MempoolConfig {
            count: 4095,
            cache: 0,
            data_room: 9216,
        },
    )
    .unwrap();
    let memif = |role, last| Device::Memif {
        role,
        socket: socket.clone(),
        id: 3,
        ring_size_log2: 9,
        buffer_size: 2048,
        mac: Some(MacAddr([2, 0, 0, 0, 0, last])),
        zero_copy: false,
    };
    let config = PortConfig {
        mtu: Some(9000),
        ..PortConfig::new(&pool)
    };
    let server = Port::create(&eal, "s", &memif(MemifRole::Server, 1)).unwrap();
    let (hs, mut rxs, mut txs) = pair(server.start(config).unwrap());
    let client = Port::create(&eal, "c", &memif(MemifRole::Client, 2)).unwrap();
    let (hc, mut rxc, mut txc) = pair(client.start(config).unwrap());
    assert_eq!(hs.mac(), MacAddr([2, 0, 0, 0, 0, 1]));
    assert!(hs.poll_fds(0).is_empty());
    wait_for("connection", || hs.link_up() && hc.link_up());
    // A receiver hands out its buffers when it polls: once connected, both ends have to, before packets pass.
    assert_eq!(try_receive(&mut rxs).or(try_receive(&mut rxc)), None);
    for len in [60, 1514, 9014] {
        send(&pool, &mut txc, &frame(len));
        assert_eq!(receive(&mut rxs), frame(len));
        send(&pool, &mut txs, &frame(len));
        assert_eq!(receive(&mut rxc), frame(len));
    }
    drop((rxc, txc, hc));
    wait_for("disconnection", || !hs.link_up());
    drop((rxs, txs, hs));
    assert_eq!(pool.in_use(), 0);
}

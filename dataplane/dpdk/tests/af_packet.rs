//! Two af_packet ports at the two ends of a veth pair: packets, jumbo frames, waiting and a link that goes down.

mod common;

use common::{Veth, eal, frame, pair, receive, send, wait_for};
use dmsc_dpdk::{
    Burst, Device, Mempool, MempoolConfig, Port, PortConfig, PortError, RxQueue, WaitFd, Woken,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

fn revents(fd: &WaitFd, ms: u16) -> PollFlags {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(ms)).unwrap();
    fds[0].revents().unwrap()
}

#[test]
fn veth_pair() {
    let Some(veth) = Veth::new("a", 9000) else {
        return;
    };
    let eal = eal(128);
    let a = Device::AfPacket {
        iface: veth.a.clone(),
        queues: 1,
        mtu: 9000,
        frames: 64,
        qdisc_bypass: false,
    };
    let b = Device::AfPacket {
        iface: veth.b.clone(),
        queues: 2,
        mtu: 9000,
        frames: 64,
        qdisc_bypass: true,
    };
    let small = Mempool::new(
        &eal,
        "small",
        MempoolConfig {
            count: 255,
            cache: 0,
            data_room: 2048,
        },
    )
    .unwrap();
    let room = a.min_data_room(9000);
    let pool = Mempool::new(
        &eal,
        "jumbo",
        MempoolConfig {
            count: 1023,
            cache: 0,
            data_room: room,
        },
    )
    .unwrap();

    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let refused = Port::create(&eal, "a", &a)
        .unwrap()
        .start(PortConfig::new(&small))
        .unwrap_err();
    assert!(
        matches!(refused, PortError::FrameTooLarge { .. }),
        "{refused}"
    );
    assert_eq!(
        descriptors(),
        before,
        "a port that did not start leaves its sockets"
    );
    let config = PortConfig {
        promiscuous: true,
        mtu: Some(8000),
        ..PortConfig::new(&pool)
    };
    let two = PortConfig {
        rx_queues: 2,
        tx_queues: 2,
        ..config
    };
    let refused = Port::create(&eal, "a", &a)
        .unwrap()
        .start(two)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("as many queues as there are workers"),
        "{refused}"
    );

    let (ha, mut rxa, mut txa) = pair(Port::create(&eal, "a", &a).unwrap().start(config).unwrap());
    // Packets for a queue that nobody polls would be lost.
    let refused = Port::create(&eal, "b", &b)
        .unwrap()
        .start(config)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("rx_queues") && refused.contains("2, as the device has"),
        "{refused}"
    );
    let started_b = Port::create(&eal, "b", &b).unwrap().start(two).unwrap();
    assert_eq!(
        started_b.handle.poll_fds(0).len() + started_b.handle.poll_fds(1).len(),
        2
    );
    drop(started_b);
    let b = Device::AfPacket {
        iface: veth.b.clone(),
        queues: 1,
        mtu: 9000,
        frames: 64,
        qdisc_bypass: true,
    };
    let (hb, mut rxb, mut txb) = pair(Port::create(&eal, "b", &b).unwrap().start(config).unwrap());

    assert_eq!((ha.mtu(), hb.mtu()), (8000, 8000));
    assert_ne!(ha.mac(), hb.mac());
    wait_for("carrier", || ha.link_up() && hb.link_up());

    let fd = ha.poll_fds(0).pop().unwrap();
    for (tx, rx) in [(&mut txb, &mut rxa), (&mut txa, &mut rxb)] {
        for len in [60, 1514, 8014] {
            send(&pool, tx, &frame(len));
            assert_eq!(receive(rx), frame(len));
        }
    }

    // Waiting: readable while a frame is in the ring, not after.
    send(&pool, &mut txb, &frame(100));
    fd.arm();
    assert!(revents(&fd, 5000).contains(PollFlags::POLLIN));
    assert_eq!(fd.wake(), Woken::Ready);
    assert_eq!(receive(&mut rxa), frame(100));

    // Several segments leave as one frame.
    let (mut head, mut tail) = (pool.alloc().unwrap(), pool.alloc().unwrap());
    assert!(head.copy_from(&frame(40)) && tail.copy_from(&[0x5a; 60]));
    head.chain(tail).unwrap();
    assert_eq!(
        (head.len(), head.segments(), head.is_contiguous()),
        (100, 2, false)
    );
    assert!(head.is_sound() && head.append(1).is_none());
    let mut burst = Burst::new();
    burst.push(head).unwrap();
    txb.burst(&mut burst);
    assert_eq!(receive(&mut rxa), frame(100));

    // Down: an error once, and not for ever.
    veth.set(&veth.a, "down");
    wait_for("POLLERR", || revents(&fd, 100).contains(PollFlags::POLLERR));
    assert!(matches!(fd.wake(), Woken::Error(_)));
    while !rx_is_empty(&mut rxa) {}
    assert!(revents(&fd, 1).is_empty());
    assert!(!ha.link_up());
    veth.set(&veth.a, "up");
    wait_for("carrier", || ha.link_up() && hb.link_up());
    send(&pool, &mut txb, &frame(60));
    assert_eq!(receive(&mut rxa), frame(60));

    // The kernel's drops at a full ring are counted as missed.
    for _ in 0..20 {
        assert!(pool.alloc_bulk(&mut burst, 32));
        for mbuf in &mut burst {
            assert!(mbuf.copy_from(&frame(60)));
        }
        while !burst.is_empty() {
            txb.burst(&mut burst);
        }
    }
    wait_for("drops", || ha.stats().rx_missed > 0);
    assert!(ha.stats().rx_packets > 0 && hb.stats().tx_packets > 0);

    drop((fd, rxa, rxb, txa, txb, ha, hb));
    assert_eq!((pool.in_use(), small.in_use()), (0, 0));
}

fn rx_is_empty(rx: &mut RxQueue) -> bool {
    rx.burst(&mut Burst::new()) == 0
}

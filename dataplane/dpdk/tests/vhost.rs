//! The two ends of vhost-user in one process: packets both ways, and waiting for an interrupt.

mod common;

use common::{eal, frame, pair, receive, send, try_receive, wait_for};
use dmsc_dpdk::{
    Device, MacAddr, Mempool, MempoolConfig, Port, PortConfig, PortHandle, RxQueue, TxQueue, Woken,
};
use nix::poll::{PollFd, PollFlags, poll};
use std::os::fd::AsFd;

#[test]
fn virtio_user_and_vhost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vhost.sock").to_str().unwrap().to_owned();
    let eal = eal(128);
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
    let config = PortConfig {
        rx_descriptors: 256,
        tx_descriptors: 256,
        ..PortConfig::new(&pool)
    };

    let nobody = Device::VirtioUser {
        path: path.clone(),
        queues: 1,
        queue_size: 0,
        server: false,
        mac: None,
    };
    let error = Port::create(&eal, "none", &nobody).unwrap_err().to_string();
    assert!(error.contains("does the other end listen"), "{error}");

    let host = Device::Vhost {
        path: path.clone(),
        queues: 1,
        client: false,
    };
    let (hh, mut rxh, mut txh) = pair(
        Port::create(&eal, "h", &host)
            .unwrap()
            .start(config)
            .unwrap(),
    );
    let mac = Some(MacAddr([2, 0, 0, 0, 0, 5]));
    let guest = Device::VirtioUser {
        path,
        queues: 1,
        queue_size: 256,
        server: false,
        mac,
    };
    // The host's driver answers from a thread of its own, so that one process can be both.
    let (hg, mut rxg, mut txg) = pair(
        Port::create(&eal, "g", &guest)
            .unwrap()
            .start(config)
            .unwrap(),
    );
    wait_for("connection", || {
        assert_eq!(try_receive(&mut rxh), None);
        hh.link_up() && hg.link_up()
    });
    for len in [60, 1514] {
        send(&pool, &mut txg, &frame(len));
        assert_eq!(receive(&mut rxh), frame(len));
        send(&pool, &mut txh, &frame(len));
        assert_eq!(receive(&mut rxg), frame(len));
    }

    wakes_and_is_quiet(&pool, &hg, &mut rxg, &mut txh);
    wakes_and_is_quiet(&pool, &hh, &mut rxh, &mut txg);
    // The next guest kicks by another descriptor.
    drop((rxg, txg, hg));
    wait_for("the guest to be gone", || !hh.link_up());
    let (hg, mut rxg, mut txg) = pair(
        Port::create(&eal, "g2", &guest)
            .unwrap()
            .start(config)
            .unwrap(),
    );
    wait_for("connection", || hh.link_up() && hg.link_up());
    wakes_and_is_quiet(&pool, &hh, &mut rxh, &mut txg);
    wakes_and_is_quiet(&pool, &hg, &mut rxg, &mut txh);
    drop((rxg, txg, hg));
    drop((rxh, txh, hh));
    assert_eq!(pool.in_use(), 0);
}

/// Arms the wait of `handle` three times, sends by the other end, and is woken once each time.
fn wakes_and_is_quiet(pool: &Mempool, handle: &PortHandle, rx: &mut RxQueue, tx: &mut TxQueue) {
    let fd = handle.poll_fds(0).pop().unwrap();
    fd.wake(); // what was sent until now
    for _ in 0..3 {
        fd.arm();
        assert_eq!(try_receive(rx), None);
        send(pool, tx, &frame(60));
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, 5000_u16).unwrap();
        assert!(
            fds[0].revents().unwrap().contains(PollFlags::POLLIN),
            "no interrupt"
        );
        assert_eq!(fd.wake(), Woken::Ready);
        assert_eq!(receive(rx), frame(60));
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, 0_u16).unwrap(), 0, "the interrupt stays");
    }
}

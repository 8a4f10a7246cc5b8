//! EAL, a pool and a null port, in one process: what starts once and what returns to where it came from.

use dmsc_dpdk::{
    Burst, Device, Eal, EalConfig, EalError, Huge, Mempool, MempoolConfig, MempoolError, NumaNode,
    Port, PortConfig, PortError, tsc, tsc_hz,
};

#[test]
fn null_port_receives_and_everything_returns() {
    let config = EalConfig {
        program: "dmsc-test".into(),
        memory_mb: 64,
        huge: Huge::No,
        ..EalConfig::default()
    };
    let before = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
    let eal = Eal::init(&config).unwrap();
    let after = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
    assert_eq!(before, after, "EAL left this thread pinned");
    assert!(matches!(
        Eal::init(&config),
        Err(EalError::AlreadyInitialised)
    ));
    assert!(tsc_hz() > 1_000_000 && tsc() > 0);
    assert!(dmsc_dpdk::dpdk_version().starts_with("DPDK "));

    let size = MempoolConfig {
        count: 1023,
        cache: 64,
        data_room: 2048,
    };
    let pool = Mempool::new(&eal, "pool", size).unwrap();
    assert!(
        Mempool::new(&eal, "pool", size)
            .unwrap_err()
            .to_string()
            .contains("exists")
    );
    let huge = MempoolConfig {
        count: 1 << 20,
        ..size
    };
    let error = Mempool::new(&eal, "huge", huge).unwrap_err().to_string();
    assert!(error.contains("give EAL more memory"), "{error}");
    // Ordinary pages have no node, so every pool has room on each that DPDK knows of.
    Mempool::on(&eal, NumaNode(0), "here", size).unwrap();
    let nowhere = Mempool::on(&eal, NumaNode(1000), "there", size).unwrap_err();
    assert!(
        matches!(nowhere, MempoolError::NoRoomOnNode { .. }),
        "{nowhere}"
    );
    assert!(nowhere.to_string().contains(
        "NUMA node 1000; hugepages on node 1000: echo 2 > /sys/devices/system/node/node1000/hugepages/"
    ), "{nowhere}");
    // What was refused is not in the way of a second try.
    Mempool::new(&eal, "there", size).unwrap();

    let null = Device::Null {
        size: 100,
        copy: true,
        no_rx: false,
    };
    let port = Port::create(&eal, "n0", &null).unwrap();
    let twice = Port::create(&eal, "n0", &null).unwrap_err().to_string();
    assert!(twice.contains("n0") && twice.contains("exists"), "{twice}");
    let many = PortConfig {
        rx_queues: 5000,
        tx_queues: 5000,
        ..PortConfig::new(&pool)
    };
    assert!(matches!(
        port.start(many),
        Err(PortError::TooManyQueues { .. })
    ));

    let port = Port::create(&eal, "n0", &null)
        .unwrap()
        .start(PortConfig::new(&pool))
        .unwrap();
    let (handle, queues) = (port.handle, port.queues);
    let (mut rx, mut tx) = queues.into_iter().next().unwrap();
    let worker = std::thread::spawn({
        let pool = pool.clone();
        move || {
            let mut burst = Burst::new();
            for _ in 0..100 {
                assert_eq!(rx.burst(&mut burst), 32);
                assert!(
                    burst
                        .iter()
                        .all(|mbuf| mbuf.len() == 100 && mbuf.is_sound())
                );
                assert_eq!(tx.burst(&mut burst), 32);
                assert!(burst.is_empty());
            }
            assert!(pool.alloc_bulk(&mut burst, 64));
            assert!(!pool.alloc_bulk(&mut burst, 1), "the burst is full");
            assert_eq!(pool.in_use(), 64);
        }
    });
    worker.join().unwrap();
    assert_eq!(pool.in_use(), 0);
    let stats = handle.stats();
    assert_eq!((stats.rx_packets, stats.tx_packets), (3200, 3200));
    assert!(handle.poll_fds(0).is_empty());
    assert_eq!(handle.info().driver, "net_null");
    drop(handle);

    let gone = Port::create(&eal, "none", &Device::af_packet("dmsc-none"))
        .unwrap_err()
        .to_string();
    assert!(
        gone.contains("dmsc-none") && gone.contains("ip link"),
        "{gone}"
    );
    // The last handle closed the port, so its name is free again.
    drop(Port::create(&eal, "n0", &null).unwrap());

    let guard = std::thread::scope(|scope| {
        let registered = scope.spawn(|| {
            let guard = eal.register_thread().unwrap();
            let mbuf = pool.alloc().unwrap();
            drop(mbuf);
            guard.id()
        });
        registered.join().unwrap()
    });
    assert_ne!(guard, 0);
    assert_eq!(eal.register_thread().unwrap().id(), 0, "EAL's own thread");
    assert_eq!(pool.in_use(), 0);
    drop((pool, eal));
    let left = format!("/var/run/dpdk/dmsc-test-{}", std::process::id());
    assert!(!std::path::Path::new(&left).exists(), "{left}");
    assert!(matches!(
        Eal::init(&config),
        Err(EalError::AlreadyInitialised)
    ));
}

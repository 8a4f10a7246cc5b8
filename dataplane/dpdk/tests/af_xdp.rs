//! AF_XDP at one end of a veth pair, af_packet at the other; skipped where the kernel or the driver has no AF_XDP.

mod common;

use common::{Veth, eal, frame, pair, receive, send, wait_for};
use dmsc_dpdk::{Device, Mempool, MempoolConfig, Port, PortConfig};

#[test]
fn veth_pair() {
    let Some(veth) = Veth::new("x", 1500) else {
        return;
    };
    let eal = eal(128);
    let pool = Mempool::new(
        &eal,
        "p",
        MempoolConfig {
            count: 16_383,
            cache: 0,
            data_room: 2048,
        },
    )
    .unwrap();
    let xdp = Device::AfXdp {
        iface: veth.a.clone(),
        start_queue: 0,
        queues: 1,
        force_copy: true,
    };
    let started = Port::create(&eal, "x", &xdp).and_then(|port| port.start(PortConfig::new(&pool)));
    let (hx, mut rxx, mut txx) = match started {
        Ok(started) => pair(started),
        Err(error) => {
            eprintln!("skipped: {error}");
            return;
        }
    };
    let packet = Port::create(&eal, "a", &Device::af_packet(&veth.b)).unwrap();
    let (ha, mut rxa, mut txa) = pair(packet.start(PortConfig::new(&pool)).unwrap());
    wait_for("carrier", || hx.link_up() && ha.link_up());
    assert_eq!(hx.poll_fds(0).len(), 1);
    for len in [60, 1514] {
        send(&pool, &mut txa, &frame(len));
        assert_eq!(receive(&mut rxx), frame(len));
        send(&pool, &mut txx, &frame(len));
        assert_eq!(receive(&mut rxa), frame(len));
    }
}

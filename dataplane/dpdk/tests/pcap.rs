//! A pcap port replays one file and captures into another.

mod common;

use common::{eal, frame, pair, wait_for};
use dmsc_dpdk::{Burst, Device, Mempool, MempoolConfig, Port, PortConfig};
use std::fs;

/// A capture file of frames of these lengths.
fn capture(lengths: &[usize]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 4 << 16 | 2, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for (second, &len) in lengths.iter().enumerate() {
        for word in [second as u32, 0, len as u32, len as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame(len));
    }
    file
}

/// Lengths and contents of a capture file.
fn frames(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &file[24..];
    let mut frames = Vec::new();
    while rest.len() >= 16 {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        frames.push(rest[16..16 + len].to_vec());
        rest = &rest[16 + len..];
    }
    frames
}

#[test]
fn replay_and_capture() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let lengths = [60, 61, 1514, 3000];
    fs::write(path("in.pcap"), capture(&lengths)).unwrap();
    let eal = eal(64);
    let pool = Mempool::new(
        &eal,
        "p",
        MempoolConfig {
            count: 1023,
            cache: 0,
            data_room: 4096,
        },
    )
    .unwrap();

    let missing = Device::Pcap {
        rx: Some(path("none.pcap")),
        tx: None,
        iface: None,
        infinite_rx: false,
    };
    let error = Port::create(&eal, "m", &missing).unwrap_err().to_string();
    assert!(error.contains("none.pcap"), "{error}");

    let device = Device::Pcap {
        rx: Some(path("in.pcap")),
        tx: Some(path("out.pcap")),
        iface: None,
        infinite_rx: false,
    };
    let port = Port::create(&eal, "p", &device)
        .unwrap()
        .start(PortConfig::new(&pool))
        .unwrap();
    let (handle, mut rx, mut tx) = pair(port);
    let mut burst = Burst::new();
    wait_for("all frames", || {
        rx.burst(&mut burst);
        burst.len() == lengths.len()
    });
    while !burst.is_empty() {
        tx.burst(&mut burst);
    }
    assert_eq!(handle.stats().tx_packets, lengths.len() as u64);
    drop((handle, rx, tx));
    let expected: Vec<_> = lengths.iter().map(|&len| frame(len)).collect();
    assert_eq!(frames(&fs::read(path("out.pcap")).unwrap()), expected);
    assert_eq!(pool.in_use(), 0);
}

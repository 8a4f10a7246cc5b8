//! DPDK's description of a configured port.

use dmsc_dpdk::{Device, MacAddr, MemifRole};

use crate::config::{PortConfig, PortKind};
use crate::mac::MacAddress;

/// The device of `port`; `taken_over` is the address that it had in another process, where it can be chosen.
pub(super) fn device(port: &PortConfig, workers: u16, taken_over: Option<MacAddress>) -> Device {
    let text = |path: &std::path::Path| path.display().to_string();
    let mac = port.mac.or(taken_over).map(|m| MacAddr(m.0));
    match &port.kind {
        PortKind::AfPacket { interface } => Device::AfPacket {
            iface: interface.clone(),
            queues: workers,
            mtu: port.mtu,
            frames: 0,
            qdisc_bypass: true,
        },
        PortKind::AfXdp { interface } => Device::AfXdp {
            iface: interface.clone(),
            start_queue: 0,
            queues: workers,
            force_copy: false,
        },
        PortKind::Tap { interface } => Device::Tap {
            iface: interface.clone(),
            mac,
        },
        PortKind::Memif { socket, server, id } => Device::Memif {
            role: if *server {
                MemifRole::Server
            } else {
                MemifRole::Client
            },
            socket: text(socket),
            id: *id,
            ring_size_log2: 10,
            buffer_size: port.mtu.saturating_add(64).next_multiple_of(64).max(2048),
            mac,
            zero_copy: false,
        },
        PortKind::VirtioUser { socket, server } => Device::VirtioUser {
            path: text(socket),
            queues: workers,
            queue_size: 0,
            server: *server,
            mac,
        },
        PortKind::Vhost { socket, client, .. } => Device::Vhost {
            path: text(socket),
            queues: workers,
            client: *client,
        },
        PortKind::Null { size } => Device::Null {
            size: *size,
            copy: false,
            no_rx: false,
        },
        PortKind::Ring => Device::Ring,
        PortKind::Pcap { rx, tx } => Device::Pcap {
            rx: rx.as_deref().map(text),
            tx: tx.as_deref().map(text),
            iface: None,
            infinite_rx: false,
        },
        PortKind::Pci { address } => Device::Pci {
            address: address.clone(),
            args: String::new(),
        },
    }
}

/// Whether two processes may have the device open at once: the kernel gives each its own copy of what comes in.
pub(super) fn can_be_shared(kind: &PortKind) -> bool {
    matches!(kind, PortKind::AfPacket { .. })
}

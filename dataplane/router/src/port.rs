//! A running port as the stages see it: its configuration and the few bits that change.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use dmsc_dpdk::PortHandle;

use crate::config::{Budget, PlainIp, PortConfig, PortRole};
use crate::mac::MacAddress;

/// Shared by workers and agent; the configuration never changes while the process lives.
#[derive(Debug)]
pub struct PortState {
    /// Place in the configuration, from 0; the port id on the wire is one more.
    pub number: usize,
    /// What was configured.
    pub config: PortConfig,
    /// The address in use.
    pub mac: MacAddress,
    /// Link-local address that neighbour discovery asks from.
    pub link_local: IpAddr,
    /// Carrier, as the kernel or the PMD tells; workers read, the link monitor writes.
    pub carrier: AtomicBool,
    /// Whether somebody captures; workers read, the agent writes.
    pub captured: AtomicBool,
    /// MAC address of the one process at the other end of shared memory, as its last ARP or neighbour discovery told; 0 = not heard yet. Workers write, the agent
    /// reads: a pod that moves here need not be asked first.
    pub guest: AtomicU64,
    /// Whether whoever was at the other end of shared memory went, and its worker has not seen it yet: what is attached there is of a process that is gone, and the
    /// next process is not taken for it. The link monitor sets it, the worker takes it.
    pub deserted: AtomicBool,
    /// Whether a tap to the kernel exists.
    pub has_tap: bool,
    /// What of the configuration may change.
    pub tuning: Tuning,
}

/// What an operator may change while a port runs: workers read, the agent writes.
#[derive(Debug)]
pub struct Tuning {
    drop_plain_ip: AtomicBool,
    packets_per_s: AtomicU64,
    bytes_per_s: AtomicU64,
    rate_bytes_per_s: AtomicU64,
    capacity_mbps: AtomicU32,
    cross: AtomicU64,
}

/// Where a cross-connected port leads: everything but hellos, probes and address resolution leaves by another port unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cross {
    /// Number of the port that frames leave by.
    pub port: u8,
    /// Destination that they get; the source is that port.
    pub destination: MacAddress,
}

/// Bits of [`Tuning::cross`] below the port number plus one.
const CROSS_PORT: u32 = 48;

impl Tuning {
    /// As configured.
    pub fn new(config: &PortConfig) -> Tuning {
        let tuning = Tuning {
            drop_plain_ip: AtomicBool::default(),
            packets_per_s: AtomicU64::default(),
            bytes_per_s: AtomicU64::default(),
            rate_bytes_per_s: AtomicU64::default(),
            capacity_mbps: AtomicU32::default(),
            cross: AtomicU64::default(),
        };
        tuning.set(config);
        tuning
    }

    /// Takes up what `config` says. Workers see budgets and rates when they look at their timers.
    pub fn set(&self, config: &PortConfig) {
        let drop = config.plain_ip == PlainIp::Drop;
        self.drop_plain_ip.store(drop, Relaxed);
        let Budget {
            packets_per_s,
            bytes_per_s,
        } = config.budget;
        self.packets_per_s.store(packets_per_s, Relaxed);
        self.bytes_per_s.store(bytes_per_s, Relaxed);
        self.rate_bytes_per_s
            .store(config.rate_bytes_per_s, Relaxed);
        self.capacity_mbps.store(config.capacity_mbps, Relaxed);
    }

    /// Most that leaves by the port, all workers together; 0: as much as its driver takes.
    pub fn rate_bytes_per_s(&self) -> u64 {
        self.rate_bytes_per_s.load(Relaxed)
    }

    /// Of the link behind the port as the configuration has it, Mbit/s: no more than its rate; 0: not told.
    pub fn capacity_mbps(&self) -> u32 {
        let rate = (self.rate_bytes_per_s() / 125_000) as u32;
        let capacities = [rate, self.capacity_mbps.load(Relaxed)];
        capacities.into_iter().filter(|c| *c > 0).min().unwrap_or(0)
    }

    /// Where the port leads without a look at the packets. Only measurements set this: it is what plain MAC forwarding costs.
    #[inline]
    pub fn cross(&self) -> Option<Cross> {
        let bits = self.cross.load(Relaxed);
        let port = (bits >> CROSS_PORT).checked_sub(1)? as u8;
        let destination = MacAddress::from_bits(bits & ((1 << CROSS_PORT) - 1));
        Some(Cross { port, destination })
    }

    /// Cross-connects the port, or ends that.
    pub fn set_cross(&self, cross: Option<Cross>) {
        let bits = cross.map_or(0, |cross| {
            (u64::from(cross.port) + 1) << CROSS_PORT | cross.destination.to_bits()
        });
        self.cross.store(bits, Relaxed);
    }

    /// Most that the pods may send.
    pub fn budget(&self) -> Budget {
        Budget {
            packets_per_s: self.packets_per_s.load(Relaxed),
            bytes_per_s: self.bytes_per_s.load(Relaxed),
        }
    }
}

/// What everybody but the workers asks the ports with. Ports close when the last of these and their queues are gone.
#[derive(Debug, Clone, Default)]
pub struct Handles(Arc<RwLock<Vec<PortHandle>>>);

impl Handles {
    /// One per port, in the order of the ports.
    pub fn new(handles: Vec<PortHandle>) -> Handles {
        Handles(Arc::new(RwLock::new(handles)))
    }

    /// To ask; empty when the ports are closed.
    pub fn read(&self) -> RwLockReadGuard<'_, Vec<PortHandle>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the ports, for all who have a copy of this.
    pub fn close(&self) {
        let mut handles = self.0.write().unwrap_or_else(PoisonError::into_inner);
        handles.clear();
    }
}

/// All ports of a process.
pub type Ports = Arc<[Arc<PortState>]>;

impl PortState {
    /// The port's id in RECORD slots and hellos.
    pub fn id(&self) -> u16 {
        self.number as u16 + 1
    }

    /// Whether pods are at the other end.
    #[inline]
    pub fn is_pod(&self) -> bool {
        self.config.role == PortRole::Pod
    }

    /// Whether plain IP of its pods is dropped.
    #[inline]
    pub fn drops_plain_ip(&self) -> bool {
        self.is_pod() && self.tuning.drop_plain_ip.load(Relaxed)
    }

    /// Whether `address` is one of this port's.
    #[inline]
    pub fn owns(&self, address: IpAddr) -> bool {
        self.config
            .addresses
            .iter()
            .any(|net| net.addr() == address)
    }

    /// Whether `address` is on this port's link.
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        self.config
            .addresses
            .iter()
            .any(|net| net.contains(&address))
    }

    /// Whether the link has carrier.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.carrier.load(Relaxed)
    }
}

/// The IPv6 link-local address of a MAC address (RFC 4291, modified EUI-64).
pub fn link_local(mac: MacAddress) -> IpAddr {
    let [a, b, c, d, e, f] = mac.0;
    let word = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    IpAddr::V6(std::net::Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        word(a ^ 2, b),
        word(c, 0xff),
        word(0xfe, d),
        word(e, f),
    ))
}

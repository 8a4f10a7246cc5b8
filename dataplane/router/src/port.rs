//! A running port as the stages see it: its configuration and the few bits that change.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use dmsc_dpdk::PortHandle;

use crate::config::{PortConfig, PortRole};
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
    /// Whether a tap to the kernel exists.
    pub has_tap: bool,
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

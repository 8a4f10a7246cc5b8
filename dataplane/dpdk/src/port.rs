//! Ports: made from a device, then configured and started once; stopped and closed when their last user is gone.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::device::Device;
use crate::eal::Eal;
use crate::fds::{Open, Wanted};
use crate::handle::PortHandle;
use crate::inner::PortInner;
use crate::mempool::Mempool;
use crate::netif::NetIf;
use crate::plug::plug_in;
use crate::port_error::{PortError, bad_field, interface_error};
use crate::queue::{RxQueue, TxQueue};

/// How a port starts.
#[derive(Clone, Copy)]
pub struct PortConfig<'a> {
    /// Receive queues: one per worker.
    pub rx_queues: u16,
    /// Transmit queues: as many.
    pub tx_queues: u16,
    /// Packets that a receive queue holds; the driver may adjust it.
    pub rx_descriptors: u16,
    /// Packets that a transmit queue holds; the driver may adjust it.
    pub tx_descriptors: u16,
    /// MTU to set; on a kernel interface this is the interface's. `None`: leave it.
    pub mtu: Option<u16>,
    /// Receive packets to all Ethernet addresses.
    pub promiscuous: bool,
    /// Where received packets are put.
    pub pool: &'a Mempool,
}

impl<'a> PortConfig<'a> {
    /// One queue pair of 512 descriptors, not promiscuous, MTU as it is.
    pub fn new(pool: &'a Mempool) -> Self {
        Self {
            rx_queues: 1,
            tx_queues: 1,
            rx_descriptors: 512,
            tx_descriptors: 512,
            mtu: None,
            promiscuous: false,
            pool,
        }
    }
}

/// A port that exists and does nothing yet. Starting it takes it, so it starts once.
pub struct Port {
    inner: PortInner,
}

/// A running port: a handle to ask it, and its queues to hand to workers.
pub struct StartedPort {
    /// For any thread: counters, state, addresses.
    pub handle: PortHandle,
    /// One pair per worker.
    pub queues: Vec<(RxQueue, TxQueue)>,
}

impl Port {
    /// Makes a port named `name` from a device.
    ///
    /// # Errors
    /// A device that cannot be made, with the driver's own words.
    pub fn create(eal: &Eal, name: &str, device: &Device) -> Result<Self, PortError> {
        check_name(name)?;
        let plug = device.plug(name).map_err(|bad| bad_field(name, bad))?;
        if let Some(iface) = device.interface() {
            let exists = NetIf::open(iface).and_then(|netif| netif.index());
            exists.map_err(|error| interface_error(name, iface, error))?;
        }
        let netif = match device.mtu_interface() {
            Some(iface) => {
                Some(NetIf::open(iface).map_err(|error| interface_error(name, iface, error))?)
            }
            None => None,
        };
        let fds = Open::now();
        let id = plug_in(&eal.inner, name, device, &plug)?;
        let mut inner = PortInner {
            id,
            name: name.to_owned(),
            kind: device.kind(),
            queues_remedy: device.queues_remedy(),
            netif,
            rx_fds: Vec::new(),
            interrupts: false,
            edges: Vec::new(),
            mtu: None,
            kernel_drops: AtomicU64::new(0),
            unset_promiscuous: false,
            plug,
            device: device.clone(),
            started: false,
            pool: None,
            eal: Arc::clone(&eal.inner),
        };
        if let (Device::AfPacket { .. }, Some(netif)) = (device, &inner.netif) {
            let index = netif
                .index()
                .map_err(|error| interface_error(name, netif.name(), error))?;
            inner.rx_fds = fds.opened_since(Wanted::Packet(index));
        }
        Ok(Self { inner })
    }

    /// The name that it was made with.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Most receive queues that it can start with.
    pub fn max_rx_queues(&self) -> u16 {
        self.inner.info().max_rx_queues
    }

    /// Most transmit queues that it can start with.
    pub fn max_tx_queues(&self) -> u16 {
        self.inner.info().max_tx_queues
    }

    /// Configures and starts the port.
    ///
    /// A kernel interface is not brought up by this: it may be down, and [`PortHandle::link_up`] tells.
    ///
    /// # Errors
    /// What does not fit the device or the pool, and what the driver refuses; the port is closed then.
    pub fn start(mut self, config: PortConfig<'_>) -> Result<StartedPort, PortError> {
        let info = self.inner.info();
        self.inner.check(&info, &config)?;
        self.inner.configure(&info, &config)?;
        let inner = Arc::new(self.inner);
        let queues = (0..config.rx_queues)
            .map(|queue| {
                (
                    RxQueue::new(Arc::clone(&inner), queue),
                    TxQueue::new(Arc::clone(&inner), queue),
                )
            })
            .collect();
        Ok(StartedPort {
            handle: PortHandle(inner),
            queues,
        })
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("name", &self.inner.name)
            .field("kind", &self.inner.kind)
            .finish()
    }
}

impl fmt::Debug for StartedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartedPort")
            .field("handle", &self.handle)
            .field("queues", &self.queues.len())
            .finish()
    }
}

fn check_name(name: &str) -> Result<(), PortError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.is_empty() || name.len() > 32 || !name.chars().all(good) {
        return Err(PortError::BadName(name.to_owned()));
    }
    Ok(())
}

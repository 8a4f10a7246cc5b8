//! What the queues and handles of one port share, and how it ends.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dpdk_sys as sys;

use crate::devargs::Plug;
use crate::device::Device;
use crate::eal::EalInner;
use crate::fds;
use crate::gate::Gate;
use crate::intr::Parked;
use crate::mempool::Mempool;
use crate::netif::NetIf;

/// What queues and handles share. When the last of them goes, the port is stopped, closed and unplugged.
pub(crate) struct PortInner {
    pub(crate) id: u16,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) queues_remedy: &'static str,
    pub(crate) netif: Option<NetIf>,
    /// For each queue what one can block on; empty where the driver has nothing.
    pub(crate) rx_fds: Vec<RawFd>,
    pub(crate) interrupts: bool,
    /// For each queue of a vhost port the descriptor that is in `rx_fds`.
    pub(crate) edges: Vec<OwnedFd>,
    /// As configured, where the driver does not keep it.
    pub(crate) mtu: Option<u16>,
    pub(crate) kernel_drops: AtomicU64,
    pub(crate) unset_promiscuous: bool,
    pub(crate) plug: Plug,
    pub(crate) device: Device,
    pub(crate) started: bool,
    /// Receives into it until it is closed.
    pub(crate) pool: Option<Mempool>,
    pub(crate) eal: Arc<EalInner>,
}

impl PortInner {
    pub(crate) fn info(&self) -> sys::rte_eth_dev_info {
        let mut info = MaybeUninit::zeroed();
        // SAFETY: the port exists; the call fills in the structure, or leaves zeros, which are values of it.
        unsafe {
            sys::rte_eth_dev_info_get(self.id, info.as_mut_ptr());
            info.assume_init()
        }
    }

    /// Packets that the kernel dropped before this port, since the port was made.
    pub(crate) fn count_kernel_drops(&self) -> u64 {
        if !matches!(self.device, Device::AfPacket { .. }) {
            return 0;
        }
        // Reading clears the kernel's counter; whoever reads adds to ours.
        let new: u64 = self.rx_fds.iter().map(|&fd| fds::packet_drops(fd)).sum();
        self.kernel_drops.fetch_add(new, Ordering::Relaxed) + new
    }

    /// What a queue of the port passes for each burst, where the driver frees rings while workers run.
    pub(crate) fn gate(&self) -> Option<Arc<Gate>> {
        matches!(self.device, Device::Memif { .. }).then(Gate::new)
    }

    pub(crate) fn is_tap(&self) -> bool {
        matches!(self.device, Device::Tap { .. })
    }
}

impl Drop for PortInner {
    fn drop(&mut self) {
        let eal = Arc::clone(&self.eal);
        let _one_at_a_time = eal.control();
        let strings = (
            CString::new(self.plug.bus),
            CString::new(self.plug.name.as_str()),
        );
        let _parked = self.interrupts.then(Parked::park);
        // SAFETY: no queue and no handle is left, so nobody is in a burst; the port was made by us and is closed once.
        unsafe {
            if self.unset_promiscuous {
                sys::rte_eth_promiscuous_disable(self.id);
            }
            if self.started {
                sys::rte_eth_dev_stop(self.id);
            } else if matches!(self.device, Device::AfPacket { .. }) {
                // The driver closes its sockets when it stops, and only then.
                self.rx_fds
                    .iter()
                    .for_each(|&fd| drop(OwnedFd::from_raw_fd(fd)));
            }
            sys::rte_eth_dev_close(self.id);
            if let (Ok(bus), Ok(name)) = strings {
                sys::rte_eal_hotplug_remove(bus.as_ptr(), name.as_ptr());
            }
        }
    }
}

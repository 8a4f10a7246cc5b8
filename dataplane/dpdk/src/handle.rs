//! A handle to a running port: everything that is not packets, from any thread.

use std::ffi::CStr;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::Arc;

use dpdk_sys as sys;

use crate::inner::PortInner;
use crate::mac::MacAddr;
use crate::stats::PortStats;
use crate::wait::WaitFd;

/// A running port, to ask. Clones are the same port, which runs as long as one of them or one of its queues is there.
#[derive(Clone)]
pub struct PortHandle(pub(crate) Arc<PortInner>);

/// What a port is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortInfo {
    /// The name that it was made with.
    pub name: String,
    /// DPDK's number, as in [`crate::Mbuf::port`].
    pub id: u16,
    /// Kind of device, as in configurations.
    pub kind: &'static str,
    /// DPDK's driver.
    pub driver: String,
    /// Ethernet address.
    pub mac: MacAddr,
    /// Receive queues that the device has.
    pub max_rx_queues: u16,
    /// Transmit queues that the device has.
    pub max_tx_queues: u16,
    /// The kernel interface under or behind it.
    pub interface: Option<String>,
}

impl PortHandle {
    /// The name that it was made with.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// DPDK's number of the port, as in [`crate::Mbuf::port`].
    pub fn id(&self) -> u16 {
        self.0.id
    }

    /// What the port is.
    pub fn info(&self) -> PortInfo {
        let info = self.0.info();
        let driver = if info.driver_name.is_null() {
            String::new()
        } else {
            // SAFETY: the driver's constant name.
            unsafe { CStr::from_ptr(info.driver_name) }
                .to_string_lossy()
                .into_owned()
        };
        PortInfo {
            name: self.0.name.clone(),
            id: self.0.id,
            kind: self.0.kind,
            driver,
            mac: self.mac(),
            max_rx_queues: info.max_rx_queues,
            max_tx_queues: info.max_tx_queues,
            interface: self.0.netif.as_ref().map(|netif| netif.name().to_owned()),
        }
    }

    /// Ethernet address.
    pub fn mac(&self) -> MacAddr {
        let mut address = sys::rte_ether_addr { addr_bytes: [0; 6] };
        // SAFETY: the port runs; fills in six bytes.
        unsafe { sys::rte_eth_macaddr_get(self.0.id, &mut address) };
        MacAddr(address.addr_bytes)
    }

    /// Whether packets can pass now: a kernel interface is up and has carrier, the other end of a memif is there.
    pub fn link_up(&self) -> bool {
        // The af_packet driver always says yes.
        if let Some(netif) = self.0.netif.as_ref().filter(|_| !self.0.is_tap()) {
            return netif.is_running().unwrap_or(false);
        }
        u32::from(self.link().link_status()) == sys::RTE_ETH_LINK_UP
    }

    /// What a NIC has negotiated, Mbit/s. Of other kinds nothing is known: their drivers say 10 Gbit/s, whatever is behind them.
    pub fn speed_mbps(&self) -> Option<u32> {
        let speed = (self.0.kind == "pci").then(|| self.link().link_speed)?;
        // RTE_ETH_SPEED_NUM_NONE and RTE_ETH_SPEED_NUM_UNKNOWN
        (speed != 0 && speed != u32::MAX).then_some(speed)
    }

    fn link(&self) -> sys::rte_eth_link {
        let mut link = MaybeUninit::zeroed();
        // SAFETY: the port runs; fills in the structure, for which zero is a value.
        unsafe {
            sys::rte_eth_link_get_nowait(self.0.id, link.as_mut_ptr());
            link.assume_init()
        }
    }

    /// Largest IP packet, bytes: of a kernel interface what the interface has now.
    pub fn mtu(&self) -> u16 {
        if let Some(mtu) = self.0.netif.as_ref().and_then(|netif| netif.mtu().ok()) {
            return mtu;
        }
        if let Some(mtu) = self.0.mtu {
            return mtu;
        }
        let mut mtu = 0;
        // SAFETY: the port runs; fills in an integer.
        unsafe { sys::rte_eth_dev_get_mtu(self.0.id, &mut mtu) };
        mtu
    }

    /// Most receive queues that the device has.
    pub fn max_rx_queues(&self) -> u16 {
        self.0.info().max_rx_queues
    }

    /// Most transmit queues that the device has.
    pub fn max_tx_queues(&self) -> u16 {
        self.0.info().max_tx_queues
    }

    /// Counters since the start.
    pub fn stats(&self) -> PortStats {
        let mut stats = MaybeUninit::zeroed();
        // SAFETY: the port runs; fills in the structure, for which zero is a value.
        let stats: sys::rte_eth_stats = unsafe {
            sys::rte_eth_stats_get(self.0.id, stats.as_mut_ptr());
            stats.assume_init()
        };
        PortStats {
            rx_packets: stats.ipackets,
            tx_packets: stats.opackets,
            rx_bytes: stats.ibytes,
            tx_bytes: stats.obytes,
            rx_missed: stats.imissed + self.0.count_kernel_drops(),
            rx_errors: stats.ierrors,
            tx_errors: stats.oerrors,
            rx_no_mbuf: stats.rx_nombuf,
        }
    }

    /// The driver's own counters by name. Empty if it has none.
    pub fn xstats(&self) -> Vec<(String, u64)> {
        // SAFETY: the port runs; a null array asks for the number.
        let n = unsafe { sys::rte_eth_xstats_get_names(self.0.id, std::ptr::null_mut(), 0) };
        let n = usize::try_from(n).unwrap_or(0);
        let mut names = vec![sys::rte_eth_xstat_name { name: [0; 64] }; n];
        let mut values = vec![sys::rte_eth_xstat { id: 0, value: 0 }; n];
        // SAFETY: two arrays of n entries.
        let filled = unsafe {
            sys::rte_eth_xstats_get_names(self.0.id, names.as_mut_ptr(), n as u32);
            sys::rte_eth_xstats_get(self.0.id, values.as_mut_ptr(), n as u32)
        };
        values.truncate(usize::try_from(filled).unwrap_or(0).min(n));
        let named = |stat: sys::rte_eth_xstat| {
            let name = names.get(usize::try_from(stat.id).ok()?)?;
            let bytes: Vec<u8> = name
                .name
                .iter()
                .map(|&c| c as u8)
                .take_while(|&c| c != 0)
                .collect();
            Some((String::from_utf8_lossy(&bytes).into_owned(), stat.value))
        };
        values.into_iter().filter_map(named).collect()
    }

    /// What a worker can block on until this receive queue has packets; empty where the driver has nothing (memif, null,
    /// ring, pcap, PCI): use a timed ramp there. See [`WaitFd`] for the order of calls.
    pub fn poll_fds(&self, queue: u16) -> Vec<WaitFd> {
        let fd = self.0.rx_fds.get(usize::from(queue));
        fd.map(|&fd| WaitFd::new(Arc::clone(&self.0), queue, fd))
            .into_iter()
            .collect()
    }
}

impl fmt::Debug for PortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortHandle")
            .field("name", &self.0.name)
            .field("id", &self.0.id)
            .finish()
    }
}

//! Configures and starts a port: the one order of calls that DPDK allows.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use dpdk_sys as sys;

use crate::device::Device;
use crate::errno::Errno;
use crate::fds::{Open, Wanted, edge_of};
use crate::inner::PortInner;
use crate::log::Capture;
use crate::port::PortConfig;
use crate::port_error::{PortError, interface_error};

/// `RTE_ETH_RX_OFFLOAD_SCATTER`: a packet may fill several mbufs.
const RX_SCATTER: u64 = 1 << 13;
/// `RTE_ETH_TX_OFFLOAD_MULTI_SEGS`: a packet of several segments may be sent.
const TX_MULTI_SEGS: u64 = 1 << 15;
/// `RTE_ETH_MQ_RX_RSS`: spread flows over receive queues.
const MQ_RSS: u32 = 1;
/// `RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP`, without extension headers.
const RSS_IP_TCP_UDP: u64 = 0b10_1111_1011_1100;
/// Largest packet that is sensible on a memif: its ring descriptors count 32 bits, an mbuf 16.
const MEMIF_MAX_MTU: u16 = 65_000;
/// Ethernet header and check sequence, which DPDK counts as part of a frame.
const FRAME_OVERHEAD: u32 = sys::RTE_ETHER_HDR_LEN + sys::RTE_ETHER_CRC_LEN;

impl PortInner {
    pub(crate) fn check(
        &self,
        info: &sys::rte_eth_dev_info,
        config: &PortConfig<'_>,
    ) -> Result<(), PortError> {
        let port = || self.name.clone();
        let queues = [
            ("receive", config.rx_queues, info.max_rx_queues),
            ("transmit", config.tx_queues, info.max_tx_queues),
        ];
        for (direction, asked, max) in queues {
            if asked > max {
                let (kind, remedy) = (self.kind, self.queues_remedy);
                return Err(PortError::TooManyQueues {
                    port: port(),
                    kind,
                    direction,
                    asked,
                    max,
                    remedy,
                });
            }
        }
        if config.rx_queues == 0 || config.rx_queues != config.tx_queues {
            let value = format!("{} and {}", config.rx_queues, config.tx_queues);
            let wanted = "the same number, 1 or more, of receive and transmit queues".into();
            return Err(PortError::BadField {
                port: port(),
                field: "queues",
                value,
                wanted,
            });
        }
        if let Some(made) = self
            .device
            .shared_queues()
            .filter(|&made| made != config.rx_queues)
        {
            let value = config.rx_queues.to_string();
            let wanted = format!(
                "{made}, as the device has, because the kernel gives packets to all of them,"
            );
            return Err(PortError::BadField {
                port: port(),
                field: "rx_queues",
                value,
                wanted,
            });
        }
        if !config.pool.belongs_to(&self.eal) {
            return Err(PortError::ForeignPool {
                port: port(),
                pool: config.pool.name().to_owned(),
            });
        }
        let max = self.max_mtu(info);
        if let Some(asked) = config.mtu.filter(|&asked| asked > max) {
            return Err(PortError::Mtu {
                port: port(),
                kind: self.kind,
                asked,
                max,
            });
        }
        let room = config.pool.data_room();
        let frame = match self.device {
            Device::AfPacket { .. } => self.device.min_data_room(0),
            Device::VirtioUser { .. } | Device::Pci { .. }
                if info.rx_offload_capa & RX_SCATTER == 0 =>
            {
                self.device
                    .min_data_room(config.mtu.unwrap_or(sys::RTE_ETHER_MTU as u16))
            }
            _ => 0,
        };
        if frame > room {
            let pool = config.pool.name().to_owned();
            return Err(PortError::FrameTooLarge {
                port: port(),
                pool,
                frame,
                room,
            });
        }
        Ok(())
    }

    fn max_mtu(&self, info: &sys::rte_eth_dev_info) -> u16 {
        match &self.device {
            // The drivers of these two report the frame of standard Ethernet, and pass what is larger.
            Device::AfPacket { mtu, .. } => *mtu,
            Device::Memif { .. } => MEMIF_MAX_MTU,
            Device::AfXdp { .. } => info.max_mtu,
            _ => {
                let frame = info.max_rx_pktlen.saturating_sub(FRAME_OVERHEAD);
                info.max_mtu.min(u16::try_from(frame).unwrap_or(u16::MAX))
            }
        }
    }

    pub(crate) fn configure(
        &mut self,
        info: &sys::rte_eth_dev_info,
        config: &PortConfig<'_>,
    ) -> Result<(), PortError> {
        let eal = Arc::clone(&self.eal);
        let _one_at_a_time = eal.control();
        let capture = Capture::start();
        let fail = |step, errno, capture: Capture| {
            Err(PortError::Start {
                port: self.name.clone(),
                step,
                errno,
                log: capture.text(),
            })
        };

        // SAFETY: integers, bit fields and pointers, for which zero is a value: DPDK's defaults.
        let mut conf: sys::rte_eth_conf = unsafe { std::mem::zeroed() };
        let checked_by_dpdk = !matches!(
            self.device,
            Device::AfPacket { .. } | Device::AfXdp { .. } | Device::Memif { .. }
        );
        if checked_by_dpdk {
            conf.rxmode.mtu = u32::from(config.mtu.unwrap_or(0));
        }
        self.mtu = config.mtu;
        let largest = u32::from(config.mtu.unwrap_or(sys::RTE_ETHER_MTU as u16)) + FRAME_OVERHEAD;
        if largest > u32::from(config.pool.data_room()) {
            conf.rxmode.offloads = info.rx_offload_capa & RX_SCATTER;
        }
        conf.txmode.offloads = info.tx_offload_capa & TX_MULTI_SEGS;
        if config.rx_queues > 1 && matches!(self.device, Device::Pci { .. }) {
            conf.rxmode.mq_mode = MQ_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = info.flow_type_rss_offloads & RSS_IP_TCP_UDP;
        }
        self.interrupts = matches!(
            self.device,
            Device::VirtioUser { .. } | Device::Vhost { .. }
        );
        conf.intr_conf.set_rxq(u32::from(self.interrupts));

        let (rx, tx) = (config.rx_queues, config.tx_queues);
        // SAFETY: the port exists and is stopped; the configuration is read only during the call.
        let ret = unsafe { sys::rte_eth_dev_configure(self.id, rx, tx, &conf) };
        if ret != 0 {
            return fail("configuration", Errno::from_ret(ret), capture);
        }
        let (mut rx_descriptors, mut tx_descriptors) =
            (config.rx_descriptors, config.tx_descriptors);
        // SAFETY: two integers to adjust; if the driver has no opinion they stay as they are.
        unsafe {
            sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.id, &mut rx_descriptors, &mut tx_descriptors)
        };
        // SAFETY: the port exists.
        let socket = unsafe { sys::rte_eth_dev_socket_id(self.id) } as u32;
        let mut rx_conf = info.default_rxconf;
        rx_conf.offloads = conf.rxmode.offloads;
        let mut tx_conf = info.default_txconf;
        tx_conf.offloads = conf.txmode.offloads;

        self.pool = Some(config.pool.clone());
        let fds = Open::now();
        for queue in 0..rx {
            // SAFETY: a configured queue of a stopped port; the pool lives as long as the process.
            let ret = unsafe {
                sys::rte_eth_rx_queue_setup(
                    self.id,
                    queue,
                    rx_descriptors,
                    socket,
                    &rx_conf,
                    config.pool.as_ptr(),
                )
            };
            if ret != 0 {
                return fail("setting up a receive queue", Errno::from_ret(ret), capture);
            }
        }
        match self.device {
            Device::AfXdp { .. } => self.rx_fds = fds.opened_since(Wanted::Xdp),
            Device::Tap { .. } => self.rx_fds = fds.opened_since(Wanted::Tun),
            _ => {}
        }
        for queue in 0..tx {
            // SAFETY: a configured queue of a stopped port.
            let ret = unsafe {
                sys::rte_eth_tx_queue_setup(self.id, queue, tx_descriptors, socket, &tx_conf)
            };
            if ret != 0 {
                return fail("setting up a transmit queue", Errno::from_ret(ret), capture);
            }
        }
        if let (Some(mtu), Some(netif)) = (config.mtu, &self.netif) {
            let set = if netif.mtu().ok() == Some(mtu) {
                Ok(())
            } else {
                netif.set_mtu(mtu)
            };
            if let Err(error) = set {
                drop(capture);
                return Err(interface_error(&self.name, netif.name(), error));
            }
        }
        // SAFETY: all queues are set up.
        let ret = unsafe { sys::rte_eth_dev_start(self.id) };
        if ret != 0 {
            return fail("starting", Errno::from_ret(ret), capture);
        }
        self.started = true;
        // Neighbour discovery comes to multicast addresses, which NICs filter. Drivers without the notion receive everything anyway.
        // SAFETY: the port runs.
        unsafe { sys::rte_eth_allmulticast_enable(self.id) };
        if config.promiscuous {
            let before = self
                .netif
                .as_ref()
                .is_some_and(|netif| netif.is_promiscuous().unwrap_or(true));
            // SAFETY: the port runs. Drivers without the notion receive everything anyway.
            let ret = unsafe { sys::rte_eth_promiscuous_enable(self.id) };
            self.unset_promiscuous = ret == 0 && self.netif.is_some() && !before;
        }
        if self.interrupts {
            // SAFETY: the port runs; returns a descriptor that the driver keeps, or -1.
            let fd = |queue| unsafe { sys::rte_eth_dev_rx_intr_ctl_q_get_fd(self.id, queue) };
            self.rx_fds = (0..rx).map(fd).take_while(|&fd| fd >= 0).collect();
        }
        if matches!(self.device, Device::Vhost { .. }) {
            let edges = self.rx_fds.iter().map(|&fd| edge_of(fd).ok());
            self.edges = edges.collect::<Option<_>>().unwrap_or_default();
            self.rx_fds = self.edges.iter().map(AsRawFd::as_raw_fd).collect();
        }
        if self.rx_fds.len() != usize::from(rx) {
            // Which is whose is not known: better none than a wrong one.
            self.rx_fds.clear();
        }
        Ok(())
    }
}

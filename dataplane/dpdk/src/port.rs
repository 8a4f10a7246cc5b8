//! Ports: made from a device, then configured and started once; stopped and closed when their last user is gone.

use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dpdk_sys as sys;

use crate::device::{BadField, Device, Plug};
use crate::eal::{Eal, EalInner};
use crate::errno::Errno;
use crate::fds::{Open, Wanted};
use crate::handle::PortHandle;
use crate::intr::Parked;
use crate::log::Capture;
use crate::mempool::Mempool;
use crate::netif::NetIf;
use crate::queue::{RxQueue, TxQueue};

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

/// Why there is no port. Every variant says which port, and what can be done.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PortError {
    /// DPDK would cut or misread the name.
    #[error("port name {0:?}: 1 to 32 of letters, digits, `_`, `.` and `-` are wanted")]
    BadName(String),
    /// A field of the device or of the configuration.
    #[error("port {port}: {field} {value:?}: {wanted} is wanted")]
    BadField {
        port: String,
        field: &'static str,
        value: String,
        wanted: String,
    },
    /// The kernel interface under the port.
    #[error(
        "port {port}: interface {iface}: {error}; `ip link show` lists what this network namespace has"
    )]
    Interface {
        port: String,
        iface: String,
        error: io::Error,
    },
    /// The driver did not make the device.
    #[error("port {port}: {kind} device was not made: {errno}{hint}; {log}")]
    Create {
        port: String,
        kind: &'static str,
        errno: Errno,
        hint: &'static str,
        log: String,
    },
    /// More queues than the device has.
    #[error(
        "port {port}: {asked} {direction} queues are wanted and the {kind} device has {max}: {remedy}"
    )]
    TooManyQueues {
        port: String,
        kind: &'static str,
        direction: &'static str,
        asked: u16,
        max: u16,
        remedy: &'static str,
    },
    /// A received packet would not fit into an mbuf.
    #[error(
        "port {port}: frames of {frame} bytes do not fit into mbufs of {room} bytes: give pool {pool} a data room of {frame}"
    )]
    FrameTooLarge {
        port: String,
        pool: String,
        frame: u16,
        room: u16,
    },
    /// The device cannot have this MTU.
    #[error("port {port}: MTU {asked} is more than the {max} that this {kind} device can have")]
    Mtu {
        port: String,
        kind: &'static str,
        asked: u16,
        max: u16,
    },
    /// The pool is another EAL's.
    #[error("port {port}: mempool {pool} does not belong to this EAL")]
    ForeignPool { port: String, pool: String },
    /// The driver refused a step of the start.
    #[error("port {port}: {step} failed: {errno}; {log}")]
    Start {
        port: String,
        step: &'static str,
        errno: Errno,
        log: String,
    },
}

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
    /// As configured, where the driver does not keep it.
    pub(crate) mtu: Option<u16>,
    pub(crate) kernel_drops: AtomicU64,
    unset_promiscuous: bool,
    plug: Plug,
    device: Device,
    started: bool,
    /// Receives into it until it is closed.
    pool: Option<Mempool>,
    eal: Arc<EalInner>,
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

impl PortInner {
    pub(crate) fn info(&self) -> sys::rte_eth_dev_info {
        let mut info = MaybeUninit::zeroed();
        // SAFETY: the port exists; the call fills in the structure, or leaves zeros, which are values of it.
        unsafe {
            sys::rte_eth_dev_info_get(self.id, info.as_mut_ptr());
            info.assume_init()
        }
    }

    fn check(
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

    fn configure(
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
        self.interrupts = matches!(self.device, Device::VirtioUser { .. });
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
        if self.rx_fds.len() != usize::from(rx) {
            // Which is whose is not known: better none than a wrong one.
            self.rx_fds.clear();
        }
        Ok(())
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
            }
            sys::rte_eth_dev_close(self.id);
            if let (Ok(bus), Ok(name)) = strings {
                sys::rte_eal_hotplug_remove(bus.as_ptr(), name.as_ptr());
            }
        }
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

/// Makes the device; returns DPDK's number of its port.
fn plug_in(eal: &EalInner, name: &str, device: &Device, plug: &Plug) -> Result<u16, PortError> {
    let _one_at_a_time = eal.control();
    let capture = Capture::start();
    let create = |errno, capture: Capture| {
        let hint = hint(device, errno);
        Err(PortError::Create {
            port: name.to_owned(),
            kind: device.kind(),
            errno,
            hint,
            log: capture.text(),
        })
    };
    let strings = (
        CString::new(plug.bus),
        CString::new(plug.name.as_str()),
        CString::new(plug.args.as_str()),
    );
    let (Ok(bus), Ok(dev), Ok(args)) = strings else {
        return create(Errno(libc::EINVAL), capture);
    };
    // Hotplug says yes to a device that exists, and two owners would close it.
    if port_of(&dev).is_some() {
        return create(Errno(libc::EEXIST), capture);
    }
    // SAFETY: three C strings, copied by DPDK; EAL runs.
    let ret = unsafe { sys::rte_eal_hotplug_add(bus.as_ptr(), dev.as_ptr(), args.as_ptr()) };
    if ret != 0 {
        return create(Errno::from_ret(ret), capture);
    }
    port_of(&dev).map_or_else(|| create(Errno(libc::ENODEV), capture), Ok)
}

fn port_of(dev: &CStr) -> Option<u16> {
    let mut id = 0;
    // SAFETY: a C string, and an integer to fill in.
    let ret = unsafe { sys::rte_eth_dev_get_port_by_name(dev.as_ptr(), &mut id) };
    (ret == 0).then_some(id)
}

/// What is mostly behind a failure.
fn hint(device: &Device, errno: Errno) -> &'static str {
    if errno.0 == libc::EEXIST {
        return " (a port of this name exists)";
    }
    if matches!(device, Device::Pci { .. }) {
        return " (is the address right, is EAL allowed to use PCI, and is the device bound to vfio-pci?)";
    }
    // SAFETY: reads an integer.
    let root = unsafe { libc::geteuid() } == 0;
    match device {
        Device::AfPacket { .. } | Device::AfXdp { .. } | Device::Tap { .. } if !root => {
            " (this kind needs root, or the capabilities NET_ADMIN and NET_RAW)"
        }
        Device::AfXdp { .. } => {
            " (does the kernel have AF_XDP, and the interface this many queues?)"
        }
        Device::VirtioUser { server: false, .. } => " (does the other end listen on the socket?)",
        Device::Pcap { .. } => {
            " (does the file to receive from exist, and can the other be written?)"
        }
        _ => "",
    }
}

fn check_name(name: &str) -> Result<(), PortError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.is_empty() || name.len() > 32 || !name.chars().all(good) {
        return Err(PortError::BadName(name.to_owned()));
    }
    Ok(())
}

fn bad_field(port: &str, bad: BadField) -> PortError {
    PortError::BadField {
        port: port.to_owned(),
        field: bad.field,
        value: bad.value,
        wanted: bad.wanted.into(),
    }
}

fn interface_error(port: &str, iface: &str, error: io::Error) -> PortError {
    PortError::Interface {
        port: port.to_owned(),
        iface: iface.to_owned(),
        error,
    }
}

impl PortInner {
    /// Packets that the kernel dropped before this port, since the port was made.
    pub(crate) fn count_kernel_drops(&self) -> u64 {
        if !matches!(self.device, Device::AfPacket { .. }) {
            return 0;
        }
        // Reading clears the kernel's counter; whoever reads adds to ours.
        let new: u64 = self
            .rx_fds
            .iter()
            .map(|&fd| crate::fds::packet_drops(fd))
            .sum();
        self.kernel_drops.fetch_add(new, Ordering::Relaxed) + new
    }

    pub(crate) fn is_tap(&self) -> bool {
        matches!(self.device, Device::Tap { .. })
    }
}

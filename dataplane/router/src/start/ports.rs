//! Opens the ports of a configuration, each with the pool that it receives into.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use anyhow::{Context, bail};
use dmsc_dpdk::{
    Burst, Device, Eal, Memory, Mempool, MempoolConfig, MempoolError, NumaNode, Port,
    PortConfig as DpdkPort, PortHandle, StartedPort,
};

use super::device::{can_be_shared, device};
use super::placement::Placement;
use super::{section, socket};
use crate::config::{Config, PortConfig};
use crate::exception;
use crate::mac::MacAddress;
use crate::port::{PortState, Ports, Tuning, link_local};
use crate::worker::Queue;

/// Bytes that an mbuf takes besides its data room: object header, mbuf header, headroom.
const MBUF_OVERHEAD: u32 = 64 + 128 + 128;
/// Size of an ordinary page.
const PAGE: u32 = 4096;
/// Bursts that are thrown away of one queue at most: more than its ring holds.
const DRAIN: usize = 64;

/// Ports that are open, and those that are not yet.
pub(super) struct OpenPorts<'a> {
    eal: &'a Eal,
    config: &'a Config,
    workers: u16,
    devices: Vec<Device>,
    placement: Placement,
    pool: Mempool,
    /// By port number.
    open: Vec<Option<StartedPort>>,
    /// Addresses that ports had in another process, by port number.
    taken_over: Vec<Option<MacAddress>>,
}

/// What workers and control threads get.
pub(super) struct Opened {
    pub(super) placement: Placement,
    pub(super) pool: Mempool,
    pub(super) handles: Vec<PortHandle>,
    /// By worker.
    pub(super) queues: Vec<Vec<Queue>>,
}

impl<'a> OpenPorts<'a> {
    /// None open; `macs` are addresses of a process that is taken over, by port name.
    pub(super) fn new(
        eal: &'a Eal,
        config: &'a Config,
        workers: u16,
        macs: &[(String, MacAddress)],
        placement: Placement,
    ) -> anyhow::Result<OpenPorts<'a>> {
        let taken_over: Vec<Option<MacAddress>> = config
            .ports
            .iter()
            .map(|port| {
                macs.iter()
                    .find(|(name, _)| *name == port.name)
                    .map(|m| m.1)
            })
            .collect();
        let devices: Vec<Device> = config
            .ports
            .iter()
            .zip(&taken_over)
            .map(|(port, mac)| device(port, workers, *mac))
            .collect();
        let pool = make_pool(eal, config, &devices, "dmsc", placement.buffers)?;
        let open = config.ports.iter().map(|_| None).collect();
        Ok(OpenPorts {
            eal,
            config,
            workers,
            devices,
            placement,
            pool,
            open,
            taken_over,
        })
    }

    /// Where everything goes.
    pub(super) fn placement(&self) -> &Placement {
        &self.placement
    }

    fn open(&mut self, number: usize) -> anyhow::Result<()> {
        let (port, device) = (&self.config.ports[number], &self.devices[number]);
        let own = wants_own_pool(device)
            .then(|| {
                make_pool(
                    self.eal,
                    self.config,
                    &self.devices,
                    &format!("xdp-{number}"),
                    self.placement.ports[number].or(self.placement.buffers),
                )
            })
            .transpose()?;
        let pool = own.as_ref().unwrap_or(&self.pool);
        let open = || start_port(self.eal, port, device, pool, self.workers);
        let started = socket::opened(port, open).with_context(|| section(self.config, port))?;
        self.open[number] = Some(started);
        Ok(())
    }

    /// Opens what two processes may have open at once. What fails here would fail later too, when the other process is gone.
    pub(super) fn open_shared(&mut self) -> anyhow::Result<()> {
        for number in 0..self.open.len() {
            if can_be_shared(&self.config.ports[number].kind) {
                self.open(number)?;
            }
        }
        Ok(())
    }

    /// Opens all that are not open.
    pub(super) fn open_rest(&mut self) -> anyhow::Result<()> {
        for number in 0..self.open.len() {
            if self.open[number].is_none() {
                self.open(number)?;
            }
        }
        Ok(())
    }

    pub(super) fn all_open(&self) -> bool {
        self.open.iter().all(Option::is_some)
    }

    /// The ports for the stages. Of one that is not open the address is assumed to stay.
    pub(super) fn states(&self) -> Ports {
        let states = self.config.ports.iter().enumerate().map(|(number, port)| {
            let mac = self.mac(number);
            let handle = self.open[number].as_ref().map(|open| &open.handle);
            Arc::new(PortState {
                number,
                config: port.clone(),
                mac,
                link_local: link_local(mac),
                carrier: AtomicBool::new(handle.is_some_and(PortHandle::link_up)),
                captured: AtomicBool::new(false),
                guest: AtomicU64::new(0),
                // What a process before this one told of the port was of another guest.
                deserted: AtomicBool::new(port.kind.is_shared_memory()),
                has_tap: exception::wants_tap(port),
                tuning: Tuning::new(port),
            })
        });
        states.collect()
    }

    fn mac(&self, number: usize) -> MacAddress {
        let own = self.config.ports[number].mac;
        let opened = || Some(MacAddress(self.open[number].as_ref()?.handle.mac().0));
        own.or_else(opened)
            .or(self.taken_over[number])
            .unwrap_or_default()
    }

    /// Throws away what was received so far.
    pub(super) fn drain(&mut self) {
        let mut burst = Burst::new();
        for (rx, _) in self
            .open
            .iter_mut()
            .flatten()
            .flat_map(|open| &mut open.queues)
        {
            for _ in 0..DRAIN {
                let received = rx.burst(&mut burst);
                burst.clear();
                if received == 0 {
                    break;
                }
            }
        }
    }

    /// Hands out what is open, which must be all.
    pub(super) fn finish(self) -> Opened {
        let mut handles = Vec::new();
        let mut queues: Vec<Vec<Queue>> = (0..self.workers).map(|_| Vec::new()).collect();
        for started in self.open.into_iter().flatten() {
            for (queue, (rx, tx)) in started.queues.into_iter().enumerate() {
                let waits = started.handle.poll_fds(queue as u16);
                queues[queue].push(Queue::new(rx, tx, waits));
            }
            handles.push(started.handle);
        }
        Opened {
            placement: self.placement,
            pool: self.pool,
            handles,
            queues,
        }
    }
}

/// A pool, its share of the configured memory: one for all ports, and one for each port that wants its own.
fn make_pool(
    eal: &Eal,
    config: &Config,
    devices: &[Device],
    name: &str,
    node: Option<NumaNode>,
) -> anyhow::Result<Mempool> {
    let room = config
        .ports
        .iter()
        .zip(devices)
        .map(|(port, device)| device.min_data_room(port.mtu))
        .max()
        .unwrap_or(2176)
        .max(2176);
    let pools = 1 + devices.iter().filter(|d| wants_own_pool(d)).count() as u64;
    let budget = u64::from(config.memory_mb) * 1024 * 1024 * 6 / 10 / pools;
    let object = u32::from(room) + MBUF_OVERHEAD;
    let object = match eal.memory() {
        Memory::Hugepages => object,
        // No mbuf lies across two ordinary pages, which are not neighbours for a device.
        Memory::Ordinary => object.next_multiple_of(PAGE),
    };
    let count = (budget / u64::from(object)).clamp(512, 262_143) as u32;
    let size = MempoolConfig {
        count,
        // Buffers that a ring of 256 gives back at once stay in the cache: through the pool's own ring all of them would take
        // turns, and none would be in the processor's.
        cache: 256.min(count / 8),
        data_room: room,
    };
    pool_near(eal, node, name, size).with_context(|| {
        format!(
            "{}: eal.memory_mb = {} is too little for {count} buffers of {room} bytes",
            config.path.display(),
            config.memory_mb
        )
    })
}

/// A pool on `node` if there is room, and elsewhere with a warning.
fn pool_near(
    eal: &Eal,
    node: Option<NumaNode>,
    name: &str,
    size: MempoolConfig,
) -> Result<Mempool, MempoolError> {
    let Some(node) = node else {
        return Mempool::new(eal, name, size);
    };
    match Mempool::on(eal, node, name, size) {
        Err(error @ MempoolError::NoRoomOnNode { .. }) => {
            tracing::warn!("{error}, and start again; until then it is on another node");
            Mempool::new(eal, name, size)
        }
        made => made,
    }
}

/// AF_XDP makes the pool its shared memory with the kernel and fills the kernel's ring from it: what other ports hold for a while
/// would starve that ring, and it does not recover.
fn wants_own_pool(device: &Device) -> bool {
    matches!(device, Device::AfXdp { .. })
}

fn start_port(
    eal: &Eal,
    port: &PortConfig,
    device: &Device,
    pool: &Mempool,
    workers: u16,
) -> anyhow::Result<StartedPort> {
    let stopped = Port::create(eal, &port.name, device)?;
    if workers > stopped.max_rx_queues() || workers > stopped.max_tx_queues() {
        bail!(
            "port {:?}: {workers} workers need as many queues, and a {} port has {} to receive and {} to transmit: name fewer cores in [workers]",
            port.name,
            port.kind.as_str(),
            stopped.max_rx_queues(),
            stopped.max_tx_queues()
        );
    }
    let mtu = port.kind.interface().is_some().then_some(port.mtu);
    Ok(stopped.start(DpdkPort {
        rx_queues: workers,
        tx_queues: workers,
        mtu,
        ..DpdkPort::new(pool)
    })?)
}

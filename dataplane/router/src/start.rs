//! Brings a dataplane up from its configuration, runs it, and takes it down without a trace.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use anyhow::{Context, bail};
use dmsc_dpdk::{
    Device, Eal, EalConfig, Huge, MacAddr, MemifRole, Memory, Mempool, MempoolConfig, Port,
    PortConfig as DpdkPort, PortHandle, StartedPort,
};
use dmsc_fib::qsbr;

use crate::agent::{Agent, Herald, Socket};
use crate::clock::Clock;
use crate::config::{Config, HugePages, PortConfig, PortKind};
use crate::counters::Counters;
use crate::exception::{self, Tap};
use crate::hello::Speaker;
use crate::hush::Hushed;
use crate::lane::{Bell, Lane};
use crate::link;
use crate::mac::MacAddress;
use crate::port::{PortState, Ports, link_local};
use crate::programmer::Programmer;
use crate::publisher;
use crate::shared::{Shared, WorkerLink};
use crate::tables::Tables;
use crate::worker::{Queue, Worker};

/// Frames that may wait for the kernel, and from it.
const LANE: usize = 512;
/// Copies that may wait for a capture.
const CAPTURE_LANE: usize = 1024;
/// Packets that may wait for the agent, and from it.
const OWN_LANE: usize = 64;
/// Bytes that an mbuf takes besides its data room: object header, mbuf header, headroom.
const MBUF_OVERHEAD: u32 = 64 + 128 + 128;
/// Size of an ordinary page.
const PAGE: u32 = 4096;

/// DPDK's description of a configured port.
fn device(port: &PortConfig, workers: u16) -> Device {
    let text = |path: &std::path::Path| path.display().to_string();
    let mac = port.mac.map(|m| MacAddr(m.0));
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
        PortKind::Vhost { socket, client } => Device::Vhost {
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

fn start_eal(config: &Config) -> anyhow::Result<Eal> {
    let huge = match config.huge {
        HugePages::Auto => Huge::Auto,
        HugePages::Yes => Huge::Yes,
        HugePages::No => Huge::No,
    };
    let eal = Eal::init(&EalConfig {
        program: "dmsc-dataplane".into(),
        file_prefix: config.file_prefix.clone(),
        memory_mb: config.memory_mb,
        huge,
        no_pci: !config
            .ports
            .iter()
            .any(|p| matches!(p.kind, PortKind::Pci { .. })),
        ..EalConfig::default()
    })
    .with_context(|| format!("{}: [eal]", config.path.display()))?;
    tracing::info!(memory = %eal.memory(), mb = config.memory_mb, dpdk = dmsc_dpdk::dpdk_version(), "EAL is up");
    Ok(eal)
}

/// A pool, its share of the configured memory: one for all ports, and one for each port that wants its own.
fn make_pool(
    eal: &Eal,
    config: &Config,
    devices: &[Device],
    name: &str,
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
    Mempool::new(
        eal,
        name,
        MempoolConfig {
            count,
            cache: 64.min(count / 8),
            data_room: room,
        },
    )
    .with_context(|| {
        format!(
            "{}: eal.memory_mb = {} is too little for {count} buffers of {room} bytes",
            config.path.display(),
            config.memory_mb
        )
    })
}

/// AF_XDP makes the pool its shared memory with the kernel and fills the kernel's ring from it: what other ports hold for a while
/// would starve that ring, and it does not recover.
fn wants_own_pool(device: &Device) -> bool {
    matches!(device, Device::AfXdp { .. })
}

/// Where a port is configured, in front of what is wrong with it.
fn section(config: &Config, port: &PortConfig) -> String {
    format!("{}:{}: [[port]]", config.path.display(), port.line)
}

/// A core that is not there would only be found out by its worker, which then runs anywhere.
fn check_cores(config: &Config) -> anyhow::Result<()> {
    let Some(there) = core_affinity::get_core_ids() else {
        return Ok(()); // the system does not say
    };
    let Some(missing) = config
        .cores
        .iter()
        .find(|core| there.iter().all(|c| c.id != **core))
    else {
        return Ok(());
    };
    let there: Vec<_> = there.iter().map(|c| c.id.to_string()).collect();
    bail!(
        "{}:{}: workers.cores: core {missing} is not there, or this process may not run on it (taskset -p, cpuset); there are {}",
        config.path.display(),
        config.cores_line,
        there.join(", ")
    )
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

/// Runs the dataplane of `config` until `stop` resolves.
///
/// # Errors
/// When something of it cannot be had; what was made is taken down again.
pub fn run(config: Config, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    check_cores(&config)?;
    let eal = start_eal(&config)?;
    let worker_count = config.cores.len().max(1);
    let queues = worker_count as u16;
    let devices: Vec<Device> = config
        .ports
        .iter()
        .map(|port| device(port, queues))
        .collect();
    let pool = make_pool(&eal, &config, &devices, "dmsc")?;
    // Before the first frame comes in; undone when everything else is down.
    let _hushed: Vec<Hushed> = config
        .ports
        .iter()
        .filter_map(|port| Hushed::hush(&port.kind))
        .collect();
    let mut handles = Vec::new();
    let mut queue_sets: Vec<Vec<Queue>> = (0..worker_count).map(|_| Vec::new()).collect();
    let mut states = Vec::new();
    let mut taps = Vec::new();
    for (number, (port, device)) in config.ports.iter().zip(&devices).enumerate() {
        let own = wants_own_pool(device)
            .then(|| make_pool(&eal, &config, &devices, &format!("xdp-{number}")))
            .transpose()?;
        let started = start_port(&eal, port, device, own.as_ref().unwrap_or(&pool), queues)
            .with_context(|| section(&config, port))?;
        let mac = port.mac.unwrap_or(MacAddress(started.handle.mac().0));
        let has_tap = exception::wants_tap(port);
        if has_tap {
            let tap = Tap::create(port, number, mac).with_context(|| section(&config, port))?;
            taps.push(tap);
        }
        for (queue, (rx, tx)) in started.queues.into_iter().enumerate() {
            let waits = started.handle.poll_fds(queue as u16);
            queue_sets[queue].push(Queue::new(rx, tx, waits));
        }
        states.push(Arc::new(PortState {
            number,
            config: port.clone(),
            mac,
            link_local: link_local(mac),
            carrier: AtomicBool::new(started.handle.link_up()),
            captured: AtomicBool::new(false),
            has_tap,
        }));
        handles.push(started.handle);
    }
    let shared = share(config, states.into())?;
    serve(&eal, shared, pool, handles, queue_sets, taps, stop)
}

fn share(config: Config, ports: Ports) -> anyhow::Result<Arc<Shared>> {
    let clock = Clock::new(dmsc_dpdk::tsc_hz());
    let cores: Vec<Option<usize>> = if config.cores.is_empty() {
        vec![None]
    } else {
        config.cores.iter().copied().map(Some).collect()
    };
    let workers = cores
        .into_iter()
        .map(|core| {
            Ok(WorkerLink {
                raw: Lane::new(LANE),
                inject: Lane::new(OWN_LANE),
                bell: Bell::new()?,
                counters: Arc::new(Counters::new(ports.len())),
                core,
                hurry: AtomicBool::new(false),
            })
        })
        .collect::<nix::Result<Vec<_>>>()?;
    let boot = boot_nonce();
    let to_kernel = ports
        .iter()
        .map(|port| Lane::new(if port.has_tap { LANE } else { 1 }))
        .collect();
    Ok(Arc::new(Shared {
        speaker: Speaker {
            node: config.node,
            boot,
            clock,
        },
        config,
        ports,
        workers,
        to_kernel,
        kernel_bell: Bell::new()?,
        own: Lane::new(OWN_LANE),
        captured: Lane::new(CAPTURE_LANE),
        herald_bell: Bell::new()?,
        changed: AtomicBool::new(false),
        link_bell: Bell::new()?,
        tracer: crate::trace::Tracer::default(),
        clock,
        running: AtomicBool::new(true),
    }))
}

/// 64 random bits from the standard library's per-process hash keys.
fn boot_nonce() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u128(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos()),
    );
    hasher.write_u32(std::process::id());
    hasher.finish() | 1
}

fn serve(
    eal: &Eal,
    shared: Arc<Shared>,
    pool: Mempool,
    handles: Vec<PortHandle>,
    queue_sets: Vec<Vec<Queue>>,
    taps: Vec<Tap>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let control_cores = control_cores(&shared);
    let publisher = qsbr::channel(Tables::default(), shared.workers.len());
    let mut readers = Vec::new();
    for _ in &shared.workers {
        readers.push(
            publisher
                .reader()
                .context("the publisher has a reader per worker")?,
        );
    }
    let programmer = Programmer::new(
        shared.ports.clone(),
        shared.config.role,
        shared.config.udp_port,
    );
    let (publishing, desk) = publisher::desk(shared.clone(), programmer, publisher);
    let herald = Arc::new(Herald::new(shared.clone()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("agent")
        .on_thread_start({
            let cores = control_cores.clone();
            move || stay_off(&cores)
        })
        .enable_all()
        .build()?;
    let socket = {
        let _inside = runtime.enter();
        Socket::bind(&shared.config.socket)?
    };
    let result = thread::scope(|scope| {
        let named = |name: &str| thread::Builder::new().name(name.into());
        for (id, (reader, queues)) in readers.into_iter().zip(queue_sets).enumerate() {
            let (shared, pool) = (shared.clone(), pool.clone());
            named(&format!("worker-{id}"))
                .spawn_scoped(scope, move || work(eal, id, shared, reader, pool, queues))?;
        }
        let control = |name: &str, body: Box<dyn FnOnce() + Send>| {
            let cores = control_cores.clone();
            let body = move || {
                stay_off(&cores);
                body();
            };
            named(name).spawn_scoped(scope, body).map(|_| ())
        };
        control("publisher", Box::new(move || desk.run()))?;
        control(
            "exception",
            Box::new({
                let shared = shared.clone();
                move || exception::run(&shared, &taps)
            }),
        )?;
        control(
            "links",
            Box::new({
                let (shared, handles) = (shared.clone(), handles.clone());
                move || link::follow(&shared, &handles)
            }),
        )?;
        control(
            "herald",
            Box::new({
                let herald = herald.clone();
                move || herald.run()
            }),
        )?;
        let served = runtime.block_on(async {
            let agent = Arc::new(Agent::new(shared.clone(), handles.clone(), publishing.clone(), herald.clone()));
            tracing::info!(node = shared.config.node.0, name = shared.config.name, ports = shared.ports.len(), socket = %shared.config.socket.display(), "ready");
            tokio::select! {
                served = socket.serve(agent, std::future::pending()) => served.map_err(anyhow::Error::from),
                () = stop => Ok(()),
            }
        });
        tracing::info!("stopping");
        shared.stop();
        publishing.wake();
        served
    });
    // Calls in progress (watches, captures) are cut; their clients see the connection go.
    runtime.shutdown_background();
    result
}

fn work(
    eal: &Eal,
    id: usize,
    shared: Arc<Shared>,
    reader: qsbr::Reader<Tables>,
    pool: Mempool,
    queues: Vec<Queue>,
) {
    if let Some(core) = shared.workers[id].core
        && !core_affinity::set_for_current(core_affinity::CoreId { id: core })
    {
        tracing::error!(
            core,
            "the worker could not be pinned: is this core allowed for the process (taskset -p)?"
        );
    }
    let registered = eal.register_thread();
    if let Err(error) = &registered {
        tracing::warn!(%error, "the worker runs without an lcore id: its mempool cache is not used");
    }
    Worker::new(id, shared, reader, pool, queues).run();
}

/// Cores for everything that is not a worker: those that no worker has. `None` where none is left or workers are not pinned.
fn control_cores(shared: &Shared) -> Option<Vec<core_affinity::CoreId>> {
    let data = &shared.config.cores;
    if data.is_empty() {
        return None;
    }
    let rest: Vec<_> = core_affinity::get_core_ids()?
        .into_iter()
        .filter(|core| !data.contains(&core.id))
        .collect();
    if rest.is_empty() {
        tracing::warn!(
            "no core is left beside the data cores: agent, publisher and exception path share them"
        );
        return None;
    }
    tracing::info!(data = ?data, control = ?rest.iter().map(|c| c.id).collect::<Vec<_>>(), "cores");
    Some(rest)
}

fn stay_off(cores: &Option<Vec<core_affinity::CoreId>>) {
    if let Some(first) = cores.as_ref().and_then(|c| c.first()) {
        core_affinity::set_for_current(*first);
    }
}

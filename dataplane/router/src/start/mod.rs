//! Brings a dataplane up from its configuration, runs it, and takes it down without a trace.

mod cores;
mod device;
mod machine;
mod memory;
mod placement;
mod ports;
mod socket;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use dmsc_daemon::process::{NotifyState, notify};
use dmsc_dpdk::{Eal, EalConfig, Huge, LcoreGuard};
use dmsc_fib::{Generation, qsbr};
use dmsc_proto::v1;
use tokio::runtime::Runtime;

use crate::agent::{Agent, Herald, Socket};
use crate::clock::Clock;
use crate::config::{Config, HugePages, Idle, PortConfig, PortKind};
use crate::counters::Counters;
use crate::exception::{self, Tap};
use crate::handover::{self, Offer, Order, State, Takeover, resume, settings};
use crate::hello::Speaker;
use crate::hush::Hushed;
use crate::lane::{Bell, Lane};
use crate::link;
use crate::port::{Handles, Ports};
use crate::programmer::Programmer;
use crate::publisher;
use crate::rig::{Mounted, Rig};
use crate::shared::{Shared, WorkerLink};
use crate::traffic::{Collector, Exchange};
use crate::worker::Worker;
use cores::{check_cores, confine, go_first, settle, stay_off};
use memory::ThreadMemory;
use placement::Placement;
pub use placement::placement_warnings;
use ports::{OpenPorts, Opened};

/// Frames that may wait for the kernel, and from it.
const LANE: usize = 512;
/// Copies that may wait for a capture.
const CAPTURE_LANE: usize = 1024;
/// Packets that may wait for the agent, and from it.
const OWN_LANE: usize = 64;

fn start_eal(config: &Config, take_over: bool, main_core: Option<usize>) -> anyhow::Result<Eal> {
    let huge = match config.huge {
        HugePages::Auto => Huge::Auto,
        HugePages::Yes => Huge::Yes,
        HugePages::No => Huge::No,
    };
    let pid = std::process::id();
    let file_prefix = match &config.file_prefix {
        // Both processes have runtime files for a while.
        Some(prefix) if take_over => format!("{prefix}-{pid}"),
        Some(prefix) => prefix.clone(),
        None => format!("dmsc-{}-{pid}", config.name),
    };
    let eal = Eal::init(&EalConfig {
        program: "dmsc-dataplane".into(),
        file_prefix,
        memory_mb: config.memory_mb,
        huge,
        main_core,
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

/// Where a port is configured, in front of what is wrong with it.
fn section(config: &Config, port: &PortConfig) -> String {
    format!("{}:{}: [[port]]", config.path.display(), port.line)
}

/// Runs the dataplane of `config` until `stop` resolves or another process takes over; with `take_over` in the place of the process that runs.
///
/// # Errors
/// When something of it cannot be had; what was made is taken down again, and a process that was to be taken over goes on.
pub fn run(config: Config, take_over: bool, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    start(config, take_over, None, stop)
}

/// As [`run`], with a measurement's rig on its workers.
///
/// # Errors
/// As [`run`].
pub fn run_with_rig(
    config: Config,
    rig: Rig,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    start(config, false, Some(rig), stop)
}

fn start(
    config: Config,
    take_over: bool,
    rig: Option<Rig>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    check_cores(&config)?;
    let placement = Placement::here(&config);
    placement.tell(&config.cores);
    confine(&placement.control, placement.main_core.as_slice());
    let mut predecessor = None;
    let mut macs = Vec::new();
    if take_over {
        let mut takeover = Takeover::greet(&config)?;
        macs = takeover.macs(&config)?;
        predecessor = Some(takeover);
    }
    let mut memory = ThreadMemory::unchanged();
    memory.set(&placement.pages);
    let eal = start_eal(&config, take_over, placement.main_core)?;
    confine(&placement.control, &[]);
    let workers = config.cores.len().max(1) as u16;
    let mut ports = OpenPorts::new(&eal, &config, workers, &macs, placement)?;
    // Before the first frame comes in; undone when everything else is down.
    let mut hushed: Vec<Hushed> = config
        .ports
        .iter()
        .filter_map(|port| Hushed::hush(&port.kind))
        .collect();
    let Some(takeover) = predecessor else {
        ports.open_rest()?;
        // Tables come from here on, made by this thread and by those that it starts.
        memory.set(&ports.placement().tables);
        let made = assemble(&config, ports.states(), None)?;
        return serve(&eal, made, ports.finish(), None, &mut hushed, rig, stop);
    };
    ports.open_shared()?;
    let (made, takeover) = follow(&config, takeover, &mut ports, &mut memory, &mut hushed)?;
    serve(&eal, made, ports.finish(), takeover, &mut hushed, rig, stop)
}

/// Goes on where the other process stops; returns with all ports open, and the conversation if the other process has not ended yet.
fn follow(
    config: &Config,
    mut takeover: Takeover,
    ports: &mut OpenPorts<'_>,
    memory: &mut ThreadMemory,
    hushed: &mut Vec<Hushed>,
) -> anyhow::Result<(Made, Option<Takeover>)> {
    let state = takeover.state()?;
    memory.set(&ports.placement().tables);
    let mut made = assemble(config, ports.states(), Some(&state))?;
    ports.drain();
    // systemd would take the end of the other process for the end of the service.
    notify(&[NotifyState::MainPid(std::process::id())]);
    let start = Instant::now();
    let stopped = takeover.release()?;
    // What came until now was perhaps forwarded already. What comes from here on waits in the rings.
    ports.drain();
    let mut left = None;
    if ports.all_open() {
        left = Some(takeover);
    } else {
        hushed.push(Hushed::adopt(settings(takeover.released()?)));
        // Ports may bring buffers of their own.
        memory.set(&ports.placement().pages);
        ports.open_rest()?;
        memory.set(&ports.placement().tables);
        let states = ports.states();
        let same = states
            .iter()
            .zip(made.shared.ports.iter())
            .all(|(new, old)| new.mac == old.mac);
        if same {
            for (new, old) in states.iter().zip(made.shared.ports.iter()) {
                old.carrier.store(new.is_up(), Relaxed);
            }
        } else {
            made = assemble(config, states, Some(&state))?;
        }
    }
    resume(made.programmer.tables(), made.shared.clock, &stopped);
    tracing::info!(
        generation = made.generation.0,
        prefixes = state.prefixes.len(),
        ms = start.elapsed().as_millis() as u64,
        "taken over"
    );
    Ok((made, left))
}

/// A dataplane without its ports.
struct Made {
    shared: Arc<Shared>,
    programmer: Programmer,
    generation: Generation,
}

fn assemble(config: &Config, ports: Ports, state: Option<&State>) -> anyhow::Result<Made> {
    let (programmer, generation) = match state {
        None => (
            Programmer::new(ports.clone(), config.role, config.udp_port),
            Generation(1),
        ),
        Some(state) => {
            let programmer = state.rebuild(config, &ports).context(
                "what is programmed does not fit the new configuration (the running dataplane goes on with its own)",
            )?;
            (programmer, Generation(state.last.generation))
        }
    };
    Ok(Made {
        shared: share(config.clone(), ports, state.map(State::boot))?,
        programmer,
        generation,
    })
}

fn share(config: Config, ports: Ports, boot: Option<u64>) -> anyhow::Result<Arc<Shared>> {
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
                tallies: Exchange::default(),
                core,
                hurry: AtomicBool::new(false),
            })
        })
        .collect::<nix::Result<Vec<_>>>()?;
    let boot = boot.unwrap_or_else(boot_nonce);
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
        polls: AtomicBool::new(config.idle == Idle::Poll),
        current: Mutex::new(config.clone()),
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
        handing_over: AtomicBool::new(false),
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

/// Why a dataplane ends.
enum End {
    /// It was told to, or cannot serve any more.
    Stop(anyhow::Result<()>),
    /// Another process goes on.
    HandOver(Order),
}

fn serve(
    eal: &Eal,
    made: Made,
    opened: Opened,
    predecessor: Option<Takeover>,
    hushed: &mut Vec<Hushed>,
    rig: Option<Rig>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let (mut gears, rig_control) = match rig {
        Some(rig) => {
            let is_on = rig.is_on;
            let mount = |gear| Mounted::new(gear, is_on.clone());
            let gears: Vec<_> = rig.gears.into_iter().map(mount).collect();
            (gears, Some(rig.control))
        }
        None => (Vec::new(), None),
    };
    gears.reverse();
    let Made {
        shared,
        programmer,
        generation,
    } = made;
    let Opened {
        placement,
        pool,
        handles,
        queues,
    } = opened;
    let publisher = qsbr::channel_at(
        programmer.tables().clone(),
        shared.workers.len(),
        generation,
    );
    let mut readers = Vec::new();
    for _ in &shared.workers {
        readers.push(
            publisher
                .reader()
                .context("the publisher has a reader per worker")?,
        );
    }
    let (publishing, desk) = publisher::desk(shared.clone(), programmer, publisher);
    let handles = Handles::new(handles);
    let (stopped, all_stopped) = crossbeam_channel::bounded(shared.workers.len());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("agent")
        .on_thread_start({
            let control = placement.control.clone();
            move || {
                stay_off(&control);
                go_first(&control);
            }
        })
        .enable_all()
        .build()?;
    let result = thread::scope(|scope| {
        let end = (|| {
            let named = |name: &str| thread::Builder::new().name(name.into());
            // A worker shall begin where there is room, not wait for this thread's core until it can go to its own.
            confine(&placement.control, &shared.config.cores);
            for (id, (reader, queues)) in readers.into_iter().zip(queues).enumerate() {
                let (shared, pool, stopped) = (shared.clone(), pool.clone(), stopped.clone());
                let (placement, gear) = (&placement, gears.pop());
                named(&format!("worker-{id}")).spawn_scoped(scope, move || {
                    settle(&shared, placement, id);
                    let _lcore = register(eal);
                    let mut worker = Worker::new(id, shared, reader, pool, queues);
                    worker.floor.gear = gear;
                    worker.run(&stopped);
                })?;
            }
            stay_off(&placement.control);
            // Packets flow from here on. What only one process can have comes now.
            if let Some(predecessor) = predecessor {
                hushed.push(Hushed::adopt(settings(predecessor.released()?)));
            }
            let taps = make_taps(&shared)?;
            let socket = {
                let _inside = runtime.enter();
                Socket::bind(&shared.config.socket, &shared.config.groups)?
            };
            // On the core of this thread.
            let control = |name: &str, body: Box<dyn FnOnce() + Send>| {
                named(name).spawn_scoped(scope, body).map(|_| ())
            };
            let herald = Arc::new(Herald::new(shared.clone()));
            control("publisher", {
                let control = placement.control.clone();
                Box::new(move || {
                    go_first(&control);
                    desk.run();
                })
            })?;
            control("exception", {
                let shared = shared.clone();
                Box::new(move || exception::run(&shared, &taps))
            })?;
            control("links", {
                let (shared, handles) = (shared.clone(), handles.clone());
                Box::new(move || link::follow(&shared, &handles))
            })?;
            control("herald", {
                let herald = herald.clone();
                Box::new(move || herald.run())
            })?;
            if let Some(rig_control) = rig_control {
                let (shared, publishing) = (shared.clone(), publishing.clone());
                control("rig", Box::new(move || rig_control(shared, publishing)))?;
            }
            let (offer, mut orders) = Offer::new(shared.clone(), publishing.clone());
            let traffic = Arc::new(Collector::new(shared.clone(), boot_nonce()));
            let agent = Arc::new(Agent::new(
                shared.clone(),
                handles.clone(),
                publishing.clone(),
                herald,
                offer,
                traffic.clone(),
            ));
            Ok(runtime.block_on(async {
                notify(&[NotifyState::Ready]);
                tracing::info!(node = shared.config.node.0, name = shared.config.name, ports = shared.ports.len(), socket = %shared.config.socket.display(), "ready");
                tokio::select! {
                    served = socket.serve(agent, std::future::pending()) => End::Stop(served.map_err(Into::into)),
                    () = stop => End::Stop(Ok(())),
                    () = traffic.run() => End::Stop(Ok(())),
                    Some(order) = orders.recv() => End::HandOver(order),
                }
            }))
        })();
        match &end {
            Ok(End::HandOver(order)) => {
                tracing::info!("another process takes over");
                shared.hand_over();
                // A worker that hangs keeps nobody: the other process goes on, with what it hears.
                for _ in &shared.workers {
                    let _ = all_stopped.recv_timeout(Duration::from_secs(1));
                }
                let stopped = handover::stopped(&shared, &publishing.view());
                let _ = order.replies.blocking_send(Ok(stopped)); // it may be gone: too late
            }
            _ => {
                notify(&[NotifyState::Stopping]);
                tracing::info!("stopping");
                shared.stop();
            }
        }
        publishing.wake();
        end
    });
    // All threads are gone, so with these the ports close.
    handles.close();
    let result = match result {
        Ok(End::Stop(result)) => result,
        Ok(End::HandOver(order)) => {
            released(&runtime, &order, hushed);
            Ok(())
        }
        Err(error) => Err(error),
    };
    // Calls in progress (watches, captures) are cut; their clients see the connection go.
    runtime.shutdown_background();
    result
}

/// Tells the other process that it may open what only one can have.
fn released(runtime: &Runtime, order: &Order, hushed: &mut Vec<Hushed>) {
    let settings = hushed.drain(..).flat_map(Hushed::give_away);
    let settings = settings
        .map(|(path, value)| v1::HandedSetting {
            path: path.display().to_string(),
            value,
        })
        .collect();
    let reply = v1::HandoverReply {
        stage: "released".into(),
        settings,
        ..Default::default()
    };
    runtime.block_on(async {
        let _ = order.replies.send(Ok(reply)).await; // it may be gone
        // It hangs up when it has it.
        let _ = tokio::time::timeout(Duration::from_secs(1), order.replies.closed()).await;
    });
}

fn make_taps(shared: &Shared) -> anyhow::Result<Vec<Tap>> {
    let ports = shared.ports.iter().filter(|port| port.has_tap);
    ports
        .map(|port| {
            Tap::create(&port.config, port.number, port.mac)
                .with_context(|| section(&shared.config, &port.config))
        })
        .collect()
}

/// The calling thread as an lcore, for as long as what is returned lives.
fn register(eal: &Eal) -> Option<LcoreGuard> {
    match eal.register_thread() {
        Ok(guard) => Some(guard),
        Err(error) => {
            tracing::warn!(%error, "the worker runs without an lcore id: its mempool cache is not used");
            None
        }
    }
}

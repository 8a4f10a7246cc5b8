//! What the commands that load a network share: signals as a descriptor, a registered socket, a run.

use std::net::UdpSocket;
use std::time::Duration;

use dmsc_pod::background::Background;
use dmsc_pod::clock::monotonic_ns;
use dmsc_pod::openloop::{Engine, Flows, Report, Schedule, Sink, Template};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::Global;

/// A registered pod whose data path is a plain loop.
pub struct Load {
    pub background: Background,
    pub socket: UdpSocket,
    pub stop: SignalFd,
}

/// What a run is.
pub struct Run {
    pub rate: u32,
    pub total: u64,
    pub flows: Flows,
    pub timeout: Duration,
    pub start_at: Option<u64>,
}

impl Load {
    /// Registers.
    pub fn connect(global: &Global) -> anyhow::Result<Self> {
        let stop = stop_signals()?;
        let (background, socket) = Background::connect(global.config()?)?;
        // Wake-ups of this thread are measured: a sleep may end 50 us late otherwise.
        nix::sys::prctl::set_timerslack(1)?;
        Ok(Self {
            background,
            socket,
            stop,
        })
    }

    /// Calls the names of `templates` in turn.
    pub fn run(
        &self,
        run: &Run,
        templates: Vec<Template>,
        sink: &mut dyn Sink,
    ) -> anyhow::Result<Report> {
        let schedule = Schedule {
            start_ns: run.start_at.unwrap_or_else(|| monotonic_ns() + 1_000_000),
            rate: run.rate,
            total: run.total,
        };
        eprintln!("started {}", schedule.start_ns);
        let engine = Engine::new(&self.socket, schedule, run.flows, run.timeout, templates);
        Ok(engine.run(&self.stop, &|| self.background.suspect(), sink)?)
    }
}

/// Blocks SIGINT and SIGTERM, for this thread and all that it starts, and gives them as a descriptor.
pub fn stop_signals() -> anyhow::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    Ok(SignalFd::with_flags(
        &signals,
        SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
    )?)
}

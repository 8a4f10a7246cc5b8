//! Memory shared with the gateway: a port of this process's own DPDK.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context;
use dmsc_dpdk::{
    Burst, Eal, EalConfig, Mbuf, Mempool, MempoolConfig, Port, PortConfig, RxQueue, TxQueue, WaitFd,
};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::args::EndArgs;
use super::link::{Link, Message};
use super::site::MTU;
use super::wrap::{Came, Wrap, sort};

/// Memory of DPDK, MiB: the pool and little else.
const MEMORY_MB: u32 = 16;
/// Buffers: both rings full, and what is under way.
const BUFFERS: u32 = 1_023;
/// Looks at an empty ring before sleeping, as the router's workers have.
const EMPTY_ROUNDS: u32 = 4;
/// First and longest step of sleep where nothing wakes, as the router's workers have them.
const RAMP_START: Duration = Duration::from_micros(50);
const RAMP_END: Duration = Duration::from_millis(1);
/// Attempts to hand over frames to a full ring.
const ATTEMPTS: usize = 1_000;

/// The port.
pub struct SharedLink {
    rx: RxQueue,
    tx: TxQueue,
    pool: Mempool,
    wait: Option<WaitFd>,
    pending: Burst,
    wrap: Wrap,
    empty: u32,
    armed: bool,
    ramp: Duration,
    _eal: Eal,
}

impl SharedLink {
    /// Starts DPDK and opens the port, at whose other end the gateway listens.
    ///
    /// # Errors
    /// What could not be had.
    pub fn open(args: &EndArgs) -> anyhow::Result<SharedLink> {
        let device = args.side.device(args.by, &args.dir);
        let device = device.context("a socket is no port")?;
        let eal = Eal::init(&EalConfig {
            program: "dmsc-perf".into(),
            memory_mb: MEMORY_MB,
            ..EalConfig::default()
        })?;
        let config = MempoolConfig {
            count: BUFFERS,
            cache: 256,
            data_room: device.min_data_room(MTU),
        };
        let pool = Mempool::new(&eal, "end", config)?;
        let port = Port::create(&eal, "end", &device).and_then(|port| {
            port.start(PortConfig {
                rx_descriptors: 256,
                tx_descriptors: 256,
                ..PortConfig::new(&pool)
            })
        })?;
        let wait = port.handle.poll_fds(0).pop();
        let (rx, tx) = port
            .queues
            .into_iter()
            .next()
            .context("a port has a queue")?;
        let mut link = SharedLink {
            rx,
            tx,
            pool,
            wait,
            pending: Burst::new(),
            wrap: Wrap::new(args.side),
            empty: 0,
            armed: false,
            ramp: RAMP_START,
            _eal: eal,
        };
        link.say_where(1);
        Ok(link)
    }

    fn say_where(&mut self, operation: u16) {
        let place = self.wrap.place(operation);
        if let Some(mut mbuf) = self.pool.alloc()
            && mbuf.copy_from(&place)
        {
            self.put(mbuf);
            self.flush();
        }
    }

    fn put(&mut self, mbuf: Mbuf) {
        if let Err(mbuf) = self.pending.push(mbuf) {
            self.flush();
            let _ = self.pending.push(mbuf); // there is room now
        }
    }
}

impl Link for SharedLink {
    fn push(&mut self, message: &Message, id: u64) {
        let frame = self.wrap.around(message, id);
        if let Some(mut mbuf) = self.pool.alloc()
            && mbuf.copy_from(frame)
        {
            self.put(mbuf);
        }
    }

    fn flush(&mut self) {
        for _ in 0..ATTEMPTS {
            if self.pending.is_empty() {
                return;
            }
            if self.tx.burst(&mut self.pending) == 0 {
                std::thread::yield_now();
            }
        }
        self.pending.clear(); // nobody takes them: lost, as on any link
    }

    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> usize {
        let mut burst = Burst::new();
        let received = self.rx.burst(&mut burst);
        if received == 0 {
            return 0;
        }
        (self.empty, self.ramp) = (0, RAMP_START);
        let mut asked = false;
        for mbuf in &mut burst {
            if !mbuf.linearise() {
                continue;
            }
            match sort(mbuf.data()) {
                Came::Packet(packet) => each(packet),
                Came::Asks => asked = true,
                Came::Other => {}
            }
        }
        drop(burst);
        if asked {
            self.say_where(2);
        }
        received
    }

    fn wait(&mut self, limit: Duration) {
        self.empty += 1;
        if self.empty < EMPTY_ROUNDS {
            return;
        }
        let Some(wait) = &self.wait else {
            std::thread::sleep(limit.min(self.ramp));
            self.ramp = (self.ramp * 2).min(RAMP_END);
            return;
        };
        if !self.armed {
            // One more look behind the arming, or a packet in between would wait for the next one.
            wait.arm();
            self.armed = true;
            return;
        }
        let mut fds = [PollFd::new(wait.as_fd(), PollFlags::POLLIN)];
        let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(limit)), None); // the next round looks
        wait.wake();
        (self.armed, self.empty) = (false, 0);
    }
}

//! The other end of one port: sends the frames of a factory, says hello, and looks at what comes back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Context;
use dmsc_dpdk::{Burst, Device, Eal, MemifRole, Mempool, Port, PortConfig, RxQueue, TxQueue};
use dmsc_wire::{Domain, Kind as Type, PacketBuilder, RequestId, RouterName};

use super::capture::Recent;
use super::hello::Neighbours;
use super::kind::Kind;
use super::outer::{self, Frame};
use super::site::{MTU, NODE, PEERS, POD_PORT, Role, Site};
use super::valid::{self, Factory, World};
use crate::speaker;

/// Request id of the echoes at the end.
const ECHO: u64 = 0xec40_0000_0000_0000;
/// Between two hellos, and between two echoes.
const HELLO_EVERY: Duration = Duration::from_millis(50);
const ECHO_EVERY: Duration = Duration::from_millis(100);
/// Frames made and sent together.
const FRAMES: usize = 32;

/// What one port's generator did, for other threads to read.
#[derive(Debug, Default)]
pub struct Tally {
    /// Frames that the driver took; hellos and echoes are not among them.
    pub sent: AtomicU64,
    /// Frames that came back.
    pub received: AtomicU64,
    /// The echo was answered.
    pub answered: AtomicBool,
}

/// What a peer does besides answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Says hello.
    Quiet,
    /// Sends frames, too, as many as are due since the start.
    Fire {
        /// Frames due by now.
        due: u64,
    },
    /// Sends echo-requests, too, until one is answered.
    Echo,
}

/// The other end of a port.
pub struct Peer {
    site: Site,
    rx: RxQueue,
    tx: TxQueue,
    pool: Mempool,
    factory: Factory,
    neighbours: Neighbours,
    recent: Recent,
    pending: Burst,
    frame: Frame,
    tally: Arc<Tally>,
    next_hello: Instant,
    next_echo: Instant,
}

/// The device that reaches a port of the dataplane.
pub fn device(site: &Site, dir: &Path) -> Device {
    let socket = site.socket(dir).display().to_string();
    let mac = Some(site.peer_mac());
    match site.kind {
        Kind::Memif => Device::Memif {
            role: MemifRole::Client,
            socket,
            id: 0,
            ring_size_log2: 10,
            buffer_size: 2048,
            mac,
            zero_copy: false,
        },
        Kind::VirtioUser => Device::Vhost {
            path: socket,
            queues: 1,
            client: false,
        },
        Kind::Vhost => Device::VirtioUser {
            path: socket,
            queues: 1,
            queue_size: 0,
            server: false,
            mac,
        },
        _ => Device::AfPacket {
            iface: site.far_interface(),
            queues: 1,
            mtu: MTU,
            frames: 0,
            qdisc_bypass: true,
        },
    }
}

impl Peer {
    /// Opens the other end of `site`.
    pub fn open(
        eal: &Eal,
        pool: &Mempool,
        site: &Site,
        dir: &Path,
        world: Arc<World>,
        seed: u64,
    ) -> anyhow::Result<Peer> {
        let port = Port::create(eal, &format!("far-{}", site.number), &device(site, dir))
            .and_then(|port| port.start(PortConfig::new(pool)))
            .with_context(|| format!("the other end of port {} cannot be had", site.name))?;
        let (rx, tx) = port
            .queues
            .into_iter()
            .next()
            .context("a port has a queue")?;
        let now = Instant::now();
        Ok(Peer {
            factory: Factory::new(world, site.clone(), seed),
            site: site.clone(),
            rx,
            tx,
            pool: pool.clone(),
            neighbours: Neighbours::default(),
            recent: Recent::default(),
            pending: Burst::new(),
            frame: Frame::default(),
            tally: Arc::default(),
            next_hello: now,
            next_echo: now,
        })
    }

    /// Its port.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// What it did so far.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Writes the last frames to a capture file.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        self.recent.save(path)
    }

    /// One turn: receives, says what is due, sends at most one burst. True if there was something to do.
    pub fn turn(&mut self, now: Instant, mode: Mode) -> bool {
        let received = self.receive();
        if now >= self.next_hello {
            self.next_hello = now + HELLO_EVERY;
            self.introduce();
        }
        match mode {
            Mode::Fire { due } => self.fire(due) || received,
            Mode::Echo if now >= self.next_echo && !self.tally.answered.load(Relaxed) => {
                self.next_echo = now + ECHO_EVERY;
                let mut frame = std::mem::take(&mut self.frame);
                echo(&self.site, &mut frame);
                self.say(&frame.bytes);
                self.frame = frame;
                received
            }
            _ => received,
        }
    }

    fn receive(&mut self) -> bool {
        let mut burst = Burst::new();
        let count = self.rx.burst(&mut burst);
        for mbuf in burst.iter().filter(|mbuf| mbuf.is_contiguous()) {
            if self.site.role == Role::Router {
                self.neighbours.hear(&self.site, mbuf.data());
            }
            if is_answer(&self.site, mbuf.data()) {
                self.tally.answered.store(true, Relaxed);
            }
        }
        self.tally.received.fetch_add(count as u64, Relaxed);
        count > 0
    }

    /// Says hello, and where the peers are.
    fn introduce(&mut self) {
        let mut frame = std::mem::take(&mut self.frame);
        for peer in 0..PEERS {
            for text in introduction(peer) {
                text(&self.site, &mut frame, peer);
                self.say(&frame.bytes);
            }
            if self.site.role == Role::Router {
                self.neighbours.say(&self.site, peer, &mut frame);
                self.say(&frame.bytes);
            }
        }
        self.frame = frame;
    }

    /// Sends one frame beside the others; what the driver does not take now is said again later.
    fn say(&mut self, bytes: &[u8]) {
        speaker::send(&mut self.tx, &self.pool, bytes);
    }

    fn fire(&mut self, due: u64) -> bool {
        let sent = self.tally.sent.load(Relaxed);
        if self.pending.is_empty() {
            // Whole bursts only: frames come in clusters, as they do from NICs.
            if due < sent + FRAMES as u64 {
                return false;
            }
            for _ in 0..FRAMES {
                let Some(mut mbuf) = self.pool.alloc() else {
                    break;
                };
                self.factory.next(&mut self.frame);
                self.recent.push(&self.frame.bytes);
                if mbuf.copy_from(&self.frame.bytes) && self.pending.push(mbuf).is_err() {
                    break;
                }
            }
        }
        let taken = self.tx.burst(&mut self.pending);
        self.tally.sent.store(sent + taken as u64, Relaxed);
        taken > 0
    }
}

type Text = fn(&Site, &mut Frame, usize);

/// How `peer` tells its address.
pub fn introduction(peer: usize) -> &'static [Text] {
    const ARP: Text = |site, frame, peer| {
        frame.arp(
            site.mac(),
            site.vlan(peer),
            1,
            (site.peer_mac(), site.peer4(peer)),
            site.own4(),
        );
    };
    const DISCOVERY: Text = valid::resolve6;
    match super::site::CARRIERS[peer] {
        super::site::Carrier::Ethernet => &[],
        super::site::Carrier::Udp6 => &[DISCOVERY],
        _ => &[ARP],
    }
}

/// An echo-request to the router's own name.
pub fn echo(site: &Site, frame: &mut Frame) {
    let (router, own) = (RouterName::new(NODE), RouterName::new(site.peer_node(0)));
    let identity = site.identity(0);
    let mut builder = PacketBuilder::new(Type::EchoRequest)
        .destination(router.as_name())
        .domain(Domain(1))
        .request_id(RequestId(ECHO | u64::from(site.number)))
        .payload(b"still there?");
    builder = match site.role {
        Role::Pod => builder.source(identity.as_name()),
        Role::Router => builder
            .source(own.as_name())
            .source_gateway(site.peer_node(0))
            .destination_gateway(NODE),
    };
    let packet = builder.to_vec().unwrap_or_default();
    valid::wrap(site, frame, 0, &packet, (0, POD_PORT));
}

/// Whether a frame answers the echo of `site`.
pub fn is_answer(site: &Site, frame: &[u8]) -> bool {
    outer::find_dmsc(frame)
        .and_then(|(packet, ..)| dmsc_wire::parse(packet).ok())
        .is_some_and(|header| {
            header.kind == Type::EchoReply
                && header.request_id == RequestId(ECHO | u64::from(site.number))
        })
}

//! Frames that go round: puts the first ones in, stamps the next drawn header into every one that comes by, takes them out again.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use dmsc_dataplane::mac::MacAddress;
use dmsc_dataplane::outer::Outer;
use dmsc_dataplane::rig::Gear;
use dmsc_dataplane::stage::cross;
use dmsc_dpdk::{Burst, Mbuf, Mempool, prefetch};

use super::draw::{HEAD, Head};
use crate::transit::Size;

/// Headers that are asked for ahead: those of the next burst. They come from memory, which the frames of a NIC do not, and whoever reads
/// a stamped frame would wait for them.
const AHEAD: usize = 32;

/// How frames get onto a port's wire.
#[derive(Debug, Clone)]
pub struct Wire {
    /// Outer header of frames that leave by the port.
    pub outer: Outer,
    /// Its length.
    pub offset: usize,
    /// Who gets them.
    pub destination: MacAddress,
}

/// What the workers' gears and the control thread share.
#[derive(Debug)]
pub struct Belt {
    /// Lengths of the frames.
    pub size: Size,
    /// The same, in the order in which frames are put in.
    lengths: Vec<usize>,
    /// Drawn headers by the port that frames come in by.
    heads: Mutex<[Arc<Vec<Head>>; 2]>,
    /// Changes with `heads`.
    epoch: AtomicU32,
    /// By the port that frames leave by.
    wires: Mutex<Vec<Wire>>,
    /// Frames that still shall leave by each port.
    pub wanted: [AtomicU32; 2],
    /// Frames that come in are taken out.
    pub draining: AtomicBool,
    /// Taken out so far.
    pub drained: AtomicU64,
    /// Looks so far, one a port and round, in which a worker found nothing more to take out.
    pub empty: AtomicU64,
    /// UDP port of DMSC packets.
    udp_port: u16,
    /// Ports that receive without end and whose frames are whatever the buffers held: the outer header is written each time, too.
    pub endless: bool,
}

impl Belt {
    /// Empty.
    pub fn new(size: Size, endless: bool, udp_port: u16) -> Belt {
        Belt {
            size,
            lengths: size.cycle(),
            heads: Mutex::default(),
            epoch: AtomicU32::new(0),
            wires: Mutex::default(),
            wanted: Default::default(),
            draining: AtomicBool::new(false),
            drained: AtomicU64::new(0),
            empty: AtomicU64::new(0),
            udp_port,
            endless,
        }
    }

    /// Whether a frame is one of those that go round, by its length.
    #[inline]
    fn has(&self, length: usize) -> bool {
        self.lengths.contains(&length)
    }

    /// Sets what is stamped.
    pub fn load(&self, heads: [Arc<Vec<Head>>; 2], wires: Vec<Wire>) {
        *self.wires.lock().unwrap_or_else(PoisonError::into_inner) = wires;
        *self.heads.lock().unwrap_or_else(PoisonError::into_inner) = heads;
        self.epoch.fetch_add(1, Relaxed);
    }
}

/// Where a worker waits until a fixed number of frames shall be counted, and stays when they have passed.
#[derive(Debug, Default)]
pub struct Turnstile {
    open: Mutex<bool>,
    opened: Condvar,
    /// All have passed.
    pub full: AtomicBool,
}

impl Turnstile {
    /// Lets the frames come.
    pub fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    fn wait(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let _open = self.opened.wait_while(open, |open| !*open);
    }
}

/// What is left to pass.
struct Pass {
    turnstile: Arc<Turnstile>,
    limit: u64,
    passed: u64,
}

impl Pass {
    fn pass(&mut self, frames: usize) {
        if self.passed == 0 {
            self.turnstile.wait();
        }
        self.passed += frames as u64;
        if self.passed > self.limit {
            self.turnstile.full.store(true, Relaxed);
            loop {
                std::thread::park(); // for good: the process ends now
            }
        }
    }
}

/// One worker's part.
pub struct Stamp {
    belt: Arc<Belt>,
    epoch: u32,
    heads: [Arc<Vec<Head>>; 2],
    /// Next of `heads`.
    next: [usize; 2],
    /// Where this worker starts: a share of all.
    share: (usize, usize),
    wires: Vec<Wire>,
    /// Frames put in so far.
    fed: usize,
    pass: Option<Pass>,
}

impl Stamp {
    /// Of worker `number` of `workers`.
    pub fn new(belt: Arc<Belt>, number: usize, workers: usize) -> Stamp {
        Stamp {
            belt,
            epoch: 0,
            heads: Default::default(),
            next: [0; 2],
            share: (number, workers),
            wires: Vec::new(),
            fed: 0,
            pass: None,
        }
    }

    /// Lets `limit` frames pass once `turnstile` opens, and then no more.
    pub fn count(mut self, turnstile: Arc<Turnstile>, limit: u64) -> Stamp {
        self.pass = Some(Pass {
            turnstile,
            limit,
            passed: 0,
        });
        self
    }

    /// Takes up what was loaded since.
    #[inline]
    fn refresh(&mut self) {
        let epoch = self.belt.epoch.load(Relaxed);
        if epoch != self.epoch {
            self.epoch = epoch;
            let heads = self.belt.heads.lock();
            self.heads = heads.unwrap_or_else(PoisonError::into_inner).clone();
            let wires = self.belt.wires.lock();
            self.wires = wires.unwrap_or_else(PoisonError::into_inner).clone();
            let (number, workers) = self.share;
            for (next, heads) in self.next.iter_mut().zip(&self.heads) {
                *next = heads.len() * number / workers;
            }
        }
    }

    /// Takes out what is not between neighbours, whoever made it: errors about calls would go round, too.
    fn drain(&self, burst: &mut Burst) {
        let mut kept = Burst::new();
        for mbuf in burst.drain() {
            if cross::is_kept(&mbuf, self.belt.udp_port) {
                let _ = kept.push(mbuf);
            } else {
                self.belt.drained.fetch_add(1, Relaxed);
            }
        }
        burst.append(&mut kept);
    }
}

impl Gear for Stamp {
    fn received(&mut self, port: usize, burst: &mut Burst) {
        if let Some(pass) = &mut self.pass {
            pass.pass(burst.len());
        }
        self.refresh();
        if self.belt.draining.load(Relaxed) && !self.belt.endless {
            return self.drain(burst);
        }
        let Some(wire) = self.wires.get(port) else {
            return;
        };
        let offset = wire.offset;
        let heads = self.heads[port].as_slice();
        let mut next = self.next[port];
        for mbuf in burst.iter_mut() {
            if !self.belt.has(mbuf.len()) {
                continue;
            }
            let Some(head) = heads.get(next) else {
                return;
            };
            next += 1;
            if next == heads.len() {
                next = 0;
            }
            if let Some(later) = heads.get(next + AHEAD) {
                prefetch(&later.0[0]);
                prefetch(&later.0[HEAD / 2]);
            }
            stamp(mbuf, offset, head);
            if self.belt.size == Size::Imix {
                set_length(mbuf, offset);
            }
            if self.belt.endless {
                // As it leaves by the other port, so it comes in by this one.
                let _ = self.wires[1 - port].put(mbuf);
            }
        }
        self.next[port] = next;
    }

    fn feed(&mut self, port: usize, pool: &Mempool, burst: &mut Burst) {
        self.refresh();
        if self.belt.draining.load(Relaxed) {
            self.belt.empty.fetch_add(1, Relaxed);
        }
        let wanted = self.belt.wanted[port]
            .load(Relaxed)
            .min(burst.room() as u32);
        let Some(wire) = self.wires.get(port).filter(|_| wanted > 0) else {
            return;
        };
        for _ in 0..wanted {
            let Some(mut mbuf) = pool.alloc() else {
                return;
            };
            let length = self.belt.lengths[self.fed % self.belt.lengths.len()];
            self.fed += 1;
            // It comes in by the other port.
            let made = mbuf.append(length).is_some();
            let head = self.heads[1 - port].get(self.next[1 - port]);
            let Some(head) = head.filter(|_| made) else {
                return;
            };
            self.next[1 - port] = (self.next[1 - port] + 1) % self.heads[1 - port].len();
            mbuf.data_mut().fill(0);
            stamp(&mut mbuf, wire.offset, head);
            set_length(&mut mbuf, wire.offset);
            if !wire.put(&mut mbuf) {
                return;
            }
            let _ = burst.push(mbuf);
            self.belt.wanted[port].fetch_sub(1, Relaxed);
        }
    }
}

impl Wire {
    /// Puts the outer header in front of the DMSC packet.
    fn put(&self, mbuf: &mut Mbuf) -> bool {
        let length = mbuf.len() - self.offset;
        self.outer
            .replace(mbuf, self.offset, length, self.destination, 1, 0, 0)
    }
}

/// Writes a drawn header behind the outer one.
#[inline(always)]
fn stamp(mbuf: &mut Mbuf, offset: usize, head: &Head) {
    let Some(packet) = mbuf.data_mut().get_mut(offset..) else {
        return;
    };
    match packet.first_chunk_mut::<HEAD>() {
        Some(front) => *front = head.0,
        None => {
            let length = packet.len();
            packet.copy_from_slice(&head.0[..length]);
        }
    }
}

/// Has the stamped header say how long the packet is: it was drawn for the shortest one.
#[inline]
fn set_length(mbuf: &mut Mbuf, offset: usize) {
    let Some(packet) = mbuf.data_mut().get_mut(offset..) else {
        return;
    };
    let length = packet.len() as u16;
    if let Some([_, _, _, _, a, b, c, d]) = packet.first_chunk_mut::<8>() {
        let payload = length.wrapping_sub(u16::from_be_bytes([*a, *b]));
        [*c, *d] = payload.to_be_bytes();
    }
}

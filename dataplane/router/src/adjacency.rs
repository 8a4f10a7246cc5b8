//! Neighbour routers: an adjacency is a port, a header template, an MTU and one liveness bit (design §4.4).

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering::Relaxed};

use dmsc_fib::AdjacencyId;
use dmsc_wire::NodeId;

use crate::mac::MacAddress;
use crate::outer::Outer;
use crate::quality::Quality;

/// The link-layer address behind an IP address on a port. Written by the worker that hears it, read by all.
#[derive(Debug)]
pub struct Neighbour {
    /// Port number, from 0.
    pub port: usize,
    /// VLAN that it is asked on.
    pub vlan: u16,
    /// The address that is resolved; unspecified on bare Ethernet, where the first hello tells.
    pub address: IpAddr,
    mac: AtomicU64,
    /// TSC of the last request that was sent.
    pub asked: AtomicU64,
    /// TSC of the last answer.
    pub heard: AtomicU64,
}

impl Neighbour {
    /// Not resolved yet.
    pub fn new(port: usize, vlan: u16, address: IpAddr) -> Neighbour {
        Neighbour {
            port,
            vlan,
            address,
            mac: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            heard: AtomicU64::new(0),
        }
    }

    /// The MAC address, when known.
    #[inline]
    pub fn mac(&self) -> Option<MacAddress> {
        match self.mac.load(Relaxed) {
            0 => None,
            bits => Some(MacAddress::from_bits(bits)),
        }
    }

    /// Remembers what was heard at `now`; multicast and zero are not believed.
    pub fn learn(&self, mac: MacAddress, now: u64) {
        if mac.is_unicast() {
            self.mac.store(mac.to_bits(), Relaxed);
            self.heard.store(now.max(1), Relaxed);
        }
    }
}

/// State of an adjacency (hello three-way, as IS-IS and BFD have it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Nothing heard within the hold time.
    Down = 0,
    /// Heard, but the peer has not heard this router yet.
    Init = 1,
    /// Two-way.
    Up = 2,
}

impl State {
    /// `"down"`, `"init"` or `"up"`.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Down => "down",
            State::Init => "init",
            State::Up => "up",
        }
    }

    /// From its word; unknown words are down.
    pub fn from_word(word: &str) -> State {
        match word {
            "up" => State::Up,
            "init" => State::Init,
            _ => State::Down,
        }
    }

    /// From its number; unknown numbers are down.
    pub fn from_number(number: u8) -> State {
        match number {
            2 => State::Up,
            1 => State::Init,
            _ => State::Down,
        }
    }
}

/// What changes while an adjacency lives. Hellos of one peer have one 5-tuple, so one queue and one worker writes it;
/// kept over transactions that leave the adjacency as it is.
#[derive(Debug, Default)]
pub struct Liveness {
    /// [`State`] as a number: one word, so that what is shown and what forwarding reads can not differ.
    pub state: AtomicU8,
    /// Changes of the state so far.
    pub changes: AtomicU64,
    /// TSC of the last accepted hello.
    pub heard: AtomicU64,
    /// TSC cycles without a hello after which the peer is down.
    pub hold: AtomicU64,
    /// TSC at which the next hello is due.
    pub next_hello: AtomicU64,
    /// Of the last sent hello.
    pub sequence: AtomicU64,
    /// What the peer said last: boot nonce.
    pub peer_boot: AtomicU64,
    /// Sequence.
    pub peer_sequence: AtomicU64,
    /// Its port.
    pub peer_port: AtomicU16,
    /// Its state, as a number.
    pub peer_state: AtomicU8,
    /// Learned from ICMP; 0 = nothing learned.
    pub path_mtu: AtomicU16,
    /// TSC until which that is believed (RFC 1191: ten minutes).
    pub path_mtu_until: AtomicU64,
    /// MTU that the peer announced; 0 = not yet.
    pub peer_mtu: AtomicU16,
    /// What the link is like.
    pub quality: Quality,
}

impl Liveness {
    /// The present state.
    pub fn state(&self) -> State {
        State::from_number(self.state.load(Relaxed))
    }
}

/// Authenticates hellos (design §3: mandatory on multi-hop adjacencies).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelloKey {
    /// Says which key, so that keys can be changed without a gap.
    pub id: u16,
    /// HMAC-SHA256 key, 16 to 64 bytes.
    pub secret: Vec<u8>,
}

/// How an adjacency reaches its neighbour; compared as a whole to see whether a transaction changed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjacencyConfig {
    /// Chosen by the programmer.
    pub id: AdjacencyId,
    /// Port number, from 0.
    pub port: usize,
    /// The neighbour.
    pub peer: NodeId,
    /// UDP addresses (local, remote); `None` is bare Ethernet.
    pub udp: Option<(IpAddr, IpAddr)>,
    /// On-link address towards the remote one.
    pub next_hop: Option<IpAddr>,
    /// VLAN tag, 0 = the port's.
    pub vlan: u16,
    /// Least TTL of received packets.
    pub minimum_ttl: u8,
    /// Of the outer IP packet, bytes.
    pub mtu: u16,
    /// Hello interval, ms.
    pub hello_interval_ms: u16,
    /// Hellos that may be missed.
    pub hello_multiplier: u8,
    /// Key of the hellos.
    pub key: Option<HelloKey>,
}

/// A neighbour router in the tables.
#[derive(Debug)]
pub struct Adjacency {
    /// What was programmed.
    pub config: AdjacencyConfig,
    /// Its header.
    pub outer: Outer,
    /// Its link-layer address.
    pub neighbour: Arc<Neighbour>,
    /// Its state.
    pub live: Arc<Liveness>,
}

impl Adjacency {
    /// Whether packets may be sent to it now.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.live.state.load(Relaxed) == State::Up as u8
    }

    /// Bytes of the outer IP packet that pass now: the least of what was configured, announced by the peer and learned on the way.
    #[inline]
    pub fn path_mtu(&self, now: u64) -> u16 {
        let mut mtu = self.config.mtu;
        let announced = self.live.peer_mtu.load(Relaxed);
        if announced != 0 {
            mtu = mtu.min(announced);
        }
        let learned = self.live.path_mtu.load(Relaxed);
        if learned != 0 && now < self.live.path_mtu_until.load(Relaxed) {
            mtu = mtu.min(learned);
        }
        mtu
    }

    /// Largest DMSC header + payload that passes now.
    #[inline]
    pub fn largest_packet(&self, now: u64) -> usize {
        usize::from(self.path_mtu(now)).saturating_sub(self.outer.overhead())
    }
}

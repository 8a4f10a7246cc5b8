//! Keeps the adjacencies of a router port up: says hello as a neighbour would.

use dmsc_wire::{Heard, Hello, HelloState, Kind as Type, PortId};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::outer::{self, Frame};
use super::site::{CARRIERS, Carrier, KEY, MTU, PEERS, Site, VLAN};
use super::valid;

/// Boot nonce of all neighbours.
pub const BOOT: u64 = 0x7071_7273_7475_7677;

/// One neighbour's side of an adjacency.
#[derive(Debug, Clone, Copy, Default)]
struct Conversation {
    sequence: u64,
    heard: Option<Heard>,
}

/// The neighbours of one router port.
#[derive(Debug, Default)]
pub struct Neighbours([Conversation; PEERS]);

impl Neighbours {
    /// Notes a frame of the dataplane, if it is a hello.
    pub fn hear(&mut self, site: &Site, frame: &[u8]) {
        let Some((packet, vlan, to)) = outer::find_dmsc(frame) else {
            return;
        };
        let carrier = match to {
            None => Carrier::Ethernet,
            Some(to) if to.is_ipv6() => Carrier::Udp6,
            Some(to) if vlan == VLAN || to == site.peer4(3) => Carrier::Second,
            Some(_) => Carrier::Udp4,
        };
        let Some(hello) = dmsc_wire::parse(packet)
            .ok()
            .filter(|header| header.kind == Type::Hello)
            .and_then(|header| Hello::decode(header.payload(packet)).ok())
        else {
            return;
        };
        let peer = CARRIERS.iter().position(|c| *c == carrier).unwrap_or(0);
        self.0[peer].heard = Some(Heard {
            node: hello.node,
            port: hello.port,
            boot_nonce: hello.boot_nonce,
            sequence: hello.sequence,
            state: hello.state,
        });
    }

    /// Writes the next hello of neighbour `peer`.
    pub fn say(&mut self, site: &Site, peer: usize, frame: &mut Frame) {
        let own = &mut self.0[peer];
        own.sequence += 1;
        let mut hello = Hello {
            node: site.peer_node(peer),
            port: PortId(1),
            boot_nonce: BOOT,
            sequence: own.sequence,
            state: if own.heard.is_some() {
                HelloState::Up
            } else {
                HelloState::Down
            },
            heard: own.heard,
            version_min: 1,
            version_max: 1,
            interval_ms: 50,
            multiplier: 3,
            mtu: MTU,
            key_id: 0,
            mac: [0; 16],
        };
        if CARRIERS[peer] == Carrier::Udp6 {
            hello = hello.sign(KEY.0, sign);
        }
        valid::wrap(site, frame, peer, &hello.packet(), (0, 0));
    }
}

fn sign(bytes: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    if let Ok(mut hmac) = Hmac::<Sha256>::new_from_slice(&KEY.1) {
        hmac.update(bytes);
        out.copy_from_slice(&hmac.finalize().into_bytes()[..16]);
    }
    out
}

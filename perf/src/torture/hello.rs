//! Keeps the adjacencies of a router port up: says hello as a neighbour would.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::outer::{self, Frame};
use super::site::{CARRIERS, Carrier, KEY, MTU, PEERS, Site, VLAN};
use super::valid;
use crate::speaker::{Manner, Speaker, hello_in};

/// Boot nonce of all neighbours.
pub const BOOT: u64 = 0x7071_7273_7475_7677;

/// The neighbours of one router port.
#[derive(Debug, Default)]
pub struct Neighbours([Speaker; PEERS]);

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
        if let Some(hello) = hello_in(packet) {
            let peer = CARRIERS.iter().position(|c| *c == carrier).unwrap_or(0);
            self.0[peer].note(&hello);
        }
    }

    /// Writes the next hello of neighbour `peer`.
    pub fn say(&mut self, site: &Site, peer: usize, frame: &mut Frame) {
        let mut hello = self.0[peer].hello(Manner {
            node: site.peer_node(peer),
            boot_nonce: BOOT,
            interval_ms: 50,
            multiplier: 3,
            mtu: MTU,
        });
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

//! Address resolution: whose address is asked for, learned, and answered.

use std::sync::atomic::Ordering::Relaxed;

use dmsc_dpdk::Mbuf;

use crate::counters::DropReason;
use crate::neighbour::{self, MAX_FRAME, Resolution};
use crate::net::Ethernet;
use crate::packet::{Context, Verdict};
use crate::stage::Env;
use crate::worker::Floor;

/// Between two questions for an address that does not answer.
const ASK_AGAIN_MS: u64 = 250;
/// A known address is asked for again after this time.
const STALE_MS: u64 = 20_000;

impl Floor {
    /// ARP: learns what is wanted, answers for own addresses, and lets the kernel hear answers.
    pub(super) fn resolution(&mut self, env: &Env<'_>, mbuf: &Mbuf, context: &Context) -> Verdict {
        let Some(ethernet) = Ethernet::parse(mbuf.data()) else {
            return Verdict::Drop(DropReason::Truncated);
        };
        match neighbour::parse_arp(&mbuf.data()[ethernet.length..]) {
            None => Verdict::Drop(DropReason::BadIpHeader),
            Some(heard) => self.resolve_address(env, mbuf, context, &ethernet, &heard),
        }
    }

    pub(super) fn resolve_address(
        &mut self,
        env: &Env<'_>,
        mbuf: &Mbuf,
        context: &Context,
        ethernet: &Ethernet,
        heard: &Resolution,
    ) -> Verdict {
        let number = usize::from(context.port);
        if let Some(mac) = heard.sender_mac
            && let Some(wanted) =
                env.chooser
                    .tables
                    .neighbours
                    .get(&(number, ethernet.vlan, heard.sender))
        {
            wanted.learn(mac, env.now);
        }
        let port = self.shared.ports[number].clone();
        if let Some(mac) = heard.sender_mac.filter(|mac| mac.is_unicast())
            && port.config.kind.is_shared_memory()
        {
            port.guest.store(mac.to_bits(), Relaxed);
            if !port.is_up() {
                // It has just come, and a pod may move here before the link monitor would look.
                self.shared.link_bell.ring();
            }
        }
        let mut frame = [0; MAX_FRAME];
        let length = neighbour::answer(&port, ethernet.vlan, heard, &mut frame);
        if length > 0 {
            self.send_own(env, number, &frame[..length]);
            return Verdict::Consumed;
        }
        // Only the port's own VLAN is the kernel's; that of an adjacency is the dataplane's alone.
        if !port.has_tap || ethernet.vlan != port.config.vlan {
            return Verdict::Consumed;
        }
        self.punt(env, mbuf.data(), context)
    }

    pub(super) fn ask_neighbours(&mut self, env: &Env<'_>) {
        for wanted in env.chooser.tables.neighbours.values() {
            if wanted.address.is_unspecified() || self.shared.owner(wanted.port) != self.id {
                continue;
            }
            let since = |time: u64| env.now.saturating_sub(time);
            let stale = wanted.mac().is_none()
                || since(wanted.heard.load(Relaxed)) > env.clock.from_ms(STALE_MS);
            let asked = wanted.asked.load(Relaxed);
            if !stale
                || (asked != 0 && since(asked) < env.clock.from_ms(ASK_AGAIN_MS))
                || !self.shared.ports[wanted.port].is_up()
            {
                continue;
            }
            wanted.asked.store(env.now, Relaxed);
            let port = self.shared.ports[wanted.port].clone();
            let mut frame = [0; MAX_FRAME];
            let length = neighbour::ask(&port, wanted.vlan, wanted.address, &mut frame);
            if length > 0 {
                self.send_own(env, wanted.port, &frame[..length]);
            }
        }
    }
}

//! Hellos of neighbours, and those that are told them.

use std::sync::atomic::Ordering::Relaxed;

use dmsc_dpdk::Mbuf;

use crate::adjacency::{Adjacency, State};
use crate::counters::{DropReason, EventKind};
use crate::hello::Word;
use crate::mac::MacAddress;
use crate::net::Ethernet;
use crate::packet::{Context, Verdict};
use crate::stage::Env;
use crate::worker::Floor;

impl Floor {
    pub(super) fn hello(
        &mut self,
        env: &Env<'_>,
        adjacency: &Adjacency,
        mbuf: &Mbuf,
        context: &Context,
    ) -> Verdict {
        let packet = mbuf
            .data()
            .get(usize::from(context.offset)..)
            .unwrap_or(&[]);
        let Some(header) = context.header else {
            return Verdict::Drop(DropReason::BadHello);
        };
        let port = &self.shared.ports[usize::from(context.port)];
        if !port.is_up() {
            // Either it was under way when the carrier went, or the link monitor has not seen the carrier yet: it shall look.
            self.shared.link_bell.ring();
            return Verdict::Consumed;
        }
        match self
            .shared
            .speaker
            .hear(adjacency, port.id(), header.payload(packet), env.now)
        {
            Err(_) => Verdict::Drop(DropReason::BadHello),
            Ok(accepted) => {
                if adjacency.config.udp.is_none()
                    && let Some(ethernet) = Ethernet::parse(mbuf.data())
                {
                    adjacency.neighbour.learn(ethernet.source, env.now);
                }
                if let Some(change) = accepted.change {
                    self.adjacency_changed(context.port, change);
                }
                if accepted.answer {
                    self.send_hello(env, adjacency, Word::Alive);
                }
                Verdict::Consumed
            }
        }
    }

    pub(super) fn adjacency_changed(&mut self, port: u8, (before, after): (State, State)) {
        let counters = &self.counters.ports[usize::from(port)];
        if after == State::Up {
            counters.event(EventKind::AdjacencyUp);
        } else if before == State::Up {
            counters.event(EventKind::AdjacencyDown);
        }
        self.shared.changed.store(true, Relaxed);
        self.for_herald = true;
    }

    pub(super) fn send_hello(&mut self, env: &Env<'_>, adjacency: &Adjacency, word: Word) {
        let mac = match (adjacency.config.udp, adjacency.neighbour.mac()) {
            (_, Some(mac)) => mac,
            (None, None) => MacAddress::BROADCAST,
            // Not resolved yet: the question is on its way.
            (Some(_), None) => return,
        };
        let port = self.shared.ports[adjacency.config.port].id();
        let hello = self.shared.speaker.next(adjacency, port, env.now, word);
        self.say(env, adjacency, mac, &hello.packet());
    }
}

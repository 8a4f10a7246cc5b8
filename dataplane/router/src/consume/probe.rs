//! Probes of links that are up: asked with hellos, answered to the neighbour.

use dmsc_dpdk::Mbuf;
use dmsc_wire::{Class, Probe};

use crate::adjacency::Adjacency;
use crate::counters::DropReason;
use crate::packet::{Context, Verdict};
use crate::stage::Env;
use crate::worker::Floor;

impl Floor {
    /// A probe of the neighbour is answered at once; an answer to one of this router's is measured.
    pub(super) fn probe(
        &mut self,
        env: &Env<'_>,
        adjacency: &Adjacency,
        mbuf: &Mbuf,
        context: &Context,
    ) -> Verdict {
        let packet = mbuf.data().get(usize::from(context.offset)..);
        let Some((header, packet)) = context.header.zip(packet) else {
            return Verdict::Drop(DropReason::BadProbe);
        };
        let Ok(probe) = Probe::decode(header.payload(packet)) else {
            return Verdict::Drop(DropReason::BadProbe);
        };
        let quality = &adjacency.live.quality;
        if !probe.is_question() {
            return match quality.answer(probe, env.clock, context.arrived) {
                true => Verdict::Consumed,
                false => Verdict::Drop(DropReason::LateAnswer),
            };
        }
        // To a link that is not up both ways nobody sends but hellos.
        if adjacency.is_up()
            && let Some(answer) = quality.reflect(probe, env.clock, context.arrived, (env.tsc)())
        {
            self.send_probe(env, adjacency, &answer);
        }
        Verdict::Consumed
    }

    /// Sends the probe that is due, if one is.
    pub(super) fn ask(&mut self, env: &Env<'_>, adjacency: &Adjacency) {
        if !adjacency.is_up() {
            return;
        }
        let (quality, secret) = (&adjacency.live.quality, self.shared.speaker.boot);
        if let Some(probe) = quality.ask(secret, env.clock, (env.tsc)()) {
            self.send_probe(env, adjacency, &probe);
        }
    }

    fn send_probe(&mut self, env: &Env<'_>, adjacency: &Adjacency, probe: &Probe) {
        let Some(mac) = adjacency.neighbour.mac() else {
            return;
        };
        let mut packet = [0; Probe::PACKET_LEN];
        if probe
            .write(env.chooser.node, Class::CONTROL, &mut packet)
            .is_ok()
        {
            self.say(env, adjacency, mac, &packet);
        }
    }
}

//! Of station 3: a probe for a pod that answers none is answered by its gateway, which says nothing of the pod but that it is there.

use dmsc_wire::{Flags, Header, Probe};

use super::Env;
use crate::attachment::Attachment;
use crate::counters::EventKind;
use crate::packet::{Context, Origin};

/// Whether this gateway answers the probe instead of the pod that it would be delivered to.
///
/// What the gateway itself asks of one certain pod always goes there: its control plane does so now and then, and that shows who answers.
#[cold]
pub fn answers(
    env: &Env<'_>,
    context: &Context,
    header: &Header,
    packet: &[u8],
    pod: &Attachment,
) -> bool {
    let probe = Probe::decode(header.payload(packet));
    // Where the address is not resolved, nothing gets to the pod.
    if !probe.is_ok_and(|probe| probe.is_question()) || pod.neighbour.mac().is_none() {
        return false;
    }
    if context.origin == Origin::Here && header.flags.contains(Flags::PINNED) {
        let lease = env.clock.from_ms(u64::from(pod.lease_ms));
        pod.silence.question(env.now, lease);
        return false;
    }
    let silent = pod.silence.is_proven();
    if silent {
        env.event(context.port, EventKind::AnsweredForPod);
    }
    silent
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use dmsc_proto::v1;
    use dmsc_wire::{Kind, NodeId, PacketBuilder};

    use super::*;
    use crate::packet::Verdict;
    use crate::stage::testing::{World, name, op};

    const LEASE_NS: u64 = 30_000_000_000;

    /// From the router behind adjacency 1.
    fn packet(kind: Kind, payload: &[u8]) -> Vec<u8> {
        let (from, to) = (name("/dmsc/4"), name("/shop/b/x"));
        PacketBuilder::new(kind)
            .source(from.as_name())
            .destination(to.as_name())
            .domain(dmsc_wire::Domain(1))
            .source_gateway(NodeId(4))
            .payload(payload)
            .to_vec()
            .expect("packet")
    }

    fn world() -> World {
        let mut world = World::new();
        world.apply(&[op(v1::op::Op::Attach(v1::Attachment {
            port: "p2".into(),
            address: "10.1.0.3".into(),
            udp_port: 40_000,
            identity: "old".into(),
            serves: vec![name("/shop/b").as_bytes().to_vec()],
            owns: vec![name("/id/old").as_bytes().to_vec()],
            lease_ms: 30_000,
            ..Default::default()
        }))]);
        world
    }

    #[test]
    fn only_questions_to_a_pod_that_is_there_and_silent_are_answered_for_it() {
        let world = world();
        let question = packet(Kind::Probe, &Probe::default().payload());
        let verdict = |world: &World, packet: &[u8]| world.from_router(1, packet).context.verdict;
        assert_eq!(verdict(&world, &question), Verdict::Send(2));
        let pods = world.programmer.tables().attachments.clone();
        let pod = pods.iter().next().expect("attached");
        // Of its own gateway, over more than a lease.
        for second in [1, 11, 21, 32] {
            assert_eq!(verdict(&world, &question), Verdict::Send(2), "{second}");
            pod.silence.question(second * 1_000_000_000, LEASE_NS);
        }
        assert_eq!(verdict(&world, &question), Verdict::Own);
        let events = &world.counters.ports[0];
        assert_eq!(
            (
                events.events(EventKind::AnsweredForPod),
                events.events(EventKind::LocalDelivery)
            ),
            (1, 5)
        );
        let answer = Probe::default().answered(1, 2, None).payload();
        for other in [
            packet(Kind::Probe, b"no probe"),
            packet(Kind::EchoRequest, b""),
        ] {
            assert_eq!(verdict(&world, &other), Verdict::Send(2));
        }
        // One that is not there is not answered for: the question goes on to the other gateway of the name.
        pod.reachable.store(false, Relaxed);
        assert_eq!(verdict(&world, &question), Verdict::Send(1));
        pod.reachable.store(true, Relaxed);
        assert_eq!(verdict(&world, &question), Verdict::Own);
        // An answer that comes late, or that no rule lets pass, is one.
        let (own, router) = (name("/shop/b"), name("/dmsc/4"));
        let answer = PacketBuilder::new(Kind::Probe)
            .source(own.as_name())
            .destination(router.as_name())
            .payload(&answer)
            .to_vec()
            .expect("packet");
        world.from_pod(3, &answer);
        assert_eq!(verdict(&world, &question), Verdict::Send(2));
    }
}

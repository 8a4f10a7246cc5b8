//! Which topology packets take: that of their class, unless a policy wants the way of least delay.

use std::sync::atomic::Ordering::Relaxed;

use dmsc_fib::AdjacencyId;
use dmsc_proto::v1;
use dmsc_wire::{
    AttachmentId, Class, Domain, Flags, FlowLabel, Kind, NodeId, PacketBuilder, Probe,
};

use super::testing::{Outcome, World, name, op, request};
use crate::packet::Verdict;

/// By metric gateway 4 is behind port 0, by delay behind port 1. Of the calls to `/far` so much of `weight` goes by delay.
fn world(weight: u32, delay_weight: u32) -> World {
    use v1::op::Op as O;
    let mut world = World::new();
    world.attach(2, &[]);
    world.apply(&[
        op(O::PutGateway(v1::Gateway {
            topology: 1,
            gateway: 4,
            metric: 900,
            next_hops: vec![2],
            ..Default::default()
        })),
        op(O::PutGroup(v1::Group {
            id: 2,
            members: vec![v1::Member {
                gateway: 4,
                metric: 30,
                weight,
                delay_weight,
            }],
            weighted: true,
        })),
    ]);
    world
}

fn call(world: &World, packet: PacketBuilder<'_>) -> Outcome {
    world.from_pod(2, &packet.to_vec().expect("packet"))
}

/// By which port it left, and whether it says that it goes by delay.
fn way(outcome: &Outcome) -> (Verdict, bool) {
    let flags = outcome.header().flags;
    (outcome.context.verdict, flags.contains(Flags::BY_DELAY))
}

const METRIC: (Verdict, bool) = (Verdict::Send(0), false);
const DELAY: (Verdict, bool) = (Verdict::Send(1), true);

#[test]
fn a_policy_decides_and_not_the_pod() {
    let (from, to) = (name("/id/2"), name("/far/away"));
    for (all, expected) in [(0, METRIC), (7, DELAY)] {
        let world = world(7, all);
        for flag in [Flags::NONE, Flags::BY_DELAY] {
            let by_name = request(&from, &to).flag(flag);
            assert_eq!(way(&call(&world, by_name)), expected);
            // The pod chose the gateway: the way there is not its choice.
            let pinned = request(&from, &to).flag(flag).pinned();
            let pinned = pinned
                .destination_gateway(NodeId(4))
                .destination_attachment(AttachmentId(9));
            assert_eq!(way(&call(&world, pinned)), expected);
        }
    }
}

#[test]
fn a_high_class_goes_by_delay_and_says_nothing() {
    let (from, to) = (name("/id/2"), name("/far/away"));
    let urgent = request(&from, &to).domain(Domain(1)).class(Class(6));
    let packet = urgent.destination_gateway(NodeId(4)).to_vec();
    let outcome = world(7, 0).from_router(1, &packet.expect("packet"));
    assert_eq!(way(&outcome), (Verdict::Send(1), false));
}

#[test]
fn a_flow_keeps_its_way_whether_its_gateway_is_known_or_not() {
    let world = world(100, 50);
    let (from, to) = (name("/id/2"), name("/far/away"));
    let mut by_delay = 0;
    for flow in 0..1_000u32 {
        let flow = FlowLabel(flow.wrapping_mul(0x9E37_79B9));
        let by_name = way(&call(&world, request(&from, &to).flow_label(flow)));
        let pinned = request(&from, &to)
            .flow_label(flow)
            .pinned()
            .destination_gateway(NodeId(4));
        assert_eq!(way(&call(&world, pinned)), by_name);
        by_delay += usize::from(by_name == DELAY);
    }
    assert!((400..600).contains(&by_delay), "{by_delay}");
}

#[test]
fn on_the_way_the_packet_says_it() {
    let world = world(7, 0);
    let (from, to) = (name("/id/2"), name("/far/away"));
    for (flag, expected) in [(Flags::NONE, METRIC), (Flags::BY_DELAY, DELAY)] {
        for kind in [Kind::Request, Kind::Response] {
            let packet = PacketBuilder::new(kind)
                .flag(flag)
                .source(from.as_name())
                .destination(to.as_name())
                .domain(Domain(1))
                .destination_gateway(NodeId(4))
                .destination_attachment(AttachmentId(9));
            // Not back where it came from: over the other port of the two.
            let came = usize::from(expected == METRIC);
            let outcome = world.from_router(came + 1, &packet.to_vec().expect("packet"));
            assert_eq!(way(&outcome), expected, "{kind:?}");
        }
    }
}

#[test]
fn an_answer_goes_as_its_call_came() {
    let world = world(7, 0);
    let (from, to) = (name("/id/2"), name("/far"));
    for (flag, expected) in [(Flags::NONE, METRIC), (Flags::BY_DELAY, DELAY)] {
        let response = PacketBuilder::new(Kind::Response)
            .source(from.as_name())
            .destination(to.as_name())
            .destination_attachment(AttachmentId(9));
        // To a router only.
        let payload = Probe::default().answered(1, 2, None).payload();
        let router = name("/dmsc/4");
        let probe = PacketBuilder::new(Kind::Probe)
            .pinned()
            .source(from.as_name())
            .destination(router.as_name())
            .payload(&payload);
        for answer in [response, probe] {
            let answer = answer.flag(flag).destination_gateway(NodeId(4));
            assert_eq!(way(&call(&world, answer)), expected);
        }
    }
}

#[test]
fn while_the_way_by_delay_is_away_calls_go_by_class() {
    let world = world(7, 7);
    let (from, to) = (name("/id/2"), name("/far"));
    let both = |world: &World| {
        let pinned = request(&from, &to).pinned().destination_gateway(NodeId(4));
        [
            way(&call(world, request(&from, &to))),
            way(&call(world, pinned)),
        ]
    };
    assert_eq!(both(&world), [DELAY; 2]);
    let adjacencies = world.programmer.tables().adjacencies.clone();
    let by_delay = adjacencies.get(AdjacencyId(2)).expect("there");
    by_delay.live.state.store(0, Relaxed);
    assert_eq!(both(&world), [METRIC; 2]);
    by_delay.live.state.store(2, Relaxed);
    assert_eq!(both(&world), [DELAY; 2]);
    // What others placed is theirs to place again.
    let on_the_way = request(&from, &to)
        .domain(Domain(1))
        .flag(Flags::BY_DELAY | Flags::PINNED)
        .destination_gateway(NodeId(4));
    by_delay.live.state.store(0, Relaxed);
    let outcome = world.from_router(1, &on_the_way.to_vec().expect("packet"));
    assert!(matches!(outcome.context.verdict, Verdict::Drop(_)));
}

#[test]
fn nothing_is_kept_of_gateways_that_there_are_not() {
    let world = world(7, 7);
    let (from, to) = (name("/id/2"), name("/far"));
    for gateway in 1_000..1_100 {
        let nowhere = request(&from, &to)
            .pinned()
            .destination_gateway(NodeId(gateway));
        let outcome = call(&world, nowhere);
        assert!(matches!(outcome.context.verdict, Verdict::Drop(_)));
    }
    assert!(world.traffic.tally.sums().is_empty());
}

#[test]
fn what_a_router_resolves_says_anew_by_what_it_goes() {
    let (from, to) = (name("/id/2"), name("/far"));
    for (delay_weight, expected) in [(0, METRIC), (7, DELAY)] {
        let world = world(7, delay_weight);
        for flag in [Flags::NONE, Flags::BY_DELAY] {
            let packet = request(&from, &to).domain(Domain(1)).flag(flag);
            let came = usize::from(expected == METRIC);
            let outcome = world.from_router(came + 1, &packet.to_vec().expect("packet"));
            assert_eq!(way(&outcome), expected);
        }
    }
}

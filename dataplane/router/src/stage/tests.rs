//! The walk on plain buffers: what a gateway does with packets from pods and from routers.

use std::sync::atomic::Ordering::Relaxed;

use dmsc_proto::v1;
use dmsc_wire::{AttachmentId, ErrorCode, Flags, Kind, NodeId, PacketBuilder, Probe, record};

use super::testing::{World, name, op, request};
use crate::counters::EventKind;
use crate::frame::{Frame, PlainFrame};
use crate::packet::Verdict;

fn dropped(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Drop(reason) => reason.name(),
        other => panic!("not dropped but {other:?}"),
    }
}

#[test]
fn a_call_goes_to_the_nearest_member_and_is_stamped() {
    let mut world = World::new();
    let (caller, server) = (world.attach(2, &[]), world.attach(3, &["/shop/b"]));
    let (from, to) = (name("/id/2"), name("/shop/b/x"));
    // Whatever the pod claims about itself is overwritten.
    let packet = request(&from, &to)
        .domain(dmsc_wire::Domain(77))
        .source_gateway(NodeId(9))
        .to_vec()
        .expect("packet");
    let outcome = world.from_pod(2, &packet);
    assert_eq!(outcome.context.verdict, Verdict::Send(2));
    let header = outcome.header();
    assert_eq!(
        (
            header.source_gateway,
            header.source_attachment,
            header.domain.0
        ),
        (NodeId(1), caller, 1)
    );
    assert_eq!(
        (header.destination_gateway, header.destination_attachment),
        (NodeId(1), server)
    );
    assert_eq!(header.payload(outcome.packet()), b"hello");
    // A name that only gateway 4 serves leaves over the next hop, one hop less.
    let to = name("/far/away");
    let outcome = world.from_pod(2, &request(&from, &to).to_vec().expect("packet"));
    assert_eq!(outcome.context.verdict, Verdict::Send(0));
    assert_eq!(
        (
            outcome.header().destination_gateway,
            outcome.header().hop_limit
        ),
        (NodeId(4), 63)
    );
}

#[test]
fn answers_go_to_the_attachment_that_asked_and_to_nobody_else() {
    let mut world = World::new();
    let (one, two) = (world.attach(2, &[]), world.attach(3, &[]));
    let (from, to) = (name("/far"), name("/id/2"));
    let answer = |attachment: AttachmentId, to: &dmsc_wire::NameBuf| {
        PacketBuilder::new(Kind::Response)
            .source(from.as_name())
            .destination(to.as_name())
            .domain(dmsc_wire::Domain(1))
            .destination_gateway(NodeId(1))
            .destination_attachment(attachment)
            .to_vec()
            .expect("packet")
    };
    assert_eq!(
        world.from_router(1, &answer(one, &to)).context.verdict,
        Verdict::Send(2)
    );
    assert_eq!(
        dropped(world.from_router(1, &answer(two, &to)).context.verdict),
        "attachment-lacks-name"
    );
    assert_eq!(
        dropped(
            world
                .from_router(1, &answer(AttachmentId(99), &to))
                .context
                .verdict
        ),
        "attachment-gone"
    );
}

#[test]
fn pods_send_only_what_is_theirs() {
    let mut world = World::new();
    world.attach(2, &["/shop/b"]);
    let (own, other, to) = (name("/id/2"), name("/id/3"), name("/far"));
    assert_eq!(
        dropped(
            world
                .from_pod(2, &request(&other, &to).to_vec().expect("packet"))
                .context
                .verdict
        ),
        "source-not-owned"
    );
    assert_eq!(
        dropped(
            world
                .from_pod(7, &request(&own, &to).to_vec().expect("packet"))
                .context
                .verdict
        ),
        "unregistered-source"
    );
    let error = PacketBuilder::new(Kind::Error)
        .source(own.as_name())
        .destination(to.as_name());
    assert_eq!(
        dropped(
            world
                .from_pod(2, &error.to_vec().expect("packet"))
                .context
                .verdict
        ),
        "kind-not-allowed"
    );
    let response = PacketBuilder::new(Kind::Response)
        .source(own.as_name())
        .destination(to.as_name());
    assert_eq!(
        dropped(
            world
                .from_pod(2, &response.to_vec().expect("packet"))
                .context
                .verdict
        ),
        "no-destination"
    );
    // Of probes a pod sends answers, and those to routers.
    let router = name("/dmsc/4");
    let probe = |probe: Probe, to: &dmsc_wire::NameBuf| {
        let payload = probe.payload();
        PacketBuilder::new(Kind::Probe)
            .source(own.as_name())
            .destination(to.as_name())
            .payload(&payload)
            .to_vec()
            .expect("packet")
    };
    let answer = Probe::default().answered(5, 6, None);
    for (packet, allowed) in [
        (probe(answer, &router), true),
        (probe(answer, &to), false),
        (probe(Probe::default(), &router), false),
    ] {
        let verdict = world.from_pod(2, &packet).context.verdict;
        match allowed {
            true => assert_eq!(verdict, Verdict::Send(0)),
            false => assert_eq!(dropped(verdict), "kind-not-allowed"),
        }
    }
    let class = request(&own, &to)
        .class(dmsc_wire::Class(7))
        .to_vec()
        .expect("packet");
    assert_eq!(world.from_pod(2, &class).header().class.0, 5, "clamped");
    let lowered = |world: &World| world.counters.ports[2].events(EventKind::ClassLowered);
    assert_eq!(lowered(&world), 1, "and counted");
    // A served prefix may be used as source name, and everything below it.
    let below = name("/shop/b/worker");
    assert_eq!(
        world
            .from_pod(2, &request(&below, &to).to_vec().expect("packet"))
            .context
            .verdict,
        Verdict::Send(0)
    );
}

#[test]
fn late_binding_happens_once_and_only_where_it_may() {
    let mut world = World::new();
    world.attach(2, &[]);
    let server = world.attach(3, &["/shop/b"]);
    let (from, to) = (name("/id/2"), name("/shop/b"));
    let stamped = |flags: Flags| {
        request(&from, &to)
            .flags(flags)
            .source_gateway(NodeId(6))
            .destination_gateway(NodeId(1))
            .destination_attachment(server)
            .to_vec()
            .expect("packet")
    };
    assert_eq!(
        world.from_router(2, &stamped(Flags::NONE)).context.verdict,
        Verdict::Send(2)
    );
    world
        .programmer
        .tables()
        .attachments
        .get(server)
        .expect("attached")
        .reachable
        .store(false, Relaxed);
    // The pod is gone: resolved again, to the other member.
    let rebound = world.from_router(2, &stamped(Flags::NONE));
    assert_eq!(rebound.context.verdict, Verdict::Send(0));
    assert_eq!(rebound.header().destination_gateway, NodeId(4));
    assert!(rebound.header().flags.contains(Flags::REBOUND));
    // But not a second time, and never a pinned call.
    for flags in [Flags::REBOUND, Flags::PINNED] {
        let outcome = world.from_router(2, &stamped(flags));
        assert_eq!(dropped(outcome.context.verdict), "attachment-gone");
        assert_eq!(outcome.context.error, Some((ErrorCode::NoRoute, 0)));
    }
    // Never back to where it came from: gateway 4 is over router 5 only once the alternate is down too.
    let over = |id: u16| {
        world
            .programmer
            .tables()
            .adjacencies
            .get(dmsc_fib::AdjacencyId(id))
            .expect("adjacency")
            .clone()
    };
    over(2).live.state.store(0, Relaxed);
    assert_eq!(
        dropped(world.from_router(1, &stamped(Flags::NONE)).context.verdict),
        "no-route"
    );
}

#[test]
fn a_dead_link_is_one_bit() {
    let mut world = World::new();
    world.attach(2, &[]);
    let (from, to) = (name("/id/2"), name("/far"));
    let packet = request(&from, &to).to_vec().expect("packet");
    let adjacencies = world.programmer.tables().adjacencies.clone();
    let up = |id: u16, up: bool| {
        adjacencies
            .get(dmsc_fib::AdjacencyId(id))
            .expect("adjacency")
            .live
            .state
            .store(if up { 2 } else { 0 }, Relaxed)
    };
    assert_eq!(world.from_pod(2, &packet).context.verdict, Verdict::Send(0));
    up(1, false);
    assert_eq!(
        world.from_pod(2, &packet).context.verdict,
        Verdict::Send(1),
        "the alternate"
    );
    up(2, false);
    let outcome = world.from_pod(2, &packet);
    assert_eq!(
        (dropped(outcome.context.verdict), outcome.context.error),
        ("no-route", Some((ErrorCode::NoRoute, 0)))
    );
    up(1, true);
    world.ports[0].carrier.store(false, Relaxed);
    assert_eq!(
        dropped(world.from_pod(2, &packet).context.verdict),
        "no-route",
        "no carrier"
    );
}

#[test]
fn hop_limit_size_and_access_end_a_packet_with_an_error() {
    let mut world = World::new();
    world.attach(2, &[]);
    let (from, to) = (name("/id/2"), name("/far"));
    let outcome = world.from_pod(
        2,
        &request(&from, &to).hop_limit(1).to_vec().expect("packet"),
    );
    assert_eq!(
        (dropped(outcome.context.verdict), outcome.context.error),
        ("hop-limit", Some((ErrorCode::HopLimit, 0)))
    );
    let adjacency = world
        .programmer
        .tables()
        .adjacencies
        .get(dmsc_fib::AdjacencyId(1))
        .expect("adjacency")
        .clone();
    adjacency.live.path_mtu.store(1280, Relaxed);
    adjacency.live.path_mtu_until.store(u64::MAX, Relaxed);
    let large = [7; 1300];
    let outcome = world.from_pod(
        2,
        &request(&from, &to)
            .payload(&large)
            .to_vec()
            .expect("packet"),
    );
    assert_eq!(
        (dropped(outcome.context.verdict), outcome.context.error),
        ("too-big", Some((ErrorCode::TooBig, 1280 - 28)))
    );
    let rule = v1::AccessRule {
        id: 1,
        domain: 1,
        caller: name("/id/2").as_bytes().to_vec(),
        callee: name("/far").as_bytes().to_vec(),
        allow: false,
    };
    world.apply(&[op(v1::op::Op::PutAccessRule(rule))]);
    let outcome = world.from_pod(2, &request(&from, &to).to_vec().expect("packet"));
    assert_eq!(
        (dropped(outcome.context.verdict), outcome.context.error),
        ("denied", Some((ErrorCode::Denied, 0)))
    );
}

#[test]
fn record_is_filled_with_ports_and_residence() {
    let mut world = World::new();
    let server = world.attach(3, &["/shop/b"]);
    let (from, to) = (name("/id/9"), name("/shop/b"));
    let echo = PacketBuilder::new(Kind::EchoRequest)
        .source(from.as_name())
        .destination(to.as_name())
        .domain(dmsc_wire::Domain(1))
        .source_gateway(NodeId(5))
        .destination_gateway(NodeId(1))
        .record_slots(2)
        .to_vec()
        .expect("packet");
    let outcome = world.from_router(1, &echo);
    assert_eq!(outcome.context.verdict, Verdict::Send(2));
    assert_eq!(outcome.header().destination_attachment, server);
    let slots: Vec<_> = record::slots(outcome.packet(), &outcome.header()).collect();
    assert_eq!(slots.len(), 1);
    assert_eq!(
        (
            slots[0].node,
            slots[0].in_port.0,
            slots[0].out_port.0,
            slots[0].residence_ns
        ),
        (NodeId(1), 1, 0, 500)
    );
}

#[test]
fn bad_frames_are_dropped_by_name() {
    let mut world = World::new();
    world.attach(2, &[]);
    let (from, to) = (name("/id/2"), name("/far"));
    let packet = request(&from, &to).to_vec().expect("packet");
    let good = |world: &World| world.frame(2, ("10.1.0.2", 40_000), "10.1.0.1", &packet);
    let spoil = |at: usize, value: u8| {
        let mut frame = good(&world);
        frame.bytes_mut()[at] = value;
        dropped(world.walk(2, frame).context.verdict)
    };
    assert_eq!(spoil(0, 0x04), "foreign-mac");
    assert_eq!(spoil(14 + 8, 9), "bad-checksum");
    assert_eq!(
        spoil(14 + 20 + 8 + packet.len() - 1, 0xff),
        "bad-checksum",
        "UDP"
    );
    let mut tail = packet.clone();
    tail.extend([0; 4]);
    assert_eq!(
        dropped(world.from_pod(2, &tail).context.verdict),
        "gso-frame"
    );
    let mut version = packet.clone();
    version[0] = 0x20;
    assert_eq!(
        dropped(world.from_pod(2, &version).context.verdict),
        "bad-version"
    );
    assert_eq!(
        dropped(world.from_pod(2, &packet[..30]).context.verdict),
        "truncated"
    );
    assert_eq!(
        dropped(world.walk(2, PlainFrame::new(&[1; 9])).context.verdict),
        "truncated"
    );
    // Router ports take packets from neighbours only, and only from next door.
    let stranger = world.frame(0, ("10.0.0.77", 50_000), "10.0.0.1", &packet);
    assert_eq!(
        dropped(world.walk(0, stranger).context.verdict),
        "unknown-neighbour"
    );
    let mut far = world.frame(0, ("10.0.0.2", 50_000), "10.0.0.1", &packet);
    let bytes = far.bytes_mut();
    bytes[14 + 8] = 254;
    let sum = u16::from_be_bytes([bytes[24], bytes[25]]) + 0x100;
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(dropped(world.walk(0, far).context.verdict), "ttl-too-low");
    // Everything else of the port is the kernel's.
    let mut dns = good(&world);
    dns.bytes_mut()[14 + 20 + 2..14 + 20 + 4].copy_from_slice(&53u16.to_be_bytes());
    assert_eq!(world.walk(2, dns).context.verdict, Verdict::Kernel);
}

#[test]
fn no_bytes_panic_or_stay_undecided() {
    let mut world = World::new();
    world.attach(2, &["/shop/b"]);
    let (from, to) = (name("/id/2"), name("/shop/b"));
    let packet = request(&from, &to).to_vec().expect("packet");
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..20_000 {
        let port = round % 3;
        let mut frame = match port {
            2 => world.frame(2, ("10.1.0.2", 40_000), "10.1.0.1", &packet),
            _ => world.frame(
                port,
                (&format!("10.0.{port}.2"), 50_000),
                &format!("10.0.{port}.1"),
                &packet,
            ),
        };
        for _ in 0..next() % 6 {
            let at = (next() % frame.bytes().len() as u64) as usize;
            frame.bytes_mut()[at] = next() as u8;
        }
        frame.truncate((next() % 200) as usize);
        let outcome = world.walk(port, frame);
        assert!(
            !outcome.context.is_open(),
            "round {round} ended undecided: {:?}",
            outcome.context
        );
    }
}

#[test]
fn a_rule_of_the_gateway_gives_calls_and_their_answers_a_class_within_what_the_identity_may() {
    let mut world = World::new();
    world.attach(2, &["/shop/b"]);
    let rule = |callee: &str, class| crate::class_rule::ClassRule {
        domain: dmsc_wire::Domain(1),
        caller: None,
        callee: Some(name(callee)),
        class: dmsc_wire::Class(class),
    };
    world.class_rules = vec![rule("/shop/b", 3), rule("/far", 7)];
    let own = name("/shop/b");
    let call = |to: &str| request(&own, &name(to)).to_vec().expect("packet");
    let header = world.from_pod(2, &call("/far")).header();
    assert_eq!(header.class.0, 5, "{header:?}");
    let answer = PacketBuilder::new(Kind::Response)
        .source(own.as_name())
        .destination(name("/id/pod9").as_name())
        .destination_gateway(NodeId(4))
        .class(dmsc_wire::Class(1))
        .to_vec()
        .expect("packet");
    assert_eq!(world.from_pod(2, &answer).header().class.0, 3);
}

#[test]
fn probes_between_routers_go_by_name_and_without_one_no_further_than_here() {
    let mut world = World::new();
    let server = world.attach(3, &["/shop/b"]);
    let payload = Probe::default().payload();
    let (from, to, far) = (name("/dmsc/4"), name("/shop/b/x"), name("/dmsc/1"));
    let question = |to: &dmsc_wire::NameBuf| {
        PacketBuilder::new(Kind::Probe)
            .source(from.as_name())
            .destination(to.as_name())
            .domain(dmsc_wire::Domain(1))
            .source_gateway(NodeId(4))
            .payload(&payload)
            .to_vec()
            .expect("packet")
    };
    let outcome = world.from_router(1, &question(&to));
    assert_eq!(outcome.context.verdict, Verdict::Send(2));
    assert_eq!(outcome.header().destination_attachment, server);
    let own = world.from_router(1, &question(&far)).context.verdict;
    assert_eq!(own, Verdict::Own);
    let nobody = world.from_router(1, &question(&name("/nobody")));
    assert_eq!(dropped(nobody.context.verdict), "no-route");
    let mut out = [0; Probe::PACKET_LEN];
    Probe::default()
        .write(NodeId(4), dmsc_wire::Class(0), &mut out)
        .expect("fits");
    let neighbour = world.from_router(1, &out).context.verdict;
    assert!(matches!(neighbour, Verdict::Probe(_)), "{neighbour:?}");
}

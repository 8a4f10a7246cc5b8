//! Probes over real ports: a far router and pods answer with their stamps and their state; nobody answers an answer.

use std::time::Duration;

use dmsc_proto::v1;
use dmsc_proto::v1::op::Op;
use dmsc_wire::{
    AttachmentId, EchoSource, Header, Kind, NodeId, PacketBuilder, Probe, ProbeHealth, ProbeState,
    build_probe_answer,
};

use crate::observe::Rig;
use crate::rig::{Pod, name, need_ports};

/// Answers the next packet, a question, as the library of pods does.
fn answer(pod: &Pod, health: ProbeHealth) -> (Vec<u8>, Header) {
    let (question, header) = pod.answer();
    assert_eq!(header.kind, Kind::Probe);
    let probe = Probe::decode(header.payload(&question)).expect("a probe");
    assert!(probe.is_question());
    let state = ProbeState {
        health,
        load_permille: 750,
    };
    let own = EchoSource {
        gateway: NodeId::NONE,
        attachment: AttachmentId::ANY,
        name: None,
    };
    let mut out = vec![0; question.len()];
    let probe = probe.answered(1_000, 51_000, Some(state));
    let length = build_probe_answer(&question, &header, &probe, own, &mut out).expect("fits");
    pod.send_bytes(&out[..length]);
    (out[..length].to_vec(), header)
}

fn probe(to: &str) -> v1::EchoRequest {
    v1::EchoRequest {
        name: name(to).as_bytes().to_vec(),
        timeout_ms: 3_000,
        class: 5,
        probe: true,
        ..Default::default()
    }
}

#[test]
fn routers_and_pods_answer_with_their_own_time_and_state() {
    need_ports!();
    let rig = Rig::new();
    let [here, there] = &rig.gateways;
    let reply = here.agent.echo(probe("/dmsc/2")).remove(0);
    assert!(reply.answered && !reply.state_known, "{reply:?}");
    assert_eq!((reply.gateway, reply.attachment), (2, 0));
    assert!(
        (1..reply.round_trip_ns).contains(&reply.residence_ns),
        "{reply:?}"
    );

    // A service there is found by its name, and its pod answers; to its own gateway, too.
    let pod = rig.attach(1, &["/shop/b"]);
    here.agent.apply(vec![
        Op::PutGroup(v1::Group {
            id: 1,
            members: vec![v1::Member {
                gateway: 2,
                metric: 10,
                weight: 1,
                delay_weight: 0,
            }],
            weighted: false,
        }),
        Op::PutPrefix(v1::Prefix {
            domain: 1,
            name: name("/shop/b").as_bytes().to_vec(),
            group: 1,
        }),
    ]);
    let pinned = v1::EchoRequest {
        gateway: 2,
        attachment: pod.id.into(),
        ..probe("/shop/b")
    };
    for (gateway, request) in [(here, probe("/shop/b/v1")), (there, pinned)] {
        let (reply, last) = std::thread::scope(|scope| {
            let asked = scope.spawn(|| gateway.agent.echo(request.clone()).remove(0));
            let last = answer(&pod, ProbeHealth::Overloaded);
            (asked.join().expect("a reply"), last)
        });
        assert!(reply.answered && reply.state_known, "{reply:?}");
        assert_eq!(
            (reply.gateway, reply.attachment, reply.residence_ns),
            (2, pod.id.into(), 50_000)
        );
        assert_eq!((reply.health, reply.load_permille), (2, 750));
        // The same again is answered by nobody, and waited for by nobody: it ends at who had asked.
        let asker = if gateway.agent.greet(1, 1).expect("greet").node == 2 {
            (there, "pod")
        } else {
            (here, "link")
        };
        let before = asker.0.agent.settled(asker.1, 1).consumed;
        pod.send_bytes(&last.0);
        crate::rig::wait_until("the end of the second answer", || {
            asker.0.agent.settled(asker.1, 1).consumed > before
        });
    }
    assert!(pod.answer_within(Duration::from_millis(50)).is_none());
    let status = here.agent.echo_refused(v1::EchoRequest {
        record_slots: 3,
        ..probe("/dmsc/2")
    });
    assert!(status.contains("neither record_slots"), "{status}");
}

#[test]
fn a_pod_asks_nobody_and_what_is_no_probe_is_dropped() {
    need_ports!();
    let rig = Rig::new();
    let agent = &rig.gateways[0].agent;
    let pod = rig.attach(0, &["/shop/a"]);
    let answered = Probe::default().answered(1, 2, None).payload();
    let question = Probe::default().payload();
    let send = |from: &str, to: &str, payload: &[u8]| {
        let (from, to) = (name(from), name(to));
        let packet = PacketBuilder::new(Kind::Probe)
            .source(from.as_name())
            .destination(to.as_name())
            .payload(payload);
        pod.send_bytes(&packet.to_vec().expect("packet"));
    };
    for (from, to, payload, reason) in [
        ("/shop/a", "/dmsc/2", &question[..], "kind-not-allowed"),
        ("/shop/a", "/shop/a", &answered[..], "kind-not-allowed"),
        ("/shop/a", "/dmsc/2", &answered[..47], "bad-probe"),
        // Under a name that is not its own it says nothing either.
        ("/shop/x", "/dmsc/2", &answered[..], "source-not-owned"),
    ] {
        let before = agent.drops("pod", reason);
        send(from, to, payload);
        crate::rig::wait_until(reason, || agent.drops("pod", reason) == before + 1);
    }
    assert!(
        pod.answer_within(Duration::from_millis(50)).is_none(),
        "no error packet tells about a probe"
    );
}

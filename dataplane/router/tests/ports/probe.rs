//! Probes over real ports: a far router and pods answer with their stamps and their state; nobody answers an answer.

use std::time::Duration;

use dmsc_proto::v1;
use dmsc_proto::v1::op::Op;
use dmsc_wire::{
    AttachmentId, EchoSource, Header, Kind, NodeId, PacketBuilder, Probe, ProbeHealth, ProbeState,
    build_probe_answer,
};

use crate::observe::Rig;
use crate::rig::{Dataplane, Pod, name, need_ports};

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
fn a_gateway_answers_for_a_pod_that_is_there_and_answers_no_probes() {
    need_ports!();
    let rig = Rig::new();
    let [here, there] = &rig.gateways;
    here.agent.apply(crate::rig::pair::serve("/shop/b", 2));
    let pod = rig.attach(1, &["/shop/b"]);
    let attachment = || there.agent.dump().attachments.remove(0);
    let lease = |lease_ms| {
        let attachment = Op::Attach(v1::Attachment {
            lease_ms,
            ..attachment()
        });
        there.agent.apply(vec![attachment]);
    };
    let pinned = v1::EchoRequest {
        gateway: 2,
        attachment: pod.id.into(),
        ..probe("/shop/b")
    };
    // Goes to the pod, which says nothing.
    let unanswered = |gateway: &Dataplane, request: &v1::EchoRequest| {
        let request = v1::EchoRequest {
            timeout_ms: 100,
            ..request.clone()
        };
        let kind = match request.probe {
            true => Kind::Probe,
            false => Kind::EchoRequest,
        };
        assert_eq!(gateway.agent.echo(request).remove(0).error, "timeout");
        assert_eq!(pod.answer().1.kind, kind);
    };
    // As long as a lease it may be dead, and silence is the truth; whatever others ask.
    for (lease_ms, told) in [(60_000, ""), (0, ""), (50, "silent")] {
        lease(lease_ms);
        unanswered(here, &pinned);
        for _ in 0..4 {
            unanswered(here, &probe("/shop/b"));
            unanswered(there, &pinned);
        }
        let attachment = attachment();
        assert_eq!(
            (attachment.probes.as_str(), attachment.lease_ms),
            (told, lease_ms)
        );
    }
    let (link, own) = (there.agent.counters("link"), probe("/shop/b/v1"));
    for gateway in [here, there] {
        let reply = gateway.agent.echo(own.clone()).remove(0);
        assert!(reply.answered && !reply.state_known, "{reply:?}");
        assert_eq!((reply.gateway, reply.attachment), (2, 0));
        assert_eq!(reply.name, name("/shop/b/v1").as_bytes());
    }
    assert!(pod.answer_within(Duration::from_millis(50)).is_none());
    // The question ended here, and the answer was made here: each once.
    let after = there.agent.settled("link", link.rx);
    assert!(after.consumed > link.consumed && after.originated > link.originated);
    // The second was asked here, and what is made here counts with the first port.
    assert_eq!(there.agent.events("link", "answered-for-pod"), 2);
    // Everything else is delivered, and so is what the gateway itself asks of this very pod.
    let echo = v1::EchoRequest {
        probe: false,
        ..probe("/shop/b")
    };
    unanswered(here, &echo);
    unanswered(there, &pinned);
    let reply = std::thread::scope(|scope| {
        let asked = scope.spawn(|| there.agent.echo(pinned.clone()).remove(0));
        answer(&pod, ProbeHealth::Healthy);
        asked.join().expect("a reply")
    });
    assert!(reply.answered && reply.state_known, "{reply:?}");
    // It answers by now: when it does not, something is wrong with it, also for the process that takes over.
    assert_eq!(attachment().probes, "answered");
    unanswered(here, &probe("/shop/b"));
    let next = there.successor();
    assert_eq!(next.agent.dump().attachments[0].probes, "answered");
    // What is attached anew may be another program; what is attached no more is nobody.
    let attached = v1::Attachment {
        id: 0,
        ..next.agent.dump().attachments.remove(0)
    };
    next.agent.apply(vec![Op::Attach(attached)]);
    assert_eq!(next.agent.dump().attachments[0].probes, "");
    next.agent.apply(vec![Op::Detach(pod.id.into())]);
    let reply = here.agent.echo(v1::EchoRequest {
        timeout_ms: 100,
        ..probe("/shop/b")
    });
    assert!(!reply[0].answered);
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

//! Pods: ordinary UDP sockets over IPv4 and IPv6, a pod on bare Ethernet, and who reaches whom by name.

use dmsc_proto::v1;
use dmsc_proto::v1::op::Op;
use dmsc_wire::{AttachmentId, ErrorCode, Kind, Message, NodeId, PacketBuilder, PortId, record};

use crate::rig::link::{mac, udp4};
use crate::rig::pod::request_id;
use crate::rig::{Dataplane, Netns, PATIENCE, Pod, RawLink, name, need_ports};

/// Gateway 1 with two pod ports, and a namespace behind each.
fn gateway() -> (Netns, Netns, Netns, Dataplane) {
    let (router, one, two) = (Netns::new(), Netns::new(), Netns::new());
    router.veth("pod1", &one, "eth0");
    router.veth("pod2", &two, "eth0");
    one.addresses("eth0", &["10.1.1.2/24", "fd01:1::2/64"]);
    two.addresses("eth0", &["10.1.2.2/24", "fd01:2::2/64"]);
    let dataplane = Dataplane::start(
        &router,
        1,
        "sg",
        r#"
[[port]]
name = "pod1"
kind = "af_packet"
interface = "pod1"
role = "pod"
addresses = ["10.1.1.1/24", "fd01:1::1/64"]
[[port]]
name = "pod2"
kind = "af_packet"
interface = "pod2"
role = "pod"
addresses = ["10.1.2.1/24", "fd01:2::1/64"]
"#,
    );
    (router, one, two, dataplane)
}

#[test]
fn an_ordinary_socket_is_a_pod() {
    need_ports!();
    let (_router, one, two, dataplane) = gateway();
    for (address, gateway) in [("10.1.1.2", "10.1.1.1"), ("fd01:1::2", "fd01:1::1")] {
        let pod = Pod::attach(&dataplane, &one, "pod1", address, gateway, &[]);
        let id = pod.send(Kind::EchoRequest, &name("/dmsc/1"), |p| p.record_slots(3));
        let (packet, header) = pod.answer();
        assert_eq!((header.kind, header.request_id), (Kind::EchoReply, id));
        assert_eq!(header.source_gateway, NodeId(1));
        assert_eq!(header.destination_attachment, AttachmentId(pod.id));
        let slots: Vec<_> = record::slots(&packet, &header).collect();
        assert_eq!(slots[0].node, NodeId(1));
        assert_eq!(
            (slots[0].in_port, slots[0].out_port),
            (PortId(0), PortId(0))
        );
    }

    // Between two ports and two address families: the caller does not see over what the callee is reached.
    let caller = Pod::attach(&dataplane, &one, "pod1", "10.1.1.2", "10.1.1.1", &[]);
    let callee = Pod::attach(
        &dataplane,
        &two,
        "pod2",
        "fd01:2::2",
        "fd01:2::1",
        &["/shop/b"],
    );
    let id = caller.send(Kind::Request, &name("/shop/b/x"), |p| p.payload(b"ping"));
    let (request, header) = callee.answer();
    assert_eq!(header.payload(&request), b"ping");
    assert_eq!(header.source_attachment, AttachmentId(caller.id));
    assert_eq!(header.destination_attachment, AttachmentId(callee.id));
    callee.respond(&request, &header, b"pong");
    let (response, header) = caller.answer();
    assert_eq!((header.kind, header.request_id), (Kind::Response, id));
    assert_eq!(header.payload(&response), b"pong");

    // Nobody serves a sibling, and a name that is another pod's is not to be sent with.
    let id = caller.send(Kind::Request, &name("/shop/bc"), |p| p);
    let (error, _) = caller.answer();
    let message = Message::parse(&error).expect("message");
    let dmsc_wire::Body::Error(told) = message.body else {
        panic!("an error is the answer")
    };
    assert_eq!((told.code, told.request_id), (ErrorCode::NoRoute, id));
    let foreign = name("/shop/b");
    caller.send(Kind::Request, &foreign, |p| {
        p.source(callee_name().as_name())
    });
    let (error, _) = caller.answer();
    let dmsc_wire::Body::Error(told) = Message::parse(&error).expect("message").body else {
        panic!("an error is the answer")
    };
    assert_eq!(told.code, ErrorCode::SourceNotOwned);
    assert_eq!(dataplane.agent.drops("pod1", "source-not-owned"), 1);
}

fn callee_name() -> &'static dmsc_wire::NameBuf {
    static NAME: std::sync::LazyLock<dmsc_wire::NameBuf> =
        std::sync::LazyLock::new(|| name("/shop/b"));
    &NAME
}

#[test]
fn a_pod_that_is_not_attached_is_not_heard() {
    need_ports!();
    let (_router, one, _two, dataplane) = gateway();
    let pod = Pod::attach(
        &dataplane,
        &one,
        "pod1",
        "10.1.1.2",
        "10.1.1.1",
        &["/shop/a"],
    );
    dataplane.agent.apply(vec![Op::Detach(pod.id.into())]);
    pod.send(Kind::EchoRequest, &name("/dmsc/1"), |p| p);
    crate::rig::wait_until("a drop for the unregistered source", || {
        dataplane.agent.drops("pod1", "unregistered-source") == 1
    });
    // Its id rests, so that an answer to it does not reach somebody else.
    let other = Pod::attach(
        &dataplane,
        &one,
        "pod1",
        "10.1.1.2",
        "10.1.1.1",
        &["/shop/a"],
    );
    assert_ne!(other.id, pod.id);
}

#[test]
fn resolution_is_answered_once() {
    need_ports!();
    let (_router, one, _two, dataplane) = gateway();
    let pod = Pod::attach(&dataplane, &one, "pod1", "10.1.1.2", "10.1.1.1", &[]);
    let link = RawLink::open(&one, "eth0");
    let port = mac(&dataplane.agent.port("pod1").mac);
    let mut question = vec![0, 1, 8, 0, 6, 4, 0, 1];
    question.extend(link.mac);
    question.extend([10, 1, 1, 2, 0, 0, 0, 0, 0, 0, 10, 1, 1, 1]);
    link.send(&link.frame([0xff; 6], 0x0806, &question));
    // For an address that is nobody's there is no answer.
    question[27] = 77;
    link.send(&link.frame([0xff; 6], 0x0806, &question));
    pod.send(Kind::EchoRequest, &name("/dmsc/1"), |p| p);
    pod.answer();
    let answers: Vec<_> = link
        .heard()
        .into_iter()
        .filter(|f| f[12..14] == [8, 6] && f[20..22] == [0, 2])
        .collect();
    assert_eq!(answers.len(), 1, "{answers:02x?}");
    assert_eq!(answers[0][22..28], port);
    assert_eq!(answers[0][28..32], [10, 1, 1, 1]);
    assert!(
        one.output(&["ip", "neigh", "show", "10.1.1.1"])
            .contains(&dataplane.agent.port("pod1").mac)
    );

    // Neighbour discovery: the pod's kernel asked, and believes the answer.
    let pod = Pod::attach(&dataplane, &one, "pod1", "fd01:1::2", "fd01:1::1", &[]);
    let known = one.output(&["ip", "neigh", "show", "fd01:1::1"]);
    assert!(known.contains(&dataplane.agent.port("pod1").mac), "{known}");
    // Its kernel would not pass a datagram without a right checksum; there is one in the frame.
    link.heard();
    pod.send(Kind::EchoRequest, &name("/dmsc/1"), |p| p);
    let (packet, _) = pod.answer();
    let datagram = link.receive(PATIENCE, |f| {
        (f[12..14] == [0x86, 0xdd] && f.ends_with(&packet)).then(|| f.to_vec())
    });
    assert_ne!(datagram.expect("the frame")[60..62], [0, 0]);
}

#[test]
fn a_pod_on_bare_ethernet() {
    need_ports!();
    let (_router, one, two, dataplane) = gateway();
    let callee = Pod::attach(
        &dataplane,
        &two,
        "pod2",
        "10.1.2.2",
        "10.1.2.1",
        &["/shop/b"],
    );
    let link = RawLink::open(&one, "eth0");
    let port = mac(&dataplane.agent.port("pod1").mac);
    let own = name("/id/bare");
    dataplane.agent.apply(vec![Op::Attach(v1::Attachment {
        port: "pod1".into(),
        address: one.mac("eth0"),
        identity: "bare".into(),
        owns: vec![own.as_bytes().to_vec()],
        ..Default::default()
    })]);
    let (router, shop) = (name("/dmsc/1"), name("/shop/b"));
    let dmsc = |f: &[u8]| {
        (f[12..14] == [0x88, 0xb5]).then(|| {
            let header = dmsc_wire::parse(&f[14..]).expect("a DMSC packet");
            (f[14..].to_vec(), header)
        })
    };
    let id = request_id();
    let echo = PacketBuilder::new(Kind::EchoRequest)
        .destination(router.as_name())
        .source(own.as_name())
        .request_id(id)
        .to_vec()
        .expect("packet");
    let mut frame = link.frame(port, dmsc_wire::ETHERTYPE, &echo);
    frame.resize(frame.len() + 9, 0xee); // trailing padding is not the packet's
    link.send(&frame);
    let (_, header) = link.receive(PATIENCE, dmsc).expect("an echo reply");
    assert_eq!((header.kind, header.request_id), (Kind::EchoReply, id));

    let call = PacketBuilder::new(Kind::Request)
        .destination(shop.as_name())
        .source(own.as_name())
        .request_id(id)
        .payload(b"bare")
        .to_vec()
        .expect("packet");
    link.send(&link.frame(port, dmsc_wire::ETHERTYPE, &call));
    let (request, header) = callee.answer();
    assert_eq!(header.payload(&request), b"bare");
    callee.respond(&request, &header, b"clothed");
    let (response, header) = link.receive(PATIENCE, dmsc).expect("a response");
    assert_eq!(header.payload(&response), b"clothed");
}

#[test]
fn bad_datagrams_name_their_reason() {
    need_ports!();
    let (_router, one, _two, dataplane) = gateway();
    let pod = Pod::attach(&dataplane, &one, "pod1", "10.1.1.2", "10.1.1.1", &[]);
    let link = RawLink::open(&one, "eth0");
    let port = mac(&dataplane.agent.port("pod1").mac);
    let from = pod.socket.local_addr().expect("bound").port();
    let router = name("/dmsc/1");
    let echo = PacketBuilder::new(Kind::EchoRequest)
        .destination(router.as_name())
        .source(pod.name.as_name())
        .to_vec()
        .expect("packet");
    let good = udp4(
        [10, 1, 1, 2],
        [10, 1, 1, 1],
        (from, dmsc_wire::UDP_PORT),
        &echo,
    );
    let send = |packet: &[u8]| link.send(&link.frame(port, 0x0800, packet));
    let with = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = good.clone();
        edit(&mut packet);
        packet
    };
    let twice = [&echo[..], &echo[..]].concat();
    for (reason, packet) in [
        ("bad-checksum", with(&|p| p[26] ^= 1)),
        ("bad-checksum", with(&|p| p[10] ^= 1)),
        ("bad-ip-header", with(&|p| p[0] = 0x41)),
        ("truncated", with(&|p| p.truncate(60))),
        (
            "gso-frame",
            udp4(
                [10, 1, 1, 2],
                [10, 1, 1, 1],
                (from, dmsc_wire::UDP_PORT),
                &twice,
            ),
        ),
        ("bad-version", {
            let mut other = echo.clone();
            other[0] = 0x72;
            udp4(
                [10, 1, 1, 2],
                [10, 1, 1, 1],
                (from, dmsc_wire::UDP_PORT),
                &other,
            )
        }),
        ("kind-not-allowed", {
            let mut other = echo.clone();
            other[0] = 0x14; // an error, which only routers may send
            udp4(
                [10, 1, 1, 2],
                [10, 1, 1, 1],
                (from, dmsc_wire::UDP_PORT),
                &other,
            )
        }),
    ] {
        let before = dataplane.agent.counters("pod1").drops;
        send(&packet);
        crate::rig::wait_until(&format!("a drop for {reason}"), || {
            let now = dataplane.agent.counters("pod1").drops;
            if now == before {
                return false;
            }
            assert!(
                now.get(reason) > before.get(reason),
                "{reason}: {before:?} became {now:?}"
            );
            true
        });
    }
    let foreign = link.frame([2, 9, 9, 9, 9, 9], 0x0800, &good);
    link.send(&foreign);
    crate::rig::wait_until("a drop for foreign-mac", || {
        dataplane.agent.drops("pod1", "foreign-mac") == 1
    });
    send(&good);
    pod.answer();
}

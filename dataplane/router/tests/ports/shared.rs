//! A pod in shared memory: attached on a vhost port, moved there and back, gone and replaced by another.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use dmsc_proto::v1;
use dmsc_proto::v1::event::Event;
use dmsc_proto::v1::op::Op;
use dmsc_wire::{AttachmentId, Kind, NodeId, PacketBuilder, RouterName};
use nix::sys::signal::Signal;

use crate::rig::guest::Guest;
use crate::rig::{Dataplane, Netns, PATIENCE, Pod, Scratch, name, need_ports, wait_until};

const GATEWAY: [u8; 4] = [10, 1, 9, 1];
const GUEST: [u8; 4] = [10, 1, 9, 2];
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 9, 2], [2, 0, 0, 0, 9, 3]];

/// Gateway 1 with a pod behind a veth, and a port of shared memory.
struct Site {
    dataplane: Dataplane,
    pods: Netns,
    socket: PathBuf,
    _router: Netns,
    _scratch: Scratch,
}

impl Site {
    fn new(more: &str) -> Site {
        let (router, pods, scratch) = (Netns::new(), Netns::new(), Scratch::new());
        router.veth("pod1", &pods, "eth0");
        pods.addresses("eth0", &["10.1.1.2/24"]);
        let socket = scratch.path("pod1v.sock");
        let ports = format!(
            r#"
[[port]]
name = "pod1"
kind = "af_packet"
interface = "pod1"
role = "pod"
addresses = ["10.1.1.1/24"]
[[port]]
name = "pod1v"
kind = "vhost"
socket = "{}"
{more}
role = "pod"
mtu = 9000
addresses = ["10.1.9.1/30"]
exception = "none"
plain_ip = "drop"
"#,
            socket.display()
        );
        Site {
            dataplane: Dataplane::start(&router, 1, "sg", &ports),
            pods,
            socket,
            _router: router,
            _scratch: scratch,
        }
    }

    fn guest(&self, mac: [u8; 6]) -> Guest {
        Guest::attach(&self.socket, mac, GUEST, GATEWAY)
    }

    /// Moves the attachment of `pod`, which serves /shop/a, to the guest or back.
    fn moved(&self, pod: &Pod, to_guest: bool) {
        let local = pod.socket.local_addr().expect("bound");
        let dump = self.dataplane.agent.dump();
        let known = dump.attachments.into_iter();
        let one = known.into_iter().find(|one| one.id == u32::from(pod.id));
        let (port, address, udp_port) = if to_guest {
            ("pod1v", "10.1.9.2".to_owned(), 40_000)
        } else {
            ("pod1", local.ip().to_string(), local.port())
        };
        let ack = self.dataplane.agent.apply(vec![Op::Attach(v1::Attachment {
            port: port.into(),
            address,
            udp_port: udp_port.into(),
            moves: true,
            ..one.expect("attached")
        })]);
        assert_eq!(ack.attachments, [u32::from(pod.id)]);
    }

    fn caller(&self) -> Pod {
        Pod::attach(
            &self.dataplane,
            &self.pods,
            "pod1",
            "10.1.1.2",
            "10.1.1.1",
            &[],
        )
    }

    fn callee(&self) -> Pod {
        Pod::attach(
            &self.dataplane,
            &self.pods,
            "pod1",
            "10.1.1.2",
            "10.1.1.1",
            &["/shop/a"],
        )
    }
}

/// A request of `caller`, pinned to the attachment, and what `guest` gets of it.
fn call(caller: &Pod, callee: &Pod, guest: &mut Guest) {
    let id = caller.send(Kind::Request, &name("/shop/a/x"), |packet| {
        packet
            .pinned()
            .destination_gateway(NodeId(1))
            .destination_attachment(AttachmentId(callee.id))
            .payload(b"ping")
    });
    let (request, header) = guest.packet(PATIENCE).expect("by shared memory");
    assert_eq!(
        (header.request_id, header.payload(&request)),
        (id, &b"ping"[..])
    );
    let response = PacketBuilder::reply_to(Kind::Response, &request, &header).payload(b"pong");
    guest.send(&response.to_vec().expect("packet"));
    let (response, header) = caller.answer();
    assert_eq!(
        (header.request_id, header.payload(&response)),
        (id, &b"pong"[..])
    );
    assert_eq!(header.source_attachment, AttachmentId(callee.id));
}

fn until_unreachable(site: &Site, id: u16) {
    wait_until("told as unreachable", || {
        let attachments = site.dataplane.agent.dump().attachments;
        let one = attachments.iter().find(|one| one.id == u32::from(id));
        one.is_some_and(|one| one.state == "unreachable")
    });
}

#[test]
fn an_attachment_moves_to_shared_memory_and_back_without_a_gap() {
    need_ports!();
    let site = Site::new("");
    let (caller, callee) = (site.caller(), site.callee());
    let mut guest = site.guest(MACS[0]);
    site.moved(&callee, true);
    // The first packet finds its way: the guest's address is known from its own question.
    call(&caller, &callee, &mut guest);
    assert_eq!(
        site.dataplane.agent.drops("pod1v", "neighbour-unresolved"),
        0
    );
    assert_eq!(
        site.dataplane.agent.drops("pod1", "neighbour-unresolved"),
        0
    );
    // What the pod sends before it heard of the move is taken.
    let own = RouterName::new(NodeId(1)).as_name().to_owned();
    let id = callee.send(Kind::EchoRequest, &own, |packet| packet);
    let (_, header) = guest.packet(PATIENCE).expect("an answer, where it is now");
    assert_eq!(header.request_id, id);
    // And large packets pass.
    let payload = vec![7; 8_800];
    let packet = PacketBuilder::new(Kind::EchoRequest)
        .source(callee.name.as_name())
        .destination(own.as_name())
        .payload(&payload);
    guest.send(&packet.to_vec().expect("packet"));
    let (packet, header) = guest.packet(PATIENCE).expect("an answer");
    assert_eq!(header.payload(&packet), payload);

    site.moved(&callee, false);
    caller.send(Kind::Request, &name("/shop/a"), |packet| packet);
    let (_, header) = callee.answer();
    assert_eq!(header.destination_attachment, AttachmentId(callee.id));
}

#[test]
fn who_is_gone_from_shared_memory_is_unreachable_until_it_moves_or_comes_back() {
    need_ports!();
    let site = Site::new("");
    let (caller, callee) = (site.caller(), site.callee());
    let mut events = site.dataplane.agent.watch();
    let mut guest = site.guest(MACS[0]);
    site.moved(&callee, true);
    call(&caller, &callee, &mut guest);
    drop(guest);
    let told = events.until("that it is unreachable", |event| match event.event {
        Some(Event::Attachment(one)) if one.state == "unreachable" => Some(one),
        _ => None,
    });
    assert_eq!(told.id, u32::from(callee.id));
    until_unreachable(&site, callee.id);
    caller.send(Kind::Request, &name("/shop/a"), |packet| packet);
    let (_, header) = caller.answer();
    assert_eq!(header.kind, Kind::Error, "nobody takes it");
    // Another guest in its place is not taken for it, until it says something under that endpoint.
    let mut guest = site.guest(MACS[1]);
    wait_until("carrier", || site.dataplane.agent.port("pod1v").carrier);
    until_unreachable(&site, callee.id);
    let own = RouterName::new(NodeId(1)).as_name().to_owned();
    let packet = PacketBuilder::new(Kind::EchoRequest)
        .source(callee.name.as_name())
        .destination(own.as_name());
    guest.send(&packet.to_vec().expect("packet"));
    events.until("that it is back", |event| match event.event {
        Some(Event::Attachment(one)) if one.state != "unreachable" => Some(one),
        _ => None,
    });
    guest.packet(PATIENCE).expect("an answer");
    call(&caller, &callee, &mut guest);
    drop(guest);
    until_unreachable(&site, callee.id);
    site.moved(&callee, false);
    caller.send(Kind::Request, &name("/shop/a"), |packet| packet);
    callee.answer();
}

#[test]
fn the_socket_is_for_whom_it_is_said_to_be_and_outlives_no_process() {
    need_ports!();
    let group = nix::unistd::Group::from_gid(1.into());
    let group = group.expect("groups").expect("on every system");
    let rights = |site: &Site| {
        let file = std::fs::metadata(&site.socket).expect("the socket");
        (file.permissions().mode() & 0o777, file.gid())
    };
    let mut site = Site::new("");
    assert_eq!(rights(&site).0, 0o600);
    site.dataplane.signal(Signal::SIGKILL);
    site.dataplane.ended();
    assert!(site.socket.exists());
    site.dataplane = site.dataplane.again();
    site.guest(MACS[0]);
    let site = Site::new(&format!("socket_group = \"{}\"", group.name));
    assert_eq!(rights(&site), (0o660, 1));
}

#[test]
fn a_successor_opens_the_port_again_and_the_pod_goes_on() {
    need_ports!();
    let mut site = Site::new("");
    let (caller, callee) = (site.caller(), site.callee());
    let mut guest = site.guest(MACS[0]);
    site.moved(&callee, true);
    call(&caller, &callee, &mut guest);
    let next = site.dataplane.successor();
    let mut old = std::mem::replace(&mut site.dataplane, next);
    assert_eq!(old.ended().code(), Some(0));
    drop(guest);
    let mut guest = site.guest(MACS[1]);
    wait_until("carrier", || site.dataplane.agent.port("pod1v").carrier);
    // It is unreachable until it registers again.
    site.moved(&callee, true);
    call(&caller, &callee, &mut guest);
}

//! A pod: an ordinary UDP socket in a namespace, attached at a gateway.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use dmsc_proto::v1;
use dmsc_proto::v1::op::Op;
use dmsc_wire::{Header, Kind, NameBuf, PacketBuilder, RequestId, RouterName, UDP_PORT, parse};

use super::{Dataplane, Netns, PATIENCE, ip, name};

static REQUEST: AtomicU64 = AtomicU64::new(1);

/// A new request id.
pub fn request_id() -> RequestId {
    RequestId(REQUEST.fetch_add(1, Relaxed))
}

/// A registered endpoint with its socket.
pub struct Pod {
    /// The socket.
    pub socket: UdpSocket,
    /// Its name under its identity.
    pub name: NameBuf,
    /// Its attachment.
    pub id: u16,
    gateway: SocketAddr,
}

impl Pod {
    /// Opens a socket on `address` in `netns` and attaches it on `port` of `dataplane`, whose address there is `gateway`;
    /// returns when the gateway answers it.
    pub fn attach(
        dataplane: &Dataplane,
        netns: &Netns,
        port: &str,
        address: &str,
        gateway: &str,
        serves: &[&str],
    ) -> Pod {
        let socket = netns
            .inside(|| UdpSocket::bind((ip(address), 0)))
            .expect("bind");
        let local = socket.local_addr().expect("bound");
        let identity = format!("pod-{}-{}", address.replace([':', '.'], "-"), local.port());
        let own = name(&format!("/id/{identity}"));
        let ack = dataplane.agent.apply(vec![Op::Attach(v1::Attachment {
            port: port.into(),
            address: address.into(),
            udp_port: local.port().into(),
            identity,
            serves: serves.iter().map(|n| name(n).as_bytes().to_vec()).collect(),
            owns: vec![own.as_bytes().to_vec()],
            ..Default::default()
        })]);
        let pod = Pod {
            socket,
            name: own,
            id: ack.attachments[0] as u16,
            gateway: SocketAddr::new(ip(gateway), UDP_PORT),
        };
        let node = dataplane.agent.greet(1, 1).expect("greet").node;
        let router = RouterName::new(dmsc_wire::NodeId(node))
            .as_name()
            .to_owned();
        super::wait_until("an answer from the gateway", || {
            let id = pod.send(Kind::EchoRequest, &router, |p| p);
            pod.answer_within(Duration::from_millis(200))
                .is_some_and(|(_, header)| header.request_id == id)
        });
        while pod.answer_within(Duration::from_millis(1)).is_some() {}
        pod
    }

    /// Sends a packet under its own name; `edit` changes what is not usual about it.
    pub fn send(
        &self,
        kind: Kind,
        destination: &NameBuf,
        edit: impl for<'a> FnOnce(PacketBuilder<'a>) -> PacketBuilder<'a>,
    ) -> RequestId {
        let id = request_id();
        let packet = PacketBuilder::new(kind)
            .destination(destination.as_name())
            .source(self.name.as_name())
            .request_id(id);
        self.send_bytes(&edit(packet).to_vec().expect("packet"));
        id
    }

    /// Sends a datagram to the gateway.
    pub fn send_bytes(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.gateway).expect("send");
    }

    /// The next packet from the gateway.
    pub fn answer(&self) -> (Vec<u8>, Header) {
        self.answer_within(PATIENCE).expect("an answer")
    }

    /// The next packet from the gateway, if it comes within `patience`.
    pub fn answer_within(&self, patience: Duration) -> Option<(Vec<u8>, Header)> {
        self.socket
            .set_read_timeout(Some(patience))
            .expect("timeout");
        let mut buffer = [0; 10_000];
        let (length, from) = self.socket.recv_from(&mut buffer).ok()?;
        assert_eq!(from, self.gateway, "from the gateway's DMSC port");
        let header = parse(&buffer[..length]).expect("a DMSC packet");
        Some((buffer[..length].to_vec(), header))
    }

    /// Answers a request with `payload`, as the library of pods does.
    pub fn respond(&self, request: &[u8], header: &Header, payload: &[u8]) {
        let response = PacketBuilder::reply_to(Kind::Response, request, header).payload(payload);
        self.send_bytes(&response.to_vec().expect("packet"));
    }
}

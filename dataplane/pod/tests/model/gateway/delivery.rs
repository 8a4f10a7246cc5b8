//! Delivery of packets by name, and what is done to them on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use dmsc_wire::{
    AttachmentId, Domain, EchoSource, ErrorCode, Flags, Kind, PortId, Probe, RecordSlot,
    RouterName, build_echo_reply, build_error, parse, patch, record,
};
use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::{NODE, State};

/// Header and payload that fit a pod's link, unless told otherwise.
const MAX_PACKET: u32 = 1_472;

/// What becomes of packets beside delivery.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) max_packet: AtomicU32,
    packets: AtomicU32,
    /// Every so manieth is lost; 0 = none.
    pub(super) lose: AtomicU32,
    /// What passes here, if less than pods were told.
    pub(super) narrow: AtomicU32,
    pub(super) too_big: AtomicU32,
    pub(super) largest: AtomicU32,
    /// Whether this is a gateway of others: who is at which attachment is not told, and packets go to any of them, by flow label.
    pub(super) far: AtomicBool,
    /// The last answer of a pod to a probe.
    pub(super) probe: watch::Sender<Option<Probe>>,
    /// Whether those that can bear it are marked "congestion experienced".
    pub(super) mark: AtomicBool,
    /// Datagrams of each class.
    pub(super) classes: [AtomicU32; 8],
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            max_packet: AtomicU32::new(MAX_PACKET),
            packets: AtomicU32::new(0),
            lose: AtomicU32::new(0),
            narrow: AtomicU32::new(0),
            too_big: AtomicU32::new(0),
            largest: AtomicU32::new(0),
            far: AtomicBool::new(false),
            mark: AtomicBool::new(false),
            probe: watch::Sender::new(None),
            classes: Default::default(),
        }
    }
}

impl Delivery {
    fn passes(&self, length: usize) -> bool {
        if length > self.max_packet.load(Relaxed) as usize {
            self.too_big.fetch_add(1, Relaxed);
            return false;
        }
        self.largest.fetch_max(length as u32, Relaxed);
        let packet = self.packets.fetch_add(1, Relaxed) + 1;
        let lose = self.lose.load(Relaxed);
        lose == 0 || !packet.is_multiple_of(lose)
    }
}

pub(super) async fn deliver(state: Arc<State>, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; 65_536];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let Ok(header) = parse(&buffer[..length]) else {
            continue;
        };
        if !state.delivery.passes(length) {
            continue;
        }
        if header.request_id.0 == 0 {
            state.delivery.classes[usize::from(header.class.0)].fetch_add(1, Relaxed);
        }
        let narrow = state.delivery.narrow.load(Relaxed) as usize;
        if narrow != 0 && length > narrow {
            let (packet, mut out) = (&buffer[..length], vec![0; 1_024]);
            if let Some(length) = error(ErrorCode::TooBig, packet, &header, &mut out) {
                socket.send_to(&out[..length], from).await.unwrap();
            }
            continue;
        }
        if state.delivery.mark.load(Relaxed) {
            patch::set_ecn(&mut buffer[..length], header.ecn.mark());
        }
        let attachments = state.attachments.lock().unwrap().clone();
        let source = attachments
            .iter()
            .find(|(_, one)| one.at == from)
            .map_or(0, |(id, _)| *id);
        patch::set_source(&mut buffer[..length], Domain(1), NODE, AttachmentId(source));
        let hop = RecordSlot {
            node: NODE,
            in_port: PortId(1),
            ..RecordSlot::default()
        };
        record::fill_next(&mut buffer[..length], &header, hop);
        let packet = &buffer[..length];
        let name = header.destination_name(packet).unwrap();
        let target = match header.kind {
            Kind::Response | Kind::EchoReply => attachments.get(&header.destination_attachment.0),
            _ if header.flags.contains(Flags::PINNED)
                && header.destination_attachment != AttachmentId::ANY =>
            {
                attachments.get(&header.destination_attachment.0)
            }
            _ => {
                let serving: Vec<_> = attachments
                    .values()
                    .filter(|one| one.serves(name))
                    .collect();
                let far = state.delivery.far.load(Relaxed) && !serving.is_empty();
                let at = if far {
                    header.flow_label.0 as usize % serving.len()
                } else {
                    0
                };
                serving.get(at).copied()
            }
        };
        if header.kind == Kind::EchoRequest && name == RouterName::new(NODE).as_name() {
            let own = EchoSource {
                gateway: NODE,
                attachment: AttachmentId::ANY,
                name: None,
            };
            let mut out = vec![0; 1_024];
            let header = parse(packet).unwrap();
            let length = build_echo_reply(packet, &header, own, &mut out).unwrap();
            socket.send_to(&out[..length], from).await.unwrap();
            continue;
        }
        if header.kind == Kind::Probe && name == RouterName::new(NODE).as_name() {
            let probe = Probe::decode(header.payload(packet)).unwrap();
            state.delivery.probe.send_replace(Some(probe));
            continue;
        }
        if let Some(target) = target {
            socket.send_to(packet, target.at).await.unwrap();
            continue;
        }
        let code = state.error.lock().unwrap().unwrap_or(ErrorCode::NoRoute);
        let mut out = vec![0; 1_024];
        let header = parse(packet).unwrap();
        if let Some(length) = error(code, packet, &header, &mut out) {
            socket.send_to(&out[..length], from).await.unwrap();
        }
    }
}

fn error(
    code: ErrorCode,
    packet: &[u8],
    header: &dmsc_wire::Header,
    out: &mut [u8],
) -> Option<usize> {
    let mtu = if code == ErrorCode::TooBig { 1_400 } else { 0 };
    build_error(code, mtu, NODE, packet, header, out)
}

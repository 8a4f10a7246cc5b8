//! A neighbour router as a dataplane sees it: says hello, tells its address, sends frames and looks at those that come.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Context;
use dmsc_dpdk::{Burst, Device, MacAddr, Port, PortConfig, RxQueue, TxQueue};
use dmsc_proto::v1::{self, op::Op};
use dmsc_wire::{Domain, FlowLabel, Kind, NameBuf, NodeId, PacketBuilder, RequestId};

use super::{Bench, names};
use crate::speaker::{self, Manner, Speaker};
use crate::torture::outer::{self, Frame};

/// Hello interval of all adjacencies here: the default.
pub const HELLO: Duration = Duration::from_millis(50);
/// Boot nonce of all neighbours.
const BOOT: u64 = 0x6e65_6967_6862_6f72;
/// Where the request id stands in a DMSC header.
const REQUEST_ID: usize = 16;

/// A router port of the dataplane and the neighbour behind it; all addresses follow from the number.
#[derive(Debug, Clone, Copy)]
pub struct Place(pub u8);

impl Place {
    /// Name of the port.
    pub fn name(self) -> String {
        format!("r{}", self.0)
    }

    /// The dataplane's address on the link.
    pub fn mac(self) -> MacAddr {
        MacAddr([2, 0, 0, 0, self.0, 1])
    }

    /// The neighbour's.
    pub fn peer_mac(self) -> MacAddr {
        MacAddr([2, 0, 0, 0, self.0, 2])
    }

    fn own(self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.0, 0, 1)
    }

    fn peer(self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.0, 0, 2)
    }

    /// The neighbour's node id.
    pub fn node(self) -> u32 {
        100 + u32::from(self.0)
    }

    /// The dataplane's end of a veth pair.
    pub fn interface(self) -> String {
        format!("pd{}", self.0)
    }

    /// The other end.
    pub fn far_interface(self) -> String {
        format!("pg{}", self.0)
    }

    /// Its `[[port]]` section; `device` is the line that names the device.
    pub fn section(self, kind: &str, device: &str) -> String {
        format!(
            "[[port]]\nname = \"{}\"\nkind = \"{kind}\"\n{device}\nmac = \"{}\"\naddresses = [\"{}/24\"]\nexception = \"none\"\nrole = \"router\"\n\n",
            self.name(),
            self.mac(),
            self.own()
        )
    }

    /// The adjacency, whose id is the number, and the gateway that the neighbour is.
    pub fn operations(self) -> Vec<v1::Op> {
        let adjacency = Op::PutAdjacency(v1::Adjacency {
            id: u32::from(self.0),
            port: self.name(),
            peer: self.node(),
            encapsulation: "udp".into(),
            local_address: self.own().to_string(),
            remote_address: self.peer().to_string(),
            ..v1::Adjacency::default()
        });
        let mut ops = vec![v1::Op {
            op: Some(adjacency),
        }];
        ops.extend(gateway(self.node(), &[self]));
        ops
    }
}

/// A gateway behind these neighbours, at equal cost.
pub fn gateway(node: u32, over: &[Place]) -> [v1::Op; 2] {
    [0, 1].map(|topology| v1::Op {
        op: Some(Op::PutGateway(v1::Gateway {
            topology,
            gateway: node,
            metric: 10,
            next_hops: over.iter().map(|place| u32::from(place.0)).collect(),
            ..v1::Gateway::default()
        })),
    })
}

/// What a call is to say.
#[derive(Debug, Clone)]
pub struct Call {
    /// To whom.
    pub name: NameBuf,
    /// Stamped already; 0: by name.
    pub gateway: u32,
    /// Its flow.
    pub flow: u32,
    /// Length of the frame, bytes.
    pub length: usize,
}

/// What came of one turn.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Frames that came, hellos and all.
    pub frames: usize,
    /// A hello was said.
    pub said: bool,
}

/// The neighbour.
pub struct Neighbour {
    place: Place,
    rx: RxQueue,
    tx: TxQueue,
    pool: dmsc_dpdk::Mempool,
    frame: Frame,
    speaker: Speaker,
    next_hello: Instant,
    /// Says nothing any more.
    pub silent: bool,
}

impl Neighbour {
    /// Opens the other end of the port.
    ///
    /// # Errors
    /// When the device cannot be had.
    pub fn open(bench: &Bench, place: Place, device: &Device) -> anyhow::Result<Neighbour> {
        let port = Port::create(&bench.eal, &format!("far-{}", place.name()), device)
            .and_then(|port| port.start(PortConfig::new(&bench.pool)))
            .with_context(|| format!("the other end of port {} cannot be had", place.name()))?;
        let (rx, tx) = port
            .queues
            .into_iter()
            .next()
            .context("a port has a queue")?;
        Ok(Neighbour {
            place,
            rx,
            tx,
            pool: bench.pool.clone(),
            frame: Frame::default(),
            speaker: Speaker::default(),
            next_hello: Instant::now(),
            silent: false,
        })
    }

    /// Takes what came, and says hello when that is due. `each` hears of every call with its request id and flow label.
    pub fn turn(&mut self, now: Instant, mut each: impl FnMut(u64, u32)) -> Turn {
        let mut burst = Burst::new();
        let frames = self.rx.burst(&mut burst);
        for mbuf in burst.iter().filter(|mbuf| mbuf.is_contiguous()) {
            let Some((packet, ..)) = outer::find_dmsc(mbuf.data()) else {
                continue;
            };
            let Ok(header) = dmsc_wire::parse(packet) else {
                continue;
            };
            match header.kind {
                Kind::Hello => self.speaker.hear(mbuf.data()),
                Kind::Request => each(header.request_id.0, header.flow_label.0),
                _ => {}
            }
        }
        let said = !self.silent && now >= self.next_hello;
        if said {
            self.next_hello = now + HELLO;
            self.say();
        }
        Turn { frames, said }
    }

    /// Says hello, and where this neighbour is.
    fn say(&mut self) {
        let place = self.place;
        let mut frame = std::mem::take(&mut self.frame);
        let from = (place.peer_mac(), place.peer());
        frame.arp(place.mac(), 0, 1, from, place.own());
        frame.seal();
        self.send(&frame.bytes);
        let hello = self.speaker.hello(Manner {
            node: NodeId(place.node()),
            boot_nonce: BOOT,
            interval_ms: HELLO.as_millis() as u16,
            multiplier: 3,
            mtu: 1_500,
        });
        self.wrap(&mut frame, 0, &hello.packet());
        self.send(&frame.bytes);
        self.frame = frame;
    }

    fn wrap(&self, frame: &mut Frame, flow: u32, packet: &[u8]) {
        let place = self.place;
        frame.ethernet(place.mac(), place.peer_mac(), 0, outer::IPV4);
        frame.ip(place.peer().into(), place.own().into(), outer::UDP, 255, 0);
        frame.udp(0xc000 | (flow & 0x3fff) as u16, dmsc_wire::UDP_PORT);
        frame.dmsc = frame.bytes.len();
        frame.bytes.extend_from_slice(packet);
        frame.seal();
        // None between routers over IPv4 (RFC 768), so that numbers can be changed in a frame that is ready.
        outer::put16(&mut frame.bytes, frame.transport + 6, 0);
    }

    /// A frame that carries a call, and where its request id stands: [`number`] changes it.
    pub fn call(&self, call: &Call) -> (Vec<u8>, usize) {
        let source = names::service(0);
        let builder = PacketBuilder::new(Kind::Request)
            .destination(call.name.as_name())
            .source(source.as_name())
            .domain(Domain(names::domain()))
            .flow_label(FlowLabel(call.flow))
            .request_id(RequestId(0))
            .source_gateway(NodeId(self.place.node()))
            .destination_gateway(NodeId(call.gateway));
        let payload = vec![0x5a; call.length.saturating_sub(42 + builder.header_len())];
        let packet = builder.payload(&payload).to_vec().unwrap_or_default();
        let mut frame = Frame::default();
        self.wrap(&mut frame, call.flow, &packet);
        let at = frame.dmsc + REQUEST_ID;
        (frame.bytes, at)
    }

    /// Hands one frame to the driver now; false: it did not take it.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        speaker::send(&mut self.tx, &self.pool, bytes)
    }
}

/// Writes a request id into a frame of [`Neighbour::call`].
pub fn number((frame, at): &mut (Vec<u8>, usize), id: u64) {
    if let Some(place) = frame.get_mut(*at..*at + 8) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

/// The other end of a veth pair.
pub fn af_packet(place: Place) -> Device {
    Device::AfPacket {
        iface: place.far_interface(),
        queues: 1,
        mtu: 1_500,
        frames: 0,
        qdisc_bypass: true,
    }
}

/// Waits until the dataplane is up with all of them.
///
/// # Errors
/// When that takes longer than ten seconds, and once a signal came.
pub async fn until_up(
    bench: &Bench,
    dataplane: &mut crate::torture::dataplane::Dataplane,
    neighbours: &mut [Neighbour],
) -> anyhow::Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        for neighbour in neighbours.iter_mut() {
            neighbour.turn(Instant::now(), |_, _| {});
        }
        dataplane.check()?;
        let unready = dataplane.unready(&[], &[]).await?;
        if unready.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            anyhow::bail!("not up within ten seconds: {}", unready.join(", "));
        }
        bench.pause(Duration::from_millis(5)).await?;
    }
}

//! Valid frames of everything that may come in by a port: every type of packet, every option, and what lives beside DMSC.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use dmsc_dpdk::MacAddr;
use dmsc_wire::{
    AttachmentId, Class, Domain, Ecn, ErrorCode, Flags, FlowLabel, Hello, HelloState, Kind as Type,
    NameBuf, NodeId, OptionType, PacketBuilder, PortId, Probe, RequestId, RouterName, build_error,
};

use super::outer::{self, Frame};
use super::site::{self, CARRIERS, Carrier, NODE, PEERS, POD_PORT, Role, Site, VLAN};
use crate::prng::Prng;

/// What all ports of a run know of each other: names and ids are drawn from it.
#[derive(Debug)]
pub struct World {
    /// All ports.
    pub sites: Vec<Site>,
    /// Names to call.
    names: Vec<NameBuf>,
}

impl World {
    /// Of these ports.
    pub fn new(sites: Vec<Site>) -> World {
        let mut names: Vec<NameBuf> = [
            "/t/shared",
            "/t/shared/cart/v1",
            "/t/far",
            "/t/dead",
            "/t/denied",
            "/t/nobody",
            "/nobody/at/all",
            "/t/%00%FF/x/y/z/a/b/c/d/e/f/g/h/i",
        ]
        .map(site::name)
        .into();
        names.extend([NODE, NodeId(77)].map(|n| RouterName::new(n).as_name().to_owned()));
        for site in &sites {
            for peer in 0..PEERS {
                match site.role {
                    Role::Pod => names.extend([site.served(peer), site.identity(peer)]),
                    Role::Router => {
                        names.push(site::name(&format!("/t/{}/{peer}/get", site.name)));
                        let node = site.peer_node(peer);
                        names.push(RouterName::new(node).as_name().to_owned());
                    }
                }
            }
        }
        World { sites, names }
    }
}

/// Makes the frames of one port, in an order that only seed and port decide.
#[derive(Debug, Clone)]
pub struct Factory {
    world: Arc<World>,
    site: Site,
    prng: Prng,
    packet: Vec<u8>,
    donor: Frame,
    made: u64,
}

impl Factory {
    /// For the port `site` of `world`.
    pub fn new(world: Arc<World>, site: Site, seed: u64) -> Factory {
        let prng = Prng::new(seed, u64::from(site.number));
        let mut factory = Factory {
            world,
            site,
            prng,
            packet: Vec::new(),
            donor: Frame::default(),
            made: 0,
        };
        let mut donor = Frame::default();
        factory.valid(&mut donor);
        factory.donor = donor;
        factory
    }

    /// The next frame: every second one is mutated.
    pub fn next(&mut self, frame: &mut Frame) {
        self.made += 1;
        self.valid(frame);
        if self.made.is_multiple_of(2) {
            let (donor, sizes) = (&self.donor.bytes, self.site.kind.frame_sizes());
            super::mutate::mutate(frame, donor, sizes, &mut self.prng);
        } else {
            self.donor.clone_from(frame);
        }
    }

    fn valid(&mut self, frame: &mut Frame) {
        if self.prng.chance(80) {
            self.dmsc(frame);
        } else {
            self.plain(frame);
        }
        frame.bytes.truncate(self.site.kind.frame_sizes().1);
    }

    /// A DMSC packet of one of the peers.
    fn dmsc(&mut self, frame: &mut Frame) {
        let peer = self.prng.below(PEERS);
        let mut packet = std::mem::take(&mut self.packet);
        self.packet_of(peer, &mut packet);
        self.wrap(frame, peer, &packet);
        self.packet = packet;
        let prng = &mut self.prng;
        match prng.below(200) {
            // For somebody else on the link.
            0 => frame.bytes[5] ^= 0x10,
            // A first fragment, and a later one.
            1 if frame.ip != 0 && frame.transport - frame.ip == 20 => {
                let bits = if prng.chance(50) { 0x2000 } else { 0x0010 };
                outer::put16(&mut frame.bytes, frame.ip + 6, bits);
                frame.set_checksums();
            }
            // From further away than a neighbour is.
            2 if frame.ip != 0 && frame.transport - frame.ip == 20 => {
                frame.bytes[frame.ip + 8] = prng.between(1, 254) as u8;
                frame.set_checksums();
            }
            // Bytes behind the packet: padding on Ethernet, a mistake in UDP.
            3..8 => prng.append(&mut frame.bytes, 18),
            _ => {}
        }
    }

    /// Puts the headers of `peer` around a packet.
    fn wrap(&mut self, frame: &mut Frame, peer: usize, packet: &[u8]) {
        let ecn = self.prng.below(4) as u8;
        // Now and then from an endpoint that nobody registered.
        let port = POD_PORT + u16::from(self.prng.below(100) == 0);
        wrap(&self.site, frame, peer, packet, (ecn, port));
    }

    fn name(&mut self) -> NameBuf {
        self.prng.pick(&self.world.names).clone()
    }

    fn packet_of(&mut self, peer: usize, out: &mut Vec<u8>) {
        out.resize(2048, 0);
        let from_router = self.site.role == Role::Router;
        let kind = match (from_router, self.prng.below(1000)) {
            (_, 0..380) => Type::Request,
            (_, 380..580) => Type::Response,
            (_, 580..760) => Type::EchoRequest,
            (_, 760..880) => Type::EchoReply,
            (true, 880..985) | (false, 880..885) => Type::Error,
            (true, 985..990) | (false, 885..890) => Type::Hello,
            (true, _) | (false, 890..895) => Type::Probe,
            _ => Type::Request,
        };
        let length = match kind {
            Type::Hello => self.hello(peer).write(out).ok(),
            Type::Probe => {
                let probe = Probe {
                    id: self.prng.bits(),
                    t1: self.prng.bits(),
                    ..Probe::default()
                };
                probe.write(self.site.peer_node(peer), Class(0), out).ok()
            }
            Type::Error => self.error(peer, out),
            kind => self.named(kind, peer, out),
        };
        out.truncate(length.unwrap_or(0));
    }

    /// A hello as the neighbour could have sent it before: valid, and old.
    fn hello(&mut self, peer: usize) -> Hello {
        Hello {
            node: self.site.peer_node(peer),
            port: PortId(1),
            boot_nonce: super::hello::BOOT,
            sequence: 0,
            state: *self
                .prng
                .pick(&[HelloState::Down, HelloState::Init, HelloState::Up]),
            heard: None,
            version_min: 1,
            version_max: 1 + self.prng.below(2) as u8,
            interval_ms: 50,
            multiplier: 3,
            mtu: site::MTU,
            key_id: 0,
            mac: [0; 16],
        }
    }

    fn error(&mut self, peer: usize, out: &mut [u8]) -> Option<usize> {
        let mut offender = [0; 2048];
        let length = self.named(Type::Request, peer, &mut offender)?;
        let header = dmsc_wire::parse(&offender[..length]).ok()?;
        let code = *self.prng.pick(&[
            ErrorCode::NoRoute,
            ErrorCode::HopLimit,
            ErrorCode::TooBig,
            ErrorCode::Denied,
            ErrorCode::SourceNotOwned,
            ErrorCode::Overloaded,
        ]);
        let node = self.site.peer_node(peer);
        build_error(code, 1400, node, &offender[..length], &header, out)
    }

    /// A packet that travels by name. `None` where names and options got too long together.
    fn named(&mut self, kind: Type, peer: usize, out: &mut [u8]) -> Option<usize> {
        let (destination, source) = (self.name(), self.source(peer));
        let world = Arc::clone(&self.world);
        let site = self.site.clone();
        let prng = &mut self.prng;
        let other = prng.pick(&world.sites);
        let other_peer = prng.below(PEERS);
        let other_node = match other.role {
            Role::Router => other.peer_node(other_peer),
            Role::Pod => NODE,
        };
        let gateway = match prng.below(10) {
            0..4 => NodeId::NONE,
            4..6 => NODE,
            6..9 => other_node,
            _ => NodeId(prng.bits() as u32),
        };
        let source_gateway = match site.role {
            Role::Router => site.peer_node(peer),
            Role::Pod => NodeId(prng.below(3) as u32),
        };
        let attachment = match prng.below(3) {
            0 => AttachmentId::ANY,
            1 => other.attachment(other_peer),
            _ => AttachmentId(prng.bits() as u16),
        };
        let mut flags = Flags::NONE;
        for (flag, percent) in [
            (Flags::PINNED, 25),
            (Flags::IDEMPOTENT, 30),
            (Flags::TELEMETRY, 20),
            (Flags::REBOUND, 10),
            (Flags::FIRST, 3),
            (Flags::LAST, 3),
            (Flags(0x02), 3),
        ] {
            if prng.chance(percent) {
                flags.insert(flag);
            }
        }
        let mut payload = Vec::new();
        let most = if prng.chance(95) { 256 } else { 1600 };
        let length = prng.below(most);
        prng.append(&mut payload, length);
        let hop_limit = if prng.chance(90) {
            64
        } else {
            prng.below(4) as u8
        };
        let mut builder = PacketBuilder::new(kind)
            .destination(destination.as_name())
            .source(source.as_name())
            .flags(flags)
            .hop_limit(hop_limit)
            .class(Class(prng.below(8) as u8))
            .ecn(Ecn::from_bits(prng.below(4) as u8))
            .domain(Domain(if prng.chance(95) {
                1
            } else {
                prng.bits() as u32
            }))
            .flow_label(FlowLabel(prng.bits() as u32))
            .request_id(RequestId(prng.bits()))
            .source_gateway(source_gateway)
            .source_attachment(attachment)
            .destination_gateway(gateway)
            .destination_attachment(attachment)
            .payload(&payload);
        let may_record = matches!(kind, Type::EchoRequest | Type::EchoReply)
            || (kind == Type::Request && flags.contains(Flags::TELEMETRY));
        if may_record && prng.chance(60) {
            builder = builder.record_slots(prng.between(1, 20) as u8);
        }
        // Unknown options, hop by hop first, that may be ignored.
        if prng.chance(15) {
            builder = builder.option(OptionType(0x42), &[1, 2, 3]);
        }
        if prng.chance(15) {
            builder = builder.option(OptionType(0x02), b"opaque");
        }
        builder.write(out).ok()
    }

    /// A name that the peer may send with, most of the time.
    fn source(&mut self, peer: usize) -> NameBuf {
        let (site, prng) = (&self.site, &mut self.prng);
        match (site.role, prng.below(10)) {
            (_, 0) | (Role::Router, _) => self.name(),
            (Role::Pod, 1..4) => site.served(peer),
            (Role::Pod, _) => site.identity(peer),
        }
    }

    /// What is neither DMSC nor its hellos.
    fn plain(&mut self, frame: &mut Frame) {
        let site = self.site.clone();
        let prng = &mut self.prng;
        let (mac, from) = (site.mac(), site.peer_mac());
        let peer = prng.below(PEERS);
        let (own4, own6, peer4, peer6) =
            (site.own4(), site.own6(), site.peer4(peer), site.peer6(peer));
        let elsewhere: IpAddr = IpAddr::from([198, 51, 100, prng.below(256) as u8]);
        match prng.below(12) {
            0 | 1 => frame.arp(MacAddr([0xff; 6]), site.vlan(peer), 1, (from, peer4), own4),
            2 => frame.arp(mac, site.vlan(peer), 2, (from, peer4), own4),
            3 => resolve6(&site, frame, peer),
            4 => frame.discovery(mac, 136, (from, peer6), own6, peer6),
            5 => {
                let to = if prng.chance(50) {
                    own4.into()
                } else {
                    elsewhere
                };
                frame.ethernet(mac, from, 0, outer::IPV4);
                frame.ip(peer4.into(), to, outer::UDP, 64, 0);
                frame.udp(prng.bits() as u16, 9999);
                prng.append(&mut frame.bytes, 40);
            }
            6 => {
                frame.ethernet(mac, from, 0, outer::IPV4);
                frame.ip(peer4.into(), own4.into(), outer::TCP, 64, 0);
                frame.bytes.extend((prng.bits() as u16).to_be_bytes());
                frame.bytes.extend([0, 22]);
                prng.append(&mut frame.bytes, 8);
                frame.bytes.extend([0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
            }
            7 => {
                frame.ethernet(mac, from, 0, outer::IPV4);
                frame.ip(peer4.into(), own4.into(), outer::ICMP, 64, 0);
                frame.bytes.extend([8, 0, 0, 0]);
                prng.append(&mut frame.bytes, 36);
            }
            8 | 9 => self.complaint(frame, peer),
            10 => {
                // LLDP, and what only looks like Ethernet.
                let ethertype = if prng.chance(50) {
                    0x88cc
                } else {
                    prng.bits() as u16
                };
                let to = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x0e]);
                frame.ethernet(to, from, 0, ethertype);
                prng.append(&mut frame.bytes, 46);
            }
            _ => {
                frame.ethernet(mac, from, prng.between(1, 4094) as u16, outer::IPV4);
                frame.ip(peer4.into(), own4.into(), outer::UDP, 255, 0);
                frame.udp(POD_PORT, dmsc_wire::UDP_PORT);
                prng.append(&mut frame.bytes, 64);
            }
        }
        frame.seal();
    }

    /// ICMP about a datagram that the dataplane could have sent: port unreachable, or too big.
    fn complaint(&mut self, frame: &mut Frame, peer: usize) {
        let (site, prng) = (&self.site, &mut self.prng);
        let v6 = CARRIERS[peer] == Carrier::Udp6;
        let (own, remote): (IpAddr, IpAddr) = if v6 {
            (site.own6().into(), site.peer6(peer).into())
        } else {
            (site.own4().into(), site.peer4(peer).into())
        };
        let port = match site.role {
            Role::Router => dmsc_wire::UDP_PORT,
            Role::Pod => POD_PORT,
        };
        let mut about = Frame::default();
        about.ip(own, remote, outer::UDP, 255, 0);
        about.udp(dmsc_wire::UDP_PORT, port);
        prng.append(&mut about.bytes, 64);
        let (ethertype, protocol) = if v6 {
            (outer::IPV6, outer::ICMPV6)
        } else {
            (outer::IPV4, outer::ICMP)
        };
        frame.ethernet(site.mac(), site.peer_mac(), 0, ethertype);
        frame.ip(remote, own, protocol, 64, 0);
        let mtu = prng.between(1280, 1499) as u16;
        match (v6, prng.chance(50)) {
            (false, true) => frame.bytes.extend([3, 3, 0, 0, 0, 0, 0, 0]),
            (false, false) => frame.bytes.extend([3, 4, 0, 0, 0, 0]),
            (true, true) => frame.bytes.extend([1, 4, 0, 0, 0, 0, 0, 0]),
            (true, false) => frame.bytes.extend([2, 0, 0, 0, 0, 0]),
        }
        if frame.bytes.len() < frame.transport + 8 {
            frame.bytes.extend(mtu.to_be_bytes());
        }
        frame.bytes.extend(&about.bytes);
    }
}

/// A neighbour solicitation from `peer`, which also tells its address.
pub fn resolve6(site: &Site, frame: &mut Frame, peer: usize) {
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1);
    let to = MacAddr([0x33, 0x33, 0xff, 0, 0, 1]);
    let from = (site.peer_mac(), site.peer6(peer));
    frame.discovery(to, 135, from, group, site.own6());
}

/// Puts the headers of a port's `peer` around `packet`; `more` is the outer ECN and a pod's UDP port.
pub fn wrap(site: &Site, frame: &mut Frame, peer: usize, packet: &[u8], more: (u8, u16)) {
    let (ecn, pod_port) = more;
    let port = match site.role {
        Role::Router => 0xc000 | u16::from(packet.get(15).copied().unwrap_or(0)),
        Role::Pod => pod_port,
    };
    let (mac, from) = (site.mac(), site.peer_mac());
    match CARRIERS[peer] {
        Carrier::Ethernet => frame.ethernet(mac, site.ethernet_mac(), 0, dmsc_wire::ETHERTYPE),
        Carrier::Udp6 => {
            frame.ethernet(mac, from, 0, outer::IPV6);
            frame.ip(
                site.peer6(peer).into(),
                site.own6().into(),
                outer::UDP,
                255,
                ecn,
            );
            frame.udp(port, dmsc_wire::UDP_PORT);
        }
        carrier => {
            let tagged = carrier == Carrier::Second && site.role == Role::Router;
            frame.ethernet(mac, from, if tagged { VLAN } else { 0 }, outer::IPV4);
            frame.ip(
                site.peer4(peer).into(),
                site.own4().into(),
                outer::UDP,
                255,
                ecn,
            );
            frame.udp(port, dmsc_wire::UDP_PORT);
        }
    }
    frame.dmsc = frame.bytes.len();
    frame.bytes.extend_from_slice(packet);
    frame.seal();
}

#[cfg(test)]
mod tests {
    use super::super::kind::Kind;
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_frames_and_half_of_them_valid() {
        for role in [Role::Router, Role::Pod] {
            let site = Site::new(3, Kind::Memif, role);
            let world = Arc::new(World::new(vec![
                site.clone(),
                Site::new(4, Kind::Tap, Role::Pod),
            ]));
            let make = |seed| {
                let mut factory = Factory::new(world.clone(), site.clone(), seed);
                let mut frame = Frame::default();
                (0..4000)
                    .map(|_| {
                        factory.next(&mut frame);
                        frame.bytes.clone()
                    })
                    .collect::<Vec<_>>()
            };
            let frames = make(5);
            assert!(frames == make(5) && frames != make(6));
            let valid = frames
                .iter()
                .filter(|bytes| {
                    outer::find_dmsc(bytes).is_some_and(|(p, ..)| dmsc_wire::parse(p).is_ok())
                })
                .count();
            // 80 % of the unchanged ones carry DMSC, less those that are fragments or too long; and some survive.
            assert!((1400..3000).contains(&valid), "{valid}");
        }
    }
}

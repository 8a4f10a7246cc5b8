//! Station 1: finds out what a frame is, and validates the DMSC header if it has one.

use std::net::IpAddr;

use dmsc_wire::{Ecn, Header, Kind, ParseError, Probe, patch};

use super::Env;
use crate::attachment::Endpoint;
use crate::choose::router_of;
use crate::counters::{DropReason, EventKind};
use crate::frame::Frame;
use crate::net::{self, Ethernet, Ip, IpError};
use crate::packet::{Batch, Context, Origin, Verdict};
use crate::port::PortState;

/// Classifies every frame of the batch.
#[inline]
pub fn run<F: Frame>(env: &Env<'_>, batch: &mut Batch<F>) {
    for (frame, context) in batch.iter_mut() {
        let Some(port) = env.chooser.ports.get(usize::from(context.port)) else {
            context.drop(DropReason::NoRoute);
            continue;
        };
        if !frame.is_contiguous() {
            context.drop(DropReason::MultiSegment);
            continue;
        }
        context.verdict = match classify(env, port, frame.bytes(), context) {
            Ok(verdict) => verdict,
            Err(reason) => Verdict::Drop(reason),
        };
        if context.outer_ecn != 0 && context.is_open() {
            combine_ecn(env, frame, context);
        }
    }
}

fn classify(
    env: &Env<'_>,
    port: &PortState,
    frame: &[u8],
    context: &mut Context,
) -> Result<Verdict, DropReason> {
    let ethernet = Ethernet::parse(frame).ok_or(DropReason::Truncated)?;
    if ethernet.destination.is_unicast() && ethernet.destination != port.mac {
        return Err(DropReason::ForeignMac);
    }
    if ethernet.vlan != port.config.vlan
        && !env
            .chooser
            .tables
            .adjacencies
            .on_port(port.number)
            .iter()
            .any(|a| a.config.vlan == ethernet.vlan)
    {
        return Err(DropReason::WrongVlan);
    }
    let packet = &frame[ethernet.length..];
    match ethernet.ethertype {
        dmsc_wire::ETHERTYPE => {
            context.offset = ethernet.length as u16;
            dmsc(env, port, packet, &ethernet, None, context)
        }
        net::ETHERTYPE_IPV4 | net::ETHERTYPE_IPV6 => ip(env, port, packet, &ethernet, context),
        net::ETHERTYPE_ARP => Ok(Verdict::Arp),
        _ => plain(port),
    }
}

/// What is neither DMSC nor neighbour resolution: to the kernel, unless a pod's port says otherwise.
fn plain(port: &PortState) -> Result<Verdict, DropReason> {
    if port.drops_plain_ip() {
        Err(DropReason::PlainIp)
    } else {
        Ok(Verdict::Kernel)
    }
}

fn ip(
    env: &Env<'_>,
    port: &PortState,
    packet: &[u8],
    ethernet: &Ethernet,
    context: &mut Context,
) -> Result<Verdict, DropReason> {
    let ip = Ip::parse(packet).map_err(|error| match error {
        IpError::Truncated => DropReason::Truncated,
        IpError::Malformed => DropReason::BadIpHeader,
        IpError::Checksum => DropReason::BadChecksum,
    })?;
    if ip.protocol == net::PROTOCOL_ICMP || ip.protocol == net::PROTOCOL_ICMPV6 {
        return Ok(Verdict::Icmp);
    }
    if !port.owns(ip.destination) || (ip.protocol != net::PROTOCOL_UDP && !ip.fragment) {
        return plain(port);
    }
    let udp = &packet[ip.header..ip.header + ip.payload];
    if ip.fragment {
        // The first fragment shows the port; later ones can not be told and the kernel drops them without it.
        let ours =
            ip.protocol == net::PROTOCOL_UDP && net::be16(udp, 2) == env.udp_port && udp.len() >= 8;
        return if ours {
            Err(DropReason::IpFragment)
        } else {
            plain(port)
        };
    }
    if udp.len() < 8 {
        return Err(DropReason::Truncated);
    }
    if net::be16(udp, 2) != env.udp_port {
        return plain(port);
    }
    let length = usize::from(net::be16(udp, 4));
    if length < 8 || length > udp.len() {
        return Err(DropReason::Truncated);
    }
    let udp = &udp[..length];
    if ip.header + ip.payload > usize::from(port.config.mtu) {
        return Err(DropReason::GsoFrame);
    }
    if port.is_pod() {
        let checksum = net::be16(udp, 6);
        let absent = checksum == 0;
        let sum = || {
            net::fold(net::sum(
                udp,
                net::pseudo_header(ip.source, ip.destination, net::PROTOCOL_UDP, length),
            ))
        };
        if (absent && ip.source.is_ipv6()) || (!absent && sum() != 0) {
            return Err(DropReason::BadChecksum);
        }
    }
    context.offset = (ethernet.length + ip.header + 8) as u16;
    context.outer_ecn = ip.ecn;
    let carrier = Carrier {
        source: ip.source,
        source_port: net::be16(udp, 0),
        destination: ip.destination,
        ttl: ip.ttl,
    };
    dmsc(env, port, &udp[8..], ethernet, Some(carrier), context)
}

/// What the outer UDP and IP headers say.
struct Carrier {
    source: IpAddr,
    source_port: u16,
    destination: IpAddr,
    ttl: u8,
}

fn dmsc(
    env: &Env<'_>,
    port: &PortState,
    packet: &[u8],
    ethernet: &Ethernet,
    carrier: Option<Carrier>,
    context: &mut Context,
) -> Result<Verdict, DropReason> {
    let header = dmsc_wire::parse(packet).map_err(reason)?;
    context.header = Some(header);
    if port.is_pod() {
        if !header.kind.is_from_pods() {
            answer_of_pod(&header, packet)?;
        }
        if carrier.is_some() && header.total_len() != packet.len() {
            // Bytes behind the packet in a datagram: several datagrams handed over as one (UDP_SEGMENT).
            return Err(DropReason::GsoFrame);
        }
        context.origin = Origin::Endpoint(match &carrier {
            Some(c) => Endpoint::Udp(c.source, c.source_port),
            None => Endpoint::Ethernet(ethernet.source),
        });
        return Ok(Verdict::Continue);
    }
    let udp = carrier.as_ref().map(|c| (c.destination, c.source));
    let adjacency = env
        .chooser
        .tables
        .adjacencies
        .on_port(port.number)
        .iter()
        .find(|a| a.config.udp == udp && a.config.vlan == ethernet.vlan)
        .ok_or(DropReason::UnknownNeighbour)?;
    if carrier.is_some_and(|c| c.ttl < adjacency.config.minimum_ttl) {
        return Err(DropReason::TtlTooLow);
    }
    context.origin = Origin::Router(adjacency.config.id);
    match header.kind {
        Kind::Hello => Ok(Verdict::Hello(adjacency.config.id)),
        // Between neighbours; all others have names.
        Kind::Probe if header.destination_name_len == 0 => Ok(Verdict::Probe(adjacency.config.id)),
        _ => Ok(Verdict::Continue),
    }
}

/// Of the other types a pod sends answers to probes, and only to routers: it asks nobody.
#[cold]
fn answer_of_pod(header: &Header, packet: &[u8]) -> Result<(), DropReason> {
    let to_router = header
        .destination_name(packet)
        .is_some_and(|name| router_of(name).is_some());
    if header.kind != Kind::Probe || !to_router {
        return Err(DropReason::KindNotAllowed);
    }
    match Probe::decode(header.payload(packet)) {
        Err(_) => Err(DropReason::BadProbe),
        Ok(probe) if probe.is_question() => Err(DropReason::KindNotAllowed),
        Ok(_) => Ok(()),
    }
}

fn reason(error: ParseError) -> DropReason {
    match error {
        ParseError::Truncated { .. } => DropReason::Truncated,
        ParseError::BadVersion(_) => DropReason::BadVersion,
        ParseError::NameNotCanonical { .. } => DropReason::BadName,
        ParseError::BadOption { .. } | ParseError::UnknownOption { .. } => DropReason::BadOption,
        _ => DropReason::BadHeader,
    }
}

/// The header's mark is the truth between routers; the outer one is combined into it (RFC 6040).
fn combine_ecn<F: Frame>(env: &Env<'_>, frame: &mut F, context: &mut Context) {
    let Some(header) = &mut context.header else {
        return;
    };
    match header.ecn.decapsulate(Ecn::from_bits(context.outer_ecn)) {
        None => context.drop(DropReason::BadIpHeader),
        Some(combined) if combined != header.ecn => {
            header.ecn = combined;
            let offset = usize::from(context.offset);
            if let Some(packet) = frame.bytes_mut().get_mut(offset..) {
                patch::set_ecn(packet, combined);
            }
            env.event(context.port, EventKind::EcnCombined);
        }
        Some(_) => {}
    }
}

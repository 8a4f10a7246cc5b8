//! What most packets between routers need, in one look: a call or answer from a neighbour, without options, that leaves by another
//! adjacency. Everything else is left to the stages, which do the same for every packet there is; a test compares the two.
//!
//! What is malformed is left to the stages, too, names included: every router drops it and counts why.

use arrayvec::ArrayVec;
use dmsc_fib::{AdjacencyId, LookupKey, PathKind, PrefixMatch, Topology};
use dmsc_wire::{AttachmentId, Domain, FlowLabel, Header, Kind, NodeId, patch};

use super::Env;
use crate::adjacency::Adjacency;
use crate::choose::Call;
use crate::counters::EventKind;
use crate::frame::Frame;
use crate::mac::MacAddress;
use crate::meter::Station;
use crate::packet::BATCH;
use crate::port::PortState;

/// Frames whose data is asked for ahead.
const AHEAD: usize = 4;
/// Ways out that a burst remembers.
const WAYS: usize = 4;

/// What the look at a packet found.
struct Look<'a> {
    came: &'a Adjacency,
    /// [`NodeId::NONE`]: to be resolved by name.
    gateway: NodeId,
    domain: Domain,
    flow: FlowLabel,
    /// Of the DMSC header in the frame.
    offset: u16,
    /// Bytes of DMSC header and payload.
    total: u16,
    hop_limit: u8,
    class: u8,
    ecn: u8,
}

/// A way out that was found usable in this burst.
#[derive(Clone, Copy)]
struct Way<'a> {
    came: AdjacencyId,
    id: AdjacencyId,
    out: &'a Adjacency,
    mac: MacAddress,
    /// Largest DMSC packet.
    largest: usize,
}

/// Makes the first frames of a burst of a router port ready to leave, in order, up to the first one that needs the stages; returns
/// how many. `exits` gets the port number for each of them; no other frame is changed.
#[inline]
pub fn run<F: Frame>(env: &Env<'_>, port: &PortState, frames: &mut [F], exits: &mut [u8]) -> usize {
    if port.config.vlan != 0 {
        return 0;
    }
    let neighbours = env.chooser.tables.adjacencies.on_port(port.number);
    let mut looks: ArrayVec<Look<'_>, BATCH> = ArrayVec::new();
    let mut names = 0;
    for (index, frame) in frames.iter().enumerate().take(BATCH) {
        if let Some(later) = frames.get(index + AHEAD) {
            later.prefetch();
        }
        let Some(look) = neighbours
            .iter()
            .find_map(|came| look(env, port, came, frame))
        else {
            break;
        };
        names += usize::from(!look.gateway.is_some());
        looks.push(look);
    }
    env.counters.meter.mark(Station::Parse);
    let mut matches: [Option<PrefixMatch>; BATCH] = [None; BATCH];
    let mut gateways = [NodeId::NONE; BATCH];
    if names > 0 {
        resolve(env, frames, &looks, &mut matches);
        env.counters.meter.mark(Station::Lookup);
        place(env, &looks, &matches, &mut gateways);
    }
    let mut matches = matches.iter();
    let mut placed = gateways.iter();
    let mut known: [Option<Way<'_>>; WAYS] = [None; WAYS];
    let (mut done, mut resolved, mut alternates) = (0, 0, 0);
    for ((look, frame), exit) in looks.iter().zip(frames.iter_mut()).zip(exits.iter_mut()) {
        let by_name = !look.gateway.is_some();
        let mut gateway = look.gateway;
        let mut hop = None;
        if by_name {
            gateway = placed.next().copied().unwrap_or(NodeId::NONE);
            let Some(Some(found)) = matches.next() else {
                break;
            };
            if gateway.is_some() {
                hop = way(env, look, gateway, &mut known);
            }
            if hop.is_none() {
                // Rare: the member that the flow belongs to is away.
                let Some((other, Some(_))) = env.chooser.member_and_hop(found, &look.call()) else {
                    break;
                };
                gateway = other;
            }
        }
        let Some((way, path)) = hop.or_else(|| way(env, look, gateway, &mut known)) else {
            break;
        };
        if !leave(frame, look, by_name.then_some(gateway), &way) {
            break;
        }
        *exit = way.out.config.port as u8;
        done += 1;
        resolved += u64::from(by_name);
        alternates += u64::from(path != PathKind::Primary);
    }
    env.counters.meter.mark(Station::Rewrite);
    if let Some(counters) = env.counters.ports.get(port.number) {
        if resolved > 0 {
            counters.events_many(EventKind::NameResolved, resolved);
        }
        if alternates > 0 {
            counters.events_many(EventKind::AlternateUsed, alternates);
        }
    }
    done
}

impl Look<'_> {
    #[inline]
    fn call(&self) -> Call {
        Call {
            domain: self.domain,
            flow: self.flow,
            topology: Topology::for_class(self.class),
            came_over: Some(self.came.config.id),
            excluded: NodeId::NONE,
        }
    }
}

/// One look at a frame; `None` where it is not as most are.
#[inline(always)]
fn look<'a, F: Frame>(
    env: &Env<'_>,
    port: &PortState,
    came: &'a Adjacency,
    frame: &F,
) -> Option<Look<'a>> {
    let bytes = frame.bytes();
    if !frame.is_contiguous() || came.config.vlan != 0 {
        return None;
    }
    if bytes.first_chunk::<6>()? != &port.mac.0 {
        return None;
    }
    let carried = came
        .outer
        .look(bytes, came.config.minimum_ttl, port.config.mtu)?;
    let offset = carried.offset;
    let packet = bytes.get(offset..offset + carried.length)?;
    let fixed = packet.first_chunk::<{ dmsc_wire::FIXED_LEN }>()?;
    let be16 = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let be32 =
        |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    // Version 1 and the types 0 to 4: hellos and probes end here.
    let kind = fixed[0].wrapping_sub(dmsc_wire::VERSION << 4);
    if kind > 4 {
        return None;
    }
    let (header, payload) = (usize::from(be16(4)), usize::from(be16(6)));
    let (to, from) = (usize::from(fixed[36]), usize::from(fixed[37]));
    let total = header + payload;
    let names_end = (dmsc_wire::FIXED_LEN + to + from).next_multiple_of(4);
    let gateway = NodeId(be32(28));
    let ecn = fixed[3] >> 3 & 3;
    // A header without options ends with the names; such a header cannot be too long.
    if header != names_end
        || total > packet.len()
        || to == 0
        || from == 0
        || gateway == env.chooser.node
        || (carried.ecn != 0 && carried.ecn != ecn)
    {
        return None;
    }
    // Cheap looks come first; this one reads the names.
    let valid = dmsc_wire::parse(packet).ok()?;
    if !gateway.is_some() && !may_be_resolved(packet, &valid) {
        return None;
    }
    Some(Look {
        came,
        gateway,
        domain: Domain(be32(8)),
        flow: FlowLabel(be32(12)),
        offset: offset as u16,
        total: total as u16,
        hop_limit: fixed[2],
        class: fixed[3] >> 5,
        ecn,
    })
}

/// Whether a packet without a gateway is a call, and to another name than a router's.
#[inline]
fn may_be_resolved(packet: &[u8], header: &Header) -> bool {
    matches!(header.kind, Kind::Request | Kind::EchoRequest)
        && header
            .destination_name(packet)
            .is_some_and(|name| !name.is_reserved())
}

/// Looks up the names of all that have no gateway, in order.
#[inline]
fn resolve<F: Frame>(
    env: &Env<'_>,
    frames: &[F],
    looks: &[Look<'_>],
    found: &mut [Option<PrefixMatch>; BATCH],
) {
    let mut keys: ArrayVec<LookupKey<'_>, BATCH> = ArrayVec::new();
    for (look, frame) in looks.iter().zip(frames) {
        if look.gateway.is_some() {
            continue;
        }
        let packet = frame.bytes().get(usize::from(look.offset)..).unwrap_or(&[]);
        let Some(name) = dmsc_wire::destination_name(packet) else {
            return;
        };
        let rest = packet.get(dmsc_wire::FIXED_LEN..).unwrap_or(&[]);
        keys.push(LookupKey::in_packet(look.domain, name, rest));
    }
    env.chooser
        .tables
        .fib
        .lookup_burst(&keys, &mut found[..keys.len()]);
}

/// The gateway that each resolved call belongs to as long as that is reachable, in order. A pass of its own: groups lie far apart, and
/// a short loop waits for several of them at once.
#[inline]
fn place(
    env: &Env<'_>,
    looks: &[Look<'_>],
    matches: &[Option<PrefixMatch>; BATCH],
    gateways: &mut [NodeId; BATCH],
) {
    let unresolved = looks.iter().filter(|look| !look.gateway.is_some());
    for ((look, found), gateway) in unresolved.zip(matches).zip(gateways.iter_mut()) {
        let group = found.and_then(|found| found.value.group);
        let member = group
            .and_then(|group| env.chooser.group(group))
            .and_then(|group| group.select(look.flow, |_| true));
        // A call for this gateway is delivered, which is for the stages.
        *gateway = member
            .map(|member| member.gateway)
            .filter(|gateway| *gateway != env.chooser.node)
            .unwrap_or(NodeId::NONE);
    }
}

/// The way to a gateway now; of what this burst asked before it remembers the answer.
#[inline(always)]
fn way<'a>(
    env: &Env<'a>,
    look: &Look<'_>,
    gateway: NodeId,
    known: &mut [Option<Way<'a>>; WAYS],
) -> Option<(Way<'a>, PathKind)> {
    if gateway == env.chooser.node {
        return None;
    }
    let came = look.came.config.id;
    let known_at = |known: &[Option<Way<'a>>; WAYS], id: AdjacencyId| {
        known[usize::from(id.0) % WAYS].filter(|way| way.id == id && way.came == came)
    };
    let topology = Topology::for_class(look.class);
    let (id, path) = env
        .chooser
        .gateway(gateway, topology)?
        .select(look.flow, |id| {
            known_at(known, id).is_some() || env.chooser.is_usable(id, Some(came))
        })?;
    if let Some(way) = known_at(known, id) {
        return Some((way, path));
    }
    let out = env.chooser.tables.adjacencies.get(id)?;
    let way = Way {
        came,
        id,
        out,
        mac: out.neighbour.mac()?,
        largest: out.largest_packet(env.now),
    };
    known[usize::from(id.0) % WAYS] = Some(way);
    Some((way, path))
}

/// Takes the hop, stamps what was resolved, and replaces the outer header. False, and nothing changed, where the stages must tell
/// the source something.
#[inline(always)]
fn leave<F: Frame>(
    frame: &mut F,
    look: &Look<'_>,
    resolved: Option<NodeId>,
    way: &Way<'_>,
) -> bool {
    let outer = &way.out.outer;
    let (offset, total) = (usize::from(look.offset), usize::from(look.total));
    if look.hop_limit <= 1 || total > way.largest {
        return false;
    }
    // A longer outer header than it came with must have room: asked for before anything is changed.
    if outer.len() > offset && frame.headroom() < outer.len() - offset {
        return false;
    }
    let Some(packet) = frame.bytes_mut().get_mut(offset..offset + total) else {
        return false;
    };
    patch::set_hop_limit(packet, look.hop_limit - 1);
    if let Some(gateway) = resolved {
        patch::set_destination(packet, gateway, AttachmentId::ANY);
    }
    outer.replace(
        frame,
        offset,
        total,
        way.mac,
        look.flow.0,
        look.class,
        look.ecn,
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use dmsc_wire::{Flags, PacketBuilder};

    use super::*;
    use crate::frame::PlainFrame;
    use crate::packet::Verdict;
    use crate::stage::testing::{World, name};

    fn from_router(world: &World, port: usize, packet: &[u8]) -> PlainFrame {
        let (source, own) = (format!("10.0.{port}.2"), format!("10.0.{port}.1"));
        world.frame(port, (&source, 50_000), &own, packet)
    }

    fn bits(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    /// Packets of all kinds, some with options, some damaged.
    fn some_packet(seed: &mut u64) -> Vec<u8> {
        let names = [
            "/far",
            "/far/x/yy",
            "/shop/b",
            "/nobody",
            "/dmsc/4",
            "/id/2",
        ]
        .map(name);
        let (to, from) = (
            &names[bits(seed) as usize % 6],
            &names[bits(seed) as usize % 6],
        );
        let kind = [
            Kind::Request,
            Kind::Response,
            Kind::EchoRequest,
            Kind::Error,
        ][bits(seed) as usize % 4];
        let gateway = [0, 0, 1, 4, 4, 4, 5, 77][bits(seed) as usize % 8];
        let payload = vec![7; bits(seed) as usize % 100];
        let mut builder = PacketBuilder::new(kind)
            .source(from.as_name())
            .destination(to.as_name())
            .domain(Domain(1 + bits(seed) as u32 % 8 / 7))
            .destination_gateway(NodeId(gateway))
            .flow_label(FlowLabel(bits(seed) as u32))
            .payload(&payload);
        if kind == Kind::EchoRequest && bits(seed).is_multiple_of(2) {
            builder = builder.record_slots(2);
        }
        if bits(seed).is_multiple_of(4) {
            builder = builder.flag(Flags::PINNED);
        }
        let mut packet = builder.to_vec().expect("packet");
        if bits(seed).is_multiple_of(4) {
            packet[2] = bits(seed) as u8 % 3;
        }
        packet
    }

    #[test]
    fn what_it_does_the_stages_would_have_done() {
        let mut world = World::new();
        world.attach(2, &["/shop/b"]);
        let mut seed = 0x9E37_79B9_7F4A_7C15;
        let mut done = 0;
        for round in 0..40_000 {
            let port = round % 2;
            let up = |id| {
                let live = &world.programmer.tables().adjacencies.get(AdjacencyId(id));
                live.map(|a| {
                    a.live
                        .state
                        .store(if round / 500 % 5 == 4 { 0 } else { 2 }, Relaxed)
                })
            };
            up(1);
            let mut frame = from_router(&world, port, &some_packet(&mut seed));
            for _ in 0..bits(&mut seed) % 8 / 5 {
                let at = bits(&mut seed) as usize % frame.bytes().len();
                frame.bytes_mut()[at] = bits(&mut seed) as u8;
            }
            if bits(&mut seed).is_multiple_of(8) {
                frame.truncate(bits(&mut seed) as usize % 250);
            }
            let mut express = [frame.clone()];
            let exits = world.express(port, &mut express);
            let outcome = world.walk(port, frame.clone());
            let Some(exit) = exits.first() else {
                assert_eq!(express[0].bytes(), frame.bytes(), "round {round}: changed");
                continue;
            };
            match outcome.context.verdict {
                Verdict::Send(port) => {
                    assert_eq!(*exit, port, "round {round}");
                    assert_eq!(express[0].bytes(), outcome.frame.bytes(), "round {round}");
                    done += 1;
                }
                other => panic!("round {round}: sent, but the stages say {other:?}"),
            }
        }
        assert!(done > 5_000, "{done} alike");
    }

    #[test]
    fn none_overtakes_one_that_needs_the_stages() {
        let world = World::new();
        let to_far = |gateway: u32| {
            let (to, from) = (name("/far"), name("/id/2"));
            let packet = PacketBuilder::new(Kind::Request)
                .source(from.as_name())
                .destination(to.as_name())
                .domain(Domain(1))
                .destination_gateway(NodeId(gateway));
            from_router(&world, 1, &packet.to_vec().expect("packet"))
        };
        // Stamped, by name, unreachable, stamped: the third is for the stages, and so is what follows it.
        let mut frames = [to_far(4), to_far(0), to_far(77), to_far(4)];
        let last = frames[3].clone();
        assert_eq!(world.express(1, &mut frames), [0, 0]);
        assert_eq!(frames[3].bytes(), last.bytes());
        let resolved = world.counters.ports[1].events(EventKind::NameResolved);
        assert_eq!(resolved, 1);
    }
}

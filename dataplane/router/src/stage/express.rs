//! What most packets between routers need, in one look: a call or answer from a neighbour, without options, that leaves by another
//! adjacency. Everything else is left to the stages, which do the same for every packet there is; a test compares the two.
//!
//! Of a packet with a destination gateway the names are not read: they are opaque to routers on the way, and whoever resolves or
//! delivers it validates them (`FORMAT.md`, Validity).

use arrayvec::ArrayVec;
use dmsc_fib::{AdjacencyId, LookupKey, PathKind, PrefixMatch, Topology};
use dmsc_wire::{AttachmentId, Domain, FlowLabel, NodeId, patch};

use super::Env;
use crate::adjacency::Adjacency;
use crate::choose::Call;
use crate::counters::EventKind;
use crate::frame::Frame;
use crate::packet::BATCH;
use crate::port::PortState;

/// Frames whose data is asked for ahead.
const AHEAD: usize = 4;

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

/// Makes the first frames of a burst of a router port ready to leave, in order, up to the first one that needs the stages; returns
/// how many. `exits` gets the port number for each of them; no other frame is changed.
#[inline]
pub fn run<F: Frame>(
    env: &Env<'_>,
    port: &PortState,
    frames: &mut [F],
    exits: &mut [u8],
) -> usize {
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
    let mut found: [Option<PrefixMatch>; BATCH] = [None; BATCH];
    if names > 0 {
        resolve(env, frames, &looks, &mut found);
    }
    let mut done = 0;
    let mut resolved = 0;
    let mut alternates = 0;
    let mut found = found.iter();
    for ((look, frame), exit) in looks.iter().zip(frames.iter_mut()).zip(exits.iter_mut()) {
        let by_name = !look.gateway.is_some();
        let chosen = if by_name {
            let found = found.next().and_then(Option::as_ref);
            found.and_then(|found| choose(env, look, found))
        } else {
            let hop = env.chooser.next_hop(look.gateway, &look.call());
            hop.map(|hop| (look.gateway, hop))
        };
        let Some((gateway, (adjacency, path))) = chosen else {
            break;
        };
        let Some(port) = leave(env, frame, look, by_name.then_some(gateway), adjacency) else {
            break;
        };
        *exit = port;
        done += 1;
        resolved += u64::from(by_name);
        alternates += u64::from(path != PathKind::Primary);
    }
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
    if fixed[0].wrapping_sub(dmsc_wire::VERSION << 4) > 4 {
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
    if !gateway.is_some() && !may_be_resolved(packet) {
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

/// Whether a packet without a gateway is a valid call to another name than a router's.
#[inline]
fn may_be_resolved(packet: &[u8]) -> bool {
    dmsc_wire::parse(packet).is_ok_and(|header| {
        header.kind.is_call()
            && header
                .destination_name(packet)
                .is_some_and(|name| !name.is_reserved())
    })
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
        let packet = frame
            .bytes()
            .get(usize::from(look.offset)..)
            .unwrap_or(&[]);
        let Some(name) = dmsc_wire::destination_name(packet) else {
            return;
        };
        keys.push(LookupKey {
            domain: look.domain,
            name,
        });
    }
    env.chooser
        .tables
        .fib
        .lookup_burst(&keys, &mut found[..keys.len()]);
}

/// The gateway of a resolved call, and the way there. `None` where there is none, and where the gateway is this one.
#[inline]
fn choose(
    env: &Env<'_>,
    look: &Look<'_>,
    found: &PrefixMatch,
) -> Option<(NodeId, (AdjacencyId, PathKind))> {
    let call = look.call();
    let (gateway, hop) = env.chooser.member_and_hop(found, &call)?;
    if gateway == env.chooser.node {
        return None;
    }
    Some((gateway, hop?))
}

/// Takes the hop, stamps what was resolved, and replaces the outer header; returns the port. `None`, and nothing changed, where the
/// stages must tell the source something.
#[inline(always)]
fn leave<F: Frame>(
    env: &Env<'_>,
    frame: &mut F,
    look: &Look<'_>,
    resolved: Option<NodeId>,
    adjacency: AdjacencyId,
) -> Option<u8> {
    let out = env.chooser.tables.adjacencies.get(adjacency)?;
    let mac = out.neighbour.mac()?;
    let (offset, total) = (usize::from(look.offset), usize::from(look.total));
    if look.hop_limit <= 1 || total > out.largest_packet(env.now) {
        return None;
    }
    // A longer outer header than it came with must have room: asked for before anything is changed.
    let longer = out.outer.len().saturating_sub(offset);
    if longer > 0 && frame.headroom() < longer {
        return None;
    }
    let packet = frame.bytes_mut().get_mut(offset..offset + total)?;
    patch::set_hop_limit(packet, look.hop_limit - 1);
    if let Some(gateway) = resolved {
        patch::set_destination(packet, gateway, AttachmentId::ANY);
    }
    out.outer
        .replace(frame, offset, total, mac, look.flow.0, look.class, look.ecn)
        .then_some(out.config.port as u8)
}

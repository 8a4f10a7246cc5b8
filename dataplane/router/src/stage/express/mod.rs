//! What most packets between routers need: a call or answer from a neighbour, without options, that leaves by another
//! adjacency. Everything else is left to the stages, which do the same for every packet there is; a test compares the two.
//!
//! What is malformed is left to the stages, too, names included: every router drops it and counts why.
//!
//! Packets whose gateway is known go through one loop. From the first one on that has none, a burst goes through short loops one behind the
//! other: what one packet waits for, the next one waits for meanwhile.

mod look;
mod place;
mod through;
mod way;

#[cfg(test)]
mod tests;

use dmsc_fib::{FirstHops, FirstHopsOf, PathKind, PrefixMatch};
use dmsc_wire::{AttachmentId, NodeId, patch};

use super::Env;
use crate::choose::Destination;
use crate::counters::EventKind;
use crate::frame::Frame;
use crate::meter::Station;
use crate::outer::Plain;
use crate::packet::BATCH;
use crate::port::PortState;
use crate::traffic::{Label, Target};
use look::{Look, Looker, Seen};
use place::Matches;
use way::{Way, Ways};

/// What of a burst is ready to leave.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ready {
    /// Its first frames.
    pub frames: usize,
    /// All of these are as long as they came.
    pub are_as_long: bool,
}

/// Makes the first frames of a burst of a router port ready to leave, in order, up to the first one that needs the stages.
/// `exits` gets the port number for each of them; no other frame is changed.
#[inline]
pub fn run<F: Frame>(
    env: &Env<'_>,
    port: &PortState,
    hops: &mut FirstHops,
    frames: &mut [F],
    exits: &mut [u8],
) -> Ready {
    let Some(mut looker) = Looker::of(env, port) else {
        return Ready::default();
    };
    let (mut ways, mut hops) = (Ways::new(), hops.of(&env.chooser.tables.fib));
    let through = through::run(env, &mut looker, &mut ways, &mut hops, frames, exits);
    env.counters.meter.mark(Station::Through);
    let (frames, exits) = (&mut frames[through..], &mut exits[through..]);
    if frames.is_empty() {
        return Ready {
            frames: through,
            are_as_long: true,
        };
    }
    let others = run_others(env, port, &mut looker, &mut ways, &mut hops, frames, exits);
    Ready {
        frames: through + others,
        are_as_long: others == 0,
    }
}

/// From the first one on that has no gateway, or comes or leaves in another way than most.
#[inline(never)]
fn run_others<'a, F: Frame>(
    env: &Env<'a>,
    port: &PortState,
    looker: &mut Looker<'a>,
    ways: &mut Ways<'a>,
    hops: &mut FirstHopsOf<'_>,
    frames: &mut [F],
    exits: &mut [u8],
) -> usize {
    let mut looks = [Look::NONE; BATCH];
    let Seen {
        frames: seen,
        by_name,
    } = look::run(looker, frames, &mut looks);
    let looks = &mut looks[..seen];
    env.counters.meter.mark(Station::Parse);
    let matches = by_name.then(|| place::run(env, frames, looks));
    let done = leave_all(env, frames, looks, ways, hops, matches.as_ref(), exits);
    if let Some(matches) = &matches {
        count(env, frames, &looks[..done.frames], matches);
    }
    env.counters.meter.mark(Station::Rewrite);
    if let Some(counters) = env.counters.ports.get(port.number) {
        if done.resolved > 0 {
            counters.events_many(EventKind::NameResolved, done.resolved);
        }
        if done.alternates > 0 {
            counters.events_many(EventKind::AlternateUsed, done.alternates);
        }
    }
    done.frames
}

/// What became of a burst.
#[derive(Default)]
struct Done {
    frames: usize,
    /// Of these, resolved by name.
    resolved: u64,
    /// Of these, over an alternate.
    alternates: u64,
}

/// Finds the way of every packet and makes it ready to leave, up to the first one that needs the stages.
#[inline(never)]
fn leave_all<'a, F: Frame>(
    env: &Env<'a>,
    frames: &mut [F],
    looks: &mut [Look],
    ways: &mut Ways<'a>,
    hops: &mut FirstHopsOf<'_>,
    matches: Option<&Matches>,
    exits: &mut [u8],
) -> Done {
    let mut done = Done::default();
    for ((look, frame), exit) in looks.iter_mut().zip(frames).zip(exits) {
        // Packets without a gateway before this one, which have all left.
        let place = done.resolved as usize % BATCH;
        let mut found = None;
        if look.gateway.is_some() {
            found = ways.find(env, hops, look);
        }
        let (at, path) = match found {
            Some(found) => found,
            None => {
                // Rare: the member that the flow belongs to is away.
                let found = matches.and_then(|matches| matches[place].as_ref());
                let found = found.filter(|_| look.by_name);
                let Some(member) = found.and_then(|found| other_member(env, found, look)) else {
                    break;
                };
                look.place(member.gateway, member.by_delay);
                let Some(found) = ways.find(env, hops, look) else {
                    break;
                };
                found
            }
        };
        let Some(way) = ways.get(at) else { break };
        let resolved = look.by_name.then_some(look.gateway);
        if !leave(frame, look, resolved, way) {
            break;
        }
        *exit = way.port;
        done.frames += 1;
        done.resolved += u64::from(look.by_name);
        done.alternates += u64::from(path != PathKind::Primary);
    }
    done
}

/// The member that a call goes to now, unless this router delivers it, which is for the stages.
#[cold]
fn other_member(env: &Env<'_>, found: &PrefixMatch, look: &Look) -> Option<Destination> {
    let (member, hop) = env.chooser.member_and_hop(found, &look.call())?;
    hop.map(|_| member)
}

/// Counts the calls that were resolved here. A loop of its own, which keeps what it needs in registers.
#[inline(never)]
fn count<F: Frame>(env: &Env<'_>, frames: &[F], looks: &[Look], matches: &Matches) {
    let calls = looks.iter().zip(frames).filter(|(look, _)| look.by_name);
    for ((look, frame), found) in calls.zip(matches) {
        let Some(found) = found else { continue };
        let to = Target {
            record: found.record,
            gateway: look.gateway,
            next_hop: look.hop,
        };
        let label = || {
            // It is ready to leave: the packet is what its frame ends with.
            let bytes = frame.bytes();
            let start = bytes.len().checked_sub(look.total.into())?;
            let name = dmsc_wire::destination_name(bytes.get(start..)?)?;
            Some(Label {
                domain: look.domain,
                prefix: name.prefix(found.components.into()),
                peer: env.chooser.peer(look.hop),
            })
        };
        // Who waits for an answer is known where the call entered.
        env.traffic.tally.count(to, look.total.into(), false, label);
    }
}

/// Takes the hop, stamps what was resolved, and replaces the outer header. False, and nothing changed, where the stages must tell
/// the source something.
#[inline(always)]
fn leave<F: Frame>(
    frame: &mut F,
    look: &mut Look,
    resolved: Option<NodeId>,
    way: &Way<'_>,
) -> bool {
    let total = usize::from(look.total);
    if look.hop_limit <= 1 || total > way.largest {
        return false;
    }
    let bytes = frame.bytes_mut();
    let length = bytes.len();
    // From one plain header to another: no byte moves.
    if let Some(plain) = &way.plain
        && usize::from(look.offset) == Plain::LEN
        && length == Plain::LEN + total
        && let Some((head, packet)) = bytes.split_first_chunk_mut::<{ Plain::LEN }>()
    {
        stamp(packet, look, resolved, way);
        plain.put(head, length, look.flow.0, look.class, look.ecn);
        return true;
    }
    leave_otherwise(frame, look, resolved, way)
}

#[inline(never)]
fn leave_otherwise<F: Frame>(
    frame: &mut F,
    look: &mut Look,
    resolved: Option<NodeId>,
    way: &Way<'_>,
) -> bool {
    let outer = &way.out.outer;
    let (offset, total) = (usize::from(look.offset), usize::from(look.total));
    // A longer outer header than it came with must have room: asked for before anything is changed.
    if outer.len() > offset && frame.headroom() < outer.len() - offset {
        return false;
    }
    let Some(packet) = frame.bytes_mut().get_mut(offset..offset + total) else {
        return false;
    };
    stamp(packet, look, resolved, way);
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

/// Takes the hop, and writes what was resolved; by which way that leaves is noted, for it is counted.
#[inline(always)]
fn stamp(packet: &mut [u8], look: &mut Look, resolved: Option<NodeId>, way: &Way<'_>) {
    patch::set_hop_limit(packet, look.hop_limit - 1);
    if let Some(gateway) = resolved {
        look.hop = way.id;
        patch::set_destination(packet, gateway, AttachmentId::ANY);
        patch::set_by_delay(packet, look.by_delay);
    }
}

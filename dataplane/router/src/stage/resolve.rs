//! Station 3: where does it go? Gateway id first, else the name, once more if the gateway or the pod is gone (design §4.3).

use arrayvec::ArrayVec;
use dmsc_fib::{AdjacencyId, LookupKey, PathKind, PrefixMatch, Topology};
use dmsc_wire::{AttachmentId, ErrorCode, FIXED_LEN, Flags, Header, Kind, NodeId, patch};

use super::{Env, stand_in};
use crate::attachment::Attachment;
use crate::choose::{Call, router_of};
use crate::counters::{DropReason, EventKind};
use crate::frame::Frame;
use crate::packet::{BATCH, Batch, Context, Origin, Verdict};
use crate::traffic::{Entering, HERE};

/// Decides every open packet of the batch. Names are looked up together, after all that need none are done.
#[inline]
pub fn run<F: Frame>(env: &Env<'_>, batch: &mut Batch<F>) {
    let mut by_name: ArrayVec<usize, BATCH> = ArrayVec::new();
    for (index, (frame, context)) in batch.iter_mut().enumerate() {
        if context.is_open() && by_gateway(env, frame, context) == Step::ByName {
            by_name.push(index);
        }
    }
    if by_name.is_empty() {
        return;
    }
    let mut found: [Option<PrefixMatch>; BATCH] = [None; BATCH];
    {
        let mut keys: ArrayVec<LookupKey<'_>, BATCH> = ArrayVec::new();
        for &index in &by_name {
            let (frame, context) = (&batch.frames[index], &batch.contexts[index]);
            let packet = frame
                .bytes()
                .get(usize::from(context.offset)..)
                .unwrap_or(&[]);
            let name = context
                .header
                .and_then(|header| header.destination_name(packet));
            let Some((header, name)) = context.header.zip(name) else {
                continue;
            };
            // What lies behind the name is there, too: the table then looks it up where it is.
            let rest = packet.get(FIXED_LEN..).unwrap_or(&[]);
            keys.push(LookupKey::in_packet(header.domain, name, rest));
        }
        // Every packet that gets here has a destination name: parse refuses named kinds without one.
        if keys.len() == by_name.len() {
            let (fib, mut habit) = (&env.chooser.tables.fib, env.habit.get());
            fib.lookup_burst_as(&mut habit, &keys, &mut found[..keys.len()]);
            env.habit.set(habit);
        }
    }
    for (&index, found) in by_name.iter().zip(found) {
        resolve(
            env,
            &mut batch.frames[index],
            &mut batch.contexts[index],
            found,
        );
    }
}

#[derive(PartialEq, Eq)]
enum Step {
    Done,
    ByName,
}

/// What the way of a packet depends on. `by_delay`: whatever its class, as it says, or as is decided here.
fn call_of(context: &Context, header: &Header, by_delay: bool) -> Call {
    Call {
        domain: header.domain,
        flow: header.flow_label,
        topology: Topology::of(header.class.0, by_delay),
        came_over: context.came_over(),
        excluded: context.excluded,
    }
}

/// What is counted of this packet, if it is one of a call.
fn entering<'a>(context: &Context, header: &Header, packet: &'a [u8]) -> Option<Entering<'a>> {
    if !header.kind.is_call() {
        return None;
    }
    let is_from_pod = matches!(context.origin, Origin::Pod(_));
    let is_awaited = is_from_pod && header.kind == Kind::Request && header.request_id.0 != 0;
    Some(Entering {
        domain: header.domain,
        name: header.destination_name(packet)?,
        bytes: header.total_len() as u64,
        request: is_awaited.then_some(header.request_id),
        source: match context.origin {
            Origin::Pod(id) => Some(id),
            _ => None,
        },
        arrived: context.arrived,
    })
}

/// Counts a call that was resolved here and leaves over `next_hop`. `header`: as it came, for one that came from a router with a gateway was counted where
/// it entered.
fn count_resolved<F: Frame>(
    env: &Env<'_>,
    frame: &F,
    context: &Context,
    header: &Header,
    found: &PrefixMatch,
    gateway: NodeId,
    next_hop: AdjacencyId,
) {
    let enters = match context.origin {
        Origin::Pod(_) => true,
        Origin::Router(_) => !header.destination_gateway.is_some(),
        _ => false,
    };
    let packet = frame.bytes().get(usize::from(context.offset)..);
    if enters && let Some(call) = entering(context, header, packet.unwrap_or(&[])) {
        env.traffic
            .resolved(&call, found, &env.chooser, gateway, next_hop);
    }
}

/// A call of a pod that named the gateway itself.
#[inline]
fn placed_by_pod<'a, F: Frame>(
    frame: &'a F,
    context: &Context,
    header: &Header,
) -> Option<Entering<'a>> {
    if !matches!(context.origin, Origin::Pod(_)) {
        return None;
    }
    let packet = frame.bytes().get(usize::from(context.offset)..);
    let call = entering(context, header, packet.unwrap_or(&[]));
    call.filter(|call| !call.name.is_reserved())
}

/// Sends a packet on to the gateway that it names. A call of a pod goes by the topology that the policy says for that gateway, and is counted.
#[inline]
fn send_on<F: Frame>(
    env: &Env<'_>,
    frame: &mut F,
    context: &mut Context,
    header: &Header,
    gateway: NodeId,
) -> Option<Verdict> {
    // Nothing is kept of gateways that there are not.
    let call = placed_by_pod(frame, context, header).filter(|_| env.chooser.knows(gateway));
    let known = call
        .as_ref()
        .map(|call| env.traffic.known(call, &env.chooser, gateway));
    let mut by_delay = match &known {
        Some(known) => known.is_by_delay(header.flow_label),
        None => header.flags.contains(Flags::BY_DELAY),
    };
    let next_hop = |by_delay| {
        let call = call_of(context, header, by_delay);
        env.chooser.next_hop(gateway, &call)
    };
    let mut way = next_hop(by_delay);
    // Who decides that a call goes by delay may decide otherwise while that way is away.
    if way.is_none() && by_delay && known.is_some() {
        by_delay = false;
        way = next_hop(false);
    }
    let (adjacency, path) = way?;
    if let Some((call, known)) = call.zip(known) {
        env.traffic.placed(&call, &known, &env.chooser, adjacency);
        if by_delay != header.flags.contains(Flags::BY_DELAY) {
            patch(frame, context, |p| patch::set_by_delay(p, by_delay));
        }
    }
    Some(Verdict::Forward(adjacency, path != PathKind::Primary))
}

/// Follows a stamped gateway id as far as that goes.
fn by_gateway<F: Frame>(env: &Env<'_>, frame: &mut F, context: &mut Context) -> Step {
    let Some(mut header) = context.header else {
        context.drop(DropReason::BadHeader);
        return Step::Done;
    };
    let node = env.chooser.node;
    let packet = frame
        .bytes()
        .get(usize::from(context.offset)..)
        .unwrap_or(&[]);
    let Some(name) = header.destination_name(packet) else {
        context.drop(DropReason::BadHeader);
        return Step::Done;
    };
    let mut gateway = header.destination_gateway;
    if !gateway.is_some() {
        match router_of(name) {
            // A router's own name says where it is.
            Some(router) => {
                gateway = router;
                header.destination_gateway = router;
                context.header = Some(header);
                patch(frame, context, |p| {
                    patch::set_destination(p, router, AttachmentId::ANY)
                });
            }
            None if header.kind.is_call() => return Step::ByName,
            None => {
                context.drop(DropReason::NoDestination);
                return Step::Done;
            }
        }
    }
    if gateway != node {
        return match send_on(env, frame, context, &header, gateway) {
            Some(verdict) => {
                context.verdict = verdict;
                Step::Done
            }
            None => gone(frame, context, &header, gateway, DropReason::NoRoute),
        };
    }
    let packet = frame
        .bytes()
        .get(usize::from(context.offset)..)
        .unwrap_or(&[]);
    let Some(name) = header.destination_name(packet) else {
        return Step::Done;
    };
    if router_of(name) == Some(node) {
        context.verdict = Verdict::Own;
        return Step::Done;
    }
    if header.destination_attachment == AttachmentId::ANY {
        if header.kind.is_call() {
            return Step::ByName;
        }
        context.drop(DropReason::NoDestination);
        return Step::Done;
    }
    match env
        .chooser
        .tables
        .attachments
        .get(header.destination_attachment)
    {
        // Another pod has the id by now: for a call that may be placed again, that is a pod that is gone.
        Some(attachment) if !attachment.has(header.domain, name) => gone(
            frame,
            context,
            &header,
            NodeId::NONE,
            DropReason::AttachmentLacksName,
        ),
        Some(attachment) if env.chooser.is_deliverable(attachment) => {
            deliver(env, frame, context, &header, attachment);
            if is_delivered(context)
                && let Some(call) = placed_by_pod(frame, context, &header)
            {
                let known = env.traffic.known(&call, &env.chooser, node);
                env.traffic.placed(&call, &known, &env.chooser, HERE);
            }
            Step::Done
        }
        _ => gone(frame, context, &header, node, DropReason::AttachmentGone),
    }
}

/// The stamped gateway or its pod is not there: late binding for calls that may, an error for those that may not.
/// `gateway` is the one that must not be chosen again, [`NodeId::NONE`] when only an attachment is gone.
fn gone<F: Frame>(
    frame: &mut F,
    context: &mut Context,
    header: &Header,
    gateway: NodeId,
    reason: DropReason,
) -> Step {
    let may_rebind = header.kind.is_call()
        && !header.flags.contains(Flags::PINNED)
        && !header.flags.contains(Flags::REBOUND);
    if may_rebind {
        let mut header = *header;
        header.flags.insert(Flags::REBOUND);
        context.header = Some(header);
        context.excluded = gateway;
        context.rebinding = true;
        patch(frame, context, |p| patch::set_flags(p, header.flags));
        return Step::ByName;
    }
    context.drop(reason);
    if header.kind.is_call() {
        context.error = Some((ErrorCode::NoRoute, 0));
    }
    Step::Done
}

/// Chooses by name; `found` is the longest prefix.
fn resolve<F: Frame>(
    env: &Env<'_>,
    frame: &mut F,
    context: &mut Context,
    found: Option<PrefixMatch>,
) {
    let Some(header) = context.header else { return };
    let Some(found) = found else {
        return context.refuse(DropReason::NoRoute, ErrorCode::NoRoute, 0);
    };
    let node = env.chooser.node;
    let rebinding = context.rebinding;
    if header.destination_gateway == node && !rebinding {
        // Stamped for here, any attachment: only local members may answer.
        return match env.chooser.local(&found, header.flow_label) {
            Some(attachment) => {
                deliver(env, frame, context, &header, attachment);
                if is_delivered(context) {
                    count_resolved(env, frame, context, &header, &found, node, HERE);
                }
            }
            None => {
                if gone(frame, context, &header, node, DropReason::AttachmentGone) == Step::ByName {
                    resolve(env, frame, context, Some(found));
                }
            }
        };
    }
    let call = call_of(context, &header, false);
    let Some(there) = env.chooser.member(&found, &call) else {
        return context.refuse(DropReason::NoRoute, ErrorCode::NoRoute, 0);
    };
    let gateway = there.gateway;
    env.event(
        context.port,
        if rebinding {
            EventKind::Rebound
        } else {
            EventKind::NameResolved
        },
    );
    let mut placed = header;
    placed.destination_gateway = gateway;
    placed.destination_attachment = AttachmentId::ANY;
    placed.flags = placed.flags.with_if(there.by_delay, Flags::BY_DELAY);
    context.header = Some(placed);
    patch(frame, context, |p| {
        patch::set_destination(p, gateway, AttachmentId::ANY)
            && patch::set_by_delay(p, there.by_delay)
    });
    let next_hop = if gateway == node {
        let Some(attachment) = env.chooser.local(&found, header.flow_label) else {
            return context.refuse(DropReason::AttachmentGone, ErrorCode::NoRoute, 0);
        };
        deliver(env, frame, context, &placed, attachment);
        if !is_delivered(context) {
            return;
        }
        HERE
    } else {
        let Some((adjacency, path)) = env.chooser.next_hop(gateway, &call.towards(there)) else {
            return context.refuse(DropReason::NoRoute, ErrorCode::NoRoute, 0);
        };
        context.verdict = Verdict::Forward(adjacency, path != PathKind::Primary);
        adjacency
    };
    count_resolved(env, frame, context, &header, &found, gateway, next_hop);
}

/// Whether a packet is on its way to a pod here, or answered for it.
fn is_delivered(context: &Context) -> bool {
    matches!(context.verdict, Verdict::Deliver(_) | Verdict::Own)
}

/// Every local delivery, replies included, checks domain, name and access once more (design §3, §4.2).
fn deliver<F: Frame>(
    env: &Env<'_>,
    frame: &mut F,
    context: &mut Context,
    header: &Header,
    attachment: &Attachment,
) {
    let packet = frame
        .bytes()
        .get(usize::from(context.offset)..)
        .unwrap_or(&[]);
    let (source, destination) = (header.source_name(packet), header.destination_name(packet));
    if !destination.is_some_and(|name| attachment.has(header.domain, name)) {
        return context.drop(DropReason::AttachmentLacksName);
    }
    if header.kind.is_from_pods() {
        let (caller, callee) = if header.kind.is_reply() {
            (destination, source)
        } else {
            (source, destination)
        };
        if !env.chooser.tables.allows(header.domain, caller, callee) {
            return context.refuse(DropReason::Denied, ErrorCode::Denied, 0);
        }
    }
    if header.kind == Kind::Probe && stand_in::answers(env, context, header, packet, attachment) {
        context.verdict = Verdict::Own;
        return;
    }
    let (gateway, id) = (env.chooser.node, attachment.id);
    if header.destination_attachment != id {
        patch(frame, context, |p| patch::set_destination(p, gateway, id));
    }
    context.verdict = Verdict::Deliver(id);
    if header.kind == Kind::Response {
        env.traffic.answered(id, header.request_id, context.arrived);
    }
    env.event(context.port, EventKind::LocalDelivery);
}

#[inline]
fn patch<F: Frame>(frame: &mut F, context: &Context, edit: impl FnOnce(&mut [u8]) -> bool) {
    if let Some(packet) = frame.bytes_mut().get_mut(usize::from(context.offset)..) {
        edit(packet);
    }
}

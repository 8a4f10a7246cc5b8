//! Station 2, pod ports only: whose packet is it, and may it be sent (design §4.2)?
//!
//! Domain, source gateway and source attachment are overwritten by what the gateway knows.

use dmsc_wire::{Class, ErrorCode, Flags, Header, Kind, patch};

use super::Env;
use crate::class_rule::class_of;
use crate::counters::{DropReason, EventKind};
use crate::frame::Frame;
use crate::packet::{Batch, Context, Origin};

/// Admits or ends every packet that came from an endpoint.
#[inline]
pub fn run<F: Frame>(env: &Env<'_>, batch: &mut Batch<F>) {
    for (frame, context) in batch.iter_mut() {
        if context.is_open() && matches!(context.origin, Origin::Endpoint(_)) {
            admit(env, frame, context);
        }
    }
}

fn admit<F: Frame>(env: &Env<'_>, frame: &mut F, context: &mut Context) {
    let (Origin::Endpoint(endpoint), Some(mut header)) = (context.origin, context.header) else {
        return;
    };
    let tables = env.chooser.tables;
    let port = usize::from(context.port);
    let current = tables.attachments.from(port, endpoint);
    // Sent before its pod had heard that it has moved.
    let sender = current.or_else(|| tables.attachments.formerly_from(port, endpoint));
    let Some(attachment) = sender else {
        return context.drop(DropReason::UnregisteredSource);
    };
    let Some(packet) = frame.bytes_mut().get_mut(usize::from(context.offset)..) else {
        return context.drop(DropReason::Truncated);
    };
    // Stamped before anything is judged, so that an error goes to who really sent, not to who is named in the packet.
    patch::set_source(packet, attachment.domain, env.chooser.node, attachment.id);
    header.domain = attachment.domain;
    header.source_gateway = env.chooser.node;
    header.source_attachment = attachment.id;
    if !env.class_rules.is_empty() {
        give_class(env, packet, &mut header);
    }
    // Which topology a call takes is for policies to say, not for pods; of an answer it is that of its call.
    if !is_answer(header.kind) && header.flags.contains(Flags::BY_DELAY) {
        header.flags.remove(Flags::BY_DELAY);
        patch::set_by_delay(packet, false);
    }
    if header.class.0 > attachment.class_limit {
        header.class = Class(attachment.class_limit);
        patch::set_class_ecn(packet, header.class, header.ecn);
        env.event(context.port, EventKind::ClassLowered);
    }
    context.header = Some(header);
    context.origin = Origin::Pod(attachment.id);
    if header.kind == Kind::Probe {
        // Whatever becomes of the answer: it knows probes.
        attachment.silence.break_it();
    }
    if !attachment.is_up() && current.is_some() {
        // Whoever sends is there, whatever its kernel said before.
        attachment
            .reachable
            .store(true, std::sync::atomic::Ordering::Relaxed);
        context.returned = true;
    }

    let packet = &*packet;
    let (source, destination) = (header.source_name(packet), header.destination_name(packet));
    if !source.is_some_and(|name| attachment.has(attachment.domain, name)) {
        return context.refuse(DropReason::SourceNotOwned, ErrorCode::SourceNotOwned, 0);
    }
    let (caller, callee) = if is_answer(header.kind) {
        (destination, source)
    } else {
        (source, destination)
    };
    if !tables.allows(header.domain, caller, callee) {
        return context.refuse(DropReason::Denied, ErrorCode::Denied, 0);
    }
    if matches!(header.kind, Kind::Response | Kind::EchoReply)
        && !header.destination_gateway.is_some()
    {
        context.drop(DropReason::NoDestination);
    }
}

/// Whether the roles of caller and callee are swapped. Of probes a pod sends answers only.
#[inline]
fn is_answer(kind: Kind) -> bool {
    kind.is_reply() || kind == Kind::Probe
}

/// What a rule of this gateway says instead of the pod; for an answer the roles are swapped, so that it has the class of its call.
#[cold]
fn give_class(env: &Env<'_>, packet: &mut [u8], header: &mut Header) {
    let (source, destination) = (header.source_name(packet), header.destination_name(packet));
    let (caller, callee) = if is_answer(header.kind) {
        (destination, source)
    } else {
        (source, destination)
    };
    if let Some(class) = class_of(env.class_rules, header.domain, caller, callee)
        && class != header.class
    {
        header.class = class;
        patch::set_class_ecn(packet, class, header.ecn);
    }
}

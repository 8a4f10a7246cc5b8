//! Station 4: takes a hop, fills RECORD, replaces the outer header.

use dmsc_wire::{ErrorCode, Header, PortId, RecordSlot, patch, record};

use super::Env;
use crate::adjacency::Neighbour;
use crate::counters::{DropReason, EventKind};
use crate::frame::Frame;
use crate::outer::Outer;
use crate::packet::{Batch, Context, Origin, Verdict};
use crate::port::PortState;

/// Makes every decided packet ready to leave.
#[inline]
pub fn run<F: Frame>(env: &Env<'_>, batch: &mut Batch<F>) {
    for (frame, context) in batch.iter_mut() {
        match context.verdict {
            Verdict::Forward(id, alternate) => {
                let Some(adjacency) = env.chooser.tables.adjacencies.get(id) else {
                    context.drop(DropReason::NoRoute);
                    continue;
                };
                if alternate {
                    env.event(context.port, EventKind::AlternateUsed);
                }
                let exit = Exit {
                    port: adjacency.config.port,
                    outer: &adjacency.outer,
                    neighbour: &adjacency.neighbour,
                    largest: adjacency.largest_packet(env.now),
                    is_hop: true,
                };
                leave(env, frame, context, &exit);
            }
            Verdict::Deliver(id) => {
                let Some(attachment) = env.chooser.tables.attachments.get(id) else {
                    context.drop(DropReason::AttachmentGone);
                    continue;
                };
                let Some(port) = env.chooser.ports.get(attachment.port) else {
                    continue;
                };
                let exit = Exit {
                    port: attachment.port,
                    outer: &attachment.outer,
                    neighbour: &attachment.neighbour,
                    largest: usize::from(port.config.mtu)
                        .saturating_sub(attachment.outer.overhead()),
                    is_hop: false,
                };
                leave(env, frame, context, &exit);
            }
            _ => {}
        }
    }
}

struct Exit<'a> {
    port: usize,
    outer: &'a Outer,
    neighbour: &'a Neighbour,
    largest: usize,
    /// To another router: takes one from the hop limit.
    is_hop: bool,
}

fn leave<F: Frame>(env: &Env<'_>, frame: &mut F, context: &mut Context, exit: &Exit<'_>) {
    let (Some(header), Some(port)) = (context.header, env.chooser.ports.get(exit.port)) else {
        return context.drop(DropReason::BadHeader);
    };
    // The source's own router sends with the hop limit that the source set; everybody else takes one first.
    if exit.is_hop && !matches!(context.origin, Origin::Here) && header.hop_limit <= 1 {
        return context.refuse(DropReason::HopLimit, ErrorCode::HopLimit, 0);
    }
    let total = header.total_len();
    if total > exit.largest {
        let mtu = exit.largest.min(usize::from(u16::MAX)) as u16;
        return context.refuse(DropReason::TooBig, ErrorCode::TooBig, mtu);
    }
    if !port.is_up() {
        return context.drop(DropReason::PortDown);
    }
    let Some(mac) = exit.neighbour.mac() else {
        return context.drop(DropReason::NeighbourUnresolved);
    };
    if !frame.strip(usize::from(context.offset)) {
        return context.drop(DropReason::Truncated);
    }
    frame.truncate(total);
    let packet = frame.bytes_mut();
    if exit.is_hop && !matches!(context.origin, Origin::Here) {
        patch::set_hop_limit(packet, header.hop_limit - 1);
    }
    if header.record != 0 {
        fill_record(env, packet, context, &header, port, exit.is_hop);
    }
    context.verdict = if exit.outer.write(
        frame,
        mac,
        header.flow_label.0,
        header.class.0,
        header.ecn.bits(),
    ) {
        Verdict::Send(exit.port as u8)
    } else {
        Verdict::Drop(DropReason::Truncated)
    };
}

fn fill_record(
    env: &Env<'_>,
    packet: &mut [u8],
    context: &Context,
    header: &Header,
    out: &PortState,
    is_hop: bool,
) {
    let in_port = match context.origin {
        Origin::Router(_) => u16::from(context.port) + 1,
        _ => 0,
    };
    let residence = env.clock.to_ns((env.tsc)().saturating_sub(context.arrived));
    let slot = RecordSlot {
        node: env.chooser.node,
        in_port: PortId(in_port),
        out_port: PortId(if is_hop { out.id() } else { 0 }),
        residence_ns: residence.min(u64::from(u32::MAX)) as u32,
    };
    record::fill_next(packet, header, slot);
}

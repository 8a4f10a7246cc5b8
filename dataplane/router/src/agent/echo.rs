//! Echo requests and probes under this router's own name: ping, trace and probe of the operator, and what the control plane measures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use dmsc_proto::v1;
use dmsc_wire::{
    AttachmentId, Body, Class, Domain, Flags, FlowLabel, Kind, Message, NameBuf, NodeId,
    PacketBuilder, Probe, RequestId, RouterName, record,
};
use tokio::sync::mpsc;
use tonic::Status;

use super::Herald;
use super::herald::Answer;
use crate::shared::Shared;

/// Request ids of this process; the upper half is random, so that answers to an earlier process are not taken for ours.
static NEXT: AtomicU64 = AtomicU64::new(0);

fn next_id(shared: &Shared) -> RequestId {
    RequestId(
        (shared.speaker.boot & 0xffff_ffff_0000_0000) | (NEXT.fetch_add(1, Relaxed) & 0xffff_ffff),
    )
}

/// Sends the requests one after the other, and a reply message for each.
pub async fn run(
    shared: Arc<Shared>,
    herald: Arc<Herald>,
    name: NameBuf,
    request: v1::EchoRequest,
    out: mpsc::Sender<Result<v1::EchoReply, Status>>,
) {
    let or = |value: u32, default: u32| if value == 0 { default } else { value };
    let interval = Duration::from_millis(u64::from(or(request.interval_ms, 1000)));
    let timeout = Duration::from_millis(u64::from(or(request.timeout_ms, 1000)));
    let mut tick = tokio::time::interval(interval);
    for sequence in 0..or(request.count, 1) {
        tick.tick().await;
        let reply = match one(&shared, &herald, &name, &request, sequence, timeout).await {
            Ok(reply) => Ok(reply),
            Err(message) => Err(Status::invalid_argument(message)),
        };
        let failed = reply.is_err();
        if out.send(reply).await.is_err() || failed {
            return;
        }
    }
}

async fn one(
    shared: &Shared,
    herald: &Herald,
    name: &NameBuf,
    request: &v1::EchoRequest,
    sequence: u32,
    timeout: Duration,
) -> Result<v1::EchoReply, String> {
    let id = next_id(shared);
    let own = RouterName::new(shared.node());
    let (kind, payload) = if request.probe {
        let question = Probe {
            id: id.0,
            t1: shared.clock.to_ns(dmsc_dpdk::tsc()),
            ..Probe::default()
        };
        (Kind::Probe, question.payload().to_vec())
    } else {
        let length = request.payload_length.min(9_000) as usize;
        (Kind::EchoRequest, vec![0; length])
    };
    let flow = request
        .flow_label
        .wrapping_add(if request.vary_flow { sequence } else { 0 });
    let mut packet = PacketBuilder::new(kind)
        .destination(name.as_name())
        .source(own.as_name())
        .domain(Domain(if request.domain == 0 {
            1
        } else {
            request.domain
        }))
        .flow_label(FlowLabel(flow))
        .request_id(id)
        .class(Class(request.class.min(7) as u8))
        .source_gateway(shared.node())
        .flags(Flags::NONE.with_if(request.by_delay, Flags::BY_DELAY))
        .payload(&payload);
    if request.gateway != 0 {
        let attachment =
            u16::try_from(request.attachment).map_err(|_| "attachment is above 65535")?;
        packet = packet
            .pinned()
            .destination_gateway(NodeId(request.gateway))
            .destination_attachment(AttachmentId(attachment));
    }
    if request.record_slots > 0 {
        packet = packet.record_slots(request.record_slots.min(20) as u8);
    }
    let bytes = packet.to_vec().map_err(|e| e.to_string())?;
    let (sender, mut answers) = mpsc::channel(1);
    herald.expect(id, sender);
    let worker = &shared.workers[0];
    let sent = dmsc_dpdk::tsc();
    let mut reply = v1::EchoReply {
        sequence,
        ..Default::default()
    };
    if worker.inject.offer(0, true, sent, &bytes, usize::MAX) {
        worker.bell.ring();
        match tokio::time::timeout(timeout, answers.recv()).await {
            Ok(Some(answer)) => read(shared, &answer, sent, &mut reply),
            _ => reply.error = "timeout".into(),
        }
    } else {
        reply.error = "busy".into();
    }
    herald.forget(id);
    Ok(reply)
}

fn read(shared: &Shared, answer: &Answer, sent: u64, reply: &mut v1::EchoReply) {
    let Ok(message) = Message::parse(&answer.packet) else {
        return;
    };
    reply.round_trip_ns = shared.clock.to_ns(answer.time.saturating_sub(sent));
    match &message.body {
        Body::Error(error) => {
            reply.error = error.code.as_str().into();
            reply.error_node = error.node.0;
            reply.error_mtu = u32::from(error.mtu);
        }
        body => {
            if let Body::Probe(probe) = body {
                reply.residence_ns = probe.residence_ns().unwrap_or(0);
                if let Some(state) = probe.state {
                    reply.state_known = true;
                    reply.health = state.health as u32;
                    reply.load_permille = state.load_permille.into();
                }
            }
            let header = &message.header;
            reply.answered = true;
            reply.gateway = header.source_gateway.0;
            reply.attachment = u32::from(header.source_attachment.0);
            reply.name = header
                .source_name(&answer.packet)
                .map_or_else(Vec::new, |n| n.as_bytes().to_vec());
            reply.hops = record::slots(&answer.packet, header)
                .map(|slot| v1::Hop {
                    node: slot.node.0,
                    in_port: u32::from(slot.in_port.0),
                    out_port: u32::from(slot.out_port.0),
                    residence_ns: slot.residence_ns,
                })
                .collect();
        }
    }
}

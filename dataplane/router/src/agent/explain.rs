//! Why a packet goes where it goes: the data path's own chooser, with every decision in words.

use dmsc_fib::{PathKind, Topology};
use dmsc_proto::v1;
use dmsc_wire::{Domain, FlowLabel, NameBuf, NodeId};

use crate::choose::{Call, Chooser, Destination, router_of};
use crate::packet::Origin;
use crate::publisher::View;
use crate::shared::Shared;

/// Answers for one packet, on one generation.
pub fn explain(
    shared: &Shared,
    view: &View,
    name: &NameBuf,
    request: &v1::ExplainRequest,
    from: Origin,
) -> v1::ExplainReply {
    let chooser = Chooser {
        tables: &view.tables,
        ports: &shared.ports,
        node: shared.node(),
    };
    let came_over = match from {
        Origin::Router(id) => Some(id),
        _ => None,
    };
    let call = Call {
        domain: Domain(request.domain),
        flow: FlowLabel(request.flow_label),
        topology: Topology::for_class(request.class as u8),
        came_over,
        excluded: NodeId::NONE,
    };
    let mut reply = v1::ExplainReply {
        generation: view.generation.0,
        ..Default::default()
    };
    let there = if request.destination_gateway != 0 {
        reply.chooser = "caller (pinned)".into();
        reply.steps.push(format!(
            "gateway {} was stamped by the caller",
            request.destination_gateway
        ));
        let gateway = NodeId(request.destination_gateway);
        Some(Destination {
            gateway,
            by_delay: match from {
                Origin::Router(_) => request.by_delay,
                _ => pinned_by_delay(&chooser, name, &call, gateway),
            },
        })
    } else if let Some(router) = router_of(name.as_name()) {
        reply.chooser = "name of a router".into();
        reply
            .steps
            .push(format!("{name} is the own name of router {router}"));
        Some(Destination::by_class(router))
    } else {
        by_name(&chooser, view, name, &call, &mut reply)
    };
    let Some(there) = there else {
        reply.path = "none".into();
        reply.verdict = "no-route".into();
        return reply;
    };
    let (gateway, call) = (there.gateway, call.towards(there));
    reply.gateway = gateway.0;
    reply.by_delay = gateway != shared.node() && call.topology == Topology::Delay;
    if gateway == shared.node() {
        local(&chooser, name, &call, &mut reply);
    } else {
        remote(shared, &chooser, gateway, &call, &mut reply);
    }
    reply
}

/// Whether a call of a pod here that names its gateway itself goes there by delay.
fn pinned_by_delay(chooser: &Chooser<'_>, name: &NameBuf, call: &Call, gateway: NodeId) -> bool {
    let found = chooser.lookup(call.domain, name.as_name());
    let share = found.map(|found| chooser.share_by_delay(&found, gateway));
    let is_by_delay = share.is_some_and(|share| share.takes(call.flow));
    is_by_delay
        && chooser
            .next_hop(
                gateway,
                &call.towards(Destination {
                    gateway,
                    by_delay: true,
                }),
            )
            .is_some()
}

fn by_name(
    chooser: &Chooser<'_>,
    view: &View,
    name: &NameBuf,
    call: &Call,
    reply: &mut v1::ExplainReply,
) -> Option<Destination> {
    let Some(found) = chooser.lookup(call.domain, name.as_name()) else {
        reply
            .steps
            .push(format!("no prefix covers {name} in domain {}", call.domain));
        return None;
    };
    let prefix = name.as_name().prefix(usize::from(found.components));
    reply.matched_prefix = prefix.as_bytes().to_vec();
    reply.steps.push(format!("longest prefix: {prefix}"));
    let chosen = chooser.member(&found, call);
    match found
        .value
        .group
        .and_then(|id| chooser.group(id).map(|g| (id, g)))
    {
        None => {
            reply.chooser = "route".into();
            reply
                .steps
                .push("no route from elsewhere: only this gateway's own pods answer".into());
        }
        Some((id, group)) => {
            let weighted = group.policy() == dmsc_fib::GroupPolicy::Weighted;
            reply.group = id.0;
            reply.chooser = if weighted { "weights" } else { "route" }.into();
            let primaries: Vec<NodeId> = group.primaries().map(|m| m.gateway).collect();
            for member in group.members() {
                reply.members.push(v1::ExplainMember {
                    gateway: member.gateway.0,
                    metric: member.metric,
                    weight: u32::from(member.weight),
                    primary: primaries.contains(&member.gateway),
                    reachable: chooser.is_reachable(member, &found, call),
                    chosen: chosen.is_some_and(|there| there.gateway == member.gateway),
                    by_delay_permille: member.by_delay().permille(),
                });
            }
            reply.steps.push(format!(
                "group {id}: {} members, {} primary, chosen by {}",
                group.members().len(),
                primaries.len(),
                if weighted { "weight" } else { "least metric" }
            ));
        }
    }
    match chosen {
        Some(there) => reply.steps.push(format!(
            "flow label {:#x} picks gateway {}{} (generation {})",
            call.flow.0,
            there.gateway,
            if there.by_delay {
                ", by the topology of least delay"
            } else {
                ""
            },
            view.generation
        )),
        None => reply.steps.push("no member can be reached".into()),
    }
    chosen
}

fn local(chooser: &Chooser<'_>, name: &NameBuf, call: &Call, reply: &mut v1::ExplainReply) {
    reply.local = true;
    reply.path = "local".into();
    if router_of(name.as_name()) == Some(chooser.node) {
        reply.verdict = "deliver".into();
        reply.steps.push("answered by this router itself".into());
        return;
    }
    match chooser
        .lookup(call.domain, name.as_name())
        .and_then(|found| chooser.local(&found, call.flow))
    {
        Some(attachment) => {
            reply.attachment = u32::from(attachment.id.0);
            reply.attachment_identity = attachment.identity.clone();
            reply.out_port = chooser.ports[attachment.port].config.name.clone();
            reply.verdict = "deliver".into();
            reply.steps.push(format!(
                "delivered to attachment {} ({}) on port {}",
                attachment.id, attachment.identity, reply.out_port
            ));
        }
        None => {
            reply.verdict = "attachment-gone".into();
            reply.steps.push("no attachment here answers it now".into());
        }
    }
}

/// Of a way, in what its topology adds up.
fn length(sum: u32, topology: Topology) -> String {
    match topology {
        Topology::Metric => format!("metric {sum}"),
        Topology::Delay => format!("delay {sum} µs"),
    }
}

fn remote(
    shared: &Shared,
    chooser: &Chooser<'_>,
    gateway: NodeId,
    call: &Call,
    reply: &mut v1::ExplainReply,
) {
    let Some(entry) = chooser.gateway(gateway, call.topology) else {
        reply.path = "none".into();
        reply.verdict = "no-route".into();
        reply
            .steps
            .push(format!("gateway {gateway} is not in the gateway table"));
        return;
    };
    let chosen = chooser.next_hop(gateway, call);
    let candidates = entry
        .next_hops
        .iter()
        .map(|id| (*id, "primary"))
        .chain(entry.node_protecting.map(|id| (id, "node-protecting")))
        .chain(entry.link_protecting.map(|id| (id, "link-protecting")));
    for (id, kind) in candidates {
        let adjacency = chooser.tables.adjacencies.get(id);
        reply.next_hops.push(v1::ExplainNextHop {
            adjacency: u32::from(id.0),
            peer: adjacency.map_or(0, |a| a.config.peer.0),
            port: adjacency.map_or_else(String::new, |a| {
                shared.ports[a.config.port].config.name.clone()
            }),
            kind: kind.into(),
            alive: chooser.is_usable(id, call.came_over),
            chosen: chosen.is_some_and(|(c, _)| c == id),
        });
    }
    match chosen {
        Some((id, path)) => {
            reply.adjacency = u32::from(id.0);
            reply.path = match path {
                PathKind::Primary => "primary",
                PathKind::NodeProtecting => "node-protecting",
                PathKind::LinkProtecting => "link-protecting",
            }
            .into();
            reply.verdict = "forward".into();
            if let Some(adjacency) = chooser.tables.adjacencies.get(id) {
                reply.out_port = shared.ports[adjacency.config.port].config.name.clone();
                reply.steps.push(format!(
                    "{} next hop to gateway {gateway} ({}): router {} over port {}",
                    reply.path,
                    length(entry.metric, call.topology),
                    adjacency.config.peer,
                    reply.out_port
                ));
            }
        }
        None => {
            reply.path = "none".into();
            reply.verdict = "no-route".into();
            reply.steps.push(format!("no next hop to gateway {gateway} is alive; an unpinned call is resolved once more without it"));
        }
    }
}

//! Tables, ports, workers and counters as messages of the API.

use std::collections::HashMap;

use crossbeam_utils::CachePadded;
use dmsc_dpdk::PortHandle;
use dmsc_fib::GroupPolicy;
use dmsc_proto::v1;

use crate::adjacency::Adjacency;
use crate::attachment::{Attachment, Endpoint};
use crate::config::PortRole;
use crate::counters::{ClassCounters, Counter, DropReason, EventKind, PortCounters};
use crate::egress::CLASSES;
use crate::port::PortState;
use crate::programmer::topology_number;
use crate::publisher::View;
use crate::quality::Quality;
use crate::shared::Shared;

fn optional(id: Option<dmsc_fib::AdjacencyId>) -> u32 {
    id.map_or(0, |id| u32::from(id.0))
}

/// An adjacency with its state.
pub fn adjacency(shared: &Shared, adjacency: &Adjacency) -> v1::Adjacency {
    let config = &adjacency.config;
    let text = |address: std::net::IpAddr| address.to_string();
    v1::Adjacency {
        id: u32::from(config.id.0),
        port: shared.ports[config.port].config.name.clone(),
        peer: config.peer.0,
        encapsulation: if config.udp.is_some() {
            "udp"
        } else {
            "ethernet"
        }
        .into(),
        local_address: config.udp.map_or_else(String::new, |u| text(u.0)),
        remote_address: config.udp.map_or_else(String::new, |u| text(u.1)),
        next_hop: config.next_hop.map_or_else(String::new, text),
        vlan: u32::from(config.vlan),
        minimum_ttl: u32::from(config.minimum_ttl),
        mtu: u32::from(config.mtu),
        hello_interval_ms: u32::from(config.hello_interval_ms),
        hello_multiplier: u32::from(config.hello_multiplier),
        key_id: config.key.as_ref().map_or(0, |k| u32::from(k.id)),
        key: Vec::new(), // secrets are never read back
        state: adjacency.live.state().as_str().into(),
        path_mtu: u32::from(adjacency.path_mtu(dmsc_dpdk::tsc())),
        changes: adjacency
            .live
            .changes
            .load(std::sync::atomic::Ordering::Relaxed),
        neighbour: adjacency
            .neighbour
            .mac()
            .map_or_else(|| "unresolved".into(), |m| m.to_string()),
        quality: None,
    }
}

/// All adjacencies with their state, and what those are like that are up.
pub fn adjacencies(shared: &Shared, view: &View) -> v1::ListAdjacenciesReply {
    let each = view.tables.adjacencies.iter().map(|one| v1::Adjacency {
        quality: one.is_up().then(|| quality(&one.live.quality)),
        ..adjacency(shared, one)
    });
    v1::ListAdjacenciesReply {
        adjacencies: each.collect(),
    }
}

fn quality(quality: &Quality) -> v1::LinkQuality {
    let delay = quality.delay();
    let (hellos, hellos_lost) = quality.hellos();
    v1::LinkQuality {
        round_trip_ns: delay.map(|delay| delay.round_trip_ns),
        variation_ns: delay.map(|delay| delay.variation_ns),
        hellos,
        hellos_lost,
    }
}

/// An attachment with its state.
pub fn attachment(shared: &Shared, attachment: &Attachment, generation: u64) -> v1::Attachment {
    let (address, udp_port) = match attachment.endpoint {
        Endpoint::Udp(address, port) => (address.to_string(), u32::from(port)),
        Endpoint::Ethernet(mac) => (mac.to_string(), 0),
    };
    let bytes =
        |names: &[dmsc_wire::NameBuf]| names.iter().map(|n| n.as_bytes().to_vec()).collect();
    v1::Attachment {
        id: u32::from(attachment.id.0),
        port: shared.ports[attachment.port].config.name.clone(),
        address,
        udp_port,
        domain: attachment.domain.0,
        identity: attachment.identity.clone(),
        serves: bytes(&attachment.serves),
        owns: bytes(&attachment.owns),
        force: false,
        moves: false,
        class_limit: u32::from(attachment.class_limit),
        state: if shared.ports[attachment.port].is_up() {
            attachment.state()
        } else {
            "unreachable"
        }
        .into(),
        generation,
        lease_ms: attachment.lease_ms,
        probes: probes(attachment).into(),
    }
}

fn probes(attachment: &Attachment) -> &'static str {
    if attachment.silence.is_broken() {
        "answered"
    } else if attachment.silence.is_proven() {
        "silent"
    } else {
        ""
    }
}

/// Everything that is programmed.
pub fn dump(shared: &Shared, view: &View, prefixes: bool) -> v1::DumpReply {
    let tables = &view.tables;
    let generation = view.generation.0;
    v1::DumpReply {
        generation,
        adjacencies: tables
            .adjacencies
            .iter()
            .map(|a| adjacency(shared, a))
            .collect(),
        gateways: tables
            .fib
            .gateways()
            .map(|entry| v1::Gateway {
                topology: topology_number(entry.topology),
                gateway: entry.node.0,
                metric: entry.gateway.metric,
                next_hops: entry
                    .gateway
                    .next_hops
                    .iter()
                    .map(|id| u32::from(id.0))
                    .collect(),
                node_protecting: optional(entry.gateway.node_protecting),
                link_protecting: optional(entry.gateway.link_protecting),
            })
            .collect(),
        groups: tables
            .fib
            .groups()
            .map(|(id, group)| v1::Group {
                id: id.0,
                weighted: group.policy() == GroupPolicy::Weighted,
                members: group
                    .members()
                    .iter()
                    .map(|m| v1::Member {
                        gateway: m.gateway.0,
                        metric: m.metric,
                        weight: u32::from(m.weight),
                        delay_weight: u32::from(m.delay_weight),
                    })
                    .collect(),
            })
            .collect(),
        prefixes: if prefixes {
            let routed = |entry: dmsc_fib::PrefixEntry| {
                let group = entry.value.group?.0;
                Some(v1::Prefix {
                    domain: entry.domain.0,
                    name: entry.name.as_bytes().to_vec(),
                    group,
                })
            };
            tables.fib.prefixes().filter_map(routed).collect()
        } else {
            Vec::new()
        },
        attachments: tables
            .attachments
            .iter()
            .map(|a| attachment(shared, a, generation))
            .collect(),
        access_rules: tables
            .access
            .iter()
            .map(|rule| v1::AccessRule {
                id: rule.id,
                domain: rule.domain.0,
                caller: rule
                    .caller
                    .as_ref()
                    .map_or_else(Vec::new, |n| n.as_bytes().to_vec()),
                callee: rule
                    .callee
                    .as_ref()
                    .map_or_else(Vec::new, |n| n.as_bytes().to_vec()),
                allow: rule.allow,
            })
            .collect(),
        prefix_count: tables.fib.len() as u64,
        table_bytes: tables.fib.bytes() as u64,
    }
}

/// A port with what its PMD counts.
pub fn port(shared: &Shared, port: &PortState, handle: &PortHandle) -> v1::Port {
    let sum = |get: fn(&crate::counters::PortCounters) -> u64| {
        shared
            .workers
            .iter()
            .map(|w| get(&w.counters.ports[port.number]))
            .sum()
    };
    let config = &port.config;
    v1::Port {
        id: u32::from(port.id()),
        name: config.name.clone(),
        kind: config.kind.as_str().into(),
        role: if config.role == PortRole::Pod {
            "pod"
        } else {
            "router"
        }
        .into(),
        interface: config.kind.interface().unwrap_or_default().into(),
        mac: port.mac.to_string(),
        addresses: config.addresses.iter().map(ToString::to_string).collect(),
        mtu: u32::from(config.mtu),
        vlan: u32::from(config.vlan),
        carrier: port.is_up(),
        exception: if port.has_tap {
            crate::exception::tap_name(&config.name)
        } else {
            String::new()
        },
        plain_ip: if port.drops_plain_ip() {
            "drop"
        } else {
            "kernel"
        }
        .into(),
        domain: if config.role == PortRole::Pod {
            config.domain.0
        } else {
            0
        },
        queues: shared.workers.len() as u32,
        rx_packets: sum(|c| c.rx.get()),
        rx_bytes: sum(|c| c.rx_bytes.get()),
        tx_packets: sum(|c| c.tx.get()),
        tx_bytes: sum(|c| c.tx_bytes.get()),
        rx_missed: handle.stats().rx_missed,
        rate_mbps: (port.tuning.rate_bytes_per_s() / 125_000) as u32,
        capacity_mbps: match port.tuning.capacity_mbps() {
            0 => handle.speed_mbps().unwrap_or(0),
            configured => configured,
        },
    }
}

/// The counters of a port, summed over the workers.
pub fn counters(shared: &Shared, port: &PortState) -> v1::PortCounters {
    let blocks: Vec<_> = shared
        .workers
        .iter()
        .map(|w| &w.counters.ports[port.number])
        .collect();
    let sum = |get: &dyn Fn(&crate::counters::PortCounters) -> u64| {
        blocks.iter().map(|b| get(b)).sum::<u64>()
    };
    let mut drops = HashMap::new();
    for reason in DropReason::ALL {
        let count = sum(&|b| b.drops(*reason));
        if count > 0 {
            drops.insert(reason.name().to_string(), count);
        }
    }
    let mut events = HashMap::new();
    for event in EventKind::ALL {
        let count = sum(&|b| b.events(*event));
        if count > 0 {
            events.insert(event.name().to_string(), count);
        }
    }
    v1::PortCounters {
        port: port.config.name.clone(),
        rx: sum(&|b| b.rx.get()),
        originated: sum(&|b| b.originated.get()),
        sent: sum(&|b| b.sent.get()),
        consumed: sum(&|b| b.consumed.get()),
        drops,
        events,
        classes: (0..CLASSES)
            .map(|class| class_counters(class, &blocks))
            .filter(|counters| counters.came > 0)
            .collect(),
    }
}

/// The counters of one class of a port, summed over the workers' blocks.
fn class_counters(class: usize, blocks: &[&CachePadded<PortCounters>]) -> v1::ClassCounters {
    let sum = |get: fn(&ClassCounters) -> &Counter| {
        let all = blocks.iter().map(|block| get(&block.classes[class]).get());
        all.sum::<u64>()
    };
    v1::ClassCounters {
        class: class as u32,
        came: sum(|c| &c.came),
        sent: sum(|c| &c.sent),
        sent_bytes: sum(|c| &c.sent_bytes),
        dropped: sum(|c| &c.dropped),
        marked: sum(|c| &c.marked),
    }
}

/// What the workers did so far.
pub fn workers(shared: &Shared, observed: u64) -> Vec<v1::Worker> {
    shared
        .workers
        .iter()
        .enumerate()
        .map(|(id, link)| {
            let worker = &link.counters.worker;
            v1::Worker {
                id: id as u32,
                core: link.core.map_or(-1, |c| c as i32),
                packets: worker.packets.get(),
                bursts: worker.bursts.get(),
                empty_polls: worker.empty_polls.get(),
                busy_cycles: worker.busy_cycles.get(),
                idle_cycles: worker.idle_cycles.get(),
                sleeps: worker.sleeps.get(),
                sleep_ns: worker.sleep_ns.get(),
                cycles_hz: shared.clock.hz(),
                gaps: worker
                    .gaps
                    .read(shared.clock)
                    .into_iter()
                    .map(|gap| v1::Gap {
                        from_ns: gap.from_ns,
                        to_ns: gap.to_ns,
                        count: gap.count,
                    })
                    .collect(),
                observed_generation: observed,
                now_cycles: dmsc_dpdk::tsc(),
                state: if worker.asleep.load(std::sync::atomic::Ordering::Relaxed) == 1 {
                    "asleep"
                } else {
                    "polling"
                }
                .into(),
            }
        })
        .collect()
}

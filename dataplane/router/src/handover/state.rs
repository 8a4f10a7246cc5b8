//! What goes from the old process to the new one, as messages, and back into tables.

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use dmsc_fib::AdjacencyId;
use dmsc_proto::v1;
use dmsc_wire::AttachmentId;

use crate::adjacency::{Adjacency, State as Hello};
use crate::agent::describe;
use crate::config::Config;
use crate::mac::MacAddress;
use crate::port::Ports;
use crate::programmer::{MAX_OPS, ProgramError, Programmer};
use crate::publisher::View;
use crate::shared::Shared;
use crate::tables::Tables;

/// Everything that the new process makes its tables from.
#[derive(Debug, Default)]
pub struct State {
    /// All of it but the prefixes.
    pub last: v1::HandoverReply,
    /// The prefixes.
    pub prefixes: Vec<v1::Prefix>,
}

/// The state as replies: prefixes in portions, then the rest. The generation is that of the whole.
pub(super) fn replies(shared: &Shared, view: &View) -> Vec<v1::HandoverReply> {
    let mut tables = describe::dump(shared, view, true);
    let prefixes = std::mem::take(&mut tables.prefixes);
    for (message, adjacency) in tables
        .adjacencies
        .iter_mut()
        .zip(view.tables.adjacencies.iter())
    {
        if let Some(key) = &adjacency.config.key {
            message.key.clone_from(&key.secret);
        }
    }
    let neighbours = view.tables.neighbours.values().filter_map(|neighbour| {
        Some(v1::HandedNeighbour {
            port: shared.ports[neighbour.port].config.name.clone(),
            vlan: u32::from(neighbour.vlan),
            address: neighbour.address.to_string(),
            mac: neighbour.mac()?.to_string(),
        })
    });
    let last = v1::HandoverReply {
        stage: "state".into(),
        tables: Some(tables),
        generation: view.generation.0,
        resting: view
            .resting
            .iter()
            .map(|(id, since)| v1::RestingAttachment {
                id: u32::from(*id),
                left_ms: Programmer::rests_for(*since).as_millis() as u32,
            })
            .collect(),
        neighbours: neighbours.collect(),
        boot_nonce: shared.speaker.boot,
        ..Default::default()
    };
    let portions = prefixes.chunks(MAX_OPS).map(|portion| v1::HandoverReply {
        stage: "prefixes".into(),
        tables: Some(v1::DumpReply {
            prefixes: portion.to_vec(),
            ..Default::default()
        }),
        generation: view.generation.0,
        ..Default::default()
    });
    portions.chain([last]).collect()
}

/// Where the hellos stopped. The workers must have stopped before.
pub fn stopped(shared: &Shared, view: &View) -> v1::HandoverReply {
    let now = dmsc_dpdk::tsc();
    let ms = |cycles: u64| (shared.clock.to_ns(cycles) / 1_000_000).min(u64::from(u32::MAX)) as u32;
    let hello = |adjacency: &std::sync::Arc<Adjacency>| {
        let live = &adjacency.live;
        v1::HandedHello {
            adjacency: u32::from(adjacency.config.id.0),
            sequence: live.sequence.load(Relaxed),
            peer_boot: live.peer_boot.load(Relaxed),
            peer_sequence: live.peer_sequence.load(Relaxed),
            peer_port: u32::from(live.peer_port.load(Relaxed)),
            peer_state: Hello::from_number(live.peer_state.load(Relaxed))
                .as_str()
                .into(),
            peer_mtu: u32::from(live.peer_mtu.load(Relaxed)),
            hold_ms: ms(live.hold.load(Relaxed)),
            path_mtu: u32::from(live.path_mtu.load(Relaxed)),
            path_mtu_ms: ms(live.path_mtu_until.load(Relaxed).saturating_sub(now)),
        }
    };
    let adjacencies = &view.tables.adjacencies;
    v1::HandoverReply {
        stage: "stopped".into(),
        generation: view.generation.0,
        adjacencies: adjacencies
            .iter()
            .map(|adjacency| describe::adjacency(shared, adjacency))
            .collect(),
        hellos: adjacencies.iter().map(hello).collect(),
        ..Default::default()
    }
}

/// Lets the hellos of `tables` go on where those of the old process stopped. Every neighbour that was up has its whole hold time again.
pub fn resume(tables: &Tables, clock: crate::clock::Clock, reply: &v1::HandoverReply) {
    let now = dmsc_dpdk::tsc();
    let find = |id: u32| {
        let id = u16::try_from(id).ok()?;
        tables.adjacencies.get(AdjacencyId(id))
    };
    for hello in &reply.hellos {
        let Some(adjacency) = find(hello.adjacency) else {
            continue;
        };
        let (live, short) = (&adjacency.live, |n: u32| n.min(u32::from(u16::MAX)) as u16);
        live.sequence.store(hello.sequence, Relaxed);
        live.peer_boot.store(hello.peer_boot, Relaxed);
        live.peer_sequence.store(hello.peer_sequence, Relaxed);
        live.peer_port.store(short(hello.peer_port), Relaxed);
        live.peer_state
            .store(Hello::from_word(&hello.peer_state) as u8, Relaxed);
        live.peer_mtu.store(short(hello.peer_mtu), Relaxed);
        live.hold
            .store(clock.from_ms(u64::from(hello.hold_ms)), Relaxed);
        live.path_mtu.store(short(hello.path_mtu), Relaxed);
        live.path_mtu_until.store(
            now + clock.from_ms(u64::from(hello.path_mtu_ms.min(600_000))),
            Relaxed,
        );
        live.heard.store(now, Relaxed);
        live.next_hello.store(now, Relaxed);
    }
    for message in &reply.adjacencies {
        if let Some(adjacency) = find(message.id) {
            let state = Hello::from_word(&message.state);
            adjacency.live.state.store(state as u8, Relaxed);
            adjacency.live.changes.store(message.changes, Relaxed);
        }
    }
}

impl State {
    /// The hello identity to go on under.
    pub fn boot(&self) -> u64 {
        self.last.boot_nonce
    }

    /// The tables of the old process over these ports.
    ///
    /// # Errors
    /// What of it does not fit the new configuration.
    pub fn rebuild(&self, config: &Config, ports: &Ports) -> Result<Programmer, ProgramError> {
        use v1::op::Op as O;
        let mut programmer = Programmer::new(ports.clone(), config.role, config.udp_port);
        let empty = v1::DumpReply::default();
        let tables = self.last.tables.as_ref().unwrap_or(&empty);
        let attach = |attachment: &v1::Attachment| {
            O::Attach(v1::Attachment {
                force: true,
                ..attachment.clone()
            })
        };
        let ops = tables
            .adjacencies
            .iter()
            .cloned()
            .map(O::PutAdjacency)
            .chain(tables.gateways.iter().cloned().map(O::PutGateway))
            .chain(tables.groups.iter().cloned().map(O::PutGroup))
            .chain(tables.access_rules.iter().cloned().map(O::PutAccessRule))
            .chain(tables.attachments.iter().map(attach))
            .chain(self.prefixes.iter().cloned().map(O::PutPrefix));
        let mut ops = ops.map(|op| v1::Op { op: Some(op) }).peekable();
        while ops.peek().is_some() {
            let portion: Vec<_> = ops.by_ref().take(MAX_OPS).collect();
            programmer.apply(&portion)?;
        }
        programmer.restore_resting(
            self.last
                .resting
                .iter()
                .map(|r| (r.id, Duration::from_millis(u64::from(r.left_ms)))),
        );
        self.restore_learned(programmer.tables(), ports);
        Ok(programmer)
    }

    /// What was learned from the wire and not programmed.
    fn restore_learned(&self, tables: &Tables, ports: &Ports) {
        let now = dmsc_dpdk::tsc();
        for told in &self.last.neighbours {
            let port = ports.iter().position(|p| p.config.name == told.port);
            let vlan = u16::try_from(told.vlan).unwrap_or(0);
            if let (Some(port), Ok(address), Ok(mac)) =
                (port, told.address.parse(), told.mac.parse())
                && let Some(neighbour) = tables.neighbours.get(&(port, vlan, address))
            {
                neighbour.learn(mac, now);
            }
        }
        let Some(told) = &self.last.tables else {
            return;
        };
        for message in &told.adjacencies {
            let id = AdjacencyId(u16::try_from(message.id).unwrap_or(0));
            // On bare Ethernet the hellos told the address.
            if let (Some(adjacency), Ok(mac)) = (
                tables.adjacencies.get(id),
                message.neighbour.parse::<MacAddress>(),
            ) && adjacency.config.udp.is_none()
            {
                adjacency.neighbour.learn(mac, now);
            }
        }
        for message in &told.attachments {
            let id = AttachmentId(u16::try_from(message.id).unwrap_or(0));
            let Some(attachment) = tables.attachments.get(id) else {
                continue;
            };
            if message.state == "unreachable" {
                attachment.reachable.store(false, Relaxed);
            }
            if message.probes == "answered" {
                attachment.silence.break_it();
            }
        }
    }
}

/// Kernel settings that the new process is to put back one day.
pub(crate) fn settings(reply: v1::HandoverReply) -> Vec<(PathBuf, String)> {
    let settings = reply.settings.into_iter();
    settings.map(|s| (s.path.into(), s.value)).collect()
}

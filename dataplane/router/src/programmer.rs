//! Turns a transaction of the agent's API into the next generation of the tables: all of it, or none (design §5).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use dmsc_fib::{
    AdjacencyId, Gateway, Group, GroupId, GroupPolicy, LocalSetId, Member, Op, PrefixValue,
    Topology,
};
use dmsc_proto::v1;
use dmsc_wire::{AttachmentId, Domain, NameBuf, NodeId};

use crate::adjacency::{Adjacency, AdjacencyConfig, HelloKey, Liveness, Neighbour};
use crate::attachment::{Attachment, Endpoint, NameSet};
use crate::config::Role;
use crate::outer::{Outer, UdpPath};
use crate::port::{PortState, Ports};
use crate::tables::{AccessRule, Adjacencies, Attachments, Tables};

/// Time that an attachment id rests before another endpoint gets it (design §3).
const REST: Duration = Duration::from_secs(120);
/// Most operations in one transaction.
pub const MAX_OPS: usize = 65_536;
/// Most prefixes of one attachment.
const MAX_NAMES: usize = 65_536;

/// Why a transaction was refused; the tables are as before.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// One operation can not be done.
    #[error("operation {index} ({kind}): {message}")]
    Operation {
        /// Place in the transaction, from 0.
        index: usize,
        /// Name of the operation.
        kind: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
    /// Names, groups or gateways do not fit together.
    #[error("{0}")]
    Fib(#[from] dmsc_fib::TransactionError),
    /// More operations than one transaction may have.
    #[error("{0} operations; a transaction has at most {MAX_OPS}")]
    TooMany(usize),
}

/// What a prefix maps to, from both sides: routes and registrations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct PrefixState {
    group: Option<GroupId>,
    /// Sorted.
    local: Vec<AttachmentId>,
}

type PrefixId = (Domain, NameBuf);

/// The tables' one writer.
pub struct Programmer {
    ports: Ports,
    role: Role,
    udp_port: u16,
    tables: Tables,
    prefixes: HashMap<PrefixId, PrefixState>,
    sets: Sets,
    /// Ids that were given back, and when.
    resting: HashMap<u16, Instant>,
    next_id: u16,
}

/// Local sets by their members: prefixes of one pod share one set.
#[derive(Debug, Clone, Default)]
struct Sets {
    by_members: HashMap<Vec<AttachmentId>, LocalSetId>,
    used: Vec<u32>,
}

impl Sets {
    fn take(&mut self, members: &[AttachmentId]) -> LocalSetId {
        if let Some(&id) = self.by_members.get(members) {
            self.used[id.0 as usize] += 1;
            return id;
        }
        let free = self.used.iter().position(|n| *n == 0).unwrap_or_else(|| {
            self.used.push(0);
            self.used.len() - 1
        });
        self.used[free] = 1;
        let id = LocalSetId(free as u32);
        self.by_members.retain(|_, other| *other != id);
        self.by_members.insert(members.to_vec(), id);
        id
    }

    fn give_back(&mut self, members: &[AttachmentId]) {
        if let Some(&id) = self.by_members.get(members)
            && let Some(used) = self.used.get_mut(id.0 as usize)
        {
            *used = used.saturating_sub(1);
            if *used == 0 {
                self.by_members.remove(members);
            }
        }
    }
}

/// The next generation while it is made.
struct Draft {
    adjacencies: Adjacencies,
    attachments: Attachments,
    neighbours: HashMap<(usize, IpAddr), Arc<Neighbour>>,
    access: Vec<AccessRule>,
    fib_ops: Vec<Op>,
    prefixes: HashMap<PrefixId, PrefixState>,
    resting: HashMap<u16, Instant>,
    next_id: u16,
    attached: Vec<AttachmentId>,
    /// Gateways that are put or deleted here, to see which adjacencies are still needed.
    gateways: HashMap<(Topology, NodeId), Option<Gateway>>,
    endpoints_changed: bool,
}

/// What a transaction did, besides making new tables.
#[derive(Debug)]
pub struct Programmed {
    /// To publish.
    pub tables: Tables,
    /// Ids of the attach operations, in order.
    pub attached: Vec<AttachmentId>,
}

fn topology(number: u32) -> Result<Topology, String> {
    match number {
        0 => Ok(Topology::Metric),
        1 => Ok(Topology::Delay),
        other => Err(format!(
            "topology {other} is neither 0 (metric) nor 1 (delay)"
        )),
    }
}

/// The number of a topology in the API.
pub fn topology_number(topology: Topology) -> u32 {
    match topology {
        Topology::Metric => 0,
        Topology::Delay => 1,
    }
}

fn name(bytes: &[u8]) -> Result<NameBuf, String> {
    let name = NameBuf::from_bytes(bytes)
        .map_err(|e| format!("name {bytes:02x?} is not in canonical encoding: {e}"))?;
    if name.as_name().is_reserved() {
        return Err(format!("name {name}: /dmsc is reserved for routers"));
    }
    Ok(name)
}

fn address(text: &str, field: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| format!("{field}: {text:?} is no IP address"))
}

impl Programmer {
    /// Empty tables over these ports.
    pub fn new(ports: Ports, role: Role, udp_port: u16) -> Programmer {
        Programmer {
            ports,
            role,
            udp_port,
            tables: Tables::default(),
            prefixes: HashMap::new(),
            sets: Sets::default(),
            resting: HashMap::new(),
            next_id: 1,
        }
    }

    /// The present tables.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Makes the next generation.
    ///
    /// # Errors
    /// At the first operation that can not be; nothing is changed then.
    pub fn apply(&mut self, ops: &[v1::Op]) -> Result<Programmed, ProgramError> {
        if ops.len() > MAX_OPS {
            return Err(ProgramError::TooMany(ops.len()));
        }
        let mut draft = Draft {
            adjacencies: (*self.tables.adjacencies).clone(),
            attachments: (*self.tables.attachments).clone(),
            neighbours: (*self.tables.neighbours).clone(),
            access: (*self.tables.access).clone(),
            fib_ops: Vec::new(),
            prefixes: HashMap::new(),
            resting: self.resting.clone(),
            next_id: self.next_id,
            attached: Vec::new(),
            gateways: HashMap::new(),
            endpoints_changed: false,
        };
        for (index, op) in ops.iter().enumerate() {
            let (kind, result) = self.one(&mut draft, op.op.as_ref());
            result.map_err(|message| ProgramError::Operation {
                index,
                kind,
                message,
            })?;
        }
        self.check_adjacencies(&draft)?;
        self.finish(draft)
    }

    fn one(
        &self,
        draft: &mut Draft,
        op: Option<&v1::op::Op>,
    ) -> (&'static str, Result<(), String>) {
        use v1::op::Op as O;
        match op {
            None => (
                "unknown",
                Err("no operation that this version knows".into()),
            ),
            Some(O::PutAdjacency(a)) => ("put_adjacency", self.put_adjacency(draft, a)),
            Some(O::DeleteAdjacency(id)) => ("delete_adjacency", delete_adjacency(draft, *id)),
            Some(O::PutGateway(g)) => ("put_gateway", put_gateway(draft, g)),
            Some(O::DeleteGateway(g)) => ("delete_gateway", delete_gateway(draft, g)),
            Some(O::PutGroup(g)) => ("put_group", put_group(draft, g)),
            Some(O::DeleteGroup(id)) => {
                draft.fib_ops.push(Op::DeleteGroup { id: GroupId(*id) });
                ("delete_group", Ok(()))
            }
            Some(O::PutPrefix(p)) => ("put_prefix", self.put_prefix(draft, p)),
            Some(O::DeletePrefix(p)) => ("delete_prefix", self.delete_prefix(draft, p)),
            Some(O::Attach(a)) => ("attach", self.attach(draft, a)),
            Some(O::Detach(id)) => ("detach", self.detach_id(draft, *id)),
            Some(O::PutAccessRule(r)) => ("put_access_rule", put_access_rule(draft, r)),
            Some(O::DeleteAccessRule(id)) => {
                let before = draft.access.len();
                draft.access.retain(|rule| rule.id != *id);
                let found = draft.access.len() < before;
                (
                    "delete_access_rule",
                    if found {
                        Ok(())
                    } else {
                        Err(format!("access rule {id} does not exist"))
                    },
                )
            }
        }
    }

    fn port(&self, name: &str) -> Result<&Arc<PortState>, String> {
        self.ports
            .iter()
            .find(|p| p.config.name == name)
            .ok_or_else(|| {
                let known: Vec<_> = self.ports.iter().map(|p| p.config.name.as_str()).collect();
                format!(
                    "port {name:?} does not exist; there are {}",
                    known.join(", ")
                )
            })
    }

    fn put_adjacency(&self, draft: &mut Draft, given: &v1::Adjacency) -> Result<(), String> {
        let id = u16::try_from(given.id)
            .ok()
            .filter(|id| *id > 0)
            .ok_or("id must be 1 to 65535")?;
        let port = self.port(&given.port)?;
        if port.is_pod() {
            return Err(format!(
                "port {:?} is a pod port; adjacencies are on router ports",
                given.port
            ));
        }
        if given.peer == 0 {
            return Err("peer must be a node id".into());
        }
        let udp = match given.encapsulation.as_str() {
            "ethernet" => None,
            "udp" | "" => {
                let local = address(&given.local_address, "local_address")?;
                let remote = address(&given.remote_address, "remote_address")?;
                if !port.owns(local) {
                    return Err(format!(
                        "local_address {local} is not an address of port {:?}",
                        given.port
                    ));
                }
                if local.is_ipv4() != remote.is_ipv4() {
                    return Err(format!(
                        "local_address {local} and remote_address {remote} are of different families"
                    ));
                }
                Some((local, remote))
            }
            other => {
                return Err(format!(
                    "encapsulation {other:?} is neither \"udp\" nor \"ethernet\""
                ));
            }
        };
        let next_hop = if given.next_hop.is_empty() {
            None
        } else {
            Some(address(&given.next_hop, "next_hop")?)
        };
        let vlan = u16::try_from(given.vlan)
            .ok()
            .filter(|v| *v <= 4094)
            .ok_or("vlan is above 4094")?;
        let minimum_ttl = match given.minimum_ttl {
            0 => 255,
            n @ 1..=255 => n as u8,
            n => return Err(format!("minimum_ttl {n} is above 255")),
        };
        let key = match (given.key_id, given.key.len()) {
            (0, 0) => None,
            (1..=65535, 16..=64) => Some(HelloKey {
                id: given.key_id as u16,
                secret: given.key.clone(),
            }),
            (id, length) => {
                return Err(format!(
                    "key_id {id} with a key of {length} bytes: give both, id 1 to 65535 and 16 to 64 bytes"
                ));
            }
        };
        if minimum_ttl < 255 && udp.is_some() && key.is_none() {
            return Err(format!(
                "minimum_ttl {minimum_ttl} lets packets from further away in: hellos need a key (key_id, key)"
            ));
        }
        let mtu = match given.mtu {
            0 => port.config.mtu,
            n @ 1280..=9600 => (n as u16).min(port.config.mtu),
            n => return Err(format!("mtu {n} is outside 1280..=9600")),
        };
        let config = AdjacencyConfig {
            id: AdjacencyId(id),
            port: port.number,
            peer: NodeId(given.peer),
            udp,
            next_hop,
            vlan: if vlan == 0 { port.config.vlan } else { vlan },
            minimum_ttl,
            mtu,
            hello_interval_ms: if given.hello_interval_ms == 0 {
                50
            } else {
                given.hello_interval_ms.clamp(10, 10_000) as u16
            },
            hello_multiplier: if given.hello_multiplier == 0 {
                3
            } else {
                given.hello_multiplier.clamp(2, 50) as u8
            },
            key,
        };
        let old = draft.adjacencies.get(config.id).cloned();
        if old.as_ref().is_some_and(|old| old.config == config) {
            return Ok(()); // as it is: its state goes on
        }
        let twin = draft.adjacencies.on_port(port.number).iter().find(|a| {
            a.config.id != config.id && a.config.udp == udp && a.config.vlan == config.vlan
        });
        if let Some(twin) = twin {
            return Err(format!(
                "adjacency {} has the same port, addresses and VLAN",
                twin.config.id
            ));
        }
        let outer = match udp {
            None => Outer::ethernet(port.mac, config.vlan),
            Some((local, remote)) => Outer::udp(
                port.mac,
                config.vlan,
                UdpPath {
                    local,
                    remote,
                    source_port: None,
                    destination_port: self.udp_port,
                    checksum: false,
                },
            ),
        };
        let neighbour = match udp {
            // Every bare-Ethernet adjacency has its own: the first hello tells the address.
            None => Arc::new(Neighbour::new(
                port.number,
                config.vlan,
                IpAddr::from([0, 0, 0, 0]),
            )),
            Some((_, remote)) => {
                let asked = next_hop.unwrap_or(remote);
                if !port.is_on_link(asked) {
                    return Err(format!(
                        "{asked} is not on the link of port {:?}: give next_hop, an on-link address towards {remote}",
                        given.port
                    ));
                }
                wanted(draft, port.number, config.vlan, asked)
            }
        };
        // Same neighbour, other numbers (a new timer or key): the link stays up.
        let live = old.filter(|o| {
            o.config.peer == config.peer
                && o.config.port == config.port
                && o.config.udp == config.udp
                && o.config.vlan == config.vlan
        });
        let live = live.map_or_else(|| Arc::new(Liveness::default()), |o| o.live.clone());
        draft.adjacencies.put(Arc::new(Adjacency {
            config,
            outer,
            neighbour,
            live,
        }));
        Ok(())
    }

    fn put_prefix(&self, draft: &mut Draft, given: &v1::Prefix) -> Result<(), String> {
        if given.group == 0 {
            return Err("group must be a group id".into());
        }
        let id = (Domain(given.domain), name(&given.name)?);
        self.change_prefix(draft, id, |state| state.group = Some(GroupId(given.group)));
        Ok(())
    }

    fn delete_prefix(&self, draft: &mut Draft, given: &v1::PrefixKey) -> Result<(), String> {
        let id = (Domain(given.domain), name(&given.name)?);
        let state = draft.prefixes.get(&id).or_else(|| self.prefixes.get(&id));
        if state.is_none_or(|s| s.group.is_none()) {
            return Err(format!("prefix {} of domain {} does not exist", id.1, id.0));
        }
        self.change_prefix(draft, id, |state| state.group = None);
        Ok(())
    }

    fn change_prefix(
        &self,
        draft: &mut Draft,
        id: PrefixId,
        change: impl FnOnce(&mut PrefixState),
    ) {
        let state = draft
            .prefixes
            .entry(id)
            .or_insert_with_key(|id| self.prefixes.get(id).cloned().unwrap_or_default());
        change(state);
    }

    fn attach(&self, draft: &mut Draft, given: &v1::Attachment) -> Result<(), String> {
        if self.role != Role::Sg {
            return Err("a router (role \"sr\") has no pods".into());
        }
        let port = self.port(&given.port)?.clone();
        if !port.is_pod() {
            return Err(format!(
                "port {:?} is a router port; attachments are on pod ports",
                given.port
            ));
        }
        if given.identity.is_empty() || given.identity.len() > 255 {
            return Err("identity must have 1 to 255 bytes".into());
        }
        if given.serves.len() + given.owns.len() > MAX_NAMES {
            return Err(format!(
                "{} names; an attachment has at most {MAX_NAMES}",
                given.serves.len() + given.owns.len()
            ));
        }
        let endpoint = if let Ok(ip) = given.address.parse::<IpAddr>() {
            let udp_port = u16::try_from(given.udp_port)
                .ok()
                .filter(|p| *p > 0)
                .ok_or("udp_port must be 1 to 65535")?;
            if !port.is_on_link(ip) || port.owns(ip) {
                return Err(format!(
                    "address {ip} is not a pod's on the link of port {:?}",
                    given.port
                ));
            }
            Endpoint::Udp(ip, udp_port)
        } else {
            Endpoint::Ethernet(given.address.parse().map_err(|_| {
                format!(
                    "address {:?} is neither an IP nor a MAC address",
                    given.address
                )
            })?)
        };
        let names = |list: &[Vec<u8>]| {
            list.iter()
                .map(|bytes| name(bytes))
                .collect::<Result<Vec<_>, _>>()
        };
        let (serves, owns) = (names(&given.serves)?, names(&given.owns)?);
        let domain = if given.domain == 0 {
            port.config.domain
        } else {
            Domain(given.domain)
        };
        let same = draft.attachments.from(port.number, endpoint).cloned();
        let keeps = same
            .as_ref()
            .filter(|a| a.identity == given.identity && a.domain == domain)
            .map(|a| a.id);
        let id = match (given.id, keeps) {
            (0, Some(id)) => id,
            (0, None) => free_id(draft)?,
            (id, keeps) => {
                let id = AttachmentId(u16::try_from(id).map_err(|_| "id is above 65535")?);
                let rested = draft
                    .resting
                    .get(&id.0)
                    .is_none_or(|since| since.elapsed() >= REST);
                if keeps != Some(id)
                    && !given.force
                    && (!rested || draft.attachments.get(id).is_some())
                {
                    return Err(format!(
                        "attachment id {id} is in use or rests for {} s; leave id 0, or set force",
                        REST.as_secs()
                    ));
                }
                id
            }
        };
        // Whoever had the endpoint or the id before is gone.
        if let Some(old) = same.filter(|a| a.id != id) {
            self.detach(draft, old.id);
        }
        let kept = draft
            .attachments
            .get(id)
            .filter(|a| a.endpoint == endpoint && a.port == port.number)
            .cloned();
        self.detach(draft, id);
        draft.resting.remove(&id.0);
        let (outer, neighbour) = match endpoint {
            Endpoint::Ethernet(mac) => {
                let neighbour =
                    Neighbour::new(port.number, port.config.vlan, IpAddr::from([0, 0, 0, 0]));
                neighbour.learn(mac, 1);
                (
                    Outer::ethernet(port.mac, port.config.vlan),
                    Arc::new(neighbour),
                )
            }
            Endpoint::Udp(ip, udp_port) => {
                let own = port.config.addresses.iter().find(|n| n.contains(&ip));
                let Some(own) = own else {
                    return Err(format!(
                        "port {:?} has no address on the link of {ip}",
                        given.port
                    ));
                };
                let path = UdpPath {
                    local: own.addr(),
                    remote: ip,
                    source_port: Some(self.udp_port),
                    destination_port: udp_port,
                    checksum: true,
                };
                (
                    Outer::udp(port.mac, port.config.vlan, path),
                    wanted(draft, port.number, port.config.vlan, ip),
                )
            }
        };
        for prefix in &serves {
            self.change_prefix(draft, (domain, prefix.clone()), |state| {
                if let Err(place) = state.local.binary_search(&id) {
                    state.local.insert(place, id);
                }
            });
        }
        let reachable = kept.map_or_else(Arc::default, |a| a.reachable.clone());
        reachable.store(true, Relaxed);
        draft.attachments.put(Arc::new(Attachment {
            id,
            port: port.number,
            endpoint,
            domain,
            identity: given.identity.clone(),
            names: NameSet::new(serves.iter().chain(&owns).map(|n| n.as_name())),
            serves,
            owns,
            class_limit: if given.class_limit == 0 {
                5
            } else {
                given.class_limit.min(7) as u8
            },
            outer,
            neighbour,
            reachable,
        }));
        draft.attached.push(id);
        draft.endpoints_changed = true;
        Ok(())
    }

    fn detach_id(&self, draft: &mut Draft, id: u32) -> Result<(), String> {
        let id = AttachmentId(u16::try_from(id).map_err(|_| "id is above 65535")?);
        if draft.attachments.get(id).is_none() {
            return Err(format!("attachment {id} does not exist"));
        }
        self.detach(draft, id);
        Ok(())
    }

    fn detach(&self, draft: &mut Draft, id: AttachmentId) {
        let Some(old) = draft.attachments.remove(id) else {
            return;
        };
        for prefix in &old.serves {
            self.change_prefix(draft, (old.domain, prefix.clone()), |state| {
                state.local.retain(|other| *other != id)
            });
        }
        draft.resting.insert(id.0, Instant::now());
        draft.endpoints_changed = true;
    }

    /// Every next hop of the new gateways, and of the old ones that stay, must exist.
    fn check_adjacencies(&self, draft: &Draft) -> Result<(), ProgramError> {
        let missing = |gateway: &Gateway| {
            gateway
                .next_hops
                .iter()
                .copied()
                .chain(gateway.node_protecting)
                .chain(gateway.link_protecting)
                .find(|id| draft.adjacencies.get(*id).is_none())
        };
        let refuse = |node: NodeId, id: AdjacencyId| ProgramError::Operation {
            index: 0,
            kind: "put_gateway",
            message: format!(
                "gateway {node} leads over adjacency {id}, which does not exist after this transaction"
            ),
        };
        for ((_, node), gateway) in &draft.gateways {
            if let Some(id) = gateway.as_ref().and_then(missing) {
                return Err(refuse(*node, id));
            }
        }
        for entry in self.tables.fib.gateways() {
            let replaced = draft.gateways.contains_key(&(entry.topology, entry.node));
            if !replaced && let Some(id) = missing(entry.gateway) {
                return Err(refuse(entry.node, id));
            }
        }
        Ok(())
    }

    fn finish(&mut self, mut draft: Draft) -> Result<Programmed, ProgramError> {
        let mut sets = self.sets.clone();
        let mut ops = Vec::new();
        let mut deletes = Vec::new();
        for (id, state) in &draft.prefixes {
            let before = self.prefixes.get(id);
            if before == Some(state) {
                continue;
            }
            // Taken before the old one is given back, so that a set that stays keeps its number.
            let local = if state.local.is_empty() {
                None
            } else {
                Some(sets.take(&state.local))
            };
            if let Some(before) = before.filter(|b| !b.local.is_empty()) {
                sets.give_back(&before.local);
            }
            let (domain, name) = (id.0, id.1.clone());
            if state.group.is_none() && local.is_none() {
                if before.is_some() {
                    deletes.push(Op::DeletePrefix { domain, name });
                }
            } else {
                ops.push(Op::PutPrefix {
                    domain,
                    name,
                    value: PrefixValue {
                        group: state.group,
                        local,
                    },
                });
            }
        }
        // Groups that are put come before the prefixes that use them, groups that are deleted behind those that used them.
        let (group_deletes, mut all): (Vec<Op>, Vec<Op>) = std::mem::take(&mut draft.fib_ops)
            .into_iter()
            .partition(|op| matches!(op, Op::DeleteGroup { .. }));
        all.append(&mut ops);
        all.append(&mut deletes);
        all.extend(group_deletes);
        let fib = self.tables.fib.apply(&all)?;
        for (members, id) in &sets.by_members {
            let attachments: Vec<_> = members
                .iter()
                .filter_map(|m| draft.attachments.get(*m).cloned())
                .collect();
            draft.attachments.put_set(*id, attachments);
        }
        if draft.endpoints_changed {
            forget_unwanted(&mut draft);
        }
        for (id, state) in draft.prefixes {
            if state.group.is_none() && state.local.is_empty() {
                self.prefixes.remove(&id);
            } else {
                self.prefixes.insert(id, state);
            }
        }
        self.sets = sets;
        self.resting = draft.resting;
        self.resting.retain(|_, since| since.elapsed() < REST);
        self.next_id = draft.next_id;
        draft.access.sort_unstable_by_key(|rule| rule.id);
        self.tables = Tables {
            fib,
            adjacencies: Arc::new(draft.adjacencies),
            attachments: Arc::new(draft.attachments),
            neighbours: Arc::new(draft.neighbours),
            access: Arc::new(draft.access),
        };
        Ok(Programmed {
            tables: self.tables.clone(),
            attached: draft.attached,
        })
    }
}

fn wanted(draft: &mut Draft, port: usize, vlan: u16, address: IpAddr) -> Arc<Neighbour> {
    draft.endpoints_changed = true;
    draft
        .neighbours
        .entry((port, address))
        .or_insert_with(|| Arc::new(Neighbour::new(port, vlan, address)))
        .clone()
}

/// Link-layer addresses that no adjacency and no attachment needs any more.
fn forget_unwanted(draft: &mut Draft) {
    let mut used: HashSet<*const Neighbour> = draft
        .adjacencies
        .iter()
        .map(|a| Arc::as_ptr(&a.neighbour))
        .collect();
    used.extend(draft.attachments.iter().map(|a| Arc::as_ptr(&a.neighbour)));
    draft
        .neighbours
        .retain(|_, neighbour| used.contains(&Arc::as_ptr(neighbour)));
}

/// An id that is free and has rested, searched round-robin so that ids come back late.
fn free_id(draft: &mut Draft) -> Result<AttachmentId, String> {
    for _ in 0..u16::MAX {
        let id = AttachmentId(draft.next_id);
        draft.next_id = if draft.next_id == u16::MAX {
            1
        } else {
            draft.next_id + 1
        };
        let rested = draft
            .resting
            .get(&id.0)
            .is_none_or(|since| since.elapsed() >= REST);
        if rested && draft.attachments.get(id).is_none() {
            return Ok(id);
        }
    }
    Err(format!(
        "all 65535 attachment ids are in use or rest for {} s",
        REST.as_secs()
    ))
}

fn delete_adjacency(draft: &mut Draft, id: u32) -> Result<(), String> {
    let id = AdjacencyId(u16::try_from(id).map_err(|_| "id is above 65535")?);
    draft
        .adjacencies
        .remove(id)
        .map(|_| ())
        .ok_or_else(|| format!("adjacency {id} does not exist"))?;
    draft.endpoints_changed = true;
    Ok(())
}

fn put_gateway(draft: &mut Draft, given: &v1::Gateway) -> Result<(), String> {
    if given.gateway == 0 {
        return Err("gateway must be a node id".into());
    }
    let adjacency = |id: u32| {
        u16::try_from(id)
            .map(AdjacencyId)
            .map_err(|_| format!("adjacency id {id} is above 65535"))
    };
    let hops = given
        .next_hops
        .iter()
        .map(|id| adjacency(*id))
        .collect::<Result<Vec<_>, _>>()?;
    if hops.len() > dmsc_fib::MAX_NEXT_HOPS {
        return Err(format!(
            "{} next hops; at most {}",
            hops.len(),
            dmsc_fib::MAX_NEXT_HOPS
        ));
    }
    let mut gateway = Gateway::new(given.metric, hops);
    let alternate = |id: u32| {
        if id == 0 {
            Ok(None)
        } else {
            adjacency(id).map(Some)
        }
    };
    gateway.node_protecting = alternate(given.node_protecting)?;
    gateway.link_protecting = alternate(given.link_protecting)?;
    let key = (topology(given.topology)?, NodeId(given.gateway));
    draft.gateways.insert(key, Some(gateway.clone()));
    draft.fib_ops.push(Op::PutGateway {
        topology: key.0,
        node: key.1,
        gateway,
    });
    Ok(())
}

fn delete_gateway(draft: &mut Draft, given: &v1::GatewayKey) -> Result<(), String> {
    let key = (topology(given.topology)?, NodeId(given.gateway));
    draft.gateways.insert(key, None);
    draft.fib_ops.push(Op::DeleteGateway {
        topology: key.0,
        node: key.1,
    });
    Ok(())
}

fn put_group(draft: &mut Draft, given: &v1::Group) -> Result<(), String> {
    if given.id == 0 {
        return Err("id must be above 0".into());
    }
    let mut seen = BTreeMap::new();
    let mut members = Vec::with_capacity(given.members.len());
    for member in &given.members {
        if member.gateway == 0 || seen.insert(member.gateway, ()).is_some() {
            return Err(format!(
                "member gateway {} is 0 or named twice",
                member.gateway
            ));
        }
        let weight = u16::try_from(member.weight)
            .map_err(|_| format!("weight {} is above 65535", member.weight))?;
        members.push(Member {
            gateway: NodeId(member.gateway),
            metric: member.metric,
            weight,
        });
    }
    let policy = if given.weighted {
        GroupPolicy::Weighted
    } else {
        GroupPolicy::Nearest
    };
    let group = Group::new(members, policy).map_err(|e| e.to_string())?;
    draft.fib_ops.push(Op::PutGroup {
        id: GroupId(given.id),
        group,
    });
    Ok(())
}

fn put_access_rule(draft: &mut Draft, given: &v1::AccessRule) -> Result<(), String> {
    let optional = |bytes: &[u8]| {
        if bytes.is_empty() {
            Ok(None)
        } else {
            name(bytes).map(Some)
        }
    };
    let rule = AccessRule {
        id: given.id,
        domain: Domain(given.domain),
        caller: optional(&given.caller)?,
        callee: optional(&given.callee)?,
        allow: given.allow,
    };
    draft.access.retain(|r| r.id != given.id);
    if draft.access.len() >= 1024 {
        return Err("1,024 access rules are the most".into());
    }
    draft.access.push(rule);
    Ok(())
}

#[cfg(test)]
mod tests {
    use v1::op::Op as O;

    use super::*;
    use crate::stage::testing::{World, name, op};

    fn refused(world: &mut World, ops: &[v1::Op]) -> String {
        let before = (
            world.programmer.tables().fib.len(),
            world.programmer.tables().attachments.len(),
        );
        let message = world
            .programmer
            .apply(ops)
            .expect_err("refused")
            .to_string();
        let after = (
            world.programmer.tables().fib.len(),
            world.programmer.tables().attachments.len(),
        );
        assert_eq!(before, after, "nothing changed");
        message
    }

    #[test]
    fn a_transaction_is_all_or_nothing_and_names_what_is_wrong() {
        let mut world = World::new();
        let good = op(O::PutPrefix(v1::Prefix {
            domain: 1,
            name: name("/new").as_bytes().to_vec(),
            group: 1,
        }));
        for (bad, expected) in [
            (
                O::PutPrefix(v1::Prefix {
                    domain: 1,
                    name: name("/x").as_bytes().to_vec(),
                    group: 99,
                }),
                "group 99",
            ),
            (
                O::PutPrefix(v1::Prefix {
                    domain: 1,
                    name: vec![9, 9],
                    group: 1,
                }),
                "operation 1 (put_prefix): name",
            ),
            (
                O::PutPrefix(v1::Prefix {
                    domain: 1,
                    name: name("/dmsc/1").as_bytes().to_vec(),
                    group: 1,
                }),
                "reserved",
            ),
            (O::DeleteAdjacency(1), "adjacency 1"),
            (O::DeleteGroup(1), "still used"),
            (O::Detach(7), "attachment 7 does not exist"),
            (
                O::PutAdjacency(v1::Adjacency {
                    id: 3,
                    peer: 7,
                    port: "p9".into(),
                    ..Default::default()
                }),
                "port \"p9\" does not exist; there are p0, p1, p2",
            ),
            (
                O::PutAdjacency(v1::Adjacency {
                    id: 3,
                    peer: 7,
                    port: "p0".into(),
                    local_address: "10.0.0.1".into(),
                    remote_address: "10.9.0.2".into(),
                    ..Default::default()
                }),
                "next_hop",
            ),
            (
                O::PutAdjacency(v1::Adjacency {
                    id: 3,
                    peer: 7,
                    port: "p0".into(),
                    local_address: "10.0.0.1".into(),
                    remote_address: "10.0.0.3".into(),
                    minimum_ttl: 250,
                    ..Default::default()
                }),
                "hellos need a key",
            ),
        ] {
            let message = refused(&mut world, &[good.clone(), op(bad)]);
            assert!(
                message.contains(expected),
                "{message:?} should contain {expected:?}"
            );
        }
        world.apply(&[good]);
        assert!(
            world
                .programmer
                .tables()
                .fib
                .lookup(Domain(1), name("/new/x").as_name())
                .is_some()
        );
    }

    #[test]
    fn attachment_ids_stay_with_their_endpoint_and_rest_before_reuse() {
        let mut world = World::new();
        let first = world.attach(2, &["/shop/b"]);
        assert_eq!(world.attach(2, &["/shop/b", "/more"]), first, "refreshed");
        let second = world.attach(3, &["/shop/b"]);
        let found = world
            .programmer
            .tables()
            .fib
            .lookup(Domain(1), name("/shop/b").as_name())
            .expect("prefix");
        let set = world
            .programmer
            .tables()
            .attachments
            .set(found.value.local.expect("served here"));
        assert_eq!(
            set.iter().map(|a| a.id).collect::<Vec<_>>(),
            [first, second]
        );
        world.apply(&[op(O::Detach(u32::from(first.0)))]);
        assert_ne!(world.attach(4, &[]), first, "rests");
        let message = refused(
            &mut world,
            &[op(O::Attach(v1::Attachment {
                id: u32::from(first.0),
                port: "p2".into(),
                address: "10.1.0.9".into(),
                udp_port: 1,
                identity: "x".into(),
                ..Default::default()
            }))],
        );
        assert!(message.contains("rests"), "{message}");
        let found = world
            .programmer
            .tables()
            .fib
            .lookup(Domain(1), name("/shop/b").as_name())
            .expect("prefix");
        let set = world
            .programmer
            .tables()
            .attachments
            .set(found.value.local.expect("served here"));
        assert_eq!(set.iter().map(|a| a.id).collect::<Vec<_>>(), [second]);
        world.apply(&[op(O::Detach(u32::from(second.0)))]);
        let found = world
            .programmer
            .tables()
            .fib
            .lookup(Domain(1), name("/shop/b").as_name())
            .expect("routed still");
        assert_eq!(found.value.local, None);
        assert!(
            world
                .programmer
                .tables()
                .fib
                .lookup(Domain(1), name("/more").as_name())
                .is_none()
        );
    }

    #[test]
    fn an_unchanged_adjacency_keeps_its_state() {
        let mut world = World::new();
        let put = |mtu: u32| {
            op(O::PutAdjacency(v1::Adjacency {
                id: 1,
                peer: 5,
                port: "p0".into(),
                local_address: "10.0.0.1".into(),
                remote_address: "10.0.0.2".into(),
                mtu,
                ..Default::default()
            }))
        };
        world.apply(&[put(0)]);
        world.apply(&[put(1400)]);
        let adjacency = world
            .programmer
            .tables()
            .adjacencies
            .get(AdjacencyId(1))
            .expect("adjacency")
            .clone();
        assert!(adjacency.is_up());
        assert_eq!(adjacency.config.mtu, 1400);
    }
}

//! Turns a transaction of the agent's API into the next generation of the tables: all of it, or none (design §5).

mod adjacency;
mod attach;
mod draft;
mod routes;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use dmsc_fib::{AdjacencyId, Fib, Gateway, GroupId, Op, PrefixValue, Topology};
use dmsc_proto::v1;
use dmsc_wire::{AttachmentId, Name, NodeId};

use crate::config::Role;
use crate::port::{PortState, Ports};
use crate::tables::Tables;
use attach::REST;
use draft::{Change, Draft, Sets};

/// Most operations in one transaction.
pub const MAX_OPS: usize = 65_536;

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
    #[error(transparent)]
    Fib(dmsc_fib::OpError),
    /// More operations than one transaction may have.
    #[error("{0} operations; a transaction has at most {MAX_OPS}")]
    TooMany(usize),
}
/// The tables' one writer.
pub struct Programmer {
    ports: Ports,
    role: Role,
    udp_port: u16,
    tables: Tables,
    sets: Sets,
    /// Ids that were given back, and when.
    resting: Arc<HashMap<u16, Instant>>,
    next_id: u16,
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

fn name(bytes: &[u8]) -> Result<Name<'_>, String> {
    let name = Name::from_bytes(bytes)
        .map_err(|e| format!("name {bytes:02x?} is not in canonical encoding: {e}"))?;
    if name.is_reserved() {
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
            sets: Sets::default(),
            resting: Arc::default(),
            next_id: 1,
        }
    }

    /// The present tables.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Ids that were given back, and when.
    pub fn resting(&self) -> &Arc<HashMap<u16, Instant>> {
        &self.resting
    }

    /// How long an id that was given back then still rests.
    pub fn rests_for(since: Instant) -> Duration {
        REST.saturating_sub(since.elapsed())
    }

    /// Ids that another process gave back, and how long each still rests. The search for a free one begins behind the highest that was used.
    pub fn restore_resting(&mut self, left: impl Iterator<Item = (u32, Duration)>) {
        let now = Instant::now();
        let since = |left: Duration| now.checked_sub(REST.saturating_sub(left)).unwrap_or(now);
        let resting: HashMap<u16, Instant> = left
            .filter_map(|(id, left)| Some((u16::try_from(id).ok()?, since(left))))
            .collect();
        let used = self.tables.attachments.iter().map(|a| a.id.0);
        let highest = used.chain(resting.keys().copied()).max().unwrap_or(0);
        self.next_id = highest.checked_add(1).unwrap_or(1);
        self.resting = Arc::new(resting);
    }

    /// Makes the next generation. A transaction of routes only is done in the order of its operations; of others, groups are there before the
    /// prefixes that need them, and what a prefix is in the end is what counts.
    ///
    /// # Errors
    /// At the first operation that can not be; nothing is changed then.
    pub fn apply(&mut self, ops: &[v1::Op]) -> Result<Vec<AttachmentId>, ProgramError> {
        if ops.len() > MAX_OPS {
            return Err(ProgramError::TooMany(ops.len()));
        }
        if ops.iter().all(is_route) {
            if let Some(fib) = self.with_routes(&[ops]) {
                self.put_names(fib);
                return Ok(Vec::new());
            }
            return Err(self.why_not(ops));
        }
        let mut draft = Draft::of(&self.tables, &self.resting, self.next_id);
        // To grow is to read all names that are there again.
        draft.prefixes.reserve(ops.len());
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

    /// Makes one generation of transactions that follow each other, and says how each of them went: one that is refused has
    /// changed nothing, and the others are done.
    pub fn apply_each(
        &mut self,
        transactions: &[&[v1::Op]],
    ) -> Vec<Result<Vec<AttachmentId>, ProgramError>> {
        let are_routes = |ops: &&[v1::Op]| ops.len() <= MAX_OPS && ops.iter().all(is_route);
        if transactions.len() > 1
            && transactions.iter().all(are_routes)
            // Pages of the tables are copied once for all. Should one be refused, all are done again, one by one.
            && let Some(fib) = self.with_routes(transactions)
        {
            self.put_names(fib);
            return transactions.iter().map(|_| Ok(Vec::new())).collect();
        }
        transactions.iter().map(|ops| self.apply(ops)).collect()
    }

    /// The next generation differs in names only.
    fn put_names(&mut self, fib: Fib) {
        self.tables.fib = fib;
        forget_rested(&mut self.resting);
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
            Some(O::DeleteAdjacency(id)) => {
                ("delete_adjacency", adjacency::delete_adjacency(draft, *id))
            }
            Some(O::PutGateway(g)) => ("put_gateway", routes::put_gateway(draft, g)),
            Some(O::DeleteGateway(g)) => ("delete_gateway", routes::delete_gateway(draft, g)),
            Some(O::PutGroup(g)) => ("put_group", routes::put_group(draft, g)),
            Some(O::DeleteGroup(id)) => {
                draft.fib_ops.push(Op::DeleteGroup { id: GroupId(*id) });
                ("delete_group", Ok(()))
            }
            Some(O::PutPrefix(_)) => (
                "put_prefix",
                routes::route(op).and_then(|route| self.change_route(draft, route)),
            ),
            Some(O::DeletePrefix(_)) => (
                "delete_prefix",
                routes::route(op).and_then(|route| self.change_route(draft, route)),
            ),
            Some(O::Attach(a)) => ("attach", self.attach(draft, a)),
            Some(O::Detach(id)) => ("detach", self.detach_id(draft, *id)),
            Some(O::PutAccessRule(r)) => ("put_access_rule", routes::put_access_rule(draft, r)),
            Some(O::DeleteAccessRule(id)) => {
                let found = draft.access.iter().any(|rule| rule.id == *id);
                Arc::make_mut(&mut draft.access).retain(|rule| rule.id != *id);
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
        if Arc::ptr_eq(&draft.adjacencies, &self.tables.adjacencies) {
            return Ok(());
        }
        for entry in self.tables.fib.gateways() {
            let replaced = draft.gateways.contains_key(&(entry.topology, entry.node));
            if !replaced && let Some(id) = missing(entry.gateway) {
                return Err(refuse(entry.node, id));
            }
        }
        Ok(())
    }

    fn finish(&mut self, mut draft: Draft) -> Result<Vec<AttachmentId>, ProgramError> {
        let mut sets = Cow::Borrowed(&self.sets);
        let mut ops = Vec::with_capacity(draft.prefixes.len());
        let mut deletes = Vec::new();
        let mut prefixes: Vec<_> = std::mem::take(&mut draft.prefixes).into_iter().collect();
        // Each is named once, so their order is free.
        let fib = &self.tables.fib;
        prefixes.sort_by_cached_key(|((domain, name), _)| fib.place(*domain, name.as_name()));
        for ((domain, name), Change { before, state }) in prefixes {
            let before_local = before.and_then(|value| value.local);
            let members_before = before_local.map_or(&[][..], |id| self.sets.members(id));
            let local = if state.local == members_before {
                before_local
            } else {
                let sets = sets.to_mut();
                // Taken before the old one is given back, so that a set that stays keeps its number.
                let local = (!state.local.is_empty()).then(|| sets.take(&state.local));
                if before_local.is_some() {
                    sets.give_back(members_before);
                }
                local
            };
            let value = PrefixValue {
                group: state.group,
                local,
            };
            if before == Some(value) {
                continue;
            }
            if value != PrefixValue::default() {
                ops.push(Op::PutPrefix {
                    domain,
                    name,
                    value,
                });
            } else if before.is_some() {
                deletes.push(Op::DeletePrefix { domain, name });
            }
        }
        // Groups that are put come before the prefixes that use them, groups that are deleted behind those that used them.
        let (group_deletes, mut all): (Vec<Op>, Vec<Op>) = std::mem::take(&mut draft.fib_ops)
            .into_iter()
            .partition(|op| matches!(op, Op::DeleteGroup { .. }));
        all.append(&mut ops);
        all.append(&mut deletes);
        all.extend(group_deletes);
        let fib = self.tables.fib.apply(&all);
        let fib = fib.map_err(|refused| ProgramError::Fib(refused.error))?;
        let attachments_changed = !Arc::ptr_eq(&draft.attachments, &self.tables.attachments);
        let sets = match sets {
            Cow::Owned(sets) => Some(sets),
            Cow::Borrowed(_) => None,
        };
        if attachments_changed || sets.is_some() {
            let attachments = Arc::make_mut(&mut draft.attachments);
            for (members, id) in &sets.as_ref().unwrap_or(&self.sets).by_members {
                let present = members.iter().filter_map(|m| attachments.get(*m).cloned());
                let present = present.collect();
                attachments.put_set(*id, present);
            }
        }
        if draft.endpoints_changed {
            draft.forget_unwanted();
        }
        // Who registers is there. Only now: a transaction that is refused changes nothing.
        for id in &draft.attached {
            if let Some(attachment) = draft.attachments.get(*id) {
                attachment.reachable.store(true, Relaxed);
            }
        }
        if let Some(sets) = sets {
            self.sets = sets;
        }
        forget_rested(&mut draft.resting);
        self.resting = draft.resting;
        self.next_id = draft.next_id;
        self.tables = Tables {
            fib,
            adjacencies: draft.adjacencies,
            attachments: draft.attachments,
            neighbours: draft.neighbours,
            access: draft.access,
        };
        Ok(draft.attached)
    }
}

/// Ids that have rested long enough may be given again.
fn forget_rested(resting: &mut Arc<HashMap<u16, Instant>>) {
    if resting.values().any(|since| since.elapsed() >= REST) {
        Arc::make_mut(resting).retain(|_, since| since.elapsed() < REST);
    }
}

/// Whether an operation changes a route and nothing else.
pub(crate) fn is_route(op: &v1::Op) -> bool {
    use v1::op::Op as O;
    matches!(op.op, Some(O::PutPrefix(_) | O::DeletePrefix(_)))
}

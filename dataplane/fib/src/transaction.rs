//! Transactions: a list of changes that becomes a new generation as a whole or not at all.

use dmsc_wire::{Domain, Name, NameBuf, NodeId};

use crate::draft::{NameDraft, Spot};
use crate::first_hops::Edition;
use crate::gateway::{Gateway, Topology};
use crate::group::Group;
use crate::idmap::IdMap;
use crate::names::PrefixValue;
use crate::{Fib, GroupId};

/// One change. Each sees the changes before it.
#[derive(Clone, Debug)]
pub enum Op {
    /// Adds a prefix or changes its value. Its group must exist.
    PutPrefix {
        /// Domain of the prefix.
        domain: Domain,
        /// The prefix.
        name: NameBuf,
        /// What it maps to.
        value: PrefixValue,
    },
    /// Removes a prefix that exists.
    DeletePrefix {
        /// Domain of the prefix.
        domain: Domain,
        /// The prefix.
        name: NameBuf,
    },
    /// Adds a service group or replaces it.
    PutGroup {
        /// Its id.
        id: GroupId,
        /// The group.
        group: Group,
    },
    /// Removes a group that exists and that no prefix refers to.
    DeleteGroup {
        /// Its id.
        id: GroupId,
    },
    /// Adds a gateway or replaces it. It must have a next hop or an alternate.
    PutGateway {
        /// The topology.
        topology: Topology,
        /// The gateway's or router's id.
        node: NodeId,
        /// The ways to it.
        gateway: Gateway,
    },
    /// Removes a gateway that exists.
    DeleteGateway {
        /// The topology.
        topology: Topology,
        /// The gateway's or router's id.
        node: NodeId,
    },
}

/// A change of the group behind a prefix; what of this gateway serves it stays.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// Domain of the prefix.
    pub domain: Domain,
    /// The prefix.
    pub name: Name<'a>,
    /// The group, which must exist. `None` removes the one that is there, and the prefix with it, if nothing else serves it.
    pub group: Option<GroupId>,
}

/// Why a change is not possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// A prefix refers to a group that is not there.
    #[error(
        "prefix {name} of domain {domain} refers to service group {group}, which does not exist: put the group first"
    )]
    UnknownGroupOfPrefix {
        /// Domain of the prefix.
        domain: Domain,
        /// The prefix.
        name: NameBuf,
        /// The group.
        group: GroupId,
    },
    /// There is no such prefix to remove.
    #[error("prefix {name} of domain {domain} does not exist")]
    UnknownPrefix {
        /// Domain of the prefix.
        domain: Domain,
        /// The prefix.
        name: NameBuf,
    },
    /// There is no such group to remove.
    #[error("service group {0} does not exist")]
    UnknownGroup(GroupId),
    /// Prefixes still refer to the group.
    #[error(
        "service group {group} is still used by {prefixes} prefixes: delete or change those first"
    )]
    GroupInUse {
        /// The group.
        group: GroupId,
        /// How many prefixes refer to it.
        prefixes: u32,
    },
    /// A gateway with neither next hop nor alternate.
    #[error("gateway {0} has no next hop: give one, or delete the gateway")]
    NoNextHop(NodeId),
    /// There is no such gateway to remove.
    #[error("gateway {node} does not exist in topology {topology:?}")]
    UnknownGateway {
        /// The topology.
        topology: Topology,
        /// The gateway.
        node: NodeId,
    },
    /// More than 256 names with one hash; not by chance.
    #[error("the name table has no room near {0}: restart the router, which draws a new hash key")]
    TableFull(NameBuf),
}

/// Why a transaction was refused; nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("change {index} of the transaction: {error}")]
pub struct TransactionError {
    /// Which change, counted from 0.
    pub index: usize,
    /// Why.
    #[source]
    pub error: OpError,
}

impl Fib {
    /// These tables with the changes made in order: all of them, or the first error. Costs time and memory
    /// for the pages that the changes touch, whatever the size of the tables.
    pub fn apply(&self, ops: &[Op]) -> Result<Fib, TransactionError> {
        self.change(ops, Draft::apply_one)
    }

    /// The same of routes only: their names are read where they are, and each is looked for once.
    pub fn apply_routes<'a>(
        &self,
        routes: impl IntoIterator<Item = Route<'a>>,
    ) -> Result<Fib, TransactionError> {
        self.change(routes, Draft::apply_route)
    }

    fn change<T>(
        &self,
        changes: impl IntoIterator<Item = T>,
        one: impl Fn(&mut Draft, T) -> Result<(), OpError>,
    ) -> Result<Fib, TransactionError> {
        let mut draft = Draft {
            names: NameDraft::of(&self.names),
            groups: self.groups.clone(),
            references: self.references.clone(),
            gateways: self.gateways.clone(),
            edition: self.edition,
        };
        for (index, change) in changes.into_iter().enumerate() {
            if let Err(error) = one(&mut draft, change) {
                draft.names.abandon();
                return Err(TransactionError { index, error });
            }
        }
        Ok(Fib {
            names: draft.names.commit(),
            groups: draft.groups,
            references: draft.references,
            gateways: draft.gateways,
            edition: draft.edition,
        })
    }
}

/// The next generation while it is made.
struct Draft {
    names: NameDraft,
    groups: IdMap<Group>,
    references: IdMap<u32>,
    gateways: [IdMap<Gateway>; 2],
    edition: Edition,
}

impl Draft {
    fn apply_one(&mut self, op: &Op) -> Result<(), OpError> {
        match op {
            Op::PutPrefix {
                domain,
                name,
                value,
            } => {
                let name = name.as_name();
                let spot = self.names.find(*domain, name);
                self.put_prefix(spot, *domain, name, *value)
            }
            Op::DeletePrefix { domain, name } => {
                let name = name.as_name();
                let spot = self.names.find(*domain, name);
                self.delete_prefix(spot, *domain, name)
            }
            Op::PutGroup { id, group } => {
                self.groups.put(id.0, group.clone());
                Ok(())
            }
            Op::DeleteGroup { id } => {
                if let Some(&prefixes) = self.references.get(id.0) {
                    return Err(OpError::GroupInUse {
                        group: *id,
                        prefixes,
                    });
                }
                self.groups
                    .remove(id.0)
                    .map(drop)
                    .ok_or(OpError::UnknownGroup(*id))
            }
            Op::PutGateway {
                topology,
                node,
                gateway,
            } => {
                if !gateway.has_way() {
                    return Err(OpError::NoNextHop(*node));
                }
                self.edition = Edition::fresh();
                self.gateways[topology.index()].put(node.0, gateway.clone());
                Ok(())
            }
            Op::DeleteGateway { topology, node } => {
                self.edition = Edition::fresh();
                let old = self.gateways[topology.index()].remove(node.0);
                old.map(drop).ok_or(OpError::UnknownGateway {
                    topology: *topology,
                    node: *node,
                })
            }
        }
    }

    fn apply_route(&mut self, route: Route<'_>) -> Result<(), OpError> {
        let Route {
            domain,
            name,
            group,
        } = route;
        let spot = self.names.find(domain, name);
        let before = spot.before().unwrap_or_default();
        let value = PrefixValue { group, ..before };
        if group.is_none() && before.group.is_none() {
            return Err(unknown_prefix(domain, name));
        }
        if value == PrefixValue::default() {
            self.delete_prefix(spot, domain, name)
        } else {
            self.put_prefix(spot, domain, name, value)
        }
    }

    fn put_prefix(
        &mut self,
        spot: Spot,
        domain: Domain,
        name: Name<'_>,
        value: PrefixValue,
    ) -> Result<(), OpError> {
        if let Some(group) = value.group
            && self.groups.get(group.0).is_none()
        {
            return Err(OpError::UnknownGroupOfPrefix {
                domain,
                name: name.to_owned(),
                group,
            });
        }
        let old_group = spot.before().and_then(|value| value.group);
        let put = self.names.put_at(spot, domain, name, value);
        put.map_err(|_| OpError::TableFull(name.to_owned()))?;
        if old_group != value.group {
            self.refer(old_group, -1);
            self.refer(value.group, 1);
        }
        Ok(())
    }

    fn delete_prefix(&mut self, spot: Spot, domain: Domain, name: Name<'_>) -> Result<(), OpError> {
        let old = spot.before().ok_or_else(|| unknown_prefix(domain, name))?;
        self.names.remove_at(spot, domain, name);
        self.refer(old.group, -1);
        Ok(())
    }

    fn refer(&mut self, group: Option<GroupId>, by: i32) {
        let Some(GroupId(id)) = group else { return };
        let count = self
            .references
            .get(id)
            .copied()
            .unwrap_or(0)
            .saturating_add_signed(by);
        if count == 0 {
            self.references.remove(id);
        } else {
            self.references.put(id, count);
        }
    }
}

fn unknown_prefix(domain: Domain, name: Name<'_>) -> OpError {
    OpError::UnknownPrefix {
        domain,
        name: name.to_owned(),
    }
}

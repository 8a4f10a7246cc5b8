//! Transactions: a list of changes that becomes a new generation as a whole or not at all.

use dmsc_wire::{Domain, NameBuf, NodeId};

use crate::draft::NameDraft;
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
        let mut draft = Draft {
            names: NameDraft::of(&self.names),
            groups: self.groups.clone(),
            references: self.references.clone(),
            gateways: self.gateways.clone(),
            edition: self.edition,
        };
        for (index, op) in ops.iter().enumerate() {
            if let Err(error) = draft.apply_one(op) {
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
            } => self.put_prefix(*domain, name, *value),
            Op::DeletePrefix { domain, name } => {
                let old = self.names.remove(*domain, name.as_name());
                let old = old.ok_or_else(|| OpError::UnknownPrefix {
                    domain: *domain,
                    name: name.clone(),
                })?;
                self.refer(old.group, -1);
                Ok(())
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

    fn put_prefix(
        &mut self,
        domain: Domain,
        name: &NameBuf,
        value: PrefixValue,
    ) -> Result<(), OpError> {
        if let Some(group) = value.group
            && self.groups.get(group.0).is_none()
        {
            return Err(OpError::UnknownGroupOfPrefix {
                domain,
                name: name.clone(),
                group,
            });
        }
        let old = self.names.put(domain, name.as_name(), value);
        let old = old.map_err(|_| OpError::TableFull(name.clone()))?;
        let old_group = old.and_then(|value| value.group);
        if old_group != value.group {
            self.refer(old_group, -1);
            self.refer(value.group, 1);
        }
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

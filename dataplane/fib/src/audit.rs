//! A generation against itself: whether what is stored in several places agrees, and lookups find all that there is.

mod marks;
pub(crate) mod names;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use dmsc_wire::{Domain, NameBuf, NodeId};

use crate::gateway::Topology;
use crate::{Fib, GroupId};

pub(crate) use marks::Marks;

/// What contradicts itself in a generation. None of it can come of a transaction: it is an error of this crate, or of the machine's memory, and the
/// tables are to be made anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The index has a page in two places, beyond the memory, or for more or fewer hashes than the page is for.
    #[error("names: page {page} stands wrongly in the index, from entry {at} on")]
    Index {
        /// First entry of the index.
        at: usize,
        /// The page.
        page: u32,
    },
    /// An entry is where a lookup of its hash does not come by.
    #[error("names: page {page} has the entry of record {record} where no lookup finds it")]
    Entry {
        /// The page.
        page: u32,
        /// The record.
        record: u32,
    },
    /// A filter is not that of the entries which belong into its bucket.
    #[error("names: the filter of bucket {bucket} of page {page} is not that of its entries")]
    Filter {
        /// The page.
        page: u32,
        /// The bucket, within the page.
        bucket: usize,
    },
    /// A record is beyond the memory, is no name, or lies on another one.
    #[error("names: record {0} is beyond the memory, is no name, or lies on another one")]
    Record(u32),
    /// A lookup of a prefix does not find just that.
    #[error("names: a lookup of prefix {name} of domain {domain} finds something else")]
    Lookup {
        /// Domain of the prefix.
        domain: Domain,
        /// The prefix.
        name: NameBuf,
    },
    /// A domain counts other prefixes than it has.
    #[error("domain {0} counts other prefixes, by number of components, than it has")]
    Depths(Domain),
    /// A number that is kept is not the number that there are.
    #[error("{what}: {stored} are counted, there are {found}")]
    Count {
        /// Of what.
        what: &'static str,
        /// As it is kept.
        stored: usize,
        /// As it was found.
        found: usize,
    },
    /// Memory is free, or will be while this generation lives, and is used by it; or is free twice.
    #[error("names: {what} {number} is free and in use, or free twice")]
    Free {
        /// Page, or unit of records.
        what: &'static str,
        /// Its number.
        number: u32,
    },
    /// A directory of a small table has a page in two places or for other hashes than the page is for.
    #[error("{0}: pages stand wrongly in the directory")]
    Directory(&'static str),
    /// An entry of a small table is where a lookup does not find it.
    #[error("{what}: no lookup finds {id}")]
    Id {
        /// The table.
        what: &'static str,
        /// The id.
        id: u32,
    },
    /// Prefixes refer to a group that is not there.
    #[error("prefixes refer to service group {0}, which does not exist")]
    UnknownGroup(GroupId),
    /// A group counts other prefixes than refer to it.
    #[error("service group {group}: {stored} prefixes are counted, {found} refer to it")]
    References {
        /// The group.
        group: GroupId,
        /// As it is kept.
        stored: u32,
        /// As it was found.
        found: u32,
    },
    /// What a group's choice reads does not fit its members.
    #[error("service group {0}: slots or gateways are not those of its members")]
    Group(GroupId),
    /// A gateway without any way.
    #[error("gateway {node} of topology {topology:?} has neither next hop nor alternate")]
    NoWay {
        /// The topology.
        topology: Topology,
        /// The gateway.
        node: NodeId,
    },
}

/// How many prefixes refer to each group.
pub(crate) type References = HashMap<GroupId, u32>;

impl Fib {
    /// Checks this generation, the newest one or one that is kept: for tests. Walks over everything and looks every prefix up; transactions on these
    /// tables wait meanwhile.
    ///
    /// # Errors
    /// The first fault.
    pub fn audit(&self) -> Result<(), Fault> {
        let references = names::audit(&self.names)?;
        self.groups.audit("service groups")?;
        self.references.audit("references to service groups")?;
        for gateways in &self.gateways {
            gateways.audit("gateways")?;
        }
        self.audit_references(&references)?;
        if let Some((id, _)) = self.groups().find(|(_, group)| !group.is_sound()) {
            return Err(Fault::Group(id));
        }
        let mut gateways = self.gateways();
        let without = gateways.find(|entry| !entry.gateway.has_way());
        without.map_or(Ok(()), |entry| {
            Err(Fault::NoWay {
                topology: entry.topology,
                node: entry.node,
            })
        })
    }

    fn audit_references(&self, references: &References) -> Result<(), Fault> {
        for (&group, &found) in references {
            let stored = self.references.get(group.0).copied().unwrap_or(0);
            if self.groups.get(group.0).is_none() {
                return Err(Fault::UnknownGroup(group));
            }
            if stored != found {
                return Err(Fault::References {
                    group,
                    stored,
                    found,
                });
            }
        }
        same(
            "groups that prefixes refer to",
            self.references.len(),
            references.len(),
        )
    }
}

/// Whether a number is what was found.
pub(crate) fn same(what: &'static str, stored: usize, found: usize) -> Result<(), Fault> {
    if stored == found {
        return Ok(());
    }
    Err(Fault::Count {
        what,
        stored,
        found,
    })
}

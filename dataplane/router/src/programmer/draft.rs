//! The next generation while it is made, and what stands behind prefixes.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use dmsc_fib::{Gateway, GroupId, LocalSetId, Op, PrefixValue, Topology};
use dmsc_wire::{AttachmentId, Domain, NameBuf, NodeId};

use crate::adjacency::Neighbour;
use crate::tables::{AccessRule, Adjacencies, Attachments, Tables};

/// What a prefix maps to, from both sides: routes and registrations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PrefixState {
    pub(super) group: Option<GroupId>,
    /// Sorted.
    pub(super) local: Vec<AttachmentId>,
}

pub(super) type PrefixId = (Domain, NameBuf);

/// A prefix that a transaction touches.
pub(super) struct Change {
    /// As it is in the tables.
    pub(super) before: Option<PrefixValue>,
    /// As it is to be.
    pub(super) state: PrefixState,
}

/// Local sets by their members: prefixes of one pod share one set.
#[derive(Debug, Clone, Default)]
pub(super) struct Sets {
    pub(super) by_members: HashMap<Vec<AttachmentId>, LocalSetId>,
    /// The other way round, by number of the set.
    members: Vec<Vec<AttachmentId>>,
    pub(super) used: Vec<u32>,
}

impl Sets {
    /// Who is in a set, sorted.
    pub(super) fn members(&self, id: LocalSetId) -> &[AttachmentId] {
        self.members.get(id.0 as usize).map_or(&[], Vec::as_slice)
    }

    pub(super) fn take(&mut self, members: &[AttachmentId]) -> LocalSetId {
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
        if self.members.len() <= free {
            self.members.resize(free + 1, Vec::new());
        }
        self.members[free] = members.to_vec();
        id
    }

    pub(super) fn give_back(&mut self, members: &[AttachmentId]) {
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

/// The next generation while it is made. What is shared with the present one is copied when it is first changed, so that a
/// transaction of a few routes costs nothing of what there is besides.
pub(super) struct Draft {
    pub(super) adjacencies: Arc<Adjacencies>,
    pub(super) attachments: Arc<Attachments>,
    pub(super) neighbours: Arc<HashMap<(usize, u16, IpAddr), Arc<Neighbour>>>,
    pub(super) access: Arc<Vec<AccessRule>>,
    pub(super) fib_ops: Vec<Op>,
    pub(super) prefixes: hashbrown::HashMap<PrefixId, Change>,
    pub(super) resting: Arc<HashMap<u16, Instant>>,
    pub(super) next_id: u16,
    pub(super) attached: Vec<AttachmentId>,
    /// Gateways that are put or deleted here, to see which adjacencies are still needed.
    pub(super) gateways: HashMap<(Topology, NodeId), Option<Gateway>>,
    pub(super) endpoints_changed: bool,
}

impl Draft {
    /// Nothing changed yet.
    pub(super) fn of(tables: &Tables, resting: &Arc<HashMap<u16, Instant>>, next_id: u16) -> Draft {
        Draft {
            adjacencies: tables.adjacencies.clone(),
            attachments: tables.attachments.clone(),
            neighbours: tables.neighbours.clone(),
            access: tables.access.clone(),
            fib_ops: Vec::new(),
            prefixes: hashbrown::HashMap::new(),
            resting: resting.clone(),
            next_id,
            attached: Vec::new(),
            gateways: HashMap::new(),
            endpoints_changed: false,
        }
    }

    /// The link-layer address behind an IP address, asked for from now on.
    pub(super) fn wanted(&mut self, port: usize, vlan: u16, address: IpAddr) -> Arc<Neighbour> {
        self.endpoints_changed = true;
        Arc::make_mut(&mut self.neighbours)
            .entry((port, vlan, address))
            .or_insert_with(|| Arc::new(Neighbour::new(port, vlan, address)))
            .clone()
    }

    /// Link-layer addresses that no adjacency and no attachment needs any more.
    pub(super) fn forget_unwanted(&mut self) {
        let mut used: HashSet<*const Neighbour> = self
            .adjacencies
            .iter()
            .map(|a| Arc::as_ptr(&a.neighbour))
            .collect();
        used.extend(self.attachments.iter().map(|a| Arc::as_ptr(&a.neighbour)));
        Arc::make_mut(&mut self.neighbours)
            .retain(|_, neighbour| used.contains(&Arc::as_ptr(neighbour)));
    }
}

//! One generation of everything that forwarding reads: published as a whole, never changed afterwards (design §5).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use dmsc_fib::{AdjacencyId, Fib, LocalSetId};
use dmsc_wire::{AttachmentId, Domain, Name, NameBuf};

use crate::adjacency::{Adjacency, Neighbour};
use crate::attachment::{Attachment, Endpoint};

/// A caller and a callee that may, or may not, talk (design §4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRule {
    /// Rules are tried in the order of their ids.
    pub id: u32,
    /// Tenant.
    pub domain: Domain,
    /// Prefix of the caller's name; `None` = anybody.
    pub caller: Option<NameBuf>,
    /// Prefix of the callee's name; `None` = everybody.
    pub callee: Option<NameBuf>,
    /// What the first rule that matches says.
    pub allow: bool,
}

/// Neighbour routers by id, and by the port they are on.
#[derive(Debug, Clone, Default)]
pub struct Adjacencies {
    by_id: Vec<Option<Arc<Adjacency>>>,
    by_port: Vec<Vec<Arc<Adjacency>>>,
}

impl Adjacencies {
    /// The adjacency with this id.
    #[inline]
    pub fn get(&self, id: AdjacencyId) -> Option<&Arc<Adjacency>> {
        self.by_id.get(usize::from(id.0))?.as_ref()
    }

    /// All on one port.
    #[inline]
    pub fn on_port(&self, port: usize) -> &[Arc<Adjacency>] {
        self.by_port.get(port).map_or(&[], Vec::as_slice)
    }

    /// All, by ascending id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Adjacency>> {
        self.by_id.iter().flatten()
    }

    /// Puts one in the place of what has its id.
    pub fn put(&mut self, adjacency: Arc<Adjacency>) {
        self.remove(adjacency.config.id);
        let index = usize::from(adjacency.config.id.0);
        if self.by_id.len() <= index {
            self.by_id.resize(index + 1, None);
        }
        if self.by_port.len() <= adjacency.config.port {
            self.by_port.resize(adjacency.config.port + 1, Vec::new());
        }
        self.by_port[adjacency.config.port].push(adjacency.clone());
        self.by_id[index] = Some(adjacency);
    }

    /// Removes one; what it was.
    pub fn remove(&mut self, id: AdjacencyId) -> Option<Arc<Adjacency>> {
        let old = self.by_id.get_mut(usize::from(id.0))?.take()?;
        self.by_port[old.config.port].retain(|a| a.config.id != id);
        Some(old)
    }
}

/// Attachments by id and by endpoint, and the sets that answer one prefix together.
#[derive(Debug, Clone, Default)]
pub struct Attachments {
    by_id: HashMap<u16, Arc<Attachment>>,
    by_endpoint: hashbrown::HashMap<(usize, Endpoint), Arc<Attachment>>,
    sets: Vec<Vec<Arc<Attachment>>>,
    /// Where attachments were before they moved, and until when they may send from there.
    former: hashbrown::HashMap<(usize, Endpoint), (Arc<Attachment>, Instant)>,
}

impl Attachments {
    /// The attachment with this id.
    #[inline]
    pub fn get(&self, id: AttachmentId) -> Option<&Arc<Attachment>> {
        self.by_id.get(&id.0)
    }

    /// Who sends from `endpoint` on a port.
    #[inline]
    pub fn from(&self, port: usize, endpoint: Endpoint) -> Option<&Arc<Attachment>> {
        self.by_endpoint.get(&(port, endpoint))
    }

    /// Who was at `endpoint` until it moved, if what it still sent from there may be on its way. Asked only of endpoints that nobody has.
    #[cold]
    pub fn formerly_from(&self, port: usize, endpoint: Endpoint) -> Option<&Arc<Attachment>> {
        let (attachment, until) = self.former.get(&(port, endpoint))?;
        (Instant::now() < *until).then_some(attachment)
    }

    /// Where an attachment was before it moved.
    pub fn former_of(&self, id: AttachmentId) -> Vec<((usize, Endpoint), Instant)> {
        let own = self.former.iter().filter(|(_, (one, _))| one.id == id);
        own.map(|(place, (_, until))| (*place, *until)).collect()
    }

    /// Takes what an attachment sends from another endpoint than its own until then, unless somebody else has that. Forgets whose time is over.
    pub fn put_former(&mut self, id: AttachmentId, place: (usize, Endpoint), until: Instant) {
        let now = Instant::now();
        self.former.retain(|_, (_, until)| now < *until);
        if let Some(attachment) = self.by_id.get(&id.0)
            && !self.by_endpoint.contains_key(&place)
            && now < until
        {
            self.former.insert(place, (attachment.clone(), until));
        }
    }

    /// The attachments that answer one prefix together.
    #[inline]
    pub fn set(&self, id: LocalSetId) -> &[Arc<Attachment>] {
        self.sets.get(id.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// All, by ascending id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Attachment>> {
        let mut all: Vec<_> = self.by_id.values().collect();
        all.sort_unstable_by_key(|a| a.id.0);
        all.into_iter()
    }

    /// Those on one port, in no order.
    pub fn on_port(&self, port: usize) -> impl Iterator<Item = &Arc<Attachment>> {
        self.by_id.values().filter(move |one| one.port == port)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Puts one in the place of what has its id.
    pub fn put(&mut self, attachment: Arc<Attachment>) {
        self.remove(attachment.id);
        let place = (attachment.port, attachment.endpoint);
        self.former.remove(&place);
        self.by_endpoint.insert(place, attachment.clone());
        self.by_id.insert(attachment.id.0, attachment);
    }

    /// Removes one; what it was.
    pub fn remove(&mut self, id: AttachmentId) -> Option<Arc<Attachment>> {
        let old = self.by_id.remove(&id.0)?;
        self.former.retain(|_, (one, _)| one.id != id);
        if self
            .by_endpoint
            .get(&(old.port, old.endpoint))
            .is_some_and(|a| a.id == id)
        {
            self.by_endpoint.remove(&(old.port, old.endpoint));
        }
        Some(old)
    }

    /// Sets the members of a local set.
    pub fn put_set(&mut self, id: LocalSetId, members: Vec<Arc<Attachment>>) {
        let index = id.0 as usize;
        if self.sets.len() <= index {
            self.sets.resize(index + 1, Vec::new());
        }
        self.sets[index] = members;
    }
}

/// What forwarding reads.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// Names, groups, gateways.
    pub fib: Fib,
    /// Neighbour routers.
    pub adjacencies: Arc<Adjacencies>,
    /// Pods.
    pub attachments: Arc<Attachments>,
    /// Link-layer addresses that are wanted, by port, VLAN and address.
    pub neighbours: Arc<HashMap<(usize, u16, IpAddr), Arc<Neighbour>>>,
    /// Who may call whom.
    pub access: Arc<Vec<AccessRule>>,
}

impl Tables {
    /// Whether `caller` may call `callee`: the first rule that matches, else yes.
    #[inline]
    pub fn allows(
        &self,
        domain: Domain,
        caller: Option<Name<'_>>,
        callee: Option<Name<'_>>,
    ) -> bool {
        if self.access.is_empty() {
            return true;
        }
        let covers = |rule: &Option<NameBuf>, name: Option<Name<'_>>| match (rule, name) {
            (None, _) => true,
            (Some(prefix), Some(name)) => prefix.as_name().is_prefix_of(name),
            (Some(_), None) => false,
        };
        self.access
            .iter()
            .find(|rule| {
                rule.domain == domain
                    && covers(&rule.caller, caller)
                    && covers(&rule.callee, callee)
            })
            .is_none_or(|rule| rule.allow)
    }
}

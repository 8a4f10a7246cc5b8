//! Leases of registered pods: who is attached where until when. No clock of its own, no I/O.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dmsc_proto::v1;
use dmsc_wire::{AttachmentId, Domain, Name, NameBuf};

use crate::config::DEFAULT_CLASS;

/// Time after which a silent pod is detached.
pub const LEASE: Duration = Duration::from_secs(30);
/// How often a pod is asked to refresh.
pub const REFRESH: Duration = Duration::from_secs(10);

/// The secret between a pod and its registrar; not to be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId(pub u64);

/// Where a pod receives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Pod port of the dataplane.
    pub port: String,
    /// The pod's address on it.
    pub address: IpAddr,
    /// The pod's UDP port.
    pub udp_port: u16,
}

/// What a pod says of itself, or its gateway of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// Nothing yet (found after a restart).
    #[default]
    Unknown,
    /// Takes calls.
    Serving,
    /// Takes no new calls.
    Draining,
    /// Takes fewer calls than it gets.
    Overloaded,
    /// Its port is closed, or it answers no probe: its gateway says so.
    Unreachable,
}

impl Health {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Overloaded => "overloaded",
            Self::Unreachable => "unreachable",
        }
    }

    /// What a pod may say of itself.
    #[must_use]
    pub fn from_pod(word: &str) -> Option<Self> {
        [Self::Serving, Self::Draining, Self::Overloaded]
            .into_iter()
            .find(|health| health.as_str() == word)
    }
}

/// One registered endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// Its id.
    pub id: LeaseId,
    /// Who.
    pub identity: String,
    /// Where it receives.
    pub endpoint: Endpoint,
    /// Where it called the registrar from: only from there the lease is refreshed, moved and ended.
    pub registrant: IpAddr,
    /// The port's tenant.
    pub domain: Domain,
    /// Prefixes it answers.
    pub serves: Arc<[NameBuf]>,
    /// Highest class of packets that it may send.
    pub class_limit: u8,
    /// Its name under its identity.
    pub source_name: NameBuf,
    /// Its id at the dataplane.
    pub attachment: AttachmentId,
    /// What it says of itself.
    pub health: Health,
    /// Whether the dataplane reaches it.
    pub reachable: bool,
    /// Whether it answers probes; true where nobody probes.
    pub answers: bool,
    /// When it ends unless refreshed.
    pub expires: Instant,
}

impl Lease {
    /// The attachment to program; `id` 0 lets the dataplane choose.
    #[must_use]
    pub fn attachment(&self, id: AttachmentId) -> v1::Attachment {
        let bytes = |name: &NameBuf| name.as_bytes().to_vec();
        v1::Attachment {
            id: u32::from(id.0),
            port: self.endpoint.port.clone(),
            address: self.endpoint.address.to_string(),
            udp_port: u32::from(self.endpoint.udp_port),
            domain: self.domain.0,
            identity: self.identity.clone(),
            // A pod that answers no probe gets no calls; it keeps its attachment and its own name.
            serves: self.told_serves().iter().map(bytes).collect(),
            owns: vec![bytes(&self.source_name)],
            class_limit: u32::from(self.class_limit),
            // Detaching takes its time, too.
            lease_ms: u32::try_from((LEASE + REFRESH).as_millis()).unwrap_or(u32::MAX),
            ..Default::default()
        }
    }

    fn told_serves(&self) -> &[NameBuf] {
        if self.answers { &self.serves } else { &[] }
    }

    /// A lease for an attachment that a dataplane already has; `None` if no pod of ours can be behind it.
    #[must_use]
    pub fn from_attachment(id: LeaseId, attachment: &v1::Attachment, now: Instant) -> Option<Self> {
        let name = |bytes: &Vec<u8>| Name::from_bytes(bytes).ok().map(Name::to_owned);
        let endpoint = Endpoint::of(attachment)?;
        Some(Self {
            id,
            identity: attachment.identity.clone(),
            registrant: endpoint.address,
            endpoint,
            domain: Domain(attachment.domain),
            serves: attachment.serves.iter().filter_map(name).collect(),
            class_limit: class_limit(attachment),
            source_name: crate::routes::source_name(&attachment.identity)?,
            attachment: AttachmentId(u16::try_from(attachment.id).ok()?),
            health: Health::Unknown,
            reachable: attachment.state != "unreachable",
            answers: true,
            expires: now + LEASE,
        })
    }

    /// Whether `attachment` is this lease, as the dataplane has it.
    #[must_use]
    pub fn is(&self, attachment: &v1::Attachment) -> bool {
        let mine: Vec<&[u8]> = self.told_serves().iter().map(NameBuf::as_bytes).collect();
        self.is_at(attachment)
            && attachment.domain == self.domain.0
            && class_limit(attachment) == self.class_limit
            && same_set(attachment.serves.iter().map(Vec::as_slice).collect(), mine)
    }

    /// Whether `attachment` is this lease's, whatever it serves.
    #[must_use]
    pub fn is_at(&self, attachment: &v1::Attachment) -> bool {
        attachment.id == u32::from(self.attachment.0)
            && attachment.identity == self.identity
            && Endpoint::of(attachment).as_ref() == Some(&self.endpoint)
    }

    /// Whether it answers `name`; gives the depth of the covering prefix.
    #[must_use]
    pub fn serves(&self, name: Name<'_>) -> Option<usize> {
        self.serves
            .iter()
            .map(NameBuf::as_name)
            .filter(|prefix| prefix.is_prefix_of(name))
            .map(Name::component_count)
            .max()
    }

    /// The health to tell others.
    #[must_use]
    pub fn told_health(&self) -> Health {
        if self.reachable && self.answers {
            self.health
        } else {
            Health::Unreachable
        }
    }
}

/// The highest class of an attachment; 0 stands for what is usual.
fn class_limit(attachment: &v1::Attachment) -> u8 {
    match u8::try_from(attachment.class_limit) {
        Ok(class @ 1..=7) => class,
        _ => DEFAULT_CLASS,
    }
}

fn same_set(mut a: Vec<&[u8]>, mut b: Vec<&[u8]>) -> bool {
    a.sort_unstable();
    b.sort_unstable();
    a.dedup();
    b.dedup();
    a == b
}

impl Endpoint {
    /// The endpoint of an attachment; `None` on bare Ethernet.
    #[must_use]
    pub fn of(attachment: &v1::Attachment) -> Option<Self> {
        Some(Self {
            port: attachment.port.clone(),
            address: attachment.address.parse().ok()?,
            udp_port: u16::try_from(attachment.udp_port)
                .ok()
                .filter(|port| *port != 0)?,
        })
    }
}

/// All leases of a gateway: at most one for each endpoint.
#[derive(Debug, Default)]
pub struct LeaseTable {
    leases: HashMap<LeaseId, Lease>,
    by_endpoint: HashMap<Endpoint, LeaseId>,
}

impl LeaseTable {
    /// Adds a lease, or puts it in the place of what it was before and of what was at its endpoint.
    pub fn put(&mut self, lease: Lease) {
        if let Some(before) = self.leases.get(&lease.id)
            && before.endpoint != lease.endpoint
        {
            self.by_endpoint.remove(&before.endpoint);
        }
        if let Some(old) = self.by_endpoint.insert(lease.endpoint.clone(), lease.id)
            && old != lease.id
        {
            self.leases.remove(&old);
        }
        self.leases.insert(lease.id, lease);
    }

    /// Replaces a lease that is still there; tells whether it was.
    pub fn replace(&mut self, lease: Lease) -> bool {
        let there = self.leases.contains_key(&lease.id);
        if there {
            self.put(lease);
        }
        there
    }

    /// The lease with this id, if the caller at `address` holds it.
    pub fn held(&mut self, id: LeaseId, address: IpAddr) -> Option<&mut Lease> {
        self.leases
            .get_mut(&id)
            .filter(|lease| lease.registrant == address)
    }

    /// The lease with this id.
    #[must_use]
    pub fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.leases.get(&id)
    }

    /// The lease at an endpoint.
    #[must_use]
    pub fn at(&self, endpoint: &Endpoint) -> Option<&Lease> {
        self.leases.get(self.by_endpoint.get(endpoint)?)
    }

    /// Ends a lease.
    pub fn remove(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.leases.remove(&id)?;
        self.by_endpoint.remove(&lease.endpoint);
        Some(lease)
    }

    /// Notes whether the dataplane reaches an attachment; tells whether that is news.
    pub fn set_reachable(&mut self, attachment: AttachmentId, reachable: bool) -> bool {
        let mut news = false;
        for lease in self.leases.values_mut() {
            if lease.attachment == attachment && lease.reachable != reachable {
                lease.reachable = reachable;
                news = true;
            }
        }
        news
    }

    /// Lets no lease end before `until`.
    pub fn extend(&mut self, until: Instant) {
        for lease in self.leases.values_mut() {
            lease.expires = lease.expires.max(until);
        }
    }

    /// Ends the leases that expired by `now`, and returns them.
    pub fn expire(&mut self, now: Instant) -> Vec<Lease> {
        let ids: Vec<LeaseId> = self
            .leases
            .values()
            .filter(|lease| lease.expires <= now)
            .map(|lease| lease.id)
            .collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// When the next lease ends unless refreshed.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.expires).min()
    }

    /// All leases, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// Number of leases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(id: u64, udp_port: u16, now: Instant) -> Lease {
        let attachment = v1::Attachment {
            id: 9,
            port: "pod1".into(),
            address: "10.1.1.2".into(),
            udp_port: u32::from(udp_port),
            domain: 1,
            identity: "pod1/a".into(),
            serves: vec![NameBuf::parse("/shop/a").unwrap().as_bytes().to_vec()],
            ..Default::default()
        };
        Lease::from_attachment(LeaseId(id), &attachment, now).unwrap()
    }

    #[test]
    fn an_endpoint_has_one_lease_and_it_ends_in_time() {
        let now = Instant::now();
        let mut table = LeaseTable::default();
        table.put(lease(1, 4_000, now));
        table.put(lease(2, 4_000, now));
        table.put(lease(3, 4_001, now + Duration::from_secs(5)));
        assert_eq!(table.len(), 2);
        assert_eq!(
            table.at(&lease(0, 4_000, now).endpoint).unwrap().id,
            LeaseId(2)
        );
        assert_eq!(table.next_expiry(), Some(now + LEASE));
        assert!(
            table
                .expire(now + LEASE - Duration::from_nanos(1))
                .is_empty()
        );
        assert_eq!(table.expire(now + LEASE).len(), 1);
        assert_eq!(
            table.next_expiry(),
            Some(now + Duration::from_secs(5) + LEASE)
        );
    }

    #[test]
    fn a_lease_that_moves_leaves_its_place_to_others() {
        let now = Instant::now();
        let mut table = LeaseTable::default();
        table.put(lease(1, 4_000, now));
        table.put(lease(1, 4_001, now));
        assert!(table.at(&lease(0, 4_000, now).endpoint).is_none());
        table.put(lease(2, 4_000, now));
        assert_eq!(table.len(), 2);
        let at = |port| table.at(&lease(0, port, now).endpoint).map(|one| one.id);
        assert_eq!((at(4_000), at(4_001)), (Some(LeaseId(2)), Some(LeaseId(1))));
    }

    #[test]
    fn a_lease_is_held_only_from_its_address() {
        let mut table = LeaseTable::default();
        table.put(lease(1, 4_000, Instant::now()));
        assert!(
            table
                .held(LeaseId(1), "10.1.1.2".parse().unwrap())
                .is_some()
        );
        assert!(
            table
                .held(LeaseId(1), "10.1.1.3".parse().unwrap())
                .is_none()
        );
        assert!(
            table
                .held(LeaseId(2), "10.1.1.2".parse().unwrap())
                .is_none()
        );
    }

    #[test]
    fn what_was_programmed_is_recognised() {
        let lease = lease(1, 4_000, Instant::now());
        let attachment = lease.attachment(lease.attachment);
        assert!(lease.is(&attachment));
        assert!(!lease.is(&v1::Attachment {
            serves: vec![],
            ..attachment
        }));
    }

    #[test]
    fn unreachable_pods_have_unknown_health() {
        let mut table = LeaseTable::default();
        let mut one = lease(1, 4_000, Instant::now());
        one.health = Health::Serving;
        table.put(one);
        assert!(table.set_reachable(AttachmentId(9), false));
        assert!(!table.set_reachable(AttachmentId(9), false));
        let told = table.iter().next().unwrap().told_health();
        assert_eq!(told, Health::Unreachable);
    }
}

//! Pods' endpoints at this gateway (design §3, Attachment).

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use dmsc_wire::{AttachmentId, Domain, Name, NameBuf};
use hashbrown::HashSet;

use crate::adjacency::Neighbour;
use crate::mac::MacAddress;
use crate::outer::Outer;
use crate::silence::Silence;

/// Where a pod sends from and receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An ordinary UDP socket.
    Udp(IpAddr, u16),
    /// Bare Ethernet.
    Ethernet(MacAddress),
}

/// Prefixes that an attachment has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameSet(HashSet<Box<[u8]>>);

impl NameSet {
    /// Of these prefixes.
    pub fn new<'a>(names: impl IntoIterator<Item = Name<'a>>) -> NameSet {
        NameSet(
            names
                .into_iter()
                .map(|name| name.as_bytes().into())
                .collect(),
        )
    }

    /// Whether one of them covers `name`: at most 16 look-ups, however many prefixes there are.
    #[inline]
    pub fn covers(&self, name: Name<'_>) -> bool {
        (1..=name.component_count()).any(|n| self.0.contains(name.prefix(n).as_bytes()))
    }
}

/// One registered endpoint.
#[derive(Debug)]
pub struct Attachment {
    /// Its id at this gateway.
    pub id: AttachmentId,
    /// Pod port number, from 0.
    pub port: usize,
    /// Address and UDP port, or MAC address.
    pub endpoint: Endpoint,
    /// Tenant.
    pub domain: Domain,
    /// Who registered.
    pub identity: String,
    /// Prefixes that it answers.
    pub serves: Vec<NameBuf>,
    /// Names that it may send with besides these.
    pub owns: Vec<NameBuf>,
    /// Both, to look up.
    pub names: NameSet,
    /// Highest class it may send.
    pub class_limit: u8,
    /// Its header.
    pub outer: Outer,
    /// Its link-layer address.
    pub neighbour: Arc<Neighbour>,
    /// False once the pod's kernel said that nobody listens, or the process that shared its memory went; true again when it sends or registers.
    pub reachable: Arc<AtomicBool>,
    /// It is detached when it has not been heard of for so many ms; 0 = it never is.
    pub lease_ms: u32,
    /// Whether it answers probes.
    pub silence: Silence,
}

impl Attachment {
    /// Whether packets may be delivered to it, as far as is known.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.reachable.load(Relaxed)
    }

    /// Whether it has `name` in `domain`: the condition of every local delivery (design §3).
    #[inline]
    pub fn has(&self, domain: Domain, name: Name<'_>) -> bool {
        self.domain == domain && self.names.covers(name)
    }

    /// `"up"`, `"unreachable"` or `"unresolved"`.
    pub fn state(&self) -> &'static str {
        if !self.is_up() {
            "unreachable"
        } else if self.neighbour.mac().is_none() {
            "unresolved"
        } else {
            "up"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_set_covers_on_component_boundaries() {
        let names: Vec<NameBuf> = ["/a/b", "/c"]
            .iter()
            .map(|t| NameBuf::parse(t).expect("name"))
            .collect();
        let set = NameSet::new(names.iter().map(|n| n.as_name()));
        for (text, expected) in [
            ("/a/b", true),
            ("/a/b/c", true),
            ("/a", false),
            ("/a/bc", false),
            ("/c/d/e/f", true),
            ("/d", false),
        ] {
            let name = NameBuf::parse(text).expect("name");
            assert_eq!(set.covers(name.as_name()), expected, "{text}");
        }
    }
}

//! Synthetic addresses for quinn, which knows peers by socket address only: `fd64:6d73::<generation>:<index>` and who that is. Bounded.

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use dmsc_wire::{AttachmentId, FlowLabel, NameBuf, NodeId};

use crate::peer::{Caller, Peer, Role};

/// `fd64:6d73`: "dms" in a unique local prefix that never leaves the process.
const PREFIX: [u16; 2] = [0xfd64, 0x6d73];
/// Of no meaning, but quinn refuses 0.
const PORT: u16 = 1;

/// Own address, of index none.
pub(crate) fn own_address() -> SocketAddr {
    address(0, u32::MAX)
}

fn address(generation: u32, index: u32) -> SocketAddr {
    let (high, low) = (|word: u32| (word >> 16) as u16, |word: u32| word as u16);
    let [first, second] = PREFIX;
    let ip = Ipv6Addr::new(
        first,
        second,
        0,
        0,
        high(generation),
        low(generation),
        high(index),
        low(index),
    );
    SocketAddr::new(ip.into(), PORT)
}

/// Generation and index.
fn parts(address: SocketAddr) -> Option<(u32, u32)> {
    let SocketAddr::V6(address) = address else {
        return None;
    };
    let segments = address.ip().segments();
    let word = |at: usize| u32::from(segments[at]) << 16 | u32::from(segments[at + 1]);
    (segments[..2] == PREFIX).then(|| (word(4), word(6)))
}

/// One attachment has one pod, so a caller can disturb only itself with flow labels of its choice.
type CallerKey = (NodeId, AttachmentId, FlowLabel);

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<(u32, Arc<Peer>)>,
    instances: HashMap<FlowLabel, u32>,
    callers: HashMap<CallerKey, u32>,
    /// Where to look for somebody to forget.
    hand: usize,
}

/// Peers by address, and addresses by what packets carry.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Mutex<Slots>,
    capacity: usize,
}

impl Table {
    pub fn new(capacity: usize) -> Self {
        Self {
            slots: Mutex::default(),
            capacity: capacity.clamp(1, 1 << 24),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who an address is; `None` when it was forgotten.
    pub fn get(&self, address: SocketAddr) -> Option<Arc<Peer>> {
        let (generation, index) = parts(address)?;
        let slots = self.lock();
        let (current, peer) = slots.slots.get(index as usize)?;
        (*current == generation).then(|| Arc::clone(peer))
    }

    /// A new peer for a call of `name`, with a flow label of its own; `None` when connections use the whole table.
    pub fn call(&self, name: NameBuf, first_flow: FlowLabel) -> Option<(SocketAddr, Arc<Peer>)> {
        let mut slots = self.lock();
        let mut flow = first_flow;
        while slots.instances.contains_key(&flow) {
            flow = FlowLabel(flow.0.wrapping_add(1));
        }
        let role = Role::Instance {
            name,
            pin: OnceLock::new(),
        };
        slots.insert(Arc::new(Peer::new(role, flow)), self.capacity)
    }

    /// Whose response or error this flow label belongs to.
    pub fn instance(&self, flow: FlowLabel) -> Option<(SocketAddr, Arc<Peer>)> {
        let slots = self.lock();
        let index = *slots.instances.get(&flow)?;
        slots.at(index)
    }

    /// Who calls, known or new; `None` when connections use the whole table.
    pub fn caller(
        &self,
        flow: FlowLabel,
        place: (NodeId, AttachmentId),
        is: impl Fn(&Caller) -> bool,
        new: impl FnOnce() -> Caller,
    ) -> Option<(SocketAddr, Arc<Peer>)> {
        let mut slots = self.lock();
        let known = slots.callers.get(&(place.0, place.1, flow)).copied();
        if let Some((address, peer)) = known.and_then(|index| slots.at(index))
            && matches!(&peer.role, Role::Caller(caller) if is(caller))
        {
            return Some((address, peer));
        }
        slots.insert(
            Arc::new(Peer::new(Role::Caller(new()), flow)),
            self.capacity,
        )
    }
}

impl Slots {
    fn at(&self, index: u32) -> Option<(SocketAddr, Arc<Peer>)> {
        let (generation, peer) = self.slots.get(index as usize)?;
        Some((address(*generation, index), Arc::clone(peer)))
    }

    fn insert(&mut self, peer: Arc<Peer>, capacity: usize) -> Option<(SocketAddr, Arc<Peer>)> {
        let index = if self.slots.len() < capacity {
            self.slots.push((0, peer));
            self.slots.len() - 1
        } else {
            let index = self.forget()?;
            let (generation, place) = &mut self.slots[index];
            // The old address is nobody's from now on.
            *generation = generation.wrapping_add(1);
            *place = peer;
            index
        };
        let index = index as u32;
        let peer = &self.slots[index as usize].1;
        match &peer.role {
            Role::Instance { .. } => self.instances.insert(peer.flow, index),
            Role::Caller(caller) => self
                .callers
                .insert((caller.gateway, caller.attachment, peer.flow), index),
        };
        self.at(index)
    }

    /// Chooses one that no connection uses and that was quiet for a round of the hand (the clock algorithm), and removes its keys.
    fn forget(&mut self) -> Option<usize> {
        for _ in 0..2 * self.slots.len() {
            let index = self.hand;
            self.hand = (index + 1) % self.slots.len();
            let peer = &self.slots[index].1;
            if Arc::strong_count(peer) > 1 || peer.used.swap(false, Relaxed) {
                continue;
            }
            let flow = peer.flow;
            match &peer.role {
                Role::Instance { .. } => {
                    self.instances.remove(&flow);
                }
                Role::Caller(caller) => {
                    let key = (caller.gateway, caller.attachment, flow);
                    // Another may have its place already.
                    if self.callers.get(&key) == Some(&(index as u32)) {
                        self.callers.remove(&key);
                    }
                }
            }
            return Some(index);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NameBuf {
        NameBuf::parse(text).unwrap()
    }

    #[test]
    fn addresses_are_forgotten_only_when_nobody_uses_them() {
        let table = Table::new(2);
        let (first, held) = table.call(name("/a"), FlowLabel(7)).unwrap();
        let (second, other) = table.call(name("/a"), FlowLabel(7)).unwrap();
        assert_eq!((held.flow, other.flow), (FlowLabel(7), FlowLabel(8)));
        assert!(table.call(name("/b"), FlowLabel(1)).is_none(), "full");
        drop(other);
        let (third, _) = table.call(name("/b"), FlowLabel(1)).unwrap();
        assert!(table.get(second).is_none(), "the address is not used again");
        assert!(table.instance(FlowLabel(8)).is_none());
        assert_eq!(table.get(first).unwrap().called(), &name("/a"));
        assert_eq!(table.get(third).unwrap().called(), &name("/b"));
        assert!(table.get(own_address()).is_none());
        assert!(table.get("[::1]:1".parse().unwrap()).is_none());
    }

    #[test]
    fn a_caller_keeps_its_address_and_a_flood_of_labels_stays_bounded() {
        let table = Table::new(4);
        let place = (NodeId(1), AttachmentId(2));
        let call = |flow, called: &str| {
            let caller = Caller {
                gateway: place.0,
                attachment: place.1,
                name: name("/id/x"),
                called: name(called),
            };
            table.caller(
                FlowLabel(flow),
                place,
                |known| *known == caller,
                || caller.clone(),
            )
        };
        let (address, peer) = call(1, "/a").unwrap();
        assert_eq!(call(1, "/a").unwrap().0, address);
        assert_ne!(call(1, "/b").unwrap().0, address, "another name");
        for flow in 0..1_000 {
            call(flow, "/a").unwrap();
        }
        assert_eq!(table.get(address).unwrap().called(), peer.called());
        let slots = table.lock();
        assert!(slots.slots.len() == 4 && slots.callers.len() <= 4);
    }
}

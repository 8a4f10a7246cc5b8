//! Synthetic addresses for quinn, which knows peers by socket address only: `fd64:6d73::<generation>:<index>` and who that is. Bounded.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use dmsc_pod::Pin;
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
    /// In order, so that those of one attachment are beside each other.
    callers: BTreeMap<CallerKey, u32>,
    /// Where to look for somebody to forget.
    hand: usize,
}

/// Peers by address, and addresses by what packets carry.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Mutex<Slots>,
    capacity: usize,
    /// Of one attachment: nobody alone fills the table.
    per_caller: usize,
}

impl Table {
    pub fn new(capacity: usize, per_caller: usize) -> Self {
        Self {
            slots: Mutex::default(),
            capacity: capacity.clamp(1, 1 << 24),
            per_caller: per_caller.max(1),
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
    pub fn call(
        &self,
        name: NameBuf,
        wanted: Option<Pin>,
        first_flow: FlowLabel,
    ) -> Option<(SocketAddr, Arc<Peer>)> {
        let mut slots = self.lock();
        let mut flow = first_flow;
        while slots.instances.contains_key(&flow) {
            flow = FlowLabel(flow.0.wrapping_add(1));
        }
        let role = Role::Instance {
            name,
            wanted,
            pin: OnceLock::new(),
        };
        let peer = Arc::new(Peer::new(role, flow));
        let index = slots.room(self.capacity)?;
        slots.put(index, peer)
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
        let all = (place.0, place.1, FlowLabel(0))..=(place.0, place.1, FlowLabel(u32::MAX));
        let index = if slots.callers.range(all.clone()).count() < self.per_caller {
            slots.room(self.capacity)?
        } else {
            // One of its own makes way.
            let mut own = slots.callers.range(all).map(|(_, index)| *index as usize);
            let index = own.find(|index| slots.is_unused(*index))?;
            slots.forget(index);
            Some(index)
        };
        slots.put(index, Arc::new(Peer::new(Role::Caller(new()), flow)))
    }
}

impl Slots {
    fn at(&self, index: u32) -> Option<(SocketAddr, Arc<Peer>)> {
        let (generation, peer) = self.slots.get(index as usize)?;
        Some((address(*generation, index), Arc::clone(peer)))
    }

    fn is_unused(&self, index: usize) -> bool {
        Arc::strong_count(&self.slots[index].1) == 1
    }

    /// `Some(None)`: a new slot.
    fn room(&mut self, capacity: usize) -> Option<Option<usize>> {
        if self.slots.len() < capacity {
            return Some(None);
        }
        // One that no connection uses and that was quiet for a round of the hand (the clock algorithm).
        for _ in 0..2 * self.slots.len() {
            let index = self.hand;
            self.hand = (index + 1) % self.slots.len();
            if self.is_unused(index) && !self.slots[index].1.used.swap(false, Relaxed) {
                self.forget(index);
                return Some(Some(index));
            }
        }
        None
    }

    fn put(&mut self, index: Option<usize>, peer: Arc<Peer>) -> Option<(SocketAddr, Arc<Peer>)> {
        let index = match index {
            None => {
                self.slots.push((0, peer));
                self.slots.len() - 1
            }
            Some(index) => {
                let (generation, place) = &mut self.slots[index];
                // The old address is nobody's from now on.
                *generation = generation.wrapping_add(1);
                *place = peer;
                index
            }
        } as u32;
        let peer = &self.slots[index as usize].1;
        match &peer.role {
            Role::Instance { .. } => self.instances.insert(peer.flow, index),
            Role::Caller(caller) => self
                .callers
                .insert((caller.gateway, caller.attachment, peer.flow), index),
        };
        self.at(index)
    }

    /// Removes its keys; its slot is to be taken at once.
    fn forget(&mut self, index: usize) {
        let peer = &self.slots[index].1;
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
        let table = Table::new(2, 2);
        let (first, held) = table.call(name("/a"), None, FlowLabel(7)).unwrap();
        let (second, other) = table.call(name("/a"), None, FlowLabel(7)).unwrap();
        assert_eq!((held.flow, other.flow), (FlowLabel(7), FlowLabel(8)));
        assert!(table.call(name("/b"), None, FlowLabel(1)).is_none(), "full");
        drop(other);
        let (third, _) = table.call(name("/b"), None, FlowLabel(1)).unwrap();
        assert!(table.get(second).is_none(), "the address is not used again");
        assert!(table.instance(FlowLabel(8)).is_none());
        assert_eq!(table.get(first).unwrap().called(), &name("/a"));
        assert_eq!(table.get(third).unwrap().called(), &name("/b"));
        assert!(table.get(own_address()).is_none());
        assert!(table.get("[::1]:1".parse().unwrap()).is_none());
    }

    #[test]
    fn a_caller_keeps_its_address_and_a_flood_of_labels_stays_bounded() {
        let table = Table::new(6, 4);
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
        assert!(table.lock().callers.len() <= 4);
        // Nobody else is kept away by it.
        for flow in 0..10 {
            table.call(name("/c"), None, FlowLabel(flow)).unwrap();
        }
        assert_eq!(table.get(address).unwrap().called(), peer.called());
        assert_eq!(table.lock().slots.len(), 6);
    }
}

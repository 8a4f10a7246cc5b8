//! Synthetic addresses: one per name, out of a configured range, and back.

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dmsc_wire::NameBuf;
use lru::LruCache;

use super::Gate;
use crate::config::{Outbound, Range};

/// Most names that have an address at a time; the least recently used go first.
pub const MAX_NAMES: usize = 65_000;

/// The table of one pod.
///
/// A name asks for the address that a hash of it points to, so that it mostly has the same one after a restart.
#[derive(Debug)]
pub struct Table {
    range: Range,
    names: Mutex<Names>,
    gate: Gate,
}

#[derive(Debug)]
struct Names {
    by_address: LruCache<Ipv4Addr, NameBuf>,
    by_name: HashMap<NameBuf, Ipv4Addr>,
}

impl Table {
    /// Empty, over the range of a pod.
    #[must_use]
    pub fn new(outbound: &Outbound) -> Self {
        Self::over(outbound.range)
    }

    /// Empty, over a range of at most 30 bits, as the configuration guarantees.
    #[must_use]
    pub fn over(range: Range) -> Self {
        Self {
            range,
            names: Mutex::new(Names {
                by_address: LruCache::unbounded(),
                by_name: HashMap::new(),
            }),
            gate: Gate::default(),
        }
    }

    /// Whoever gives addresses or looks them up passes it.
    #[must_use]
    pub const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Addresses that can be given: without network and broadcast address.
    fn size(&self) -> u32 {
        (1_u32 << (32 - u32::from(self.range.length)).clamp(2, 31)) - 2
    }

    fn room(&self) -> usize {
        MAX_NAMES.min(self.size() as usize)
    }

    fn address(&self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.range.network.to_bits() + 1 + index)
    }

    /// The address of a name, given now if it has none.
    pub fn address_of(&self, name: &NameBuf) -> Ipv4Addr {
        let mut names = self.lock();
        if let Some(&address) = names.by_name.get(name) {
            names.by_address.promote(&address);
            return address;
        }
        if names.by_address.len() >= self.room()
            && let Some((_, oldest)) = names.by_address.pop_lru()
        {
            names.by_name.remove(&oldest);
        }
        let size = self.size();
        let start = wish(name) % size;
        // One is free: there are fewer names than addresses.
        let free = (0..size)
            .map(|step| self.address((start + step) % size))
            .find(|address| !names.by_address.contains(address))
            .unwrap_or_else(|| self.address(start));
        names.put(free, name.clone());
        free
    }

    /// The name that an address was given to.
    pub fn name_of(&self, address: Ipv4Addr) -> Option<NameBuf> {
        self.lock().by_address.get(&address).cloned()
    }

    /// What was given, the least recently used first: for the process that takes over.
    pub fn dump(&self) -> Vec<(Ipv4Addr, NameBuf)> {
        let names = self.lock();
        let given = names.by_address.iter().rev();
        given
            .map(|(address, name)| (*address, name.clone()))
            .collect()
    }

    /// Takes what another process gave; what is not of this range is left out, and what was known otherwise is forgotten.
    pub fn load(&self, given: impl IntoIterator<Item = (Ipv4Addr, NameBuf)>) {
        let mut names = self.lock();
        for (address, name) in given {
            let at = address.to_bits().wrapping_sub(self.address(0).to_bits());
            if at >= self.size() {
                continue;
            }
            names.forget(address, &name);
            if names.by_address.len() < self.room() {
                names.put(address, name);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    fn put(&mut self, address: Ipv4Addr, name: NameBuf) {
        self.by_name.insert(name.clone(), address);
        self.by_address.put(address, name);
    }

    fn forget(&mut self, address: Ipv4Addr, name: &NameBuf) {
        if let Some(other) = self.by_address.pop(&address) {
            self.by_name.remove(&other);
        }
        if let Some(other) = self.by_name.remove(name) {
            self.by_address.pop(&other);
        }
    }
}

/// FNV-1a over the encoding: the same in every process and build.
fn wish(name: &NameBuf) -> u32 {
    struct Fnv(u64);
    impl std::hash::Hasher for Fnv {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    hasher.write(name.as_bytes());
    let hash = hasher.finish();
    // Both halves count.
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NameBuf {
        NameBuf::parse(text).unwrap()
    }

    fn table(network: [u8; 4], length: u8) -> Table {
        Table::over(Range {
            network: network.into(),
            length,
        })
    }

    #[test]
    fn a_name_keeps_its_address_and_an_address_its_name() {
        let table = table([198, 18, 0, 0], 16);
        let cart = table.address_of(&name("/shop/cart"));
        let web = table.address_of(&name("/shop/web"));
        assert_ne!(cart, web);
        assert_eq!(table.address_of(&name("/shop/cart")), cart);
        assert_eq!(table.name_of(cart), Some(name("/shop/cart")));
        assert_eq!(table.name_of("198.18.255.255".parse().unwrap()), None);
        // The same in a process that knows nothing.
        let other = Table::over(table.range);
        assert_eq!(other.address_of(&name("/shop/cart")), cart);
    }

    #[test]
    fn the_least_recently_used_go_first_and_none_is_given_twice() {
        let table = table([10, 9, 8, 0], 29);
        let names: Vec<NameBuf> = (0..6).map(|n| name(&format!("/n{n}"))).collect();
        let given: Vec<Ipv4Addr> = names.iter().map(|name| table.address_of(name)).collect();
        let mut sorted = given.clone();
        sorted.sort();
        let all: Vec<Ipv4Addr> = (1..=6).map(|n| Ipv4Addr::new(10, 9, 8, n)).collect();
        assert_eq!(sorted, all);
        // Used by a connection: it stays, and the second goes.
        table.name_of(given[0]);
        let seventh = table.address_of(&name("/n6"));
        assert_eq!(seventh, given[1]);
        assert_eq!(table.name_of(given[0]), Some(names[0].clone()));
        assert_eq!(table.name_of(seventh), Some(name("/n6")));
        assert_eq!(table.dump().len(), 6);
    }

    #[test]
    fn a_table_is_handed_over_in_its_order() {
        let old = table([10, 9, 8, 0], 29);
        let names: Vec<NameBuf> = (0..6).map(|n| name(&format!("/n{n}"))).collect();
        names.iter().for_each(|name| {
            old.address_of(name);
        });
        let new = table([10, 9, 8, 0], 29);
        new.address_of(&name("/n5"));
        new.load(old.dump());
        new.load([("10.9.9.1".parse().unwrap(), name("/elsewhere"))]);
        assert_eq!(new.dump(), old.dump());
        assert_eq!(
            new.address_of(&name("/more")),
            old.address_of(&name("/more"))
        );
    }

    #[test]
    fn more_names_than_the_table_holds() {
        let table = table([198, 18, 0, 0], 15);
        for n in 0..MAX_NAMES + 10 {
            table.address_of(&name(&format!("/n{n}")));
        }
        assert_eq!(table.dump().len(), MAX_NAMES);
        assert_eq!(table.lock().by_name.len(), MAX_NAMES);
    }
}

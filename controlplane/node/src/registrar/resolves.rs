//! Streams of Resolve: a bounded number for each lease.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::MAX_RESOLVES;
use crate::lease::LeaseId;

/// How many there are, by lease.
#[derive(Debug, Clone, Default)]
pub(super) struct Resolves(Arc<Mutex<HashMap<LeaseId, usize>>>);

/// One stream; counted while it lives.
#[derive(Debug)]
pub(super) struct Place {
    lease: LeaseId,
    all: Resolves,
}

impl Resolves {
    /// A place for one more stream of `lease`, if it may have one.
    pub fn take(&self, lease: LeaseId) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(lease).or_insert(0);
        if *count >= MAX_RESOLVES {
            return None;
        }
        *count += 1;
        Some(Place {
            lease,
            all: self.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.lease) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.lease)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_its_share_and_gets_it_back() {
        let all = Resolves::default();
        let mut places: Vec<Place> = (0..MAX_RESOLVES)
            .map(|_| all.take(LeaseId(1)).unwrap())
            .collect();
        assert!(all.take(LeaseId(1)).is_none());
        assert!(all.take(LeaseId(2)).is_some());
        places.pop();
        places.push(all.take(LeaseId(1)).unwrap());
        drop(places);
        assert!(all.0.lock().unwrap().is_empty());
    }
}

//! Which prefixes the pods of this gateway serve, each counted by the leases that do.

use std::collections::HashMap;
use std::sync::Arc;

use dmsc_wire::{Domain, NameBuf};

use crate::lease::LeaseId;

/// A prefix of a tenant.
pub type Prefix = (Domain, NameBuf);

/// Prefixes with the number of leases that serve them.
#[derive(Debug, Default)]
pub struct Served {
    counts: HashMap<Prefix, usize>,
    by_lease: HashMap<LeaseId, (Domain, Arc<[NameBuf]>)>,
}

/// What is to be told to the link state.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Served now, and not before.
    pub announce: Vec<Prefix>,
    /// Served no more.
    pub withdraw: Vec<Prefix>,
}

impl Served {
    /// Number of prefixes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Brings the table in line with `leases` (those that can be reached); costs what changed, and one look at each lease.
    pub fn sync(&mut self, leases: Vec<(LeaseId, Domain, Arc<[NameBuf]>)>) -> News {
        let mut touched: HashMap<Prefix, usize> = HashMap::new();
        let now: HashMap<LeaseId, (Domain, Arc<[NameBuf]>)> = leases
            .into_iter()
            .map(|(id, domain, names)| (id, (domain, names)))
            .collect();
        let same = |id: &LeaseId,
                    one: &(Domain, Arc<[NameBuf]>),
                    other: &HashMap<LeaseId, (Domain, Arc<[NameBuf]>)>| {
            other
                .get(id)
                .is_some_and(|two| one.0 == two.0 && Arc::ptr_eq(&one.1, &two.1))
        };
        for (id, one) in &self.by_lease {
            if !same(id, one, &now) {
                for name in one.1.iter() {
                    let key = (one.0, name.clone());
                    let count = self.counts.entry(key.clone()).or_default();
                    touched.entry(key).or_insert(*count);
                    *count = count.saturating_sub(1);
                }
            }
        }
        for (id, one) in &now {
            if !same(id, one, &self.by_lease) {
                for name in one.1.iter() {
                    let key = (one.0, name.clone());
                    let count = self.counts.entry(key.clone()).or_default();
                    touched.entry(key).or_insert(*count);
                    *count += 1;
                }
            }
        }
        self.by_lease = now;
        let mut news = News::default();
        for (key, before) in touched {
            let after = self.counts.get(&key).copied().unwrap_or(0);
            if after == 0 {
                self.counts.remove(&key);
            }
            match (before, after) {
                (0, 1..) => news.announce.push(key),
                (1.., 0) => news.withdraw.push(key),
                _ => {}
            }
        }
        news.announce.sort_unstable();
        news.withdraw.sort_unstable();
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_announced_with_the_first_and_withdrawn_with_the_last() {
        let names = |list: &[&str]| -> Arc<[NameBuf]> {
            list.iter()
                .map(|name| NameBuf::parse(name).unwrap())
                .collect()
        };
        let key = |name: &str| (Domain(1), NameBuf::parse(name).unwrap());
        let (a, b) = (names(&["/a", "/b"]), names(&["/b"]));
        let one = (LeaseId(1), Domain(1), a);
        let two = (LeaseId(2), Domain(1), b);
        let mut served = Served::default();
        let news = served.sync(vec![one.clone()]);
        assert_eq!(news.announce, [key("/a"), key("/b")]);
        assert_eq!(served.sync(vec![one.clone(), two.clone()]), News::default());
        let news = served.sync(vec![two.clone()]);
        assert_eq!((news.announce.len(), news.withdraw), (0, vec![key("/a")]));
        let other = (LeaseId(2), Domain(1), names(&["/c", "/b"]));
        assert_eq!(served.sync(vec![other]).announce, [key("/c")]);
        assert_eq!(served.sync(vec![]).withdraw.len(), 2);
        assert!(served.is_empty());
    }
}

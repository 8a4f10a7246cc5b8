//! Who may take how much of the database. Each originator has a share for what it says of itself, another for statements that it repeats (revocations),
//! and its adjacency object has room in any case. Of what is too much for a share, that stays which comes first in an order that is the same at every
//! router (authorisations, prefixes, others; by kind and id; purges last): whatever order objects come in, all keep the same ones, and digests
//! become equal. Why this is so: an object is taken if it fits beside those before it, never mind those after it. Of two databases that tell each
//! other what they have, look at the first object in that order that only one of them has: it fits there beside those before it, which
//! both have, so the other one takes it too.

use bytes::Bytes;

use super::Engine;
use super::lsdb::{Lsdb, Size, Stored, bytes_of, is_statement};
use super::own::ADJACENCY_ID;
use super::parse::Parsed;
use super::receive::Refusal;
use crate::action::Alarm;
use crate::object::{Key, Kind, Object};

/// Bytes per object of the limits of one originator …
const BYTES_OF_ORIGIN: usize = 4_096;
/// … and of all: few are as large as they may be.
const BYTES_IN_ALL: usize = 2_048;
/// No originator takes more than this part of the database, …
const PART: usize = 4;
/// … for statements besides this part of that, …
const STATEMENTS: usize = 2;
/// … of which this node leaves this part free itself: others do not count purges at the same moment.
const FREE: usize = 8;

/// What is counted together, of each originator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// The adjacency object that counts: always fits, or a router could be pushed out of the graph by what it was told to pass on.
    Adjacency,
    /// Revocations by authorities and by the root.
    Statements,
    /// All others.
    Rest,
}

impl Share {
    /// Where an object is counted.
    pub fn of(key: Key) -> Self {
        match key.kind {
            Kind::ADJACENCY if key.id == ADJACENCY_ID => Self::Adjacency,
            kind if is_statement(kind) => Self::Statements,
            _ => Self::Rest,
        }
    }
}

/// Its place in the order in which objects of a share stay: what admits prefixes, then these; what the root
/// takes back, then what authorities do. Purges are not in the digest, so they are last.
pub fn rank(object: &Object) -> u8 {
    match object.key.kind {
        _ if object.is_purge() => u8::MAX,
        Kind::AUTHORISATION | Kind::ROOT_REVOCATION => 0,
        Kind::PREFIX | Kind::REVOCATION => 1,
        _ => 2,
    }
}

/// Limits of one share and of all.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of the share of one originator.
    pub share: Size,
    /// Objects of all.
    pub objects: usize,
    /// Bytes of all.
    pub bytes: usize,
}

/// What there would be.
struct Sum {
    share: Size,
    objects: usize,
    bytes: usize,
}

impl Sum {
    fn subtract(&mut self, stored: &Stored) {
        let bytes = bytes_of(&stored.object);
        self.objects = self.objects.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.share.objects = self.share.objects.saturating_sub(1);
        self.share.bytes = self.share.bytes.saturating_sub(bytes);
        self.share.prefixes = self.share.prefixes.saturating_sub(stored.prefixes);
    }
}

impl Limits {
    fn allow(&self, sum: &Sum) -> bool {
        sum.share.objects <= self.share.objects
            && sum.share.bytes <= self.share.bytes
            && sum.share.prefixes <= self.share.prefixes
            && sum.objects <= self.objects
            && sum.bytes <= self.bytes
    }
}

impl Lsdb {
    /// Which objects of its originator give way to an object that names so many prefixes: those of its share that come after it, the last one
    /// first, until it fits. `None`: it does not fit beside those before it.
    pub fn giving_way(&self, object: &Object, prefixes: usize, limits: Limits) -> Option<Vec<Key>> {
        let key = object.key;
        let old = self.get(key);
        let bytes = bytes_of(object);
        // What shrinks or stays as large always fits: a full database still follows the network.
        if old.is_some_and(|old| bytes <= bytes_of(&old.object) && prefixes <= old.prefixes) {
            return Some(Vec::new());
        }
        let mut sum = Sum {
            share: self.size_of(key.origin, Share::of(key)),
            objects: self.len() + 1,
            bytes: self.bytes() + bytes,
        };
        sum.share.objects += 1;
        sum.share.bytes += bytes;
        sum.share.prefixes += prefixes;
        if let Some(old) = old {
            sum.subtract(old);
        }
        let mut later = self.after(object).filter(|stored| stored.object.key != key);
        let mut giving_way = Vec::new();
        while !limits.allow(&sum) {
            let last = later.next()?;
            sum.subtract(last);
            giving_way.push(last.object.key);
        }
        Some(giving_way)
    }
}

impl Engine {
    fn limits(&self, key: Key) -> Limits {
        let config = &self.config;
        let mut objects = config.objects;
        let mut bytes = config.objects.saturating_mul(BYTES_IN_ALL);
        let of_origin = config.objects_per_origin.min(config.objects / PART);
        let of = |objects: usize| Size {
            objects,
            bytes: objects.saturating_mul(BYTES_OF_ORIGIN).min(bytes / PART),
            prefixes: config.prefixes_per_origin,
        };
        let share = match Share::of(key) {
            Share::Statements => of(of_origin / STATEMENTS),
            Share::Rest => of(of_origin),
            // One of each node, and nodes are certified.
            Share::Adjacency => {
                objects += objects / PART;
                bytes += bytes / PART;
                Size {
                    objects: 1,
                    bytes: usize::MAX,
                    prefixes: 0,
                }
            }
        };
        if key.origin == self.config.node {
            // Nobody pushes out what this node says.
            (objects, bytes) = (usize::MAX, usize::MAX);
        }
        Limits {
            share,
            objects,
            bytes,
        }
    }

    /// Whether an object fits, as far as is known before its body is looked at.
    pub(super) fn check_room(&mut self, object: &Object) -> Result<(), Refusal> {
        self.check_prefixes(object, 0)
    }

    /// Whether an object fits, and its originator may have so many prefixes.
    pub(super) fn check_prefixes(
        &mut self,
        object: &Object,
        prefixes: usize,
    ) -> Result<(), Refusal> {
        let limits = self.limits(object.key);
        match self.lsdb.giving_way(object, prefixes, limits) {
            Some(_) => Ok(()),
            None => Err(self.full()),
        }
    }

    /// Whether this node may carry one more statement. One by the root takes the place of others.
    pub(super) fn has_room_for_statement(&mut self, kind: Kind, body: &Bytes) -> bool {
        if kind == Kind::ROOT_REVOCATION {
            return true;
        }
        let limits = self.limits(self.own_key(Kind::REVOCATION, 0)).share;
        let size = self.lsdb.size_of(self.config.node, Share::Statements);
        let bytes = size.bytes + body.len() + self.signer.certificate().len();
        let has = size.objects < limits.objects - limits.objects / FREE
            && bytes <= limits.bytes - limits.bytes / FREE;
        if !has {
            let _ = self.full();
        }
        has
    }

    /// Removes what gives way to an object that was found to fit.
    pub(super) fn give_way(&mut self, object: &Object, prefixes: usize) {
        let limits = self.limits(object.key);
        let giving_way = self.lsdb.giving_way(object, prefixes, limits);
        for key in giving_way.into_iter().flatten() {
            let _ = self.full();
            let old = self.lsdb.remove(key);
            if let Some(old) = &old
                && old.object.is_purge()
            {
                self.bury(old.clone());
            }
            self.index(key, Parsed::Purge, &Bytes::new(), old);
        }
    }

    /// Something is refused, or gives way.
    fn full(&mut self) -> Refusal {
        self.full_at = Some(self.now.mono);
        self.raise(Alarm::DatabaseFull);
        Refusal::Full
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dmsc_wire::NodeId;

    use super::*;
    use crate::object::{FLAG_PURGE, Sequence};

    const LIMITS: Limits = Limits {
        share: Size {
            objects: 12,
            bytes: 1_500,
            prefixes: 40,
        },
        objects: 1_000,
        bytes: 1_000_000,
    };

    /// A sequence of numbers that looks random.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, most: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % most
        }
    }

    fn object(id: u64, numbers: &mut Numbers) -> (Object, usize) {
        let kind = Kind(u8::try_from(2 + numbers.below(2) + 70 * numbers.below(2)).unwrap());
        let purge = numbers.below(10) == 0;
        let size = usize::try_from(numbers.below(400)).unwrap();
        let prefixes = if kind == Kind::PREFIX && !purge {
            usize::try_from(numbers.below(15)).unwrap()
        } else {
            0
        };
        let object = Object {
            key: Key {
                kind,
                origin: NodeId(1),
                id,
            },
            flags: if purge { FLAG_PURGE } else { 0 },
            sequence: Sequence(1),
            lifetime_s: 3_600,
            area: 0,
            originated_at_ms: 0,
            body: Bytes::from(vec![0; if purge { 0 } else { size }]),
            signature: [0; 64],
            certificate: Bytes::new(),
            age_s: 0,
        };
        (object, prefixes)
    }

    /// Offers an object; whether anything changed.
    fn offer(lsdb: &mut Lsdb, (object, prefixes): &(Object, usize)) -> bool {
        if lsdb.get(object.key).is_some() {
            return false;
        }
        let Some(giving_way) = lsdb.giving_way(object, *prefixes, LIMITS) else {
            return false;
        };
        for key in giving_way {
            lsdb.remove(key).unwrap();
        }
        lsdb.insert(object.clone(), *prefixes, Duration::ZERO);
        let size = lsdb.size_of(object.key.origin, Share::Rest);
        assert!(size.objects <= 12 && size.bytes <= 1_500 && size.prefixes <= 40);
        true
    }

    #[test]
    fn two_databases_that_tell_each_other_all_become_equal() {
        for seed in 0..300 {
            let mut numbers = Numbers(seed);
            let all: Vec<(Object, usize)> = (0..60).map(|id| object(id, &mut numbers)).collect();
            let mut both = [Lsdb::default(), Lsdb::default()];
            for lsdb in &mut both {
                for _ in 0..100 {
                    let one = usize::try_from(numbers.below(60)).unwrap();
                    offer(lsdb, &all[one]);
                }
            }
            // What one has it tells the other, until neither takes anything more.
            for round in 0.. {
                assert!(round < 100, "they never end: {seed}");
                let mut changed = false;
                for at in 0..2 {
                    let has: Vec<Key> = both[at].iter().map(|(key, _)| key).collect();
                    for one in all.iter().filter(|one| has.contains(&one.0.key)) {
                        changed |= offer(&mut both[1 - at], one);
                    }
                }
                if !changed {
                    break;
                }
            }
            assert_eq!(both[0].digest(), both[1].digest(), "{seed}");
        }
    }
}

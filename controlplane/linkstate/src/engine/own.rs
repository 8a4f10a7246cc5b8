//! Own objects: their numbering and their refreshing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::Engine;
use super::body::{AdjacencyBody, Link, encode_adjacency};
use super::bucket::Bucket;
use super::duplicate::Fights;
use super::parse::Parsed;
use super::stage::Stage;
use crate::action::Alarm;
use crate::object::{FLAG_PURGE, Key, Kind, Object, Sequence};

/// An authorisation that was replaced is withdrawn so much later, when its successor has arrived everywhere.
pub const REPLACED: Duration = Duration::from_secs(2);
/// Between two objects, when all are refreshed: slower than what a neighbour takes.
const REFRESHED: Duration = Duration::from_millis(1);
/// The one adjacency object.
pub const ADJACENCY_ID: u64 = 1;

/// An authorisation of this gateway.
#[derive(Debug)]
pub struct OwnAuthorisation {
    /// Its body.
    pub body: Bytes,
    /// From an earlier process, and not yet given to this one.
    pub adopted: bool,
    /// When it is withdrawn.
    pub drop_at: Option<Duration>,
}

/// What this node originates, besides prefixes.
#[derive(Debug, Default)]
pub struct Own {
    /// Lower half of the last sequence.
    counter: u32,
    /// Links of the adjacency object, as they are told.
    pub links: Vec<Link>,
    /// When the adjacency object is looked at.
    pub adjacency_due: Option<Duration>,
    /// When prefixes are put into objects.
    pub prefixes_due: Option<Duration>,
    /// Prefix objects to be told.
    pub objects: BTreeSet<u64>,
    /// By id.
    pub authorisations: BTreeMap<u64, OwnAuthorisation>,
    /// Revocations that this node passes on.
    pub statements: BTreeMap<Key, Bytes>,
    /// How many of those that were given to this node are said without waiting for others.
    pub at_once: Option<Bucket>,
    refresh: BTreeSet<(Duration, Key)>,
    refresh_of: BTreeMap<Key, Duration>,
    /// Others who speak with this node's id.
    pub fights: Fights,
}

impl Own {
    /// When the next own object is due, for whatever reason; prefixes only if the node `may_attract`.
    pub fn deadline(&self, may_attract: bool) -> Option<Duration> {
        let drop = self
            .authorisations
            .values()
            .filter_map(|own| own.drop_at)
            .min();
        let refresh = self.refresh.first().map(|(at, _)| *at);
        [
            self.adjacency_due,
            self.prefixes_due.filter(|_| may_attract),
            drop,
            refresh,
            self.fights.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Refreshes an object after a third of its life, each at another moment.
    pub fn schedule_refresh(&mut self, key: Key, lifetime_s: u32, now: Duration) {
        self.forget(key);
        let third = Duration::from_secs(u64::from(lifetime_s)) / 3;
        let spread = (key.id ^ (key.id >> 32) ^ u64::from(key.kind.0)) % 64;
        let at = now + third - third / 256 * u32::try_from(spread).unwrap_or(0);
        self.refresh.insert((at, key));
        self.refresh_of.insert(key, at);
    }

    /// Refreshes all objects soon, one after the other.
    pub fn refresh_all(&mut self, now: Duration) {
        self.refresh.clear();
        let mut at = now;
        for (key, refresh) in &mut self.refresh_of {
            *refresh = at;
            self.refresh.insert((at, *key));
            at += REFRESHED;
        }
    }

    /// No longer refreshes it.
    fn forget(&mut self, key: Key) {
        if let Some(at) = self.refresh_of.remove(&key) {
            self.refresh.remove(&(at, key));
        }
    }

    fn take_refresh(&mut self, now: Duration) -> Option<Key> {
        let (at, key) = *self.refresh.first()?;
        if at > now {
            return None;
        }
        self.forget(key);
        Some(key)
    }
}

impl Engine {
    /// A key of this node.
    pub(super) fn own_key(&self, kind: Kind, id: u64) -> Key {
        Key {
            kind,
            origin: self.config.node,
            id,
        }
    }

    /// Whether transit through this node is refused: until the dataplane has the first tables, and while it is drained.
    pub(super) fn overloaded(&self) -> bool {
        self.start.draining || !self.start.may_attract()
    }

    /// The adjacency object is looked at after `delay`; never sooner after the last than others take it.
    pub(super) fn touch_adjacency(&mut self, delay: Duration) {
        let now = self.now.mono;
        let last = self
            .lsdb
            .get(self.own_key(Kind::ADJACENCY, ADJACENCY_ID))
            .map(|stored| stored.since + self.config.min_arrival);
        let due = last.map_or(now + delay, |last| last.max(now + delay));
        let due = self.own.adjacency_due.map_or(due, |before| before.min(due));
        self.own.adjacency_due = Some(due);
    }

    /// Prefixes are put into objects soon.
    pub(super) fn touch_prefixes(&mut self) {
        let due = self.now.mono + self.config.originate_delay;
        self.own.prefixes_due.get_or_insert(due);
    }

    /// What this node says under a key; `None`: nothing.
    pub(super) fn own_body(&self, key: Key) -> Option<Bytes> {
        if self.start.left {
            return None;
        }
        match key.kind {
            Kind::ADJACENCY if key.id == ADJACENCY_ID => {
                let text = |text: &str| {
                    let end = (0..=text.len().min(64))
                        .rev()
                        .find(|at| text.is_char_boundary(*at));
                    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
                };
                Some(encode_adjacency(&AdjacencyBody {
                    links: self.own.links.clone(),
                    overload: self.overloaded(),
                    name: text(&self.config.name),
                    role: text(self.config.role),
                    software: text(&self.config.software),
                    hello_version_max: 1,
                }))
            }
            Kind::PREFIX => self.announced.body(key.id),
            Kind::AUTHORISATION => self
                .own
                .authorisations
                .get(&key.id)
                .map(|own| own.body.clone()),
            Kind::REVOCATION | Kind::ROOT_REVOCATION => self.own.statements.get(&key).cloned(),
            _ => None,
        }
    }

    /// Tells the others what this node says under a key now, if that is something else than before.
    pub(super) fn tell(&mut self, key: Key) {
        let body = self.own_body(key);
        let live = self.lsdb.live(key).map(|stored| &stored.object.body);
        if live != body.as_ref() {
            self.originate(key, body);
        }
    }

    /// Originates a new version of an own object, or its purge (`None`).
    pub(super) fn originate(&mut self, key: Key, body: Option<Bytes>) {
        let next = (u64::from(self.config.boot_epoch) << 32) | u64::from(self.own.counter);
        let seen = [
            self.lsdb.get(key).map(|stored| stored.object.sequence),
            self.own.fights.seen(key),
            self.buried.version(key).map(|version| version.0),
        ];
        let Some(sequence) = seen
            .into_iter()
            .flatten()
            .map(|seen| seen.0.checked_add(1))
            .try_fold(next, |next, seen| seen.map(|seen| next.max(seen)))
        else {
            // The last sequence that there is was used by somebody with our key: nothing can be said under this key any more.
            self.raise(Alarm::DuplicateNodeId);
            return;
        };
        self.own.counter = self.own.counter.saturating_add(1);
        let purge = body.is_none();
        let mut object = Object {
            key,
            flags: if purge { FLAG_PURGE } else { 0 },
            sequence: Sequence(sequence),
            lifetime_s: self.config.lifetime_s,
            area: self.config.area,
            originated_at_ms: u64::try_from(self.now.wall.as_millis()).unwrap_or(u64::MAX),
            body: body.unwrap_or_default(),
            signature: [0; 64],
            certificate: self.signer.certificate(),
            age_s: 0,
        };
        object.signature = self.signer.sign(&object.signed_bytes());
        let now = self.now.mono;
        if purge {
            self.own.forget(key);
        } else {
            self.own.schedule_refresh(key, self.config.lifetime_s, now);
        }
        let parsed = match self.unchanged(&object) {
            Some(parsed) => parsed,
            None => self.parse(&object).unwrap_or(Parsed::Opaque),
        };
        let prefixes = match &parsed {
            Parsed::Prefixes(prefixes) => prefixes.len(),
            _ => 0,
        };
        // The others would refuse it; what is there of it stays until it fits, when it is refreshed next.
        if self.check_prefixes(&object, prefixes).is_err() {
            return;
        }
        self.accept(object, parsed, None, now);
    }

    /// Own objects whose time has come.
    pub(super) fn originate_due(&mut self) {
        let now = self.now.mono;
        if !self.start.ready || self.start.left {
            return;
        }
        if self.own.adjacency_due.is_some_and(|due| due <= now) {
            self.own.adjacency_due = None;
            let links = self.links.list(now, self.restart());
            let before = std::mem::replace(&mut self.own.links, links);
            let ways = |links: &[Link]| links.iter().map(Link::edge).collect::<Vec<_>>();
            if ways(&before) != ways(&self.own.links) {
                self.backoff.trigger(now);
            }
            self.tell(self.own_key(Kind::ADJACENCY, ADJACENCY_ID));
        }
        self.drop_authorisations();
        if self.announced.undamp(now) {
            self.own.prefixes_due.get_or_insert(now);
        }
        if self.start.may_attract() && self.own.prefixes_due.is_some_and(|due| due <= now) {
            self.own.prefixes_due = None;
            self.place_prefixes();
        }
        while let Some(key) = self.own.take_refresh(now) {
            let body = self.own_body(key);
            self.originate(key, body);
        }
    }

    fn drop_authorisations(&mut self) {
        let now = self.now.mono;
        let dropped: Vec<u64> = self
            .own
            .authorisations
            .iter()
            .filter(|(_, own)| own.drop_at.is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in dropped {
            self.own.authorisations.remove(&id);
            self.tell(self.own_key(Kind::AUTHORISATION, id));
        }
    }

    fn place_prefixes(&mut self) {
        let now = self.now.mono;
        let draining = self.start.draining;
        let mut announced = std::mem::take(&mut self.announced);
        let changed = announced.place(|place| !draining && self.may_announce(place));
        self.announced = announced;
        self.own.objects.extend(changed);
        let mut later = BTreeSet::new();
        for id in std::mem::take(&mut self.own.objects) {
            let key = self.own_key(Kind::PREFIX, id);
            let free = self
                .lsdb
                .get(key)
                .map_or(now, |stored| stored.since + self.config.min_arrival);
            if free > now && !draining {
                later.insert(id);
                let due = self.own.prefixes_due.map_or(free, |due| due.min(free));
                self.own.prefixes_due = Some(due);
                continue;
            }
            let before = self
                .lsdb
                .live(key)
                .map(|stored| stored.object.originated_at_ms);
            for (_, announced) in self.announced.announced_at(id) {
                if before.is_none_or(|before| announced > before) {
                    self.stages
                        .push_since(Stage::AnnouncedOriginated, announced, self.now.wall);
                }
            }
            self.tell(key);
        }
        self.own.objects = later;
    }

    /// This node ends: everything that it said is taken back.
    pub(super) fn leave(&mut self) {
        self.start.left = true;
        let node = self.config.node;
        let own: Vec<Key> = self
            .lsdb
            .iter()
            .filter(|(key, stored)| key.origin == node && !stored.object.is_purge())
            .map(|(key, _)| key)
            .collect();
        for key in own {
            self.originate(key, None);
        }
    }
}

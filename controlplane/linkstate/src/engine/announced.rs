//! Prefixes of the own gateway: what pods want, packed into objects of at most 64 so that one changed prefix rewrites one object.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use dmsc_wire::{Domain, NameBuf};

use super::body::{MAX_PREFIXES, Prefix, encode_prefixes};

/// Domain and name.
pub type Place = (Domain, NameBuf);

/// A prefix that changes more often than this in [`DAMPING_TIME`] …
const DAMPING_CHANGES: usize = 10;
/// … is damped.
const DAMPING_TIME: Duration = Duration::from_secs(10);
/// A damped prefix is announced at most so often.
const DAMPED: Duration = Duration::from_secs(1);

/// What this gateway announces.
#[derive(Debug, Default)]
pub struct Announced {
    wanted: BTreeMap<Place, Prefix>,
    /// Of an earlier process, not yet announced to this one.
    adopted: BTreeSet<Place>,
    placed: BTreeMap<Place, u64>,
    objects: BTreeMap<u64, BTreeMap<Place, Prefix>>,
    open: BTreeSet<u64>,
    /// Adopted: the others may have another body of it than is here.
    rewritten: BTreeSet<u64>,
    next: u64,
    dirty: BTreeSet<Place>,
    later: BTreeSet<(Duration, Place)>,
    damped: HashSet<Place>,
    changes: HashMap<Place, VecDeque<Duration>>,
    changed_at: VecDeque<(Duration, Place)>,
}

impl Announced {
    /// Wanted prefixes at or below a name, in all domains, that are in no object; from after one on.
    pub fn unplaced<'a>(
        &'a self,
        under: Option<&'a NameBuf>,
        after: Option<&'a Place>,
    ) -> impl Iterator<Item = &'a Prefix> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.wanted
            .range::<Place, _>((from, Bound::Unbounded))
            .filter(move |((_, name), _)| {
                under.is_none_or(|under| under.as_name().is_prefix_of(name.as_name()))
            })
            .filter(|(place, _)| !self.placed.contains_key(*place))
            .map(|(_, prefix)| prefix)
    }

    /// A pod wants it, or wants it changed; whether that is a change.
    pub fn announce(&mut self, prefix: Prefix, now: Duration) -> bool {
        let place = (prefix.domain, prefix.name.clone());
        self.adopted.remove(&place);
        let same = self
            .wanted
            .get(&place)
            .is_some_and(|old| (old.metric, old.weight) == (prefix.metric, prefix.weight));
        if same {
            return false;
        }
        self.wanted.insert(place.clone(), prefix);
        self.change(place, now);
        true
    }

    /// No pod wants it any more; whether one did. That is never damped: what is gone attracts nothing.
    pub fn withdraw(&mut self, place: Place, now: Duration) -> bool {
        self.adopted.remove(&place);
        if self.wanted.remove(&place).is_none() {
            return false;
        }
        self.forget_changes(now);
        self.count(&place, now);
        self.dirty.insert(place);
        true
    }

    /// An object of an earlier process, or a newer version of one: its prefixes stay where they are. One that is in another object already is
    /// to be taken out of this one.
    pub fn adopt(&mut self, id: u64, prefixes: &[Prefix]) {
        self.next = self.next.max(id);
        for place in self.objects.remove(&id).unwrap_or_default().into_keys() {
            self.placed.remove(&place);
            if self.adopted.remove(&place) {
                self.wanted.remove(&place);
            }
            self.dirty.insert(place);
        }
        self.rewritten.insert(id);
        for prefix in prefixes {
            let place = (prefix.domain, prefix.name.clone());
            if self.placed.contains_key(&place) {
                continue;
            }
            if !self.wanted.contains_key(&place) {
                self.wanted.insert(place.clone(), prefix.clone());
                self.adopted.insert(place.clone());
            }
            self.placed.insert(place.clone(), id);
            self.dirty.insert(place.clone());
            self.objects
                .entry(id)
                .or_default()
                .insert(place, prefix.clone());
        }
        self.note_room(id);
    }

    /// Adopted prefixes that nobody announced since are withdrawn.
    pub fn end_adoption(&mut self) {
        for place in std::mem::take(&mut self.adopted) {
            self.wanted.remove(&place);
            self.dirty.insert(place);
        }
    }

    /// Forgets changes that no longer count.
    pub fn forget_changes(&mut self, now: Duration) {
        while let Some((at, _)) = self.changed_at.front()
            && now.saturating_sub(*at) > DAMPING_TIME
        {
            let Some((_, place)) = self.changed_at.pop_front() else {
                break;
            };
            if let Some(times) = self.changes.get_mut(&place) {
                times.pop_front();
                if times.is_empty() {
                    self.changes.remove(&place);
                }
            }
        }
    }

    /// Counts a change; whether there were too many. The history of one prefix does not grow.
    fn count(&mut self, place: &Place, now: Duration) -> bool {
        let times = self.changes.entry(place.clone()).or_default();
        if times.len() >= DAMPING_CHANGES {
            return true;
        }
        times.push_back(now);
        self.changed_at.push_back((now, place.clone()));
        false
    }

    fn change(&mut self, place: Place, now: Duration) {
        self.forget_changes(now);
        if !self.count(&place, now) {
            self.dirty.insert(place);
        } else if self.damped.insert(place.clone()) {
            self.later.insert((now + DAMPED, place));
        }
    }

    /// Its authorisation changed: look at it again.
    pub fn touch(&mut self, domain: Domain, name: Option<&NameBuf>) {
        let found: Vec<Place> = match name {
            Some(name) => self
                .wanted
                .range((domain, name.clone())..)
                .take_while(|((at, below), _)| {
                    *at == domain && name.as_name().is_prefix_of(below.as_name())
                })
                .map(|(place, _)| place.clone())
                .collect(),
            None => self
                .wanted
                .keys()
                .filter(|(at, _)| *at == domain)
                .cloned()
                .collect(),
        };
        self.dirty.extend(found);
    }

    /// Everything is to be looked at again.
    pub fn touch_all(&mut self) {
        self.dirty.extend(self.wanted.keys().cloned());
    }

    /// Whether something is to be looked at.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// When a damped prefix is due.
    pub fn deadline(&self) -> Option<Duration> {
        self.later.first().map(|(at, _)| *at)
    }

    /// Damped prefixes whose time has come are to be looked at; whether there are some.
    pub fn undamp(&mut self, now: Duration) -> bool {
        let mut some = false;
        while let Some((at, _)) = self.later.first()
            && *at <= now
        {
            if let Some((_, place)) = self.later.pop_first() {
                self.damped.remove(&place);
                self.dirty.insert(place);
                some = true;
            }
        }
        some
    }

    /// Puts into objects what may be announced, takes out what may not; the objects that changed.
    pub fn place(&mut self, may: impl Fn(&Place) -> bool) -> BTreeSet<u64> {
        let mut changed = std::mem::take(&mut self.rewritten);
        for place in std::mem::take(&mut self.dirty) {
            let wanted = self.wanted.get(&place).filter(|_| may(&place)).cloned();
            let damped = self.damped.contains(&place);
            match (wanted, self.placed.get(&place).copied()) {
                (Some(_), _) if damped => {} // as it is until its time has come
                (Some(prefix), Some(id)) => {
                    let object = self.objects.entry(id).or_default();
                    if object.get(&place) != Some(&prefix) {
                        object.insert(place, prefix);
                        changed.insert(id);
                    }
                }
                (Some(prefix), None) => {
                    let id = self.room();
                    self.objects
                        .entry(id)
                        .or_default()
                        .insert(place.clone(), prefix);
                    self.placed.insert(place, id);
                    self.note_room(id);
                    changed.insert(id);
                }
                (None, Some(id)) => {
                    self.placed.remove(&place);
                    if let Some(object) = self.objects.get_mut(&id) {
                        object.remove(&place);
                    }
                    self.note_room(id);
                    changed.insert(id);
                }
                (None, None) => {}
            }
        }
        changed
    }

    fn room(&mut self) -> u64 {
        if let Some(id) = self.open.first() {
            return *id;
        }
        self.next = self.next.saturating_add(1);
        self.next
    }

    fn note_room(&mut self, id: u64) {
        let count = self.objects.get(&id).map_or(0, BTreeMap::len);
        if count < MAX_PREFIXES {
            self.open.insert(id);
        } else {
            self.open.remove(&id);
        }
        if count == 0 {
            self.objects.remove(&id);
        }
    }

    /// The body of an object; `None`: it is empty.
    pub fn body(&self, id: u64) -> Option<Bytes> {
        let object = self.objects.get(&id)?;
        Some(encode_prefixes(object.values()))
    }

    /// When the prefixes of an object were announced, wall clock, ms.
    pub fn announced_at(&self, id: u64) -> impl Iterator<Item = (&Place, u64)> {
        self.objects
            .get(&id)
            .into_iter()
            .flatten()
            .map(|(place, prefix)| (place, prefix.announced_at_ms))
    }
}

#[cfg(test)]
#[path = "announced/tests.rs"]
mod tests;

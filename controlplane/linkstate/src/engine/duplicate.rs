//! Somebody else speaks with this node's id: an earlier life of this node, or a second node with its key.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Engine;
use super::parse::Parsed;
use super::receive::Refusal;
use crate::action::Alarm;
use crate::event::SessionId;
use crate::object::{Key, Kind, Object, Sequence};

/// Between two answers for one object.
const PAUSE: Duration = Duration::from_secs(5);
/// So many answers for one object …
const ANSWERS: usize = 3;
/// … in this time are too many: there is a second node.
const WITHIN: Duration = Duration::from_secs(60);
/// The second node was silent for this long: it is gone.
const SILENCE: Duration = Duration::from_secs(600);
/// Most objects that are answered for.
const MOST: usize = 1_000;

#[derive(Debug, Default)]
struct Fight {
    seen: Sequence,
    answered: VecDeque<Duration>,
    due: Option<Duration>,
}

/// Answers to objects that carry this node's id.
#[derive(Debug, Default)]
pub struct Fights {
    fights: BTreeMap<Key, Fight>,
    stopped: Option<Duration>,
}

impl Fights {
    /// The newest foreign version.
    pub fn seen(&self, key: Key) -> Option<Sequence> {
        self.fights.get(&key).map(|fight| fight.seen)
    }

    /// When to answer next.
    pub fn deadline(&self) -> Option<Duration> {
        self.fights.values().filter_map(|fight| fight.due).min()
    }

    fn note(&mut self, key: Key, sequence: Sequence, now: Duration) {
        if self.fights.len() >= MOST && !self.fights.contains_key(&key) {
            return;
        }
        let fight = self.fights.entry(key).or_default();
        fight.seen = fight.seen.max(sequence);
        let free = fight.answered.back().map_or(now, |last| *last + PAUSE);
        fight.due.get_or_insert(free.max(now));
    }

    fn take(&mut self, now: Duration) -> Option<Key> {
        let (key, fight) = self
            .fights
            .iter_mut()
            .find(|(_, fight)| fight.due.is_some_and(|due| due <= now))?;
        fight.due = None;
        fight.answered.push_back(now);
        while let Some(first) = fight.answered.front()
            && now.saturating_sub(*first) > WITHIN
        {
            fight.answered.pop_front();
        }
        if fight.answered.len() >= ANSWERS {
            self.stopped = Some(now);
        }
        Some(*key)
    }

    /// Forgets old answers; whether the second node is gone.
    pub fn forget(&mut self, now: Duration) -> bool {
        self.fights.retain(|_, fight| {
            fight.due.is_some()
                || fight
                    .answered
                    .back()
                    .is_some_and(|last| now.saturating_sub(*last) <= WITHIN)
        });
        let over = self
            .stopped
            .is_some_and(|last| now.saturating_sub(last) > SILENCE);
        if over {
            self.stopped = None;
        }
        over
    }
}

impl Engine {
    /// An object under this node's id that is newer than what this node said, with a good signature.
    pub(super) fn receive_own(
        &mut self,
        session: SessionId,
        object: Object,
        received: Duration,
    ) -> Result<(), Refusal> {
        let now = self.now.mono;
        let key = object.key;
        if self.start.adopting && !self.start.ready {
            return self.adopt(session, object, received);
        }
        if self.own.fights.stopped.is_some() {
            self.own.fights.stopped = Some(now);
            if self
                .newest(key)
                .is_some_and(|known| object.version() <= known)
            {
                return Err(Refusal::Known); // under the same sequence, but not the one that the others keep
            }
            self.check_room(&object)?;
            // Both stay as they are; the others decide by sequence. Passed on, so that digests agree; not used.
            self.accept(object, Parsed::Opaque, Some(session), received);
            return Ok(());
        }
        if object.is_purge() && self.own_body(key).is_none() {
            self.check_room(&object)?;
            self.accept(object, Parsed::Opaque, Some(session), received);
            return Ok(());
        }
        self.own.fights.note(key, object.sequence, now);
        Ok(())
    }

    /// Jumps above foreign versions, as often as is good.
    pub(super) fn answer_due(&mut self) {
        let now = self.now.mono;
        while let Some(key) = self.own.fights.take(now) {
            let body = self.own_body(key);
            self.originate(key, body);
            if self.own.fights.stopped.is_some() {
                self.raise(Alarm::DuplicateNodeId);
            }
        }
    }

    /// What an earlier process of this node said: known to the others, so known here until this process speaks.
    fn adopt(
        &mut self,
        session: SessionId,
        object: Object,
        received: Duration,
    ) -> Result<(), Refusal> {
        let key = object.key;
        self.check_room(&object)?;
        let parsed = self.parse(&object)?;
        if let Parsed::Prefixes(prefixes) = &parsed {
            self.check_prefixes(&object, prefixes.len())?;
        }
        match &parsed {
            Parsed::Adjacency(body) if self.start.is_restart() => {
                for link in &body.links {
                    if let Some((id, peer_id)) = link.ids() {
                        self.links.adopt(id, link.peer(), peer_id);
                    }
                }
            }
            Parsed::Prefixes(prefixes) => self.announced.adopt(key.id, prefixes),
            Parsed::Purge if key.kind == Kind::PREFIX => self.announced.adopt(key.id, &[]),
            Parsed::Authorisation(_) => {
                let own = super::own::OwnAuthorisation {
                    body: object.body.clone(),
                    adopted: true,
                    drop_at: None,
                };
                self.own.authorisations.entry(key.id).or_insert(own);
            }
            Parsed::Revocation(_) | Parsed::RootRevocation(_) => {
                self.own.statements.insert(key, object.body.clone());
            }
            _ => {}
        }
        if key.kind != Kind::ADJACENCY && !object.is_purge() {
            // It may have waited long for this process.
            let left = object.lifetime_s.saturating_sub(object.age_s);
            self.own.schedule_refresh(key, left, self.now.mono);
        }
        self.accept(object, parsed, Some(session), received);
        Ok(())
    }
}

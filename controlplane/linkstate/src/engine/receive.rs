//! An object from a neighbour, checked in order of price (design §6), accepted and flooded.

use std::time::Duration;

use thiserror::Error;

use super::Engine;
use super::body::BodyError;
use super::bucket::{KNOWN, NEW};
use super::lsdb::{Stored, bucket_of};
use super::parse::Parsed;
use super::stage::Stage;
use crate::action::Action;
use crate::event::SessionId;
use crate::message::Message;
use crate::object::{Key, Kind, Object, Version};
use crate::time::Now;
use crate::trust::{NodeKey, TrustError};

/// After the last change the neighbours are told the digest.
const QUIET: Duration = Duration::from_millis(50);

/// This part of what may be in the database is remembered when it is over.
const BURIED: usize = 4;

/// Why an object is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The neighbour sends more than it may; the rest of its message is not looked at.
    #[error("the neighbour sends more objects than it may")]
    OverLimit,
    /// Against the protocol: the stream ends.
    #[error("larger than any object may be")]
    TooLarge,
    /// Against the rules.
    #[error("{0}")]
    Malformed(&'static str),
    /// Its time is over.
    #[error("its lifetime is over")]
    Over,
    /// Not newer than what is here.
    #[error("not newer than what is here")]
    Known,
    /// There is no room.
    #[error("the database is full")]
    Full,
    /// The signature is not the originator's.
    #[error("bad signature")]
    Signature,
    /// The body is wrong.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A certificate or statement is not believed.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl Engine {
    /// A message of a neighbour.
    pub(super) fn receive(&mut self, session: SessionId, message: Message) {
        let now = self.now.mono;
        let Some(state) = self.sessions.get_mut(&session) else {
            return;
        };
        if state.closing {
            return;
        }
        state.heard_at = now;
        match message {
            Message::Flood(objects) => self.receive_objects(session, objects),
            Message::Digest { digest, restoring } => {
                self.receive_digest(session, digest, restoring);
            }
            Message::Summary {
                bucket_mask,
                headers,
                from,
                to,
            } => self.receive_summary(session, bucket_mask, &headers, (from, to)),
            Message::Request(keys) => self.receive_request(session, keys),
        }
    }

    fn receive_objects(&mut self, session: SessionId, objects: Vec<Object>) {
        let mut left = objects.len() as u64;
        for object in objects {
            match self.receive_object(session, object) {
                Ok(()) | Err(Refusal::Known) => {}
                Err(refusal) => {
                    let end = matches!(refusal, Refusal::OverLimit | Refusal::TooLarge);
                    let count = if refusal == Refusal::OverLimit {
                        left
                    } else {
                        1
                    };
                    if refusal == Refusal::TooLarge {
                        self.close(session, "sent an object that is larger than any may be");
                    }
                    self.count_refusal(session, refusal, count);
                    if end {
                        return;
                    }
                }
            }
            left -= 1;
        }
    }

    fn count_refusal(&mut self, session: SessionId, refusal: Refusal, count: u64) {
        let now = self.now.mono;
        if let Some(state) = self.sessions.get_mut(&session) {
            state.refused = state.refused.saturating_add(count);
            if refusal == Refusal::OverLimit
                && let Some(pace) = self.paces.get_mut(&state.link)
            {
                pace.exchange.reset(now); // what was not looked at is learned by digest
            }
            state.last_refusal = Some(refusal);
        }
    }

    fn receive_object(&mut self, session: SessionId, mut object: Object) -> Result<(), Refusal> {
        let now = self.now.mono;
        let key = object.key;
        object.age_s = self.believed_age_s(&object);
        self.check_shape(&object)?;
        let known = self.newest(key).is_some_and(|known| {
            let own = key.origin == self.config.node;
            if own && known.0 == object.sequence {
                known.1 == object.tag() // another one under the same number is not by this process
            } else {
                object.version() <= known
            }
        });
        let Some(state) = self.sessions.get_mut(&session) else {
            return Err(Refusal::Known);
        };
        // What is not newer costs one look-up, and is paid for as such.
        let cost = if known { KNOWN } else { NEW };
        let pace = self.paces.get_mut(&state.link);
        if !pace.is_some_and(|pace| pace.bucket.take(cost, now)) {
            return Err(Refusal::OverLimit);
        }
        if known {
            if self
                .lsdb
                .get(key)
                .is_some_and(|stored| stored.object.version() == object.version())
            {
                state.send.remove(key);
                self.extend(key, object.age_s);
            } else if self.buried.version(key) > Some(object.version()) {
                state.send.insert_version(key, true); // it missed the purge
            }
            return Err(Refusal::Known);
        }
        if key.origin == self.config.node {
            self.verify(&object)?;
            return self.receive_own(session, object, now);
        }
        let early = self
            .lsdb
            .get(key)
            .map(|stored| stored.since + self.config.min_arrival)
            .filter(|free| *free > now);
        self.check_room(&object)?;
        self.verify(&object)?;
        if let Some(due) = early {
            return if self.deferred.insert(object, session, now, due) {
                Ok(())
            } else {
                Err(Refusal::Full)
            };
        }
        self.admit(session, object, now)
    }

    /// The newest version of an object that is here, wherever it is.
    pub(super) fn newest(&self, key: Key) -> Option<Version> {
        let stored = |stored: &Stored| stored.object.version();
        [
            self.lsdb.get(key).map(stored),
            self.waiting.get(key).map(stored),
            self.deferred.get(key).map(|later| later.object.version()),
            self.buried.version(key),
        ]
        .into_iter()
        .flatten()
        .max()
    }

    /// The key that signs for its originator, by the certificate that the object brings.
    pub(super) fn key_of(&mut self, object: &Object) -> Result<NodeKey, Refusal> {
        let origin = object.key.origin;
        let mut key = self.trust.node_key(origin, &object.certificate, self.now);
        if key == Err(TrustError::Validity) && self.clock.is_frozen() {
            // Which of two times is right is found out by what others show: they must be heard.
            let shown = Now {
                wall: self.clock.shown(self.now.mono),
                ..self.now
            };
            key = self.trust.node_key(origin, &object.certificate, shown);
        }
        Ok(key?)
    }

    fn verify(&mut self, object: &Object) -> Result<(), Refusal> {
        let NodeKey { key, .. } = self.key_of(object)?;
        if self
            .trust
            .verify(&key, &object.signed_bytes(), &object.signature)
        {
            Ok(())
        } else {
            Err(Refusal::Signature)
        }
    }

    /// A verified object whose time has come: accepted, or held until it is authorised.
    pub(super) fn admit(
        &mut self,
        session: SessionId,
        object: Object,
        received: Duration,
    ) -> Result<(), Refusal> {
        self.check_room(&object)?; // others may have come since it was put off
        let parsed = match self.unchanged(&object) {
            Some(parsed) => parsed,
            None => self.parse(&object)?,
        };
        if let Parsed::Prefixes(prefixes) = &parsed {
            self.check_prefixes(&object, prefixes.len())?;
            if !self.admissible(object.key.origin, prefixes) {
                return if self.waiting.insert(object, received) {
                    Ok(())
                } else {
                    Err(Refusal::Full)
                };
            }
        }
        let is_new = self.lsdb.live(object.key).is_none();
        if let Some(state) = self.sessions.get_mut(&session) {
            state.accepted = state.accepted.saturating_add(1);
            if let Some(pace) = self.paces.get_mut(&state.link) {
                let bucket = bucket_of(object.key);
                let size = self.lsdb.bucket_len(bucket);
                pace.exchange.accepted(bucket, size, is_new);
            }
        }
        self.accept(object, parsed, Some(session), received);
        Ok(())
    }

    /// A body that is that of the version before was looked at then: a statement is verified, and of prefixes that are all in use none is judged
    /// again (what they depend on is judged when it changes).
    pub(super) fn unchanged(&self, object: &Object) -> Option<Parsed> {
        let key = object.key;
        let stored = self.lsdb.live(key)?;
        if stored.object.body != object.body || object.is_purge() {
            return None;
        }
        match key.kind {
            Kind::AUTHORISATION => {
                let authorisation = self.authorisations.get(key.origin, key.id)?;
                Some(Parsed::Authorisation(authorisation.clone()))
            }
            Kind::PREFIX
                if stored.prefixes > 0
                    && self.rib.is_installed(key.origin, key.id, stored.prefixes) =>
            {
                Some(Parsed::Unchanged)
            }
            _ => None,
        }
    }

    /// Takes an object into the database and tells all neighbours but `from`.
    pub(super) fn accept(
        &mut self,
        mut object: Object,
        parsed: Parsed,
        from: Option<SessionId>,
        received: Duration,
    ) {
        let now = self.now.mono;
        let key = object.key;
        let waited = now.saturating_sub(received);
        if from.is_some() {
            self.stages.push(Stage::ReceivedVerified, waited);
            if key.origin != self.config.node {
                let originated = object.originated_at_ms;
                self.stages
                    .push_since(Stage::OriginatedReceived, originated, self.now.wall);
            }
        }
        object.age_s = object
            .age_s
            .saturating_add(u32::try_from(waited.as_secs()).unwrap_or(u32::MAX));
        if self
            .waiting
            .get(key)
            .is_some_and(|waiting| waiting.object.version() <= object.version())
        {
            self.waiting.remove(key);
        }
        for (id, state) in &mut self.sessions {
            state.wanted.remove(key);
            if Some(*id) == from {
                state.send.remove(key);
            } else {
                state.send.insert_version(key, object.is_purge());
            }
        }
        let body = object.body.clone();
        let prefixes = match &parsed {
            Parsed::Prefixes(prefixes) => prefixes.len(),
            Parsed::Unchanged => self.lsdb.get(key).map_or(0, |stored| stored.prefixes),
            _ => 0,
        };
        self.give_way(&object, prefixes);
        let old = self.lsdb.insert(object, prefixes, now);
        self.bound_shadow(key, old.as_ref());
        if let Some(before) = self.buried.remove(key) {
            self.lsdb.shade(key, before.shadow);
        }
        self.bound(key);
        self.quiet_at = Some(now + QUIET);
        self.index(key, parsed, &body, old);
    }

    /// Versions that were early.
    pub(super) fn release_deferred(&mut self) {
        while let Some(later) = self.deferred.take(self.now.mono) {
            let known = |stored: &Stored| stored.object.version() >= later.object.version();
            let key = later.object.key;
            if self.lsdb.get(key).is_some_and(known) || self.waiting.get(key).is_some_and(known) {
                continue;
            }
            // Signatures do not change; what the certificate is worth may have, since it came.
            let admitted = self
                .key_of(&later.object)
                .and_then(|_| self.admit(later.session, later.object, later.received));
            if let Err(refusal) = admitted {
                self.count_refusal(later.session, refusal, 1);
            }
        }
    }

    /// Objects whose life is over vanish.
    pub(super) fn expire_objects(&mut self) {
        while let Some(key) = self.lsdb.ended(self.now.mono) {
            let old = self.lsdb.remove(key);
            if let Some(old) = old.as_ref().filter(|old| old.shadow > self.now.mono) {
                self.bury(old.clone());
            }
            self.quiet_at = Some(self.now.mono + QUIET);
            self.index(key, Parsed::Purge, &bytes::Bytes::new(), old);
        }
        self.waiting.expire(self.now.mono);
        self.buried.expire(self.now.mono);
    }

    /// Remembers a version that is over, or gave way.
    pub(super) fn bury(&mut self, stored: Stored) {
        let (of_origin, in_all) = (self.config.objects_per_origin, self.config.objects);
        self.buried
            .insert(stored, of_origin / BURIED, in_all / BURIED);
    }

    /// Ends a session.
    pub(super) fn close(&mut self, session: SessionId, why: &'static str) {
        if let Some(state) = self.sessions.get_mut(&session)
            && !state.closing
        {
            state.closing = true;
            self.actions.push(Action::Close { session, why });
        }
    }
}

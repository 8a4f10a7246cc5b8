//! What is said to a neighbour: its next message; and digests, summaries and requests, by which two databases become equal.

use std::collections::BTreeSet;

use super::Engine;
use super::bucket::{KNOWN, NEW};
use super::lsdb::{Lsdb, bucket_of};
use super::session::{ASK_AFTER, MOST_WANTED, PATIENCE, Pace, Session};
use crate::event::{AdjacencyId, SessionId};
use crate::message::{BUCKETS, Digest, Header, Message};
use crate::object::{Key, Object};

/// Bytes of objects in a message.
const MOST_BYTES: usize = 256 * 1024;
/// What an object has besides body and certificate, roughly.
const FIXED_BYTES: usize = 128;
/// Keys in a request.
const MOST_KEYS: usize = 8_000;
/// What a summary costs besides its headers.
const SUMMARY: u64 = 16 * KNOWN;

impl Engine {
    /// See [`Engine::next_message`].
    pub(super) fn message_for(&mut self, session: SessionId) -> Option<Message> {
        let message = self
            .request_for(session)
            .or_else(|| self.summary_for(session))
            .or_else(|| self.late_digest_for(session))
            .or_else(|| self.flood_for(session))
            .or_else(|| self.digest_for(session));
        if message.is_none()
            && let Some(state) = self.sessions.get_mut(&session)
        {
            state.woken = false;
        }
        message
    }

    /// The pace of an adjacency, which begins with its first session.
    pub(super) fn pace_of(&mut self, link: AdjacencyId) -> &mut Pace {
        let config = &self.config;
        let (now, rate) = (self.now.mono, config.objects_per_second);
        self.paces
            .entry(link)
            .or_insert_with(|| Pace::new(rate, config.digest_interval, now))
    }

    fn state_and_pace(&mut self, session: SessionId) -> Option<(&mut Session, &mut Pace)> {
        let state = self.sessions.get_mut(&session)?;
        let pace = self.paces.get_mut(&state.link)?;
        Some((state, pace))
    }

    fn request_for(&mut self, session: SessionId) -> Option<Message> {
        let now = self.now.mono;
        let state = self.sessions.get_mut(&session).filter(|s| !s.closing)?;
        if state.ask_at.is_none_or(|at| at > now) {
            return None;
        }
        let keys: Vec<Key> = std::iter::from_fn(|| state.wanted.pop())
            .take(MOST_KEYS)
            .collect();
        if state.wanted.is_empty() {
            state.ask_at = None;
        }
        (!keys.is_empty()).then_some(Message::Request(keys))
    }

    fn summary_for(&mut self, session: SessionId) -> Option<Message> {
        let state = self.sessions.get_mut(&session).filter(|s| !s.closing)?;
        if let Some((bucket, from)) = state.rest.take() {
            let message = Self::page(&self.lsdb, bucket, Some(from), self.config.most_headers);
            state.rest = message.1;
            return Some(message.0);
        }
        let mut bucket_mask = 0;
        let mut headers = Vec::new();
        for bucket in 0..64u8 {
            let bit = 1u64 << bucket;
            if state.summary & bit == 0 {
                continue;
            }
            let before = headers.len();
            let more = self.config.most_headers.saturating_sub(before);
            let its = self.lsdb.in_bucket(bucket, None, None);
            headers.extend(
                its.take(more + 1)
                    .map(|(_, stored)| Header::of(&stored.object)),
            );
            if headers.len() > self.config.most_headers {
                headers.truncate(before);
                if bucket_mask == 0 {
                    // It is too long for any message.
                    state.summary &= !bit;
                    let message = Self::page(&self.lsdb, bucket, None, self.config.most_headers);
                    state.rest = message.1;
                    return Some(message.0);
                }
                break;
            }
            bucket_mask |= bit;
            state.summary &= !bit;
        }
        (bucket_mask != 0).then_some(Message::Summary {
            bucket_mask,
            headers,
            from: None,
            to: None,
        })
    }

    /// A part of one bucket, and what comes after it.
    fn page(
        lsdb: &Lsdb,
        bucket: u8,
        from: Option<Key>,
        most: usize,
    ) -> (Message, Option<(u8, Key)>) {
        let mut its = lsdb.in_bucket(bucket, from, None);
        let headers: Vec<Header> = its
            .by_ref()
            .take(most.max(1))
            .map(|(_, stored)| Header::of(&stored.object))
            .collect();
        let to = its.next().and(headers.last()).map(|last| last.key);
        let message = Message::Summary {
            bucket_mask: 1 << bucket,
            headers,
            from,
            to,
        };
        (message, to.and_then(Key::next).map(|next| (bucket, next)))
    }

    fn flood_for(&mut self, session: SessionId) -> Option<Message> {
        let now = self.now.mono;
        let state = self.sessions.get_mut(&session).filter(|s| !s.closing)?;
        let mut objects: Vec<Object> = Vec::new();
        let mut bytes = 0;
        while bytes < MOST_BYTES {
            let Some(key) = state.send.pop() else {
                break;
            };
            let Some(stored) = self.lsdb.get(key).or_else(|| self.buried.get(key)) else {
                continue;
            };
            let age_s = stored.age_s(now);
            if age_s >= stored.object.lifetime_s {
                continue;
            }
            let mut object = stored.object.clone();
            object.age_s = age_s;
            bytes += object.body.len() + object.certificate.len() + FIXED_BYTES;
            objects.push(object);
        }
        (!objects.is_empty()).then_some(Message::Flood(objects))
    }

    /// A neighbour that is sent objects without end learns what it lacks all the same.
    fn late_digest_for(&mut self, session: SessionId) -> Option<Message> {
        let state = self.sessions.get(&session)?;
        if state.digest && self.now.mono >= state.digest_by {
            self.digest_for(session)
        } else {
            None
        }
    }

    fn digest_for(&mut self, session: SessionId) -> Option<Message> {
        let now = self.now.mono;
        let state = self.sessions.get_mut(&session).filter(|s| !s.closing)?;
        if !state.digest {
            return None;
        }
        state.digest = false;
        state.digest_at = now + self.config.digest_interval;
        state.digest_by = state.digest_at + self.config.digest_interval * PATIENCE;
        Some(Message::Digest {
            digest: self.lsdb.digest(),
            restoring: self.start.restoring(),
        })
    }

    /// What a neighbour has.
    pub(super) fn receive_digest(&mut self, session: SessionId, theirs: Digest, restoring: bool) {
        let now = self.now.mono;
        let mine = self.lsdb.digest();
        let Some((state, pace)) = self.state_and_pace(session) else {
            return;
        };
        if theirs == mine {
            state.synced = true;
            state.synced_once = true;
            state.synced_whole |= !restoring;
            pace.exchange.reset(now);
            return;
        }
        state.synced = false;
        if !state.send.is_empty() && pace.exchange.wait(now) {
            return; // what differs is on its way
        }
        let mut differ = mine
            .buckets
            .iter()
            .zip(theirs.buckets.iter())
            .enumerate()
            .filter(|(_, (mine, theirs))| mine != theirs)
            .fold(0u64, |mask, (bucket, _)| mask | 1 << (bucket % BUCKETS));
        if differ == 0 {
            differ = u64::MAX; // only the numbers differ: that cannot be, so everything is told
        }
        state.summary |= pace.exchange.tell(differ, now);
    }

    /// Headers of a neighbour: what is newer here is sent, what is newer there is asked for.
    pub(super) fn receive_summary(
        &mut self,
        session: SessionId,
        bucket_mask: u64,
        headers: &[Header],
        (from, to): (Option<Key>, Option<Key>),
    ) {
        let now = self.now.mono;
        let (sessions, paces) = (&mut self.sessions, &mut self.paces);
        let Some(state) = sessions.get_mut(&session) else {
            return;
        };
        let Some(pace) = paces.get_mut(&state.link) else {
            return;
        };
        if !pace
            .bucket
            .take(SUMMARY + KNOWN * headers.len() as u64 / 4, now)
        {
            state.refused = state.refused.saturating_add(headers.len() as u64);
            return;
        }
        let exchange = &mut pace.exchange;
        let mask = if exchange.heard_to.take().is_some_and(|(mask, last)| {
            bucket_mask & !mask == 0 && from.is_some_and(|from| from > last)
        }) {
            bucket_mask // the next page of what was heeded
        } else {
            exchange.heed(bucket_mask, now)
        };
        if mask == 0 {
            return;
        }
        exchange.heard_to = to.map(|to| (mask, to));
        let within = |key: Key| {
            from.is_none_or(|from| from <= key)
                && to.is_none_or(|to| key <= to)
                && mask & (1 << bucket_of(key)) != 0
        };
        let mut theirs = BTreeSet::new();
        for header in headers.iter().filter(|header| within(header.key)) {
            let (key, version) = (header.key, header.version());
            theirs.insert(key);
            let of = |object: &Object| Header::of(object).version();
            let mine = self.lsdb.get(key).map(|stored| of(&stored.object));
            let held = self.waiting.get(key).map(|stored| of(&stored.object));
            let later = self.deferred.get(key).map(|later| of(&later.object));
            let gone = self.buried.get(key).map(|stored| of(&stored.object));
            if mine.or(gone).is_some_and(|mine| mine > version) {
                let purge = self.lsdb.live(key).is_none();
                state.send.insert_version(key, purge);
            } else if [mine, held, later, gone].into_iter().flatten().max() < Some(version)
                && state.wanted.len() < MOST_WANTED
            {
                state.wanted.insert(key);
                state.ask_at.get_or_insert(now + ASK_AFTER);
            }
        }
        for bucket in (0..64u8).filter(|bucket| mask & (1 << bucket) != 0) {
            for (key, stored) in self.lsdb.in_bucket(bucket, from, to) {
                if !theirs.contains(&key) && !stored.object.is_purge() {
                    state.send.insert(key);
                }
            }
        }
    }

    /// Keys that a neighbour lacks.
    pub(super) fn receive_request(&mut self, session: SessionId, keys: Vec<Key>) {
        let now = self.now.mono;
        let (sessions, paces) = (&mut self.sessions, &mut self.paces);
        let Some(state) = sessions.get_mut(&session) else {
            return;
        };
        let Some(pace) = paces.get_mut(&state.link) else {
            return;
        };
        for key in keys {
            let stored = self.lsdb.get(key);
            let here = stored.is_some();
            if !pace.bucket.take(if here { NEW } else { KNOWN }, now) {
                return;
            }
            if let Some(stored) = stored {
                state.send.insert_version(key, stored.object.is_purge());
            }
        }
    }

    /// Digests that are due, sessions that are silent, and whom to wake.
    pub(super) fn sessions_due(&mut self) {
        let now = self.now.mono;
        let quiet = self.quiet_at.is_some_and(|at| at <= now);
        if quiet {
            self.quiet_at = None;
        }
        let mut silent = Vec::new();
        for (id, state) in &mut self.sessions {
            if state.closing {
                continue;
            }
            if now >= state.heard_at.saturating_add(self.config.session_timeout) {
                silent.push(*id);
                continue;
            }
            if quiet || now >= state.digest_at {
                state.digest = true;
                state.digest_at = now + self.config.digest_interval;
            }
        }
        for session in silent {
            self.close(session, "the neighbour was silent for too long");
        }
        for (id, state) in &mut self.sessions {
            if !state.woken && state.has_message(now) {
                state.woken = true;
                self.actions.push(crate::action::Action::Wake(*id));
            }
        }
    }
}

//! What people and tests may know of an engine.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use dmsc_wire::{Domain, NameBuf, NodeId};

use super::Engine;
use super::cover::Cover;
use super::receive::Refusal;
use super::stage::Stage;
use crate::action::{Alarm, GatewayRoute, PrefixMember, Topology};
use crate::event::{AdjacencyId, SessionId};
use crate::message::Digest;
use crate::object::{Kind, Object};
use crate::time::Now;
use crate::trust::{Authorisation, Revocation};

/// One object of the database, for people and tests.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The object; `age_s` is as it was received.
    pub object: &'a Object,
    /// Until it is removed, s.
    pub lifetime_left_s: u32,
    /// False: it waits for an authorisation, is neither flooded nor used.
    pub accepted: bool,
}

/// A prefix member with what is known of its right to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberInfo {
    /// Gateway, metric, weight.
    pub member: PrefixMember,
    /// Its authorisation expired.
    pub stale: bool,
    /// It is not installed: no authorisation yet.
    pub waiting: bool,
    /// Who authorised.
    pub authority: String,
    /// Whom.
    pub identity: String,
}

/// State of a session, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Which.
    pub session: SessionId,
    /// Over which adjacency.
    pub link: AdjacencyId,
    /// With whom.
    pub peer: NodeId,
    /// Digests were equal at the last exchange.
    pub synced: bool,
    /// Objects that were refused, with all reasons together.
    pub refused: u64,
    /// Why the last one was.
    pub last_refusal: Option<Refusal>,
}

/// What the engine keeps, in numbers: each is bounded whatever neighbours do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Accepted objects, purges too.
    pub objects: usize,
    /// Prefix objects that wait for an authorisation.
    pub waiting: usize,
    /// Versions that came too soon.
    pub deferred: usize,
    /// Versions that are remembered after their end.
    pub buried: usize,
    /// Keys to be sent or asked for, of all sessions.
    pub to_send: usize,
    /// Prefixes in the RIB.
    pub prefixes: usize,
    /// Members of them whose authorisation expired.
    pub stale: usize,
}

impl Engine {
    /// Of all accepted objects; purges are not among them, because every node forgets them at another time.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.lsdb.digest()
    }

    /// All objects, ordered by key; waiting ones too.
    #[must_use]
    pub fn entries(&self, now: Now) -> Vec<Entry<'_>> {
        let entry = |stored: &super::lsdb::Stored| {
            u32::try_from(stored.until.saturating_sub(now.mono).as_secs()).unwrap_or(u32::MAX)
        };
        let accepted = self.lsdb.iter().map(|(_, stored)| (stored, true));
        let waiting = self.waiting.iter().map(|(_, stored)| (stored, false));
        let mut entries: Vec<Entry<'_>> = accepted
            .chain(waiting)
            .map(|(stored, accepted)| Entry {
                object: &stored.object,
                lifetime_left_s: entry(stored),
                accepted,
            })
            .collect();
        entries.sort_by_key(|entry| (entry.object.key, !entry.accepted));
        entries
    }

    /// Whether this node is not yet offered for transit after a start.
    #[must_use]
    pub fn starting(&self) -> bool {
        !self.start.may_attract()
    }

    /// Whether routes are held back after a restart.
    #[must_use]
    pub fn restarting(&self) -> bool {
        self.start.holding()
    }

    /// Whether it may lack what its neighbours cannot tell it yet, and so says to them: after a restart while routes are held back, after a start until all
    /// neighbours told it everything and none of them is restoring, or 20 s passed.
    #[must_use]
    pub fn restoring(&self) -> bool {
        self.start.restoring()
    }

    /// Whether it is drained.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.start.draining
    }

    /// Sessions that are up.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.sessions
            .iter()
            .map(|(session, state)| SessionInfo {
                session: *session,
                link: state.link,
                peer: state.peer,
                synced: state.synced,
                refused: state.refused,
                last_refusal: state.last_refusal.clone(),
            })
            .collect()
    }

    /// Objects that were refused over this adjacency since the start, with all reasons together.
    #[must_use]
    pub fn refused(&self, link: AdjacencyId) -> u64 {
        let before = self.refused_before.get(&link).copied().unwrap_or(0);
        let now = self.sessions.values().filter(|state| state.link == link);
        now.map(|state| state.refused)
            .fold(before, u64::saturating_add)
    }

    /// What is kept, in numbers.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        Sizes {
            objects: self.lsdb.len(),
            waiting: self.waiting.len(),
            deferred: self.deferred.len(),
            buried: self.buried.len(),
            to_send: self
                .sessions
                .values()
                .map(|state| state.send.len() + state.wanted.len())
                .sum(),
            prefixes: self.rib.len(),
            stale: self.rib.stale(),
        }
    }

    /// The RIB: ways to nodes.
    #[must_use]
    pub fn gateway_routes(&self) -> Vec<(Topology, NodeId, GatewayRoute)> {
        self.routes
            .iter()
            .map(|((topology, node), route)| (*topology, *node, route.clone()))
            .collect()
    }

    /// Version of the RIB: that of the last delta.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The RIB: prefixes at or below `under`, at most `limit`. Announced ones of this gateway that wait are among them.
    #[must_use]
    pub fn prefixes(
        &self,
        under: Option<&NameBuf>,
        limit: usize,
    ) -> Vec<(Domain, NameBuf, Vec<MemberInfo>)> {
        self.prefixes_after(under, None)
            .take(limit)
            .map(|((domain, name), members)| (domain, name, members))
            .collect()
    }

    pub(super) fn member_info(
        &self,
        domain: Domain,
        name: &NameBuf,
        member: PrefixMember,
        stale: bool,
        waiting: bool,
    ) -> MemberInfo {
        let by = self.authorisations.best(member.gateway, domain, name);
        MemberInfo {
            member,
            stale,
            waiting,
            authority: by.map(|by| by.authority.clone()).unwrap_or_default(),
            identity: by.map(|by| by.identity.clone()).unwrap_or_default(),
        }
    }

    /// Whether a prefix of this gateway is covered by an authorisation that is valid now.
    #[must_use]
    pub fn is_authorised(&self, domain: Domain, name: &NameBuf) -> bool {
        let gateway = self.config.node;
        let cover = self
            .authorisations
            .cover(gateway, domain, name, self.now_s());
        cover == Cover::Valid
    }

    /// How often it was looked up whether a gateway may announce a prefix, since the start.
    #[must_use]
    pub fn judged(&self) -> u64 {
        self.authorisations.judged()
    }

    /// How often shortest paths were computed since the start.
    #[must_use]
    pub fn computations(&self) -> u64 {
        self.computations
    }

    /// Number of prefixes in the RIB.
    #[must_use]
    pub fn prefix_count(&self) -> usize {
        self.rib.len()
    }

    /// Known authorisations with seconds until they expire (negative: since), and whether they are revoked.
    #[must_use]
    pub fn authorisations(&self, now: Now) -> Vec<(Authorisation, i64, bool)> {
        let now_s = i64::try_from(self.clock.wall(now.mono).as_secs()).unwrap_or(i64::MAX);
        self.authorisations
            .iter()
            .map(|authorisation| {
                let not_after = i64::try_from(authorisation.not_after_s).unwrap_or(i64::MAX);
                let revoked = self.authorisations.revocations.hit_all(authorisation)
                    || self.authorisations.voided.hits(authorisation);
                (
                    authorisation.clone(),
                    not_after.saturating_sub(now_s),
                    revoked,
                )
            })
            .collect()
    }

    /// Revocations in force.
    #[must_use]
    pub fn revocations(&self) -> Vec<Revocation> {
        self.authorisations.revocations.iter().cloned().collect()
    }

    /// The same, without copies.
    pub fn each_revocation(&self) -> impl Iterator<Item = &Revocation> {
        self.authorisations.revocations.iter()
    }

    /// Revocations in force, by authorities and by the root, as they were signed: kind, the id that stands for the body, when it may be forgotten (wall clock, s), body.
    pub fn signed_revocations(&self) -> impl Iterator<Item = ((Kind, u64), u64, &Bytes)> {
        self.authorisations.revocations.signed()
    }

    /// Authorities with the number of their revocations that are known and not applied, because they have too many in force.
    #[must_use]
    pub fn refused_revocations(&self) -> BTreeMap<String, usize> {
        let mut refused = BTreeMap::new();
        for (_, authority) in self.authorisations.revocations.refused() {
            *refused.entry(authority.to_owned()).or_default() += 1;
        }
        refused
    }

    /// The wall clock that is believed at a moment of the monotonic one: after a jump it goes on as before.
    #[must_use]
    pub fn believed_wall(&self, mono: Duration) -> Duration {
        self.clock.wall(mono)
    }

    /// Whether the wall clock jumped, and is not believed at present.
    #[must_use]
    pub fn clock_frozen(&self) -> bool {
        self.clock.is_frozen()
    }

    /// Alarms that are on.
    #[must_use]
    pub fn alarms(&self) -> Vec<Alarm> {
        self.alarms.iter().copied().collect()
    }

    /// Stage times observed since the last call: (stage, µs). At most 10,000 are kept.
    pub fn take_stage_times(&mut self) -> Vec<(Stage, u64)> {
        self.stages.take()
    }

    /// When [`crate::Event::Tick`] is due, on the monotonic clock.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let now = self.now.mono;
        let sessions = self
            .sessions
            .values()
            .filter(|state| !state.closing)
            .flat_map(|state| {
                [
                    Some(state.digest_at),
                    Some(state.heard_at.saturating_add(self.config.session_timeout)),
                    state.ask_at.filter(|at| *at > now),
                ]
            });
        let speaks = self.start.ready && !self.start.left;
        let own = self
            .own
            .deadline(self.start.may_attract())
            .filter(|_| speaks);
        let damped = self.announced.deadline().filter(|_| speaks);
        let lost = self.authorisations.revocations.deadline();
        [
            self.lsdb.deadline(),
            self.waiting.deadline(),
            self.deferred.deadline(),
            own,
            damped,
            lost.filter(|_| speaks),
            self.backoff.deadline(),
            self.start.deadline(),
            self.links.deadline(now, self.restart()),
            self.authorisations
                .deadline_s()
                .map(|wall_s| self.clock.mono(wall_s)),
            self.clock.deadline(),
            self.quiet_at,
            Some(self.housekeeping_at),
        ]
        .into_iter()
        .chain(sessions)
        .flatten()
        .min()
        // What is still due now waits for something else: nobody spins for it.
        .map(|at| at.max(now + Duration::from_millis(1)))
    }
}

//! Revocations outlive who said them first, and are said once: every node that knows a statement applies and keeps it, one carries it for all. Of
//! one that nobody carries, nodes take turns, in another order for each statement, until the first has said it; of one that many carry, those
//! whose turn is late take theirs back.

use std::time::Duration;

use bytes::Bytes;
use dmsc_wire::NodeId;

use super::Engine;
use super::bucket::{Bucket, NEW};
use super::lsdb::{Lsdb, Stored};
use super::revocations::StatementId;
use crate::action::Alarm;
use crate::object::{Key, Kind};

/// Over this time nodes spread their turns, so that one of them speaks and the others hear it first.
const SPREAD_MS: u64 = 60_000;
/// Over this one they do when an authority tells many at once, perhaps to every gateway: what takes effect here already is not to be late elsewhere.
const GIVEN_MS: u64 = 2_000;
/// So many a second, after a burst of ten times as many, are said as soon as they are given.
const AT_ONCE: u32 = 1;
/// A statement that is said by more nodes than this is taken back by the others: one, and one that has it in the database when the first one leaves.
const COPIES: usize = 2;
/// Of what there was no room for, so many are looked at again at a time.
const AGAIN: usize = 1_000;
/// Part of its lifetime that is left of an object whose originator did not refresh it in time: it is gone.
const UNREFRESHED: u32 = 4;

/// The place of a node in the order of those that carry a statement. Nobody chooses it: the id of a statement is a hash.
fn turn(node: NodeId, statement: StatementId) -> (u64, NodeId) {
    let mixed = (u64::from(node.0) ^ statement.1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32, node)
}

/// When a turn comes, if all are spread over so long.
fn delay(node: NodeId, statement: StatementId, spread_ms: u64) -> Duration {
    Duration::from_millis(turn(node, statement).0 % spread_ms)
}

/// Whether the node that carries this still refreshes it.
fn is_refreshed(stored: &Stored, now: Duration) -> bool {
    let lifetime = Duration::from_secs(u64::from(stored.object.lifetime_s));
    stored.until > now + lifetime / UNREFRESHED
}

/// Whether a node carries a statement, and refreshes it.
fn is_carried(lsdb: &Lsdb, statement: StatementId, now: Duration) -> bool {
    let mut carriers = lsdb.carriers(statement);
    carriers.any(|(_, stored)| is_refreshed(stored, now))
}

impl Engine {
    /// A statement that was given to this node, if it is still good for something and no other carries it. Before this node speaks nobody knows
    /// what others carry: what is given until then is found by [`Engine::watch_statements`].
    pub(super) fn pass_on_given(&mut self, kind: Kind, id: u64, body: Bytes) {
        let (now, node) = (self.now.mono, self.config.node);
        let statement = (kind, id);
        let needed = self
            .authorisations
            .revocations
            .is_needed(statement, self.now_s());
        if !needed || !self.start.ready || self.start.left || self.is_carried(statement) {
            return;
        }
        let at_once = self
            .own
            .at_once
            .get_or_insert_with(|| Bucket::new(AT_ONCE, now));
        // What the root says is rare, and of more weight.
        if kind == Kind::ROOT_REVOCATION || at_once.take(NEW, now) {
            self.pass_on(kind, id, body);
        } else {
            let due = now + delay(node, statement, GIVEN_MS);
            self.authorisations.revocations.pass_on_at(statement, due);
        }
    }

    /// Originates a statement under this node's id.
    fn pass_on(&mut self, kind: Kind, id: u64, body: Bytes) {
        let key = self.own_key(kind, id);
        // What does not fit is left to the turns of others, and tried again in the next one: whoever took all that it is told could not say what it
        // has to say of itself, or would be refused half of it.
        if self.has_room_for_statement(kind, &body) {
            self.own.statements.insert(key, body);
            self.tell(key);
        }
    }

    fn is_carried(&self, statement: StatementId) -> bool {
        is_carried(&self.lsdb, statement, self.now.mono)
    }

    /// Whether others carry it whose turns are before this node's, and they are enough. The order is the same at all nodes, so the first
    /// ones never rely on those after them.
    fn is_carried_enough(&self, statement: StatementId) -> bool {
        let now = self.now.mono;
        let own = turn(self.config.node, statement);
        let before = |(node, stored): &(NodeId, &Stored)| {
            turn(*node, statement) < own && is_refreshed(stored, now)
        };
        self.lsdb.carriers(statement).filter(before).count() >= COPIES
    }

    /// Forgets statements that nobody needs, takes back those that enough others carry, and finds those that nobody carries.
    pub(super) fn keep_statements(&mut self) {
        let now = self.now.mono;
        let now_s = self.now_s();
        self.authorisations.revocations.expire(now_s, now);
        self.take_refused();
        let speaks = self.start.ready && !self.start.left;
        let revocations = &self.authorisations.revocations;
        let over: Vec<Key> = self
            .own
            .statements
            .keys()
            .filter(|key| {
                let statement = (key.kind, key.id);
                !revocations.contains(statement) || (speaks && self.is_carried_enough(statement))
            })
            .copied()
            .collect();
        for key in over {
            self.own.statements.remove(&key);
            if speaks {
                self.tell(key);
            }
        }
        if speaks {
            self.watch_statements();
        }
    }

    /// Applies statements that there was no room for, as far as there is now.
    fn take_refused(&mut self) {
        for (id, body) in self.authorisations.revocations.fitting(AGAIN) {
            // It was verified when it came, and holds whatever became of its authority since.
            if let Ok(revocation) = self.trust.revocation(&body, self.now) {
                self.revoke(id, revocation, &body);
            }
        }
        if self.authorisations.revocations.refused().next().is_none() {
            self.clear(Alarm::RevocationsFull);
        }
    }

    /// Of statements that nobody carries, waits for this node's turn.
    fn watch_statements(&mut self) {
        let (now, now_s, node) = (self.now.mono, self.now_s(), self.config.node);
        let lsdb = &self.lsdb;
        self.authorisations.revocations.watch(
            |statement| is_carried(lsdb, statement, now),
            now_s,
            now,
            |statement| delay(node, statement, SPREAD_MS),
        );
    }

    /// Says for the first time what this node said in an earlier life: not what others carry already. What it has from its disk, or was given since
    /// it started, it says if nobody else does so before its turn: after a restart of the network every node would say everything.
    pub(super) fn speak_statements(&mut self) {
        let mut statements = std::mem::take(&mut self.own.statements);
        statements.retain(|key, _| {
            self.lsdb.live(*key).is_some() || !self.is_carried((key.kind, key.id))
        });
        let keys: Vec<Key> = statements.keys().copied().collect();
        self.own.statements = statements;
        for key in keys {
            self.tell(key);
        }
        self.watch_statements();
    }

    /// Statements whose turn has come, and that nobody else carried on meanwhile.
    pub(super) fn pass_on_due(&mut self) {
        if self.authorisations.revocations.refused().next().is_some() {
            self.raise(Alarm::RevocationsFull);
        }
        if !self.start.ready || self.start.left {
            return;
        }
        while let Some((statement, body)) = self.authorisations.revocations.take_due(self.now.mono)
        {
            if !self.is_carried(statement) {
                self.pass_on(statement.0, statement.1, body);
            }
        }
    }
}

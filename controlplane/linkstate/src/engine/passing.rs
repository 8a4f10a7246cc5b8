//! Revocations outlive who said them first: of a statement that nobody carries any more, every node that keeps it carries it on, the first one
//! for all.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use dmsc_wire::NodeId;

use super::Engine;
use super::revocations::StatementId;
use crate::object::{Key, Kind};

/// Over this time nodes spread their turns, so that one of them speaks and the others hear it first.
const SPREAD_MS: u64 = 60_000;
/// Part of its lifetime that is left of an object whose originator did not refresh it in time: it is gone.
const UNREFRESHED: u32 = 4;

impl Engine {
    /// A statement that was given to this node, if it is still good for something and no other carries it.
    pub(super) fn pass_on_given(&mut self, kind: Kind, id: u64, body: Bytes) {
        let revocations = &self.authorisations.revocations;
        if !revocations.is_needed((kind, id), self.now_s()) {
            return;
        }
        let node = self.config.node;
        // Before this node speaks nobody knows what others carry.
        let others = self.start.ready && {
            let others = self.carried_by(|origin| origin != node);
            others.contains(&(kind, id))
        };
        if !others {
            self.pass_on(kind, id, body);
        }
    }

    /// Originates a statement under this node's id.
    fn pass_on(&mut self, kind: Kind, id: u64, body: Bytes) {
        let key = self.own_key(kind, id);
        self.own.statements.insert(key, body);
        if self.start.ready && !self.start.left {
            self.tell(key);
        }
    }

    /// Forgets statements that nobody needs, and finds those that nobody carries.
    pub(super) fn keep_statements(&mut self) {
        let now = self.now.mono;
        let now_s = self.now_s();
        self.authorisations.revocations.expire(now_s, now);
        let revocations = &self.authorisations.revocations;
        let own = self.own.statements.keys();
        let over: Vec<Key> = own
            .filter(|key| !revocations.contains((key.kind, key.id)))
            .copied()
            .collect();
        for key in over {
            self.own.statements.remove(&key);
            if self.start.ready && !self.start.left {
                self.tell(key);
            }
        }
        if !self.start.ready || self.start.left {
            return;
        }
        let carried = self.carried_by(|_| true);
        let node = u64::from(self.config.node.0);
        let turn = |statement: StatementId| {
            // Another order of nodes for each statement.
            let mixed = (node ^ statement.1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            Duration::from_millis((mixed >> 32) % SPREAD_MS)
        };
        self.authorisations
            .revocations
            .watch(&carried, now_s, now, turn);
    }

    /// Statements that nodes carry whose objects are refreshed.
    fn carried_by(&self, who: impl Fn(NodeId) -> bool) -> BTreeSet<StatementId> {
        let now = self.now.mono;
        [Kind::REVOCATION, Kind::ROOT_REVOCATION]
            .into_iter()
            .flat_map(|kind| self.lsdb.of_kind(kind))
            .filter(|(key, stored)| {
                let lifetime = Duration::from_secs(u64::from(stored.object.lifetime_s));
                let refreshed = stored.until > now + lifetime / UNREFRESHED;
                who(key.origin) && refreshed && !stored.object.is_purge()
            })
            .map(|(key, _)| (key.kind, key.id))
            .collect()
    }

    /// Says for the first time what this node has from its disk, or said in an earlier life: not what others carry already, or after a restart of
    /// the network every node would say everything.
    pub(super) fn speak_statements(&mut self) {
        let node = self.config.node;
        let others = self.carried_by(|origin| origin != node);
        let lsdb = &self.lsdb;
        self.own
            .statements
            .retain(|key, _| lsdb.live(*key).is_some() || !others.contains(&(key.kind, key.id)));
        let statements: Vec<Key> = self.own.statements.keys().copied().collect();
        for key in statements {
            self.tell(key);
        }
    }

    /// Statements whose turn has come, and that nobody else carried on meanwhile.
    pub(super) fn pass_on_due(&mut self) {
        if !self.start.ready || self.start.left {
            return;
        }
        while let Some(((kind, id), body)) = self.authorisations.revocations.take_due(self.now.mono)
        {
            self.pass_on(kind, id, body);
        }
    }
}

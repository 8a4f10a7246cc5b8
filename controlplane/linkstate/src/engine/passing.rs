//! Revocations outlive who said them first: of a statement that nobody carries any more, every node that keeps it carries it on, the first one
//! for all.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::Engine;
use super::revocations::StatementId;
use crate::object::{Key, Kind};

/// Over this time nodes spread their turns, so that one of them speaks and the others hear it first.
const SPREAD_MS: u64 = 60_000;
/// Part of its lifetime that is left of an object whose originator did not refresh it in time: it is gone.
const UNREFRESHED: u32 = 4;

impl Engine {
    /// Originates a statement under this node's id.
    pub(super) fn pass_on(&mut self, kind: Kind, id: u64, body: Bytes) {
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
        let of_kind = [Kind::REVOCATION, Kind::ROOT_REVOCATION];
        let carried: BTreeSet<StatementId> = of_kind
            .into_iter()
            .flat_map(|kind| self.lsdb.of_kind(kind))
            .filter(|(_, stored)| {
                let lifetime = Duration::from_secs(u64::from(stored.object.lifetime_s));
                !stored.object.is_purge() && stored.until > now + lifetime / UNREFRESHED
            })
            .map(|(key, _)| (key.kind, key.id))
            .collect();
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

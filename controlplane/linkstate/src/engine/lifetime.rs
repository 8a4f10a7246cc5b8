//! How old an object may be believed to be, and when it is over whatever its neighbours say.

use std::time::Duration;

use super::Engine;
use crate::object::{Key, Object};

/// How far ahead of this node's wall clock another's may be.
pub const AHEAD: Duration = Duration::from_secs(300);

impl Engine {
    /// The age of an object is not signed: it is believed as far as the clocks allow, so that no router on the way can end an object.
    pub(super) fn believed_age_s(&self, object: &Object) -> u32 {
        if self.clock.is_frozen() {
            return object.age_s;
        }
        let originated = Duration::from_millis(object.originated_at_ms);
        // Less for short lives: one that is refreshed after a third is never ended by this.
        let ahead = AHEAD.min(Duration::from_secs(u64::from(object.lifetime_s)) / 4);
        let most = self
            .now
            .wall
            .saturating_add(ahead)
            .saturating_sub(originated);
        object
            .age_s
            .min(u32::try_from(most.as_secs()).unwrap_or(u32::MAX))
    }

    /// The same version came by another way, and says that it is so old: if it is younger there it ends later here, within its bounds.
    pub(super) fn extend(&mut self, key: Key, age_s: u32) {
        let frozen = self.clock.is_frozen();
        let Some(stored) = self.lsdb.get(key) else {
            return;
        };
        if age_s >= stored.age_s(self.now.mono) {
            return; // as nearly always: a version that is known costs no more than this
        }
        let certificate = &stored.object.certificate;
        if !frozen
            && self
                .trust
                .node_key(key.origin, certificate, self.now)
                .is_err()
        {
            return; // what bounds it is known no more, so it stays as it is
        }
        self.lsdb.extend(key, age_s, self.now, frozen);
        self.bound(key);
    }

    /// Nor can one keep an object alive by saying that it is young: it is over [`AHEAD`] after the end that its originator signed, or after that of its
    /// certificate. The age stays as it was told: from it others' clocks are read.
    pub(super) fn bound(&mut self, key: Key) {
        // Of its own objects this node decides itself; and which time it is nobody knows while the clock is frozen.
        if key.origin == self.config.node || self.clock.is_frozen() {
            return;
        }
        let Some(stored) = self.lsdb.get(key) else {
            return;
        };
        let object = &stored.object;
        let mut end = Duration::from_millis(object.originated_at_ms)
            .saturating_add(Duration::from_secs(u64::from(object.lifetime_s)));
        if let Ok(node) = self
            .trust
            .node_key(key.origin, &object.certificate, self.now)
        {
            end = end.min(Duration::from_secs(node.not_after_s));
        }
        let left = end.saturating_add(AHEAD).saturating_sub(self.now.wall);
        self.lsdb.end_by(key, self.now.mono.saturating_add(left));
    }
}

//! Nonces of registrations: each is good once, for a minute, for one identity.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a nonce is good.
pub const LIFE: Duration = Duration::from_secs(60);
/// Most that are out at a time; more pods than a gateway can have.
const MAX: usize = 20_000;
/// Of them, most of one identity: a pod that only asks harms no other.
const MAX_EACH: usize = 16;

/// 16 bytes nobody can guess.
pub type Nonce = [u8; 16];

/// Nonces that are out.
#[derive(Debug, Default)]
pub struct Nonces {
    out: HashMap<Nonce, (String, Instant)>,
}

impl Nonces {
    /// A nonce for `identity`; `None` when too many are out.
    pub fn give(&mut self, identity: &str, now: Instant) -> Option<Nonce> {
        let own = self.out.values().filter(|(one, _)| one == identity).count();
        if self.out.len() >= MAX || own >= MAX_EACH {
            self.out.retain(|_, (_, until)| *until > now);
        }
        let own = self.out.values().filter(|(one, _)| one == identity).count();
        if own >= MAX_EACH {
            // The oldest is of the least use.
            let oldest = self
                .out
                .iter()
                .filter(|(_, (one, _))| one == identity)
                .min_by_key(|(_, (_, until))| *until)
                .map(|(nonce, _)| *nonce);
            oldest.and_then(|nonce| self.out.remove(&nonce));
        }
        if self.out.len() >= MAX {
            return None;
        }
        let nonce: Nonce = rand::random();
        self.out.insert(nonce, (identity.to_owned(), now + LIFE));
        Some(nonce)
    }

    /// Takes a nonce back; tells whether it was good for `identity`.
    pub fn take(&mut self, nonce: &[u8], identity: &str, now: Instant) -> bool {
        let Ok(nonce) = Nonce::try_from(nonce) else {
            return false;
        };
        match self.out.get(&nonce) {
            Some((one, until)) if one == identity => {
                let good = *until > now;
                self.out.remove(&nonce);
                good
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once_for_one_identity_and_a_minute() {
        let (mut nonces, now) = (Nonces::default(), Instant::now());
        let nonce = nonces.give("pod1/a", now).unwrap();
        assert!(!nonces.take(&nonce, "pod1/b", now));
        assert!(nonces.take(&nonce, "pod1/a", now));
        assert!(!nonces.take(&nonce, "pod1/a", now));
        let nonce = nonces.give("pod1/a", now).unwrap();
        assert!(!nonces.take(&nonce, "pod1/a", now + LIFE));
        assert!(!nonces.take(&nonce[..15], "pod1/a", now));
    }

    #[test]
    fn a_pod_that_only_asks_fills_nothing() {
        let (mut nonces, now) = (Nonces::default(), Instant::now());
        let first = nonces.give("pod1/a", now).unwrap();
        for step in 0..100 {
            nonces
                .give("pod1/a", now + Duration::from_millis(step))
                .unwrap();
        }
        assert_eq!(nonces.out.len(), MAX_EACH);
        assert!(!nonces.take(&first, "pod1/a", now));
    }
}

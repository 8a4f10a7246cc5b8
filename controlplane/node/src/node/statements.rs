//! What the root took back, as this node knows it: for people, and so that nothing is taken twice.

use std::collections::BTreeMap;

use bytes::Bytes;
use dmsc_linkstate::Event;
use dmsc_linkstate::engine::body_id;
use dmsc_proto::v1;
use dmsc_spa::verify::VerifyError;
use prost::Message as _;

use super::Node;

/// Most that are known by their contents; the root signs them, so this is never reached by accident.
const MOST: usize = 100_000;

/// Root revocations in force, by the id of their body.
#[derive(Debug, Default)]
pub struct RootRevocations(BTreeMap<u64, v1::RootRevocation>);

/// A statement that was given, and is believed.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// What it says.
    pub statement: v1::RootRevocation,
    /// It was here already.
    pub known: bool,
}

/// Why a statement changes nothing.
#[derive(Debug, thiserror::Error)]
pub enum GiveError {
    /// Not the root's, or no statement.
    #[error("not believed: {0}")]
    NotBelieved(#[from] VerifyError),
    /// It may have been forgotten by others.
    #[error("its time was over at {until_s} s since 1970: nothing that it voids is valid any more")]
    Over {
        /// When.
        until_s: u64,
    },
    /// There is no room.
    #[error(
        "it is believed, but not taken: this node has as many root revocations as it keeps; give it to another"
    )]
    NoRoom,
}

/// What a SignedRootRevocation says, verified or not.
#[must_use]
pub fn said(body: &[u8]) -> Option<v1::RootRevocation> {
    let signed = v1::SignedRootRevocation::decode(body).ok()?;
    v1::RootRevocation::decode(signed.statement.as_slice()).ok()
}

impl RootRevocations {
    /// Notes one that was verified.
    pub(super) fn note(&mut self, body: &[u8], now_s: u64) {
        if self.0.len() >= MOST {
            self.0.retain(|_, one| one.until_s > now_s);
        }
        if let (Some(said), true) = (said(body), self.0.len() < MOST) {
            self.0.insert(body_id(body), said);
        }
    }

    /// From after one on, by id; those that are not over.
    pub fn iter_after(
        &self,
        after: Option<u64>,
        now_s: u64,
    ) -> impl Iterator<Item = (u64, &v1::RootRevocation)> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.0
            .range((from, std::ops::Bound::Unbounded))
            .filter(move |(_, one)| one.until_s > now_s)
            .map(|(id, one)| (*id, one))
    }
}

impl Node {
    /// Takes a SignedRootRevocation from an operator: verified, kept, applied and originated, so that it reaches every router.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn give_root_revocation(&mut self, body: Bytes) -> Result<Given, GiveError> {
        self.root.root_revocation(&body)?;
        // Decoded once already.
        let statement = said(&body).unwrap_or_default();
        let until_s = statement.until_s;
        if until_s <= self.now_s() {
            return Err(GiveError::Over { until_s });
        }
        let id = body_id(&body);
        let known = self.root_revocations.0.contains_key(&id);
        if !known {
            self.event(Event::RootRevocation(body));
            if !self.root_revocations.0.contains_key(&id) {
                return Err(GiveError::NoRoom);
            }
        }
        Ok(Given { statement, known })
    }
}

/// What a root revocation voids, for people.
#[must_use]
pub fn voids(one: &v1::RootRevocation) -> String {
    let before = |whose: String| {
        format!(
            "{whose} whose validity began before {} s since 1970",
            one.issued_before_s
        )
    };
    let what = if one.node != 0 {
        before(format!("certificates of node {}", one.node))
    } else if !one.authority.is_empty() {
        before(format!("certificates of authority {}", one.authority))
    } else {
        let keys: Vec<String> = one.key_sha256.iter().map(|key| hexadecimal(key)).collect();
        format!(
            "whatever is certified for keys with SHA-256 {}",
            keys.join(", ")
        )
    };
    match one.reason.as_str() {
        "" => what,
        reason => format!("{what}, because: {reason}"),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_in_words() {
        let one = v1::RootRevocation {
            issued_before_s: 7,
            reason: "stolen".into(),
            ..v1::RootRevocation::default()
        };
        let node = v1::RootRevocation {
            node: 5,
            ..one.clone()
        };
        assert_eq!(
            voids(&node),
            "certificates of node 5 whose validity began before 7 s since 1970, because: stolen"
        );
        let authority = v1::RootRevocation {
            authority: "spa1".into(),
            reason: String::new(),
            ..one.clone()
        };
        assert_eq!(
            voids(&authority),
            "certificates of authority spa1 whose validity began before 7 s since 1970"
        );
        let keys = v1::RootRevocation {
            key_sha256: vec![vec![0xab, 1], vec![2]],
            ..one
        };
        assert!(voids(&keys).contains("SHA-256 ab01, 02, because: stolen"));
    }

    #[test]
    fn what_is_over_is_not_told() {
        let mut known = RootRevocations::default();
        let body = |until_s| {
            v1::SignedRootRevocation {
                statement: v1::RootRevocation {
                    node: 5,
                    until_s,
                    ..v1::RootRevocation::default()
                }
                .encode_to_vec(),
                signature: vec![1; 64],
            }
            .encode_to_vec()
        };
        for until_s in [10, 20, 30, 30] {
            known.note(&body(until_s), 0);
        }
        assert_eq!(known.iter_after(None, 0).count(), 3);
        let ids: Vec<u64> = known.iter_after(None, 10).map(|(id, _)| id).collect();
        assert_eq!(ids.len(), 2);
        assert_eq!(known.iter_after(Some(ids[0]), 10).count(), 1);
    }
}

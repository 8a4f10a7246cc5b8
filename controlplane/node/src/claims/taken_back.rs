//! What pods are told of what authorities and the root took back, so that they end connections that are open with it.

use std::cmp::Reverse;

use bytes::Bytes;
use dmsc_linkstate::Kind;
use dmsc_spa::statement::sha256;
use tracing::warn;

/// Most revocations by authorities, and by the root, that a pod is told (limits of the pod API).
const MAX_TOLD: [usize; 2] = [256, 64];

/// Statements in force, as they were signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenBack {
    /// Of the lists: made of what they say, so it is the same after a restart. 0: none are told.
    pub version: u64,
    /// SignedRevocation each; none, if the pod has this version.
    pub by_authorities: Vec<Vec<u8>>,
    /// SignedRootRevocation each; the same.
    pub by_root: Vec<Vec<u8>>,
}

impl TakenBack {
    /// For a pod that has the lists of version `known`. `all`: kind, the id that stands for the body, until when it is needed (wall clock, s), body.
    pub fn since<'a>(known: u64, all: impl Iterator<Item = ((Kind, u64), u64, &'a Bytes)>) -> Self {
        let mut lists = [Vec::new(), Vec::new()];
        for ((kind, id), until_s, body) in all {
            lists[usize::from(kind == Kind::ROOT_REVOCATION)].push((Reverse(until_s), id, body));
        }
        let mut ids = Vec::new();
        for (list, most) in lists.iter_mut().zip(MAX_TOLD) {
            if list.len() > most {
                warn!(
                    count = list.len(),
                    "pods are told of {most} revocations only: those that are needed longest"
                );
            }
            list.sort_unstable_by_key(|(until_s, id, _)| (*until_s, *id));
            list.truncate(most);
            ids.extend((list.len() as u64).to_be_bytes());
            ids.extend(list.iter().flat_map(|(_, id, _)| id.to_be_bytes()));
        }
        let mut version = [0; 8];
        version.copy_from_slice(&sha256(&ids)[..8]);
        let version = u64::from_be_bytes(version).max(1);
        if version == known {
            return Self {
                version,
                ..Self::default()
            };
        }
        let [by_authorities, by_root] =
            lists.map(|list| list.iter().map(|(_, _, body)| body.to_vec()).collect());
        Self {
            version,
            by_authorities,
            by_root,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_once_and_no_more_than_it_keeps() {
        let body = |id: u64| Bytes::from(id.to_be_bytes().to_vec());
        let bodies: Vec<Bytes> = (0..300).map(body).collect();
        let all = |count: usize, kind| {
            let some = bodies.iter().take(count).enumerate();
            some.map(move |(id, body)| ((kind, id as u64), id as u64, body))
        };
        let none = TakenBack::since(0, all(0, Kind::REVOCATION));
        assert!(none.version != 0 && none.by_authorities.is_empty());
        let one = TakenBack::since(none.version, all(1, Kind::REVOCATION));
        assert_eq!(one.by_authorities, [bodies[0].to_vec()]);
        let again = TakenBack::since(one.version, all(1, Kind::REVOCATION));
        assert_eq!(
            (again.version, again.by_authorities.len()),
            (one.version, 0)
        );
        let root = TakenBack::since(one.version, all(1, Kind::ROOT_REVOCATION));
        assert_ne!(root.version, one.version);
        assert_eq!(root.by_root.len(), 1);
        let most = TakenBack::since(0, all(300, Kind::REVOCATION));
        assert_eq!(most.by_authorities.len(), 256);
        assert_eq!(
            most.by_authorities[0],
            bodies[299].to_vec(),
            "those that are needed longest"
        );
    }
}

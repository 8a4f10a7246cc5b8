//! What authorities and the root took back, as the pod's gateway knows it (design §7).

use bytes::Bytes;

use crate::kept::kept;

/// Most revocations by authorities, and most bytes of one.
pub const MAX_BY_AUTHORITIES: (usize, usize) = (256, 20_000);
/// Most revocations by the root, and most bytes of one.
pub const MAX_BY_ROOT: (usize, usize) = (64, 1_024);

/// Revocations that are in force, as the gateway told them last. Nobody has judged them here: each is believed by its own signature only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Of both lists; 0: this gateway tells none.
    pub version: u64,
    /// SignedRevocation bytes each (authority.proto).
    pub by_authorities: Vec<Bytes>,
    /// SignedRootRevocation bytes each.
    pub by_root: Vec<Bytes>,
}

impl Revocations {
    /// Of a gateway's answer. What is beyond the limits is left out.
    pub(crate) fn new(version: u64, by_authorities: Vec<Vec<u8>>, by_root: Vec<Vec<u8>>) -> Self {
        Self {
            version,
            by_authorities: kept("revocations", by_authorities, MAX_BY_AUTHORITIES),
            by_root: kept("revocations", by_root, MAX_BY_ROOT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let told = vec![vec![1]; 300];
        let root = vec![vec![0; 1_025], vec![2]];
        let revocations = Revocations::new(7, told, root);
        assert_eq!(revocations.version, 7);
        assert_eq!(revocations.by_authorities.len(), 256);
        assert_eq!(revocations.by_root, [Bytes::from(vec![2])]);
    }
}

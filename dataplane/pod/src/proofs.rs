//! What a pod shows to those who call it: the authorisations that its gateway got for its prefixes (design §7).

use bytes::Bytes;

use crate::kept::kept;

/// Most authorisations of one pod.
pub const MAX_PROOFS: usize = 64;
/// Most bytes of one.
pub const MAX_PROOF: usize = 65_536;

/// Authorisations of the prefixes that are announced for the pod, as its gateway told them last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proofs {
    /// Of the list; 0: this gateway tells none.
    pub version: u64,
    /// SignedAuthorisation bytes each (authority.proto), at most [`MAX_PROOFS`] of at most [`MAX_PROOF`] bytes. Nobody has judged them here.
    pub authorisations: Vec<Bytes>,
}

impl Proofs {
    /// Of a gateway's answer. What is beyond the limits is left out.
    pub(crate) fn new(version: u64, told: Vec<Vec<u8>>) -> Self {
        Self {
            version,
            authorisations: kept("authorisations", told, (MAX_PROOFS, MAX_PROOF)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let mut told = vec![vec![1]; MAX_PROOFS + 5];
        told[0] = vec![0; MAX_PROOF + 1];
        let proofs = Proofs::new(7, told);
        assert_eq!(proofs.version, 7);
        assert_eq!(
            proofs.authorisations,
            vec![Bytes::from(vec![1]); MAX_PROOFS]
        );
    }
}

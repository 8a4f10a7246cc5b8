//! What a pod is told to prove its names with: the authorisations that this gateway got for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use dmsc_linkstate::trust::Authorisation;
use dmsc_spa::statement::sha256;
use dmsc_wire::NameBuf;
use tracing::warn;

use super::{Claims, Revoked, covering};
use crate::lease::Lease;

/// Most authorisations that one pod is told (limit of the pod API).
const MAX_TOLD: usize = 64;

/// Authorisations that prove what a registration announces.
#[derive(Debug, Clone, Default)]
pub struct Proofs {
    /// Of the list: made of what it says, so it is the same after a restart. 0: none is told.
    pub version: u64,
    /// SignedAuthorisation each.
    pub authorisations: Arc<[Bytes]>,
}

/// What was computed last: it is asked for with every refresh, and costs look-ups for each name.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// Version of [`Claims`], and what was announced then.
    of: (u64, Arc<[NameBuf]>),
    proofs: Proofs,
}

impl Proofs {
    fn new(authorisations: Arc<[Bytes]>) -> Self {
        let digests: Vec<u8> = authorisations.iter().flat_map(|one| sha256(one)).collect();
        let mut version = [0; 8];
        version.copy_from_slice(&sha256(&digests)[..8]);
        Self {
            version: u64::from_be_bytes(version).max(1),
            authorisations,
        }
    }

    /// The list for a pod that has the one of `version`: nothing, if it is the same.
    #[must_use]
    pub fn since(&self, version: u64) -> Vec<Vec<u8>> {
        if self.version == version {
            return Vec::new();
        }
        self.authorisations.iter().map(|one| one.to_vec()).collect()
    }
}

impl Claims {
    /// For each name that the lease serves the authorisation that lasts longest of those that are in force.
    pub(crate) fn proofs(&mut self, lease: &Lease, revoked: &Revoked<'_>, now_s: u64) -> Proofs {
        let version = self.version;
        let (index, held) = (&self.index, &self.held);
        let Some(claim) = self.by_lease.get_mut(&lease.id) else {
            return Proofs::default();
        };
        let same = |told: &&Told| told.of.0 == version && Arc::ptr_eq(&told.of.1, &lease.serves);
        if let Some(told) = claim.told.as_ref().filter(same) {
            return told.proofs.clone();
        }
        let end = |one: &Authorisation| one.not_after_s.saturating_add(u64::from(one.stale_s));
        let who = (lease.domain, lease.identity.as_str());
        let mut places = Vec::new();
        let mut known = BTreeSet::new();
        for name in lease.serves.iter() {
            let in_force = covering(index, held, who, name).filter(|(_, one)| {
                let mut told = revoked.told(who.0, who.1, name);
                end(one) >= now_s && !told.any(|told| told.ends(one))
            });
            let best = in_force.max_by_key(|(place, one)| (one.not_after_s, end(one), *place));
            let Some((place, _)) = best else { continue };
            if known.contains(&place) {
                continue;
            }
            if places.len() == MAX_TOLD {
                warn!(
                    identity = lease.identity,
                    names = lease.serves.len(),
                    %name,
                    "its names need more than {MAX_TOLD} authorisations; it cannot prove this one and some others: let it register fewer, or let the policy grant subtrees"
                );
                break;
            }
            known.insert(place);
            places.push(place);
        }
        let proofs = Proofs::new(places.iter().map(|at| held[*at].body.clone()).collect());
        claim.told = Some(Told {
            of: (version, Arc::clone(&lease.serves)),
            proofs: proofs.clone(),
        });
        proofs
    }
}

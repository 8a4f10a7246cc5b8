//! A caller's judgement of what the other end shows.

use std::sync::Arc;

use dmsc_spa::verify::{Authorisation, RootKey};
use dmsc_wire::Domain;
use tokio::io::AsyncRead;

use crate::endpoint::now_s;
use crate::error::Unproven;
use crate::peer::Peer;
use crate::proof::{self, Claim};
use crate::revoked::Revoked;

/// What must be proven of one connection, by whom, and to which root.
#[derive(Debug)]
pub(crate) struct Judge {
    pub root: RootKey,
    /// What was taken back.
    pub revoked: Arc<Revoked>,
    /// The pod of the certificate.
    pub identity: String,
    pub peer: Arc<Peer>,
    /// The caller's.
    pub domain: Domain,
}

impl Judge {
    /// Reads proofs, and tells those that prove the name.
    pub async fn read<R: AsyncRead + Unpin>(
        &self,
        stream: &mut R,
    ) -> Result<Vec<Authorisation>, Unproven> {
        let claim = Claim {
            identity: &self.identity,
            name: self.peer.called().as_name(),
            domain: self.domain,
            place: self.peer.place().ok_or(Unproven::Gateway)?,
            now_s: now_s(),
        };
        let revoked = |one: &Authorisation| self.revoked.ends(one, claim.name);
        proof::read_all(stream, &self.root, claim, revoked).await
    }
}

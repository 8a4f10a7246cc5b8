//! The server's proof of the name that was called: its authorisations, on its first unidirectional stream, before the client says anything;
//! renewed ones later, on further streams.
//!
//! The stream is a number (u32, big endian) of proofs, then each as its length (u32, big endian) and SignedAuthorisation bytes.

use bytes::Bytes;
use dmsc_pod::Pin;
use dmsc_spa::verify::{Authorisation, Grant, RootKey};
use dmsc_wire::{Domain, Name};
use tokio::io::{AsyncRead, AsyncReadExt};

pub use dmsc_pod::proofs::{MAX_PROOF, MAX_PROOFS};

use crate::error::Unproven;

/// How far clocks may differ, s.
const SKEW_S: u64 = 300;

/// Whether they can be sent.
pub(crate) fn fit(proofs: &[Bytes]) -> bool {
    proofs.len() <= MAX_PROOFS && proofs.iter().all(|proof| proof.len() <= MAX_PROOF)
}

/// The stream's bytes.
pub(crate) fn encode(proofs: &[Bytes]) -> Bytes {
    let length = |bytes: usize| (bytes as u32).to_be_bytes();
    let mut out = length(proofs.len()).to_vec();
    for proof in proofs {
        out.extend(length(proof.len()));
        out.extend_from_slice(proof);
    }
    out.into()
}

/// What is to be proven.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The pod of the certificate.
    pub identity: &'a str,
    /// The name that was called.
    pub name: Name<'a>,
    /// The caller's tenant.
    pub domain: Domain,
    /// Where the answers come from.
    pub place: Pin,
    /// Wall clock, s since 1970.
    pub now_s: u64,
}

/// Reads proofs one by one. Tells until when the one counts that proves the claim longest, s since 1970.
///
/// # Errors
/// None proves it; why the last of them does not.
pub async fn read<R: AsyncRead + Unpin>(
    stream: &mut R,
    root: &RootKey,
    claim: Claim<'_>,
) -> Result<u64, Unproven> {
    let all = read_all(stream, root, claim, |_| false).await?;
    Ok(all.iter().map(end_s).max().unwrap_or_default())
}

/// Reads proofs one by one, and tells those that prove the claim and are not `revoked`: one at least.
pub(crate) async fn read_all<R: AsyncRead + Unpin>(
    stream: &mut R,
    root: &RootKey,
    claim: Claim<'_>,
    revoked: impl Fn(&Authorisation) -> bool,
) -> Result<Vec<Authorisation>, Unproven> {
    let unreadable = |error: std::io::Error| Unproven::Unreadable(error.to_string());
    let limit = |what: &str| Unproven::Unreadable(format!("too many {what}"));
    let count = stream.read_u32().await.map_err(unreadable)?;
    if count as usize > MAX_PROOFS {
        return Err(limit("proofs"));
    }
    let (mut good, mut why) = (Vec::new(), Unproven::Nothing);
    let mut proof = Vec::new();
    for _ in 0..count {
        let length = stream.read_u32().await.map_err(unreadable)? as usize;
        if length > MAX_PROOF {
            return Err(limit("bytes in one proof"));
        }
        proof.resize(length, 0);
        stream.read_exact(&mut proof).await.map_err(unreadable)?;
        let shown = root.authorisation(&proof).map_err(Unproven::NotBelieved);
        match shown.and_then(|shown| judge(&shown, claim).map(|_| shown)) {
            Ok(shown) if revoked(&shown) => why = Unproven::Revoked,
            Ok(shown) => good.push(shown),
            // That it was taken back says more than that others are for other names.
            Err(error) if why != Unproven::Revoked => why = error,
            Err(_) => {}
        }
    }
    if good.is_empty() { Err(why) } else { Ok(good) }
}

/// Whether one proof proves a claim, and until when it counts, s since 1970.
///
/// # Errors
/// Why not.
pub fn check(proof: &[u8], root: &RootKey, claim: Claim<'_>) -> Result<u64, Unproven> {
    let shown = root.authorisation(proof).map_err(Unproven::NotBelieved)?;
    judge(&shown, claim)
}

/// When it counts no more, not even as a stale one; s since 1970.
pub(crate) fn end_s(shown: &Authorisation) -> u64 {
    shown.not_after_s.saturating_add(u64::from(shown.stale_s))
}

fn judge(shown: &Authorisation, claim: Claim<'_>) -> Result<u64, Unproven> {
    let end_s = end_s(shown);
    if shown.identity != claim.identity {
        Err(Unproven::Identity(shown.identity.clone()))
    } else if shown.domain != claim.domain {
        Err(Unproven::Domain)
    } else if shown.gateway != claim.place.gateway {
        Err(Unproven::Gateway)
    } else if claim.now_s > end_s || shown.issued_at_s > claim.now_s.saturating_add(SKEW_S) {
        Err(Unproven::Validity)
    } else if !grants(shown, claim.name) {
        Err(Unproven::Name)
    } else {
        Ok(end_s)
    }
}

/// Whether it is for this name.
pub(crate) fn grants(shown: &Authorisation, name: Name<'_>) -> bool {
    shown.grants.iter().any(|grant| covers(grant, name))
}

/// The grant's own words: an exact one is for nothing below its name, though packets for that come here too.
fn covers(grant: &Grant, name: Name<'_>) -> bool {
    if grant.exact {
        grant.name.as_name() == name
    } else {
        grant.name.as_name().is_prefix_of(name)
            && name.component_count() <= usize::from(grant.maximum_depth)
    }
}

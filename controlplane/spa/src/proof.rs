//! How a pod shows who it is: its certificate, and its signature over a statement with the gateway's nonce. The gateway checks the proof when the pod
//! registers, the authority again when the gateway asks for authorisations.

use bytes::Bytes;
use dmsc_wire::{Domain, NodeId};

use crate::identity::Identity;
use crate::statement::{self, MAX_POD_STATEMENT, NONCE, PodStatement};
use crate::verify::{RootKey, VerifyError, check_text, decode, limit};

/// How far a pod's clock may be ahead, s.
pub const FUTURE_S: u64 = 300;

/// What a believed proof says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Of the certificate, e.g. `pod1/a`.
    pub identity: String,
    /// Of this registration; only the gateway that chose it can tell whether it is fresh.
    pub nonce: Bytes,
    /// Wall clock of the pod, s.
    pub signed_at_s: u64,
    /// End of the certificate's validity, wall clock, s.
    pub not_after_s: u64,
    /// Tenant; `None` = the port's.
    pub domain: Option<Domain>,
    /// Hash of the names that it signed for, see [`statement::prefixes_sha256`].
    pub prefixes_sha256: Bytes,
    /// Hash of the endpoint that it signed for, see [`statement::endpoint_sha256`]; empty: where it registers from.
    pub endpoint_sha256: Bytes,
    /// Of the certificate.
    pub public_key: [u8; 32],
}

impl Proof {
    /// Whether the pod signed for exactly these names, in this order, and for this domain or none in particular: nobody asks for more in its name.
    ///
    /// # Errors
    /// What differs.
    pub fn check_asked<'a>(
        &self,
        domain: Domain,
        prefixes: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), ProofError> {
        if let Some(stated) = self.domain
            && stated != domain
        {
            return Err(ProofError::Domain {
                stated,
                asked: domain,
            });
        }
        if statement::prefixes_sha256(prefixes) != self.prefixes_sha256 {
            return Err(ProofError::Prefixes);
        }
        Ok(())
    }
}

/// Why a proof is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The certificate is not.
    #[error("the pod's certificate: {0}")]
    Certificate(VerifyError),
    /// The certificate is not of a pod.
    #[error("the certificate is of {0}, not of a pod; register with a pod's own certificate")]
    NoPod(Identity),
    /// The statement is not.
    #[error("the pod's statement: {0}")]
    Statement(VerifyError),
    /// The statement is about another identity.
    #[error("the pod's statement is for identity {stated:?}, its certificate for {certified:?}")]
    Identity {
        /// In the statement.
        stated: String,
        /// In the certificate.
        certified: String,
    },
    /// The statement was made for another gateway.
    #[error("the pod's statement was made for gateway {stated}, not for gateway {gateway}")]
    Gateway {
        /// In the statement.
        stated: u32,
        /// That asks.
        gateway: NodeId,
    },
    /// The statement is for another domain.
    #[error("the pod's statement is for domain {stated}, the request for domain {asked}")]
    Domain {
        /// In the statement.
        stated: Domain,
        /// In the request.
        asked: Domain,
    },
    /// The statement is for other names.
    #[error(
        "the pod did not sign for these prefixes: the hash in its statement is not theirs, all of them in the order of the request; upgrade the pod or the gateway if they disagree about the hash"
    )]
    Prefixes,
    /// The statement is too old.
    #[error(
        "the pod's statement is {age_s} s old, more than {most_s} s; the pod must register again"
    )]
    Old {
        /// Its age.
        age_s: u64,
        /// That is taken.
        most_s: u64,
    },
    /// The statement is from the future.
    #[error("the pod's statement is from {0} s ahead of this clock; set the pod's clock")]
    Future(u64),
}

/// Checks a proof for `gateway`: certificate valid now and a pod's, signature by its key, identity and gateway those of the statement, and signed at
/// most `oldest_s` ago. The nonce is the gateway's to compare; names and domain are compared by [`Proof::check_asked`].
///
/// # Errors
/// Why it is not believed, for whoever asked.
pub fn check(
    root: &RootKey,
    certificate: &[u8],
    statement: &[u8],
    signature: &[u8],
    gateway: NodeId,
    oldest_s: u64,
    now_s: u64,
) -> Result<Proof, ProofError> {
    let certificate = root
        .certificate(certificate, now_s)
        .map_err(ProofError::Certificate)?;
    let Identity::Pod(certified) = certificate.identity else {
        return Err(ProofError::NoPod(certificate.identity));
    };
    limit(
        statement,
        MAX_POD_STATEMENT,
        "a statement of more than 1,024 bytes",
    )
    .map_err(ProofError::Statement)?;
    if !statement::verify(
        &certificate.public_key,
        statement::REGISTER,
        statement,
        signature,
    ) {
        return Err(ProofError::Statement(VerifyError::Signature));
    }
    let body: PodStatement = decode(statement).map_err(ProofError::Statement)?;
    check_text(&body.identity).map_err(ProofError::Statement)?;
    if body.nonce.len() != NONCE {
        return Err(ProofError::Statement(VerifyError::Malformed(
            "a nonce of another length than 16 bytes",
        )));
    }
    if body.prefixes_sha256.len() != 32 {
        return Err(ProofError::Statement(VerifyError::Malformed(
            "a hash of prefixes of another length than 32 bytes",
        )));
    }
    if ![0, 32].contains(&body.endpoint_sha256.len()) {
        return Err(ProofError::Statement(VerifyError::Malformed(
            "a hash of the endpoint of another length than 32 bytes",
        )));
    }
    if body.identity != certified {
        return Err(ProofError::Identity {
            stated: body.identity,
            certified,
        });
    }
    if body.gateway != gateway.0 {
        return Err(ProofError::Gateway {
            stated: body.gateway,
            gateway,
        });
    }
    let signed_at_s = body.signed_at_ms / 1000;
    if signed_at_s > now_s.saturating_add(FUTURE_S) {
        return Err(ProofError::Future(signed_at_s - now_s));
    }
    let age_s = now_s.saturating_sub(signed_at_s);
    if age_s > oldest_s {
        return Err(ProofError::Old {
            age_s,
            most_s: oldest_s,
        });
    }
    Ok(Proof {
        identity: certified,
        nonce: body.nonce,
        signed_at_s,
        not_after_s: certificate.not_after_s,
        domain: Some(Domain(body.domain)).filter(|domain| domain.0 != 0),
        prefixes_sha256: body.prefixes_sha256,
        endpoint_sha256: body.endpoint_sha256,
        public_key: certificate.public_key,
    })
}

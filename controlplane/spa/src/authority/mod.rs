//! Answers requests of gateways: checks the pod's proof, applies the policy, signs authorisations in fragments, revokes.

mod fragments;
mod judgement;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dmsc_wire::{Domain, NameBuf, NodeId};
use prost::Message;

use crate::credentials::{Credentials, CredentialsError, SigningKey};
use crate::identity::Identity;
use crate::policy::{Policy, PolicyError};
use crate::proof::{self, ProofError};
use crate::statement::{self, MAX_TEXT};
use crate::verify::{AuthorityCertificate, Certificate, Revocation, RootKey, VerifyError};

use judgement::{Grant, Judge};

/// Most names of one request.
pub const MAX_PREFIXES: usize = 65_536;
/// Most revocations in force.
pub const MAX_REVOCATIONS: usize = 10_000;
/// Clocks of gateways that are behind must not forget a revocation too early, s.
const CLOCK_MARGIN_S: u64 = 3_600;

/// A request, as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// The gateway that asks (from its certificate).
    pub gateway: NodeId,
    /// Tenant.
    pub domain: Domain,
    /// The pod's proof.
    pub pod_certificate: Bytes,
    /// PodStatement bytes.
    pub pod_statement: Bytes,
    /// Over context and statement.
    pub pod_signature: Bytes,
    /// Wanted: all that the pod signed for, in its order.
    pub prefixes: Vec<NameBuf>,
}

/// The answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// SignedAuthorisation each, at most 64 KB: the policy's subtrees and exact names that cover what was wanted (subtrees as the policy has them,
    /// so that one more prefix below asks nobody; of exact names those wanted).
    pub authorisations: Vec<Bytes>,
    /// With a sentence for the pod's owner.
    pub refused: Vec<(NameBuf, String)>,
}

/// One authority.
pub struct Authority {
    key: SigningKey,
    /// As it is sent along.
    signed_certificate: Bytes,
    certificate: AuthorityCertificate,
    root: RootKey,
    policy: Policy,
    serial: u64,
    revocations: Vec<(Revocation, Bytes)>,
    /// Longest time, s, that a prefix can stay after an authorisation of this process was issued.
    horizon_s: u64,
    /// When the last prefix goes that any authorisation of this authority can keep, whatever policy it was signed under; wall clock, s.
    end_s: u64,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// These are not an authority's.
    #[error(
        "the credentials are of {0}, not of an authority; make some with 'dmscctl pki issue … spa NAME'"
    )]
    NoAuthority(Identity),
    /// Key, root or certificate of the authority are of no use.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The authority's own certificate is not believed.
    #[error("authority.bin: {0}")]
    Certificate(VerifyError),
    /// The policy gives away what is not this authority's.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A revocation of before is not believed.
    #[error(
        "revocation {number} of those kept: {source}; restore the file, or remove it if what it revoked may be announced again"
    )]
    Kept {
        /// From 1.
        number: usize,
        /// Why.
        source: VerifyError,
    },
    /// The root took the authority's key or certificate back.
    #[error(
        "authority {0} was revoked by the root and signs nothing; stop it, or give it a new key and certificate: 'dmscctl pki issue'"
    )]
    Revoked(String),
    /// The authority's certificate is not valid now.
    #[error(
        "authority {0} has no valid certificate at this time; check its clock, or renew with 'dmscctl pki issue'"
    )]
    Validity(String),
    /// The pod's proof is not believed.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// Too many names.
    #[error("{0} names in one request, more than {MAX_PREFIXES}; ask in several requests")]
    TooMany(usize),
    /// A revocation beyond the authority's scope.
    #[error("authority {authority} may not speak for {what}; revoke it at the authority that may")]
    Scope {
        /// Its name.
        authority: String,
        /// Name or domain.
        what: String,
    },
    /// A text of a revocation that cannot be sent.
    #[error("{0} must have 1 to 255 bytes")]
    Text(&'static str),
    /// Too many revocations.
    #[error("{MAX_REVOCATIONS} revocations are in force; revoke a subtree instead of single names")]
    Full,
}

impl Authority {
    /// `serial` is the last serial used (persisted by the caller, see [`Authority::serial`]); `revocations` are those of before.
    ///
    /// # Errors
    /// When the credentials are not an authority's, the policy goes beyond its certificate, or a revocation is not its own.
    pub fn new(
        credentials: &Credentials,
        policy: Policy,
        serial: u64,
        revocations: Vec<Bytes>,
    ) -> Result<Self, AuthorityError> {
        let signed_certificate = credentials
            .authority_certificate
            .clone()
            .ok_or_else(|| AuthorityError::NoAuthority(credentials.identity.clone()))?;
        let root = credentials.root_key()?;
        let certificate = root
            .authority_certificate(&signed_certificate)
            .map_err(AuthorityError::Certificate)?;
        let mut authority = Self {
            key: credentials.signing_key()?,
            signed_certificate,
            certificate,
            root,
            serial,
            horizon_s: horizon_s(&policy),
            end_s: 0,
            policy,
            revocations: Vec::new(),
        };
        authority.check_policy(&authority.policy)?;
        for (index, signed) in revocations.into_iter().enumerate() {
            let kept = |source| AuthorityError::Kept {
                number: index + 1,
                source,
            };
            let revocation = authority.root.revocation(&signed).map_err(kept)?;
            if revocation.authority != authority.name() {
                return Err(kept(VerifyError::Scope));
            }
            authority.serial = authority.serial.max(revocation.serial);
            authority.keep(revocation, signed);
        }
        Ok(authority)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.certificate.authority
    }

    /// What the root lets it speak for, and until when.
    #[must_use]
    pub const fn certificate(&self) -> &AuthorityCertificate {
        &self.certificate
    }

    /// Serial of the last statement: start the next process above it. Serials begin with the wall clock in ms, so that one that was lost does no harm.
    #[must_use]
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// When the last prefix goes that this authority authorised (wall clock, s): tell the next process by [`Authority::remember_end`].
    #[must_use]
    pub const fn end_s(&self) -> u64 {
        self.end_s
    }

    /// An earlier process signed what lasts until then.
    pub fn remember_end(&mut self, end_s: u64) {
        self.end_s = self.end_s.max(end_s);
    }

    /// Whether the root took back what this authority signs with.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.root.has_revoked(&Certificate {
            identity: Identity::Authority(self.name().to_owned()),
            public_key: self.certificate.public_key,
            not_before_s: self.certificate.not_before_s,
            not_after_s: self.certificate.not_after_s,
        })
    }

    /// The policy in force.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether every subtree and name of a policy is this authority's to give: routers would believe nothing else. To be asked before
    /// [`Authority::set_policy`].
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn check_policy(&self, policy: &Policy) -> Result<(), PolicyError> {
        let mut mistakes = Vec::new();
        for rule in &policy.rules {
            if !self.certificate.may_speak_in(rule.domain) {
                mistakes.push(format!(
                    "[[policy]] {}: domain {}: authority {} may not speak in it; the root's owner can issue it a certificate that does",
                    rule.identity,
                    rule.domain,
                    self.name()
                ));
            }
            let outside: BTreeSet<&NameBuf> = rule
                .subtrees
                .iter()
                .chain(rule.names.iter())
                .filter(|name| !self.certificate.may_speak_for(name.as_name()))
                .collect();
            if let Some(first) = outside.first() {
                let more = match outside.len() {
                    1 => String::new(),
                    count => format!(" and {} more", count - 1),
                };
                mistakes.push(format!(
                    "[[policy]] {}: {first}{more}: authority {} may not speak for it, only for {}",
                    rule.identity,
                    self.name(),
                    judgement::some(&self.certificate.subtrees)
                ));
            }
        }
        if mistakes.is_empty() {
            Ok(())
        } else {
            Err(PolicyError(mistakes))
        }
    }

    /// From now on. What is beyond the authority's certificate is refused when it is asked for: see [`Authority::check_policy`].
    pub fn set_policy(&mut self, policy: Policy) {
        self.horizon_s = self.horizon_s.max(horizon_s(&policy));
        self.policy = policy;
    }

    /// Error: the proof is not believed (text for the caller). Single prefixes that are not the pod's are refused in the answer. Revoked ones too:
    /// a revocation covers requests until it is lifted, i.e. until `until_s`.
    ///
    /// # Errors
    /// When the proof is not believed, there are too many names, or the authority's certificate is not valid.
    pub fn authorise(&mut self, request: &Request, now_s: u64) -> Result<Answer, AuthorityError> {
        if request.prefixes.len() > MAX_PREFIXES {
            return Err(AuthorityError::TooMany(request.prefixes.len()));
        }
        self.check_validity(now_s)?;
        let proof = proof::check(
            &self.root,
            &request.pod_certificate,
            &request.pod_statement,
            &request.pod_signature,
            request.gateway,
            u64::from(self.policy.proof_s),
            now_s,
        )?;
        proof.check_asked(
            request.domain,
            request.prefixes.iter().map(NameBuf::as_bytes),
        )?;
        let judge = Judge::new(
            &self.certificate,
            &self.policy,
            self.revocations
                .iter()
                .map(|(revocation, _)| revocation)
                .filter(|revocation| revocation.until_s > now_s),
            &proof.identity,
            request.domain,
            request.gateway,
        );
        let mut grants: BTreeMap<(NameBuf, bool), u8> = BTreeMap::new();
        let mut refused = Vec::new();
        for name in &request.prefixes {
            match judge.judge(name) {
                Ok(Grant { name, exact, depth }) => {
                    let most = grants.entry((name, exact)).or_default();
                    *most = depth.max(*most);
                }
                Err(reason) => refused.push((name.clone(), reason)),
            }
        }
        let body = statement::Authorisation {
            authority: self.name().to_owned(),
            domain: request.domain.0,
            gateway: request.gateway.0,
            issued_at_s: now_s,
            // Not longer than who asks and who answers are somebody: routers check the latter.
            not_after_s: (now_s + u64::from(self.policy.authorisation_s))
                .min(self.certificate.not_after_s)
                .min(proof.not_after_s),
            stale_s: self.policy.stale_s,
            identity: proof.identity,
            ..Default::default()
        };
        if !grants.is_empty() {
            self.remember_end(body.not_after_s + u64::from(body.stale_s));
        }
        let mut bodies = fragments::split(body, grants, self.signed_certificate.len());
        let authorisations = bodies
            .drain(..)
            .map(|mut body| {
                body.serial = self.next_serial(now_s);
                self.sign_authorisation(&body)
            })
            .collect();
        Ok(Answer {
            authorisations,
            refused,
        })
    }

    /// Signs a revocation; kept and returned by [`Authority::revocations`]. Domain 0: every domain that this authority may speak for.
    ///
    /// # Errors
    /// When it is beyond the authority's scope or not to be sent.
    pub fn revoke(
        &mut self,
        domain: Domain,
        name: Option<NameBuf>,
        gateway: Option<NodeId>,
        identity: Option<String>,
        reason: &str,
        now_s: u64,
    ) -> Result<Bytes, AuthorityError> {
        self.check_validity(now_s)?;
        let scope = |what: String| AuthorityError::Scope {
            authority: self.name().to_owned(),
            what,
        };
        if domain.0 != 0 && !self.certificate.may_speak_in(domain) {
            return Err(scope(format!("domain {domain}")));
        }
        if let Some(name) = &name
            && !self.certificate.may_speak_for(name.as_name())
        {
            return Err(scope(name.to_string()));
        }
        if !(1..=MAX_TEXT).contains(&reason.len()) {
            return Err(AuthorityError::Text("the reason"));
        }
        if let Some(identity) = &identity
            && !(1..=MAX_TEXT).contains(&identity.len())
        {
            return Err(AuthorityError::Text("the identity"));
        }
        self.revocations
            .retain(|(revocation, _)| revocation.until_s > now_s);
        if self.revocations.len() >= MAX_REVOCATIONS {
            return Err(AuthorityError::Full);
        }
        let serial = self.next_serial(now_s);
        // Serials begin with the time of issue and only ascend: whatever was signed before a clock went back is ended, too.
        let issued_before_s = (serial / 1_000)
            .max(now_s)
            .min(self.certificate.not_after_s);
        let body = statement::Revocation {
            authority: self.name().to_owned(),
            serial,
            domain: domain.0,
            name: name
                .map(|name| Bytes::copy_from_slice(name.as_bytes()))
                .unwrap_or_default(),
            gateway: gateway.map_or(0, |gateway| gateway.0),
            identity: identity.unwrap_or_default(),
            issued_before_s,
            // Not before the last of what it ends would have gone, whatever policy that was signed under.
            until_s: (issued_before_s + self.horizon_s).max(self.end_s) + CLOCK_MARGIN_S,
            reason: reason.to_owned(),
            conditions: 0,
        };
        let statement = Bytes::from(body.encode_to_vec());
        let signed = statement::SignedRevocation {
            signature: statement::sign(&self.key, statement::REVOCATION, &statement),
            statement,
            authority_certificate: self.signed_certificate.clone(),
        };
        let signed = Bytes::from(signed.encode_to_vec());
        // What routers would not believe must not be kept either.
        let revocation = self
            .root
            .revocation(&signed)
            .map_err(AuthorityError::Certificate)?;
        self.keep(revocation, signed.clone());
        Ok(signed)
    }

    /// In force.
    #[must_use]
    pub fn revocations(&self, now_s: u64) -> Vec<Bytes> {
        self.revocations
            .iter()
            .filter(|(revocation, _)| revocation.until_s > now_s)
            .map(|(_, signed)| signed.clone())
            .collect()
    }

    /// A later revocation of the same takes the place of the earlier one, so that repeating it costs nothing.
    fn keep(&mut self, revocation: Revocation, signed: Bytes) {
        self.revocations.retain(|(other, _)| {
            (other.domain, &other.name, other.gateway, &other.identity)
                != (
                    revocation.domain,
                    &revocation.name,
                    revocation.gateway,
                    &revocation.identity,
                )
        });
        self.revocations.push((revocation, signed));
    }

    fn next_serial(&mut self, now_s: u64) -> u64 {
        self.serial = self
            .serial
            .saturating_add(1)
            .max(now_s.saturating_mul(1000));
        self.serial
    }

    fn check_validity(&self, now_s: u64) -> Result<(), AuthorityError> {
        if self.is_revoked() {
            return Err(AuthorityError::Revoked(self.name().to_owned()));
        }
        if (self.certificate.not_before_s..=self.certificate.not_after_s).contains(&now_s) {
            Ok(())
        } else {
            Err(AuthorityError::Validity(self.name().to_owned()))
        }
    }

    fn sign_authorisation(&self, body: &statement::Authorisation) -> Bytes {
        let statement = Bytes::from(body.encode_to_vec());
        statement::SignedAuthorisation {
            signature: statement::sign(&self.key, statement::AUTHORISATION, &statement),
            statement,
            authority_certificate: self.signed_certificate.clone(),
        }
        .encode_to_vec()
        .into()
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("certificate", &self.certificate)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

fn horizon_s(policy: &Policy) -> u64 {
    u64::from(policy.authorisation_s) + u64::from(policy.stale_s)
}

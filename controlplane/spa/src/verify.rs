//! What every router does: X.509 certificates and signed statements against the one root. Wall clock in s since 1970 is given by the caller.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
/// What is believed, in the words of the link state, which uses it. Expiry is not judged here.
pub use dmsc_linkstate::trust::{Authorisation, Grant, Revocation, RevokedSubject, RootRevocation};
use dmsc_wire::{Domain, NameBuf, NodeId};
use prost::Message;

pub use crate::authority_certificate::AuthorityCertificate;
use crate::identity::{Identity, check_trust_domain};
use crate::statement::{self, MAX_AUTHORITY_NAME, MAX_REVOKED_KEYS, MAX_SCOPE, MAX_TEXT};
use crate::void::Void;
use crate::x509;

/// The root's public key and trust domain, taken from its certificate, and what the root took back. Clones hear of revocations together.
/// Keeps no cache: callers that see the same bytes again and again do.
#[derive(Debug, Clone)]
pub struct RootKey {
    public_key: [u8; 32],
    trust_domain: Arc<str>,
    void: Arc<RwLock<Void>>,
}

/// The same root, whatever each knows of revocations.
impl PartialEq for RootKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.public_key, &self.trust_domain) == (&other.public_key, &other.trust_domain)
    }
}

impl Eq for RootKey {}

/// A certificate that the root signed and that is valid now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Who.
    pub identity: Identity,
    /// Its key.
    pub public_key: [u8; 32],
    /// Wall clock, s.
    pub not_before_s: u64,
    /// Wall clock, s.
    pub not_after_s: u64,
}

/// Why something is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Not decodable, or beyond a limit.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A signature is wrong, or not by who should have signed.
    #[error("bad signature")]
    Signature,
    /// Not yet or no longer valid.
    #[error("outside of its validity")]
    Validity,
    /// The root took it back.
    #[error("revoked by the root; a new key and certificate are needed: dmscctl pki issue")]
    Revoked,
    /// Genuine, and of a later version: kept and flooded, and not applied.
    #[error("of a later version")]
    NotUnderstood,
    /// The authority may not speak for what it signed.
    #[error("the authority may not speak for this name or domain")]
    Scope,
}

impl RootKey {
    /// From the root's certificate, DER: self-signed, may sign certificates, `spiffe://<trust domain>` without a path.
    ///
    /// # Errors
    /// When it is no root.
    pub fn from_certificate(der: &[u8]) -> Result<Self, VerifyError> {
        let parsed = x509::parse(der)?;
        if !parsed.is_ca {
            return Err(VerifyError::Malformed("a root that is no CA"));
        }
        let trust_domain = parsed
            .uri
            .strip_prefix("spiffe://")
            .filter(|text| check_trust_domain(text).is_ok())
            .ok_or(VerifyError::Malformed("a root without a trust domain"))?;
        if !parsed.is_signed_by(&parsed.public_key) {
            return Err(VerifyError::Signature);
        }
        Ok(Self {
            public_key: parsed.public_key,
            trust_domain: trust_domain.into(),
            void: Arc::default(),
        })
    }

    /// The root's public key.
    #[must_use]
    pub const fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    /// The trust domain, e.g. `dmsc.test`.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// From now on, here and in all clones, what this names is void. Whether it voids anything more than before.
    pub fn revoke(&self, revocation: &RootRevocation) -> bool {
        let mut void = self.void.write().unwrap_or_else(PoisonError::into_inner);
        void.add(revocation)
    }

    fn void(&self) -> RwLockReadGuard<'_, Void> {
        self.void.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether certificates of this node were ever taken back; newer ones are good.
    #[must_use]
    pub fn has_revoked_node(&self, node: NodeId) -> bool {
        self.void().has_node(node)
    }

    /// Whether this public key was taken back.
    #[must_use]
    pub fn has_revoked_key(&self, public_key: &[u8; 32]) -> bool {
        self.void().has_key(public_key)
    }

    /// Whether a certificate that was believed is void: itself, or its key.
    #[must_use]
    pub fn has_revoked(&self, certificate: &Certificate) -> bool {
        self.void().has_certificate(certificate)
    }

    /// Whether the authority or the key that signed it was taken back: such an authorisation covers nothing.
    #[must_use]
    pub fn has_revoked_authority_of(&self, authorisation: &Authorisation) -> bool {
        self.void().has_authorisation(authorisation)
    }

    /// A certificate, DER, that the root signed for a single identity of its trust domain, that is valid now (both ends included), and that was not
    /// taken back.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn certificate(&self, der: &[u8], now_s: u64) -> Result<Certificate, VerifyError> {
        let certificate = self.certificate_of_any_time(der)?;
        if !(certificate.not_before_s..=certificate.not_after_s).contains(&now_s) {
            return Err(VerifyError::Validity);
        }
        if self.has_revoked(&certificate) {
            return Err(VerifyError::Revoked);
        }
        Ok(certificate)
    }

    /// As [`RootKey::certificate`], and it is a scheduling center's: the key of it may sign policies (design §8).
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn center_certificate(&self, der: &[u8], now_s: u64) -> Result<Certificate, VerifyError> {
        let certificate = self.certificate(der, now_s)?;
        match certificate.identity {
            Identity::Center(_) => Ok(certificate),
            _ => Err(VerifyError::Malformed(
                "a certificate that is not a scheduling center's",
            )),
        }
    }

    /// As [`RootKey::certificate`], but its validity, and whether it was taken back, is for the caller to judge.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn certificate_of_any_time(&self, der: &[u8]) -> Result<Certificate, VerifyError> {
        let parsed = x509::parse(der)?;
        if !parsed.is_signed_by(&self.public_key) {
            return Err(VerifyError::Signature);
        }
        if parsed.is_ca || !parsed.signs {
            return Err(VerifyError::Malformed(
                "a certificate that is not for signing messages",
            ));
        }
        let (trust_domain, identity) = Identity::parse_spiffe_id(&parsed.uri)
            .map_err(|_| VerifyError::Malformed("a certificate with an unknown SPIFFE id"))?;
        if trust_domain != &*self.trust_domain {
            return Err(VerifyError::Malformed(
                "a certificate of another trust domain",
            ));
        }
        Ok(Certificate {
            identity,
            public_key: parsed.public_key,
            not_before_s: parsed.not_before_s,
            not_after_s: parsed.not_after_s,
        })
    }

    /// A SignedAuthorityCertificate. Its validity is for the caller to judge.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn authority_certificate(
        &self,
        signed: &[u8],
    ) -> Result<AuthorityCertificate, VerifyError> {
        limit(
            signed,
            statement::MAX_AUTHORITY_CERTIFICATE,
            "an authority certificate of more than 16,384 bytes",
        )?;
        let signed: statement::SignedAuthorityCertificate = decode_canonical(signed)?;
        if !statement::verify(
            &self.public_key,
            statement::AUTHORITY_CERTIFICATE,
            &signed.statement,
            &signed.signature,
        ) {
            return Err(VerifyError::Signature);
        }
        let body: statement::AuthorityCertificate = decode_shared(signed.statement)?;
        check_authority_name(&body.authority)?;
        let public_key = <[u8; 32]>::try_from(body.public_key.as_ref())
            .map_err(|_| VerifyError::Malformed("a public key of another length"))?;
        if body.subtrees.len() > MAX_SCOPE || body.domains.len() > MAX_SCOPE {
            return Err(VerifyError::Malformed(
                "an authority with more than 256 subtrees or domains",
            ));
        }
        let subtrees = match body.subtrees.as_slice() {
            // Nothing at all is a mistake, not everything: "everything" is written as one empty entry.
            [] => return Err(VerifyError::Malformed("an authority without subtrees")),
            [everything] if everything.is_empty() => Vec::new(),
            subtrees => subtrees
                .iter()
                .map(|subtree| name(subtree))
                .collect::<Result<_, _>>()?,
        };
        Ok(AuthorityCertificate {
            authority: body.authority,
            public_key,
            subtrees,
            domains: body.domains.into_iter().map(Domain).collect(),
            not_before_s: body.not_before_s,
            not_after_s: body.not_after_s,
            serial: body.serial,
        })
    }

    /// A SignedAuthorisation: signed by an authority that may speak for every name in it, and issued and ending while the authority's certificate
    /// is valid, so that a key that has expired cannot sign anything that has not. What a later version asks for (conditions, rights, gateway 0) is
    /// believed, so that it is kept and flooded, but without the grants that are not understood.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn authorisation(&self, signed: &[u8]) -> Result<Authorisation, VerifyError> {
        limit(
            signed,
            statement::MAX_AUTHORISATION,
            "an authorisation of more than 65,536 bytes",
        )?;
        let signed: statement::SignedAuthorisation = decode_canonical(signed)?;
        let authority = self.authority_certificate(&signed.authority_certificate)?;
        authority.verify(
            statement::AUTHORISATION,
            &signed.statement,
            &signed.signature,
        )?;
        let body: statement::Authorisation = decode_shared(signed.statement)?;
        if body.domain == 0 {
            return Err(VerifyError::Malformed("an authorisation in no domain"));
        }
        authority.check_speaker(&body.authority, body.domain)?;
        check_text(&body.identity)?;
        if body.identity.is_empty() || body.grants.is_empty() {
            return Err(VerifyError::Malformed(
                "an authorisation for nobody or nothing",
            ));
        }
        if body.fragment == 0 || body.fragment > body.fragments {
            return Err(VerifyError::Malformed("a fragment with a wrong number"));
        }
        if body.issued_at_s > body.not_after_s
            || body.issued_at_s < authority.not_before_s
            || body.not_after_s > authority.not_after_s
        {
            return Err(VerifyError::Validity);
        }
        let mut grants = Vec::with_capacity(body.grants.len());
        for grant in &body.grants {
            // Checked even if it is of no use: what is not the authority's is not flooded.
            let checked = authority.grant(grant)?;
            if grant.rights == 0 {
                grants.push(checked);
            }
        }
        if body.conditions != 0 || body.gateway == 0 {
            grants.clear();
        }
        Ok(Authorisation {
            authority: body.authority,
            authority_key: statement::sha256(&authority.public_key),
            authority_issued_s: authority.not_before_s,
            serial: body.serial,
            domain: Domain(body.domain),
            gateway: NodeId(body.gateway),
            identity: body.identity,
            issued_at_s: body.issued_at_s,
            not_after_s: body.not_after_s,
            stale_s: body.stale_s,
            grants,
            fragment: body.fragment,
            fragments: body.fragments,
        })
    }

    /// A SignedRevocation: signed by an authority that may speak for its name.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn revocation(&self, signed: &[u8]) -> Result<Revocation, VerifyError> {
        limit(
            signed,
            statement::MAX_REVOCATION,
            "a revocation of more than 20,000 bytes",
        )?;
        let signed: statement::SignedRevocation = decode_canonical(signed)?;
        let authority = self.authority_certificate(&signed.authority_certificate)?;
        authority.verify(statement::REVOCATION, &signed.statement, &signed.signature)?;
        let body: statement::Revocation = decode_shared(signed.statement)?;
        if body.conditions != 0 {
            return Err(VerifyError::NotUnderstood);
        }
        match body.domain {
            // Every domain that it may speak for.
            0 => authority.check_name(&body.authority)?,
            domain => authority.check_speaker(&body.authority, domain)?,
        }
        check_text(&body.identity)?;
        check_text(&body.reason)?;
        if !(authority.not_before_s..=authority.not_after_s).contains(&body.issued_before_s)
            || body.until_s < body.issued_before_s
        {
            return Err(VerifyError::Validity);
        }
        let name = match body.name.as_ref() {
            [] => None,
            bytes => Some(name(bytes)?),
        };
        if name
            .as_ref()
            .is_some_and(|name| !authority.may_speak_for(name.as_name()))
        {
            return Err(VerifyError::Scope);
        }
        Ok(Revocation {
            authority: body.authority,
            serial: body.serial,
            domain: Some(Domain(body.domain)).filter(|domain| domain.0 != 0),
            name,
            gateway: Some(NodeId(body.gateway)).filter(|gateway| gateway.is_some()),
            identity: Some(body.identity).filter(|identity| !identity.is_empty()),
            issued_before_s: body.issued_before_s,
            until_s: body.until_s,
            subtrees: authority.subtrees,
            domains: authority.domains,
            reason: body.reason,
        })
    }

    /// A SignedRootRevocation: signed by the root itself.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn root_revocation(&self, signed: &[u8]) -> Result<RootRevocation, VerifyError> {
        limit(
            signed,
            statement::MAX_ROOT_REVOCATION,
            "a root revocation of more than 1,024 bytes",
        )?;
        let signed: statement::SignedRootRevocation = decode_canonical(signed)?;
        if !statement::verify(
            &self.public_key,
            statement::ROOT_REVOCATION,
            &signed.statement,
            &signed.signature,
        ) {
            return Err(VerifyError::Signature);
        }
        let body: statement::RootRevocation = decode_shared(signed.statement)?;
        if body.conditions != 0 {
            return Err(VerifyError::NotUnderstood);
        }
        check_text(&body.reason)?;
        let subject = subject(&body)?;
        if body.until_s < body.issued_before_s {
            return Err(VerifyError::Validity);
        }
        Ok(RootRevocation {
            subject,
            issued_before_s: body.issued_before_s,
            until_s: body.until_s,
            reason: body.reason,
        })
    }
}

/// Exactly one of node, authority and keys.
fn subject(body: &statement::RootRevocation) -> Result<RevokedSubject, VerifyError> {
    let one = Err(VerifyError::Malformed(
        "a root revocation that is not of exactly one of node, authority and keys",
    ));
    match (
        body.node,
        body.authority.as_str(),
        body.key_sha256.as_slice(),
    ) {
        (0, "", []) => Err(VerifyError::NotUnderstood),
        (node, "", []) => Ok(RevokedSubject::Node(NodeId(node))),
        (0, authority, []) => {
            check_authority_name(authority)?;
            Ok(RevokedSubject::Authority(authority.to_owned()))
        }
        (0, "", keys) => {
            if keys.len() > MAX_REVOKED_KEYS {
                return Err(VerifyError::Malformed(
                    "a root revocation of more than 16 keys",
                ));
            }
            let hash = |key: &Bytes| <[u8; 32]>::try_from(key.as_ref()).ok();
            let keys = keys.iter().map(hash).collect::<Option<_>>();
            keys.map(RevokedSubject::Keys)
                .ok_or(VerifyError::Malformed("a key's hash of another length"))
        }
        _ => one,
    }
}

/// Ed25519.
#[must_use]
pub fn verify(public_key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public_key)
        .verify(message, signature)
        .is_ok()
}

/// Limits come before decoding: what is decoded stays within a small multiple of what was carried.
pub(crate) fn limit(bytes: &[u8], most: usize, what: &'static str) -> Result<(), VerifyError> {
    if bytes.len() > most {
        return Err(VerifyError::Malformed(what));
    }
    Ok(())
}

/// What carries a statement is not signed: with more than one form of it, anybody could make many of one statement.
fn decode_canonical<M: Message + Default>(bytes: &[u8]) -> Result<M, VerifyError> {
    let message: M = decode(bytes)?;
    if message.encode_to_vec() == bytes {
        Ok(message)
    } else {
        Err(VerifyError::Malformed(
            "a statement that is not carried canonically",
        ))
    }
}

pub(crate) fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, VerifyError> {
    decode_shared(Bytes::copy_from_slice(bytes))
}

fn decode_shared<M: Message + Default>(bytes: Bytes) -> Result<M, VerifyError> {
    M::decode(bytes).map_err(|_| VerifyError::Malformed("no protobuf of this message"))
}

pub(crate) fn name(bytes: &[u8]) -> Result<NameBuf, VerifyError> {
    NameBuf::from_bytes(bytes).map_err(|_| VerifyError::Malformed("a name that is not canonical"))
}

pub(crate) fn check_text(text: &str) -> Result<(), VerifyError> {
    limit(text.as_bytes(), MAX_TEXT, "a text of more than 255 bytes")
}

fn check_authority_name(name: &str) -> Result<(), VerifyError> {
    limit(
        name.as_bytes(),
        MAX_AUTHORITY_NAME,
        "an authority's name of more than 64 bytes",
    )?;
    if name.is_empty() {
        return Err(VerifyError::Malformed("an authority without a name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_revocation_is_of_exactly_one_kind() {
        let key = |length| Bytes::from(vec![1; length]);
        let of = |node, authority: &str, key_sha256| {
            subject(&statement::RootRevocation {
                node,
                authority: authority.to_owned(),
                key_sha256,
                ..Default::default()
            })
        };
        assert_eq!(of(1, "", vec![]), Ok(RevokedSubject::Node(NodeId(1))));
        assert!(of(0, "spa1", vec![]).is_ok() && of(0, "", vec![key(32); 16]).is_ok());
        for (node, authority, keys) in [
            (0, "", vec![]),
            (1, "spa1", vec![]),
            (1, "", vec![key(32)]),
            (0, "spa1", vec![key(32)]),
            (0, "", vec![key(31)]),
            (0, "", vec![key(32); 17]),
            (0, "x".repeat(65).as_str(), vec![]),
        ] {
            assert!(of(node, authority, keys).is_err(), "{node} {authority}");
        }
    }
}

//! What the body of an object says, checked by its kind.

use std::time::Duration;

use super::Engine;
use super::body::{self, AdjacencyBody, Prefix};
use super::lifetime::AHEAD;
use super::lsdb::body_id;
use super::own::ADJACENCY_ID;
use super::receive::Refusal;
use crate::object::{Kind, MAX_BODY, MAX_CERTIFICATE, MAX_LIFETIME_S, Object};
use crate::trust::{Authorisation, Revocation, RootRevocation, TrustError};

/// A checked body.
#[derive(Debug)]
pub enum Parsed {
    /// Links.
    Adjacency(AdjacencyBody),
    /// Prefixes.
    Prefixes(Vec<Prefix>),
    /// By an authority.
    Authorisation(Authorisation),
    /// By an authority.
    Revocation(Revocation),
    /// By the root.
    RootRevocation(RootRevocation),
    /// Prefixes that are those of the version before, and all in use.
    Unchanged,
    /// Withdrawn.
    Purge,
    /// Of an unknown kind, or not to be used: kept and flooded only.
    Opaque,
}

impl Engine {
    /// Limits and times that cost nothing to look at.
    pub(super) fn check_shape(&self, object: &Object) -> Result<(), Refusal> {
        if object.body.len() > MAX_BODY || object.certificate.len() > MAX_CERTIFICATE {
            return Err(Refusal::TooLarge);
        }
        if object.key.kind.0 == 0 || !object.key.origin.is_some() {
            return Err(Refusal::Malformed("kind or origin is 0"));
        }
        if object.area != self.config.area {
            return Err(Refusal::Malformed("of another area"));
        }
        if object.lifetime_s == 0 || object.lifetime_s > MAX_LIFETIME_S {
            return Err(Refusal::Malformed("lifetime outside of 1..=86,400 s"));
        }
        if object.certificate.is_empty() {
            return Err(Refusal::Malformed("no certificate"));
        }
        if object.is_purge() && !object.body.is_empty() {
            return Err(Refusal::Malformed("a purge with a body"));
        }
        if object.age_s >= object.lifetime_s {
            return Err(Refusal::Over);
        }
        if self.clock.is_frozen() {
            return Ok(()); // nobody knows what time it is
        }
        let originated = Duration::from_millis(object.originated_at_ms);
        let end = originated.saturating_add(Duration::from_secs(u64::from(object.lifetime_s)));
        if end < self.now.wall {
            return Err(Refusal::Over);
        }
        if originated > self.now.wall.saturating_add(AHEAD) {
            return Err(Refusal::Malformed("originated in the future"));
        }
        Ok(())
    }

    /// Checks a body by its kind.
    pub(super) fn parse(&mut self, object: &Object) -> Result<Parsed, Refusal> {
        let key = object.key;
        let body = object.body.as_ref();
        if object.is_purge() {
            return Ok(Parsed::Purge);
        }
        let is_its_id = || {
            if key.id == body_id(body) {
                Ok(())
            } else {
                Err(Refusal::Malformed("the id is not that of its body"))
            }
        };
        Ok(match key.kind {
            // One object says all links of a node; others are reserved, and must not make a graph larger than the limits of one.
            Kind::ADJACENCY if key.id == ADJACENCY_ID => Parsed::Adjacency(body::adjacency(body)?),
            Kind::ADJACENCY => Parsed::Opaque,
            Kind::PREFIX => Parsed::Prefixes(body::used_prefixes(body, key.origin)?),
            Kind::AUTHORISATION => {
                is_its_id()?;
                let authorisation = match self.trust.authorisation(body, self.now) {
                    // Kept by those who had it before its authority was revoked, so by all: else digests differ.
                    Err(TrustError::Revoked) => return Ok(Parsed::Opaque),
                    answer => answer?,
                };
                if !authorisation.gateway.is_some() {
                    // For any gateway, on conditions that this version does not know.
                    return Ok(Parsed::Opaque);
                }
                if authorisation.gateway != key.origin {
                    return Err(Refusal::Malformed("authorises another gateway"));
                }
                Parsed::Authorisation(authorisation)
            }
            Kind::REVOCATION => {
                is_its_id()?;
                match self.trust.revocation(body, self.now) {
                    Err(TrustError::NotUnderstood) => Parsed::Opaque,
                    answer => Parsed::Revocation(answer?),
                }
            }
            Kind::ROOT_REVOCATION => {
                is_its_id()?;
                match self.trust.root_revocation(body, self.now) {
                    Err(TrustError::NotUnderstood) => Parsed::Opaque,
                    answer => Parsed::RootRevocation(answer?),
                }
            }
            _ => Parsed::Opaque,
        })
    }
}

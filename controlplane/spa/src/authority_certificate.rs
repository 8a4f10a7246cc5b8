//! For what the root lets an authority speak, and whether it may have signed what it did.

use dmsc_wire::name::MAX_COMPONENTS;
use dmsc_wire::{Domain, Name, NameBuf};

use crate::statement;
use crate::verify::{self, Grant, VerifyError};

/// What the root lets an authority's key speak for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityCertificate {
    /// Its name.
    pub authority: String,
    /// Its key.
    pub public_key: [u8; 32],
    /// Subtrees; empty = everything.
    pub subtrees: Vec<NameBuf>,
    /// Domains; empty = all.
    pub domains: Vec<Domain>,
    /// Wall clock, s.
    pub not_before_s: u64,
    /// Wall clock, s.
    pub not_after_s: u64,
    /// Of this certificate.
    pub serial: u64,
}

impl AuthorityCertificate {
    /// Whether its scope has `name`. Names of routers are nobody's.
    #[must_use]
    pub fn may_speak_for(&self, name: Name<'_>) -> bool {
        !name.is_reserved()
            && (self.subtrees.is_empty()
                || self
                    .subtrees
                    .iter()
                    .any(|subtree| subtree.as_name().is_prefix_of(name)))
    }

    /// Whether its scope has `domain`.
    #[must_use]
    pub fn may_speak_in(&self, domain: Domain) -> bool {
        self.domains.is_empty() || self.domains.contains(&domain)
    }

    pub(crate) fn verify(
        &self,
        context: &[u8],
        statement: &[u8],
        signature: &[u8],
    ) -> Result<(), VerifyError> {
        if statement::verify(&self.public_key, context, statement, signature) {
            Ok(())
        } else {
            Err(VerifyError::Signature)
        }
    }

    pub(crate) fn check_name(&self, authority: &str) -> Result<(), VerifyError> {
        if authority == self.authority {
            Ok(())
        } else {
            Err(VerifyError::Malformed(
                "a statement in another authority's name",
            ))
        }
    }

    pub(crate) fn check_speaker(&self, authority: &str, domain: u32) -> Result<(), VerifyError> {
        self.check_name(authority)?;
        if !self.may_speak_in(Domain(domain)) {
            return Err(VerifyError::Scope);
        }
        Ok(())
    }

    pub(crate) fn grant(&self, grant: &statement::Grant) -> Result<Grant, VerifyError> {
        let name = verify::name(&grant.name)?;
        if !self.may_speak_for(name.as_name()) {
            return Err(VerifyError::Scope);
        }
        let depth = match grant.maximum_depth {
            0 => MAX_COMPONENTS as u8,
            depth if depth as usize <= MAX_COMPONENTS => depth as u8,
            _ => {
                return Err(VerifyError::Malformed("a grant deeper than 16 components"));
            }
        };
        Ok(Grant {
            name,
            exact: grant.exact,
            maximum_depth: depth,
        })
    }
}

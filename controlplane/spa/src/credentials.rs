//! A folder with credentials: `cert.pem` `key.pem` (PKCS#8, Ed25519, mode 600) `root.pem`; an authority's also has `authority.bin` (its SignedAuthorityCertificate).

use std::path::Path;

use crate::identity::Identity;

/// Credentials of one process.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Who.
    pub identity: Identity,
    /// Certificate, PEM, for TLS.
    pub certificate_pem: String,
    /// Private key, PEM, for TLS.
    pub key_pem: String,
    /// Root certificate, PEM.
    pub root_pem: String,
    /// Certificate, DER.
    pub certificate_der: bytes::Bytes,
    /// Root certificate, DER.
    pub root_der: bytes::Bytes,
    /// Of an authority.
    pub authority_certificate: Option<bytes::Bytes>,
}

/// Signs with the key of credentials. Cheap to clone.
#[derive(Clone)]
pub struct SigningKey(std::sync::Arc<ring::signature::Ed25519KeyPair>);

#[allow(missing_docs, clippy::missing_errors_doc)]
impl Credentials {
    /// Reads a folder; checks that key, certificate and root belong together. Errors name file and reason.
    pub fn load(folder: &Path) -> Result<Self, CredentialsError> {
        let _ = folder;
        todo!()
    }
    pub fn signing_key(&self) -> Result<SigningKey, CredentialsError> {
        todo!()
    }
}

impl SigningKey {
    /// Ed25519 signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.sign(message).as_ref());
        bytes
    }
}

/// Why a folder is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CredentialsError(pub String);

//! A folder with credentials: `cert.pem` `key.pem` (PKCS#8, Ed25519, mode 600) `root.pem`; an authority's also has `authority.bin` (its SignedAuthorityCertificate).

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::files::pem_block;
use crate::identity::Identity;
use crate::verify::{RootKey, VerifyError};

/// File names within a folder.
pub const CERTIFICATE_FILE: &str = "cert.pem";
/// The private key.
pub const KEY_FILE: &str = "key.pem";
/// The root's certificate.
pub const ROOT_FILE: &str = "root.pem";
/// An authority's SignedAuthorityCertificate.
pub const AUTHORITY_FILE: &str = "authority.bin";

/// Credentials of one process.
#[derive(Clone)]
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
    pub certificate_der: Bytes,
    /// Root certificate, DER.
    pub root_der: Bytes,
    /// Of an authority.
    pub authority_certificate: Option<Bytes>,
    /// Shared by all who verify.
    root: RootKey,
}

/// Signs with the key of credentials. Cheap to clone.
#[derive(Clone)]
pub struct SigningKey(Arc<Ed25519KeyPair>);

/// Why a folder is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file could not be read.
    #[error("{}: cannot be read: {source}; make credentials with 'dmscctl pki issue'", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key is readable by everybody on this machine.
    #[error("{}: may be read by others; run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The key.
        path: PathBuf,
    },
    /// Not one PEM block of the right kind.
    #[error("{}: must hold one PEM block {label:?} and nothing else", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// The label that was looked for.
        label: &'static str,
    },
    /// Not an Ed25519 key in PKCS#8.
    #[error("{}: no Ed25519 key in PKCS#8", path.display())]
    Key {
        /// The key.
        path: PathBuf,
    },
    /// Not believed.
    #[error("{}: {source}", path.display())]
    Verify {
        /// Which.
        path: PathBuf,
        /// Why.
        source: VerifyError,
    },
    /// Two files that do not belong together.
    #[error("{}: is not of {}; issue both again into one folder", path.display(), other.display())]
    Mismatch {
        /// One.
        path: PathBuf,
        /// The other.
        other: PathBuf,
    },
}

impl Credentials {
    /// Reads a folder; checks that key, certificate and root belong together. Errors name file and reason.
    /// Validity is not judged: there is no clock here, and [`RootKey::certificate`] does.
    ///
    /// # Errors
    /// The first file that is of no use.
    pub fn load(folder: &Path) -> Result<Self, CredentialsError> {
        let file = |name: &str| folder.join(name);
        let (root_pem, root_der) = certificate(&file(ROOT_FILE))?;
        let root =
            RootKey::from_certificate(&root_der).map_err(|source| CredentialsError::Verify {
                path: file(ROOT_FILE),
                source,
            })?;
        let (certificate_pem, certificate_der) = certificate(&file(CERTIFICATE_FILE))?;
        let certificate = root
            .certificate_of_any_time(&certificate_der)
            .map_err(|source| match source {
                VerifyError::Signature => CredentialsError::Mismatch {
                    path: file(CERTIFICATE_FILE),
                    other: file(ROOT_FILE),
                },
                source => CredentialsError::Verify {
                    path: file(CERTIFICATE_FILE),
                    source,
                },
            })?;
        let key_pem = private_key(&file(KEY_FILE))?;
        let key = SigningKey::from_pem(&key_pem, &file(KEY_FILE))?;
        if key.public_key() != certificate.public_key {
            return Err(CredentialsError::Mismatch {
                path: file(CERTIFICATE_FILE),
                other: file(KEY_FILE),
            });
        }
        let authority_certificate = match &certificate.identity {
            Identity::Authority(name) => {
                let path = file(AUTHORITY_FILE);
                let signed = fs::read(&path).map_err(|source| CredentialsError::Read {
                    path: path.clone(),
                    source,
                })?;
                let authority = root.authority_certificate(&signed).map_err(|source| {
                    CredentialsError::Verify {
                        path: path.clone(),
                        source,
                    }
                })?;
                if authority.authority != *name || authority.public_key != certificate.public_key {
                    return Err(CredentialsError::Mismatch {
                        path,
                        other: file(CERTIFICATE_FILE),
                    });
                }
                Some(Bytes::from(signed))
            }
            _ => None,
        };
        Ok(Self {
            identity: certificate.identity,
            certificate_pem,
            key_pem,
            root_pem,
            certificate_der,
            root_der,
            authority_certificate,
            root,
        })
    }

    /// The key, to sign with.
    ///
    /// # Errors
    /// When the fields were not made by [`Credentials::load`] and the key is none.
    pub fn signing_key(&self) -> Result<SigningKey, CredentialsError> {
        SigningKey::from_pem(&self.key_pem, Path::new(KEY_FILE))
    }

    /// The root, to verify others with. All that a process gets from the same credentials hear of revocations together.
    ///
    /// # Errors
    /// None now: it was checked when the credentials were read.
    pub fn root_key(&self) -> Result<RootKey, CredentialsError> {
        Ok(self.root.clone())
    }
}

impl fmt::Debug for Credentials {
    /// Without the key: this is printed into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    pub(crate) fn from_pem(pem: &str, path: &Path) -> Result<Self, CredentialsError> {
        let der = pem_block(pem, "PRIVATE KEY").ok_or_else(|| CredentialsError::Pem {
            path: path.to_path_buf(),
            label: "PRIVATE KEY",
        })?;
        // "maybe unchecked": keys of other tools lack the public half (PKCS#8 version 1), which is then computed.
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map(|pair| Self(Arc::new(pair)))
            .map_err(|_| CredentialsError::Key {
                path: path.to_path_buf(),
            })
    }

    /// Ed25519 signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.sign(message).as_ref());
        bytes
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        bytes
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

fn read(path: &Path) -> Result<String, CredentialsError> {
    fs::read_to_string(path).map_err(|source| CredentialsError::Read {
        path: path.to_path_buf(),
        source,
    })
}

/// The certificate of a PEM text that has one and nothing else, DER.
#[must_use]
pub fn certificate_der(pem: &str) -> Option<Vec<u8>> {
    pem_block(pem, "CERTIFICATE")
}

/// A certificate file: PEM and DER.
pub(crate) fn certificate(path: &Path) -> Result<(String, Bytes), CredentialsError> {
    let pem = read(path)?;
    let der = certificate_der(&pem).ok_or_else(|| CredentialsError::Pem {
        path: path.to_path_buf(),
        label: "CERTIFICATE",
    })?;
    Ok((pem, der.into()))
}

/// A private key, if only its owner and group may read it.
pub(crate) fn private_key(path: &Path) -> Result<String, CredentialsError> {
    let pem = read(path)?;
    let mode = fs::metadata(path)
        .map_err(|source| CredentialsError::Read {
            path: path.to_path_buf(),
            source,
        })?
        .permissions()
        .mode();
    // The group is the operator's decision: secrets that a container engine mounts are readable by one.
    if mode & 0o007 != 0 {
        return Err(CredentialsError::Exposed {
            path: path.to_path_buf(),
        });
    }
    Ok(pem)
}

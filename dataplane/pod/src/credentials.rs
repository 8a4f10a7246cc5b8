//! A pod's certificate and key: what it shows its gateway, and what it signs with (design §7).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use dmsc_proto::v1;
use prost::Message;
use ring::digest::{Context, SHA256};
use ring::signature::Ed25519KeyPair;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// The server name in the certificate of every gateway.
const GATEWAY: &str = "gateway.dmsc.internal";
/// In front of a statement when it is signed, so that no signature means anything elsewhere.
const CONTEXT: &[u8] = b"dmsc-register-v1\0";

/// Credentials that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file of the folder.
    #[error("{}: cannot be read: {cause}; the folder needs cert.pem, key.pem and root.pem, and this user must be allowed to read them", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The key.
    #[error(
        "{}: {cause}; an Ed25519 private key in PKCS#8 PEM (\"BEGIN PRIVATE KEY\") is needed", path.display()
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// Certificate, key and root do not make a TLS client.
    #[error("{}: cert.pem, key.pem and root.pem do not fit together: {cause}", folder.display())]
    Tls {
        /// The folder.
        folder: PathBuf,
        /// What the TLS library says.
        cause: String,
    },
}

/// Certificate, key and root, read from a folder.
#[derive(Clone)]
pub struct Credentials {
    tls: ClientTlsConfig,
    key: Arc<Ed25519KeyPair>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// A statement and the signature over it.
pub(crate) struct Signed {
    pub statement: Vec<u8>,
    pub signature: Vec<u8>,
}

impl Credentials {
    /// Reads `cert.pem`, `key.pem` and `root.pem` of a folder.
    ///
    /// # Errors
    /// Files that are missing, are something else, or do not fit together.
    pub fn load(folder: &Path) -> Result<Self, CredentialsError> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(|cause| CredentialsError::Read { path, cause })
        };
        let (cert, pem, root) = (read("cert.pem")?, read("key.pem")?, read("root.pem")?);
        let bad_key = |cause: String| CredentialsError::Key {
            path: folder.join("key.pem"),
            cause,
        };
        let der =
            PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|error| bad_key(error.to_string()))?;
        // Both forms of PKCS#8: with the public key beside the private one, and without.
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map_err(|error| bad_key(error.to_string()))?;
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(root))
            .identity(Identity::from_pem(cert, pem))
            .domain_name(GATEWAY);
        // Told now, with the folder's name, and not as a failure of every later connection.
        Endpoint::from_static("https://gateway.dmsc.invalid")
            .tls_config(tls.clone())
            .map_err(|error| CredentialsError::Tls {
                folder: folder.to_path_buf(),
                cause: crate::error::chain(&error),
            })?;
        Ok(Self {
            tls,
            key: Arc::new(key),
        })
    }

    pub(crate) fn tls(&self) -> ClientTlsConfig {
        self.tls.clone()
    }

    /// The proof of a registration: who the pod is, and what it asks for, to this gateway, now.
    pub(crate) fn sign(&self, request: &v1::RegisterRequest, gateway: u32) -> Signed {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let statement = v1::PodStatement {
            nonce: request.nonce.clone(),
            gateway,
            identity: request.identity.clone(),
            signed_at_ms: now.map_or(0, |since| since.as_millis() as u64),
            domain: request.domain,
            prefixes_sha256: prefixes_sha256(&request.prefixes),
            endpoint_sha256: endpoint_sha256(&request.port, &request.address, request.lease),
        }
        .encode_to_vec();
        let signature = self.key.sign(&[CONTEXT, &statement].concat());
        Signed {
            statement,
            signature: signature.as_ref().to_vec(),
        }
    }
}

/// Over length(16, network byte order) and canonical encoding of each prefix, in their order (authority.proto).
fn prefixes_sha256(prefixes: &[Vec<u8>]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    for prefix in prefixes {
        // Names have at most 255 bytes.
        let length = u16::try_from(prefix.len()).unwrap_or(u16::MAX);
        context.update(&length.to_be_bytes());
        context.update(prefix);
    }
    context.finish().as_ref().to_vec()
}

/// Over length(16, network byte order) and text of port and address, and the lease; nothing if there is none of them (authority.proto).
fn endpoint_sha256(port: &str, address: &str, lease: u64) -> Vec<u8> {
    if port.is_empty() && address.is_empty() && lease == 0 {
        return Vec::new();
    }
    let mut context = Context::new(&SHA256);
    for text in [port, address] {
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        context.update(&length.to_be_bytes());
        context.update(text.as_bytes());
    }
    context.update(&lease.to_be_bytes());
    context.finish().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_prefixes_tells_their_order_and_where_they_end() {
        let hash = |list: &[&[u8]]| {
            let list: Vec<Vec<u8>> = list.iter().map(|one| one.to_vec()).collect();
            prefixes_sha256(&list)
        };
        let plain = ring::digest::digest(&SHA256, b"\x00\x02\x01a\x00\x02\x01b");
        assert_eq!(hash(&[b"\x01a", b"\x01b"]), plain.as_ref());
        assert_ne!(hash(&[b"\x01b", b"\x01a"]), plain.as_ref());
        assert_ne!(hash(&[b"\x01a\x01b"]), plain.as_ref());
        assert_eq!(hash(&[]), ring::digest::digest(&SHA256, b"").as_ref());
    }

    #[test]
    fn the_hash_of_the_endpoint_covers_port_address_and_lease() {
        let plain = ring::digest::digest(
            &SHA256,
            b"\x00\x02p1\x00\x03::1\x00\x00\x00\x00\x00\x00\x00\x07",
        );
        assert_eq!(endpoint_sha256("p1", "::1", 7), plain.as_ref());
        assert_ne!(endpoint_sha256("p", "1::1", 7), plain.as_ref());
        assert_ne!(endpoint_sha256("p1", "::1", 8), plain.as_ref());
        assert!(endpoint_sha256("", "", 0).is_empty());
    }
}

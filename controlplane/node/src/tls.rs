//! Mutual TLS between control planes, pods and authorities: one root, and the SPIFFE id of the other end decides.

use dmsc_spa::credentials::Credentials;
use dmsc_spa::identity::Identity as Who;
use dmsc_spa::verify::{Certificate as Verified, RootKey, VerifyError};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};
use tonic::{Request, Status};

use crate::clock::wall;

/// Credentials in the form that TLS wants.
#[derive(Clone)]
pub struct Tls {
    identity: Identity,
    root: Certificate,
    root_der: bytes::Bytes,
}

impl Tls {
    /// Of this process.
    #[must_use]
    pub fn new(credentials: &Credentials) -> Self {
        Self {
            identity: Identity::from_pem(&credentials.certificate_pem, &credentials.key_pem),
            root: Certificate::from_pem(&credentials.root_pem),
            root_der: credentials.root_der.clone(),
        }
    }

    /// To call `server`, a name in its certificate.
    #[must_use]
    pub fn client(&self, server: &str) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .identity(self.identity.clone())
            .ca_certificate(self.root.clone())
            .domain_name(server)
    }

    /// As [`Tls::client`], for whoever looks at the certificate of the other end itself.
    #[must_use]
    pub(crate) fn client_with_verifier(&self, server: &str) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .identity(self.identity.clone())
            .domain_name(server)
    }

    /// The root's certificate, DER.
    pub(crate) fn root_der(&self) -> &[u8] {
        &self.root_der
    }

    /// To be called by clients that the root certified.
    #[must_use]
    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.identity.clone())
            .client_ca_root(self.root.clone())
    }
}

/// Who calls, and the certificate, DER.
///
/// # Errors
/// UNAUTHENTICATED without a certificate of this root.
pub fn caller<T>(request: &Request<T>, root: &RootKey) -> Result<(Verified, Vec<u8>), Status> {
    let certificates = request.peer_certs();
    let der = certificates
        .as_deref()
        .and_then(|list| list.first())
        .ok_or_else(|| {
            Status::unauthenticated("show a client certificate; dmscctl pki issue makes one")
        })?;
    let certificate = root
        .certificate(der.as_ref(), wall().as_secs())
        .map_err(|error| {
            let sentence = format!("the client certificate is not taken: {error}");
            match error {
                VerifyError::Revoked => Status::permission_denied(sentence),
                _ => Status::unauthenticated(sentence),
            }
        })?;
    Ok((certificate, der.as_ref().to_vec()))
}

/// What whoever is connected is told when the root took its certificate or key back.
#[must_use]
pub fn revoked() -> Status {
    Status::permission_denied(
        "your certificate was revoked by the root; get a new one with another key: dmscctl pki issue",
    )
}

/// For messages: what kind of thing `who` is.
#[must_use]
pub fn describe(who: &Who) -> String {
    who.to_string()
}

//! TLS 1.3 between pods: both show the certificate that the root gave their pod. DNS names mean nothing here.

use std::sync::Arc;

use dmsc_spa::credentials::Credentials;
use dmsc_spa::identity::Identity;
use dmsc_spa::verify::{Certificate, RootKey};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};

use crate::error::QuicError;

/// What is spoken inside; another version of the proofs would have another.
const ALPN: &[u8] = b"dmsc-quic/1";
/// Asked for by quinn, never sent or looked at.
pub(crate) const NO_NAME: &str = "pod.dmsc.internal";

/// TLS of both roles.
pub(crate) struct Tls {
    pub client: Arc<QuicClientConfig>,
    pub server: Arc<QuicServerConfig>,
    pub identity: String,
    /// Until when the certificate counts, s since 1970.
    pub until_s: u64,
}

impl Tls {
    /// # Errors
    /// Credentials that are not a pod's.
    pub fn new(credentials: &Credentials, root: RootKey) -> Result<Self, QuicError> {
        let Identity::Pod(identity) = &credentials.identity else {
            return Err(QuicError::Tls(format!(
                "{} is no pod",
                credentials.identity
            )));
        };
        let certificate = root.certificate_of_any_time(&credentials.certificate_der);
        let bad = |error: &dyn std::fmt::Display| QuicError::Tls(error.to_string());
        let provider = Arc::new(ring::default_provider());
        let pods = Arc::new(Pods {
            root,
            provider: Arc::clone(&provider),
        });
        let chain = vec![CertificateDer::from(credentials.certificate_der.to_vec())];
        let key = PrivateKeyDer::from_pem_slice(credentials.key_pem.as_bytes())
            .map_err(|error| bad(&error))?;
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| bad(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&pods) as Arc<dyn ServerCertVerifier>)
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(|error| bad(&error))?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.enable_sni = false;
        // Every connection proves everything again, and no data goes before that.
        client.resumption = Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| bad(&error))?
            .with_client_cert_verifier(pods)
            .with_single_cert(chain, key)
            .map_err(|error| bad(&error))?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;
        Ok(Self {
            client: Arc::new(client.try_into().map_err(|error| bad(&error))?),
            server: Arc::new(server.try_into().map_err(|error| bad(&error))?),
            identity: identity.clone(),
            until_s: certificate.map_err(|error| bad(&error))?.not_after_s,
        })
    }
}

/// Who the other end of a connection has shown to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    /// The pod.
    pub identity: String,
    /// Until when its certificate counts, s since 1970.
    pub until_s: u64,
    /// The certificate.
    pub certificate: Option<Certificate>,
}

/// What the certificate of the other end says; `None` if it is no pod's.
pub(crate) fn shown(connection: &quinn::Connection, root: &RootKey) -> Option<Shown> {
    let shown = connection.peer_identity()?;
    let chain = shown.downcast_ref::<Vec<CertificateDer<'static>>>()?;
    // The handshake judged its validity.
    let certificate = root.certificate_of_any_time(chain.first()?).ok()?;
    match &certificate.identity {
        Identity::Pod(identity) => Some(Shown {
            identity: identity.clone(),
            until_s: certificate.not_after_s,
            certificate: Some(certificate),
        }),
        _ => None,
    }
}

/// Believes certificates of pods, by the root, valid now.
#[derive(Debug)]
struct Pods {
    root: RootKey,
    provider: Arc<CryptoProvider>,
}

impl Pods {
    fn check(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
        let refused = CertificateError::ApplicationVerificationFailure;
        match self.root.certificate(certificate, now.as_secs()) {
            Ok(certificate) if matches!(certificate.identity, Identity::Pod(_)) => Ok(()),
            Ok(_) => Err(refused.into()),
            Err(error) => Err(Error::InvalidCertificate(match error {
                dmsc_spa::verify::VerifyError::Validity => CertificateError::Expired,
                dmsc_spa::verify::VerifyError::Signature => CertificateError::UnknownIssuer,
                dmsc_spa::verify::VerifyError::Revoked => CertificateError::Revoked,
                _ => refused,
            })),
        }
    }

    fn signed(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }
}

/// TLS 1.2 is not spoken.
fn old() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.3 only".into()))
}

impl ServerCertVerifier for Pods {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(certificate, now)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        old()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for Pods {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(certificate, now)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        old()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddr};

    use dmsc_spa::pki::{Root, Scope};

    use super::*;

    /// Over plain UDP: the library itself always shows a certificate.
    #[tokio::test]
    async fn a_caller_without_a_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::init(&folder.path().join("root"), "dmsc.test", 30).unwrap();
        let at = folder.path().join("pod");
        let pod = Identity::pod("cart/a").unwrap();
        root.issue(&pod, &Scope::default(), 10, false, &at).unwrap();
        let credentials = Credentials::load(&at).unwrap();
        let root = credentials.root_key().unwrap();
        let tls = Tls::new(&credentials, root.clone()).unwrap();
        let local = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0);
        let config = quinn::ServerConfig::with_crypto(Arc::clone(&tls.server) as _);
        let server = quinn::Endpoint::server(config, local).unwrap();
        let to = server.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            let incoming = server.accept().await.unwrap();
            incoming.await.is_err()
        });
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pods { root, provider }))
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        let config: QuicClientConfig = config.try_into().unwrap();
        let client = quinn::Endpoint::client(local).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(config));
        let connecting = client.connect_with(config, to, NO_NAME).unwrap();
        // The client learns of it with the server's first words.
        if let Ok(connection) = connecting.await {
            let error = connection.accept_uni().await.unwrap_err().to_string();
            assert!(error.contains("certificate"), "{error}");
        }
        assert!(accepting.await.unwrap());
    }
}

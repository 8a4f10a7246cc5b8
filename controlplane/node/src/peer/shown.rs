//! Which certificate the accepting end showed: the root and the name are checked as always, and the certificate is kept for a closer look.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// The verifier of one connection.
#[derive(Debug)]
pub(crate) struct Shown {
    inner: Arc<WebPkiServerVerifier>,
    certificate: OnceLock<Vec<u8>>,
}

impl Shown {
    /// Believes what the root, DER, certified.
    ///
    /// # Errors
    /// When it is no root.
    pub fn new(root: &[u8]) -> Result<Arc<Self>, String> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_slice(root))
            .map_err(|error| error.to_string())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Arc::new(Self {
            inner,
            certificate: OnceLock::new(),
        }))
    }

    /// What was shown, DER, once the handshake is over.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.certificate.get().map(Vec::as_slice)
    }
}

impl ServerCertVerifier for Shown {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.inner
                .verify_server_cert(certificate, intermediates, name, ocsp, now)?;
        // One connection, one handshake; a second would have to show the same.
        let kept = self.certificate.get_or_init(|| certificate.to_vec());
        if kept.as_slice() == certificate.as_ref() {
            Ok(verified)
        } else {
            Err(Error::General(
                "the neighbour changed its certificate".into(),
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

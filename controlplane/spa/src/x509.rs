//! The part of X.509 that this system uses: Ed25519, one SPIFFE id, and nothing that is not understood.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_SIG_ED25519;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use crate::statement::MAX_CERTIFICATE;
use crate::verify::{VerifyError, verify};

/// What a certificate says.
pub(crate) struct Parsed {
    signed: Vec<u8>,
    signature: Vec<u8>,
    /// The only URI among its subject alternative names.
    pub uri: String,
    pub public_key: [u8; 32],
    pub not_before_s: u64,
    pub not_after_s: u64,
    /// May sign certificates.
    pub is_ca: bool,
    /// May sign anything else.
    pub signs: bool,
}

impl Parsed {
    /// Whether `key` signed it.
    pub fn is_signed_by(&self, key: &[u8; 32]) -> bool {
        verify(key, &self.signed, &self.signature)
    }
}

/// Reads a certificate, DER. Nothing is believed yet: see [`Parsed::is_signed_by`].
pub(crate) fn parse(der: &[u8]) -> Result<Parsed, VerifyError> {
    let malformed = VerifyError::Malformed;
    if der.len() > MAX_CERTIFICATE {
        return Err(malformed("a certificate of more than 4096 bytes"));
    }
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_| malformed("no X.509 certificate"))?;
    if !rest.is_empty() {
        return Err(malformed("bytes after the certificate"));
    }
    let body = &certificate.tbs_certificate;
    if body.version() != X509Version::V3 {
        return Err(malformed("a certificate of another version than 3"));
    }
    // RFC 8410 §3: the same identifier for keys and signatures, without parameters.
    let algorithms = [
        &body.signature,
        &certificate.signature_algorithm,
        &body.subject_pki.algorithm,
    ];
    if algorithms
        .iter()
        .any(|used| used.algorithm != OID_SIG_ED25519 || used.parameters.is_some())
    {
        return Err(malformed(
            "a certificate with another algorithm than Ed25519",
        ));
    }
    // The parser forgives other tags and lengths around what is signed; caches and digests want one encoding of each certificate.
    if der != envelope(body.as_ref(), &certificate.signature_value.data) {
        return Err(malformed("a certificate that is not DER"));
    }
    let public_key = body.subject_pki.subject_public_key.data.as_ref();
    let mut parsed = Parsed {
        signed: body.as_ref().to_vec(),
        signature: certificate.signature_value.data.to_vec(),
        uri: String::new(),
        public_key: public_key
            .try_into()
            .map_err(|_| malformed("a public key of another length"))?,
        not_before_s: seconds(body.validity.not_before.timestamp())?,
        not_after_s: seconds(body.validity.not_after.timestamp())?,
        is_ca: false,
        signs: true,
    };
    read_extensions(&certificate, &mut parsed)?;
    Ok(parsed)
}

/// The one DER encoding of a certificate with an Ed25519 signature.
fn envelope(signed: &[u8], signature: &[u8]) -> Vec<u8> {
    /// AlgorithmIdentifier of Ed25519, then a bit string of 64 whole bytes.
    const ALGORITHM: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x41, 0x00];
    let inner = [signed, ALGORITHM, signature].concat();
    let length = inner.len();
    let mut der = vec![0x30];
    match length {
        0..=0x7f => der.push(length as u8),
        0x80..=0xff => der.extend([0x81, length as u8]),
        // At most MAX_CERTIFICATE.
        _ => der.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    der.extend(inner);
    der
}

fn read_extensions(
    certificate: &X509Certificate<'_>,
    parsed: &mut Parsed,
) -> Result<(), VerifyError> {
    let malformed = VerifyError::Malformed;
    // Of two extensions of one kind, two readers could believe different ones.
    certificate
        .extensions_map()
        .map_err(|_| malformed("the same extension twice in a certificate"))?;
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) => parsed.is_ca = constraints.ca,
            ParsedExtension::KeyUsage(usage) => parsed.signs = usage.digital_signature(),
            ParsedExtension::SubjectAlternativeName(names) => {
                let mut uris = names.general_names.iter().filter_map(|name| match name {
                    GeneralName::URI(uri) => Some(*uri),
                    _ => None,
                });
                match (uris.next(), uris.next()) {
                    (Some(uri), None) => parsed.uri = uri.to_owned(),
                    (None, _) => {}
                    _ => return Err(malformed("a certificate with two URIs")),
                }
            }
            ParsedExtension::ExtendedKeyUsage(_) => {}
            _ if extension.critical => {
                return Err(malformed(
                    "a certificate with an unknown critical extension",
                ));
            }
            _ => {}
        }
    }
    if parsed.uri.is_empty() {
        return Err(malformed("a certificate without a SPIFFE id"));
    }
    Ok(())
}

fn seconds(timestamp: i64) -> Result<u64, VerifyError> {
    u64::try_from(timestamp).map_err(|_| VerifyError::Malformed("a certificate from before 1970"))
}

//! Issued credentials in a real handshake: rustls with ring, both ends with certificates.

mod common;

use std::io::{Read, Write};
use std::sync::Arc;

use common::Pki;
use dmsc_spa::credentials::Credentials;
use dmsc_spa::pki::{AUTHORITY_DNS, CENTER_DNS, GATEWAY_DNS, OPERATOR_DNS, now_s};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

fn roots(credentials: &Credentials) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(credentials.root_der.to_vec()))
        .expect("a trust anchor");
    Arc::new(roots)
}

fn chain(credentials: &Credentials) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let certificates = CertificateDer::pem_slice_iter(credentials.certificate_pem.as_bytes())
        .collect::<Result<_, _>>()
        .expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(credentials.key_pem.as_bytes()).expect("PEM");
    (certificates, key)
}

/// Both ends until each has the other's certificate and a byte went over.
fn handshake(
    client: &Credentials,
    server: &Credentials,
    server_name: &str,
) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (certificates, key) = chain(server);
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots(server), Arc::clone(&provider))
            .build()
            .expect("verifier");
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates, key)?;
    let mut server = ServerConnection::new(Arc::new(config))?;
    let (certificates, key) = chain(client);
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(client))
        .with_client_auth_cert(certificates, key)?;
    let name = server_name.to_owned().try_into().expect("name");
    let mut client = ClientConnection::new(Arc::new(config), name)?;

    client.writer().write_all(b"x").expect("buffered");
    for _ in 0..10 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).expect("to memory");
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            server.read_tls(&mut wire).expect("from memory");
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        server.write_tls(&mut wire).expect("to memory");
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            client.read_tls(&mut wire).expect("from memory");
            client.process_new_packets()?;
        }
    }
    let mut byte = [0];
    server.reader().read_exact(&mut byte).expect("the byte");
    assert_eq!(&byte, b"x");
    Ok(())
}

#[test]
fn rustls_believes_both_ends_under_each_name() {
    let pki = Pki::new();
    let sg = pki.issue("node/1/sg");
    let sr = pki.issue("node/5/sr");
    let spa = pki.issue("spa/spa1");
    let center = pki.issue("scsc/scsc1");
    let pod = pki.issue("pod/pod1/a");
    let operator = pki.issue("operator/view/eva");
    for (client, server, name) in [
        (&sg, &sr, "node-5.dmsc.internal"),
        (&sr, &sg, "node-1.dmsc.internal"),
        (&pod, &sg, GATEWAY_DNS),
        (&sg, &spa, AUTHORITY_DNS),
        (&sg, &center, CENTER_DNS),
        (&operator, &sr, OPERATOR_DNS),
        (&operator, &spa, OPERATOR_DNS),
    ] {
        assert_eq!(handshake(client, server, name), Ok(()), "{name}");
    }
    // A router is no gateway, and a pod is no server.
    assert!(handshake(&pod, &sr, GATEWAY_DNS).is_err());
    assert!(handshake(&sg, &spa, CENTER_DNS).is_err());
    assert!(handshake(&sg, &pod, GATEWAY_DNS).is_err());
    assert!(handshake(&sg, &sr, "node-50.dmsc.internal").is_err());
}

#[test]
fn rustls_believes_no_stranger_and_nothing_expired() {
    let pki = Pki::new();
    let sg = pki.issue("node/1/sg");
    let stranger = Pki::new().issue("pod/pod1/a");
    assert!(handshake(&stranger, &sg, GATEWAY_DNS).is_err());
    let over = pki.issue_for("pod/pod1/a", &[], &[], (now_s() - 100, now_s() - 50));
    assert!(handshake(&over, &sg, GATEWAY_DNS).is_err());
}

//! Credentials: made, read again, renewed, and refused when they are not what they should be.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use bytes::Bytes;
use common::Pki;
use dmsc_spa::credentials::{Credentials, CredentialsError};
use dmsc_spa::identity::{Identity, Role};
use dmsc_spa::pki::{PkiError, Root, Scope, now_s};
use dmsc_spa::statement;
use dmsc_spa::verify::{RevokedSubject, RootKey, VerifyError, verify};
use dmsc_wire::NodeId;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

#[test]
fn every_kind_is_issued_loaded_and_believed() {
    let pki = Pki::new();
    for text in [
        "node/1/sg",
        "node/5/sr",
        "pod/pod1/a",
        "spa/spa1",
        "operator/operate/eva",
    ] {
        let credentials = pki.issue(text);
        assert_eq!(credentials.identity.to_string(), text);
        let root = credentials.root_key().expect("root");
        assert_eq!(&root, pki.root.root_key());
        assert_eq!(root.trust_domain(), "dmsc.test");
        let certificate = root
            .certificate(&credentials.certificate_der, now_s())
            .expect(text);
        assert_eq!(certificate.identity, credentials.identity);
        let key = credentials.signing_key().expect("key");
        assert_eq!(key.public_key(), certificate.public_key);
        assert!(verify(&certificate.public_key, b"m", &key.sign(b"m")));
        assert!(!verify(&certificate.public_key, b"n", &key.sign(b"m")));
        assert_eq!(
            credentials.authority_certificate.is_some(),
            text.starts_with("spa")
        );
        assert!(!format!("{credentials:?}").contains("PRIVATE"));
    }
}

/// What TLS libraries look at; RFC 5280 §4.2.1.
#[test]
fn certificates_suit_both_ends_of_tls() {
    let pki = Pki::new();
    let names = |identity: &str| {
        let credentials = pki.issue(identity);
        let (_, certificate) =
            X509Certificate::from_der(&credentials.certificate_der).expect("certificate");
        let usage = certificate
            .extended_key_usage()
            .expect("one")
            .expect("usage");
        assert!(usage.value.server_auth && usage.value.client_auth);
        assert!(!certificate.is_ca());
        let (_, root) = X509Certificate::from_der(&credentials.root_der).expect("root");
        assert_eq!(certificate.issuer(), root.subject());
        let constraints = root.basic_constraints().expect("one").expect("constraints");
        assert!(constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        let names = certificate
            .subject_alternative_name()
            .expect("one")
            .expect("names");
        let names: Vec<String> = names
            .value
            .general_names
            .iter()
            .map(|name| match name {
                GeneralName::DNSName(name) | GeneralName::URI(name) => (*name).to_owned(),
                other => panic!("{other:?}"),
            })
            .collect();
        names.join(" ")
    };
    assert_eq!(
        names("node/1/sg"),
        "spiffe://dmsc.test/node/1/sg node-1.dmsc.internal controlplane.dmsc.internal gateway.dmsc.internal"
    );
    assert_eq!(
        names("node/5/sr"),
        "spiffe://dmsc.test/node/5/sr node-5.dmsc.internal controlplane.dmsc.internal"
    );
    assert_eq!(
        names("spa/spa1"),
        "spiffe://dmsc.test/spa/spa1 authority.dmsc.internal controlplane.dmsc.internal"
    );
    assert_eq!(names("pod/pod1/a"), "spiffe://dmsc.test/pod/pod1/a");
}

#[test]
fn a_renewal_keeps_the_key_unless_told_otherwise() {
    let pki = Pki::new();
    let first = pki.issue("node/1/sg");
    let second = pki.issue("node/1/sg");
    assert_eq!(first.key_pem, second.key_pem);
    assert_ne!(first.certificate_der, second.certificate_der);
    let identity = Identity::node(NodeId(1), true);
    let path = pki.path(&identity);
    pki.root
        .issue(&identity, &Scope::default(), 1, true, &path)
        .expect("issue");
    let third = Credentials::load(&path).expect("load");
    assert_ne!(first.key_pem, third.key_pem);
    let mode = |file: &str| {
        let metadata = fs::metadata(path.join(file)).expect(file);
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("key.pem"), 0o600);
    let left: Vec<_> = fs::read_dir(&path)
        .expect("folder")
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn a_folder_that_changes_hands_loses_the_authority() {
    let pki = Pki::new();
    let path = pki.folder.path().join("x");
    let issue = |identity: Identity| {
        pki.root
            .issue(&identity, &Scope::default(), 1, false, &path)
            .expect("issue");
        Credentials::load(&path).expect("load")
    };
    let authority = Identity::authority("spa1").expect("name");
    assert!(issue(authority).authority_certificate.is_some());
    let operator = Identity::operator(Role::Admin, "eva").expect("name");
    assert!(issue(operator).authority_certificate.is_none());
    assert!(!path.join("authority.bin").exists());
}

#[test]
fn a_root_is_not_overwritten_and_ends_everything() {
    let pki = Pki::new();
    let folder = pki.folder.path().join("root");
    let before = fs::read(folder.join("root.pem")).expect("root");
    assert!(matches!(
        Root::init(&folder, "dmsc.test", 10),
        Err(PkiError::Exists { .. })
    ));
    assert_eq!(fs::read(folder.join("root.pem")).expect("root"), before);
    assert!(Root::load(&folder).is_ok());

    let other = pki.folder.path().join("other");
    assert!(Root::init(&other, "DMSC", 10).is_err());
    assert!(matches!(
        Root::init(&other, "dmsc.test", 0),
        Err(PkiError::Days(0))
    ));
    assert!(!other.exists());

    let short = Root::init(&other, "dmsc.test", 1).expect("root");
    let pod = Identity::pod("pod1/a").expect("name");
    let path = pki.path(&pod);
    short
        .issue(&pod, &Scope::default(), 100, false, &path)
        .expect("issue");
    let credentials = Credentials::load(&path).expect("load");
    let certificate = short
        .root_key()
        .certificate(&credentials.certificate_der, now_s())
        .expect("valid");
    assert!(certificate.not_after_s <= now_s() + 86_400);
}

#[test]
fn what_cannot_be_meant_is_not_issued() {
    let pki = Pki::new();
    let path = pki.folder.path().join("x");
    let everything = Scope {
        subtrees: vec![common::name("/shop")],
        domains: Vec::new(),
    };
    let issue =
        |identity: &Identity, scope: &Scope| pki.root.issue(identity, scope, 1, false, &path);
    let pod = Identity::pod("pod1/a").expect("name");
    assert!(matches!(
        issue(&pod, &everything),
        Err(PkiError::NoAuthority(_))
    ));
    let authority = Identity::authority("spa1").expect("name");
    let reserved = Scope {
        subtrees: vec![common::name("/dmsc/1")],
        domains: Vec::new(),
    };
    assert!(matches!(
        issue(&authority, &reserved),
        Err(PkiError::Reserved(_))
    ));
    let many = Scope {
        subtrees: vec![common::name("/shop"); 257],
        domains: Vec::new(),
    };
    assert!(matches!(issue(&authority, &many), Err(PkiError::Scope)));
    // Fields are public: what was not checked when it was made is checked here.
    for wrong in [
        Identity::Pod("a b".to_owned()),
        Identity::node(NodeId(0), true),
        Identity::Authority("a/b".to_owned()),
    ] {
        assert!(issue(&wrong, &Scope::default()).is_err(), "{wrong:?}");
    }
    assert!(!path.exists());
}

#[test]
fn folders_that_are_wrong_say_where() {
    let pki = Pki::new();
    let message = |change: &dyn Fn(&std::path::Path)| {
        let identity = Identity::authority("spa1").expect("name");
        let path = pki.path(&identity);
        let _ = fs::remove_dir_all(&path);
        pki.issue("spa/spa1");
        change(&path);
        let error = Credentials::load(&path).expect_err("refused");
        let text = error.to_string();
        assert!(text.contains(&*path.to_string_lossy()), "{text}");
        (error, text)
    };
    let (_, text) = message(&|path| fs::remove_file(path.join("key.pem")).expect("remove"));
    assert!(
        text.contains("key.pem") && text.contains("pki issue"),
        "{text}"
    );
    let (_, text) = message(&|path| {
        fs::set_permissions(path.join("key.pem"), fs::Permissions::from_mode(0o644)).expect("mode");
    });
    assert!(text.contains("chmod 600"), "{text}");
    let (_, text) = message(&|path| fs::write(path.join("cert.pem"), "x").expect("write"));
    assert!(text.contains("cert.pem: must hold one PEM block"), "{text}");
    let (_, text) = message(&|path| {
        let twice = fs::read_to_string(path.join("cert.pem"))
            .expect("read")
            .repeat(2);
        fs::write(path.join("cert.pem"), twice).expect("write");
    });
    assert!(text.contains("cert.pem: must hold one PEM block"), "{text}");

    let stranger = Pki::new();
    let identity = Identity::authority("spa1").expect("name");
    stranger.issue("spa/spa1");
    let theirs = stranger.path(&identity);
    for file in ["cert.pem", "key.pem", "root.pem", "authority.bin"] {
        let (error, text) = message(&|path| {
            fs::copy(theirs.join(file), path.join(file)).expect("copy");
        });
        assert!(
            matches!(
                error,
                CredentialsError::Mismatch { .. } | CredentialsError::Verify { .. }
            ),
            "{file}: {text}"
        );
    }
    // The authority's certificate of another one under the same root.
    pki.issue("spa/spa2");
    let other = pki.path(&Identity::authority("spa2").expect("name"));
    let (_, text) = message(&|path| {
        fs::copy(other.join("authority.bin"), path.join("authority.bin")).expect("copy");
    });
    assert!(text.contains("authority.bin: is not of"), "{text}");
}

#[test]
fn other_roots_domains_times_and_bytes_are_not_believed() {
    let pki = Pki::new();
    let root = pki.root.root_key();
    let good = pki.issue("node/1/sg");
    let now_s = now_s();
    let certificate = root
        .certificate(&good.certificate_der, now_s)
        .expect("good");

    // Both ends included, nothing beyond.
    for (at, result) in [
        (certificate.not_before_s, true),
        (certificate.not_before_s - 1, false),
        (certificate.not_after_s, true),
        (certificate.not_after_s + 1, false),
    ] {
        assert_eq!(root.certificate(&good.certificate_der, at).is_ok(), result);
    }
    assert_eq!(
        root.certificate(&good.certificate_der, 0),
        Err(VerifyError::Validity)
    );

    let stranger = Pki::new().issue("node/1/sg");
    assert_eq!(
        root.certificate(&stranger.certificate_der, now_s),
        Err(VerifyError::Signature)
    );
    // The root itself is nobody.
    assert!(root.certificate(&good.root_der, now_s).is_err());
    assert!(RootKey::from_certificate(&good.certificate_der).is_err());

    for cut in 0..good.certificate_der.len() {
        assert!(
            root.certificate(&good.certificate_der[..cut], now_s)
                .is_err()
        );
    }
    for at in 0..good.certificate_der.len() {
        let mut altered = good.certificate_der.to_vec();
        altered[at] ^= 1;
        assert!(root.certificate(&altered, now_s).is_err(), "byte {at}");
    }
    let mut longer = good.certificate_der.to_vec();
    longer.push(0);
    assert!(root.certificate(&longer, now_s).is_err());
    longer.resize(5000, 0);
    assert!(root.certificate(&longer, now_s).is_err());
}

/// The root's key under another trust domain: what one certifies is nothing to the other.
#[test]
fn a_trust_domain_is_part_of_the_root() {
    let pki = Pki::new();
    let good = pki.issue("node/1/sg");
    let folder = pki.folder.path().join("root");
    let key =
        rcgen::KeyPair::from_pem(&fs::read_to_string(folder.join("root.key.pem")).expect("key"))
            .expect("key");
    let root = |uri: &str| {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().expect("uri"))];
        let certificate = params.self_signed(&key).expect("sign");
        RootKey::from_certificate(certificate.der())
    };
    let same = root("spiffe://dmsc.test").expect("root");
    assert!(same.certificate(&good.certificate_der, now_s()).is_ok());
    let other = root("spiffe://other.test").expect("root");
    assert!(other.certificate(&good.certificate_der, now_s()).is_err());
    assert!(root("spiffe://dmsc.test/node/1/sg").is_err());
    assert!(root("https://dmsc.test").is_err());
}

/// Whatever else a root may have signed in its life is no identity here.
#[test]
fn a_certificate_has_exactly_one_spiffe_id_and_is_no_ca() {
    let pki = Pki::new();
    let folder = pki.folder.path().join("root");
    let read = |file: &str| fs::read_to_string(folder.join(file)).expect(file);
    let issuer = rcgen::Issuer::from_ca_cert_pem(
        &read("root.pem"),
        rcgen::KeyPair::from_pem(&read("root.key.pem")).expect("key"),
    )
    .expect("issuer");
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("key");
    let certify = |uris: &[&str], change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = uris
            .iter()
            .map(|uri| rcgen::SanType::URI((*uri).try_into().expect("uri")))
            .collect();
        change(&mut params);
        let certificate = params.signed_by(&key, &issuer).expect("sign");
        pki.root.root_key().certificate(certificate.der(), now_s())
    };
    let id = "spiffe://dmsc.test/node/1/sg";
    assert!(certify(&[id], &|_| ()).is_ok());
    assert!(certify(&[], &|_| ()).is_err());
    assert!(certify(&[id, id], &|_| ()).is_err());
    assert!(certify(&["spiffe://dmsc.test"], &|_| ()).is_err());
    assert!(certify(&["spiffe://dmsc.test/node/1/xx"], &|_| ()).is_err());
    assert!(certify(&["spiffe://other.test/node/1/sg"], &|_| ()).is_err());
    let ca = |params: &mut rcgen::CertificateParams| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    };
    assert!(certify(&[id], &ca).is_err());
    let usage = |params: &mut rcgen::CertificateParams| {
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyAgreement];
    };
    assert!(certify(&[id], &usage).is_err());
    let critical = |params: &mut rcgen::CertificateParams| {
        let mut unknown = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        unknown.set_criticality(true);
        params.custom_extensions = vec![unknown];
    };
    assert!(certify(&[id], &critical).is_err());

    // A key of another algorithm has no place in statements.
    let p256 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("key");
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(id.try_into().expect("uri"))];
    let certificate = params.signed_by(&p256, &issuer).expect("sign");
    assert!(
        pki.root
            .root_key()
            .certificate(certificate.der(), now_s())
            .is_err()
    );
}

#[test]
fn a_revoked_node_gets_new_credentials_in_the_next_second() {
    let pki = Pki::new();
    let root = pki.root.root_key();
    let now_s = now_s();
    let before = |credentials: &Credentials| {
        root.certificate(&credentials.certificate_der, now_s)
            .expect("valid")
            .not_before_s
    };
    let signed = pki
        .root
        .revoke_node(NodeId(5), "stolen", now_s)
        .expect("revoke");
    let revocation = root.root_revocation(&signed).expect("believed");
    assert_eq!(revocation.subject, RevokedSubject::Node(NodeId(5)));
    assert_eq!(revocation.reason, "stolen");
    let at = |second: u64| pki.issue_for("node/5/sr", &[], &[], (second - 300, second + 60));
    assert!(before(&at(now_s)) < revocation.issued_before_s);
    assert!(before(&at(now_s + 1)) >= revocation.issued_before_s);
    assert!(revocation.until_s > now_s + 3000 * 86_400);

    assert!(pki.root.revoke_node(NodeId(0), "", now_s).is_err());
    assert!(
        pki.root
            .revoke_node(NodeId(5), &"x".repeat(256), now_s)
            .is_err()
    );
    for at in 0..signed.len() {
        let mut altered = signed.to_vec();
        altered[at] ^= 1;
        assert!(root.root_revocation(&altered).is_err(), "byte {at}");
        assert!(root.root_revocation(&signed[..at]).is_err());
    }
    assert_eq!(
        Pki::new().root.root_key().root_revocation(&signed),
        Err(VerifyError::Signature)
    );
}

#[test]
fn the_root_takes_back_exactly_one_kind_of_thing() {
    let pki = Pki::new();
    let root = pki.root.root_key();
    let now_s = now_s();
    let signed = pki.root.revoke_authority("spa1", "sold", now_s);
    let authority = root
        .root_revocation(&signed.expect("revoke"))
        .expect("good");
    assert_eq!(
        authority.subject,
        RevokedSubject::Authority("spa1".to_owned())
    );
    let keys: Vec<[u8; 32]> = (0..16).map(|n| [n; 32]).collect();
    let signed = pki.root.revoke_keys(&keys, &"x".repeat(255), now_s);
    let revoked = root
        .root_revocation(&signed.expect("revoke"))
        .expect("good");
    let hashes = keys.iter().map(|key| statement::sha256(key)).collect();
    assert_eq!(revoked.subject, RevokedSubject::Keys(hashes));
    assert!(pki.root.revoke_keys(&[], "", now_s).is_err());
    assert!(pki.root.revoke_keys(&[[1; 32]; 17], "", now_s).is_err());
    assert!(pki.root.revoke_authority("", "", now_s).is_err());
}

#[test]
fn what_the_root_took_back_is_void_for_all_that_share_it() {
    let pki = Pki::new();
    let now_s = now_s();
    let node = pki.issue("node/5/sr");
    let pod = pki.issue("pod/pod1/a");
    let spa = pki.issue("spa/spa1");
    let root = node.root_key().expect("root");
    let shared = root.clone();
    let certificate = |one: &Credentials| shared.certificate(&one.certificate_der, now_s);
    let public_key = |one: &Credentials| one.signing_key().expect("key").public_key();
    let revoke = |signed: Result<Bytes, PkiError>| {
        let revocation = root
            .root_revocation(&signed.expect("signed"))
            .expect("good");
        (root.revoke(&revocation), root.revoke(&revocation))
    };
    let keys = [public_key(&pod)];
    assert!(certificate(&pod).is_ok());
    assert_eq!(
        revoke(pki.root.revoke_keys(&keys, "leaked", now_s)),
        (true, false)
    );
    assert_eq!(certificate(&pod), Err(VerifyError::Revoked));
    // A new certificate for the same key is as void; other keys are not.
    let again = pki.issue("pod/pod1/a");
    assert_eq!(public_key(&again), keys[0]);
    assert_eq!(certificate(&again), Err(VerifyError::Revoked));
    assert!(certificate(&node).is_ok() && certificate(&spa).is_ok());
    revoke(pki.root.revoke_node(NodeId(5), "stolen", now_s));
    assert_eq!(certificate(&node), Err(VerifyError::Revoked));
    revoke(pki.root.revoke_authority("spa1", "sold", now_s));
    assert_eq!(certificate(&spa), Err(VerifyError::Revoked));
    // Issued in a later second: good again.
    let later = now_s + 1;
    let validity = (later - 300, later + 60);
    for who in ["node/5/sr", "spa/spa1"] {
        assert!(certificate(&pki.issue_for(who, &[], &[], validity)).is_ok());
    }
    // Who did not hear of it believes as before.
    assert!(
        pki.root
            .root_key()
            .certificate(&pod.certificate_der, now_s)
            .is_ok()
    );
}

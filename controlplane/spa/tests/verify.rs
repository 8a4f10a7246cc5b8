//! Signed statements: what routers believe, and everything that they must not.

mod common;

use bytes::Bytes;
use common::{
    Pki, authorisation, grant, name, pod_statement, revocation, sign_authorisation, sign_revocation,
};
use dmsc_spa::proof::{self, ProofError};
use dmsc_spa::statement::{self, SignedAuthorisation};
use dmsc_spa::verify::{Grant, VerifyError};
use dmsc_wire::{Domain, NodeId};
use proptest::prelude::*;
use prost::Message;

const NOW_S: u64 = 1_800_000_000;

fn authority(pki: &Pki, subtrees: &[&str], domains: &[u32]) -> dmsc_spa::credentials::Credentials {
    pki.issue_for("spa/spa1", subtrees, domains, (NOW_S - 300, NOW_S + 1000))
}

#[test]
fn an_authorisation_is_believed_as_it_was_signed() {
    let pki = Pki::new();
    let spa = authority(&pki, &["/shop"], &[1]);
    let signed = sign_authorisation(&spa, &authorisation("spa1", NOW_S));
    let believed = pki.root.root_key().authorisation(&signed).expect("good");
    assert_eq!(believed.authority, "spa1");
    assert_eq!(believed.domain, Domain(1));
    assert_eq!(believed.gateway, NodeId(1));
    assert_eq!(
        believed.grants,
        [("/shop/a", false, 16), ("/shop/b/x", true, 3)].map(|(text, exact, maximum_depth)| {
            Grant {
                name: name(text),
                exact,
                maximum_depth,
            }
        })
    );
    // Only the root is known: another one believes nothing of it.
    assert_eq!(
        Pki::new().root.root_key().authorisation(&signed),
        Err(VerifyError::Signature)
    );
}

#[test]
fn an_altered_or_truncated_authorisation_is_not() {
    let pki = Pki::new();
    let root = pki.root.root_key();
    let spa = authority(&pki, &["/shop"], &[]);
    let signed = sign_authorisation(&spa, &authorisation("spa1", NOW_S));
    for at in 0..signed.len() {
        let mut altered = signed.clone();
        altered[at] ^= 1;
        assert!(root.authorisation(&altered).is_err(), "byte {at}");
        assert!(root.authorisation(&signed[..at]).is_err(), "cut at {at}");
    }
    let mut long = signed;
    long.resize(70_000, 0);
    assert!(root.authorisation(&long).is_err());
}

#[test]
fn an_authority_speaks_only_within_its_certificate() {
    let pki = Pki::new();
    let root = pki.root.root_key();
    let spa = authority(&pki, &["/shop", "/lab/1"], &[1, 3]);
    let verify = |change: &dyn Fn(&mut statement::Authorisation)| {
        let mut body = authorisation("spa1", NOW_S);
        change(&mut body);
        root.authorisation(&sign_authorisation(&spa, &body))
            .map(|_| ())
    };
    assert_eq!(verify(&|_| ()), Ok(()));
    assert_eq!(verify(&|body| body.domain = 3), Ok(()));
    let grants = |names: &'static [&str]| {
        move |body: &mut statement::Authorisation| {
            body.grants = names.iter().map(|text| grant(text, false, 0)).collect();
        }
    };
    assert_eq!(verify(&grants(&["/shop", "/lab/1/x"])), Ok(()));
    for outside in [
        &["/bank"],
        &["/shopx"],
        &["/lab"],
        &["/lab/10"],
        &["/dmsc/1"],
    ] {
        assert_eq!(
            verify(&grants(outside)),
            Err(VerifyError::Scope),
            "{outside:?}"
        );
    }
    // One bad grant spoils all.
    assert_eq!(
        verify(&grants(&["/shop/a", "/bank"])),
        Err(VerifyError::Scope)
    );
    assert_eq!(verify(&|body| body.domain = 2), Err(VerifyError::Scope));
    // Issued and ending within the certificate's validity.
    for (issued, ends, result) in [
        (NOW_S - 300, NOW_S + 1000, Ok(())),
        (NOW_S - 301, NOW_S + 10, Err(VerifyError::Validity)),
        (NOW_S, NOW_S + 1001, Err(VerifyError::Validity)),
        (NOW_S + 2, NOW_S + 1, Err(VerifyError::Validity)),
    ] {
        let changed = verify(&|body| {
            body.issued_at_s = issued;
            body.not_after_s = ends;
        });
        assert_eq!(changed, result, "{issued} {ends}");
    }
    let malformed: [&dyn Fn(&mut statement::Authorisation); 10] = [
        &|body| body.domain = 0,
        &|body| body.authority = "spa2".to_owned(),
        &|body| body.identity = String::new(),
        &|body| body.identity = "x".repeat(256),
        &|body| body.grants.clear(),
        &|body| body.grants[0].name = Bytes::new(),
        &|body| body.grants[0].name = Bytes::from_static(b"\x05shop"),
        &|body| body.grants[0].maximum_depth = 17,
        &|body| body.fragment = 0,
        &|body| body.fragment = 2,
    ];
    for (number, change) in malformed.iter().enumerate() {
        assert!(
            matches!(verify(change), Err(VerifyError::Malformed(_))),
            "{number}"
        );
    }
    // An authority for everything may still not speak for the routers.
    let everything = authority(&pki, &[], &[]);
    let mut body = authorisation("spa1", NOW_S);
    body.grants = vec![grant("/dmsc", false, 0)];
    assert_eq!(
        root.authorisation(&sign_authorisation(&everything, &body)),
        Err(VerifyError::Scope)
    );
}

#[test]
fn nobody_speaks_for_an_authority() {
    let pki = Pki::new();
    let root = pki.root.root_key();
    let spa = authority(&pki, &["/shop"], &[]);
    let body = authorisation("spa1", NOW_S);
    // A gateway that puts the authority's certificate beside its own signature.
    let mut gateway = pki.issue("node/1/sg");
    gateway.authority_certificate = spa.authority_certificate.clone();
    assert_eq!(
        root.authorisation(&sign_authorisation(&gateway, &body)),
        Err(VerifyError::Signature)
    );
    // Or makes such a certificate itself.
    let key = gateway.signing_key().expect("key");
    let statement = Bytes::from(
        statement::AuthorityCertificate {
            authority: "spa1".to_owned(),
            public_key: Bytes::copy_from_slice(&key.public_key()),
            subtrees: vec![Bytes::new()],
            domains: Vec::new(),
            not_before_s: 0,
            not_after_s: u64::MAX,
            serial: 1,
        }
        .encode_to_vec(),
    );
    let certificate = statement::SignedAuthorityCertificate {
        signature: statement::sign(&key, statement::AUTHORITY_CERTIFICATE, &statement),
        statement,
    };
    gateway.authority_certificate = Some(certificate.encode_to_vec().into());
    assert_eq!(
        root.authorisation(&sign_authorisation(&gateway, &body)),
        Err(VerifyError::Signature)
    );
    // Or passes one kind of statement off as another.
    let revoked = sign_revocation(&spa, &revocation("spa1", NOW_S));
    assert_eq!(root.authorisation(&revoked), Err(VerifyError::Signature));
    assert_eq!(
        root.revocation(&sign_authorisation(&spa, &body)),
        Err(VerifyError::Signature)
    );
}

#[test]
fn everything_does_not_include_the_routers() {
    let pki = Pki::new();
    let spa = authority(&pki, &[], &[]);
    let certificate = spa.authority_certificate.expect("authority");
    let root = pki.root.root_key();
    let believed = root.authority_certificate(&certificate).expect("good");
    assert!(believed.subtrees.is_empty() && believed.may_speak_for(name("/x").as_name()));
    assert!(!believed.may_speak_for(name("/dmsc/1").as_name()));
    assert!(believed.may_speak_in(Domain(9)));
}

#[test]
fn a_revocation_stays_within_scope() {
    let pki = Pki::new();
    let root = pki.root.root_key();
    let spa = authority(&pki, &["/shop"], &[1]);
    let verify = |change: &dyn Fn(&mut statement::Revocation)| {
        let mut body = revocation("spa1", NOW_S);
        change(&mut body);
        root.revocation(&sign_revocation(&spa, &body))
    };
    let believed = verify(&|_| ()).expect("good");
    assert_eq!(believed.name, Some(name("/shop/a")));
    assert_eq!((believed.gateway, believed.identity), (None, None));
    let all = verify(&|body| {
        body.name = Bytes::new();
        body.gateway = 4;
        body.identity = "pod1/a".to_owned();
    })
    .expect("good");
    assert_eq!(all.name, None);
    assert_eq!(all.gateway, Some(NodeId(4)));
    assert_eq!(all.identity.as_deref(), Some("pod1/a"));
    let outside = verify(&|body| body.name = Bytes::from_static(b"\x04bank"));
    assert_eq!(outside, Err(VerifyError::Scope));
    assert_eq!(verify(&|body| body.domain = 2), Err(VerifyError::Scope));
    // Every domain that it may speak for.
    let all = verify(&|body| body.domain = 0).expect("good");
    assert_eq!((believed.domain, all.domain), (Some(Domain(1)), None));
    assert_eq!(
        verify(&|body| body.issued_before_s = NOW_S + 1001),
        Err(VerifyError::Validity)
    );
    assert_eq!(
        verify(&|body| body.until_s = NOW_S - 1),
        Err(VerifyError::Validity)
    );
    assert!(verify(&|body| body.reason = "x".repeat(256)).is_err());
    assert!(verify(&|body| body.authority = "spa2".to_owned()).is_err());
    let signed = sign_revocation(&spa, &revocation("spa1", NOW_S));
    for at in 0..signed.len() {
        let mut altered = signed.clone();
        altered[at] ^= 1;
        assert!(root.revocation(&altered).is_err(), "byte {at}");
        assert!(root.revocation(&signed[..at]).is_err());
    }
}

#[test]
fn a_proof_is_of_this_pod_at_this_gateway_and_recent() {
    let pki = Pki::new();
    let root = pki.root.root_key();
    let pod = pki.issue_for("pod/pod1/a", &[], &[], (NOW_S - 1000, NOW_S + 1000));
    let key = pod.signing_key().expect("key");
    let check = |identity: &str, signed_at_s: u64, gateway: u32, now_s: u64| {
        let (bytes, signature) = pod_statement(identity, 1, signed_at_s).sign(&key);
        proof::check(
            root,
            &pod.certificate_der,
            &bytes,
            &signature,
            NodeId(gateway),
            60,
            now_s,
        )
    };
    let proof = check("pod1/a", NOW_S, 1, NOW_S).expect("good");
    assert_eq!(proof.identity, "pod1/a");
    assert_eq!(proof.signed_at_s, NOW_S);
    assert_eq!(&proof.nonce[..], &[7; 16]);
    assert!(check("pod1/a", NOW_S, 1, NOW_S + 60).is_ok());
    assert_eq!(
        check("pod1/a", NOW_S, 1, NOW_S + 61),
        Err(ProofError::Old {
            age_s: 61,
            most_s: 60
        })
    );
    assert!(check("pod1/a", NOW_S + 300, 1, NOW_S).is_ok());
    assert_eq!(
        check("pod1/a", NOW_S + 301, 1, NOW_S),
        Err(ProofError::Future(301))
    );
    assert!(matches!(
        check("pod1/b", NOW_S, 1, NOW_S),
        Err(ProofError::Identity { .. })
    ));
    assert!(matches!(
        check("pod1/a", NOW_S, 2, NOW_S),
        Err(ProofError::Gateway { .. })
    ));
    assert_eq!(
        check("pod1/a", NOW_S, 1, NOW_S + 1001),
        Err(ProofError::Certificate(VerifyError::Validity))
    );

    let (bytes, signature) = pod_statement("pod1/a", 1, NOW_S).sign(&key);
    let raw = |certificate: &[u8], bytes: &[u8], signature: &[u8]| {
        proof::check(root, certificate, bytes, signature, NodeId(1), 60, NOW_S)
    };
    let node = pki.issue_for("node/1/sg", &[], &[], (NOW_S - 1000, NOW_S + 1000));
    let (_, by_node) = pod_statement("pod1/a", 1, NOW_S).sign(&node.signing_key().expect("key"));
    assert!(matches!(
        raw(&node.certificate_der, &bytes, &by_node),
        Err(ProofError::NoPod(_))
    ));
    assert_eq!(
        raw(&pod.certificate_der, &bytes, &by_node),
        Err(ProofError::Statement(VerifyError::Signature))
    );
    assert!(raw(&pod.certificate_der, &bytes, &signature[..63]).is_err());
    assert!(raw(&pod.certificate_der, &vec![0; 2000], &signature).is_err());
    let mut short = pod_statement("pod1/a", 1, NOW_S);
    short.nonce = Bytes::from_static(&[1; 15]);
    let (bytes, signature) = short.sign(&key);
    assert!(raw(&pod.certificate_der, &bytes, &signature).is_err());
}

#[test]
fn every_byte_string_gets_an_answer() {
    let pki = Pki::new();
    let root = pki.root.root_key();
    let spa = authority(&pki, &["/shop"], &[]);
    let key = spa.signing_key().expect("key");
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(512));
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    runner
        .run(&bytes, |bytes| {
            prop_assert!(root.certificate(&bytes, NOW_S).is_err());
            prop_assert!(root.authorisation(&bytes).is_err());
            prop_assert!(root.revocation(&bytes).is_err());
            prop_assert!(root.root_revocation(&bytes).is_err());
            prop_assert!(root.authority_certificate(&bytes).is_err());
            prop_assert!(proof::check(root, &bytes, &bytes, &bytes, NodeId(1), 60, NOW_S).is_err());
            // Well signed nonsense, which gets further.
            let statement = Bytes::from(bytes);
            let signed = SignedAuthorisation {
                signature: statement::sign(&key, statement::AUTHORISATION, &statement),
                statement: statement.clone(),
                authority_certificate: spa.authority_certificate.clone().expect("authority"),
            };
            prop_assert!(root.authorisation(&signed.encode_to_vec()).is_err());
            let signed = statement::SignedRevocation {
                signature: statement::sign(&key, statement::REVOCATION, &statement),
                statement,
                authority_certificate: spa.authority_certificate.clone().expect("authority"),
            };
            prop_assert!(root.revocation(&signed.encode_to_vec()).is_err());
            Ok(())
        })
        .expect("no panic, nothing believed");
}

/// What a later version asks for is kept and flooded by this one, and covers nothing.
#[test]
fn what_is_not_understood_covers_nothing() {
    let pki = Pki::new();
    let root = pki.root.root_key();
    let spa = authority(&pki, &["/shop"], &[]);
    let grants = |change: &dyn Fn(&mut statement::Authorisation)| {
        let mut body = authorisation("spa1", NOW_S);
        change(&mut body);
        let believed = root.authorisation(&sign_authorisation(&spa, &body));
        believed.map(|believed| believed.grants.len())
    };
    assert_eq!(grants(&|_| ()), Ok(2));
    assert_eq!(grants(&|body| body.grants[0].rights = 1), Ok(1));
    assert_eq!(grants(&|body| body.conditions = 1 << 31), Ok(0));
    assert_eq!(grants(&|body| body.gateway = 0), Ok(0));
    // That does not make it anybody's to say.
    let bank = |body: &mut statement::Authorisation| {
        body.grants[0] = grant("/bank", false, 0);
        body.grants[0].rights = 1;
        body.conditions = 1;
    };
    assert_eq!(grants(&bank), Err(VerifyError::Scope));
    let signed = sign_authorisation(&spa, &authorisation("spa1", NOW_S));
    let believed = root.authorisation(&signed).expect("good");
    let key = spa.signing_key().expect("key").public_key();
    assert_eq!(believed.authority_key, statement::sha256(&key));
    assert_eq!(believed.authority_issued_s, NOW_S - 300);
}

/// A statement has one form: nobody can make many of it that all are believed.
#[test]
fn what_carries_a_statement_is_canonical() {
    let pki = Pki::new();
    let root = pki.root.root_key();
    let spa = authority(&pki, &["/shop"], &[]);
    let revocation = sign_revocation(&spa, &revocation("spa1", NOW_S));
    let authorisation = sign_authorisation(&spa, &authorisation("spa1", NOW_S));
    let by_root = pki
        .root
        .revoke_node(NodeId(3), "lost", NOW_S)
        .expect("revocation");
    assert!(root.revocation(&revocation).is_ok());
    assert!(root.authorisation(&authorisation).is_ok());
    assert!(root.root_revocation(&by_root).is_ok());
    // A field that nobody knows, and an empty one again.
    for more in [&[0x7a, 1, 0][..], &[0x12, 0]] {
        let longer = |bytes: &[u8]| [bytes, more].concat();
        assert!(root.revocation(&longer(&revocation)).is_err());
        assert!(root.authorisation(&longer(&authorisation)).is_err());
        assert!(root.root_revocation(&longer(&by_root)).is_err());
        let certificate = spa.authority_certificate.clone().expect("authority");
        assert!(root.authority_certificate(&longer(&certificate)).is_err());
    }
}

/// A revocation on conditions is genuine, and not applied.
#[test]
fn a_revocation_on_conditions_is_of_a_later_version() {
    let pki = Pki::new();
    let spa = authority(&pki, &["/shop"], &[]);
    let mut body = revocation("spa1", NOW_S);
    body.conditions = 2;
    let signed = sign_revocation(&spa, &body);
    assert_eq!(
        pki.root.root_key().revocation(&signed),
        Err(VerifyError::NotUnderstood)
    );
}

#[test]
fn only_a_scheduling_center_signs_policies() {
    let pki = Pki::new();
    let now_s = dmsc_spa::pki::now_s();
    let root = pki.root.root_key();
    let center = pki.issue("scsc/scsc1");
    assert!(
        root.center_certificate(&center.certificate_der, now_s)
            .is_ok()
    );
    for other in ["node/1/sg", "spa/spa1", "operator/admin/eva", "pod/pod1/a"] {
        let other = pki.issue(other).certificate_der;
        assert!(root.certificate(&other, now_s).is_ok());
        assert!(root.center_certificate(&other, now_s).is_err());
    }
    let stranger = Pki::new().issue("scsc/scsc1");
    assert_eq!(
        root.center_certificate(&stranger.certificate_der, now_s),
        Err(VerifyError::Signature)
    );
}

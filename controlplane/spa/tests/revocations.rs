//! What a revocation must end although a clock went back, the policy changed, the process restarted or the root took the authority back.

mod common;

use std::path::Path;

use common::{Pki, name, pod_statement_for};
use dmsc_spa::authority::{Answer, Authority, AuthorityError, Request};
use dmsc_spa::credentials::Credentials;
use dmsc_spa::policy::Policy;
use dmsc_spa::proof::ProofError;
use dmsc_spa::verify::{Authorisation, Revocation, VerifyError};
use dmsc_wire::{Domain, NodeId};

const NOW_S: u64 = 1_800_000_000;

struct Scene {
    pki: Pki,
    spa: Credentials,
    authority: Authority,
}

/// `/shop`, for `pod1/a`; what is signed ends after `life_s`, and stays for 100 s.
fn policy(life_s: u32) -> Policy {
    let text = format!(
        "[authority]\nauthorisation_seconds = {life_s}\nstale_seconds = 100\n\n\
         [[policy]]\nidentity = \"pod1/a\"\nsubtrees = [\"/shop\"]\n"
    );
    Policy::parse(&text, Path::new("")).expect("policy")
}

impl Scene {
    fn new(life_s: u32) -> Self {
        let pki = Pki::new();
        let validity = (NOW_S - 100_000, NOW_S + 1_000_000);
        let spa = pki.issue_for("spa/spa1", &[], &[], validity);
        let authority = Authority::new(&spa, policy(life_s), 0, Vec::new()).expect("authority");
        Self {
            pki,
            spa,
            authority,
        }
    }

    fn try_ask(&mut self, now_s: u64) -> Result<Answer, AuthorityError> {
        let validity = (NOW_S - 100_000, NOW_S + 1_000_000);
        let pod = self.pki.issue_for("pod/pod1/a", &[], &[], validity);
        let prefixes = vec![name("/shop/a")];
        let (pod_statement, pod_signature) =
            pod_statement_for("pod1/a", 1, now_s, &prefixes).sign(&pod.signing_key().expect("key"));
        let request = Request {
            gateway: NodeId(1),
            domain: Domain(1),
            pod_certificate: pod.certificate_der,
            pod_statement,
            pod_signature,
            prefixes,
        };
        self.authority.authorise(&request, now_s)
    }

    fn ask(&mut self, now_s: u64) -> Authorisation {
        let answer = self.try_ask(now_s).expect("answer");
        let root = self.pki.root.root_key();
        root.authorisation(&answer.authorisations[0]).expect("good")
    }

    fn revoke(&mut self, domain: u32, now_s: u64) -> Revocation {
        let shop = Some(name("/shop"));
        let signed = self
            .authority
            .revoke(Domain(domain), shop, None, None, "sold", now_s);
        let root = self.pki.root.root_key();
        root.revocation(&signed.expect("revoke")).expect("good")
    }
}

#[test]
fn a_clock_that_went_back_leaves_no_authorisation_alive() {
    let mut scene = Scene::new(60);
    let signed = scene.ask(NOW_S + 5_000);
    let revocation = scene.revoke(1, NOW_S);
    assert!(revocation.issued_before_s >= signed.issued_at_s);
    assert!(revocation.serial > signed.serial);
    assert!(revocation.until_s >= signed.not_after_s + 100);
    // Nor does a restart, which knows the serial only.
    let serial = scene.authority.serial();
    scene.authority = Authority::new(&scene.spa, policy(60), serial, Vec::new()).expect("again");
    let again = scene.revoke(1, NOW_S - 10);
    assert!(again.issued_before_s >= signed.issued_at_s && again.serial > revocation.serial);
}

#[test]
fn a_revocation_lasts_as_long_as_what_any_policy_signed() {
    let mut scene = Scene::new(80_000);
    let signed = scene.ask(NOW_S);
    assert_eq!(signed.not_after_s, NOW_S + 80_000);
    scene.authority.set_policy(policy(60));
    let end_s = scene.authority.end_s();
    assert_eq!(end_s, NOW_S + 80_100);
    assert!(scene.revoke(1, NOW_S + 10).until_s >= end_s);
    // The next process is told.
    scene.authority = Authority::new(&scene.spa, policy(60), 0, Vec::new()).expect("again");
    scene.authority.remember_end(end_s);
    scene.authority.remember_end(0);
    assert!(scene.revoke(1, NOW_S + 10).until_s >= end_s);
}

#[test]
fn who_was_revoked_gets_nothing_more_from_the_same_authority() {
    for domain in [1, 0] {
        let mut scene = Scene::new(60);
        scene.ask(NOW_S);
        let revocation = scene.revoke(domain, NOW_S);
        for now_s in [NOW_S, NOW_S + 60, revocation.until_s - 1] {
            let answer = scene.try_ask(now_s).expect("answer");
            assert!(answer.authorisations.is_empty());
            let (refused, reason) = &answer.refused[0];
            assert_eq!(*refused, name("/shop/a"));
            assert!(
                reason.contains("revoked") && reason.ends_with(": sold"),
                "{reason}"
            );
        }
        assert!(
            scene
                .try_ask(revocation.until_s)
                .expect("answer")
                .refused
                .is_empty()
        );
    }
}

#[test]
fn an_authority_that_was_taken_back_signs_nothing() {
    let mut scene = Scene::new(60);
    let root = scene.spa.root_key().expect("root");
    let key = |who: &Credentials| who.signing_key().expect("key").public_key();
    let pod = scene.pki.issue("pod/pod1/a");
    let signed = scene.pki.root.revoke_keys(&[key(&pod)], "leaked", NOW_S);
    let revocation = root.root_revocation(&signed.expect("signed"));
    root.revoke(&revocation.expect("good"));
    let refused = scene.try_ask(NOW_S).expect_err("the pod's key");
    assert!(
        matches!(
            refused,
            AuthorityError::Proof(ProofError::Certificate(VerifyError::Revoked))
        ),
        "{refused}"
    );
    assert!(!scene.authority.is_revoked());
    let signed = scene.pki.root.revoke_authority("spa1", "sold", NOW_S);
    let revocation = root.root_revocation(&signed.expect("signed"));
    root.revoke(&revocation.expect("good"));
    assert!(scene.authority.is_revoked());
    let refused = scene.try_ask(NOW_S).expect_err("its own");
    assert!(matches!(refused, AuthorityError::Revoked(_)), "{refused}");
    let refused = scene
        .authority
        .revoke(Domain(1), None, None, None, "x", NOW_S);
    assert!(matches!(refused, Err(AuthorityError::Revoked(_))));
}

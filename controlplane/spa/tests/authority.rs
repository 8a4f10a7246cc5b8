//! An authority: what it gives, what it refuses in which words, and what it takes back.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Pki, name, pod_statement_for};
use dmsc_spa::authority::{Answer, Authority, AuthorityError, MAX_PREFIXES, Request};
use dmsc_spa::credentials::Credentials;
use dmsc_spa::policy::Policy;
use dmsc_spa::proof::ProofError;
use dmsc_spa::verify::Authorisation;
use dmsc_wire::{Domain, NameBuf, NodeId};

const NOW_S: u64 = 1_800_000_000;

const POLICY: &str = r#"
[authority]
authorisation_seconds = 60
stale_seconds = 100
proof_seconds = 50

[[policy]]
identity = "pod1/*"
subtrees = ["/shop/a", "/shop/b", "/x/1", "/x/2"]
maximum_depth = 4
gateways = [1, 4]

[[policy]]
identity = "pod1/a"
subtrees = ["/extra"]

[[policy]]
identity = "pod3"
domain = 7
subtrees = ["/bank"]
"#;

struct Scene {
    pki: Pki,
    spa: Credentials,
    authority: Authority,
}

impl Scene {
    fn new(policy: &str, subtrees: &[&str]) -> Self {
        let pki = Pki::new();
        let spa = pki.issue_for("spa/spa1", subtrees, &[], (NOW_S - 300, NOW_S + 100_000));
        let policy = Policy::parse(policy, Path::new("")).expect("policy");
        let authority = Authority::new(&spa, policy, 0, Vec::new()).expect("authority");
        Self {
            pki,
            spa,
            authority,
        }
    }

    fn request(&self, identity: &str, gateway: u32, domain: u32, names: &[&str]) -> Request {
        let validity = (NOW_S - 1000, NOW_S + 100_000);
        let pod = self
            .pki
            .issue_for(&format!("pod/{identity}"), &[], &[], validity);
        let key = pod.signing_key().expect("key");
        let prefixes: Vec<NameBuf> = names.iter().map(|text| name(text)).collect();
        let (pod_statement, pod_signature) =
            pod_statement_for(identity, gateway, NOW_S, &prefixes).sign(&key);
        Request {
            gateway: NodeId(gateway),
            domain: Domain(domain),
            pod_certificate: pod.certificate_der,
            pod_statement,
            pod_signature,
            prefixes,
        }
    }

    fn ask(&mut self, identity: &str, gateway: u32, domain: u32, names: &[&str]) -> Answer {
        let request = self.request(identity, gateway, domain, names);
        self.authority.authorise(&request, NOW_S).expect("proof")
    }

    /// The only reason.
    fn reason(&mut self, identity: &str, gateway: u32, domain: u32, wanted: &str) -> String {
        let answer = self.ask(identity, gateway, domain, &[wanted]);
        assert!(answer.authorisations.is_empty());
        assert_eq!(answer.refused.len(), 1);
        assert_eq!(answer.refused[0].0, name(wanted));
        answer.refused[0].1.clone()
    }

    fn believed(&self, answer: &Answer) -> Vec<Authorisation> {
        let root = self.pki.root.root_key();
        answer
            .authorisations
            .iter()
            .map(|signed| root.authorisation(signed).expect("believed"))
            .collect()
    }

    /// "/subtree<=depth" or "=/name".
    fn grants(&self, answer: &Answer) -> Vec<String> {
        self.believed(answer)
            .iter()
            .flat_map(|authorisation| &authorisation.grants)
            .map(|grant| {
                if grant.exact {
                    format!("={}", grant.name)
                } else {
                    format!("{}<={}", grant.name, grant.maximum_depth)
                }
            })
            .collect()
    }
}

#[test]
fn subtrees_are_given_whole_and_once() {
    let mut scene = Scene::new(POLICY, &[]);
    let answer = scene.ask(
        "pod1/a",
        1,
        1,
        &["/shop/a/1", "/shop/a/2", "/shop/a", "/extra/e", "/shop/a/1"],
    );
    assert!(answer.refused.is_empty(), "{:?}", answer.refused);
    assert_eq!(scene.grants(&answer), ["/shop/a<=4", "/extra<=16"]);
    let authorisation = &scene.believed(&answer)[0];
    assert_eq!(authorisation.authority, "spa1");
    assert_eq!(authorisation.identity, "pod1/a");
    assert_eq!(authorisation.gateway, NodeId(1));
    assert_eq!(authorisation.domain, Domain(1));
    assert_eq!(authorisation.issued_at_s, NOW_S);
    assert_eq!(authorisation.not_after_s, NOW_S + 60);
    assert_eq!(authorisation.stale_s, 100);
    assert_eq!((authorisation.fragment, authorisation.fragments), (1, 1));
    assert_eq!(authorisation.serial, NOW_S * 1000);
    assert_eq!(scene.authority.serial(), NOW_S * 1000);
    let next = scene.ask("pod1/a", 1, 1, &["/extra"]);
    assert_eq!(scene.believed(&next)[0].serial, NOW_S * 1000 + 1);

    // The next process begins above, even if its clock is behind.
    let policy = scene.authority.policy().clone();
    let mut again =
        Authority::new(&scene.spa, policy, NOW_S * 2000, Vec::new()).expect("authority");
    let request = scene.request("pod1/a", 1, 1, &["/extra"]);
    again.authorise(&request, NOW_S).expect("proof");
    assert_eq!(again.serial(), NOW_S * 2000 + 1);
}

#[test]
fn a_good_and_a_bad_name_get_an_answer_each() {
    let mut scene = Scene::new(POLICY, &[]);
    let answer = scene.ask("pod1/b", 4, 1, &["/shop/a/1", "/bank"]);
    assert_eq!(scene.grants(&answer), ["/shop/a<=4"]);
    assert_eq!(answer.refused.len(), 1);
    assert_eq!(answer.refused[0].0, name("/bank"));
}

#[test]
fn refusals_tell_the_pods_owner_what_would_be_good() {
    let mut scene = Scene::new(POLICY, &[]);
    let cases = [
        (
            ("pod1/b", 1, 1, "/bank"),
            "/bank is not pod1/b's: it may announce /shop/a, /shop/b, /x/1 and 1 more (policy of authority spa1)",
        ),
        (
            ("pod1/b", 1, 1, "/shop"),
            "/shop is above what pod1/b may announce: /shop/a, /shop/b, /x/1 and 1 more (policy of authority spa1)",
        ),
        (
            ("pod1/b", 2, 1, "/shop/a/1"),
            "pod1/b may announce /shop/a/1 at gateway 1, 4, not at gateway 2 (policy of authority spa1)",
        ),
        (
            ("pod1/b", 1, 1, "/shop/a/1/2/3"),
            "/shop/a/1/2/3 has 5 components; pod1/b may announce names of at most 4 here (policy of authority spa1)",
        ),
        (
            ("pod9", 1, 1, "/shop/a"),
            "pod9 may announce nothing: no policy of authority spa1 is about it",
        ),
        (
            ("pod3", 1, 1, "/bank"),
            "pod3 may announce nothing in domain 1, only in 7 (policy of authority spa1)",
        ),
        (
            ("pod1/a", 1, 1, "/dmsc/1"),
            "/dmsc/1 is reserved for routers; no pod may announce it",
        ),
    ];
    for ((identity, gateway, domain, wanted), sentence) in cases {
        assert_eq!(scene.reason(identity, gateway, domain, wanted), sentence);
    }
    assert!(scene.ask("pod3", 1, 7, &["/bank/x"]).refused.is_empty());
}

#[test]
fn exact_names_are_given_as_far_as_wanted() {
    let folder = tempfile::tempdir().expect("folder");
    let names: String = (0..20_000).map(|n| format!("/real/s{n}\n")).collect();
    std::fs::write(folder.path().join("n.txt"), names).expect("write");
    let policy = Policy::parse(
        "[[policy]]\nidentity = \"pod1/a\"\nnames_file = \"n.txt\"",
        folder.path(),
    )
    .expect("policy");
    let mut scene = Scene::new(POLICY, &[]);
    scene.authority.set_policy(policy);
    let answer = scene.ask("pod1/a", 9, 1, &["/real/s7", "/real/s19999"]);
    assert_eq!(scene.grants(&answer), ["=/real/s7", "=/real/s19999"]);
    assert_eq!(
        scene.reason("pod1/a", 1, 1, "/real/s7/x"),
        "/real/s7/x is not pod1/a's: it may announce /real/s0, /real/s1, /real/s2 and 19997 more (policy of authority spa1)"
    );

    // Many: in fragments that stand alone, and quickly.
    let names: Vec<String> = (0..20_000).map(|n| format!("/real/s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut request = scene.request("pod1/a", 9, 1, &names);
    let all = scene.authority.authorise(&request, NOW_S).expect("proof");
    assert!(all.authorisations.len() > 1);
    let believed = scene.believed(&all);
    let count = believed.len() as u32;
    let mut grants = 0;
    for ((authorisation, signed), number) in believed.iter().zip(&all.authorisations).zip(1..) {
        assert!(signed.len() <= 60_000, "{}", signed.len());
        assert_eq!(authorisation.fragment, number);
        assert_eq!(authorisation.fragments, count);
        grants += authorisation.grants.len();
    }
    assert_eq!(grants, 20_000);
    assert!(believed.windows(2).all(|two| two[0].serial < two[1].serial));

    let some = scene.request("pod1/a", 9, 1, &names[..5_000]);
    let least = (0..5)
        .map(|_| {
            let start = Instant::now();
            scene.authority.authorise(&some, NOW_S).expect("proof");
            start.elapsed()
        })
        .min()
        .expect("runs");
    assert!(least < Duration::from_millis(100), "{least:?}");

    request.prefixes = vec![name("/a"); MAX_PREFIXES + 1];
    assert!(matches!(
        scene.authority.authorise(&request, NOW_S),
        Err(AuthorityError::TooMany(_))
    ));
}

/// The largest certificate and the longest names leave fragments within their limit.
#[test]
fn fragments_hold_with_a_certificate_full_of_subtrees() {
    let subtrees: Vec<String> = (0..250)
        .map(|n| format!("/{n:0>50}"))
        .chain(["/real".to_owned()])
        .collect();
    let subtrees: Vec<&str> = subtrees.iter().map(String::as_str).collect();
    let mut scene = Scene::new(
        "[[policy]]\nidentity = \"pod1/a\"\nsubtrees = [\"/real\"]",
        &subtrees,
    );
    // A part of the subtree is revoked, so that each name is granted by itself.
    scene
        .authority
        .revoke(Domain(1), Some(name("/real/bad")), None, None, "x", NOW_S)
        .expect("revoke");
    let names: Vec<String> = (0..2000).map(|n| format!("/real/{n:0>245}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let request = scene.request("pod1/a", 1, 1, &names);
    let answer = scene.authority.authorise(&request, NOW_S).expect("proof");
    assert!(answer.authorisations.len() > 10);
    assert!(
        answer
            .authorisations
            .iter()
            .all(|signed| signed.len() <= 60_000)
    );
    assert_eq!(scene.grants(&answer).len(), 2000);
}

#[test]
fn an_authorisation_ends_with_who_asked_and_who_answered() {
    let mut scene = Scene::new(POLICY, &[]);
    let validity = (NOW_S - 10, NOW_S + 5);
    let pod = scene.pki.issue_for("pod/pod1/a", &[], &[], validity);
    let mut request = scene.request("pod1/b", 1, 1, &["/extra"]);
    let (statement, signature) = pod_statement_for("pod1/a", 1, NOW_S, &request.prefixes)
        .sign(&pod.signing_key().expect("key"));
    request.pod_certificate = pod.certificate_der;
    request.pod_statement = statement;
    request.pod_signature = signature;
    let answer = scene.authority.authorise(&request, NOW_S).expect("proof");
    assert_eq!(scene.believed(&answer)[0].not_after_s, NOW_S + 5);

    let short = scene
        .pki
        .issue_for("spa/spa1", &[], &[], (NOW_S - 300, NOW_S + 30));
    let policy = scene.authority.policy().clone();
    let mut authority = Authority::new(&short, policy, 0, Vec::new()).expect("authority");
    let request = scene.request("pod1/a", 1, 1, &["/extra"]);
    let answer = authority.authorise(&request, NOW_S).expect("proof");
    assert_eq!(scene.believed(&answer)[0].not_after_s, NOW_S + 30);
    assert!(matches!(
        authority.authorise(&request, NOW_S + 31),
        Err(AuthorityError::Validity(_))
    ));
}

/// Nobody who has a pod's proof gets more by it than the pod asked for.
#[test]
fn a_gateway_cannot_ask_for_what_the_pod_did_not_sign_for() {
    let mut scene = Scene::new(POLICY, &[]);
    let good = scene.request("pod1/a", 1, 1, &["/shop/a/x", "/extra"]);
    let mut refusal = |change: &dyn Fn(&mut Request)| {
        let mut request = good.clone();
        change(&mut request);
        match scene.authority.authorise(&request, NOW_S) {
            Err(AuthorityError::Proof(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    for change in [
        (&|names: &mut Vec<NameBuf>| names.push(name("/shop/b"))) as &dyn Fn(&mut Vec<NameBuf>),
        &|names| names[1] = name("/shop/b"),
        &|names| _ = names.pop(),
        &|names| names.reverse(),
        &Vec::clear,
    ] {
        let refused = refusal(&|request| change(&mut request.prefixes));
        assert_eq!(refused, ProofError::Prefixes);
    }
    let key = scene.pki.issue("pod/pod1/a").signing_key().expect("key");
    for (stated, asked, want) in [(7, 7, true), (0, 7, true), (7, 1, false)] {
        let mut request = scene.request("pod1/a", 1, asked, &["/extra"]);
        let mut statement = pod_statement_for("pod1/a", 1, NOW_S, &request.prefixes);
        statement.domain = stated;
        (request.pod_statement, request.pod_signature) = statement.sign(&key);
        let answer = scene.authority.authorise(&request, NOW_S);
        assert_eq!(answer.is_ok(), want, "{answer:?}");
    }
}

#[test]
fn without_a_proof_nothing_is_answered() {
    let mut scene = Scene::new(POLICY, &[]);
    let good = scene.request("pod1/a", 1, 1, &["/extra"]);
    let authorise = |authority: &mut Authority, change: &dyn Fn(&mut Request), now_s: u64| {
        let mut request = good.clone();
        change(&mut request);
        match authority.authorise(&request, now_s) {
            Err(AuthorityError::Proof(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let authority = &mut scene.authority;
    assert!(authority.authorise(&good, NOW_S + 50).is_ok());
    assert!(matches!(
        authorise(authority, &|_| (), NOW_S + 51),
        ProofError::Old { .. }
    ));
    // Another gateway that heard the proof.
    assert!(matches!(
        authorise(authority, &|request| request.gateway = NodeId(4), NOW_S),
        ProofError::Gateway { .. }
    ));
    for change in [
        (&|request: &mut Request| request.pod_signature = Bytes::from_static(&[0; 64]))
            as &dyn Fn(&mut Request),
        &|request| request.pod_signature = Bytes::new(),
        &|request| request.pod_statement = Bytes::new(),
        &|request| request.pod_certificate = Bytes::new(),
        &|request| request.pod_certificate = request.pod_certificate.slice(1..),
    ] {
        authorise(authority, change, NOW_S);
    }
    let stranger = Pki::new().issue("pod/pod1/a");
    authorise(
        authority,
        &|request| request.pod_certificate = stranger.certificate_der.clone(),
        NOW_S,
    );
}

#[test]
fn revocations_hold_until_they_end_and_over_a_restart() {
    let mut scene = Scene::new(POLICY, &[]);
    let root = scene.pki.root.root_key().clone();
    let signed = scene
        .authority
        .revoke(Domain(1), Some(name("/shop/a")), None, None, "sold", NOW_S)
        .expect("revoke");
    let revocation = root.revocation(&signed).expect("believed");
    assert_eq!(revocation.authority, "spa1");
    assert_eq!(revocation.issued_before_s, NOW_S);
    // Longer than anything that was issued can stay.
    assert!(revocation.until_s > NOW_S + 60 + 100);
    assert_eq!(
        scene.authority.revocations(NOW_S),
        std::slice::from_ref(&signed)
    );
    assert_eq!(
        scene.reason("pod1/a", 1, 1, "/shop/a/1"),
        "/shop/a/1 was revoked by authority spa1: sold"
    );
    let other = scene.ask("pod1/a", 1, 1, &["/shop/b"]);
    assert_eq!(scene.grants(&other), ["/shop/b<=4"]);

    let policy = scene.authority.policy().clone();
    let mut again =
        Authority::new(&scene.spa, policy.clone(), 0, vec![signed.clone()]).expect("authority");
    assert_eq!(again.revocations(NOW_S), std::slice::from_ref(&signed));
    assert!(again.serial() >= revocation.serial);
    let request = scene.request("pod1/a", 1, 1, &["/shop/a"]);
    let answer = again.authorise(&request, NOW_S).expect("proof");
    assert_eq!(answer.refused.len(), 1);
    assert!(again.revocations(revocation.until_s).is_empty());

    // The same again takes its place.
    let second = scene
        .authority
        .revoke(
            Domain(1),
            Some(name("/shop/a")),
            None,
            None,
            "sold",
            NOW_S + 1,
        )
        .expect("revoke");
    assert_eq!(scene.authority.revocations(NOW_S), [second]);

    let mut altered = signed.to_vec();
    altered[20] ^= 1;
    let error = Authority::new(&scene.spa, policy.clone(), 0, vec![signed, altered.into()])
        .expect_err("altered");
    assert!(error.to_string().starts_with("revocation 2 of those kept"));
    let other = scene
        .pki
        .issue_for("spa/spa2", &[], &[], (NOW_S - 300, NOW_S + 1000));
    let theirs = Authority::new(&other, policy.clone(), 0, Vec::new())
        .expect("authority")
        .revoke(Domain(1), None, None, None, "x", NOW_S)
        .expect("revoke");
    assert!(Authority::new(&scene.spa, policy, 0, vec![theirs]).is_err());
}

#[test]
fn a_revocation_ends_what_it_names_and_nothing_else() {
    let ask = |revoked: (u32, Option<&str>, Option<u32>, Option<&str>), wanted: &str| {
        let mut scene = Scene::new(POLICY, &[]);
        let (domain, at, gateway, identity) = revoked;
        scene
            .authority
            .revoke(
                Domain(domain),
                at.map(name),
                gateway.map(NodeId),
                identity.map(str::to_owned),
                "x",
                NOW_S,
            )
            .expect("revoke");
        let answer = scene.ask("pod1/a", 1, 1, &[wanted]);
        scene.grants(&answer).join(" ")
    };
    assert_eq!(ask((1, None, None, None), "/shop/a/1"), "");
    assert_eq!(
        ask((1, Some("/shop"), Some(1), Some("pod1/a")), "/shop/a/1"),
        ""
    );
    assert_eq!(ask((2, None, None, None), "/shop/a/1"), "/shop/a<=4");
    assert_eq!(ask((1, None, Some(4), None), "/shop/a/1"), "/shop/a<=4");
    assert_eq!(
        ask((1, None, None, Some("pod1/b")), "/shop/a/1"),
        "/shop/a<=4"
    );
    assert_eq!(
        ask((1, Some("/shop/b"), None, None), "/shop/a/1"),
        "/shop/a<=4"
    );
    assert_eq!(
        ask((1, Some("/shop/aa"), None, None), "/shop/a/1"),
        "/shop/a<=4"
    );
    // A part: the subtree is not given, as the new grant would be younger than the revocation.
    assert_eq!(
        ask((1, Some("/shop/a/2"), None, None), "/shop/a/1"),
        "=/shop/a/1"
    );
    assert_eq!(ask((1, Some("/shop/a/2"), None, None), "/shop/a/2/x"), "");
}

#[test]
fn an_authority_keeps_to_its_certificate() {
    let mut scene = Scene::new(
        "[[policy]]\nidentity = \"*\"\nsubtrees = [\"/shop/a\"]",
        &["/shop"],
    );
    let wide = Policy::parse(
        "[[policy]]\nidentity = \"*\"\nsubtrees = [\"/shop\", \"/bank\", \"/lab\"]",
        Path::new(""),
    )
    .expect("policy");
    let message = scene
        .authority
        .check_policy(&wide)
        .expect_err("outside")
        .to_string();
    assert_eq!(
        message,
        "[[policy]] *: /lab and 1 more: authority spa1 may not speak for it, only for /shop"
    );
    assert!(matches!(
        Authority::new(&scene.spa, wide.clone(), 0, Vec::new()),
        Err(AuthorityError::Policy(_))
    ));
    // Set anyway: refused when asked for, never signed.
    scene.authority.set_policy(wide);
    let reason = scene.reason("pod1/a", 1, 1, "/bank/x");
    assert!(
        reason.contains("authority spa1 may not speak for /bank/x"),
        "{reason}"
    );

    let error = scene
        .authority
        .revoke(Domain(1), Some(name("/bank")), None, None, "x", NOW_S)
        .expect_err("outside");
    assert!(matches!(error, AuthorityError::Scope { .. }), "{error}");
    for reason in [String::new(), "x".repeat(256)] {
        assert!(
            scene
                .authority
                .revoke(Domain(1), None, None, None, &reason, NOW_S)
                .is_err()
        );
    }
    let node = scene.pki.issue("node/1/sg");
    let policy = scene.authority.policy().clone();
    assert!(matches!(
        Authority::new(&node, policy, 0, Vec::new()),
        Err(AuthorityError::NoAuthority(_))
    ));
}

#[test]
fn a_policy_change_holds_for_the_next_request() {
    let mut scene = Scene::new(POLICY, &[]);
    let empty = Policy::parse("", Path::new("")).expect("policy");
    scene.authority.set_policy(empty);
    let reason = scene.reason("pod1/a", 1, 1, "/extra");
    assert!(reason.contains("no policy of authority spa1"), "{reason}");
    // Revocations still outlive what the policy of before let out.
    let signed = scene
        .authority
        .revoke(Domain(1), None::<NameBuf>, None, None, "x", NOW_S)
        .expect("revoke");
    let revocation = scene.pki.root.root_key().revocation(&signed).expect("good");
    assert!(revocation.until_s > NOW_S + 3600 + 259_200);
}

use super::*;
use crate::trust::Grant;

fn name(text: &str) -> NameBuf {
    NameBuf::parse(text).unwrap()
}

fn revocation(name: Option<&str>, until_s: u64) -> Revocation {
    Revocation {
        authority: "one".into(),
        serial: 1,
        domain: None,
        name: name.map(self::name),
        gateway: None,
        identity: None,
        issued_before_s: 1_000,
        until_s,
        subtrees: Vec::new(),
        domains: Vec::new(),
        reason: String::new(),
    }
}

fn authorisation(text: &str) -> Authorisation {
    Authorisation {
        authority: "other".into(),
        authority_key: [0; 32],
        authority_issued_s: 0,
        serial: 1,
        domain: Domain(1),
        gateway: NodeId(1),
        identity: String::new(),
        issued_at_s: 900,
        not_after_s: 5_000,
        stale_s: 1_000,
        grants: vec![Grant {
            name: name(text),
            exact: false,
            maximum_depth: 16,
        }],
        fragment: 1,
        fragments: 1,
    }
}

#[test]
fn it_ends_what_any_authority_signed_as_far_as_its_own_may_speak() {
    let mut revocations = Revocations::default();
    let limited = Revocation {
        subtrees: vec![name("/shop")],
        domains: vec![Domain(1)],
        ..revocation(None, 2_000)
    };
    assert!(revocations.insert(1, limited, Bytes::new()));
    let mut one = authorisation("/shop");
    for (text, hit) in [("/shop", true), ("/shop/a", true), ("/bank", false)] {
        assert_eq!(revocations.hit(&one, &name(text)), hit, "{text}");
    }
    one.domain = Domain(2);
    assert!(!revocations.hit(&one, &name("/shop")));
}

#[test]
fn it_is_needed_as_long_as_what_it_ended_could_be_used() {
    let mut revocations = Revocations::default();
    for (id, text) in [(1, "/shop/a"), (2, "/bank"), (3, "/shop")] {
        assert!(revocations.insert(id, revocation(Some(text), 2_000), Bytes::new()));
    }
    // A subtree above, and another below what is revoked.
    revocations.came(&authorisation("/shop"), 6_000);
    let over = Duration::from_secs(1);
    assert_eq!(revocations.expire(5_999, over), []);
    let gone = revocations.expire(5_999, over + FORGET);
    assert_eq!(gone, [(Kind::REVOCATION, 2)]);
    assert!(revocations.hit(&authorisation("/shop"), &name("/shop/a")));
    revocations.expire(6_000, over + FORGET);
    let gone = revocations.expire(6_000, over + FORGET + FORGET);
    assert_eq!(gone, [(Kind::REVOCATION, 1), (Kind::REVOCATION, 3)]);
    assert!(!revocations.hit(&authorisation("/shop"), &name("/shop/a")));
}

#[test]
fn a_clock_that_is_ahead_for_some_hours_erases_nothing() {
    let mut revocations = Revocations::default();
    revocations.insert(1, revocation(Some("/shop"), 2_000), Bytes::new());
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    for hour in 0..20 {
        assert_eq!(revocations.expire(30_000_000, hours(hour)), []);
    }
    assert_eq!(revocations.expire(1_500, hours(20)), []);
    assert_eq!(revocations.expire(30_000_000, hours(30)), [], "anew");
    assert_eq!(revocations.expire(30_000_000, hours(54)).len(), 1);
}

//! Rights, renewals, revocations, proofs.

use std::time::Instant;

use dmsc_linkstate::trust::Revocation;
use dmsc_wire::AttachmentId;

use super::*;
use crate::lease::{Endpoint, Health, Lease};

fn held(serial: u64, name: &str, exact: bool, life: (u64, u64)) -> Held {
    let authorisation = Authorisation {
        authority: "spa1".into(),
        authority_key: [1; 32],
        authority_issued_s: 0,
        serial,
        domain: Domain(1),
        gateway: NodeId(1),
        identity: "pod1/a".into(),
        issued_at_s: life.0,
        not_after_s: life.1,
        stale_s: 100,
        grants: vec![Grant {
            name: NameBuf::parse(name).unwrap(),
            exact,
            maximum_depth: 3,
        }],
        fragment: 1,
        fragments: 1,
    };
    Held {
        body: Bytes::from(serial.to_string()),
        authorisation,
    }
}

fn right(claims: &Claims, name: &str, revocations: &[Revocation], now: u64) -> Right {
    let name = NameBuf::parse(name).unwrap();
    let revoked = Revoked::new(NodeId(1), revocations.iter());
    claims.right(Domain(1), "pod1/a", &name, &revoked, now)
}

#[test]
fn a_right_is_an_authorisation_that_covers_and_lasts() {
    let mut claims = Claims::new(NodeId(1));
    assert_eq!(
        claims.add(vec![held(1, "/shop/a", false, (0, 30))]).len(),
        1
    );
    claims.add(vec![held(2, "/x", true, (0, 30))]);
    for (name, now, want) in [
        ("/shop/a", 30, Right::Valid),
        ("/shop/a/b", 30, Right::Valid),
        ("/shop/a/b/c", 30, Right::Unknown),
        ("/shop", 30, Right::Unknown),
        ("/x", 0, Right::Valid),
        ("/x/y", 0, Right::Unknown),
        ("/shop/a", 31, Right::Expired),
        ("/shop/a", 131, Right::Unknown),
    ] {
        assert_eq!(right(&claims, name, &[], now), want, "{name} at {now}");
    }
}

fn renewal(claims: &mut Claims, wanted: &[&str]) -> Option<u64> {
    let claim = Claim {
        identity: "pod1/a".into(),
        domain: Domain(1),
        wanted: wanted
            .iter()
            .map(|name| NameBuf::parse(name).unwrap())
            .collect(),
        ..Claim::default()
    };
    claims.by_lease.insert(LeaseId(1), claim);
    claims.plan_renewals();
    claims.by_lease[&LeaseId(1)].renewal.at_s
}

#[test]
fn what_is_renewed_is_the_newest_of_what_is_wanted() {
    let mut claims = Claims::new(NodeId(1));
    claims.add(vec![held(1, "/shop", false, (0, 30))]);
    claims.add(vec![held(2, "/x", true, (0, 60))]);
    assert_eq!(renewal(&mut claims, &["/shop/a", "/x"]), Some(10));
    assert_eq!(renewal(&mut claims, &["/x", "/y"]), Some(20));
    assert_eq!(renewal(&mut claims, &["/y"]), None);
    // Not all that the old one grants is granted again, but all that is wanted.
    claims.add(vec![held(3, "/shop/a", true, (10, 40))]);
    assert!(claims.prune(10).is_empty());
    assert_eq!(renewal(&mut claims, &["/shop/a"]), Some(20));
    assert_eq!(renewal(&mut claims, &["/shop/a", "/shop/b"]), Some(10));
}

#[test]
fn a_revocation_of_everything_is_about_what_its_authority_may_speak_for() {
    let mut claims = Claims::new(NodeId(1));
    claims.add(vec![held(1, "/shop", false, (0, 30))]);
    let all = |authority: &str, scope: &str| Revocation {
        authority: authority.into(),
        serial: 1,
        domain: Some(Domain(1)),
        name: None,
        gateway: None,
        identity: Some("pod1/a".into()),
        issued_before_s: 5,
        until_s: 100,
        subtrees: vec![NameBuf::parse(scope).unwrap()],
        domains: vec![Domain(1)],
        reason: "closed".into(),
    };
    let other = [all("spa2", "/lab")];
    assert_eq!(right(&claims, "/shop/a", &other, 6), Right::Valid);
    assert_eq!(right(&claims, "/bank", &other, 6), Right::Unknown);
    let own = [all("spa1", "/shop"), all("spa2", "/lab")];
    assert!(matches!(
        right(&claims, "/shop/a", &own, 6),
        Right::Revoked(_)
    ));
    assert_eq!(right(&claims, "/bank", &own, 6), Right::Unknown);
}

#[test]
fn a_revocation_ends_it_until_there_is_a_newer_one() {
    let mut claims = Claims::new(NodeId(1));
    claims.add(vec![held(1, "/shop", false, (0, 30))]);
    let revocation = Revocation {
        authority: "spa1".into(),
        serial: 2,
        domain: Some(Domain(1)),
        name: Some(NameBuf::parse("/shop/a").unwrap()),
        gateway: None,
        identity: None,
        issued_before_s: 5,
        until_s: 100,
        subtrees: Vec::new(),
        domains: Vec::new(),
        reason: "sold".into(),
    };
    let list = [revocation];
    assert_eq!(right(&claims, "/shop/b", &list, 6), Right::Valid);
    let Right::Revoked(why) = right(&claims, "/shop/a/x", &list, 6) else {
        panic!()
    };
    assert_eq!(&*why, "revoked by authority spa1: sold");
    claims.add(vec![held(3, "/shop", false, (6, 36))]);
    assert_eq!(right(&claims, "/shop/a/x", &list, 6), Right::Valid);
    assert_eq!(
        claims.prune(6),
        [Bytes::from("1")],
        "the newer one grants the same"
    );
    assert_eq!(claims.prune(137).len(), 1);
}

fn lease(serves: &[&str]) -> Lease {
    Lease {
        id: LeaseId(1),
        identity: "pod1/a".into(),
        endpoint: Endpoint {
            port: "pod1".into(),
            address: [10, 1, 1, 2].into(),
            udp_port: 4_000,
        },
        registrant: [10, 1, 1, 2].into(),
        domain: Domain(1),
        serves: serves
            .iter()
            .map(|text| NameBuf::parse(text).unwrap())
            .collect(),
        source_name: NameBuf::parse("/id/pod1/a").unwrap(),
        class_limit: 5,
        attachment: AttachmentId(1),
        health: Health::Serving,
        reachable: true,
        answers: true,
        expires: Instant::now(),
    }
}

#[test]
fn a_pod_is_told_what_proves_its_names_and_again_when_that_changes() {
    let none = Revoked::default();
    let told = |claims: &mut Claims, lease: &Lease, revoked: &Revoked<'_>, now_s| {
        let proofs = claims.proofs(lease, revoked, now_s);
        let list: Vec<String> = proofs
            .authorisations
            .iter()
            .map(|one| String::from_utf8(one.to_vec()).unwrap())
            .collect();
        (proofs.version, list.join(" "))
    };
    let mut claims = Claims::new(NodeId(1));
    claims.add(vec![held(1, "/shop", false, (0, 30))]);
    claims.add(vec![held(2, "/x", true, (0, 30))]);
    let both = lease(&["/shop/a", "/shop/b", "/x"]);
    assert_eq!(claims.proofs(&both, &none, 5).version, 0, "no claim yet");
    claims.by_lease.insert(LeaseId(1), Claim::default());
    let (first, list) = told(&mut claims, &both, &none, 5);
    assert_eq!(list, "1 2");
    let (nothing, list) = told(&mut claims, &lease(&[]), &none, 5);
    assert_eq!(list, "");
    assert!(nothing != 0 && nothing != first);
    assert_eq!(told(&mut claims, &both, &none, 5).0, first);
    // What is for other names changes nothing.
    claims.add(vec![held(3, "/other", false, (0, 30))]);
    assert_eq!(told(&mut claims, &both, &none, 5).0, first);
    // Renewed: the one that lasts longest.
    claims.add(vec![held(4, "/shop", false, (10, 40))]);
    let (second, list) = told(&mut claims, &both, &none, 15);
    assert_eq!(list, "4 2");
    assert_ne!(second, first);
    assert!(claims.proofs(&both, &none, 15).since(second).is_empty());
    assert_eq!(claims.proofs(&both, &none, 15).since(first).len(), 2);
    // Over for good, and taken back, is no proof.
    claims.add(vec![held(5, "/other", true, (0, 30))]);
    assert_eq!(told(&mut claims, &both, &none, 131).1, "4");
    let taken = [Revocation {
        authority: "spa1".into(),
        serial: 6,
        domain: None,
        name: Some(NameBuf::parse("/x").unwrap()),
        gateway: None,
        identity: None,
        issued_before_s: 5,
        until_s: 100,
        subtrees: Vec::new(),
        domains: Vec::new(),
        reason: "sold".into(),
    }];
    let revoked = Revoked::new(NodeId(1), taken.iter());
    let again = lease(&["/shop/a", "/x"]);
    assert_eq!(told(&mut claims, &again, &revoked, 20).1, "4");
    // What needs more than fits is told as far as it goes.
    let names: Vec<String> = (0..70).map(|number| format!("/many/{number:02}")).collect();
    let many = names.iter().zip(100..);
    claims.add(
        many.map(|(name, serial)| held(serial, name, true, (0, 30)))
            .collect(),
    );
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let proofs = claims.proofs(&lease(&names), &none, 5);
    assert_eq!(proofs.authorisations.len(), 64);
}

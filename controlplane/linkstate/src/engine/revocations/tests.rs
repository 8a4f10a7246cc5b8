use dmsc_wire::Domain;

use super::*;
use crate::trust::Grant;

const MOST: usize = 100_000;

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
    let mut revocations = Revocations::new(MOST);
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
    let mut revocations = Revocations::new(MOST);
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
    let mut revocations = Revocations::new(MOST);
    revocations.insert(1, revocation(Some("/shop"), 2_000), Bytes::new());
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    for hour in 0..20 {
        assert_eq!(revocations.expire(30_000_000, hours(hour)), []);
    }
    assert_eq!(revocations.expire(1_500, hours(20)), []);
    assert_eq!(revocations.expire(30_000_000, hours(30)), [], "anew");
    assert_eq!(revocations.expire(30_000_000, hours(54)).len(), 1);
}

#[test]
fn no_authority_takes_the_room_of_another() {
    let mut revocations = Revocations::new(MOST);
    // All name no prefix, each another identity: what a stolen key would be used for.
    let flood = |n: u64| Revocation {
        serial: n,
        until_s: if n < (MOST / PART) as u64 {
            2_000
        } else {
            100_000
        },
        identity: Some(format!("pod/{n}")),
        subtrees: vec![name("/shop"), name("/bank")],
        ..revocation(None, 2_000)
    };
    let most = (MOST / PART) as u64;
    for n in 0..most {
        assert!(revocations.insert(n, flood(n), Bytes::new()));
    }
    assert!(!revocations.insert(most, flood(most), Bytes::new()));
    assert_eq!(revocations.refused().collect::<Vec<_>>(), [(most, "one")]);
    assert!(revocations.fitting(10).is_empty());
    assert!(
        revocations.contains((Kind::REVOCATION, most)),
        "still known"
    );
    // Another one has room, and so has the root.
    let other = Revocation {
        authority: "other".into(),
        ..revocation(Some("/shop/a"), 100_000)
    };
    assert!(revocations.insert(most + 1, other, Bytes::new()));
    let root = RootRevocation {
        subject: crate::trust::RevokedSubject::Node(NodeId(1)),
        issued_before_s: 1,
        until_s: 100_000,
        reason: String::new(),
    };
    assert!(revocations.insert_root(1, root, Bytes::new()));
    // Look-ups do not go through all of them.
    let one = authorisation("/shop");
    let begin = std::time::Instant::now();
    for n in 0..10_000 {
        let text = format!("/shop/b/n{n}");
        assert!(!revocations.hit(&one, &name(&text)));
    }
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{most} for each?"
    );
    assert!(revocations.hit(&one, &name("/shop/a/x")));
    let its = Authorisation {
        identity: "pod/777".into(),
        ..authorisation("/bank")
    };
    assert!(revocations.hit(&its, &name("/bank/a")));
    // When they are over there is room again, and nothing of them is left.
    revocations.expire(2_001, Duration::from_secs(1));
    let gone = revocations.expire(2_001, Duration::from_secs(1) + FORGET);
    assert_eq!(gone.len(), MOST / PART);
    assert_eq!(revocations.fitting(10), [(most, Bytes::new())]);
    assert!(!revocations.hit(&its, &name("/bank/a")));
    assert!(revocations.insert(most, flood(most), Bytes::new()));
    assert_eq!(revocations.refused().count(), 0);
    for id in [most, most + 1] {
        revocations.remove(id);
    }
    assert!(revocations.index.is_empty() && revocations.of_authority.is_empty());
}

#[test]
fn the_index_finds_what_going_through_all_would() {
    let names = ["/a", "/a/b", "/a/b/c", "/b"];
    let pick = |n: u64, of: u64| usize::try_from(n / 7 % of).unwrap();
    let mut revocations = Revocations::new(MOST);
    let all: Vec<Revocation> = (0..200u64)
        .map(|n| {
            let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            let some = |shift: u64, of: u64| pick(mixed >> shift, of);
            let named = some(0, 3) != 0;
            Revocation {
                serial: n,
                domain: [None, Some(Domain(1)), Some(Domain(2))][some(3, 3)],
                name: named.then(|| name(names[some(6, 4)])),
                gateway: [None, Some(NodeId(1)), Some(NodeId(2))][some(9, 3)],
                identity: [None, Some("x".into()), Some("y".into())][some(12, 3)].clone(),
                issued_before_s: mixed % 50,
                subtrees: [vec![], vec![name("/a/b")], vec![name("/a"), name("/b")]][some(15, 3)]
                    .clone(),
                domains: [vec![], vec![Domain(1)]][some(18, 2)].clone(),
                ..revocation(None, 2_000)
            }
        })
        .collect();
    for (id, one) in (0..).zip(&all) {
        assert!(revocations.insert(id, one.clone(), Bytes::new()));
    }
    let mut hits = 0;
    for removed in 0..=200usize {
        for (at, issued_at_s) in names
            .into_iter()
            .flat_map(|at| [(at, 0), (at, 25), (at, 48)])
        {
            for identity in ["x", "z"] {
                let one = Authorisation {
                    identity: identity.into(),
                    issued_at_s,
                    ..authorisation(at)
                };
                let at = name(at);
                let ends = |all: &[Revocation]| {
                    all.iter().any(|one_of| {
                        let below = |top: &NameBuf| top.as_name().is_prefix_of(at.as_name());
                        one_of.domain.is_none_or(|domain| domain == one.domain)
                            && applies(one_of, &one)
                            && one_of.name.as_ref().is_none_or(below)
                            && (one_of.subtrees.is_empty() || one_of.subtrees.iter().any(below))
                    })
                };
                let hit = revocations.hit(&one, &at);
                assert_eq!(hit, ends(&all[removed..]), "{one:?} {at:?} {removed}");
                hits += u32::from(hit);
                let mut near = revocations.index.near(&one);
                near.retain(|id| revocations.touches(*id, &one));
                let touching = (removed as u64..200).filter(|id| revocations.touches(*id, &one));
                assert_eq!(near, touching.collect());
            }
        }
        if let Some(id) = (removed < 200).then_some(removed as u64) {
            revocations.remove(id);
        }
    }
    assert!(hits > 500, "{hits}");
    assert!(revocations.index.is_empty());
}

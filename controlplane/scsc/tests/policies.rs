//! Policies: signed and read back; whatever they say, a router stays within what it computed; of several that count one decides.

use std::time::Duration;

use bytes::Bytes;
use dmsc_linkstate::action::Topology;
use dmsc_scsc::{
    Epoch, Held, PlainMember, Policy, PolicyError, PolicyId, Rank, Refused, ReplicaId, Share,
    SignedPolicy, apply,
};
use dmsc_spa::identity::Identity;
use dmsc_spa::pki::{Root, Scope, now_s};
use dmsc_spa::{credentials::Credentials, statement};
use dmsc_wire::{Domain, NameBuf, NodeId};
use proptest::prelude::*;

const AREA: u32 = 3;
const HERE: NodeId = NodeId(9);

fn name(text: &str) -> NameBuf {
    NameBuf::parse(text).unwrap()
}

fn policy(prefix: &str, gateway: NodeId, rank: (u64, u32, u64), shares: Vec<Share>) -> Policy {
    Policy {
        rank: Rank {
            epoch: Epoch(rank.0),
            replica: ReplicaId(rank.1),
            id: PolicyId(rank.2),
        },
        area: AREA,
        domain: Domain(1),
        prefix: name(prefix),
        gateway,
        ttl: Duration::from_secs(30),
        shares,
        reason: "delay 84.0 ms ≥ 62.0 ms".into(),
    }
}

fn share() -> impl Strategy<Value = Share> {
    let weight = prop_oneof![Just(0), Just(1), any::<u16>()];
    (1..8u32, weight, any::<bool>()).prop_map(|(gateway, weight, delay)| Share {
        gateway: NodeId(gateway),
        weight,
        topology: if delay {
            Topology::Delay
        } else {
            Topology::Metric
        },
    })
}

fn shares() -> impl Strategy<Value = Vec<Share>> {
    prop::collection::vec(share(), 0..10).prop_map(|mut shares| {
        shares.sort_by_key(|share| (share.gateway, share.topology));
        shares.dedup_by_key(|share| (share.gateway, share.topology));
        shares
    })
}

fn members() -> impl Strategy<Value = Vec<PlainMember>> {
    let member = (1..8u32, any::<u8>(), any::<bool>(), any::<bool>());
    prop::collection::vec(member, 0..6).prop_map(|mut members| {
        members.sort_unstable();
        members.dedup_by_key(|member| member.0);
        let plain = |(gateway, metric, by_metric, by_delay): (u32, u8, bool, bool)| PlainMember {
            gateway: NodeId(gateway),
            metric: metric.into(),
            weight: 1,
            by_metric,
            by_delay,
        };
        members.into_iter().map(plain).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_wrong_policy_never_leaves_the_plain_members_nor_nobody(plain in members(), shares in shares()) {
        let policy = policy("/a", NodeId::NONE, (1, 1, 1), shares);
        let placement = apply(&plain, Some(&policy));
        prop_assert_eq!(placement.members.is_empty(), plain.is_empty());
        let of = |gateway: NodeId| plain.iter().find(|member| member.gateway == gateway);
        let mut chosen = 0;
        for placed in &placement.members {
            let member = of(placed.gateway);
            prop_assert!(member.is_some(), "{:?}", placed);
            let member = member.unwrap();
            let has_way = match placed.topology {
                Topology::Metric => member.by_metric,
                Topology::Delay => member.by_delay,
            };
            prop_assert!(has_way || !member.is_reachable(), "no way: {:?}", placed);
            chosen += u32::from(placed.weight > 0 && member.is_reachable());
        }
        let reachable = plain.iter().any(PlainMember::is_reachable);
        prop_assert_eq!(chosen > 0, reachable);
    }

    #[test]
    fn a_statement_is_read_as_it_was_written(shares in shares(), id in any::<u64>(), ttl in 0..3_600_000u64) {
        let mut policy = policy("/a/b", HERE, (7, 2, id), shares);
        policy.ttl = Duration::from_millis(ttl);
        prop_assert_eq!(Policy::from_statement(&policy.to_statement()), Ok(policy));
    }

    #[test]
    fn any_bytes_are_a_policy_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(policy) = Policy::from_statement(&bytes) {
            prop_assert_eq!(&policy.to_statement()[..], &bytes[..]);
        }
    }
}

#[test]
fn without_a_policy_or_with_one_about_others_routes_hold() {
    let plain = [2, 3].map(|gateway| PlainMember {
        gateway: NodeId(gateway),
        metric: 10 * gateway,
        weight: 1,
        by_metric: true,
        by_delay: true,
    });
    let without = apply(&plain, None);
    assert!(!without.weighted && without.ignored.is_none() && without.members.len() == 2);
    let to = |gateway, weight| Share {
        gateway: NodeId(gateway),
        weight,
        topology: Topology::Metric,
    };
    let others = apply(&plain, Some(&policy("/a", HERE, (1, 1, 1), vec![to(5, 1)])));
    assert_eq!(others.members, without.members);
    assert!(others.ignored.is_some());
    // The one that is not named stays a backup; the excluded one does not.
    let named = apply(&plain, Some(&policy("/a", HERE, (1, 1, 1), vec![to(3, 7)])));
    let weights: Vec<u16> = named.members.iter().map(|member| member.weight).collect();
    assert_eq!((named.weighted, weights), (true, vec![0, 7]));
    let excluded = apply(&plain, Some(&policy("/a", HERE, (1, 1, 1), vec![to(2, 0)])));
    assert_eq!(excluded.members.len(), 1);
    assert!(!excluded.weighted);
}

#[test]
fn the_longest_prefix_then_this_gateway_then_the_epoch_decides_until_it_ends() {
    let mut held = Held::new(HERE, AREA);
    let at = Duration::from_secs;
    let call = name("/shop/cart/v1");
    let accept = |held: &mut Held, prefix, gateway, rank| {
        held.accept(at(100), policy(prefix, gateway, rank, vec![]))
    };
    let rank = |held: &Held, second| {
        let active = held.active(at(second), Domain(1), call.as_name());
        active.map(|policy| (policy.prefix.to_string(), policy.rank.epoch.0))
    };
    accept(&mut held, "/shop", HERE, (9, 1, 1)).unwrap();
    assert_eq!(rank(&held, 100), Some(("/shop".into(), 9)));
    accept(&mut held, "/shop/cart", NodeId::NONE, (8, 1, 2)).unwrap();
    assert_eq!(rank(&held, 100), Some(("/shop/cart".into(), 8)));
    accept(&mut held, "/shop/cart", HERE, (2, 1, 3)).unwrap();
    accept(&mut held, "/shop/cart", HERE, (3, 2, 1)).unwrap();
    assert_eq!(rank(&held, 100), Some(("/shop/cart".into(), 3)));
    // What comes late or again, is of another area, or for others, changes nothing.
    let again = accept(&mut held, "/shop/cart", HERE, (2, 1, 3));
    assert_eq!(again, Err(Refused::Old));
    let elsewhere = accept(&mut held, "/shop", NodeId(4), (20, 1, 9));
    assert_eq!(elsewhere, Err(Refused::Elsewhere(NodeId(4))));
    let mut foreign = policy("/shop", HERE, (20, 1, 9), vec![]);
    foreign.area = 1;
    assert_eq!(held.accept(at(100), foreign), Err(Refused::Area(1)));
    // The replica with the greater epoch takes its own back: the other's holds. A policy that ended cannot be played back.
    let mut ended = policy("/shop/cart", HERE, (3, 2, 2), vec![]);
    ended.ttl = Duration::ZERO;
    held.accept(at(110), ended).unwrap();
    assert_eq!(rank(&held, 110), Some(("/shop/cart".into(), 2)));
    let back = accept(&mut held, "/shop/cart", HERE, (3, 2, 1));
    assert_eq!(back, Err(Refused::Old));
    assert_eq!(held.next_expiry(), Some(at(130)));
    assert!(held.expire(at(129)).is_empty());
    assert_eq!(rank(&held, 130), None);
    assert_eq!(held.expire(at(130)).len(), 3);
    assert_eq!((held.next_expiry(), held.iter().count()), (None, 0));
}

#[test]
fn signed_by_the_center_or_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let root = Root::init(&folder.path().join("root"), "dmsc.test", 3650).unwrap();
    let now_s = now_s();
    let scope = Scope {
        subtrees: Vec::new(),
        domains: Vec::new(),
    };
    let issue = |id| {
        let path = folder.path().join(format!("node-{id}"));
        let validity = (now_s - 300, now_s + 86_400);
        let identity = Identity::node(NodeId(id), true);
        root.issue_for(&identity, &scope, validity, false, &path)
            .unwrap();
        Credentials::load(&path).unwrap()
    };
    let (center, other) = (issue(1), issue(2));
    let key = center.signing_key().unwrap();
    let policy = policy("/a", HERE, (1, 1, 1), vec![]);
    let signed = policy.sign(&key, center.certificate_der.clone());
    let public_key = key.public_key();
    assert_eq!(signed.verify(&public_key), Ok(policy.clone()));
    let other_key = other.signing_key().unwrap().public_key();
    assert_eq!(signed.verify(&other_key), Err(PolicyError::Signature));
    // A signature over the same bytes for another purpose is none.
    let signature = statement::sign(&key, statement::AUTHORISATION, &signed.statement);
    let borrowed = SignedPolicy {
        signature,
        ..signed.clone()
    };
    assert_eq!(borrowed.verify(&public_key), Err(PolicyError::Signature));
    let mut longer = signed.statement.to_vec();
    longer.extend([0x58, 0]);
    let longer = Bytes::from(longer);
    assert_eq!(Policy::from_statement(&longer), Err(PolicyError::Encoding));
    let lasting = Policy {
        ttl: Duration::from_secs(3_601),
        ..policy
    };
    let refused = Policy::from_statement(&lasting.to_statement());
    assert_eq!(refused, Err(PolicyError::Ttl(3_601_000)));
}

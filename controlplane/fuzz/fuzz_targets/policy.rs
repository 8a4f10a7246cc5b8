//! Any bytes as a policy, signed or not: refused, or canonical, and then held and applied to members that a router computed itself, never to others.
#![no_main]

use std::time::Duration;

use dmsc_scsc::{Held, PlainMember, Policy, SignedPolicy, apply};
use dmsc_wire::NodeId;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

const HERE: NodeId = NodeId(1);

fuzz_target!(|data: &[u8]| {
    if let Ok(signed) = SignedPolicy::decode(data) {
        assert!(signed.verify(&[7; 32]).is_err(), "nobody has this key");
    }
    let Ok(policy) = Policy::from_statement(data) else {
        return;
    };
    assert_eq!(&policy.to_statement()[..], data);
    let plain = [2, 3, 4].map(|gateway| PlainMember {
        gateway: NodeId(gateway),
        metric: gateway,
        weight: 1,
        by_metric: gateway != 4,
        by_delay: gateway == 3,
    });
    let placed = apply(&plain, Some(&policy));
    assert!(!placed.members.is_empty());
    assert!(placed.members.iter().all(|one| plain.iter().any(|of| of.gateway == one.gateway)));
    let mut held = Held::new(HERE, policy.area);
    let now = Duration::from_secs(1);
    let (domain, prefix, ttl) = (policy.domain, policy.prefix.clone(), policy.ttl);
    if held.accept(now, policy.clone()).is_ok() {
        assert!(held.accept(now, policy).is_err(), "played back");
        assert_eq!(held.active(now, domain, prefix.as_name()).is_some(), !ttl.is_zero());
        held.expire(now + ttl);
        assert!(held.active(now, domain, prefix.as_name()).is_none());
    }
});

//! Answers about names: prefixes, pods, authorisations.

use std::time::Instant;

use dmsc_linkstate::engine::MemberInfo;
use dmsc_proto::v1;
use dmsc_wire::{Name, NameBuf};

use crate::lease::Lease;
use crate::node::Node;

/// Names of an authorisation that are told.
const NAMES: usize = 16;

fn bytes(name: &NameBuf) -> Vec<u8> {
    name.as_bytes().to_vec()
}

/// Prefixes at or below `under` with their gateways.
pub fn prefixes(node: &Node, under: Option<&NameBuf>, limit: u32) -> v1::PrefixesReply {
    let limit = match limit {
        0 => usize::MAX,
        limit => limit as usize,
    };
    let member = |info: MemberInfo| v1::PrefixMember {
        gateway: info.member.gateway.0,
        metric: node.rib.member_metric(&info.member),
        weight: info.member.weight,
        state: match (info.waiting, info.stale) {
            (true, _) => "waiting",
            (false, true) => "stale",
            (false, false) => "valid",
        }
        .into(),
        authority: info.authority,
        identity: info.identity,
    };
    let prefixes = node.engine.prefixes(under, limit).into_iter();
    let prefixes = prefixes.map(|(domain, name, members)| v1::PrefixInfo {
        domain: domain.0,
        name: bytes(&name),
        members: members.into_iter().map(member).collect(),
    });
    v1::PrefixesReply {
        prefixes: prefixes.collect(),
        total: node.engine.prefix_count() as u64,
        next: Vec::new(),
    }
}

/// Pods registered here.
pub fn pods(node: &Node) -> v1::PodsReply {
    let now = Instant::now();
    let leases = node.pods.leases();
    let pods = leases.iter().map(|lease| pod(node, lease, now));
    v1::PodsReply {
        pods: pods.collect(),
        next: Vec::new(),
    }
}

fn pod(node: &Node, lease: &Lease, now: Instant) -> v1::PodInfo {
    let claim = node.claims.by_lease.get(&lease.id);
    let there = lease.reachable && lease.answers;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let reason = if !lease.reachable {
        "the dataplane cannot reach it: its prefixes are withdrawn".to_owned()
    } else if !lease.answers {
        "it does not answer probes: its prefixes are withdrawn".to_owned()
    } else if node.draining() {
        "this gateway is drained: nothing is announced".to_owned()
    } else {
        claim.map_or_else(String::new, |claim| {
            let first = claim.waiting.values().next();
            match (claim.reason.as_str(), first) {
                ("", Some(first)) => first.to_string(),
                (reason, _) => reason.to_owned(),
            }
        })
    };
    v1::PodInfo {
        identity: lease.identity.clone(),
        attachment: u32::from(lease.attachment.0),
        port: lease.endpoint.port.clone(),
        address: lease.endpoint.address.to_string(),
        udp_port: u32::from(lease.endpoint.udp_port),
        domain: lease.domain.0,
        health: lease.told_health().as_str().into(),
        reachable: there,
        lease_left_s: u32::try_from(lease.expires.saturating_duration_since(now).as_secs())
            .unwrap_or(u32::MAX),
        serves: lease.serves.iter().map(bytes).collect(),
        announced: match there && !node.draining() {
            true => count(lease.serves.len()),
            false => 0,
        },
        waiting: claim.map_or(0, |claim| count(claim.waiting.len())),
        reason,
    }
}

/// What authorities signed, and took back, as far as this node knows.
pub fn authorisations(node: &Node) -> v1::AuthorisationsReply {
    let known = node.engine.authorisations(node.clock.now()).into_iter();
    let authorisations = known.map(|(one, expires_in_s, revoked)| v1::AuthorisationInfo {
        state: match (revoked, expires_in_s < 0) {
            (true, _) => "revoked",
            (false, true) => "expired",
            (false, false) => "valid",
        }
        .into(),
        authority: one.authority,
        serial: one.serial,
        domain: one.domain.0,
        gateway: one.gateway.0,
        identity: one.identity,
        expires_in_s,
        grants: u32::try_from(one.grants.len()).unwrap_or(u32::MAX),
        names: one
            .grants
            .iter()
            .take(NAMES)
            .map(|grant| bytes(&grant.name))
            .collect(),
        fragment: one.fragment,
        fragments: one.fragments,
    });
    let now_s = node.now_s();
    let revocations = node.engine.revocations().into_iter();
    let revocations = revocations.map(|one| v1::RevocationInfo {
        authority: one.authority,
        serial: one.serial,
        domain: one.domain.map_or(0, |domain| domain.0),
        name: one.name.as_ref().map_or_else(Vec::new, bytes),
        gateway: one.gateway.map_or(0, |gateway| gateway.0),
        identity: one.identity.unwrap_or_default(),
        reason: one.reason,
        forgotten_in_s: i64::try_from(one.until_s.saturating_sub(now_s)).unwrap_or(i64::MAX),
        ..v1::RevocationInfo::default()
    });
    v1::AuthorisationsReply {
        authorisations: authorisations.collect(),
        revocations: revocations.collect(),
        next: Vec::new(),
    }
}

/// A subtree that was asked for; nothing is everything.
///
/// # Errors
/// A sentence for the caller.
pub fn subtree(bytes: &[u8]) -> Result<Option<NameBuf>, String> {
    if bytes.is_empty() {
        return Ok(None);
    }
    Name::from_bytes(bytes)
        .map(|name| Some(name.to_owned()))
        .map_err(|error| format!("under: {error}"))
}

//! Answers about names: prefixes, pods, authorisations.

use std::time::Instant;

use dmsc_linkstate::engine::MemberInfo;
use dmsc_linkstate::trust::{Authorisation, Revocation};
use dmsc_proto::{Page as _, v1};
use dmsc_wire::{Domain, Name, NameBuf};

use super::page::{self, PodKey, StatementKey};
use crate::lease::Lease;
use crate::node::Node;

/// Names of an authorisation that are told.
const NAMES: usize = 16;

fn bytes(name: &NameBuf) -> Vec<u8> {
    name.as_bytes().to_vec()
}

/// Prefixes at or below `under` with their gateways.
pub fn prefixes(
    node: &Node,
    under: Option<&NameBuf>,
    after: Option<&(Domain, NameBuf)>,
    most: usize,
) -> Vec<((Domain, NameBuf), v1::PrefixInfo)> {
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
    let prefixes = node.engine.prefixes_after(under, after).take(most);
    let prefixes = prefixes.map(|(place, members)| {
        let info = v1::PrefixInfo {
            domain: place.0.0,
            name: bytes(&place.1),
            members: members.into_iter().map(member).collect(),
        };
        (place, info)
    });
    prefixes.collect()
}

/// Pods registered here, by identity and endpoint.
pub fn pods(node: &Node, after: Option<&PodKey>, most: usize) -> Vec<(PodKey, v1::PodInfo)> {
    let now = Instant::now();
    let leases = node.pods.leases();
    let keyed = leases.iter().map(|lease| {
        let endpoint = &lease.endpoint;
        let address = endpoint.address.to_string();
        let key = PodKey {
            identity: lease.identity.clone(),
            endpoint: (endpoint.port.clone(), address, endpoint.udp_port),
        };
        (key, lease)
    });
    let found = page::first(keyed, after, most).into_iter();
    found
        .map(|(key, lease)| (key, pod(node, lease, now)))
        .collect()
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
        kind: node.pods.kind_of(&lease.endpoint.port),
    }
}

fn given(one: v1::AuthorisationInfo) -> v1::AuthorisationsReply {
    v1::AuthorisationsReply {
        authorisations: vec![one],
        ..v1::AuthorisationsReply::default()
    }
}

/// A revocation as a list of its own.
#[must_use]
pub fn taken_back(one: v1::RevocationInfo) -> v1::AuthorisationsReply {
    v1::AuthorisationsReply {
        revocations: vec![one],
        ..v1::AuthorisationsReply::default()
    }
}

/// What authorities signed, then what they took back, as far as this node knows; each as a list of its own.
pub fn statements(
    node: &Node,
    after: Option<StatementKey>,
    most: usize,
) -> Vec<(StatementKey, v1::AuthorisationsReply)> {
    use StatementKey::{Authorisation, Revocation, RootRevocation};
    let mut found = Vec::new();
    let from = match after {
        None => Some(None),
        Some(Authorisation(gateway, id)) => Some(Some((gateway, id))),
        Some(_) => None,
    };
    if let Some(from) = from {
        let known = node.engine.authorisations_after(node.clock.now(), from);
        found.extend(known.take(most).map(|(key, one, expires_in_s, revoked)| {
            let info = authorisation(one, expires_in_s, revoked);
            (Authorisation(key.0, key.1), given(info))
        }));
    }
    let from = match after {
        None | Some(Authorisation(..)) => Some(None),
        Some(Revocation(id)) => Some(Some(id)),
        Some(RootRevocation(_)) => None,
    };
    let now_s = node.now_s();
    if let Some(from) = from {
        let known = node.engine.revocations_after(from);
        found.extend(
            known
                .take(most - found.len())
                .map(|(id, one)| (Revocation(id), taken_back(revocation(one, now_s)))),
        );
    }
    let from = match after {
        Some(RootRevocation(id)) => Some(id),
        _ => None,
    };
    let known = node.root_revocations.iter_after(from, now_s);
    found.extend(
        known
            .take(most - found.len())
            .map(|(id, one)| (RootRevocation(id), taken_back(root_revocation(one, now_s)))),
    );
    found
}

/// One answer of many lists.
#[must_use]
pub fn joined(lists: Vec<v1::AuthorisationsReply>, next: Vec<u8>) -> v1::AuthorisationsReply {
    let mut all = v1::AuthorisationsReply {
        next,
        ..v1::AuthorisationsReply::default()
    };
    for list in lists {
        all.append(list);
    }
    all
}

fn authorisation(one: &Authorisation, expires_in_s: i64, revoked: bool) -> v1::AuthorisationInfo {
    v1::AuthorisationInfo {
        state: match (revoked, expires_in_s < 0) {
            (true, _) => "revoked",
            (false, true) => "expired",
            (false, false) => "valid",
        }
        .into(),
        authority: one.authority.clone(),
        serial: one.serial,
        domain: one.domain.0,
        gateway: one.gateway.0,
        identity: one.identity.clone(),
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
    }
}

/// A revocation of an authority, as it is told.
#[must_use]
pub fn revocation(one: &Revocation, now_s: u64) -> v1::RevocationInfo {
    v1::RevocationInfo {
        authority: one.authority.clone(),
        serial: one.serial,
        domain: one.domain.map_or(0, |domain| domain.0),
        name: one.name.as_ref().map_or_else(Vec::new, bytes),
        gateway: one.gateway.map_or(0, |gateway| gateway.0),
        identity: one.identity.clone().unwrap_or_default(),
        reason: one.reason.clone(),
        forgotten_in_s: i64::try_from(one.until_s.saturating_sub(now_s)).unwrap_or(i64::MAX),
        ..v1::RevocationInfo::default()
    }
}

/// A revocation by the root, as it is told.
#[must_use]
pub fn root_revocation(one: &v1::RootRevocation, now_s: u64) -> v1::RevocationInfo {
    v1::RevocationInfo {
        by_root: true,
        node: one.node,
        authority: one.authority.clone(),
        key_sha256: one.key_sha256.clone(),
        reason: one.reason.clone(),
        forgotten_in_s: i64::try_from(one.until_s.saturating_sub(now_s)).unwrap_or(i64::MAX),
        ..v1::RevocationInfo::default()
    }
}

/// A name that is asked about.
///
/// # Errors
/// INVALID_ARGUMENT: not a canonical name.
pub fn asked(bytes: &[u8]) -> Result<NameBuf, tonic::Status> {
    Name::from_bytes(bytes)
        .map(|name| name.to_owned())
        .map_err(|error| tonic::Status::invalid_argument(format!("name: {error}")))
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

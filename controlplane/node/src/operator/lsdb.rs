//! Answers about the link-state database, with bodies that people can read.

use dmsc_linkstate::engine::body::{self, Link};
use dmsc_linkstate::engine::pages::EntryKey;
use dmsc_linkstate::{Kind, Object};
use dmsc_proto::v1;
use dmsc_wire::Name;
use prost::Message as _;

use crate::node::Node;
use crate::node::statements::voids;

/// Bytes of an unknown body that are shown.
const SHOWN: usize = 64;

/// One entry, apart from the engine.
pub struct Taken {
    object: Object,
    lifetime_left_s: u32,
    accepted: bool,
}

/// What is told, taken quickly: bodies are shared, not copied.
pub fn take(node: &Node, after: Option<EntryKey>, most: usize) -> Vec<(EntryKey, Taken)> {
    let entries = node.engine.entries_after(node.clock.now(), after);
    let taken = entries.take(most).map(|(key, entry)| {
        let taken = Taken {
            object: entry.object.clone(),
            lifetime_left_s: entry.lifetime_left_s,
            accepted: entry.accepted,
        };
        (key, taken)
    });
    taken.collect()
}

impl Taken {
    /// As it is told; the rest of the work.
    pub fn told(self, bodies: bool) -> v1::LsdbEntry {
        let object = &self.object;
        let state = match self.accepted {
            true => "accepted",
            false => "waiting",
        };
        v1::LsdbEntry {
            kind: u32::from(object.key.kind.0),
            kind_name: kind_name(object.key.kind),
            origin: object.key.origin.0,
            id: object.key.id,
            sequence: object.sequence.0,
            purge: object.is_purge(),
            lifetime_left_s: self.lifetime_left_s,
            bytes: u32::try_from(object.body.len()).unwrap_or(u32::MAX),
            body: if bodies { text(object) } else { String::new() },
            state: state.into(),
        }
    }
}

fn kind_name(kind: Kind) -> String {
    match kind {
        Kind::ADJACENCY => "adjacency".into(),
        Kind::PREFIX => "prefix".into(),
        Kind::AUTHORISATION => "authorisation".into(),
        Kind::REVOCATION => "revocation".into(),
        Kind::ROOT_REVOCATION => "root-revocation".into(),
        Kind::SERVICE => "service".into(),
        Kind(other) => format!("kind-{other}"),
    }
}

/// One line per thing that it says. Signatures were verified when it came.
fn text(object: &Object) -> String {
    if object.is_purge() {
        return "withdrawn by its originator".into();
    }
    let lines = match object.key.kind {
        Kind::ADJACENCY => adjacency(&object.body),
        Kind::PREFIX => prefixes(&object.body),
        Kind::AUTHORISATION => authorisation(&object.body),
        Kind::REVOCATION => revocation(&object.body),
        Kind::ROOT_REVOCATION => root_revocation(&object.body),
        _ => None,
    };
    let lines = lines.unwrap_or_else(|| vec![hexadecimal(&object.body)]);
    lines.join("\n")
}

fn hexadecimal(body: &[u8]) -> String {
    let shown = body.iter().take(SHOWN);
    let mut text: String = shown.map(|byte| format!("{byte:02x}")).collect();
    if body.len() > SHOWN {
        text.push('…');
    }
    text
}

fn name(bytes: &[u8]) -> String {
    match Name::from_bytes(bytes) {
        Ok(name) => name.to_string(),
        Err(_) => hexadecimal(bytes),
    }
}

fn adjacency(body: &[u8]) -> Option<Vec<String>> {
    let body = body::adjacency(body).ok()?;
    let overload = if body.overload { ", no transit" } else { "" };
    let mut lines = vec![format!(
        "{} ({}), {}{overload}",
        body.name, body.role, body.software
    )];
    lines.extend(body.links.iter().map(|link| {
        format!(
            "link {} to node {} (its link {}): metric {}, delay {} us{}",
            link.id,
            link.peer,
            link.peer_id,
            link.metric,
            link.delay_us,
            figures(link)
        )
    }));
    Some(lines)
}

/// What is told of a link as measured.
fn figures(link: &Link) -> String {
    let mut text = String::new();
    if let Some(delay) = link.measured_delay_us {
        text += &format!(", measured {delay} us");
    }
    if let Some(variation) = link.delay_variation_us {
        text += &format!(" +- {variation}");
    }
    if let Some(ppm) = link.loss_ppm {
        text += &format!(", loss {:.2} %", f64::from(ppm) / 1e4);
    }
    match (link.capacity_kbps, link.available_kbps) {
        (0, _) => {}
        (all, Some(left)) => text += &format!(", {left} of {all} kbit/s left"),
        (all, None) => text += &format!(", {all} kbit/s"),
    }
    text
}

fn prefixes(body: &[u8]) -> Option<Vec<String>> {
    let list = body::prefixes(body).ok()?;
    let lines = list.iter().map(|prefix| {
        format!(
            "domain {} {}: metric {}, weight {}",
            prefix.domain, prefix.name, prefix.metric, prefix.weight
        )
    });
    Some(lines.collect())
}

fn authorisation(body: &[u8]) -> Option<Vec<String>> {
    let signed = v1::SignedAuthorisation::decode(body).ok()?;
    let one = v1::Authorisation::decode(signed.statement.as_slice()).ok()?;
    let mut lines = vec![format!(
        "authority {}, serial {}: identity {} at gateway {}, domain {}, until {} s, stale for {} s, fragment {} of {}",
        one.authority,
        one.serial,
        one.identity,
        one.gateway,
        one.domain,
        one.not_after_s,
        one.stale_s,
        one.fragment,
        one.fragments
    )];
    lines.extend(one.grants.iter().map(|grant| {
        if grant.exact {
            format!("{} exactly", name(&grant.name))
        } else {
            let depth = match grant.maximum_depth {
                0 => 16,
                depth => depth,
            };
            format!("{} and below, to {depth} components", name(&grant.name))
        }
    }));
    Some(lines)
}

fn revocation(body: &[u8]) -> Option<Vec<String>> {
    let signed = v1::SignedRevocation::decode(body).ok()?;
    let one = v1::Revocation::decode(signed.statement.as_slice()).ok()?;
    let any = |number: u32| match number {
        0 => "any gateway".to_owned(),
        number => format!("gateway {number}"),
    };
    let names = match one.name.as_slice() {
        [] => "all its names".to_owned(),
        bytes => name(bytes),
    };
    let identity = match one.identity.as_str() {
        "" => "any identity",
        identity => identity,
    };
    Some(vec![format!(
        "authority {}, serial {}: {names} of {identity} at {}, domain {}, if issued until {} s: {}",
        one.authority,
        one.serial,
        any(one.gateway),
        one.domain,
        one.issued_before_s,
        one.reason
    )])
}

fn root_revocation(body: &[u8]) -> Option<Vec<String>> {
    let signed = v1::SignedRootRevocation::decode(body).ok()?;
    let one = v1::RootRevocation::decode(signed.statement.as_slice()).ok()?;
    Some(vec![voids(&one)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmsc_linkstate::{Key, NodeId, Sequence};

    fn object(kind: u8, body: Vec<u8>) -> Taken {
        let object = Object {
            key: Key {
                kind: Kind(kind),
                origin: NodeId(5),
                id: 1,
            },
            flags: 0,
            sequence: Sequence(1),
            lifetime_s: 60,
            area: 0,
            originated_at_ms: 0,
            body: body.into(),
            signature: [0; 64],
            certificate: bytes::Bytes::new(),
            age_s: 0,
        };
        Taken {
            object,
            lifetime_left_s: 9,
            accepted: true,
        }
    }

    #[test]
    fn bodies_are_told_in_words_and_unknown_ones_as_they_are() {
        let adjacency = v1::AdjacencyBody {
            name: "sr1".into(),
            role: "sr".into(),
            overload: true,
            links: vec![v1::Link {
                peer: 1,
                id: 2,
                peer_id: 3,
                metric: 10,
                delay_us: 100,
                measured_delay_us: Some(140),
                loss_ppm: Some(0),
                ..v1::Link::default()
            }],
            ..v1::AdjacencyBody::default()
        };
        let revocation = v1::SignedRevocation {
            statement: v1::Revocation {
                authority: "spa1".into(),
                name: b"\x04shop".to_vec(),
                reason: "lost".into(),
                ..v1::Revocation::default()
            }
            .encode_to_vec(),
            ..v1::SignedRevocation::default()
        };
        let taken = vec![
            object(1, adjacency.encode_to_vec()),
            object(4, revocation.encode_to_vec()),
            object(9, vec![0xab; 70]),
            object(2, vec![0xff]),
        ];
        let entries: Vec<_> = taken.into_iter().map(|one| one.told(true)).collect();
        assert!(entries[0].body.contains("no transit"), "{entries:?}");
        assert!(
            entries[0]
                .body
                .contains("link 2 to node 1 (its link 3): metric 10")
        );
        assert!(
            entries[1]
                .body
                .contains("/shop of any identity at any gateway")
        );
        assert_eq!(entries[2].kind_name, "kind-9");
        assert!(entries[2].body.starts_with("abab") && entries[2].body.ends_with('…'));
        assert_eq!(entries[3].body, "ff");
    }
}

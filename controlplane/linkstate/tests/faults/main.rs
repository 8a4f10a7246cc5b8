//! What neighbours may do wrong, by accident or on purpose: no table changes, nothing grows without bound, nothing storms.

#[path = "../sim/mod.rs"]
mod sim;

mod exchange;
mod expired;
mod figures;
mod floods;
mod lies;
mod objects;
mod revocations;
mod root;
mod shares;
mod time;
mod work;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use dmsc_linkstate::engine::body::{AnnouncedPrefix, PrefixBody};
use dmsc_linkstate::object::{FLAG_PURGE, MAX_BODY};
use dmsc_linkstate::{
    Alarm, Digest, EngineConfig, Event, Header, Key, Kind, Message, NodeId, Object, Sequence,
    SessionId, Signer as _,
};
use prost::Message as _;
use sim::crypto::{NodeSigner, WireAuthorisation, WireRevocation};
use sim::{EPOCH_S, Sim, Tables, ms, name, secs};

/// A line of three: 1 — 2 — 3, prefixes at 1 and 3.
fn line() -> Sim {
    line_with(|_| {})
}

fn line_with(configure: impl Fn(&mut EngineConfig)) -> Sim {
    let mut sim = Sim::default();
    for id in 1..=3 {
        sim.add_node(id, "sg");
        configure(&mut sim.node(id).config);
    }
    sim.add_link([(1, 1), (2, 1)], 10, 10);
    sim.add_link([(2, 2), (3, 1)], 10, 10);
    for id in 1..=3 {
        sim.start(id, false);
    }
    sim.set_link(1, 2, true);
    sim.set_link(2, 3, true);
    sim.authorise(1, &["/one"], 3_600, 60);
    sim.authorise(3, &["/three"], 3_600, 60);
    sim.announce(1, &["/one/a"]);
    sim.announce(3, &["/three/a"]);
    sim.run(secs(4));
    assert!(sim.digests_equal());
    assert_eq!(sim.members(3, "/one/a"), [1]);
    sim
}

/// What all dataplanes have, whatever the number of the last delta.
fn tables(sim: &Sim) -> Vec<Tables> {
    let tables = |node: &sim::Node| Tables {
        version: 0,
        ..node.tables.clone()
    };
    sim.nodes.values().map(tables).collect()
}

/// Node 3's stream to node 2 says this, as if node 3 were somebody else.
fn say(sim: &mut Sim, message: Message) {
    let session = sim.session_between(2, 3).unwrap();
    sim.handle(2, Event::Received { session, message });
}

/// An object of `node`, signed with the key of `seed`.
fn object(
    sim: &Sim,
    node: u32,
    seed: u32,
    kind: Kind,
    id: u64,
    sequence: u64,
    body: Bytes,
) -> Object {
    let signer = NodeSigner::new(node, seed, EPOCH_S);
    let mut object = Object {
        key: Key {
            kind,
            origin: NodeId(node),
            id,
        },
        flags: 0,
        sequence: Sequence(sequence),
        lifetime_s: 3_600,
        area: 0,
        originated_at_ms: sim.wall_s() * 1_000,
        body,
        signature: [0; 64],
        certificate: signer.certificate(),
        age_s: 0,
    };
    object.signature = signer.sign(&object.signed_bytes());
    object
}

fn resigned(mut object: Object, seed: u32) -> Object {
    let signer = NodeSigner::new(object.key.origin.0, seed, EPOCH_S);
    object.signature = signer.sign(&object.signed_bytes());
    object
}

fn prefixes(names: &[&str]) -> Bytes {
    let prefixes = names
        .iter()
        .map(|text| AnnouncedPrefix {
            domain: 1,
            name: Bytes::copy_from_slice(name(text).as_bytes()),
            ..AnnouncedPrefix::default()
        })
        .collect();
    Bytes::from(PrefixBody { prefixes }.encode_to_vec())
}

fn stored(sim: &Sim, at: u32, kind: Kind, origin: u32) -> Object {
    sim.engine(at)
        .entries(sim.time(at))
        .iter()
        .find(|entry| entry.object.key.kind == kind && entry.object.key.origin == NodeId(origin))
        .map(|entry| entry.object.clone())
        .unwrap()
}

const HIGH: u64 = 9 << 32;

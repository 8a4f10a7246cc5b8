//! What tests look at.

use std::collections::BTreeSet;

use dmsc_linkstate::action::{GatewayRoute, Topology};
use dmsc_linkstate::{AdjacencyId, Alarm, Engine, NodeId};
use dmsc_wire::Domain;

use super::{Sim, name};

impl Sim {
    /// Gateways that serve a name, in the tables of a node.
    pub fn members(&self, at: u32, text: &str) -> Vec<u32> {
        self.nodes[&at]
            .tables
            .prefixes
            .get(&(Domain(1), name(text)))
            .map(|members| members.iter().map(|member| member.gateway.0).collect())
            .unwrap_or_default()
    }

    /// The node behind an adjacency.
    pub fn behind(&self, node: u32, adjacency: AdjacencyId) -> Option<u32> {
        self.links.iter().find_map(|link| {
            let [a, b] = link.ends;
            if a == (node, adjacency) {
                Some(b.0)
            } else if b == (node, adjacency) {
                Some(a.0)
            } else {
                None
            }
        })
    }

    pub fn route(&self, at: u32, topology: Topology, to: u32) -> Option<&GatewayRoute> {
        self.nodes[&at].tables.gateways.get(&(topology, NodeId(to)))
    }

    pub fn digests_equal(&self) -> bool {
        let mut digests = self
            .nodes
            .values()
            .filter_map(|node| node.engine.as_ref())
            .map(Engine::digest);
        let first = digests.next();
        digests.all(|digest| Some(digest) == first)
    }

    pub fn alarms(&self, at: u32) -> Vec<Alarm> {
        self.engine(at).alarms()
    }

    /// All databases, each after the first as the difference from it, for messages of failed tests.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let mut first: Option<BTreeSet<String>> = None;
        for (id, node) in &self.nodes {
            let Some(engine) = &node.engine else {
                text.push_str(&format!("{id}: dead\n"));
                continue;
            };
            text.push_str(&format!(
                "{id}: digest {:x} starting {} restarting {} {:?}\n",
                engine.digest().fold(),
                engine.starting(),
                engine.restarting(),
                engine.sizes()
            ));
            let objects: BTreeSet<String> = engine
                .entries(self.time(*id))
                .iter()
                .map(|entry| {
                    let key = entry.object.key;
                    format!(
                        "kind {} origin {} id {:x} sequence {:x} purge {} accepted {}",
                        key.kind.0,
                        key.origin,
                        key.id,
                        entry.object.sequence.0,
                        entry.object.is_purge(),
                        entry.accepted
                    )
                })
                .collect();
            let like = first.get_or_insert_with(BTreeSet::new);
            for object in objects.difference(like) {
                text.push_str(&format!("    + {object}\n"));
            }
            for object in like.difference(&objects) {
                text.push_str(&format!("    - {object}\n"));
            }
            if like.is_empty() {
                *like = objects;
            }
        }
        text
    }
}

//! What is left on the way to each member: of the links on this gateway's own ways the one with least, as their owners advertise it. Nothing is filled to
//! find out.

use std::collections::BTreeMap;

use dmsc_linkstate::engine::Narrowest;
use dmsc_scsc::backlog::Second;
use dmsc_scsc::{LinkKey, Topology};
use dmsc_wire::{NodeId, PortId};

use crate::handle::Handle;
use crate::node::Node;

/// The narrowest links by topology, and of which link state they are.
#[derive(Debug, Default)]
pub(super) struct Bandwidth {
    version: Option<u64>,
    narrowest: BTreeMap<(Topology, NodeId), Narrowest>,
}

/// On all ways that `node` has.
fn all(node: &Node) -> BTreeMap<(Topology, NodeId), Narrowest> {
    let of = |topology| {
        let found = node.engine.narrowest(topology).into_iter();
        found.map(move |(member, link)| ((topology, member), link))
    };
    of(Topology::Metric).chain(of(Topology::Delay)).collect()
}

impl Bandwidth {
    /// Puts what is known into the reports of a second; made anew when links said something else.
    pub async fn fill(&mut self, handle: &Handle, second: &mut Second) {
        if second.is_empty() {
            return;
        }
        let known = self.version;
        let changed = handle.query(move |node| {
            let version = Some(node.engine.links_version());
            (version != known).then(|| (version, all(node)))
        });
        if let Some(Some((version, narrowest))) = changed.await {
            self.version = version;
            self.narrowest = narrowest;
        }
        for (pair, report) in second {
            if let Some(link) = self.narrowest.get(&(pair.topology, pair.member)) {
                report.available_kbps = link.available_kbps;
                report.narrowest = LinkKey {
                    node: link.node,
                    port: PortId(u16::try_from(link.link).unwrap_or(u16::MAX)),
                };
            }
        }
    }
}

//! What the node and its dataplane say to each other: tables found, tables wanted, configurations.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use dmsc_linkstate::event::Known;
use dmsc_linkstate::{AdjacencyId, Event};
use dmsc_proto::v1;
use dmsc_wire::NodeId;
use prost::Message as _;
use tracing::{error, info};

use super::{Node, Plan};
use crate::agent::Most;
use crate::config::Config;
use crate::handle::ApplyError;
use crate::program::{Keys, difference_at};
use crate::rib::Batch;
use crate::routes::Tables;
use crate::store::Kept;

impl Node {
    /// The dataplane was found, or found again, with these tables. The first time it is also told to the engine, before any session. Returns
    /// what to apply.
    pub(crate) fn dataplane_found(&mut self, dump: &v1::DumpReply) -> Vec<v1::Op> {
        let tables = Tables::from_dump(dump);
        if !self.dataplane_seen {
            self.start(&tables);
            self.dataplane_seen = true;
        }
        self.found(tables);
        // Without an acknowledgement it is forgotten: the next attempt begins with another dump.
        self.planned = self.rib.next_batch();
        self.planned
            .as_ref()
            .map_or_else(Vec::new, |batch| batch.ops.clone())
    }

    /// The dataplane has these tables now.
    pub(crate) fn found(&mut self, tables: Tables) {
        self.refused = 0;
        self.rib.found(tables);
    }

    pub(super) fn start(&mut self, tables: &Tables) {
        let known = !tables.gateways.is_empty() || !tables.prefixes.is_empty();
        if known {
            let gateways: BTreeSet<NodeId> =
                tables.gateways.keys().map(|(_, id)| NodeId(*id)).collect();
            let prefixes: Vec<Known> = tables
                .prefixes
                .iter()
                .filter_map(|(key, group)| Some((key, tables.groups.get(group)?)))
                .flat_map(|((domain, name), group)| {
                    group.members.iter().map(|member| Known {
                        domain: *domain,
                        name: name.clone(),
                        gateway: NodeId(member.gateway),
                    })
                })
                .collect();
            info!(
                gateways = gateways.len(),
                prefixes = prefixes.len(),
                "the dataplane forwards already; it is not touched until all is known again"
            );
            self.event(Event::Restarted {
                gateways: gateways.into_iter().collect(),
                prefixes,
                hold: self.config.linkstate.restart_hold,
            });
        }
        self.load_root_revocations();
        self.load_policies();
        let until = |body: &Bytes| {
            let signed = v1::SignedRevocation::decode(body.clone()).ok()?;
            let statement = signed.statement.as_slice();
            Some(v1::Revocation::decode(statement).ok()?.until_s)
        };
        let kept = self
            .store
            .load_current(Kept::Revocations, self.now_s(), until);
        for body in kept {
            self.event(Event::Revocation(body));
        }
        let bodies = self.store.load(Kept::Authorisations);
        self.load_authorisations(bodies);
        if self.draining {
            info!("drained before, and still; dmscctl undrain takes it back");
            self.event(Event::Drain(true));
        }
        for adjacency in self.config.adjacencies.clone().into_values() {
            self.put_link(adjacency);
        }
    }

    /// The dataplane took what [`Node::dataplane_found`] said.
    pub(crate) fn dataplane_ready(
        &mut self,
        boot_nonce: u64,
        generation: u64,
        dump: &v1::DumpReply,
        most: &Most,
    ) {
        self.boot_nonce = boot_nonce;
        self.generation = generation;
        self.setback = None;
        if let Some(batch) = self.planned.take() {
            self.programmed(&batch, most);
        }
        let up: HashSet<u32> = dump
            .adjacencies
            .iter()
            .filter(|one| one.state == "up")
            .map(|one| one.id)
            .collect();
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.hello(id, up.contains(&u32::from(id.0)));
        }
        self.signals.dial.notify_one();
        self.signals.work.notify_one();
        self.signals.claimed.notify_one();
        self.signals.status.notify_one();
    }

    /// The next operations for the dataplane.
    pub(crate) fn batch(&mut self) -> Option<Batch> {
        // What was planned for a dataplane that is just taken over comes first.
        if self.planned.is_some() {
            return None;
        }
        self.rib.next_batch()
    }

    /// The dataplane took a batch, or most of it.
    pub(crate) fn programmed(&mut self, batch: &Batch, most: &Most) {
        self.generation = most
            .generation
            .unwrap_or(self.generation)
            .max(self.generation);
        let before = self.rib.acknowledged();
        self.rib.done_but(batch, &most.refused);
        if let Some(why) = &most.why {
            self.refused += most.refused.len();
            let text = format!(
                "the dataplane refuses {} operations, all others are programmed; those are tried again: {why}",
                self.refused
            );
            error!("{text}");
            self.setback = Some(text);
            self.signals.status.notify_one();
        }
        self.acknowledge_policies(most.why.as_ref());
        if self.rib.acknowledged() != before {
            self.event(Event::Programmed {
                version: self.rib.acknowledged(),
            });
            self.signals.status.notify_one();
        }
    }

    /// Nothing is due. Gives how many operations the dataplane refused since it was last looked at.
    pub(crate) fn settled(&mut self) -> usize {
        // While the dataplane is there, nothing else is in the way.
        if self.refused == 0 && self.planned.is_none() && self.setback.take().is_some() {
            info!("the dataplane refuses nothing any more");
            self.signals.status.notify_one();
        }
        self.refused
    }

    pub(super) fn configure_rib(&mut self) {
        let adjacencies = self.config.adjacencies.values();
        let adjacencies = adjacencies
            .map(|one| (one.programmed.id, one.programmed.clone()))
            .collect();
        self.rib
            .configure(adjacencies, self.config.access_rules.clone());
    }

    /// What another configuration would change; refuses what only a restart can.
    pub(crate) fn plan_config(&self, new: &Config) -> Result<Plan, ApplyError> {
        let fixed = self.config.needs_restart(new);
        if !fixed.is_empty() {
            return Err(ApplyError::NeedsRestart(fixed));
        }
        // Only what is put: the dataplane may refuse it. What is gone is deleted later, when no route needs it any more.
        let want = Tables {
            adjacencies: new
                .adjacencies
                .values()
                .map(|one| (one.programmed.id, one.programmed.clone()))
                .collect(),
            access_rules: new.access_rules.clone(),
            ..Tables::default()
        };
        let keys = Keys {
            adjacencies: want.adjacencies.keys().copied().collect(),
            access_rules: want.access_rules.keys().copied().collect(),
            ..Keys::default()
        };
        Ok(Plan {
            first: difference_at(&keys, self.rib.have(), &want, Some(self.rib.programmed())),
            diff: self.config.diff(new),
        })
    }

    /// Puts a configuration in force whose `first` operations the dataplane took, if it is there. Returns links that begin anew: their hellos may
    /// run already, and nobody tells.
    pub(crate) fn put_config(&mut self, new: Arc<Config>, first: &[v1::Op]) -> Vec<AdjacencyId> {
        let mut anew = Vec::new();
        self.rib.took(first);
        let old = std::mem::replace(&mut self.config, new);
        self.configure_rib();
        if self.dataplane_seen {
            for (id, adjacency) in &old.adjacencies {
                let moved = self.config.adjacencies.get(id).is_none_or(|new| {
                    new.settings.peer != adjacency.settings.peer || new.session != adjacency.session
                });
                if moved {
                    self.remove_link(*id);
                    anew.push(*id);
                }
            }
            for adjacency in self.config.adjacencies.clone().into_values() {
                if old.adjacencies.get(&adjacency.settings.id) != Some(&adjacency) {
                    self.put_link(adjacency);
                }
            }
        }
        self.signals.work.notify_one();
        self.signals.claimed.notify_one();
        anew
    }
}

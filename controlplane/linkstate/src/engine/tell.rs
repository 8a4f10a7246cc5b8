//! From the graph and the RIB to what the dataplane is told.

use std::time::Duration;

use super::Engine;
use super::stage::Stage;
use super::topology;
use crate::action::{Action, GatewayChange, PrefixChange, RouteDelta};

impl Engine {
    /// Shortest paths, when they are due.
    pub(super) fn compute_due(&mut self) {
        let now = self.now.mono;
        if !self.backoff.take(now) {
            return;
        }
        let own = self.config.node;
        let graph = self.network.graph(own, &self.own.links);
        self.routes = topology::compute(&graph, own);
        self.computed = true;
        self.computations += 1;
        self.routes_changed = true;
        if let Some(since) = self.adjacency_changed_at.take() {
            self.stages
                .push(Stage::VerifiedRouted, now.saturating_sub(since));
        }
    }

    /// Tells what changed, if it may be told: nothing before the first, complete delta.
    pub(super) fn tell_routes(&mut self) {
        let first = self.start.first_version.is_none();
        let complete = first && self.may_tell_first();
        if first && !complete {
            // Not even what is new: while all restart at once every node agrees with its neighbours on half a network, and its ways would go astray.
            return;
        }
        if !complete && !self.routes_changed && !self.rib.is_changed() {
            return;
        }
        let mut gateways = Vec::new();
        if complete {
            self.told_routes.clear();
            self.rib.tell_all();
        }
        if self.routes_changed || complete {
            gateways = topology::difference(&self.told_routes, &self.routes);
            self.routes_changed = false;
        }
        for change in &gateways {
            let key = (change.topology, change.gateway);
            match &change.route {
                Some(route) => self.told_routes.insert(key, route.clone()),
                None => self.told_routes.remove(&key),
            };
        }
        let (prefixes, times) = self.rib.take_changes();
        if !complete && gateways.is_empty() && prefixes.is_empty() {
            return;
        }
        self.push_delta(complete, gateways, prefixes, times);
    }

    fn push_delta(
        &mut self,
        complete: bool,
        gateways: Vec<GatewayChange>,
        prefixes: Vec<PrefixChange>,
        times: Vec<(Duration, u64)>,
    ) {
        let now = self.now.mono;
        self.version += 1;
        let mut announced = Vec::new();
        if complete {
            self.first_told(self.version);
        } else {
            for (accepted, announced_ms) in times {
                self.stages
                    .push(Stage::VerifiedRouted, now.saturating_sub(accepted));
                announced.push(announced_ms);
            }
        }
        self.stages.told(self.version, now, announced);
        self.actions.push(Action::Routes(RouteDelta {
            version: self.version,
            complete,
            gateways,
            prefixes,
        }));
    }
}

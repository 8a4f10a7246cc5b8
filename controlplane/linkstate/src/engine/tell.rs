//! From the graph and the RIB to what the dataplane is told.

use super::Engine;
use super::stage::Stage;
use super::topology;
use crate::action::{Action, RouteDelta};

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
        self.routes_changed = true;
        if let Some(since) = self.adjacency_changed_at.take() {
            self.stages
                .push(Stage::VerifiedRouted, now.saturating_sub(since));
        }
    }

    /// Tells what changed, if it may be told.
    pub(super) fn tell_routes(&mut self) {
        let now = self.now.mono;
        let complete = self.start.first_version.is_none();
        if complete && !self.may_tell_first() {
            return;
        }
        if !complete && !self.routes_changed && !self.rib.is_changed() {
            return;
        }
        let gateways = if self.routes_changed {
            topology::difference(&self.told_routes, &self.routes)
        } else {
            Vec::new()
        };
        self.routes_changed = false;
        if !gateways.is_empty() {
            self.told_routes = self.routes.clone();
        }
        let (prefixes, times) = self.rib.take_changes();
        if !complete && gateways.is_empty() && prefixes.is_empty() {
            return;
        }
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

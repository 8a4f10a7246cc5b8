//! From the graph and the RIB to what the dataplane is told.

use std::time::Duration;

use super::Engine;
use super::stage::Stage;
use super::topology;
use crate::action::{Action, GatewayChange, PrefixChange, PrefixMember, RouteDelta, Topology};

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

    /// Tells what changed, if it may be told. While routes are held back after a restart, what comes and what changes is told, and nothing that the
    /// dataplane had from before is taken away.
    pub(super) fn tell_routes(&mut self) {
        let first = self.start.first_version.is_none();
        let complete = first && self.may_tell_first();
        let adds = first && !complete;
        if adds && !(self.start.holding() && self.may_add()) {
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
            if adds {
                let start = &self.start;
                gateways
                    .retain(|change| change.route.is_some() || !start.had_gateway(change.gateway));
            }
            self.routes_changed = false;
        }
        for change in &gateways {
            let key = (change.topology, change.gateway);
            match &change.route {
                Some(route) => self.told_routes.insert(key, route.clone()),
                None => self.told_routes.remove(&key),
            };
        }
        let (own, start, routes) = (self.config.node, &self.start, &self.routes);
        // A member without a way would be taken out of service.
        let lacks = |member: &PrefixMember| {
            member.gateway != own
                && start.had_gateway(member.gateway)
                && !routes.contains_key(&(Topology::Metric, member.gateway))
        };
        let (prefixes, times) = self.rib.take_changes(|domain, name, members| {
            !adds || (start.is_all_that_was(domain, name, members) && !members.iter().any(lacks))
        });
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

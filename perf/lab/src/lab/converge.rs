//! Waiting until the routers agree: link state, routes, prefixes, and what their dataplanes have of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::bail;
use dmsc_proto::v1;

use super::Lab;
use crate::operator::{self, Operator};
use crate::routes::{self, Changes};
use crate::wait;

impl Lab {
    /// Links of router `node` that are not broken.
    fn whole_links(&self, node: usize) -> usize {
        let links = self.plan.links.iter().enumerate();
        links
            .filter(|(index, link)| {
                link.ends.contains(&node) && !self.changes.broken.contains(index)
            })
            .count()
    }

    /// Waits until all routers have what they should: sessions synced, equal digests, and every route acknowledged by the dataplane.
    ///
    /// # Errors
    /// Names the first router that has not, and what it lacks.
    pub fn wait_for_convergence(&mut self, limit: Duration) -> anyhow::Result<()> {
        let mut operators: BTreeMap<usize, Operator> = BTreeMap::new();
        self.watched("the routers to agree", limit, |lab| {
            let mut all = Vec::new();
            for node in 0..lab.plan.nodes.len() {
                let about = lab.about(&mut operators, node)?;
                operator::converged(&about, lab.whole_links(node))?;
                all.push(about);
            }
            same_digests(lab, &all)
        })
    }

    /// Waits until every router has exactly the routes to gateways that shortest paths over the links give, and its dataplane has them.
    ///
    /// # Errors
    /// Names the first route that is not as expected.
    pub fn wait_for_routes(&mut self, limit: Duration) -> anyhow::Result<()> {
        let wanted: Vec<_> = (0..self.plan.nodes.len())
            .map(|node| routes::expected(&self.plan, node, &self.changes))
            .collect();
        let mut operators: BTreeMap<usize, Operator> = BTreeMap::new();
        self.watched("the expected routes", limit, |lab| {
            for (node, wanted) in wanted.iter().enumerate() {
                let about = lab.about(&mut operators, node)?;
                operator::converged(&about, lab.whole_links(node))?;
                let Some(operator) = operators.get_mut(&node) else {
                    bail!("nobody to ask");
                };
                let found = operator.routes()?;
                let name = &lab.plan.nodes[node].name;
                for gateway in lab.plan.gateways().filter(|g| *g != node) {
                    let id = lab.plan.nodes[gateway].id.0;
                    let found = found.get(&id).map(|r| routes::Expected {
                        metric: r.metric,
                        next_hops: r.next_hops.iter().copied().collect(),
                    });
                    if found.as_ref() != wanted.get(&id) {
                        bail!(
                            "{name} has {found:?} to {}, expected {:?}",
                            lab.plan.nodes[gateway].name,
                            wanted.get(&id)
                        );
                    }
                }
            }
            Ok(())
        })
    }

    fn about(
        &self,
        operators: &mut BTreeMap<usize, Operator>,
        node: usize,
    ) -> anyhow::Result<v1::AboutReply> {
        if let Some(about) = operators.get_mut(&node).and_then(|o| o.about().ok()) {
            return Ok(about);
        }
        let mut operator = self.operator(node)?;
        let about = operator.about()?;
        operators.insert(node, operator);
        Ok(about)
    }

    /// Waits for `condition`; ends at once when a process of a router died that should live.
    fn watched(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut ended = None;
        wait::until(what, limit, || {
            let routers = self.routers.iter_mut();
            for process in routers.flat_map(|r| r.dataplane.iter_mut().chain(&mut r.controller)) {
                if let Err(error) = process.check() {
                    ended = Some(error);
                    return Ok(Some(()));
                }
            }
            condition(self).map(Some)
        })?;
        ended.map_or(Ok(()), Err)
    }

    /// Waits until the control plane of router `node` is where the others are.
    ///
    /// # Errors
    /// Says what it lacks.
    pub fn wait_for_controller(&mut self, node: usize) -> anyhow::Result<()> {
        let name = self.plan.nodes[node].name.clone();
        let mut operators = BTreeMap::new();
        // A restarted node holds its programming for up to 20 s when neighbours do not answer.
        let what = format!("the control plane of {name}");
        self.watched(&what, Duration::from_secs(40), |lab| {
            let about = lab.about(&mut operators, node)?;
            operator::converged(&about, lab.whole_links(node))
        })
    }

    /// What every router should know of the services of the lab file: name and gateway.
    #[must_use]
    pub fn wanted_prefixes(&self) -> BTreeSet<(String, u32)> {
        routes::served(&self.plan)
            .into_iter()
            .flat_map(|(name, by)| by.into_iter().map(move |gateway| (name.clone(), gateway)))
            .collect()
    }

    /// Waits until every router has every prefix of the lab file's services, valid, and its dataplane has them.
    ///
    /// # Errors
    /// Names the first router that lacks one.
    pub fn wait_for_prefixes(&mut self, limit: Duration) -> anyhow::Result<()> {
        self.wait_for_names(&self.wanted_prefixes(), limit)
    }

    /// Waits until every router has all of `wanted`, names and gateways, valid, and its dataplane has them.
    ///
    /// # Errors
    /// Names the first router that lacks one.
    pub fn wait_for_names(
        &mut self,
        wanted: &BTreeSet<(String, u32)>,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let mut operators = BTreeMap::new();
        self.watched("every router to have every name", limit, |lab| {
            for node in 0..lab.plan.nodes.len() {
                let about = lab.about(&mut operators, node)?;
                operator::converged(&about, lab.whole_links(node))?;
                let Some(operator) = operators.get_mut(&node) else {
                    bail!("nobody to ask");
                };
                let found = operator.prefixes()?;
                for (name, gateway) in wanted {
                    let one = found
                        .iter()
                        .find(|a| a.name == *name && a.gateway == *gateway);
                    if one.is_none_or(|a| a.state != "valid") {
                        bail!(
                            "{} has {name} of gateway {gateway} as {:?}",
                            lab.plan.nodes[node].name,
                            one.map(|a| a.state.as_str())
                        );
                    }
                }
            }
            Ok(())
        })
    }

    /// Changes the configurations of all control planes, and waits until the routes are those that follow.
    ///
    /// # Errors
    /// When one of them refuses, or the routes do not come.
    pub fn reconfigure(&mut self, changes: &Changes) -> anyhow::Result<()> {
        self.changes = changes.clone();
        for node in 0..self.plan.nodes.len() {
            let text = crate::configs::node_file(&self.plan, node, &self.changes, self.paths())?;
            let path = self.paths().daemon(&self.plan.nodes[node].name);
            if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
                continue;
            }
            std::fs::write(&path, &text)?;
            self.operator(node)?.apply_config(text)?;
        }
        self.wait_for_routes(Duration::from_secs(20))
    }

    /// Says which links are broken from now on, or whole again; the caller breaks and mends them.
    pub fn expect_broken(&mut self, broken: BTreeSet<usize>) {
        self.changes.broken = broken;
    }
}

fn same_digests(lab: &Lab, all: &[v1::AboutReply]) -> anyhow::Result<()> {
    if all.windows(2).any(|pair| pair[0].digest != pair[1].digest) {
        let digests: Vec<String> = lab
            .plan
            .nodes
            .iter()
            .zip(all)
            .map(|(node, about)| {
                format!(
                    "{} {:016x} ({} objects)",
                    node.name, about.digest, about.objects
                )
            })
            .collect();
        bail!("digests differ: {}", digests.join(", "));
    }
    Ok(())
}

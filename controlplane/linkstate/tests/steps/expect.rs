//! What can be expected.

use std::collections::BTreeSet;

use dmsc_linkstate::Kind;
use dmsc_linkstate::action::{GatewayRoute, Topology};

use super::{Outcome, Run, number};
use crate::sim::name;

fn equal<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T) -> Outcome {
    if found == expected {
        Ok(())
    } else {
        Err(format!("found {found:?}"))
    }
}

fn holds(condition: bool, otherwise: impl Into<String>) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(otherwise.into())
    }
}

fn list(words: &[&str]) -> Result<BTreeSet<u32>, String> {
    words.iter().map(|word| number(word)).collect()
}

fn kind(text: &str) -> Result<Kind, String> {
    Ok(match text {
        "adjacency" => Kind::ADJACENCY,
        "prefix" => Kind::PREFIX,
        "authorisation" => Kind::AUTHORISATION,
        "revocation" => Kind::REVOCATION,
        _ => return Err(format!("{text:?} is not a kind")),
    })
}

impl Run {
    fn way(&self, from: &str, to: &str, topology: Topology) -> Result<&GatewayRoute, String> {
        self.sim
            .route(self.node(from)?, topology, number(to)?)
            .ok_or_else(|| "there is no way".to_owned())
    }

    fn via(&self, from: &str, route: &GatewayRoute) -> Result<BTreeSet<u32>, String> {
        let from = self.node(from)?;
        Ok(route
            .next_hops
            .iter()
            .filter_map(|hop| self.sim.behind(from, *hop))
            .collect())
    }

    fn of_kind(&self, at: &str, kind: Kind, origin: &str, purged: bool) -> Result<usize, String> {
        let at = self.node(at)?;
        let origin: u32 = number(origin)?;
        let entries = self.sim.engine(at).entries(self.sim.time(at));
        Ok(entries
            .iter()
            .filter(|entry| entry.object.key.kind == kind && entry.object.key.origin.0 == origin)
            .filter(|entry| entry.accepted && entry.object.is_purge() == purged)
            .count())
    }

    fn member_is(&self, at: &str, text: &str, gateway: &str, stale: bool) -> Outcome {
        let at = self.node(at)?;
        let gateway: u32 = number(gateway)?;
        let wanted = name(text);
        let prefixes = self.sim.engine(at).prefixes(Some(&wanted), 10);
        let member = prefixes
            .iter()
            .filter(|(_, name, _)| *name == wanted)
            .flat_map(|(.., members)| members)
            .find(|info| info.member.gateway.0 == gateway)
            .ok_or("not in the RIB")?;
        let is = if stale { member.stale } else { member.waiting };
        holds(is, format!("{member:?}"))
    }

    /// Expects something now.
    pub fn expect(&mut self, words: &[&str]) -> Outcome {
        match words {
            ["no", "route", at, text] => {
                equal(&self.sim.members(self.node(at)?, text), &Vec::new())
            }
            ["route", "everywhere", text, "via", gateways @ ..] => {
                let expected: Vec<u32> = list(gateways)?.into_iter().collect();
                let mut nodes = self.sim.nodes.keys();
                match nodes.find(|id| self.sim.members(**id, text) != expected) {
                    Some(id) => Err(format!("not at {id}: {:?}", self.sim.members(*id, text))),
                    None => Ok(()),
                }
            }
            ["route", at, text, "via", gateways @ ..] => {
                let expected = list(gateways)?.into_iter().collect();
                equal(&self.sim.members(self.node(at)?, text), &expected)
            }
            ["no", "path", from, to] => {
                let found = self.way(from, to, Topology::Metric);
                holds(found.is_err(), format!("{found:?}"))
            }
            ["path", from, to, "metric", metric, "via", nodes @ ..] => {
                let route = self.way(from, to, Topology::Metric)?;
                equal(&route.metric, &number(metric)?)?;
                equal(&self.via(from, route)?, &list(nodes)?)
            }
            ["path", from, to, "delay", delay, "via", nodes @ ..] => {
                let route = self.way(from, to, Topology::Delay)?;
                equal(&route.metric, &number(delay)?)?;
                equal(&self.via(from, route)?, &list(nodes)?)
            }
            ["alternate", from, to, which, node] => {
                let route = self.way(from, to, Topology::Metric)?;
                let found = match *which {
                    "node" => route.node_protecting,
                    "link" => route.link_protecting,
                    _ => return Err("node or link".into()),
                };
                let from = self.node(from)?;
                let found = found.and_then(|hop| self.sim.behind(from, hop));
                let expected = if *node == "none" {
                    None
                } else {
                    Some(number(node)?)
                };
                equal(&found, &expected)
            }
            ["digests", "equal"] => holds(self.sim.digests_equal(), "digests differ"),
            ["digests", "differ"] => holds(!self.sim.digests_equal(), "digests are equal"),
            ["objects", at, of, origin, count] => {
                let found = self.of_kind(at, kind(of)?, origin, false)?;
                equal(&found, &number(count)?)
            }
            ["purges", at, of, origin, count] => {
                let found = self.of_kind(at, kind(of)?, origin, true)?;
                equal(&found, &number(count)?)
            }
            ["waiting-objects", at, count] => {
                let at = self.node(at)?;
                equal(&self.sim.engine(at).sizes().waiting, &number(count)?)
            }
            ["alarm", at, which] => {
                let at = self.node(at)?;
                let alarms: Vec<String> = self
                    .sim
                    .alarms(at)
                    .iter()
                    .map(|alarm| format!("{alarm:?}"))
                    .collect();
                holds(
                    alarms.iter().any(|alarm| alarm == which),
                    format!("{alarms:?}"),
                )
            }
            ["no", "alarm", which] => {
                for id in self.nodes(which)? {
                    equal(&self.sim.alarms(id), &Vec::new())
                        .map_err(|why| format!("{id}: {why}"))?;
                }
                Ok(())
            }
            ["state", at, state] => {
                let engine = self.sim.engine(self.node(at)?);
                let found = match (engine.starting(), engine.restarting(), engine.draining()) {
                    (true, ..) => "starting",
                    (_, true, _) => "restarting",
                    (.., true) => "draining",
                    _ => "normal",
                };
                equal(&found, state)
            }
            ["stale", at, text, "of", gateway] => self.member_is(at, text, gateway, true),
            ["waiting", at, text, "of", gateway] => self.member_is(at, text, gateway, false),
            ["action", at, "complete"] => {
                let at = self.node(at)?;
                let found = self.sim.nodes[&at]
                    .deltas
                    .iter()
                    .any(|delta| delta.complete);
                holds(found, "no complete delta")
            }
            ["no", "action", at, "complete"] => {
                let at = self.node(at)?;
                let deltas = &self.sim.nodes[&at].deltas;
                let found = deltas.iter().any(|delta| delta.complete);
                holds(!found, "a complete delta")
            }
            ["action", at, "alarm", which] => {
                let at = self.node(at)?;
                let alarms = &self.sim.nodes[&at].alarms;
                holds(
                    alarms.iter().any(|alarm| alarm == which),
                    format!("{alarms:?}"),
                )
            }
            ["no", "action", at, "routes"] => {
                let at = self.node(at)?;
                let deltas = &self.sim.nodes[&at].deltas;
                holds(deltas.is_empty(), format!("{deltas:?}"))
            }
            ["no", "loss", which] => {
                for id in self.nodes(which)? {
                    let lost = &self.sim.nodes[&id].lost;
                    holds(lost.is_empty(), format!("{id} lost {lost:?}"))?;
                }
                Ok(())
            }
            ["messages", "below", most] => {
                let sent = self.sim.messages - self.marked_messages;
                holds(sent < number(most)?, format!("{sent} were sent"))
            }
            ["kept", at, count] => {
                let at = self.node(at)?;
                equal(&self.sim.nodes[&at].kept.len(), &number(count)?)
            }
            _ => Err("not an expectation".into()),
        }
    }
}

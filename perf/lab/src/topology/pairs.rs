//! Every pod calls every other, and every router traces the way to every other: it must be a shortest path.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context;

use crate::lab::Lab;
use crate::plan::{Plan, PortEnd};
use crate::process::Share;
use crate::routes::{self, Changes};

/// Calls/s of each pod.
const RATE: usize = 20;
/// RECORD has no more slots.
const SLOTS: usize = 20;

/// What became of the calls of all pairs.
#[derive(Debug, Default)]
pub struct Pairs {
    /// Made.
    pub calls: usize,
    /// Without an answer although there is a way.
    pub lost: usize,
    /// Answered by somebody else, or although there is no way.
    pub wrong: usize,
    /// Up to ten of them.
    pub examples: Vec<String>,
}

/// The name of the pod of node `index`.
pub fn service(plan: &Plan, index: usize) -> anyhow::Result<dmsc_wire::NameBuf> {
    let mut names = plan.pods[index].services.iter().flat_map(|s| &s.names);
    names.next().cloned().context("a pod serves nothing")
}

/// Every pod calls every other once.
pub fn call(lab: &mut Lab) -> anyhow::Result<Pairs> {
    let distances = routes::distances(&lab.plan, &Changes::default());
    let count = lab.plan.pods.len();
    let mut callers = Vec::new();
    for from in 0..count {
        let mut text = String::new();
        for to in (0..count).filter(|to| *to != from) {
            writeln!(text, "{}", service(&lab.plan, to)?)?;
        }
        let name = lab.plan.pods[from].name.clone();
        let input = lab.path().join(format!("{name}.calls"));
        let output = lab.path().join(format!("{name}.out"));
        std::fs::write(&input, text)?;
        let command = lab.pod_command(
            from,
            &format!("{name}/caller"),
            &[
                "--json",
                "calls",
                &input.display().to_string(),
                "--rate",
                &RATE.to_string(),
                "--out",
                &output.display().to_string(),
            ],
        )?;
        let process = lab.start_in_pod(from, "calls", command, Share::Plain)?;
        callers.push((process, output));
    }
    let mut pairs = Pairs::default();
    for (from, (mut process, output)) in callers.into_iter().enumerate() {
        if count > 1 {
            process.finish(Duration::from_secs(60 + (count / RATE) as u64))?;
        }
        let text = std::fs::read_to_string(&output).unwrap_or_default();
        let others: Vec<usize> = (0..count).filter(|to| *to != from).collect();
        let mut lines = text.lines();
        for to in others {
            let reachable = distances[from][to].is_some();
            pairs.judge(&lab.plan, from, to, reachable, lines.next().unwrap_or(""));
        }
    }
    Ok(pairs)
}

impl Pairs {
    /// `name TAB outcome TAB instance …`, in the order of the calls.
    fn judge(&mut self, plan: &Plan, from: usize, to: usize, reachable: bool, line: &str) {
        self.calls += 1;
        let mut fields = line.split('\t').skip(1);
        let (outcome, instance) = (fields.next().unwrap_or("lost"), fields.next().unwrap_or(""));
        let owner = format!("{}/lab", plan.pods[to].name);
        match (reachable, outcome) {
            (true, "ok") if instance == owner => return,
            (false, "error:no-route") => return,
            (true, "ok") | (false, _) => self.wrong += 1,
            _ => self.lost += 1,
        }
        if self.examples.len() < 10 {
            self.examples.push(format!(
                "{} to {owner}: {outcome} {instance}",
                plan.pods[from].name
            ));
        }
    }
}

/// Traces from every router to the pod of every other that it can reach. Returns how many there were, and those that were no shortest paths.
pub fn trace(lab: &Lab) -> anyhow::Result<(usize, Vec<String>)> {
    let plan = &lab.plan;
    let distances = routes::distances(plan, &Changes::default());
    let (mut count, mut wrong) = (0, Vec::new());
    for from in 0..plan.nodes.len() {
        let mut agent = lab.agent(from)?;
        for to in (0..plan.nodes.len()).filter(|to| *to != from) {
            let Some(distance) = distances[from][to] else {
                continue;
            };
            let reply = agent.trace(&service(plan, to)?)?;
            count += 1;
            let hops: Vec<(u32, u32)> = reply.hops.iter().map(|h| (h.node, h.out_port)).collect();
            let verdict = if reply.answered {
                cost(plan, &hops, from, to, &distances)
            } else {
                Err(format!("no answer: {}", reply.error))
            };
            let (a, b) = (&plan.nodes[from].name, &plan.nodes[to].name);
            match verdict {
                Ok(cost) if cost == distance => {}
                Ok(cost) => {
                    wrong.push(format!(
                        "{a} to {b}: metrics {cost}, shortest {distance}: {hops:?}"
                    ));
                }
                Err(why) => wrong.push(format!("{a} to {b}: {why}: {hops:?}")),
            }
        }
    }
    Ok((count, wrong))
}

/// The sum of metrics on the way from `from` to `to` that routers recorded. Where the record was full the rest is taken for shortest: each router
/// on it is judged by its own traces.
fn cost(
    plan: &Plan,
    hops: &[(u32, u32)],
    from: usize,
    to: usize,
    distances: &[Vec<Option<u64>>],
) -> Result<u64, String> {
    let (mut at, mut cost) = (from, 0);
    for (node, out_port) in hops {
        if plan.nodes[at].id.0 != *node {
            return Err(format!("after {} comes node {node}", plan.nodes[at].name));
        }
        if at == to {
            return Ok(cost);
        }
        let port = plan.nodes[at]
            .ports
            .get((*out_port as usize).wrapping_sub(1));
        let Some(PortEnd::Router(adjacency)) = port.map(|p| &p.end) else {
            return Err(format!(
                "{} has no router port {out_port}",
                plan.nodes[at].name
            ));
        };
        let link = &plan.links[adjacency.link];
        cost += u64::from(link.metric);
        at = if link.ends[0] == at {
            link.ends[1]
        } else {
            link.ends[0]
        };
    }
    if at == to {
        return Ok(cost);
    }
    if hops.len() < SLOTS {
        return Err(format!("the record ends at {}", plan.nodes[at].name));
    }
    distances[at][to]
        .map(|rest| cost + rest)
        .ok_or_else(|| "it leads to where there is no way".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::figure2;

    #[test]
    fn recorded_ways_are_summed() {
        let plan = figure2();
        let distances = routes::distances(&plan, &Changes::default());
        let (sg1, sg4) = (plan.node("sg1").unwrap(), plan.node("sg4").unwrap());
        let port = |node: &str, port: &str| {
            let node = &plan.nodes[plan.node(node).unwrap()];
            let place = node.ports.iter().position(|p| p.name == port).unwrap();
            (node.id.0, place as u32 + 1)
        };
        let there = [
            port("sg1", "sr1"),
            port("sr1", "sr3"),
            port("sr3", "sg4"),
            port("sg4", "pod4"),
        ];
        assert_eq!(cost(&plan, &there, sg1, sg4, &distances), Ok(30));
        let longer = [port("sg1", "sr2"), port("sr2", "sg4"), port("sg4", "pod4")];
        assert_eq!(cost(&plan, &longer, sg1, sg4, &distances), Ok(50));
        assert!(cost(&plan, &there[..2], sg1, sg4, &distances).is_err());
        let jump = [port("sg1", "sr1"), port("sr2", "sg4")];
        assert!(cost(&plan, &jump, sg1, sg4, &distances).is_err());
    }

    #[test]
    fn answers_are_judged() {
        let plan = figure2();
        let mut pairs = Pairs::default();
        let owner = format!("x\tok\t{}/lab\t4\t1", plan.pods[2].name);
        pairs.judge(&plan, 0, 2, true, &owner);
        pairs.judge(&plan, 0, 2, false, "x\terror:no-route");
        assert_eq!((pairs.calls, pairs.lost, pairs.wrong), (2, 0, 0));
        pairs.judge(&plan, 0, 2, true, "x\tok\tpod9/lab");
        pairs.judge(&plan, 0, 2, true, "x\terror:no-route");
        pairs.judge(&plan, 0, 2, false, "x\tok\tpod9/lab");
        pairs.judge(&plan, 0, 2, true, "");
        assert_eq!((pairs.calls, pairs.lost, pairs.wrong), (6, 2, 2));
        assert_eq!(pairs.examples.len(), 4);
    }
}

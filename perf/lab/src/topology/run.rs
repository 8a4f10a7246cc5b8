//! Brings a topology up, tries all pairs, and breaks links under a stream.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use super::{Topology, pairs};
use crate::agent::Agent;
use crate::demo::stream::{Stream, StreamSpec};
use crate::lab::{Lab, Options};
use crate::net::Batch;
use crate::plan::{Plan, PortEnd};
use crate::routes::{self, Changes};
use crate::wait::{self, monotonic_ns};
use crate::wire::decide::SplitMix;

/// Calls/s of the stream under failures.
const RATE: u32 = 200;
/// For so long after convergence nothing may be lost, and no packet may run out of hops, s.
const CALM: f64 = 0.7;

/// What to run.
#[derive(Debug, Clone)]
pub struct TopologyOptions {
    /// Networkx node-link JSON.
    pub file: PathBuf,
    /// Links to break and mend, one after the other.
    pub failures: usize,
    /// Of links, pairs and ends.
    pub seed: u64,
    /// How the lab is brought up.
    pub up: Options,
}

/// What a broken link did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Failure {
    /// The link.
    pub link: String,
    /// Who called whom meanwhile, over this link.
    pub calls: String,
    /// No way was left between them.
    pub partitioned: bool,
    /// Calls until the link was mended.
    pub lost: usize,
    /// Of them those due after all routers had agreed again.
    pub lost_after_convergence: usize,
    /// Until all routers had the new routes, ms.
    pub converged_ms: f64,
    /// Calls from the moment when it was mended.
    pub lost_mended: usize,
    /// Until all routers had the old routes again, ms.
    pub mended_ms: f64,
    /// Packets that ran out of hops after convergence, both times.
    pub hop_limit: u64,
    /// Ways that lead nowhere or in circles, by the tables of the dataplanes after convergence.
    pub loops: Vec<String>,
}

/// What came out.
#[derive(Debug, Default, Serialize)]
pub struct TopologyResult {
    /// Nodes.
    pub nodes: usize,
    /// Links.
    pub links: usize,
    /// Until everything was up and all names were known everywhere, s.
    pub up_seconds: f64,
    /// Of the control planes alone, ms.
    pub converged_ms: f64,
    /// Calls between all pairs.
    pub pairs: usize,
    /// Without an answer.
    pub lost: usize,
    /// Answered by somebody else.
    pub wrong: usize,
    /// Traces between all pairs.
    pub traces: usize,
    /// Of them no shortest paths.
    pub not_shortest: Vec<String>,
    /// Broken links.
    pub failures: Vec<Failure>,
    /// All digests were equal at the end.
    pub digests_equal: bool,
    /// Of the seed, so that the run can be repeated.
    pub seed: u64,
    /// Up to ten of the calls that went wrong.
    pub examples: Vec<String>,
}

impl Failure {
    /// Whether it went as it should.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.hop_limit == 0
            && self.loops.is_empty()
            && (self.partitioned || self.lost_after_convergence == 0)
    }
}

impl TopologyResult {
    /// Whether all was as it should be.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.lost == 0
            && self.wrong == 0
            && self.not_shortest.is_empty()
            && self.digests_equal
            && self.failures.iter().all(Failure::ok)
    }
}

/// Runs everything and prints a line for each part.
///
/// # Errors
/// When the file cannot be used or the lab does not come up, or the routers do not agree again. Calls that went wrong are counted.
pub fn run(options: &TopologyOptions) -> anyhow::Result<TopologyResult> {
    let topology = Topology::read(&options.file)?;
    for note in &topology.notes {
        eprintln!("{}: {note}", options.file.display());
    }
    let dir = std::env::temp_dir().join(format!("dmsc-topology-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let file = dir.join("lab.toml");
    std::fs::write(&file, topology.lab_file()?)?;
    let began = Instant::now();
    let lab = Lab::up(&file, &options.up);
    // Kept labs are planned anew from it.
    if !options.up.keep {
        let _ = std::fs::remove_dir_all(&dir);
    }
    let mut lab = lab?;
    let mut result = TopologyResult {
        nodes: topology.nodes.len(),
        links: topology.links.len(),
        up_seconds: began.elapsed().as_secs_f64(),
        converged_ms: (lab.startup.converged_ns - lab.startup.last_started_ns) as f64 / 1e6,
        seed: options.seed,
        ..TopologyResult::default()
    };
    println!(
        "topology: {} nodes, {} links, up with all names known everywhere in {:.1} s, routers agreed in {:.0} ms",
        result.nodes, result.links, result.up_seconds, result.converged_ms
    );
    if let Err(error) = all(&mut lab, options, &mut result) {
        return Err(lab.explain(error));
    }
    Ok(result)
}

fn all(
    lab: &mut Lab,
    options: &TopologyOptions,
    result: &mut TopologyResult,
) -> anyhow::Result<()> {
    let calls = pairs::call(lab)?;
    (result.pairs, result.lost, result.wrong) = (calls.calls, calls.lost, calls.wrong);
    result.examples = calls.examples;
    println!(
        "all pairs: {} calls, lost {}, wrong {}",
        result.pairs, result.lost, result.wrong
    );
    (result.traces, result.not_shortest) = pairs::trace(lab)?;
    println!(
        "traces: {}, no shortest path {}",
        result.traces,
        result.not_shortest.len()
    );
    if !lab.plan.links.is_empty() {
        let mut random = SplitMix::new(options.seed);
        for number in 1..=options.failures {
            let failure = fail(lab, &mut random)?;
            print(number, options.failures, &failure);
            result.failures.push(failure);
            if wait::interrupted() {
                anyhow::bail!("interrupted");
            }
        }
    }
    lab.wait_for_convergence(Duration::from_secs(20))?;
    result.digests_equal = true;
    println!("digests: all {} equal", result.nodes);
    Ok(())
}

fn print(number: usize, of: usize, failure: &Failure) {
    let after = if failure.partitioned {
        "no way left".to_string()
    } else {
        format!("{} after convergence", failure.lost_after_convergence)
    };
    println!(
        "failure {number} of {of}: {}, calls {}: lost {} ({after}), agreed in {:.0} ms; mended: lost {}, agreed in {:.0} ms; loops {}, hop-limit {}",
        failure.link,
        failure.calls,
        failure.lost,
        failure.converged_ms,
        failure.lost_mended,
        failure.mended_ms,
        failure.loops.len(),
        failure.hop_limit
    );
}

/// A random pair whose shortest path goes over `link`.
fn pair(plan: &Plan, link: usize, random: &mut SplitMix) -> (usize, usize) {
    let distances = routes::distances(plan, &Changes::default());
    let link = &plan.links[link];
    let (u, v) = (link.ends[0], link.ends[1]);
    let over = |a: usize, b: usize| {
        let [Some(all), Some(to), Some(from)] = [distances[a][b], distances[a][u], distances[v][b]]
        else {
            return false;
        };
        to + u64::from(link.metric) + from == all
    };
    let nodes = 0..plan.nodes.len();
    let mut all: Vec<(usize, usize)> = nodes
        .clone()
        .flat_map(|a| nodes.clone().map(move |b| (a, b)))
        .filter(|(a, b)| a != b && over(*a, *b))
        .collect();
    if all.is_empty() {
        // A link that nobody uses: its ends see it fail all the same.
        all.push((u, v));
    }
    all[random.below(all.len())]
}

/// One end of a link goes down: both ends lose the carrier.
fn set_link(plan: &Plan, link: usize, side: usize, up: bool) -> anyhow::Result<()> {
    let link = &plan.links[link];
    let node = &plan.nodes[link.ends[side]];
    let mut batch = Batch::default();
    batch.add(format!(
        "link set dev {} {}",
        link.ports[side],
        if up { "up" } else { "down" }
    ));
    batch.run(Some(&node.namespace))
}

fn agents(lab: &Lab) -> anyhow::Result<Vec<Agent>> {
    (0..lab.plan.nodes.len()).map(|n| lab.agent(n)).collect()
}

/// Packets that ran out of hops, everywhere.
fn hop_limit(agents: &mut [Agent]) -> anyhow::Result<u64> {
    let mut sum = 0;
    for agent in agents {
        sum += agent.sums()?.of("hop-limit");
    }
    Ok(sum)
}

/// Ways in the tables of all dataplanes that do not lead to where they should.
fn loops(lab: &Lab, agents: &mut [Agent]) -> anyhow::Result<Vec<String>> {
    let plan = &lab.plan;
    let place: BTreeMap<u32, usize> = plan
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| (node.id.0, index))
        .collect();
    let mut next = Vec::new();
    for (node, agent) in plan.nodes.iter().zip(agents.iter_mut()) {
        let peers: BTreeMap<u32, usize> = node
            .ports
            .iter()
            .filter_map(|port| match &port.end {
                PortEnd::Router(a) => Some((u32::from(a.id), *place.get(&a.peer.0)?)),
                PortEnd::Pod(_) => None,
            })
            .collect();
        let mut ways = BTreeMap::new();
        for gateway in agent.dump()?.gateways.iter().filter(|g| g.topology == 0) {
            if let Some(to) = place.get(&gateway.gateway) {
                let hops = gateway.next_hops.iter();
                ways.insert(
                    *to,
                    hops.filter_map(|hop| peers.get(hop).copied()).collect(),
                );
            }
        }
        next.push(ways);
    }
    let distances = routes::distances(plan, lab.changes());
    Ok(
        routes::loops(&next, |from, to| distances[from][to].is_some())
            .into_iter()
            .map(|(from, to)| format!("{} to {}", plan.nodes[from].name, plan.nodes[to].name))
            .collect(),
    )
}

fn fail(lab: &mut Lab, random: &mut SplitMix) -> anyhow::Result<Failure> {
    let link = random.below(lab.plan.links.len());
    let side = random.below(2);
    let (from, to) = pair(&lab.plan, link, random);
    let mut failure = Failure {
        link: lab.plan.links[link].name.clone(),
        calls: format!(
            "{} to {}",
            lab.plan.nodes[from].name, lab.plan.nodes[to].name
        ),
        ..Failure::default()
    };
    let mut agents = agents(lab)?;
    let pod = lab.plan.pods[from].name.clone();
    let (identity, name) = (
        format!("{pod}/caller"),
        pairs::service(&lab.plan, to)?.to_string(),
    );
    // As long as it may take; ended when everything was seen.
    let spec = StreamSpec {
        rate: RATE,
        ..StreamSpec::new(&pod, &identity, &name, 60.0)
    };
    let stream = Stream::start(lab, &spec)?;
    stream.at(0.5)?;

    let broken_ns = monotonic_ns();
    set_link(&lab.plan, link, side, false)?;
    lab.expect_broken(BTreeSet::from([link]));
    let broken = lab.wait_for_routes(Duration::from_secs(20));
    let converged_ns = monotonic_ns();
    failure.converged_ms = (converged_ns - broken_ns) as f64 / 1e6;
    // Packets that were on the way may still run out of hops.
    wait::pause(Duration::from_millis(100))?;
    let before = hop_limit(&mut agents)?;
    failure.loops = loops(lab, &mut agents)?;
    let reachable = routes::distances(&lab.plan, lab.changes());
    failure.partitioned = reachable[from][to].is_none();
    wait::pause(Duration::from_secs_f64(CALM))?;
    failure.hop_limit = hop_limit(&mut agents)? - before;

    let mended_ns = monotonic_ns();
    set_link(&lab.plan, link, side, true)?;
    lab.expect_broken(BTreeSet::new());
    broken.with_context(|| format!("after link {} broke", failure.link))?;
    lab.wait_for_routes(Duration::from_secs(20))
        .with_context(|| format!("after link {} was mended", failure.link))?;
    failure.mended_ms = (monotonic_ns() - mended_ns) as f64 / 1e6;
    wait::pause(Duration::from_millis(100))?;
    let before = hop_limit(&mut agents)?;
    let more = loops(lab, &mut agents)?;
    failure.loops.extend(more);
    wait::pause(Duration::from_secs_f64(CALM))?;
    failure.hop_limit += hop_limit(&mut agents)? - before;
    // The last calls have their time-out to be answered.
    let counted_ns = monotonic_ns();
    let outcome = stream.stop()?;
    let until = |at: u64| {
        outcome
            .lost_from(at)
            .saturating_sub(outcome.lost_from(counted_ns))
    };
    failure.lost = until(broken_ns) - until(mended_ns);
    failure.lost_after_convergence = until(converged_ns) - until(mended_ns);
    failure.lost_mended = until(mended_ns);
    Ok(failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::figure2;

    #[test]
    fn a_pair_is_drawn_that_uses_the_link() {
        let plan = figure2();
        let link = plan.link("sr1-sr3").unwrap();
        let distances = routes::distances(&plan, &Changes::default());
        let changes = Changes {
            broken: BTreeSet::from([link]),
            ..Changes::default()
        };
        let without = routes::distances(&plan, &changes);
        let mut random = SplitMix::new(3);
        let mut longer = 0;
        for _ in 0..50 {
            let (a, b) = pair(&plan, link, &mut random);
            assert_ne!(a, b);
            longer += usize::from(without[a][b] > distances[a][b]);
        }
        // Some pairs have another way of equal length.
        assert!(longer > 0);
    }

    #[test]
    fn a_loop_or_a_loss_after_convergence_is_no_success() {
        let good = Failure {
            lost: 9,
            ..Failure::default()
        };
        assert!(good.ok());
        let bad = Failure {
            lost_after_convergence: 1,
            ..good.clone()
        };
        assert!(!bad.ok());
        assert!(
            Failure {
                partitioned: true,
                ..bad.clone()
            }
            .ok()
        );
        assert!(
            !Failure {
                hop_limit: 1,
                ..good
            }
            .ok()
        );
    }
}

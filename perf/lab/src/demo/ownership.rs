//! Step `ownership`: a pod, a sender and a router claim what is not theirs; nothing changes anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, bail};

use super::report::Report;
use crate::agent::Tables;
use crate::lab::Lab;
use crate::operator::Header;
use crate::plan::PortEnd;
use crate::process::{Share, tail};
use crate::rogue::{self, Lies, Rogue};
use crate::wait;

/// Pod 2 has no right to this name; an instance at SG-3 has.
const FOREIGN: &str = "/shop/payment";

/// All three attempts.
pub fn run(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    thief(lab, report)?;
    forger(lab, report)?;
    liar(lab, report)
}

/// A pod announces a prefix that it does not own.
fn thief(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let pod2 = lab.plan.pod("pod2")?;
    let gateway = routes_gateway(lab, pod2);
    let before = databases(lab, gateway)?;
    let command = lab.pod_command(pod2, "pod2/thief", &["serve", "--name", FOREIGN])?;
    let mut process = lab.start_in_pod(pod2, "thief", command, Share::Plain)?;
    let printed = process.collect(Duration::from_secs(15))?;
    let said = format!("{printed}\n{}", tail(process.log(), 8));
    let refused = process.status().is_some_and(|s| !s.success());
    report.figure("thief refused", refused);
    report.require(refused, || {
        "a pod may announce a prefix that it does not own".into()
    });
    // In words: which name, and by whose word.
    let told = said
        .lines()
        .find(|line| line.contains(FOREIGN))
        .unwrap_or("")
        .trim()
        .to_string();
    report.detail("told", told.as_str());
    let named = lab.plan.authorities.iter().any(|a| told.contains(&a.name));
    report.require(named, || {
        format!("the pod was not told why, and by which authority: {said:?}")
    });
    let changed = changed(&before, &databases(lab, gateway)?);
    report.figure("databases changed", changed.len());
    report.require(changed.is_empty(), || {
        format!("it is in databases: {}", changed.join(" | "))
    });
    for (index, node) in lab.plan.nodes.iter().enumerate() {
        let found = lab.operator(index)?.prefixes()?;
        let there = found
            .iter()
            .any(|a| a.name == FOREIGN && a.gateway == gateway);
        report.require(!there, || {
            format!("{} has {FOREIGN} of gateway {gateway}", node.name)
        });
    }
    Ok(())
}

fn routes_gateway(lab: &Lab, pod: usize) -> u32 {
    crate::routes::node_id(&lab.plan, lab.plan.pods[pod].gateway).0
}

/// A pod sends with names that it does not own.
fn forger(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let pod2 = lab.plan.pod("pod2")?;
    let mut agent = lab.agent(lab.plan.pods[pod2].gateway)?;
    let before = agent.sums()?;
    let command = lab.pod_command(
        pod2,
        "pod2/forger",
        &[
            "--json",
            "flood",
            "--rate",
            "500",
            "--seconds",
            "1",
            "--mode",
            "unowned",
        ],
    )?;
    let mut process = lab.start_in_pod(pod2, "forger", command, Share::Plain)?;
    let text = process.finish(Duration::from_secs(10))?;
    let sent = serde_json::from_str::<serde_json::Value>(text.trim())?["sent"]
        .as_u64()
        .unwrap_or(0);
    let dropped = agent.sums()?.since(&before).of("source-not-owned");
    report.figure("forged sent", sent);
    report.figure("dropped as source-not-owned", dropped);
    report.require(sent > 0 && dropped >= sent, || {
        format!("of {sent} forged packets {dropped} were dropped and counted")
    });
    Ok(())
}

/// What one router has: accepted objects, and tables of its dataplane.
#[derive(Debug, PartialEq)]
struct Database {
    name: String,
    objects: BTreeSet<Header>,
    tables: Tables,
}

fn databases(lab: &Lab, suspect: u32) -> anyhow::Result<Vec<Database>> {
    let mut all = Vec::new();
    for (index, node) in lab.plan.nodes.iter().enumerate() {
        // The router that is played has no control plane meanwhile.
        let alive = lab.routers[index].controller.is_some();
        let mut objects = if alive {
            lab.operator(index)?.objects(suspect)?
        } else {
            BTreeSet::new()
        };
        // What a gateway was authorised for is renewed; a thief's or liar's would be new.
        objects.retain(|(kind, origin, ..)| *kind != 3 || *origin == suspect);
        all.push(Database {
            name: node.name.clone(),
            objects,
            tables: lab.agent(index)?.tables()?,
        });
    }
    let own = own_versions(lab, suspect)?;
    for database in &mut all {
        let objects = std::mem::take(&mut database.objects);
        let known = |(kind, origin, id, version)| match own.get(&(kind, origin, id)) {
            Some(last) if version <= *last => (kind, origin, id, 0),
            _ => (kind, origin, id, version),
        };
        database.objects = objects.into_iter().map(known).collect();
    }
    Ok(all)
}

/// The last version of each router's adjacencies, as that router itself has it: it says anew what its links are like whenever that changes, and nobody else may.
fn own_versions(lab: &Lab, suspect: u32) -> anyhow::Result<BTreeMap<(u32, u32, u64), u64>> {
    const ADJACENCIES: u32 = 1;
    let mut own = BTreeMap::new();
    for (index, node) in lab.plan.nodes.iter().enumerate() {
        if lab.routers[index].controller.is_none() {
            continue;
        }
        let objects = lab.operator(index)?.objects(suspect)?.into_iter();
        let adjacencies =
            objects.filter(|(kind, origin, ..)| (*kind, *origin) == (ADJACENCIES, node.id.0));
        own.extend(adjacencies.map(|(kind, origin, id, version)| ((kind, origin, id), version)));
    }
    Ok(own)
}

fn changed(before: &[Database], after: &[Database]) -> Vec<String> {
    let mut all = Vec::new();
    for (before, after) in before.iter().zip(after) {
        let new: Vec<&Header> = after.objects.difference(&before.objects).collect();
        let gone: Vec<&Header> = before.objects.difference(&after.objects).collect();
        if !new.is_empty() || !gone.is_empty() {
            all.push(format!(
                "{}: objects gone {gone:?}, new {new:?}",
                after.name
            ));
        }
        if before.tables != after.tables {
            all.push(format!(
                "{}: {}",
                after.name,
                before.tables.difference(&after.tables)
            ));
        }
    }
    all
}

/// A router that lies, played with the real code and the genuine certificate of SR-2, whose own control plane is dead meanwhile.
fn liar(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let (sr2, sr3) = (lab.plan.node("sr2")?, lab.plan.node("sr3")?);
    let sg4 = lab.plan.node("sg4")?;
    let rogue = rogue_as(lab, sr2, sr3)?;
    let victim = crate::routes::node_id(&lab.plan, sg4).0;
    lab.routers[sr2]
        .controller
        .take()
        .context("SR-2 has no control plane")?
        .kill_hard();
    let stolen: Vec<Header> = lab
        .operator(sr3)?
        .objects(victim)?
        .into_iter()
        .filter(|(_, origin, ..)| *origin == victim)
        .collect();
    let lies = Lies {
        prefix: dmsc_wire::NameBuf::parse(FOREIGN)?,
        victim,
        stolen,
        victim_certificate: std::fs::read(
            lab.paths()
                .credentials(&lab.plan.nodes[sg4].name)
                .join("cert.pem"),
        )?,
    };
    let before = databases(lab, rogue.node)?;
    let refused_before = refused(lab, sr3, rogue.node)?;
    let namespace = lab.plan.nodes[sr2].namespace.clone();
    let told = crate::net::inside(&namespace, move || rogue::play(&rogue, &lies))?;
    let count = wait::until(
        "SR-3 to refuse what was flooded",
        Duration::from_secs(5),
        || {
            let count = refused(lab, sr3, told.node)? - refused_before;
            if count < told.forged {
                bail!("{count} of {} refused", told.forged);
            }
            Ok(Some(count))
        },
    );
    wait::pause(Duration::from_secs(1))?;
    let changed = changed(&before, &databases(lab, told.node)?);
    report.figure("objects flooded by a liar", told.flooded);
    report.figure("refused", count.as_ref().copied().unwrap_or(0));
    report.figure("changed by them", changed.len());
    report.require(changed.is_empty(), || {
        format!("a liar changed {}", changed.join(" | "))
    });
    if let Err(error) = count {
        report.require(false, || format!("{error:#}"));
    }
    lab.start_controller(sr2)?;
    lab.wait_for_convergence(Duration::from_secs(40))
}

/// What the session of `node` towards `peer` refused so far.
fn refused(lab: &Lab, node: usize, peer: u32) -> anyhow::Result<u64> {
    let links = lab.operator(node)?.links()?;
    Ok(links
        .iter()
        .filter(|l| l.own && l.peer == peer)
        .map(|l| l.refused_objects)
        .sum())
}

fn rogue_as(lab: &Lab, node: usize, neighbour: usize) -> anyhow::Result<Rogue> {
    let (own, other) = (&lab.plan.nodes[node], &lab.plan.nodes[neighbour]);
    let port = own
        .ports
        .iter()
        .find_map(|port| match &port.end {
            PortEnd::Router(adjacency) if adjacency.peer == other.id => Some(adjacency),
            _ => None,
        })
        .with_context(|| format!("{} and {} are no neighbours", own.name, other.name))?;
    let at_peer = crate::routes::adjacency_of(other, port.link).context("a link has one end")?;
    Ok(Rogue {
        node: own.id.0,
        adjacency: port.id,
        peer: other.id.0,
        peer_adjacency: at_peer,
        local: port.local.parse()?,
        remote: port.remote.parse()?,
        credentials: lab.paths().credentials(&own.name),
    })
}

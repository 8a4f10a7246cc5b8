//! Labs from topologies that somebody else drew: networkx node-link JSON, each node a gateway with one pod that announces `/lab/<id>`.

mod pairs;
mod run;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail};
use dmsc_wire::NameBuf;
use serde_json::Value;

pub use run::{Failure, TopologyOptions, TopologyResult, run};

/// Routers in a lab.
const MOST: usize = 50;

/// A topology as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// Ids of its nodes as text, in file order.
    pub nodes: Vec<String>,
    /// Ends by node index, and metric.
    pub links: Vec<(usize, usize, u32)>,
    /// What was read otherwise than it stands there.
    pub notes: Vec<String>,
}

/// An id as text: a string as it is, a number as it is written.
fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// `max(1, ⌊dist + 0.5⌋)`
fn metric(dist: f64) -> Option<u32> {
    let rounded = (dist + 0.5).floor().max(1.0);
    // The link-state objects have 24 bits for it.
    (rounded <= f64::from((1u32 << 24) - 1)).then_some(rounded as u32)
}

impl Topology {
    /// Reads a file.
    ///
    /// # Errors
    /// Says what is wrong with it, and where.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "cannot read the topology {}: give a file in networkx node-link JSON",
                path.display()
            )
        })?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let value: Value = serde_json::from_str(text).context("not JSON")?;
        let nodes = value["nodes"]
            .as_array()
            .context("there is no list \"nodes\": this is no networkx node-link JSON")?;
        let edges = value["edges"]
            .as_array()
            .or_else(|| value["links"].as_array())
            .context("there is no list \"edges\" or \"links\"")?;
        if nodes.is_empty() || nodes.len() > MOST {
            bail!(
                "{} nodes: a lab on one machine has 1 to {MOST}; use a smaller topology",
                nodes.len()
            );
        }
        let mut topology = Self::default();
        let mut places = HashMap::new();
        for (place, node) in nodes.iter().enumerate() {
            let id = id(&node["id"])
                .with_context(|| format!("nodes[{place}]: id must be a number or a string"))?;
            service(&id).with_context(|| format!("nodes[{place}]: id {id:?}"))?;
            if let Some(first) = places.insert(id.clone(), place) {
                bail!("nodes[{place}]: id {id:?} is that of nodes[{first}] too");
            }
            topology.nodes.push(id);
        }
        let directed = value["directed"].as_bool().unwrap_or(false);
        for (place, edge) in edges.iter().enumerate() {
            topology.edge(place, edge, &places, directed)?;
        }
        Ok(topology)
    }

    fn edge(
        &mut self,
        place: usize,
        edge: &Value,
        places: &HashMap<String, usize>,
        directed: bool,
    ) -> anyhow::Result<()> {
        let end = |field: &str| -> anyhow::Result<usize> {
            let id = id(&edge[field])
                .with_context(|| format!("edges[{place}]: {field} must be a node's id"))?;
            places
                .get(&id)
                .copied()
                .with_context(|| format!("edges[{place}]: {field} {id:?} is no node's id"))
        };
        let (a, b) = (end("source")?, end("target")?);
        if a == b {
            self.notes.push(format!(
                "edges[{place}]: from node {:?} to itself: ignored",
                self.nodes[a]
            ));
            return Ok(());
        }
        let dist = match &edge["dist"] {
            Value::Null => {
                self.notes
                    .push(format!("edges[{place}]: no dist: metric 1"));
                0.0
            }
            dist => dist
                .as_f64()
                .with_context(|| format!("edges[{place}]: dist must be a number, not {dist}"))?,
        };
        let metric = metric(dist).with_context(|| {
            format!("edges[{place}]: dist {dist} is too large: at most 16777215 can be a metric")
        })?;
        // In a directed file both directions of one link stand there.
        if directed && self.links.contains(&(b, a, metric)) {
            self.notes.push(format!(
                "edges[{place}]: the way back of an edge before it: one link"
            ));
            return Ok(());
        }
        self.links.push((a, b, metric));
        Ok(())
    }

    /// The lab file that this topology is.
    ///
    /// # Errors
    /// When a node's id cannot be part of a name.
    pub fn lab_file(&self) -> anyhow::Result<String> {
        let mut text = String::from(
            "name = \"topo\"\nmtu = 1800\n[router]\nmemory_mb = 64\nhuge = \"auto\"\n",
        );
        for place in 0..self.nodes.len() {
            let id = place + 1;
            writeln!(text, "[[node]]\nid = {id}\nname = \"n{id}\"\nrole = \"sg\"")?;
        }
        for (a, b, metric) in &self.links {
            writeln!(
                text,
                "[[link]]\na = \"n{}\"\nb = \"n{}\"\nmetric = {metric}",
                a + 1,
                b + 1
            )?;
        }
        for (place, id) in self.nodes.iter().enumerate() {
            let number = place + 1;
            writeln!(
                text,
                "[[pod]]\nname = \"p{number}\"\ngateway = \"n{number}\"\n[[pod.service]]\nidentity = \"p{number}/lab\"\nnames = [\"{}\"]",
                service(id)?
            )?;
        }
        Ok(text)
    }
}

/// The name that the pod of a node announces: its id is one component, whatever bytes it has.
fn service(id: &str) -> anyhow::Result<NameBuf> {
    NameBuf::from_components([b"lab".as_slice(), id.as_bytes()])
        .map_err(|error| anyhow::anyhow!("cannot be part of a name: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::LabFile;
    use crate::plan::Plan;

    #[test]
    fn metrics_are_rounded_and_at_least_one() {
        assert_eq!(metric(0.0), Some(1));
        assert_eq!(metric(-7.0), Some(1));
        assert_eq!(metric(1.49), Some(1));
        assert_eq!(metric(1.5), Some(2));
        assert_eq!(metric(16_777_215.4), Some(16_777_215));
        assert_eq!(metric(16_777_216.0), None);
    }

    #[test]
    fn ids_are_numbers_or_strings_and_edges_may_be_links() {
        let text = r#"{"directed": false, "nodes": [{"id": 7}, {"id": "São Paulo/1"}, {"id": "c"}],
            "links": [{"source": 7, "target": "São Paulo/1", "dist": 12.5}, {"source": "c", "target": "c", "dist": 1},
                      {"source": 7, "target": "São Paulo/1", "dist": 3}, {"source": "c", "target": 7}]}"#;
        let topology = Topology::parse(text).unwrap();
        assert_eq!(topology.links, [(0, 1, 13), (0, 1, 3), (2, 0, 1)]);
        assert_eq!(topology.notes.len(), 2);
        let lab = topology.lab_file().unwrap();
        let file = LabFile::parse(Path::new("topology"), &lab).unwrap();
        let plan = Plan::new(&file).unwrap();
        assert_eq!((plan.nodes.len(), plan.links.len()), (3, 3));
        assert_eq!(
            plan.pods[1].services[0].names[0]
                .as_name()
                .component_count(),
            2
        );
        assert_eq!(plan.links[1].name, "n1-n2_2");
    }

    #[test]
    fn a_directed_file_has_one_link_for_both_ways() {
        let text = r#"{"directed": true, "nodes": [{"id": 1}, {"id": 2}],
            "edges": [{"source": 1, "target": 2, "dist": 5}, {"source": 2, "target": 1, "dist": 5}]}"#;
        assert_eq!(Topology::parse(text).unwrap().links, [(0, 1, 5)]);
    }

    #[test]
    fn mistakes_say_where() {
        let error = |text: &str| format!("{:#}", Topology::parse(text).unwrap_err());
        assert!(error("[]").contains("no list \"nodes\""));
        assert!(error("{\"nodes\": []}").contains("\"edges\" or \"links\""));
        assert!(error("{\"nodes\": [], \"edges\": []}").starts_with("0 nodes"));
        let nodes: Vec<String> = (0..51).map(|n| format!("{{\"id\": {n}}}")).collect();
        let text = format!("{{\"nodes\": [{}], \"edges\": []}}", nodes.join(","));
        assert!(error(&text).starts_with("51 nodes"));
        assert_eq!(
            error(r#"{"nodes": [{"id": 1}, {"id": "1"}], "edges": []}"#),
            "nodes[1]: id \"1\" is that of nodes[0] too"
        );
        assert_eq!(
            error(r#"{"nodes": [{"id": 1}], "edges": [{"source": 1, "target": 9}]}"#),
            "edges[0]: target \"9\" is no node's id"
        );
        assert!(error(r#"{"nodes": [{"id": ""}], "edges": []}"#).starts_with("nodes[0]: id \"\""));
        assert!(error(r#"{"nodes": [{"id": null}], "edges": []}"#).starts_with("nodes[0]"));
    }

    #[test]
    fn topologies_of_others_are_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/topologies");
        if !folder.is_dir() {
            eprintln!("skipped: {} is not here", folder.display());
            return;
        }
        for (name, nodes) in [("abilene", 12), ("germany50", 50)] {
            let topology = Topology::read(&folder.join(format!("sndlib_{name}.json"))).unwrap();
            assert_eq!(topology.nodes.len(), nodes);
            let file = topology.lab_file().unwrap();
            let file = LabFile::parse(Path::new(name), &file).unwrap();
            Plan::new(&file).unwrap().fits(2).unwrap();
        }
        assert!(Topology::read(&folder.join("caida_2024-08_7018.json")).is_err());
    }
}

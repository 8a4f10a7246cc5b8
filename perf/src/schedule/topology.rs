//! Topologies and demands as files: networkx node-link JSON, in the form that topohub gives SNDlib's instances.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

/// Most nodes: every router's tables are computed, and a way between all pairs kept.
const MAX_NODES: usize = 1_000;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Something in it.
    #[error("{}:{line}: {field}: {fault}", path.display())]
    Content {
        path: PathBuf,
        line: usize,
        /// As in `edges[3].source`.
        field: String,
        fault: String,
    },
}

/// One two-way link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Places of its ends among the nodes.
    pub ends: (usize, usize),
    pub km: f64,
}

/// Nodes by their places.
#[derive(Debug, Clone, PartialEq)]
pub struct Topology {
    pub name: String,
    pub nodes: Vec<String>,
    pub links: Vec<Link>,
    places: HashMap<String, usize>,
}

/// Volume from one node to another, in the file's unit; ascending by nodes.
pub type Demands = BTreeMap<(usize, usize), f64>;

/// An id is a number or a text; demands name both as text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Id {
    Number(i64),
    Text(String),
}

impl Id {
    fn text(self) -> String {
        match self {
            Id::Number(number) => number.to_string(),
            Id::Text(text) => text,
        }
    }
}

#[derive(Deserialize)]
struct RawFile<'a> {
    #[serde(borrow)]
    graph: Option<&'a RawValue>,
    #[serde(borrow)]
    nodes: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    edges: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    links: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct RawGraph<'a> {
    name: Option<String>,
    #[serde(borrow)]
    demands: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawNode<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawEdge<'a> {
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    target: Option<&'a RawValue>,
    #[serde(borrow)]
    dist: Option<&'a RawValue>,
}

/// A file's text, and where in it something stands.
struct Text<'a> {
    path: &'a Path,
    text: &'a str,
}

impl<'a> Text<'a> {
    fn line(&self, part: &str) -> usize {
        // Parts are slices of the text.
        let offset = (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn fault(&self, part: &str, field: impl Into<String>, fault: impl Into<String>) -> FileError {
        FileError::Content {
            path: self.path.to_path_buf(),
            line: self.line(part),
            field: field.into(),
            fault: fault.into(),
        }
    }

    fn parse<T: Deserialize<'a>>(
        &self,
        part: &'a str,
        field: &str,
        expected: &str,
    ) -> Result<T, FileError> {
        serde_json::from_str(part).map_err(|error| FileError::Content {
            path: self.path.to_path_buf(),
            line: self.line(part) + error.line().max(1) - 1,
            field: field.to_owned(),
            fault: format!("expected {expected}: {error}"),
        })
    }

    fn needed<T>(&self, value: Option<T>, part: &str, field: &str) -> Result<T, FileError> {
        value.ok_or_else(|| self.fault(part, field, "is missing"))
    }
}

fn read(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|source| FileError::Read {
        path: path.to_path_buf(),
        source,
    })
}

impl Topology {
    /// Reads a topology, and its demands if it has any.
    pub fn load(path: &Path) -> Result<(Self, Option<Demands>), FileError> {
        let text = read(path)?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<(Self, Option<Demands>), FileError> {
        let file = Text { path, text };
        let raw: RawFile = file.parse(text, "the file", "node-link JSON, an object")?;
        let mut topology = Topology {
            name: path
                .file_stem()
                .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
            nodes: Vec::new(),
            links: Vec::new(),
            places: HashMap::new(),
        };
        for (at, node) in file.needed(raw.nodes, text, "nodes")?.iter().enumerate() {
            topology.node(&file, at, node)?;
        }
        if topology.nodes.len() < 3 || topology.nodes.len() > MAX_NODES {
            let fault = format!(
                "{} nodes, 3 to {MAX_NODES} are possible",
                topology.nodes.len()
            );
            return Err(file.fault(text, "nodes", fault));
        }
        let (word, edges) = match (raw.edges, raw.links) {
            (Some(edges), _) => ("edges", edges),
            (None, Some(links)) => ("links", links),
            (None, None) => return Err(file.fault(text, "edges", "is missing, and so is links")),
        };
        for (at, edge) in edges.iter().enumerate() {
            topology.link(&file, &format!("{word}[{at}]"), edge)?;
        }
        if topology.links.is_empty() {
            return Err(file.fault(text, word, "has no link between two nodes"));
        }
        let mut demands = None;
        if let Some(graph) = raw.graph {
            let graph: RawGraph = file.parse(graph.get(), "graph", "an object")?;
            if let Some(name) = graph.name {
                topology.name = name;
            }
            if let Some(raw) = graph.demands {
                demands = Some(topology.demands(&file, raw, "graph.demands")?);
            }
        }
        Ok((topology, demands.filter(|demands| !demands.is_empty())))
    }

    /// Demands of another file: the object itself, or a file of this form with `graph.demands`.
    pub fn load_demands(&self, path: &Path) -> Result<Demands, FileError> {
        let text = read(path)?;
        let file = Text { path, text: &text };
        let raw: RawFile = file.parse(&text, "the file", "an object")?;
        let (part, field) = match raw.graph {
            Some(graph) => {
                let inner: RawGraph = file.parse(graph.get(), "graph", "an object")?;
                let demands = file.needed(inner.demands, graph.get(), "graph.demands")?;
                (demands, "graph.demands")
            }
            None => (file.parse(&text, "demands", "an object")?, "demands"),
        };
        let demands = self.demands(&file, part, field)?;
        if demands.is_empty() {
            return Err(file.fault(part.get(), field, "no volume between two nodes"));
        }
        Ok(demands)
    }

    /// As much between all pairs.
    pub fn uniform(&self) -> Demands {
        let nodes = self.nodes.len();
        let pairs = (0..nodes).flat_map(|s| (0..nodes).map(move |t| (s, t)));
        pairs
            .filter(|(s, t)| s != t)
            .map(|pair| (pair, 1.0))
            .collect()
    }

    fn node<'a>(&mut self, file: &Text<'a>, at: usize, raw: &'a RawValue) -> Result<(), FileError> {
        let field = format!("nodes[{at}]");
        let node: RawNode = file.parse(raw.get(), &field, "an object")?;
        let field = field + ".id";
        let raw_id = file.needed(node.id, raw.get(), &field)?;
        let id: Id = file.parse(raw_id.get(), &field, "a number or a text")?;
        let id = id.text();
        if self.places.insert(id.clone(), at).is_some() {
            let fault = format!("{id:?} is the id of another node too");
            return Err(file.fault(raw_id.get(), field, fault));
        }
        self.nodes.push(id);
        Ok(())
    }

    fn link<'a>(
        &mut self,
        file: &Text<'a>,
        field: &str,
        raw: &'a RawValue,
    ) -> Result<(), FileError> {
        let edge: RawEdge = file.parse(raw.get(), field, "an object")?;
        let end = |value: Option<&RawValue>, word: &str| {
            let field = format!("{field}.{word}");
            let value = match value {
                Some(value) => value,
                None => return Err(file.fault(raw.get(), field, "is missing")),
            };
            let id: Id = serde_json::from_str(value.get())
                .map_err(|_| file.fault(value.get(), &field, "expected a node's id"))?;
            let id = id.text();
            let known = self.places.get(&id).copied();
            known
                .ok_or_else(|| file.fault(value.get(), field, format!("no node has the id {id:?}")))
        };
        let ends = (end(edge.source, "source")?, end(edge.target, "target")?);
        let field = format!("{field}.dist");
        let dist = file.needed(edge.dist, raw.get(), &field)?;
        let km: f64 = serde_json::from_str(dist.get())
            .map_err(|_| file.fault(dist.get(), &field, "expected a number of km"))?;
        if !(0.0..=50_000.0).contains(&km) {
            return Err(file.fault(
                dist.get(),
                field,
                format!("{km} km: 0 to 50000 are possible"),
            ));
        }
        // Files of directed graphs have each link twice.
        let twin = |link: &Link| link.ends == (ends.1, ends.0) && link.km == km;
        if ends.0 != ends.1 && !self.links.iter().any(twin) {
            self.links.push(Link { ends, km });
        }
        Ok(())
    }

    fn demands<'a>(
        &self,
        file: &Text<'a>,
        raw: &'a RawValue,
        field: &str,
    ) -> Result<Demands, FileError> {
        let mut demands = Demands::new();
        let sources: BTreeMap<String, &RawValue> = file.parse(raw.get(), field, "an object")?;
        for (source, targets) in sources {
            let field = format!("{field}[{source:?}]");
            let from = self.place(file, targets.get(), &field, &source)?;
            let targets: BTreeMap<String, &RawValue> =
                file.parse(targets.get(), &field, "an object")?;
            for (target, volume) in targets {
                let field = format!("{field}[{target:?}]");
                let to = self.place(file, volume.get(), &field, &target)?;
                let amount: f64 = serde_json::from_str(volume.get())
                    .map_err(|_| file.fault(volume.get(), &field, "expected a number"))?;
                if !(0.0..=1e15).contains(&amount) {
                    let fault = format!("{amount}: a volume is not negative");
                    return Err(file.fault(volume.get(), field, fault));
                }
                if from != to && amount > 0.0 {
                    demands.insert((from, to), amount);
                }
            }
        }
        Ok(demands)
    }

    fn place(&self, file: &Text, part: &str, field: &str, id: &str) -> Result<usize, FileError> {
        let known = self.places.get(id).copied();
        known.ok_or_else(|| file.fault(part, field, format!("no node has the id {id:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{
"graph": {"name": "three", "demands": {"0": {"1": 5.0,
"b": 2}}},
"nodes": [{"id": 0}, {"id": 1}, {"id": "b"}],
"edges": [
{"source": 0, "target": 1, "dist": 10.5},
{"source": 1, "target": "b", "dist": 20}
]}"#;

    fn parse(text: &str) -> Result<(Topology, Option<Demands>), String> {
        Topology::parse(Path::new("t.json"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_and_texts_are_ids() {
        let (topology, demands) = parse(GOOD).expect("good");
        assert_eq!((topology.name.as_str(), topology.links.len()), ("three", 2));
        let demands = demands.expect("demands");
        assert_eq!(demands, Demands::from([((0, 1), 5.0), ((0, 2), 2.0)]));
        let (_, none) =
            parse(&GOOD.replace("edges", "links").replace("demands", "other")).expect("good");
        assert!(none.is_none());
    }

    #[test]
    fn errors_name_file_line_and_field() {
        for (old, new, says) in [
            (
                "\"target\": 1, ",
                "",
                "t.json:6: edges[0].target: is missing",
            ),
            (
                "\"target\": \"b\"",
                "\"target\": 9",
                "t.json:7: edges[1].target: no node has the id \"9\"",
            ),
            ("20}", "-1}", "t.json:7: edges[1].dist: -1 km"),
            (
                "20}",
                "\"x\"}",
                "t.json:7: edges[1].dist: expected a number of km",
            ),
            (
                "\"b\": 2}",
                "\"c\": 2}",
                "t.json:3: graph.demands[\"0\"][\"c\"]: no node has the id",
            ),
            (
                "\"b\": 2}",
                "\"b\": -2}",
                "t.json:3: graph.demands[\"0\"][\"b\"]: -2: a volume",
            ),
            (
                "{\"id\": 1}",
                "{\"id\": 0}",
                "t.json:4: nodes[1].id: \"0\" is the id of another",
            ),
            ("\"nodes\"", "\"knots\"", "t.json:1: nodes: is missing"),
            ("20}", "20", "t.json:8: the file: expected node-link JSON"),
        ] {
            let error = parse(&GOOD.replacen(old, new, 1)).expect_err(says);
            assert!(error.starts_with(says), "{error}");
        }
    }
}

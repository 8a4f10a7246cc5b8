//! The lab file: routers, links, pods and what stands outside, as TOML. Every mistake is refused with its file, line and field.

mod edge;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

pub use edge::{Edge, EdgePod, Health, Library, Program, Redirect, Serve};

/// A lab file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not readable.
    #[error("cannot read the lab file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or not of the expected shape.
    #[error("{path}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and field, as the TOML reader tells them.
        message: String,
    },
    /// Well formed, but wrong.
    #[error("{path}:{line}: {field}: {message}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Which field.
        field: &'static str,
        /// What is wrong, and what to do.
        message: String,
    },
}

/// A lab.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabFile {
    /// Short: namespaces are called `<name>-<node>`.
    pub name: Spanned<String>,
    /// Of all links, bytes.
    #[serde(default = "default_mtu")]
    pub mtu: Spanned<u16>,
    /// Settings of all routers.
    #[serde(default)]
    pub router: RouterSettings,
    /// Routers.
    #[serde(default)]
    pub node: Vec<Node>,
    /// Links between routers.
    #[serde(default)]
    pub link: Vec<Link>,
    /// Pods.
    #[serde(default)]
    pub pod: Vec<Pod>,
    /// Identities that may appear at more than one pod.
    #[serde(default)]
    pub identity: Vec<SharedIdentity>,
    /// Who says which pod may announce what; none: one authority for everything.
    #[serde(default)]
    pub authority: Vec<Authority>,
    /// Scheduling centers, for all gateways.
    #[serde(default)]
    pub center: Vec<Center>,
    /// What identities may announce besides the services of their pods.
    #[serde(default)]
    pub policy: Vec<Policy>,
    /// Something that is reached through a gateway and knows nothing of names.
    pub outside: Option<Outside>,
    /// Edges, for programs that know nothing of names.
    #[serde(default)]
    pub edge: Vec<Edge>,
    /// Programs that link the library of names.
    #[serde(default)]
    pub library: Vec<Library>,
}

/// A prefix authority: it may speak for its subtrees, and has the policy of every name that no other authority has a longer subtree for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// Short name.
    pub name: Spanned<String>,
    /// Subtrees of names, as text; none: everything.
    #[serde(default)]
    pub subtrees: Vec<Spanned<String>>,
    /// How long what it signs admits new prefixes.
    #[serde(default = "default_authorisation_seconds")]
    pub authorisation_seconds: Spanned<u32>,
}

/// A scheduling center beside the authorities; the order is that of its number as a replica.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Center {
    /// Short name.
    pub name: Spanned<String>,
    /// Two-way delay from which on a member is bad for a gateway, ms; good again below 70 % of it.
    #[serde(default = "default_center_delay_ms")]
    pub delay_ms: Spanned<u32>,
    /// The same of delay variation.
    #[serde(default = "default_center_jitter_ms")]
    pub jitter_ms: Spanned<u32>,
    /// Unused bandwidth on the way up to which it is bad, Mbit/s; good again from half as much again.
    #[serde(default = "default_center_bandwidth_mbit")]
    pub bandwidth_mbit: Spanned<u32>,
    /// Load of a member from which on it is bad, percent; good again below 70 % of it.
    #[serde(default = "default_center_load_percent")]
    pub load_percent: Spanned<u32>,
}

/// What an identity may announce that no service of the file announces from the start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Of a pod.
    pub identity: Spanned<String>,
    /// Subtrees, as text.
    pub names: Vec<Spanned<String>>,
}

/// Settings of all routers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouterSettings {
    /// Of packet memory, MB.
    pub memory_mb: u32,
    /// "auto", "yes" or "no".
    pub huge: String,
    /// Of each pod port, packets/s.
    pub budget_pps: u32,
    /// Of each pod port, Mbit/s.
    pub budget_mbps: u32,
}

impl Default for RouterSettings {
    fn default() -> Self {
        Self {
            memory_mb: 96,
            huge: "auto".into(),
            budget_pps: 20_000,
            budget_mbps: 1_000,
        }
    }
}

/// What a router is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Service gateway: has pods.
    Sg,
    /// Service router: joins gateways.
    Sr,
}

impl Role {
    /// As in configurations.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Sg => "sg",
            Self::Sr => "sr",
        }
    }
}

/// A router.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Node id, from 1; a gateway's gateway id.
    pub id: Spanned<u32>,
    /// Short name.
    pub name: Spanned<String>,
    /// What it is.
    pub role: Role,
}

/// Addresses of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// A /31.
    #[default]
    Ipv4,
    /// A /64.
    Ipv6,
}

/// How packets stand on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encapsulation {
    /// In UDP.
    #[default]
    Udp,
    /// Directly in Ethernet frames.
    Ethernet,
}

impl Encapsulation {
    /// As in configurations.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Ethernet => "ethernet",
        }
    }
}

/// A link between two routers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// One end.
    pub a: Spanned<String>,
    /// The other.
    pub b: Spanned<String>,
    /// In both directions.
    pub metric: Spanned<u32>,
    /// Of the delay topology; if no link has one, both topologies are the same.
    pub delay: Option<u32>,
    /// Addresses.
    #[serde(default)]
    pub family: Family,
    /// How packets stand on it.
    #[serde(default)]
    pub encapsulation: Encapsulation,
    /// A wire process is in it.
    #[serde(default)]
    pub wire: bool,
    /// It runs through routers of somebody else.
    pub fabric: Option<Spanned<Fabric>>,
}

/// Two Linux routers between the ends of a link, joined by parallel paths of equal cost.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fabric {
    /// MTU of each path, bytes.
    pub mtu: Vec<u16>,
}

/// A pod.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pod {
    /// Short name.
    pub name: Spanned<String>,
    /// Its gateway.
    pub gateway: Spanned<String>,
    /// What it serves.
    #[serde(default)]
    pub service: Vec<Service>,
    /// Budget of its port, packets/s; none: that of all pod ports.
    pub budget_pps: Option<Spanned<u32>>,
    /// Budget of its port, Mbit/s; none: that of all pod ports.
    pub budget_mbps: Option<Spanned<u32>>,
    /// An identity of the pod that is reached by shared memory, over a port of its own; it registers over the pod's interface, which is also the way while there is
    /// no shared memory.
    pub shared: Option<Spanned<String>>,
}

/// One process of a pod that serves names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Identity it registers with.
    pub identity: Spanned<String>,
    /// Subtrees it serves, as text.
    pub names: Vec<Spanned<String>>,
    /// It answers this much later, ms.
    #[serde(default)]
    pub delay_ms: u32,
}

/// An identity that several pods may use.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedIdentity {
    /// Identity.
    pub id: Spanned<String>,
    /// Pods that may use it.
    pub pods: Vec<Spanned<String>>,
}

/// A host outside of the mesh with DNS and a web server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outside {
    /// The gateway that leads there.
    pub gateway: Spanned<String>,
    /// Its name in DNS.
    pub host: String,
}

fn default_mtu() -> Spanned<u16> {
    Spanned::new(0..0, 9_000)
}

fn default_authorisation_seconds() -> Spanned<u32> {
    Spanned::new(0..0, 3_600)
}

fn default_center_delay_ms() -> Spanned<u32> {
    Spanned::new(0..0, 20)
}

fn default_center_jitter_ms() -> Spanned<u32> {
    Spanned::new(0..0, 10)
}

fn default_center_bandwidth_mbit() -> Spanned<u32> {
    Spanned::new(0..0, 5)
}

fn default_center_load_percent() -> Spanned<u32> {
    Spanned::new(0..0, 90)
}

struct Checker<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Checker<'_> {
    fn wrong<T>(&self, at: &Spanned<T>, field: &'static str, message: String) -> FileError {
        let before = self.text.get(..at.span().start).unwrap_or(self.text);
        FileError::Wrong {
            path: self.path.to_path_buf(),
            line: before.matches('\n').count() + 1,
            field,
            message,
        }
    }

    fn short_name(
        &self,
        name: &Spanned<String>,
        field: &'static str,
        longest: usize,
    ) -> Result<(), FileError> {
        let text = name.get_ref();
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if text.is_empty() || text.len() > longest || !text.chars().all(letters) {
            return Err(self.wrong(
                name,
                field,
                format!("{text:?} must be 1 to {longest} of a-z, 0-9 and _, because interfaces are called after it"),
            ));
        }
        Ok(())
    }

    fn known<'k>(
        &self,
        name: &Spanned<String>,
        field: &'static str,
        mut known: impl Iterator<Item = &'k str>,
        what: &str,
    ) -> Result<(), FileError> {
        if known.any(|k| k == name.get_ref()) {
            return Ok(());
        }
        Err(self.wrong(
            name,
            field,
            format!(
                "there is no {what} called {:?}; declare it or correct the name",
                name.get_ref()
            ),
        ))
    }

    fn name(&self, name: &Spanned<String>, field: &'static str) -> Result<(), FileError> {
        match dmsc_wire::NameBuf::parse(name.get_ref()) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.wrong(name, field, format!("{:?}: {error}", name.get_ref()))),
        }
    }

    fn authorities(&self, lab: &LabFile) -> Result<(), FileError> {
        let mut names = HashSet::new();
        for authority in &lab.authority {
            self.short_name(&authority.name, "authority.name", 10)?;
            if !names.insert(authority.name.get_ref()) {
                return Err(self.wrong(
                    &authority.name,
                    "authority.name",
                    "used twice; give each its own".into(),
                ));
            }
            for name in &authority.subtrees {
                self.name(name, "authority.subtrees")?;
            }
            if !(10..=2_592_000).contains(authority.authorisation_seconds.get_ref()) {
                return Err(self.wrong(
                    &authority.authorisation_seconds,
                    "authority.authorisation_seconds",
                    "must be 10 to 2592000 s".into(),
                ));
            }
        }
        for center in &lab.center {
            self.short_name(&center.name, "center.name", 10)?;
            if !names.insert(center.name.get_ref()) {
                let why = "used twice, or by an authority; give each its own";
                return Err(self.wrong(&center.name, "center.name", why.into()));
            }
            for (value, field) in [
                (&center.delay_ms, "center.delay_ms"),
                (&center.jitter_ms, "center.jitter_ms"),
            ] {
                if !(2..=10_000).contains(value.get_ref()) {
                    return Err(self.wrong(value, field, "must be 2 to 10000 ms".into()));
                }
            }
        }
        for name in lab.policy.iter().flat_map(|p| &p.names) {
            self.name(name, "policy.names")?;
        }
        Ok(())
    }

    fn check(&self, lab: &LabFile) -> Result<(), FileError> {
        self.short_name(&lab.name, "name", 6)?;
        if lab.node.is_empty() {
            return Err(self.wrong(
                &lab.name,
                "node",
                "a lab needs at least one [[node]]".into(),
            ));
        }
        if !(1_800..=9_000).contains(lab.mtu.get_ref()) {
            return Err(self.wrong(&lab.mtu, "mtu", "must be 1800 to 9000 bytes".into()));
        }
        let (mut names, mut ids) = (HashSet::new(), HashSet::new());
        for node in &lab.node {
            self.short_name(&node.name, "node.name", 10)?;
            if !names.insert(node.name.get_ref()) {
                return Err(self.wrong(
                    &node.name,
                    "node.name",
                    "used twice; give each its own".into(),
                ));
            }
            if *node.id.get_ref() == 0 || !ids.insert(*node.id.get_ref()) {
                return Err(self.wrong(
                    &node.id,
                    "node.id",
                    "must be above 0 and not used twice".into(),
                ));
            }
        }
        let nodes = || lab.node.iter().map(|n| n.name.get_ref().as_str());
        let gateways = || {
            lab.node
                .iter()
                .filter(|n| n.role == Role::Sg)
                .map(|n| n.name.get_ref().as_str())
        };
        for link in &lab.link {
            self.known(&link.a, "link.a", nodes(), "node")?;
            self.known(&link.b, "link.b", nodes(), "node")?;
            if link.a.get_ref() == link.b.get_ref() {
                return Err(self.wrong(
                    &link.b,
                    "link.b",
                    "a link needs two different ends".into(),
                ));
            }
            if *link.metric.get_ref() == 0 || *link.metric.get_ref() >= 1 << 24 {
                return Err(self.wrong(
                    &link.metric,
                    "link.metric",
                    "must be 1 to 16777215".into(),
                ));
            }
            if let Some(fabric) = &link.fabric {
                let mtu = &fabric.get_ref().mtu;
                let wrong = if link.wire {
                    "a link has a wire or a fabric, not both: remove one of them"
                } else if link.encapsulation == Encapsulation::Ethernet
                    || link.family == Family::Ipv6
                {
                    "only UDP over IPv4 goes through a fabric: remove encapsulation and family"
                } else if mtu.is_empty()
                    || mtu.len() > 4
                    || mtu.iter().any(|m| !(1_280..=9_000).contains(m))
                {
                    "mtu must list 1 to 4 paths of 1280 to 9000 bytes"
                } else {
                    continue;
                };
                return Err(self.wrong(fabric, "link.fabric", wrong.into()));
            }
        }
        for pod in &lab.pod {
            self.short_name(&pod.name, "pod.name", 10)?;
            if !names.insert(pod.name.get_ref()) {
                return Err(self.wrong(
                    &pod.name,
                    "pod.name",
                    "used twice; give each its own".into(),
                ));
            }
            self.known(&pod.gateway, "pod.gateway", gateways(), "node of role sg")?;
            for name in pod.service.iter().flat_map(|s| &s.names) {
                self.name(name, "pod.service.names")?;
            }
            if let Some(shared) = pod.shared.as_ref().filter(|s| s.get_ref().is_empty()) {
                let message = "must be the identity that is reached by shared memory";
                return Err(self.wrong(shared, "pod.shared", message.into()));
            }
            for (budget, field) in [
                (&pod.budget_pps, "pod.budget_pps"),
                (&pod.budget_mbps, "pod.budget_mbps"),
            ] {
                if let Some(budget) = budget.as_ref().filter(|b| *b.get_ref() == 0) {
                    return Err(self.wrong(budget, field, "must be above 0".into()));
                }
            }
        }
        self.authorities(lab)?;
        self.edges(lab)?;
        let pods = || lab.pod.iter().map(|p| p.name.get_ref().as_str());
        for pod in lab.identity.iter().flat_map(|i| &i.pods) {
            self.known(pod, "identity.pods", pods(), "pod")?;
        }
        if let Some(outside) = &lab.outside {
            self.known(
                &outside.gateway,
                "outside.gateway",
                gateways(),
                "node of role sg",
            )?;
        }
        Ok(())
    }
}

impl LabFile {
    /// Reads and checks a lab file.
    ///
    /// # Errors
    /// Names file, line and field of the first mistake.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = std::fs::read_to_string(path).map_err(|source| FileError::Unreadable {
            path: path.to_path_buf(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Checks the text of a lab file; `path` is for messages.
    ///
    /// # Errors
    /// Names file, line and field of the first mistake.
    pub fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        let lab: Self = toml::from_str(text).map_err(|error| FileError::Syntax {
            path: path.to_path_buf(),
            message: error.to_string(),
        })?;
        Checker { path, text }.check(&lab)?;
        Ok(lab)
    }
}

#[cfg(test)]
mod tests;

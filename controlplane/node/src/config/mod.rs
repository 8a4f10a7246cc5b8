//! The configuration file of a router or gateway: read, checked as a whole, compared, and written back.

mod check;
mod class;
mod fields;
mod raw;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dmsc_linkstate::AdjacencyId;
use dmsc_linkstate::event::LinkSettings;
use dmsc_proto::v1;
use dmsc_wire::{Domain, NodeId};
use thiserror::Error;

use crate::routes::covers;
pub use class::{ClassLimit, DEFAULT_CLASS};
pub use fields::RESTART_FIELDS;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `sg`: has pods.
    Gateway,
    /// `sr`: joins gateways.
    Router,
}

impl Role {
    /// The word of the command line and of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "sg",
            Self::Router => "sr",
        }
    }
}

/// A checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Path as given, for messages.
    pub file: PathBuf,
    /// What the process was started as; not in the file.
    pub role: Role,
    /// `[node]`.
    pub node: NodeSection,
    /// `[linkstate]`.
    pub linkstate: LinkstateSection,
    /// `[[adjacency]]`.
    pub adjacencies: BTreeMap<AdjacencyId, Adjacency>,
    /// `[gateway]`; always there at a gateway, never at a router.
    pub gateway: Option<GatewaySection>,
    /// `[[access]]`, by id.
    pub access_rules: BTreeMap<u32, v1::AccessRule>,
    /// `[[class]]`, in file order; none at a router.
    pub class_limits: Vec<ClassLimit>,
    /// `[scheduling]`; empty without it, and at a router.
    pub scheduling: SchedulingSection,
}

/// `[node]`: who this is and where things are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSection {
    /// The dataplane's own and the certificate's.
    pub id: NodeId,
    /// For people, at most 64 bytes.
    pub name: String,
    /// Of the link state.
    pub area: u32,
    /// Of the access rules.
    pub domain: Domain,
    /// Unix socket of the dataplane's agent.
    pub agent: PathBuf,
    /// What must survive a restart.
    pub state_dir: PathBuf,
    /// Folder with cert.pem, key.pem, root.pem.
    pub credentials: PathBuf,
    /// Unix socket of the operator's API.
    pub operator: Option<PathBuf>,
    /// The operator's API over TCP, with client certificates.
    pub operator_listen: Option<SocketAddr>,
    /// OpenMetrics over HTTP.
    pub metrics: Option<SocketAddr>,
    /// Unix group that may look.
    pub view_group: Option<String>,
    /// Unix group that may drain, revoke, apply.
    pub operate_group: Option<String>,
    /// Unix group that may do everything; root always may.
    pub admin_group: Option<String>,
}

/// `[linkstate]`: see [`dmsc_linkstate::EngineConfig`] for the meaning of most.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LinkstateSection {
    /// Where neighbours connect; they are expected to listen on the same port.
    pub listen: SocketAddr,
    /// Longest time that routes of before a restart are kept while what they stand for is not known again.
    pub restart_hold: Duration,
    pub lifetime_s: u32,
    pub spf_initial: Duration,
    pub spf_short: Duration,
    pub spf_long: Duration,
    pub originate_delay: Duration,
    pub min_arrival: Duration,
    pub digest_interval: Duration,
    pub session_timeout: Duration,
    pub restart_time: Duration,
    pub objects_per_origin: u32,
    pub objects: u32,
    pub objects_per_second: u32,
}

/// `[[adjacency]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Adjacency {
    /// For the dataplane.
    pub programmed: v1::Adjacency,
    /// For the link state.
    pub settings: LinkSettings,
    /// Own and the neighbour's address for the stream between control planes.
    pub session: Option<(IpAddr, IpAddr)>,
}

/// `[gateway]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewaySection {
    /// Where pods register.
    pub listen: SocketAddr,
    /// Asked in this order.
    pub authorities: Vec<SocketAddr>,
    /// Between two probes of an attachment.
    pub probe_interval: Duration,
    /// `[[gateway.port]]`, by the port's name: identities, or `prefix/*` for all below `prefix`, that may be attached there.
    pub ports: BTreeMap<String, Vec<String>>,
    /// Highest class of identities without a `[[class]]`.
    pub max_class: u8,
}

/// `[scheduling]`: the scheduling centers of the area (design §8). Traffic needs none of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchedulingSection {
    /// Each is told what is measured, and may say weights; at most 8.
    pub centers: Vec<SocketAddr>,
}

impl GatewaySection {
    /// Whether `identity` may be attached on pod port `port`; `None` if nothing is said of that port.
    #[must_use]
    pub fn allows(&self, port: &str, identity: &str) -> Option<bool> {
        let list = self.ports.get(port)?;
        Some(list.iter().any(|pattern| covers(pattern, identity)))
    }
}

/// All mistakes of a configuration; nothing of it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", .0.join("\n"))]
pub struct Mistakes(pub Vec<String>);

impl Config {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// All mistakes, each with file, line and field.
    pub fn load(path: &Path, role: Role) -> Result<Self, Mistakes> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Mistakes(vec![format!("{}: cannot be read: {error}", path.display())])
        })?;
        Self::parse(&text, path, role)
    }

    /// Checks `text`; `file` is for messages.
    ///
    /// # Errors
    /// All mistakes, each with file, line and field.
    pub fn parse(text: &str, file: &Path, role: Role) -> Result<Self, Mistakes> {
        check::check(text, file, role)
    }

    /// Checks `text` as another configuration of this node.
    ///
    /// # Errors
    /// All mistakes.
    pub fn reparse(&self, text: &str) -> Result<Self, Mistakes> {
        Self::parse(text, &self.file, self.role)
    }

    /// The highest class of packets that `identity` may use here.
    #[must_use]
    pub fn class_limit(&self, identity: &str) -> u8 {
        let granted = self.class_limits.iter().find(|one| one.matches(identity));
        let default = self.gateway.as_ref().map(|gateway| gateway.max_class);
        granted
            .map(|one| one.max_class)
            .or(default)
            .unwrap_or(DEFAULT_CLASS)
    }

    /// One line per field that differs: `adjacency[3].metric: 10 -> 20`. Keys of adjacencies are not shown.
    #[must_use]
    pub fn diff(&self, new: &Self) -> Vec<String> {
        fields::diff(self, new)
    }

    /// Fields that differ and that only a restart of the process can change.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<String> {
        fields::needs_restart(self, new)
    }

    /// The same format, complete with defaults. Without `secrets`, keys of adjacencies are left out with a remark, and the text is not complete.
    #[must_use]
    pub fn dump(&self, secrets: bool) -> String {
        fields::dump(self, secrets)
    }
}

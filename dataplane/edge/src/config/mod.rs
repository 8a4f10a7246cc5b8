//! The configuration file: read, and checked as a whole.

mod check;
mod collector;
mod raw;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dmsc_pod::{GatewayAddress, SharedAttachment};
use dmsc_wire::{Class, Domain, NameBuf};
use thiserror::Error;

/// A checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Path as given, for messages.
    pub file: PathBuf,
    /// Unix socket of the operator's API.
    pub operator: Option<PathBuf>,
    /// Unix group that may look; root always may.
    pub view_group: Option<String>,
    /// OpenMetrics over HTTP.
    pub metrics: Option<SocketAddr>,
    /// Where one line per call goes.
    pub access_log: AccessLogTo,
    /// Most label sets of the metrics.
    pub series: usize,
    /// `[[pod]]`; at least one.
    pub pods: Vec<PodConfig>,
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AccessLogTo {
    /// Nowhere.
    #[default]
    Off,
    /// Standard output.
    Stdout,
    /// The end of a file.
    File(PathBuf),
}

/// `[[pod]]`: one pod that the edge speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodConfig {
    /// Who it is, as its certificate says.
    pub identity: String,
    /// Folder with cert.pem, key.pem, root.pem.
    pub credentials: PathBuf,
    /// Where the registrar of its gateway is.
    pub gateway: GatewayAddress,
    /// Its network namespace; `None`: the process's own.
    pub netns: Option<PathBuf>,
    /// Tenant; 0 = the one of the gateway's port.
    pub domain: Domain,
    /// `[pod.shared]`: memory shared with the gateway; `None`: its packets pass over UDP.
    pub shared: Option<SharedAttachment>,
    /// `[pod.outbound]`; `None`: it calls nobody.
    pub outbound: Option<Outbound>,
    /// `[[pod.redirect]]`.
    pub redirects: Vec<Redirect>,
    /// `[[pod.serve]]`.
    pub serves: Vec<Serve>,
}

/// `[pod.outbound]`: how programs in the pod call names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// HTTP whose host is the name.
    pub http: Option<SocketAddr>,
    /// Answers names with addresses out of `range`; UDP and TCP.
    pub dns: Option<SocketAddr>,
    /// Last label, or labels, of hosts that are names.
    pub suffix: String,
    /// Synthetic addresses.
    pub range: Range,
    /// Where connections to `range` and to redirected addresses are redirected to.
    pub tcp: Option<SocketAddr>,
    /// Until the head of an answer.
    pub timeout: Duration,
    /// Traffic class of the pod's calls, 0–7.
    pub class: Class,
}

/// A block of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First address of the block.
    pub network: Ipv4Addr,
    /// Bits that all addresses share, 8 to 30.
    pub length: u8,
}

impl Range {
    /// Whether `address` is one of it.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX << (32 - u32::from(self.length));
        u32::from(address) & mask == u32::from(self.network)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

/// `[[pod.redirect]]`: an address whose connections go to a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// What the program connects to.
    pub address: SocketAddr,
    /// Who is called instead.
    pub name: NameBuf,
}

/// `[[pod.serve]]`: a prefix, and the program that answers to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serve {
    /// Announced.
    pub prefix: NameBuf,
    /// The program, in the pod's namespace.
    pub to: SocketAddr,
    /// How it is checked.
    pub health: HealthCheck,
}

/// `health` of a `[[pod.serve]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub kind: HealthKind,
    /// Between two checks.
    pub every: Duration,
    /// A check that takes longer has failed.
    pub timeout: Duration,
    /// Good checks in a row until it is well.
    pub rise: u32,
    /// Bad checks in a row until it is not.
    pub fall: u32,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HealthKind {
    /// Whether it takes a connection.
    #[default]
    Tcp,
    /// GET of a path: 2xx and 3xx are well.
    Http {
        /// The path.
        path: String,
    },
    /// grpc.health.v1.Health/Check.
    Grpc {
        /// The service; empty: the server as a whole.
        service: String,
    },
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            kind: HealthKind::Tcp,
            every: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            rise: 1,
            fall: 2,
        }
    }
}

/// All mistakes of a configuration; nothing of it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", .0.join("\n"))]
pub struct Mistakes(pub Vec<String>);

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// All mistakes, each with file, table and field.
    pub fn load(file: &Path) -> Result<Self, Mistakes> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            Mistakes(vec![format!("{}: cannot be read: {error}", file.display())])
        })?;
        Self::parse(&text, file)
    }

    /// Checks the text of a file.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, Mistakes> {
        check::check(text, file)
    }
}

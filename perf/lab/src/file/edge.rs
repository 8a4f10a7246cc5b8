//! What a lab file says of edges, of the programs that they speak for, and of programs that use names themselves.

use std::collections::HashSet;
use std::net::SocketAddrV4;

use serde::Deserialize;
use toml::Spanned;

use super::{Checker, FileError, LabFile};

/// An edge: one process beside a gateway, which speaks for unmodified programs in pods of that gateway.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// The gateway.
    pub node: Spanned<String>,
    /// It writes down every request, beside the logs of the lab.
    #[serde(default = "yes")]
    pub access_log: bool,
    /// Pods that it speaks for, each with an identity of its own.
    #[serde(default)]
    pub pod: Vec<EdgePod>,
}

fn yes() -> bool {
    true
}

/// A pod that an edge speaks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgePod {
    /// The pod: its namespace.
    pub pod: Spanned<String>,
    /// The identity of its programs.
    pub identity: Spanned<String>,
    /// Programs of the pod may call names: over its DNS, its HTTP port, and redirected addresses.
    #[serde(default)]
    pub outbound: bool,
    /// Addresses that stand for names.
    #[serde(default)]
    pub redirect: Vec<Redirect>,
    /// What programs of the pod serve.
    #[serde(default)]
    pub serve: Vec<Serve>,
}

/// An address that stands for a name, for programs that know nothing of names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// IPv4 address and TCP port.
    pub address: Spanned<String>,
    /// The name, as text.
    pub name: Spanned<String>,
}

/// How an edge sees whether a program is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It accepts connections.
    #[default]
    Tcp,
    /// It answers `GET /` with a status below 400.
    Http,
    /// It answers grpc.health.v1 with SERVING.
    Grpc,
}

impl Health {
    /// As in configurations.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }
}

/// A program that the lab starts behind an edge, in the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    /// nginx, HTTP/1.1.
    Nginx,
    /// The same nginx process, HTTP/2 by prior knowledge on this port.
    Nginx2,
    /// A Python gRPC server.
    Grpc,
    /// A Python WebSocket server that echoes.
    Websocket,
    /// `iperf3 --server`.
    Iperf3,
    /// A Python TCP server that speaks first.
    Banner,
}

/// A prefix that a program of the pod serves.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serve {
    /// As text.
    pub prefix: Spanned<String>,
    /// Where the program listens, on 127.0.0.1 in the pod.
    pub port: Spanned<u16>,
    /// How the edge sees whether it is well.
    #[serde(default)]
    pub health: Health,
    /// The program; none: somebody else starts one.
    pub program: Option<Program>,
}

/// A program that links the library of names: it registers itself, and no edge speaks for it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Library {
    /// Its pod.
    pub pod: Spanned<String>,
    /// Its identity.
    pub identity: Spanned<String>,
    /// What it serves, as text.
    pub name: Spanned<String>,
    /// An example of dmsc-http.
    pub example: Spanned<String>,
}

impl Checker<'_> {
    pub(super) fn edges(&self, lab: &LabFile) -> Result<(), FileError> {
        let (mut nodes, mut pods) = (HashSet::new(), HashSet::new());
        for edge in &lab.edge {
            let gateways = lab.node.iter().filter(|n| n.role == super::Role::Sg);
            let gateways = gateways.map(|n| n.name.get_ref().as_str());
            self.known(&edge.node, "edge.node", gateways, "node of role sg")?;
            if !nodes.insert(edge.node.get_ref()) {
                let message = "has an [[edge]] already: one serves all pods of a gateway";
                return Err(self.wrong(&edge.node, "edge.node", message.into()));
            }
            for pod in &edge.pod {
                let behind = lab.pod.iter();
                let behind = behind.filter(|p| p.gateway.get_ref() == edge.node.get_ref());
                let behind = behind.map(|p| p.name.get_ref().as_str());
                self.known(&pod.pod, "edge.pod.pod", behind, "pod of that gateway")?;
                if pod.outbound && !pods.insert(pod.pod.get_ref()) {
                    let message = "another [[edge.pod]] has its ports: one calls for all programs";
                    return Err(self.wrong(&pod.pod, "edge.pod.outbound", message.into()));
                }
                self.edge_pod(pod)?;
            }
        }
        for library in &lab.library {
            let pods = lab.pod.iter().map(|p| p.name.get_ref().as_str());
            self.known(&library.pod, "library.pod", pods, "pod")?;
            self.name(&library.name, "library.name")?;
            self.short_name(&library.example, "library.example", 20)?;
        }
        Ok(())
    }

    fn edge_pod(&self, pod: &EdgePod) -> Result<(), FileError> {
        for redirect in &pod.redirect {
            self.name(&redirect.name, "edge.pod.redirect.name")?;
            if redirect.address.get_ref().parse::<SocketAddrV4>().is_err() {
                return Err(self.wrong(
                    &redirect.address,
                    "edge.pod.redirect.address",
                    format!(
                        "{:?} must be an IPv4 address and a port, like \"10.96.0.10:80\"",
                        redirect.address.get_ref()
                    ),
                ));
            }
        }
        if !pod.outbound
            && let Some(redirect) = pod.redirect.first()
        {
            let message = "needs `outbound = true` in its [[edge.pod]]";
            return Err(self.wrong(&redirect.address, "edge.pod.redirect", message.into()));
        }
        for serve in &pod.serve {
            self.name(&serve.prefix, "edge.pod.serve.prefix")?;
            if *serve.port.get_ref() == 0 {
                return Err(self.wrong(
                    &serve.port,
                    "edge.pod.serve.port",
                    "must be the port on which the program listens".into(),
                ));
            }
        }
        Ok(())
    }
}

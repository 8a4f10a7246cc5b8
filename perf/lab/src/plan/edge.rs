//! Edges, and programs that link the library of names.

use std::net::SocketAddrV4;

use dmsc_wire::NameBuf;

use super::Plan;
use crate::file::{Health, LabFile, Program};

/// An edge beside a gateway.
#[derive(Debug, Clone)]
pub struct EdgePlan {
    /// Node index of the gateway.
    pub node: usize,
    /// It writes down every request.
    pub access_log: bool,
    /// Pods that it speaks for.
    pub pods: Vec<EdgePodPlan>,
}

/// A pod that an edge speaks for.
#[derive(Debug, Clone)]
pub struct EdgePodPlan {
    /// Index of the pod.
    pub pod: usize,
    /// Its identity.
    pub identity: String,
    /// Whether its programs call names.
    pub outbound: bool,
    /// Addresses that stand for names.
    pub redirects: Vec<(SocketAddrV4, NameBuf)>,
    /// What its programs serve.
    pub serves: Vec<ServePlan>,
}

/// A prefix that a program serves.
#[derive(Debug, Clone)]
pub struct ServePlan {
    /// The prefix.
    pub prefix: NameBuf,
    /// Where the program listens, on 127.0.0.1 in the pod.
    pub port: u16,
    /// How the edge sees whether it is well.
    pub health: Health,
    /// The program that the lab starts.
    pub program: Option<Program>,
}

/// A program that links the library of names.
#[derive(Debug, Clone)]
pub struct LibraryPlan {
    /// Index of its pod.
    pub pod: usize,
    /// Its identity.
    pub identity: String,
    /// What it serves.
    pub name: NameBuf,
    /// An example of dmsc-http.
    pub example: String,
}

impl EdgePlan {
    /// Ports of the outbound side, in every pod: names by Host, the DNS, redirected connections.
    pub const OUTBOUND: [&'static str; 3] = ["127.0.0.1:15001", "127.0.0.1:53", "127.0.0.1:15002"];
    /// Its metrics, in the namespace of the gateway.
    pub const METRICS: &'static str = "127.0.0.1:9464";
}

impl Plan {
    pub(super) fn add_edges(&mut self, file: &LabFile) -> anyhow::Result<()> {
        for edge in &file.edge {
            let mut pods = Vec::new();
            for pod in &edge.pod {
                let mut redirects = Vec::new();
                for redirect in &pod.redirect {
                    let name = NameBuf::parse(redirect.name.get_ref())?;
                    redirects.push((redirect.address.get_ref().parse()?, name));
                }
                let mut serves = Vec::new();
                for serve in &pod.serve {
                    serves.push(ServePlan {
                        prefix: NameBuf::parse(serve.prefix.get_ref())?,
                        port: *serve.port.get_ref(),
                        health: serve.health,
                        program: serve.program,
                    });
                }
                pods.push(EdgePodPlan {
                    pod: self.pod(pod.pod.get_ref())?,
                    identity: pod.identity.get_ref().clone(),
                    outbound: pod.outbound,
                    redirects,
                    serves,
                });
            }
            let node = self.node(edge.node.get_ref())?;
            self.edges.push(EdgePlan {
                node,
                access_log: edge.access_log,
                pods,
            });
        }
        for library in &file.library {
            self.libraries.push(LibraryPlan {
                pod: self.pod(library.pod.get_ref())?,
                identity: library.identity.get_ref().clone(),
                name: NameBuf::parse(library.name.get_ref())?,
                example: library.example.get_ref().clone(),
            });
        }
        Ok(())
    }

    /// What is announced once edges and programs run: pod, identity and names.
    pub fn edge_names(&self) -> impl Iterator<Item = (usize, &str, Vec<NameBuf>)> {
        let edges = self.edges.iter().flat_map(|e| &e.pods);
        let edges = edges.map(|p| {
            let names = p.serves.iter().map(|s| s.prefix.clone()).collect();
            (p.pod, p.identity.as_str(), names)
        });
        let libraries = self.libraries.iter();
        edges.chain(libraries.map(|l| (l.pod, l.identity.as_str(), vec![l.name.clone()])))
    }

    /// Index of the edge beside gateway `node`.
    ///
    /// # Errors
    /// When there is none.
    pub fn edge(&self, node: &str) -> anyhow::Result<usize> {
        let index = self.node(node)?;
        match self.edges.iter().position(|e| e.node == index) {
            Some(edge) => Ok(edge),
            None => anyhow::bail!(
                "lab {} has no edge beside {node}; this scenario needs one",
                self.name
            ),
        }
    }
}

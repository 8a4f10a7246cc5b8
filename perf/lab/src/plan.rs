//! From a lab file to what is made: namespaces, interfaces, addresses, adjacency ids. A pure function: the same file, the same lab.

mod authority;
mod center;
mod edge;

use std::collections::HashMap;

pub use authority::AuthorityPlan;
pub use center::CenterPlan;
pub use edge::{EdgePlan, EdgePodPlan, LibraryPlan, ServePlan};

use anyhow::bail;
use dmsc_wire::{NameBuf, NodeId};

use crate::file::{Encapsulation, Family, LabFile, Role, RouterSettings};

/// Routers that one core carries in a lab: measured with idle routers on veth, hellos every 50 ms.
const ROUTERS_PER_CORE: usize = 25;

/// A whole lab.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Short name; namespaces start with it.
    pub name: String,
    /// Of all links, bytes.
    pub mtu: u16,
    /// Settings of all routers.
    pub router: RouterSettings,
    /// Routers, in file order.
    pub nodes: Vec<NodePlan>,
    /// Links, in file order.
    pub links: Vec<LinkPlan>,
    /// Pods, in file order.
    pub pods: Vec<PodPlan>,
    /// Identities of more than one pod: id and pod indices.
    pub shared: Vec<(String, Vec<usize>)>,
    /// Who says which pod may announce what.
    pub authorities: Vec<AuthorityPlan>,
    /// Who moves traffic by what is measured.
    pub centers: Vec<CenterPlan>,
    /// They are not there yet, and gateways are not told of them.
    pub centers_held: bool,
    /// What identities may announce besides the services of their pods.
    pub policies: Vec<(String, Vec<NameBuf>)>,
    /// The host outside of the mesh.
    pub outside: Option<OutsidePlan>,
    /// Whether links have delays of their own.
    pub has_delays: bool,
    /// Edges, in file order.
    pub edges: Vec<EdgePlan>,
    /// Programs that link the library of names, in file order.
    pub libraries: Vec<LibraryPlan>,
}

/// A router.
#[derive(Debug, Clone)]
pub struct NodePlan {
    /// Node id.
    pub id: NodeId,
    /// Short name.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Network namespace.
    pub namespace: String,
    /// Ports, in the order of the configuration: port ids are 1, 2, ….
    pub ports: Vec<PortPlan>,
}

/// A port of a router.
#[derive(Debug, Clone)]
pub struct PortPlan {
    /// Name of port and interface: what is at the other end.
    pub name: String,
    /// MAC address.
    pub mac: String,
    /// With prefix length.
    pub address: String,
    /// What is at the other end.
    pub end: PortEnd,
}

/// What is at the other end of a port.
#[derive(Debug, Clone)]
pub enum PortEnd {
    /// Another router.
    Router(AdjacencyPlan),
    /// A pod, by index.
    Pod(usize),
}

/// The neighbour on a router port.
#[derive(Debug, Clone)]
pub struct AdjacencyPlan {
    /// Adjacency id, from 1 per node.
    pub id: u16,
    /// Index of the link.
    pub link: usize,
    /// The neighbour.
    pub peer: NodeId,
    /// How packets stand on the link.
    pub encapsulation: Encapsulation,
    /// Own address, without prefix length.
    pub local: String,
    /// The neighbour's.
    pub remote: String,
    /// The first router of the fabric in between.
    pub next_hop: Option<String>,
}

/// A link.
#[derive(Debug, Clone)]
pub struct LinkPlan {
    /// `<a>-<b>`, with a number if there are several.
    pub name: String,
    /// Node indices of its ends.
    pub ends: [usize; 2],
    /// Port names at its ends.
    pub ports: [String; 2],
    /// In both directions.
    pub metric: u32,
    /// Of the delay topology.
    pub delay: u32,
    /// What is in between.
    pub middle: Middle,
}

/// What a link runs through.
#[derive(Debug, Clone)]
pub enum Middle {
    /// Nothing: one veth pair.
    Cable,
    /// A wire process in a namespace of its own, on interfaces `a` and `b`.
    Wire {
        /// That namespace.
        namespace: String,
    },
    /// Two Linux routers, joined by parallel paths.
    Fabric(FabricPlan),
}

/// Two Linux routers between the ends of a link.
#[derive(Debug, Clone)]
pub struct FabricPlan {
    /// Their namespaces, the one at the first end first.
    pub namespaces: [String; 2],
    /// Their addresses towards the ends, with prefix length.
    pub inner: [String; 2],
    /// Addresses of the ends, without.
    pub outer: [String; 2],
    /// Parallel paths: MTU in bytes and the addresses of both sides, without prefix length.
    pub paths: Vec<(u16, [String; 2])>,
}

/// A pod.
#[derive(Debug, Clone)]
pub struct PodPlan {
    /// Short name.
    pub name: String,
    /// Network namespace.
    pub namespace: String,
    /// Node index of its gateway.
    pub gateway: usize,
    /// Its address, without prefix length (24).
    pub address: String,
    /// Its gateway's.
    pub gateway_address: String,
    /// MAC address of its interface.
    pub mac: String,
    /// What it serves.
    pub services: Vec<ServicePlan>,
    /// Budget of its port, packets/s and Mbit/s; its shared port has the same again.
    pub budget: (u32, u32),
    /// Its port of shared memory.
    pub shared: Option<SharedPlan>,
}

/// How one identity of a pod is reached by shared memory.
#[derive(Debug, Clone)]
pub struct SharedPlan {
    /// Who.
    pub identity: String,
    /// The gateway's port.
    pub port: String,
    /// The pod's address on it, without prefix length (30).
    pub address: String,
    /// The gateway's.
    pub gateway_address: String,
}

/// One serving process.
#[derive(Debug, Clone)]
pub struct ServicePlan {
    /// Identity it registers with; also what it calls itself in answers.
    pub identity: String,
    /// What it serves.
    pub names: Vec<NameBuf>,
    /// It answers this much later, ms.
    pub delay_ms: u32,
}

/// The host outside.
#[derive(Debug, Clone)]
pub struct OutsidePlan {
    /// Its namespace.
    pub namespace: String,
    /// Node index of the gateway that leads to it.
    pub gateway: usize,
    /// Its name in DNS.
    pub host: String,
}

impl OutsidePlan {
    /// Address of the host (RFC 5737, TEST-NET-1).
    pub const ADDRESS: &'static str = "192.0.2.2";
    /// Address of the gateway's kernel towards it.
    pub const GATEWAY: &'static str = "192.0.2.1";
}

impl Plan {
    /// Plans the lab of `file`.
    ///
    /// # Errors
    /// When it is larger than the addresses or names reach.
    pub fn new(file: &LabFile) -> anyhow::Result<Self> {
        let name = file.name.get_ref().clone();
        let index: HashMap<&str, usize> = file
            .node
            .iter()
            .enumerate()
            .map(|(i, n)| (n.name.get_ref().as_str(), i))
            .collect();
        if file.node.len() > 199 || file.link.len() > 10_000 || file.pod.len() > 250 {
            bail!("a lab has at most 199 routers, 10,000 links and 250 pods");
        }
        let mut plan = Self {
            nodes: file
                .node
                .iter()
                .map(|node| NodePlan {
                    id: NodeId(*node.id.get_ref()),
                    name: node.name.get_ref().clone(),
                    role: node.role,
                    namespace: format!("{name}-{}", node.name.get_ref()),
                    ports: Vec::new(),
                })
                .collect(),
            links: Vec::new(),
            pods: Vec::new(),
            shared: Vec::new(),
            authorities: authority::authorities(file)?,
            centers: center::centers(file),
            centers_held: false,
            policies: Vec::new(),
            outside: file.outside.as_ref().map(|outside| OutsidePlan {
                namespace: format!("{name}-outside"),
                gateway: index[outside.gateway.get_ref().as_str()],
                host: outside.host.clone(),
            }),
            has_delays: file.link.iter().any(|l| l.delay.is_some()),
            edges: Vec::new(),
            libraries: Vec::new(),
            mtu: *file.mtu.get_ref(),
            router: file.router.clone(),
            name,
        };
        for link in &file.link {
            let ends = [&link.a, &link.b].map(|end| index[end.get_ref().as_str()]);
            plan.add_link(ends, link);
        }
        for pod in &file.pod {
            plan.add_pod(index[pod.gateway.get_ref().as_str()], pod)?;
        }
        plan.add_edges(file)?;
        plan.names_have_authorities()?;
        for policy in &file.policy {
            let names = policy
                .names
                .iter()
                .map(|n| NameBuf::parse(n.get_ref()))
                .collect::<Result<_, _>>()?;
            plan.policies
                .push((policy.identity.get_ref().clone(), names));
        }
        for identity in &file.identity {
            let pods = identity
                .pods
                .iter()
                .filter_map(|name| plan.pods.iter().position(|p| p.name == *name.get_ref()))
                .collect();
            plan.shared.push((identity.id.get_ref().clone(), pods));
        }
        Ok(plan)
    }

    fn add_link(&mut self, ends: [usize; 2], link: &crate::file::Link) {
        let number = self.links.len();
        let names = ends.map(|end| self.nodes[end].name.clone());
        let parallel = self
            .links
            .iter()
            .filter(|l| l.ends == ends || l.ends == [ends[1], ends[0]])
            .count();
        let suffix = if parallel == 0 {
            String::new()
        } else {
            format!("_{}", parallel + 1)
        };
        let name = format!("{}-{}{suffix}", names[0], names[1]);
        let ports = [
            format!("{}{suffix}", names[1]),
            format!("{}{suffix}", names[0]),
        ];
        let (high, low) = (number / 128, (number % 128) * 2);
        let fabrics = self
            .links
            .iter()
            .filter(|l| matches!(l.middle, Middle::Fabric(_)))
            .count();
        let (addresses, length) = match (&link.fabric, link.family) {
            (Some(_), _) => (
                [format!("10.250.{fabrics}.2"), format!("10.251.{fabrics}.2")],
                30,
            ),
            (None, Family::Ipv4) => (
                [0, 1].map(|i| format!("10.{}.{}.{}", 200 + high, low, i)),
                31,
            ),
            (None, Family::Ipv6) => ([1, 2].map(|i| format!("fd00:dc:{number:x}::{i:x}")), 64),
        };
        let middle = if let Some(fabric) = &link.fabric {
            Middle::Fabric(FabricPlan {
                namespaces: ["l", "r"].map(|side| format!("{}-fab-{name}-{side}", self.name)),
                inner: [
                    format!("10.250.{fabrics}.1/30"),
                    format!("10.251.{fabrics}.1/30"),
                ],
                outer: addresses.clone(),
                paths: fabric
                    .get_ref()
                    .mtu
                    .iter()
                    .enumerate()
                    .map(|(path, mtu)| {
                        let net = fabrics * 4 + path;
                        (*mtu, [0, 1].map(|i| format!("10.252.{net}.{i}")))
                    })
                    .collect(),
            })
        } else if link.wire {
            Middle::Wire {
                namespace: format!("{}-wire-{name}", self.name),
            }
        } else {
            Middle::Cable
        };
        for side in 0..2 {
            let peer = self.nodes[ends[1 - side]].id;
            let node = &mut self.nodes[ends[side]];
            let port = node.ports.len() + 1;
            let adjacency = node
                .ports
                .iter()
                .filter(|p| matches!(p.end, PortEnd::Router(_)))
                .count()
                + 1;
            node.ports.push(PortPlan {
                name: ports[side].clone(),
                mac: format!("02:d0:00:{:02x}:{:02x}:01", ends[side] + 1, port),
                address: format!("{}/{length}", addresses[side]),
                end: PortEnd::Router(AdjacencyPlan {
                    id: adjacency as u16,
                    link: number,
                    peer,
                    encapsulation: link.encapsulation,
                    local: addresses[side].clone(),
                    remote: addresses[1 - side].clone(),
                    next_hop: link
                        .fabric
                        .is_some()
                        .then(|| format!("10.{}.{fabrics}.1", 250 + side)),
                }),
            });
        }
        self.links.push(LinkPlan {
            name,
            ends,
            ports,
            metric: *link.metric.get_ref(),
            delay: link.delay.unwrap_or(*link.metric.get_ref()),
            middle,
        });
    }

    fn add_pod(&mut self, gateway: usize, pod: &crate::file::Pod) -> anyhow::Result<()> {
        let index = self.pods.len();
        let place = self.pods.iter().filter(|p| p.gateway == gateway).count() + 1;
        let net = format!("10.{}.{place}", gateway + 1);
        let name = pod.name.get_ref().clone();
        let port = self.nodes[gateway].ports.len() + 1;
        self.nodes[gateway].ports.push(PortPlan {
            name: name.clone(),
            mac: format!("02:d0:00:{:02x}:{:02x}:01", gateway + 1, port),
            address: format!("{net}.1/24"),
            end: PortEnd::Pod(index),
        });
        let mut services = Vec::new();
        for service in &pod.service {
            let mut names = Vec::new();
            for text in &service.names {
                names.push(NameBuf::parse(text.get_ref())?);
            }
            services.push(ServicePlan {
                identity: service.identity.get_ref().clone(),
                names,
                delay_ms: service.delay_ms,
            });
        }
        let shared = pod.shared.as_ref().map(|identity| {
            // The last network of the gateway's /16, and four addresses of it for each pod.
            let host =
                |number: usize| format!("10.{}.255.{}", gateway + 1, number + 4 * (place - 1));
            SharedPlan {
                identity: identity.get_ref().clone(),
                port: format!("{name}_v"),
                address: host(2),
                gateway_address: host(1),
            }
        });
        if shared.is_some() && place > 64 {
            bail!("only the first 64 pods of a gateway can be reached by shared memory");
        }
        self.pods.push(PodPlan {
            shared,
            namespace: format!("{}-{name}", self.name),
            name,
            gateway,
            address: format!("{net}.2"),
            gateway_address: format!("{net}.1"),
            mac: format!("02:d0:80:00:{index:02x}:02"),
            services,
            budget: (
                pod.budget_pps
                    .as_ref()
                    .map_or(self.router.budget_pps, |b| *b.get_ref()),
                pod.budget_mbps
                    .as_ref()
                    .map_or(self.router.budget_mbps, |b| *b.get_ref()),
            ),
        });
        Ok(())
    }

    /// Ports of shared memory of gateway `node`: behind its other ports, in the order of the pods.
    pub fn shared_ports(&self, node: usize) -> impl Iterator<Item = (&PodPlan, &SharedPlan)> {
        let pods = self.pods.iter().filter(move |pod| pod.gateway == node);
        pods.filter_map(|pod| Some((pod, pod.shared.as_ref()?)))
    }

    /// Indices of the gateways.
    pub fn gateways(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].role == Role::Sg)
    }

    /// Every namespace of the lab.
    #[must_use]
    pub fn namespaces(&self) -> Vec<String> {
        let mut all: Vec<String> = self.nodes.iter().map(|n| n.namespace.clone()).collect();
        for link in &self.links {
            match &link.middle {
                Middle::Cable => {}
                Middle::Wire { namespace } => all.push(namespace.clone()),
                Middle::Fabric(fabric) => all.extend(fabric.namespaces.iter().cloned()),
            }
        }
        all.extend(self.pods.iter().map(|p| p.namespace.clone()));
        all.push(self.authority_namespace());
        all.extend(self.outside.iter().map(|o| o.namespace.clone()));
        all
    }

    /// The namespace of a node, pod, or the host outside, by short name.
    ///
    /// # Errors
    /// Lists the names that exist.
    pub fn namespace_of(&self, name: &str) -> anyhow::Result<String> {
        let known = self
            .nodes
            .iter()
            .map(|n| (&n.name, &n.namespace))
            .chain(self.pods.iter().map(|p| (&p.name, &p.namespace)));
        if let Some((_, namespace)) = known.clone().find(|(n, _)| *n == name) {
            return Ok(namespace.clone());
        }
        let full = format!("{}-{name}", self.name);
        if self.namespaces().contains(&full) {
            return Ok(full);
        }
        bail!(
            "there is no {name:?} in lab {}; there are: {}",
            self.name,
            known
                .map(|(n, _)| n.as_str())
                .chain(self.outside.iter().map(|_| "outside"))
                .collect::<Vec<_>>()
                .join(", ")
        )
    }

    /// Index of a node by short name.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, name: &str) -> anyhow::Result<usize> {
        match self.nodes.iter().position(|n| n.name == name) {
            Some(index) => Ok(index),
            None => bail!(
                "lab {} has no router {name}; this scenario needs one",
                self.name
            ),
        }
    }

    /// Index of a pod by short name.
    ///
    /// # Errors
    /// When there is none.
    pub fn pod(&self, name: &str) -> anyhow::Result<usize> {
        match self.pods.iter().position(|p| p.name == name) {
            Some(index) => Ok(index),
            None => bail!(
                "lab {} has no pod {name}; this scenario needs one",
                self.name
            ),
        }
    }

    /// Index of a link by name, either end first.
    ///
    /// # Errors
    /// When there is none.
    pub fn link(&self, name: &str) -> anyhow::Result<usize> {
        let turned = name.split_once('-').map(|(a, b)| format!("{b}-{a}"));
        let found = self
            .links
            .iter()
            .position(|l| l.name == name || Some(&l.name) == turned.as_ref());
        match found {
            Some(index) => Ok(index),
            None => bail!(
                "lab {} has no link {name}; there are: {}",
                self.name,
                self.links
                    .iter()
                    .map(|l| l.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }
    }

    /// Refuses a lab that this machine cannot carry, with an estimate.
    ///
    /// # Errors
    /// When there are too many routers for `cores`.
    pub fn fits(&self, cores: usize) -> anyhow::Result<()> {
        let (count, most) = (self.nodes.len(), ROUTERS_PER_CORE * cores);
        if count <= most {
            return Ok(());
        }
        let hellos = self.links.len() * 2 * 20;
        bail!(
            "{count} routers are too many for {cores} cores: at most {most}. They would need about {} GB of memory ({} MB each: {} MB of \
             packet buffers, the rest programs) and {:.1} cores before the first call ({hellos} hellos/s at 25 us each, and 2 % of a \
             core per router for its programs). Use a smaller lab or a larger machine",
            count * (self.router.memory_mb as usize + 80) / 1_000 + 1,
            self.router.memory_mb + 80,
            self.router.memory_mb,
            hellos as f64 * 25e-6 * 2.0 + count as f64 * 0.02,
        )
    }
}

#[cfg(test)]
pub(crate) mod tests;

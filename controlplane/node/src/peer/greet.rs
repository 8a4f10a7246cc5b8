//! Hellos of two control planes: who speaks over which adjacency, and whether they understand each other.

use std::net::IpAddr;

use dmsc_linkstate::AdjacencyId;
use dmsc_proto::{LINKSTATE_VERSIONS, v1};
use dmsc_wire::NodeId;
use thiserror::Error;
use tonic::Status;

use crate::node::Node;

/// Why two ends do not talk.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GreetError {
    /// No common version.
    #[error("the neighbour speaks versions {low} to {high} of the link-state exchange, this node {} to {}; upgrade the older of the two", LINKSTATE_VERSIONS.0, LINKSTATE_VERSIONS.1)]
    Version {
        /// Its lowest.
        low: u32,
        /// Its highest.
        high: u32,
    },
    /// The hello names another node than the certificate.
    #[error("the hello is of node {hello}, the certificate of node {certificate}")]
    NotTheCertificate {
        /// In the hello.
        hello: NodeId,
        /// In the certificate.
        certificate: NodeId,
    },
    /// It wanted somebody else.
    #[error(
        "node {expected} was expected here, this is node {this}; correct [[adjacency]] peer or remote at the other end"
    )]
    NotThisNode {
        /// Whom it wanted.
        expected: NodeId,
        /// Who is here.
        this: NodeId,
    },
    /// Areas differ.
    #[error("the neighbour is in area {theirs}, this node in area {ours}; correct [node] area")]
    Area {
        /// Theirs.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// No such adjacency.
    #[error(
        "node {this} has no adjacency with node {peer} from {from}; add an [[adjacency]], or correct its addresses"
    )]
    NoAdjacency {
        /// Who is here.
        this: NodeId,
        /// Who calls.
        peer: NodeId,
        /// Its address.
        from: IpAddr,
    },
    /// Its certificate is void.
    #[error("the certificate of node {0} was revoked; give it a new one: dmscctl pki issue")]
    Revoked(NodeId),
    /// Both ends want to dial, or neither.
    #[error("the stream is opened by the end with the lower node id, which is node {0}")]
    WrongEnd(NodeId),
    /// The first message is no hello.
    #[error("the first message must be a hello")]
    NoHello,
}

impl From<GreetError> for Status {
    fn from(error: GreetError) -> Self {
        match error {
            GreetError::NotTheCertificate { .. } | GreetError::Revoked(_) => {
                Status::permission_denied(error.to_string())
            }
            _ => Status::failed_precondition(error.to_string()),
        }
    }
}

impl Node {
    /// The hello of this node over one of its adjacencies.
    pub(crate) fn own_hello(
        &self,
        link: AdjacencyId,
        peer_link: Option<AdjacencyId>,
    ) -> Option<v1::NeighbourHello> {
        let peer = self.links.get(&link)?.adjacency.settings.peer;
        Some(v1::NeighbourHello {
            version_min: LINKSTATE_VERSIONS.0,
            version_max: LINKSTATE_VERSIONS.1,
            node: self.config.node.id.0,
            area: self.config.node.area,
            adjacency: u32::from(link.0),
            peer: peer.0,
            peer_adjacency: peer_link.map_or(0, |id| u32::from(id.0)),
            software: concat!("dmsc-controlplane ", env!("CARGO_PKG_VERSION")).into(),
            boot_epoch: self.boot_epoch(),
        })
    }

    /// What both ends check. Returns the neighbour's id of the adjacency.
    pub(crate) fn check_hello(
        &self,
        hello: &v1::NeighbourHello,
        certificate: NodeId,
    ) -> Result<AdjacencyId, GreetError> {
        let (this, ours) = (self.config.node.id, self.config.node.area);
        if hello.version_min > LINKSTATE_VERSIONS.1 || hello.version_max < LINKSTATE_VERSIONS.0 {
            return Err(GreetError::Version {
                low: hello.version_min,
                high: hello.version_max,
            });
        }
        if hello.node != certificate.0 {
            return Err(GreetError::NotTheCertificate {
                hello: NodeId(hello.node),
                certificate,
            });
        }
        if hello.peer != this.0 {
            return Err(GreetError::NotThisNode {
                expected: NodeId(hello.peer),
                this,
            });
        }
        if hello.area != ours {
            return Err(GreetError::Area {
                theirs: hello.area,
                ours,
            });
        }
        match u16::try_from(hello.adjacency) {
            Ok(id) if id != 0 => Ok(AdjacencyId(id)),
            _ => Err(GreetError::NoHello),
        }
    }

    /// Which adjacency a neighbour speaks over that dialled from `from` to `to`: parallel links are told apart by their addresses.
    pub(crate) fn accept(
        &self,
        hello: &v1::NeighbourHello,
        certificate: NodeId,
        (from, to): (IpAddr, Option<IpAddr>),
    ) -> Result<(AdjacencyId, AdjacencyId), GreetError> {
        let peer_link = self.check_hello(hello, certificate)?;
        let this = self.config.node.id;
        if certificate >= this {
            return Err(GreetError::WrongEnd(this.min(certificate)));
        }
        let fits =
            |local: IpAddr, remote: IpAddr| remote == from && to.is_none_or(|to| to == local);
        let mut candidates = self
            .links
            .iter()
            .filter(|(_, link)| link.adjacency.settings.peer == certificate);
        let all = candidates.clone().count();
        let exact = candidates.clone().find(|(id, link)| {
            let addresses = link.adjacency.session;
            // The neighbour may know which of the links at equal addresses it means.
            let meant = hello.peer_adjacency == 0 || hello.peer_adjacency == u32::from(id.0);
            meant && addresses.is_some_and(|(local, remote)| fits(local, remote))
        });
        let found = exact.or_else(|| candidates.next().filter(|_| all == 1));
        let (id, _) = found.ok_or(GreetError::NoAdjacency {
            this,
            peer: certificate,
            from,
        })?;
        Ok((*id, peer_link))
    }
}

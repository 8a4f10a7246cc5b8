//! The words of `pki`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use dmsc_spa::identity::{Identity, IdentityError, Role};
use dmsc_spa::pki::Scope;
use dmsc_wire::{Domain, NameBuf, NodeId};

use crate::text::parse_name;

/// `pki …`.
#[derive(Debug, Subcommand)]
pub enum Pki {
    /// Make a root: the one key that all routers trust
    #[command(
        after_help = "Example:\n  dmscctl pki init pki --trust-domain dmsc.test\n\nMakes pki/root.pem and pki/root.key.pem. The key is needed to issue and to revoke, and by no daemon: keep it offline."
    )]
    Init(Init),
    /// Issue credentials of a node, pod, authority, scheduling center or operator: cert.pem, key.pem, root.pem
    #[command(
        after_help = "Examples:\n  dmscctl pki issue --root pki --out sg1 node 1 sg\n  dmscctl pki issue --root pki --out pod1 pod pod1/a --days 30\n  dmscctl pki issue --root pki --out spa1 spa spa1 --subtree /shop --subtree /lab --domain 1\n  dmscctl pki issue --root pki --out scsc1 scsc scsc1\n  dmscctl pki issue --root pki --out eva operator eva operate\n\nThe same again renews, with a new key: one that was copied or revoked is of no use any more. Daemons read the folder when they start."
    )]
    Issue(Issue),
    /// Verify and show credentials, certificates, authorisations and revocations
    #[command(
        after_help = "Examples:\n  dmscctl pki show sg1                            a folder of credentials\n  dmscctl pki show pki/root.pem\n  dmscctl pki show spa1/authority.bin             what may this authority speak for?\n  dmscctl pki show --root sg1 /var/lib/dmsc/sg1/authorisations/17.bin\n\nThe root is the root.pem beside the file, unless --root names another. Exit status 2 when it is not believed, or not valid now."
    )]
    Show(Show),
    /// Sign a revocation of certificates: of a node or an authority until now, or of keys for good
    #[command(
        after_help = "Examples:\n  dmscctl pki revoke --root pki --node 5 --reason \"stolen\" --out node5.revocation\n  dmscctl pki revoke --root pki --authority spa1 --reason \"sold\" --out spa1.revocation\n  dmscctl pki revoke --root pki --certificate pod1/cert.pem pod2 --reason \"leaked\" --out pods.revocation\n\nGive the file to one router, which floods it, and to every authority. All remove what a revoked node says, and no prefix stays by what a revoked authority signed.\nCredentials that are issued to the node or authority afterwards are good again. A key is void whoever certifies it, and whenever: 'pki issue' makes a new one."
    )]
    Revoke(Revoke),
}

/// `pki init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Folder for the root; made if missing
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Trust domain of all SPIFFE ids
    #[arg(long, default_value = "dmsc.test", value_name = "NAME")]
    pub trust_domain: String,
    /// How long it is valid; nothing that it issues is valid longer
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500), value_name = "N")]
    pub days: u32,
}

/// `pki issue`.
#[derive(Debug, Args)]
pub struct Issue {
    /// Folder of the root, made by 'pki init'
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Folder for the credentials; made if missing
    #[arg(long, global = true, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// How long they are valid
    #[arg(long, global = true, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500), value_name = "N")]
    pub days: u32,
    /// For whom.
    #[command(subcommand)]
    pub whom: Whom,
}

/// The word after `pki issue`.
#[derive(Debug, Subcommand)]
pub enum Whom {
    /// A gateway (sg) or router (sr)
    Node {
        /// Node id, as in the dataplane's configuration
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        id: u32,
        /// What it is
        kind: NodeKind,
    },
    /// A pod
    Pod {
        /// Its identity, such as pod1/a
        identity: String,
    },
    /// A prefix authority
    Spa {
        /// Its name
        name: String,
        /// Subtree that it may speak for; several may be given, none is everything
        #[arg(long = "subtree", value_parser = parse_name, value_name = "NAME")]
        subtrees: Vec<NameBuf>,
        /// Tenant that it may speak for; several may be given, none is all
        #[arg(long = "domain", value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
        domains: Vec<u32>,
    },
    /// A replica of a scheduling center
    Scsc {
        /// Its name, such as scsc1
        name: String,
    },
    /// Who operates daemons over TCP
    Operator {
        /// A name for audit records
        name: String,
        /// What it may: each includes those before
        role: OperatorRole,
    },
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NodeKind {
    /// Service gateway
    Sg,
    /// Service router
    Sr,
}

/// What an operator may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OperatorRole {
    /// Look
    View,
    /// Drain, revoke, apply configurations
    Operate,
    /// Everything
    Admin,
}

/// `pki show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Folder of credentials, or a file
    pub path: PathBuf,
    /// Root to believe: root.pem, or a folder with it
    #[arg(long, value_name = "PATH")]
    pub root: Option<PathBuf>,
}

/// `pki revoke`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("subject").required(true).multiple(false))]
pub struct Revoke {
    /// Folder of the root, made by 'pki init'
    #[arg(long, value_name = "DIR")]
    pub root: PathBuf,
    /// All certificates that this node has had until now
    #[arg(long, group = "subject", value_name = "ID", value_parser = clap::value_parser!(u32).range(1..))]
    pub node: Option<u32>,
    /// All certificates that this authority has had until now, and all that it authorised with them
    #[arg(long, group = "subject", value_name = "NAME")]
    pub authority: Option<String>,
    /// The keys of these certificates, or folders of credentials, of any kind; at most 16
    #[arg(long, group = "subject", num_args = 1.., value_name = "FILE")]
    pub certificate: Vec<PathBuf>,
    /// Why, for whoever reads the database; at most 255 bytes
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// New file for the signed revocation
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

impl Whom {
    /// Checked.
    pub(super) fn identity(&self) -> Result<(Identity, Scope), IdentityError> {
        let identity = match self {
            Self::Node { id, kind } => Identity::node(NodeId(*id), *kind == NodeKind::Sg),
            Self::Pod { identity } => Identity::pod(identity)?,
            Self::Scsc { name } => Identity::center(name)?,
            Self::Operator { name, role } => Identity::operator((*role).into(), name)?,
            Self::Spa {
                name,
                subtrees,
                domains,
            } => {
                let scope = Scope {
                    subtrees: subtrees.clone(),
                    domains: domains.iter().copied().map(Domain).collect(),
                };
                return Ok((Identity::authority(name)?, scope));
            }
        };
        Ok((identity, Scope::default()))
    }
}

impl From<OperatorRole> for Role {
    fn from(role: OperatorRole) -> Self {
        match role {
            OperatorRole::View => Self::View,
            OperatorRole::Operate => Self::Operate,
            OperatorRole::Admin => Self::Admin,
        }
    }
}

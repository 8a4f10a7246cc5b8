//! Makes credentials: one offline root (Ed25519, self-signed), and what it certifies. `dmscctl pki`.

use std::path::Path;

use crate::identity::Identity;

/// DNS names in certificates, next to the SPIFFE id, because TLS libraries check one: of node 5.
pub const NODE_DNS: &str = "node-{id}.dmsc.internal";
/// Of every gateway, so that a pod needs to know only its address.
pub const GATEWAY_DNS: &str = "gateway.dmsc.internal";
/// Of every authority.
pub const AUTHORITY_DNS: &str = "authority.dmsc.internal";
/// Of every control plane, for the operator's API over TCP.
pub const OPERATOR_DNS: &str = "controlplane.dmsc.internal";

/// The root with its key. To be kept offline.
pub struct Root {
    _todo: (),
}

/// What an authority may speak for.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Subtrees; empty = everything.
    pub subtrees: Vec<dmsc_wire::NameBuf>,
    /// Domains; empty = all.
    pub domains: Vec<dmsc_wire::Domain>,
}

#[allow(missing_docs, clippy::missing_errors_doc)]
impl Root {
    /// Makes a root in `folder` (`root.pem`, `root.key.pem` mode 600); refuses to overwrite one.
    pub fn init(folder: &Path, trust_domain: &str, days: u32) -> Result<Self, PkiError> {
        let _ = (folder, trust_domain, days);
        todo!()
    }
    pub fn load(folder: &Path) -> Result<Self, PkiError> {
        let _ = folder;
        todo!()
    }
    /// Issues credentials into `folder` (made if missing): cert.pem, key.pem, root.pem, and authority.bin for an authority. A key that is there
    /// already is kept (renewal) unless `new_key`.
    pub fn issue(
        &self,
        identity: &Identity,
        scope: &Scope,
        days: u32,
        new_key: bool,
        folder: &Path,
    ) -> Result<(), PkiError> {
        let _ = (identity, scope, days, new_key, folder);
        todo!()
    }
    /// A signed node revocation (SignedNodeRevocation), to be given to any router.
    pub fn revoke_node(
        &self,
        node: dmsc_wire::NodeId,
        reason: &str,
        now_s: u64,
    ) -> Result<bytes::Bytes, PkiError> {
        let _ = (node, reason, now_s);
        todo!()
    }
}

/// Why credentials could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PkiError(pub String);

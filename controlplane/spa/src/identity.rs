//! Who a certificate is: one SPIFFE id in its subject alternative names (SPIFFE X.509-SVID).

use dmsc_wire::NodeId;

/// A SPIFFE id of this system. Text forms:
/// `spiffe://<trust domain>/node/<id>/<sg|sr>` · `…/pod/<identity>` · `…/spa/<name>` · `…/operator/<view|operate|admin>/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A router or gateway.
    Node {
        /// Its id.
        id: NodeId,
        /// "sg" or "sr".
        gateway: bool,
    },
    /// A pod, e.g. `pod1/a`.
    Pod(String),
    /// A prefix authority.
    Authority(String),
    /// A person or program that operates.
    Operator {
        /// What it may.
        role: Role,
        /// Its name.
        name: String,
    },
}

/// What an operator may; each includes those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look.
    View,
    /// Drain, revoke, apply configurations.
    Operate,
    /// Everything.
    Admin,
}
// To be written: parse and Display of both, with errors.

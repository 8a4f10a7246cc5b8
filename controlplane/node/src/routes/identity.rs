//! Who may register at this gateway, and with which prefixes.

use std::collections::HashSet;
use std::sync::Arc;

use dmsc_wire::{Name, NameBuf};

/// One `[[identity]]` of the routes file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// An identity, or `prefix/*` for every identity below `prefix`.
    pub pattern: String,
    /// Subtrees that it may serve.
    pub prefixes: Arc<HashSet<NameBuf>>,
    /// Pod ports on which it may appear; empty = all.
    pub ports: Vec<String>,
}

impl Identity {
    /// Whether this rule is about `identity`.
    #[must_use]
    pub fn matches(&self, identity: &str) -> bool {
        covers(&self.pattern, identity)
    }

    /// Whether the identity may serve `name`: one of its subtrees covers it, on component boundaries.
    #[must_use]
    pub fn may_serve(&self, name: Name<'_>) -> bool {
        (1..=name.component_count())
            .any(|depth| self.prefixes.contains(&name.prefix(depth).to_owned()))
    }

    /// Whether the identity may appear on pod port `port`.
    #[must_use]
    pub fn allows_port(&self, port: &str) -> bool {
        self.ports.is_empty() || self.ports.iter().any(|allowed| allowed == port)
    }
}

/// Whether a pattern is about `identity`: that identity, or `prefix/*` for every identity below `prefix`.
#[must_use]
pub fn covers(pattern: &str, identity: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(stem) => identity.len() > stem.len() && identity.starts_with(stem),
        None => pattern == identity,
    }
}

/// The name under an identity: `/id/` and the identity's pieces between slashes.
///
/// `None` if the identity has an empty piece, too many of them, or is too long to be a name.
#[must_use]
pub fn source_name(identity: &str) -> Option<NameBuf> {
    let components =
        std::iter::once(b"id".as_slice()).chain(identity.split('/').map(str::as_bytes));
    NameBuf::from_components(components).ok()
}

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

/// Whether a pattern is about `identity`: that identity, `prefix/*` for every identity below `prefix`, or `*` for everybody.
#[must_use]
pub fn covers(pattern: &str, identity: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(stem) => identity.len() > stem.len() && identity.starts_with(stem),
        None => pattern == identity,
    }
}

/// Whether this can be a pattern of [`covers`]: an identity, `prefix/*` for all below, or `*` for everybody.
#[must_use]
pub fn is_pattern(pattern: &str) -> bool {
    // It must become an identity once the star is filled in, and a star stands for a whole piece.
    let example = match pattern.strip_suffix('*') {
        Some(stem) if stem.is_empty() || stem.ends_with('/') => format!("{stem}x"),
        Some(_) => return false,
        None => pattern.to_owned(),
    };
    !example.contains('*') && source_name(&example).is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_a_whole_piece_at_the_end() {
        for good in ["pod1", "pod1/a", "pod1/*", "pod1/a/*", "*"] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in ["", "pod*", "pod1//*", "pod1/", "*/a", "pod1/**", "/*"] {
            assert!(!is_pattern(bad), "{bad}");
        }
    }

    #[test]
    fn a_star_stands_for_at_least_one_letter() {
        assert!(covers("pod1/*", "pod1/a"));
        assert!(!covers("pod1/*", "pod1/"));
        assert!(!covers("pod1/*", "pod10/a"));
        assert!(covers("pod1/a", "pod1/a") && !covers("pod1/a", "pod1/ab"));
        assert!(covers("*", "anybody"));
    }
}

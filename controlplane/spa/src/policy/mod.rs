//! The declarative file of an authority: which pod identity may announce what, where.
//!
//! ```toml
//! [authority]
//! authorisation_seconds = 3600   # life of an authorisation, 10..=2592000
//! stale_seconds = 259200         # how long an installed prefix outlives it, up to 31536000; 0 = strict
//! proof_seconds = 86400          # oldest proof of a pod that is taken, 10..=31536000
//!
//! [[policy]]
//! identity = "pod1/*"            # exact, or with one * at the end of a path piece: as [[identity]] of a routes file
//! domain = 1                     # default 1
//! subtrees = ["/shop/a"]         # may be announced, with everything below
//! names_file = "names.txt"       # exact names, one a line, relative to this file
//! maximum_depth = 8              # components of a name in all; default 16
//! gateways = [1, 4]              # where; default: any
//! ```
//!
//! Several `[[policy]]` may match an identity: it may do what any of them lets it.

mod check;
mod difference;
mod dump;
mod raw;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use dmsc_wire::{Domain, Name, NameBuf, NodeId};

/// A checked policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Life of an authorisation, s.
    pub authorisation_s: u32,
    /// How long an installed prefix outlives it, s.
    pub stale_s: u32,
    /// Oldest proof of a pod that is taken, s.
    pub proof_s: u32,
    /// In file order.
    pub rules: Vec<Rule>,
}

/// One `[[policy]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// An identity, or `prefix/*` for every identity below `prefix`.
    pub identity: String,
    /// Tenant.
    pub domain: Domain,
    /// In file order.
    pub subtrees: Vec<NameBuf>,
    /// Exact names.
    pub names: Names,
    /// Components of a name in all, 1..=16.
    pub maximum_depth: u8,
    /// Where; empty = anywhere.
    pub gateways: Vec<NodeId>,
    /// The subtrees again, to look up.
    index: HashSet<NameBuf>,
}

/// Exact names, from a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// As the policy writes it.
    pub file: Option<String>,
    names: Arc<HashSet<NameBuf>>,
    /// The first three of the file, for messages.
    first: Vec<NameBuf>,
}

/// How a rule covers a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover<'a> {
    /// It is, or lies below, this subtree.
    Subtree(&'a NameBuf),
    /// It is one of the exact names.
    Exact,
}

/// All mistakes of a policy file.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct PolicyError(pub Vec<String>);

impl Policy {
    /// Reads and checks a file, and the files of names that it refers to.
    ///
    /// # Errors
    /// Errors name file, line, field, and what to do; all mistakes at once.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            PolicyError(vec![format!("{}: cannot be read: {error}", path.display())])
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        check::check(&path.display().to_string(), &text, folder)
    }

    /// As [`Policy::load`], of a text; `folder` is where its files of names are.
    ///
    /// # Errors
    /// As [`Policy::load`], with `policy` for the file's name.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, PolicyError> {
        check::check("policy", text, folder)
    }

    /// The same format, complete with defaults. Names in files stay there.
    #[must_use]
    pub fn dump(&self) -> String {
        dump::dump(self)
    }

    /// One line per difference, from this policy to `other`.
    #[must_use]
    pub fn diff(&self, other: &Self) -> Vec<String> {
        difference::difference(self, other)
    }

    /// The rules about an identity, in file order.
    pub fn rules_for(&self, identity: &str) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.matches(identity))
    }
}

impl Rule {
    /// Whether this rule is about `identity`; the same as for `[[identity]]` of a routes file.
    #[must_use]
    pub fn matches(&self, identity: &str) -> bool {
        match self.identity.strip_suffix('*') {
            Some(stem) => identity.len() > stem.len() && identity.starts_with(stem),
            None => self.identity == identity,
        }
    }

    /// How it covers `name`, if it does; one look-up per component.
    #[must_use]
    pub fn covers(&self, name: Name<'_>) -> Option<Cover<'_>> {
        (1..=name.component_count())
            .find_map(|depth| self.index.get(name.prefix(depth).as_bytes()))
            .map(Cover::Subtree)
            .or_else(|| self.names.contains(name).then_some(Cover::Exact))
    }

    /// Whether it holds at `gateway`.
    #[must_use]
    pub fn allows_gateway(&self, gateway: NodeId) -> bool {
        self.gateways.is_empty() || self.gateways.contains(&gateway)
    }
}

impl Names {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether `name` is one of them.
    #[must_use]
    pub fn contains(&self, name: Name<'_>) -> bool {
        self.names.contains(name.as_bytes())
    }

    /// The first three of the file.
    #[must_use]
    pub fn first(&self) -> &[NameBuf] {
        &self.first
    }

    /// In no order.
    pub fn iter(&self) -> impl Iterator<Item = &NameBuf> {
        self.names.iter()
    }
}

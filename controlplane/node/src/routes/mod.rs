//! The routes file: read, checked as a whole, and turned into what the dataplane is to be told.

pub(crate) mod check;
mod error;
mod identity;
mod names;
pub(crate) mod raw;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dmsc_proto::v1;
use dmsc_wire::{Domain, NameBuf, NodeId};

pub use error::{Problem, RoutesError};
pub use identity::{Identity, covers, is_pattern, source_name};

/// Everything a dataplane is to have in its tables, attachments apart; keyed as the agent keys it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tables {
    /// By adjacency id.
    pub adjacencies: BTreeMap<u32, v1::Adjacency>,
    /// By topology (0 metric, 1 delay) and gateway.
    pub gateways: BTreeMap<(u32, u32), v1::Gateway>,
    /// By group id.
    pub groups: BTreeMap<u32, v1::Group>,
    /// Group of each prefix.
    pub prefixes: BTreeMap<(Domain, NameBuf), u32>,
    /// By rule id.
    pub access_rules: BTreeMap<u32, v1::AccessRule>,
}

/// A checked routes file.
#[derive(Debug, Clone, PartialEq)]
pub struct Routes {
    /// Path as given, for messages.
    pub file: PathBuf,
    /// The node these routes are for.
    pub node: NodeId,
    /// Line of `[node] id`, for messages.
    pub node_line: usize,
    /// Domain of the prefixes and access rules.
    pub domain: Domain,
    /// What to program.
    pub tables: Tables,
    /// Who may register here, in file order; the first match counts.
    pub identities: Vec<Identity>,
}

impl Routes {
    /// Reads and checks `path` and the files of names that it refers to.
    ///
    /// # Errors
    /// The first mistake, with file, line and field.
    pub fn load(path: &Path) -> Result<Self, RoutesError> {
        let text = std::fs::read_to_string(path).map_err(|source| RoutesError::Read {
            file: path.to_path_buf(),
            source,
        })?;
        check::check(path, &text)
    }

    /// Refuses to program a dataplane that these routes are not for.
    ///
    /// # Errors
    /// [`Problem::OtherNode`] when `agent` is not the node of the file.
    pub fn check_node(&self, agent: NodeId) -> Result<(), RoutesError> {
        if self.node == agent {
            return Ok(());
        }
        Err(RoutesError::Field {
            file: self.file.clone(),
            line: self.node_line,
            field: "[node] id",
            problem: Problem::OtherNode {
                file: self.node.0,
                agent: agent.0,
            },
        })
    }

    /// The rules about `identity`, in file order: none if it may not register here at all. The first that allows its port counts.
    pub fn rules(&self, identity: &str) -> impl Iterator<Item = &Identity> {
        self.identities
            .iter()
            .filter(move |rule| rule.matches(identity))
    }
}

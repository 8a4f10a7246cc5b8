//! The declarative file of an authority: which pod identity may announce what, where.
//!
//! ```toml
//! [authority]
//! authorisation_seconds = 3600   # life of an authorisation, 10..=2592000
//! stale_seconds = 259200         # how long an installed prefix outlives it; 0 = strict
//! proof_seconds = 86400          # oldest proof of a pod that is taken
//!
//! [[policy]]
//! identity = "pod1/*"            # exact, or with one * at the end of a path piece: as [[identity]] of a routes file
//! domain = 1                     # default 1
//! subtrees = ["/shop/a"]         # may be announced, with everything below
//! names_file = "names.txt"       # exact names, one a line, relative to this file
//! maximum_depth = 8              # components of a name in all; default 16
//! gateways = [1, 4]              # where; default: any
//! ```

use std::path::Path;

/// A checked policy.
#[derive(Debug, Clone)]
pub struct Policy {
    _todo: (),
}

#[allow(missing_docs, clippy::missing_errors_doc)]
impl Policy {
    /// Errors name file, line, field, and what to do; all mistakes at once.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let _ = path;
        todo!()
    }
    pub fn parse(text: &str, folder: &Path) -> Result<Self, PolicyError> {
        let _ = (text, folder);
        todo!()
    }
    /// The same format, complete with defaults.
    pub fn dump(&self) -> String {
        todo!()
    }
    /// One line per difference.
    pub fn diff(&self, other: &Self) -> Vec<String> {
        let _ = other;
        todo!()
    }
}

/// All mistakes of a policy file.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct PolicyError(pub Vec<String>);

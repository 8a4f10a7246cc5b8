//! Network namespaces: a thread enters its pod's, and stays.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use thiserror::Error;

/// A namespace that cannot be entered.
#[derive(Debug, Error)]
pub enum NetnsError {
    /// No such file, or no right to open it.
    #[error("network namespace {path}: {source}; `ip netns add` makes one under /run/netns", path = .path.display())]
    Open {
        /// As configured.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is none, or the right to enter it is missing.
    #[error("network namespace {path}: cannot be entered: {source}; it needs CAP_SYS_ADMIN", path = .path.display())]
    Enter {
        /// As configured.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Moves the calling thread, and no other, into the namespace of `path`. Threads that it starts afterwards are there as well.
///
/// # Errors
/// No such namespace, or no right.
pub fn enter(path: &Path) -> Result<(), NetnsError> {
    let file = File::open(path).map_err(|source| NetnsError::Open {
        path: path.to_owned(),
        source,
    })?;
    move_into_link_name_space(
        std::os::fd::AsFd::as_fd(&file),
        Some(LinkNameSpaceType::Network),
    )
    .map_err(|errno| NetnsError::Enter {
        path: path.to_owned(),
        source: errno.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_is_not_there_is_told() {
        let error = enter(Path::new("/run/netns/no-such")).unwrap_err();
        assert!(error.to_string().contains("/run/netns/no-such"), "{error}");
        let error = enter(Path::new("/proc/self/cmdline")).unwrap_err();
        assert!(matches!(error, NetnsError::Enter { .. }), "{error}");
    }
}

//! Where a lab has its files and sockets.

use std::path::{Path, PathBuf};

/// Files and sockets of a lab, under its folder.
#[derive(Debug, Clone, Copy)]
pub struct Paths<'a>(pub &'a Path);

impl Paths<'_> {
    /// The agent's socket of a router.
    #[must_use]
    pub fn agent(&self, node: &str) -> PathBuf {
        self.0.join(format!("{node}.sock"))
    }

    /// The operator's socket of a router or authority.
    #[must_use]
    pub fn operator(&self, daemon: &str) -> PathBuf {
        self.0.join(format!("{daemon}.operator.sock"))
    }

    /// What a control plane keeps.
    #[must_use]
    pub fn state(&self, daemon: &str) -> PathBuf {
        self.0.join(format!("{daemon}.state"))
    }

    /// Credentials of a router or authority.
    #[must_use]
    pub fn credentials(&self, daemon: &str) -> PathBuf {
        self.0.join("credentials").join(daemon)
    }

    /// Configuration of a dataplane.
    #[must_use]
    pub fn dataplane(&self, node: &str) -> PathBuf {
        self.0.join(format!("{node}.dataplane.toml"))
    }

    /// Configuration of a control plane or authority.
    #[must_use]
    pub fn daemon(&self, daemon: &str) -> PathBuf {
        self.0.join(format!("{daemon}.toml"))
    }

    /// Configuration of the edge beside a gateway.
    #[must_use]
    pub fn edge(&self, node: &str) -> PathBuf {
        self.0.join(format!("{node}.edge.toml"))
    }

    /// The operator's socket of the edge beside a gateway.
    #[must_use]
    pub fn edge_operator(&self, node: &str) -> PathBuf {
        self.0.join(format!("{node}.edge.sock"))
    }

    /// Where a gateway and a process of a pod meet to share memory.
    #[must_use]
    pub fn shared(&self, node: &str, port: &str) -> PathBuf {
        self.0.join(format!("{node}.{port}.sock"))
    }

    /// Policy of an authority.
    #[must_use]
    pub fn policy(&self, authority: &str) -> PathBuf {
        self.0.join(format!("{authority}.policy.toml"))
    }
}

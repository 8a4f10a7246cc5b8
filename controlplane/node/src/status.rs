//! The status file: what became of the last attempt to apply the routes, for whoever asked for it with a signal.

use std::path::{Path, PathBuf};

use nix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tracing::warn;

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Generation of the dataplane that has the routes; 0 before the first.
    pub generation: u64,
    /// Whether the routes file as it is now is in force.
    pub ok: bool,
    /// Why not.
    pub error: Option<String>,
    /// Monotonic clock, ns, of this attempt: changes with every one.
    pub applied_at_ns: u64,
    /// Boot of the dataplane that was programmed, 0 before the first; as text, since JSON numbers end at 2^53.
    pub boot_nonce: String,
    /// Of a computed control plane.
    #[serde(flatten)]
    pub extra: Option<Extra>,
}

/// What `sg` and `sr` tell besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Extra {
    /// "starting", "restarting", "running", "draining", "drained".
    pub state: &'static str,
    /// Of the link-state database, 16 hexadecimal digits.
    pub digest: String,
    /// Of the routes that the dataplane acknowledged.
    pub version: u64,
}

/// Writes the file, if there is to be one.
#[derive(Debug)]
pub struct StatusFile {
    path: Option<PathBuf>,
    generation: u64,
    boot_nonce: u64,
    extra: Option<Extra>,
}

impl StatusFile {
    /// Writes to `path`, or nowhere.
    #[must_use]
    pub fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            generation: 0,
            boot_nonce: 0,
            extra: None,
        }
    }

    /// The routes are in force.
    pub fn applied(&mut self, generation: u64, boot_nonce: u64) {
        self.generation = generation;
        self.boot_nonce = boot_nonce;
        self.write(None);
    }

    /// As [`StatusFile::applied`], with more.
    pub fn applied_with(&mut self, generation: u64, boot_nonce: u64, extra: Extra) {
        self.extra = Some(extra);
        self.applied(generation, boot_nonce);
    }

    /// They are not; what was in force before stays.
    pub fn failed(&self, error: &dyn std::fmt::Display) {
        self.write(Some(error.to_string()));
    }

    /// As [`StatusFile::failed`], with more.
    pub fn failed_with(&mut self, error: &dyn std::fmt::Display, extra: Extra) {
        self.extra = Some(extra);
        self.failed(error);
    }

    fn write(&self, error: Option<String>) {
        let Some(path) = &self.path else { return };
        let status = Status {
            generation: self.generation,
            ok: error.is_none(),
            error,
            applied_at_ns: monotonic_ns(),
            boot_nonce: format!("{:016x}", self.boot_nonce),
            extra: self.extra.clone(),
        };
        if let Err(error) = replace(path, &status) {
            warn!(path = %path.display(), %error, "status file not written");
        }
    }
}

/// Readers see the old file or the new one, never half of one.
fn replace(path: &Path, status: &Status) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    std::fs::write(&name, serde_json::to_vec(status)?)?;
    std::fs::rename(&name, path)
}

fn monotonic_ns() -> u64 {
    // The monotonic clock is always there and never negative.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_the_generation_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status.json");
        let read = || -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
        };
        let mut file = StatusFile::new(Some(path.clone()));
        file.applied(7, 1);
        let first = read();
        assert_eq!(
            (&first["generation"], &first["ok"]),
            (&7.into(), &true.into())
        );
        file.failed(&"line 3");
        let second = read();
        assert_eq!(
            (&second["generation"], &second["ok"]),
            (&7.into(), &false.into())
        );
        assert_eq!(second["error"], "line 3");
        assert!(second["applied_at_ns"].as_u64() > first["applied_at_ns"].as_u64());
    }
}

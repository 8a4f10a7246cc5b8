//! What an authority keeps on disk: serials that are spent, how long what it signed lasts, and revocations in force.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use thiserror::Error;
use tracing::warn;

/// Serials are set aside in steps, so that not every answer waits for the disk; those left over at a restart are never used.
const STEP: u64 = 1_000;
/// The end of what was signed is set ahead as well, s: each answer is later than the one before.
const AHEAD_S: u64 = 3_600;
/// Largest revocation that is read back.
const MAX_FILE: u64 = 65_536;

/// A state directory that cannot be used.
#[derive(Debug, Error)]
#[error("state_dir: {}: {source}; let this process write there", path.display())]
pub struct StoreError {
    path: PathBuf,
    source: std::io::Error,
}

/// The folder of one authority.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    /// Serials up to here are spent, as far as the disk knows.
    spent: u64,
    /// When the last of what was signed is over, as far as the disk knows; wall clock, s.
    end_s: u64,
}

impl Store {
    /// Makes the folder if it is missing.
    ///
    /// # Errors
    /// When it cannot be made, or what is there is damaged.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let revocations = folder.join("revocations");
        std::fs::create_dir_all(&revocations).map_err(|source| StoreError {
            path: revocations,
            source,
        })?;
        let number = |name: &str| {
            let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
            text.trim().parse().unwrap_or(0)
        };
        Ok(Self {
            folder: folder.to_path_buf(),
            // Without the file: the authority begins with its clock.
            spent: number("serial"),
            end_s: number("end"),
        })
    }

    /// The last serial that may have been used.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.spent
    }

    /// `serial` was used: on disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written; what was signed must not be given away then.
    pub fn spend(&mut self, serial: u64) -> Result<(), StoreError> {
        if serial <= self.spent {
            return Ok(());
        }
        let spent = serial.saturating_add(STEP);
        let path = self.folder.join("serial");
        replace(&path, spent.to_string().as_bytes())
            .map_err(|source| StoreError { path, source })?;
        self.spent = spent;
        Ok(())
    }

    /// When the last of what was signed is over, or a little later; wall clock, s.
    #[must_use]
    pub fn end_s(&self) -> u64 {
        self.end_s
    }

    /// Something was signed that lasts until `end_s`: on disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written; what was signed must not be given away then.
    pub fn lasts_until(&mut self, end_s: u64) -> Result<(), StoreError> {
        if end_s <= self.end_s {
            return Ok(());
        }
        let end_s = end_s.saturating_add(AHEAD_S);
        let path = self.folder.join("end");
        replace(&path, end_s.to_string().as_bytes())
            .map_err(|source| StoreError { path, source })?;
        self.end_s = end_s;
        Ok(())
    }

    /// Revocations of before, by serial.
    #[must_use]
    pub fn revocations(&self) -> Vec<(u64, Bytes)> {
        let Ok(entries) = std::fs::read_dir(self.folder.join("revocations")) else {
            return Vec::new();
        };
        let mut found: Vec<(u64, Bytes)> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.metadata().is_ok_and(|data| data.len() <= MAX_FILE))
            .filter_map(|entry| {
                let path = entry.path();
                let serial = path.file_name()?.to_str()?.strip_suffix(".bin")?;
                let serial = u64::from_str_radix(serial, 16).ok()?;
                Some((serial, std::fs::read(&path).ok()?.into()))
            })
            .collect();
        found.sort();
        found
    }

    /// Keeps a revocation: on disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, serial: u64, body: &[u8]) -> Result<(), StoreError> {
        let path = self.path(serial);
        replace(&path, body).map_err(|source| StoreError { path, source })
    }

    /// Forgets a revocation.
    pub fn forget(&self, serial: u64) {
        let path = self.path(serial);
        if let Err(error) = std::fs::remove_file(&path) {
            warn!(path = %path.display(), %error, "old revocation not removed");
        }
    }

    fn path(&self, serial: u64) -> PathBuf {
        self.folder
            .join("revocations")
            .join(format!("{serial:016x}.bin"))
    }
}

/// After a crash there is the old file or the new one, never half of one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_never_used_twice() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        assert_eq!(store.spent(), 0);
        store.spend(7).unwrap();
        store.spend(8).unwrap();
        assert!(Store::open(folder.path()).unwrap().spent() >= 8);
    }

    #[test]
    fn the_end_is_known_to_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        store.lasts_until(5_000).unwrap();
        store.lasts_until(4_000).unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!((5_000..9_000).contains(&store.end_s()));
    }

    #[test]
    fn revocations_come_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.keep(300, b"later").unwrap();
        store.keep(2, b"first").unwrap();
        let found = Store::open(folder.path()).unwrap().revocations();
        assert_eq!(
            found,
            [(2, Bytes::from("first")), (300, Bytes::from("later"))]
        );
        store.forget(2);
        assert_eq!(store.revocations().len(), 1);
    }
}

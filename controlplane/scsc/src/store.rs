//! What a scheduling center keeps on disk, as node and prefix authority do: files that are replaced, never half of one. Losing it is survivable.
//!
//! `epoch`: the last start. `policies`: those in force, signed, so that a restart goes on with them. `decisions`: recent ones as text, two files
//! that take turns.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::{Buf as _, Bytes, BytesMut};
use prost::Message as _;

use crate::policy::Epoch;
use crate::statement::SignedPolicy;

/// Largest file of decisions before the other one's turn, bytes.
const DECISIONS: u64 = 4 << 20;
/// Largest file of policies that is read back, bytes.
const POLICIES: u64 = 256 << 20;

/// A state directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not read or written.
    #[error("state_dir: {}: {source}; let this process write there", path.display())]
    Unusable {
        /// What.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file does not hold what this program writes.
    #[error("state_dir: {}: damaged at byte {at}; move it away, policies are computed again", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where.
        at: usize,
    },
}

/// The folder of one replica.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Makes the folder if it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder).map_err(|source| StoreError::Unusable {
            path: folder.to_path_buf(),
            source,
        })?;
        Ok(Self {
            folder: folder.to_path_buf(),
        })
    }

    /// Greater than at every start before, and on disk when this returns; at least `wall_s`, so that a lost folder does not go back.
    ///
    /// # Errors
    /// When it cannot be written: an epoch that might come again must not be used.
    pub fn next_epoch(&self, wall_s: u64) -> Result<Epoch, StoreError> {
        let path = self.folder.join("epoch");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let last: u64 = text.trim().parse().unwrap_or(0);
        let next = last.saturating_add(1).max(wall_s);
        self.replace(&path, next.to_string().as_bytes())?;
        Ok(Epoch(next))
    }

    /// Keeps the policies in force: on disk when this returns.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep(&self, policies: &[SignedPolicy]) -> Result<(), StoreError> {
        let mut bytes = BytesMut::new();
        for policy in policies {
            // A BytesMut grows: it never lacks room.
            let _ = policy.encode_length_delimited(&mut bytes);
        }
        self.replace(&self.folder.join("policies"), &bytes)
    }

    /// Policies of before; their signatures and lives are the caller's to check.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn policies(&self) -> Result<Vec<SignedPolicy>, StoreError> {
        let path = self.folder.join("policies");
        let size = std::fs::metadata(&path).map_or(0, |data| data.len());
        if size == 0 {
            return Ok(Vec::new());
        }
        if size > POLICIES {
            return Err(StoreError::Damaged { path, at: 0 });
        }
        let mut bytes = match std::fs::read(&path) {
            Ok(bytes) => Bytes::from(bytes),
            Err(source) => return Err(StoreError::Unusable { path, source }),
        };
        let length = bytes.len();
        let mut policies = Vec::new();
        while bytes.has_remaining() {
            let at = length - bytes.remaining();
            match SignedPolicy::decode_length_delimited(&mut bytes) {
                Ok(policy) => policies.push(policy),
                Err(_) => return Err(StoreError::Damaged { path, at }),
            }
        }
        Ok(policies)
    }

    /// Adds a line about each decision, with the wall clock's ms before it.
    ///
    /// # Errors
    /// When one cannot be written; those after it are left out.
    pub fn record<'a>(
        &self,
        decisions: impl IntoIterator<Item = (u64, &'a str)>,
    ) -> Result<(), StoreError> {
        let path = self.folder.join("decisions");
        let mut file: Option<(File, u64)> = None;
        let mut write = |wall_ms: u64, text: &str| {
            if file.as_ref().is_some_and(|(_, size)| *size >= DECISIONS) {
                file = None;
                std::fs::rename(&path, self.folder.join("decisions.old"))?;
            }
            let (file, size) = match &mut file {
                Some(open) => open,
                None => {
                    let open = OpenOptions::new().create(true).append(true).open(&path)?;
                    let size = open.metadata()?.len();
                    file.insert((open, size))
                }
            };
            let line = format!("{wall_ms} {}\n", text.replace('\n', " "));
            *size += line.len() as u64;
            file.write_all(line.as_bytes())
        };
        for (wall_ms, text) in decisions {
            write(wall_ms, text).map_err(|source| StoreError::Unusable {
                path: self.folder.join("decisions"),
                source,
            })?;
        }
        Ok(())
    }

    /// Decisions with their times, ms, oldest first, from one time to another, both included.
    #[must_use]
    pub fn decisions(&self, from_ms: u64, to_ms: u64) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        for name in ["decisions.old", "decisions"] {
            let text = std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
            let lines = text.lines().filter_map(|line| {
                let (time, text) = line.split_once(' ')?;
                Some((time.parse().ok()?, text.to_owned()))
            });
            found.extend(lines.filter(|(time, _)| (from_ms..=to_ms).contains(time)));
        }
        found
    }

    /// After a crash there is the old file or the new one.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let write = || {
            let new = path.with_extension("new");
            let mut file = File::create(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&new, path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|source| StoreError::Unusable {
            path: path.to_path_buf(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("scsc")).unwrap();
        assert!(store.policies().unwrap().is_empty());
        let first = store.next_epoch(1_000).unwrap();
        assert_eq!(first, Epoch(1_000));
        assert_eq!(store.next_epoch(7).unwrap(), Epoch(1_001));
        let policy = SignedPolicy {
            statement: Bytes::from_static(b"one"),
            ..SignedPolicy::default()
        };
        store.keep(&[policy.clone(), policy.clone()]).unwrap();
        assert_eq!(store.policies().unwrap(), [policy.clone(), policy]);
        store.record([(5, "moved\naway"), (9, "back")]).unwrap();
        assert_eq!(store.decisions(0, 5), [(5, "moved away".to_owned())]);
        assert_eq!(store.decisions(6, 100).len(), 1);
        std::fs::write(folder.path().join("scsc/policies"), b"\x7f").unwrap();
        let error = store.policies().unwrap_err().to_string();
        assert!(error.contains("policies: damaged at byte 0"), "{error}");
    }
    #[test]
    fn decisions_take_two_files_at_most() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let text = "a decision".repeat(10_000);
        for round in 0..3 {
            let from = round * 50;
            let all = (from..from + 50).map(|at| (at, text.as_str()));
            store.record(all).unwrap();
        }
        let files = std::fs::read_dir(folder.path()).unwrap().flatten();
        let sizes: Vec<u64> = files.map(|one| one.metadata().unwrap().len()).collect();
        assert_eq!(sizes.len(), 2);
        let most = DECISIONS + text.len() as u64 + 30;
        assert!(sizes.iter().all(|size| *size < most), "{sizes:?}");
        // The latest are there, and all of one file before them.
        let kept = store.decisions(0, 1_000);
        assert_eq!(kept.last().map(|(at, _)| *at), Some(149));
        assert!(kept.len() > 42 && kept.is_sorted());
    }
}

//! What a node keeps on disk: its boot epoch, authorisations of its pods, revocations. Losing it is survivable.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use thiserror::Error;
use tracing::warn;

use crate::clock::wall;

/// Largest file that is read back.
const MAX_FILE: u64 = 65_536;
/// Most files of one kind.
const MAX_FILES: usize = 100_000;
/// How long a statement that is over stays on disk: the clock at the start may be ahead by a year, and what it ended may last longer than it.
const GRACE_S: u64 = 400 * 86_400;

/// A state directory that cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It cannot be written.
    #[error("state_dir: {}: {source}; make it, and let this process write there", path.display())]
    Unusable {
        /// What was to be made or written.
        path: PathBuf,
        /// Why it was not.
        source: std::io::Error,
    },
    /// There is no greater boot epoch, and the same must not come twice.
    #[error("state_dir: {}: the last possible boot epoch is used; give the node another id and credentials, or correct the file if nobody knows objects of that epoch", path.display())]
    LastEpoch {
        /// The file with the epoch.
        path: PathBuf,
    },
}

/// The folder of one node.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Of own pods.
    Authorisations,
    /// Of anybody.
    Revocations,
    /// Of node certificates.
    RootRevocations,
    /// Of scheduling centers, in force.
    Policies,
}

impl Kept {
    fn folder(self) -> &'static str {
        match self {
            Self::Authorisations => "authorisations",
            Self::Revocations => "revocations",
            Self::RootRevocations => "root-revocations",
            Self::Policies => "policies",
        }
    }
}

impl Store {
    /// Makes the folder if it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        for kind in [
            Kept::Authorisations,
            Kept::Revocations,
            Kept::RootRevocations,
            Kept::Policies,
        ] {
            let path = folder.join(kind.folder());
            std::fs::create_dir_all(&path)
                .map_err(|source| StoreError::Unusable { path, source })?;
        }
        Ok(Self {
            folder: folder.to_path_buf(),
        })
    }

    /// One more than at the last start, and on disk before it is returned. Without the file, or with nonsense in it, the wall clock in s is
    /// taken: greater than anything that was counted up from it, unless the process restarted once a second.
    ///
    /// # Errors
    /// When it cannot be written, or there is none left: an epoch that might come again must not be used.
    pub fn next_epoch(&self) -> Result<u32, StoreError> {
        let path = self.folder.join("epoch");
        let clock = u32::try_from(wall().as_secs()).unwrap_or(u32::MAX);
        let last = std::fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.trim().parse::<u32>().ok());
        let epoch = match last {
            None => clock,
            Some(last) => match last.checked_add(1) {
                Some(epoch) => epoch,
                None => return Err(StoreError::LastEpoch { path }),
            },
        };
        write(&path, epoch.to_string().as_bytes(), true)
            .map_err(|source| StoreError::Unusable { path, source })?;
        Ok(epoch)
    }

    /// Whether the node was drained when it ended.
    #[must_use]
    pub fn drained(&self) -> bool {
        self.folder.join("drained").exists()
    }

    /// Remembers that the node is drained, or not any more.
    pub fn keep_drained(&self, drained: bool) {
        let path = self.folder.join("drained");
        let kept = match (drained, path.exists()) {
            (true, _) => write(&path, b"dmscctl undrain takes this node back\n", true),
            (false, true) => std::fs::remove_file(&path),
            (false, false) => Ok(()),
        };
        if let Err(error) = kept {
            warn!(path = %path.display(), %error, drained, "a restart will not know whether this node is drained");
        }
    }

    /// All files of a kind, the newest if there are too many; unreadable ones are left out.
    #[must_use]
    pub fn load(&self, kind: Kept) -> Vec<Bytes> {
        let Ok(entries) = std::fs::read_dir(self.folder.join(kind.folder())) else {
            return Vec::new();
        };
        let mut files: Vec<(SystemTime, PathBuf)> = entries
            .filter_map(Result::ok)
            .map(|entry| (entry.metadata(), entry.path()))
            .filter(|(_, path)| path.extension().is_some_and(|end| end == "bin"))
            .filter_map(|(data, path)| Some((data.ok()?, path)))
            .filter(|(data, _)| data.len() <= MAX_FILE)
            .map(|(data, path)| (data.modified().unwrap_or(UNIX_EPOCH), path))
            .collect();
        if files.len() > MAX_FILES {
            warn!(
                kind = kind.folder(),
                files = files.len(),
                "too many files; only the newest {MAX_FILES} are read"
            );
            files.sort_unstable_by(|one, other| other.cmp(one));
            files.truncate(MAX_FILES);
        }
        files
            .into_iter()
            .filter_map(|(_, path)| std::fs::read(path).ok())
            .map(Bytes::from)
            .collect()
    }

    /// The same for statements that end at `until_s`: those that ended more than 400 days before `now_s` are forgotten.
    #[must_use]
    pub fn load_current(
        &self,
        kind: Kept,
        now_s: u64,
        until_s: impl Fn(&Bytes) -> Option<u64>,
    ) -> Vec<Bytes> {
        let mut bodies = self.load(kind);
        bodies.retain(|body| {
            let over = until_s(body).is_some_and(|until| until.saturating_add(GRACE_S) < now_s);
            if over {
                self.forget(kind, body);
            }
            !over
        });
        bodies
    }

    /// Keeps one; the same again changes nothing.
    pub fn keep(&self, kind: Kept, body: &[u8]) {
        let path = self.path(kind, body);
        if path.exists() {
            return;
        }
        if let Err(error) = write(&path, body, kind != Kept::Authorisations) {
            warn!(path = %path.display(), %error, "not kept on disk; it is lost with this process");
        }
    }

    /// Keeps `body` in the place of what was kept as `name`; [`Store::forget`] takes the same name.
    pub fn keep_as(&self, kind: Kept, name: &[u8], body: &[u8]) {
        let path = self.path(kind, name);
        if let Err(error) = write(&path, body, false) {
            warn!(path = %path.display(), %error, "not kept on disk; it is lost with this process");
        }
    }

    /// Forgets one.
    pub fn forget(&self, kind: Kept, body: &[u8]) {
        // One that is not there is forgotten already.
        let _ = std::fs::remove_file(self.path(kind, body));
    }

    fn path(&self, kind: Kept, body: &[u8]) -> PathBuf {
        self.folder
            .join(kind.folder())
            .join(format!("{:016x}.bin", fingerprint(body)))
    }
}

/// FNV-1a: only a file name, of content that was verified.
fn fingerprint(body: &[u8]) -> u64 {
    body.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Readers, and this process after a crash, see the old file or the new one, never half of one; so does the machine after a crash if it `survives`
/// that. Authorisations need not: neighbours have them, and authorities give them again.
fn write(path: &Path, bytes: &[u8], survives: bool) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let mut file = std::fs::File::create(&name)?;
    file.write_all(bytes)?;
    if survives {
        file.sync_data()?;
    }
    std::fs::rename(&name, path)?;
    match path.parent().filter(|_| survives) {
        // The new name is in the folder only.
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_count_up_and_a_lost_one_comes_from_the_clock() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let first = store.next_epoch().unwrap();
        assert_eq!(store.next_epoch().unwrap(), first + 1);
        std::fs::write(folder.path().join("epoch"), "rubbish").unwrap();
        assert!(store.next_epoch().unwrap() >= first);
        std::fs::write(folder.path().join("epoch"), u32::MAX.to_string()).unwrap();
        assert!(matches!(
            store.next_epoch(),
            Err(StoreError::LastEpoch { .. })
        ));
    }

    #[test]
    fn what_is_over_is_forgotten_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for body in ["9", "100000", "rubbish"] {
            store.keep(Kept::Revocations, body.as_bytes());
        }
        let until = |body: &Bytes| std::str::from_utf8(body).ok()?.parse().ok();
        let mut left = store.load_current(Kept::Revocations, GRACE_S + 10, until);
        left.sort_unstable();
        assert_eq!(left, ["100000", "rubbish"]);
        assert_eq!(store.load(Kept::Revocations).len(), 2);
    }

    #[test]
    fn a_drain_is_remembered_until_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!(!store.drained());
        store.keep_drained(true);
        assert!(Store::open(folder.path()).unwrap().drained());
        store.keep_drained(false);
        assert!(!store.drained());
    }

    #[test]
    fn what_is_kept_comes_back_until_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.keep(Kept::Revocations, b"one");
        store.keep(Kept::Revocations, b"one");
        assert_eq!(store.load(Kept::Revocations), [Bytes::from_static(b"one")]);
        store.forget(Kept::Revocations, b"one");
        assert!(store.load(Kept::Revocations).is_empty());
    }
}

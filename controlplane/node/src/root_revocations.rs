//! What the root took back, as a process without link state keeps it (an authority, a scheduling center): told by an operator, or put into the folder by
//! hand.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use dmsc_spa::verify::{RootKey, VerifyError};
use thiserror::Error;
use tonic::Status;
use tracing::warn;

use crate::spa::store::replace;
use crate::trust::subject;

/// Below the state directory.
const FOLDER: &str = "root-revocations";
/// Most that are kept.
const MAX: usize = 10_000;
/// Largest file that is read.
const MAX_FILE: u64 = 65_536;

/// A folder that cannot be used.
#[derive(Debug, Error)]
#[error("state_dir: {}: {source}; let this process write there", path.display())]
pub struct FolderError {
    path: PathBuf,
    source: std::io::Error,
}

/// A root revocation that was not taken.
#[derive(Debug, Error)]
pub enum GiveError {
    /// It is none of this root.
    #[error("the root revocation is not believed: {0}")]
    NotBelieved(#[from] VerifyError),
    /// The disk does not take it.
    #[error(transparent)]
    NotKept(#[from] FolderError),
    /// More than a root needs.
    #[error("{MAX} root revocations are kept; remove those that are over from state_dir")]
    Full,
}

impl From<GiveError> for Status {
    fn from(error: GiveError) -> Self {
        let sentence = error.to_string();
        match error {
            GiveError::NotBelieved(_) => Self::invalid_argument(sentence),
            GiveError::NotKept(_) => Self::internal(sentence),
            GiveError::Full => Self::resource_exhausted(sentence),
        }
    }
}

/// A folder with a file for each.
#[derive(Debug)]
pub struct RootRevocations {
    folder: PathBuf,
}

impl RootRevocations {
    /// Of this state directory; makes the folder if it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(state_dir: &Path) -> Result<Self, FolderError> {
        let folder = state_dir.join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(|source| FolderError {
            path: folder.clone(),
            source,
        })?;
        Ok(Self { folder })
    }

    /// What is kept, in no order, whether believed or not.
    #[must_use]
    pub fn kept(&self) -> Vec<(PathBuf, Bytes)> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        entries
            .filter_map(Result::ok)
            .filter(|entry| entry.metadata().is_ok_and(|data| data.len() <= MAX_FILE))
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "bin"))
            .filter_map(|path| Some((path.clone(), std::fs::read(path).ok()?.into())))
            .collect()
    }

    /// Puts all that is kept in force: of before, or put there by hand. Whether it voids anything more than before.
    pub fn load(&self, root: &RootKey) -> bool {
        let mut more = false;
        for (path, body) in self.kept() {
            match root.root_revocation(&body) {
                Ok(revocation) => more |= root.revoke(&revocation),
                Err(error) => {
                    warn!(path = %path.display(), %error, "a root revocation on disk is not believed");
                }
            }
        }
        more
    }

    /// Takes what the root took back (SignedRootRevocation): kept on disk, and in force for all that share `root`. Returns what it is about, and whether
    /// it was known.
    ///
    /// # Errors
    /// When it is not the root's, or cannot be kept; nothing changes then.
    pub fn give(&self, root: &RootKey, body: &[u8]) -> Result<(String, bool), GiveError> {
        let revocation = root.root_revocation(body)?;
        let what = format!("{}: {}", subject(&revocation.subject), revocation.reason);
        let known = self.kept();
        if known.iter().any(|(_, kept)| kept == body) {
            return Ok((what, true));
        }
        if known.len() >= MAX {
            return Err(GiveError::Full);
        }
        self.keep(body)?;
        root.revoke(&revocation);
        warn!(what, "the root took it back");
        Ok((what, false))
    }

    /// On disk when this returns. The same has the same name.
    fn keep(&self, body: &[u8]) -> Result<(), FolderError> {
        let hash = dmsc_spa::statement::sha256(body);
        let name: String = hash[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let path = self.folder.join(name + ".bin");
        replace(&path, body).map_err(|source| FolderError { path, source })
    }
}

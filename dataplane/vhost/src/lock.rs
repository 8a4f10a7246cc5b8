//! Who is attached: one process per socket.
//!
//! A device that listens takes every connection and serves the one that came last; the first would be cut off, and its end would then take the second's port away.
//! So whoever attaches first takes a lock on a file beside the socket, which the kernel gives back when the process ends, however it ends.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::VhostError;

/// Held as long as this value lives.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "its end is the lock's end")] File);

impl Lock {
    /// Takes the lock of `socket`: the file of that name with `.lock` behind it, which is made and stays.
    pub fn take(socket: &Path) -> Result<Lock, VhostError> {
        let mut name = OsString::from(socket);
        name.push(".lock");
        let path = PathBuf::from(name);
        let failed = |source| VhostError::Lock {
            path: path.clone(),
            source,
        };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o660)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => Err(VhostError::InUse {
                path: socket.into(),
            }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("a.sock");
        let first = Lock::take(&socket).unwrap();
        let second = Lock::take(&socket);
        assert!(matches!(second, Err(VhostError::InUse { .. })));
        Lock::take(&dir.path().join("b.sock")).unwrap();
        drop(first);
        Lock::take(&socket).unwrap();
        let nowhere = Lock::take(Path::new("/nowhere/a.sock"));
        assert!(matches!(nowhere, Err(VhostError::Lock { .. })));
    }
}

//! The endpoint's certificate and key, read again when their files change: a renewed certificate serves new handshakes.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dmsc_spa::credentials::{CERTIFICATE_FILE, Credentials, KEY_FILE};
use dmsc_spa::verify::RootKey;
use tracing::{info, warn};

use crate::error::QuicError;
use crate::tls::Tls;

/// What changes whenever a file is written, replaced, or gets other permissions: inode, and time of its last change in s and ns.
type Stamp = (u64, i64, i64);
type Stamps = [Option<Stamp>; 2];

/// TLS with the files as they were read last.
pub(crate) struct Keys {
    folder: PathBuf,
    root: RootKey,
    root_der: Bytes,
    identity: String,
    every: Duration,
    state: Mutex<State>,
}

struct State {
    tls: Arc<Tls>,
    stamps: Stamps,
    looked: Instant,
}

/// Files that were replaced by others that are not this pod's.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Quic(#[from] QuicError),
    #[error("they are of the pod {0:?} now; an endpoint keeps its identity, start a new one")]
    Identity(String),
    #[error("root.pem is another root now; an endpoint keeps its root, start a new one")]
    Root,
}

impl Keys {
    /// Reads a folder; looks whether it changed at most this often.
    ///
    /// # Errors
    /// Credentials that are not a pod's.
    pub fn load(folder: &Path, every: Duration) -> Result<Self, QuicError> {
        let stamps = stamps(folder);
        let credentials = Credentials::load(folder)?;
        let root = credentials.root_key()?;
        let tls = Tls::new(&credentials, root.clone())?;
        Ok(Self {
            folder: folder.to_path_buf(),
            root,
            root_der: credentials.root_der,
            identity: tls.identity.clone(),
            every,
            state: Mutex::new(State {
                tls: Arc::new(tls),
                stamps,
                looked: Instant::now(),
            }),
        })
    }

    /// Who this end is.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Whom it believes.
    pub const fn root(&self) -> &RootKey {
        &self.root
    }

    /// For the next handshake. Small files of a local disk: reading them takes no longer than a handshake does.
    pub fn current(&self) -> Arc<Tls> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= self.every {
            state.looked = Instant::now();
            let now = stamps(&self.folder);
            if now != state.stamps {
                // Told once: what is written in two steps changes again.
                state.stamps = now;
                match self.read() {
                    Ok(tls) => {
                        info!(identity = self.identity, "credentials read again");
                        state.tls = Arc::new(tls);
                    }
                    Err(error) => {
                        let folder = self.folder.display();
                        warn!(%error, %folder, "the credentials changed and cannot be used; those of before serve on");
                    }
                }
            }
        }
        Arc::clone(&state.tls)
    }

    fn read(&self) -> Result<Tls, Unusable> {
        let credentials = Credentials::load(&self.folder).map_err(QuicError::from)?;
        if credentials.root_der != self.root_der {
            return Err(Unusable::Root);
        }
        let tls = Tls::new(&credentials, self.root.clone())?;
        if tls.identity != self.identity {
            return Err(Unusable::Identity(tls.identity));
        }
        Ok(tls)
    }
}

fn stamps(folder: &Path) -> Stamps {
    let stamp = |name: &str| -> io::Result<Stamp> {
        let meta = std::fs::metadata(folder.join(name))?;
        Ok((meta.ino(), meta.ctime(), meta.ctime_nsec()))
    };
    [CERTIFICATE_FILE, KEY_FILE].map(|name| stamp(name).ok())
}

#[cfg(test)]
mod tests {
    use dmsc_spa::identity::Identity;
    use dmsc_spa::pki::{Root, Scope};

    use super::*;

    #[test]
    fn what_cannot_be_used_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::init(&folder.path().join("root"), "dmsc.test", 30).unwrap();
        let at = folder.path().join("pod");
        let issue = |identity: &str| {
            let pod = Identity::pod(identity).unwrap();
            root.issue(&pod, &Scope::default(), 10, true, &at).unwrap();
        };
        issue("cart/a");
        let keys = Keys::load(&at, Duration::ZERO).unwrap();
        let first = keys.current();
        assert!(Arc::ptr_eq(&first, &keys.current()), "nothing changed");
        issue("cart/b");
        assert!(Arc::ptr_eq(&first, &keys.current()), "somebody else");
        std::fs::remove_file(at.join(KEY_FILE)).unwrap();
        assert!(Arc::ptr_eq(&first, &keys.current()), "half of it");
        issue("cart/a");
        assert!(!Arc::ptr_eq(&first, &keys.current()), "renewed");
        assert_eq!(keys.identity(), "cart/a");
    }
}

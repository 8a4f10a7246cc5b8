//! Certificates for mutual TLS between two proxies: a root, and one for each end.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// Name in the certificate of the proxy at the server.
pub const SERVER_NAME: &str = "server.perf.dmsc";
const CLIENT_NAME: &str = "client.perf.dmsc";

/// Files of one end.
#[derive(Debug, Clone)]
pub struct End {
    /// Certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Both in one file.
    pub both: PathBuf,
}

/// All files.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// Of the root.
    pub root: PathBuf,
    /// Of the proxy at the client.
    pub client: End,
    /// Of the proxy at the server.
    pub server: End,
}

impl Certificates {
    /// Makes them in `folder`: ECDSA P-256, as meshes do.
    ///
    /// # Errors
    /// When they cannot be made or written.
    pub fn make(folder: &Path) -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "dmsc-perf root");
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let root_file = write(folder, "root.pem", &root.pem())?;
        let end = |name: &str| -> anyhow::Result<End> {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(vec![name.to_string()])?;
            params.distinguished_name.push(DnType::CommonName, name);
            let certificate = params.signed_by(&key, &root)?.pem();
            let key = key.serialize_pem();
            Ok(End {
                certificate: write(folder, &format!("{name}.pem"), &certificate)?,
                both: write(folder, &format!("{name}.both.pem"), &(certificate + &key))?,
                key: write(folder, &format!("{name}.key"), &key)?,
            })
        };
        Ok(Self {
            root: root_file,
            client: end(CLIENT_NAME)?,
            server: end(SERVER_NAME)?,
        })
    }
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
impl Certificates {
    /// Files that are nowhere.
    pub fn nowhere() -> Self {
        let end = |name: &str| End {
            certificate: format!("/c/{name}.pem").into(),
            key: format!("/c/{name}.key").into(),
            both: format!("/c/{name}.both").into(),
        };
        Self {
            root: "/c/root.pem".into(),
            client: end("client"),
            server: end("server"),
        }
    }
}

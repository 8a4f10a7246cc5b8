//! A model gateway, a root with one authority, and pods with certificates and proofs.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use dmsc_pod::{Pod, PodConfig};
use dmsc_quic::{Config, Connection, Endpoint, Listener};
use dmsc_spa::credentials::Credentials;
use dmsc_spa::identity::Identity;
use dmsc_spa::pki::{Root, Scope, now_s};
use dmsc_spa::statement;
use dmsc_wire::NameBuf;
use prost::Message;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::gateway::Gateway;

pub const LIMIT: usize = 4 << 20;

pub fn name(text: &str) -> NameBuf {
    NameBuf::parse(text).unwrap()
}

/// What a test plays in.
pub struct World {
    pub gateway: Gateway,
    pub root: Root,
    folder: TempDir,
    authority: Credentials,
}

impl World {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::init(&folder.path().join("root"), "dmsc.test", 30).unwrap();
        let at = folder.path().join("authority");
        let identity = Identity::authority("shop").unwrap();
        let scope = Scope {
            subtrees: vec![name("/shop")],
            ..Scope::default()
        };
        root.issue(&identity, &scope, 10, false, &at).unwrap();
        Self {
            gateway: Gateway::start().await,
            root,
            authority: Credentials::load(&at).unwrap(),
            folder,
        }
    }

    /// The folder with this pod's credentials.
    pub fn credentials(&self, identity: &str) -> PathBuf {
        let folder = self.folder.path().join(identity.replace('/', "-"));
        let pod = Identity::pod(identity).unwrap();
        self.root
            .issue(&pod, &Scope::default(), 10, false, &folder)
            .unwrap();
        folder
    }

    /// An authorisation by the authority, which may be changed before it is signed.
    pub fn proof(
        &self,
        identity: &str,
        grant: &str,
        change: impl FnOnce(&mut statement::Authorisation),
    ) -> Bytes {
        let mut body = statement::Authorisation {
            authority: "shop".into(),
            serial: 1,
            domain: 1,
            gateway: 1,
            identity: identity.into(),
            issued_at_s: now_s(),
            not_after_s: now_s() + 3_600,
            stale_s: 0,
            grants: vec![statement::Grant {
                name: Bytes::copy_from_slice(name(grant).as_bytes()),
                ..statement::Grant::default()
            }],
            fragment: 1,
            fragments: 1,
            ..statement::Authorisation::default()
        };
        change(&mut body);
        let statement = Bytes::from(body.encode_to_vec());
        let key = self.authority.signing_key().unwrap();
        let signed = statement::SignedAuthorisation {
            signature: statement::sign(&key, statement::AUTHORISATION, &statement),
            statement,
            authority_certificate: self.authority.authority_certificate.clone().unwrap(),
        };
        signed.encode_to_vec().into()
    }

    /// A revocation by the authority, which is to say of what.
    pub fn revocation(&self, change: impl FnOnce(&mut statement::Revocation)) -> Bytes {
        let mut body = statement::Revocation {
            authority: "shop".into(),
            serial: 1,
            ..statement::Revocation::default()
        };
        change(&mut body);
        let statement = Bytes::from(body.encode_to_vec());
        let key = self.authority.signing_key().unwrap();
        let signed = statement::SignedRevocation {
            signature: statement::sign(&key, statement::REVOCATION, &statement),
            statement,
            authority_certificate: self.authority.authority_certificate.clone().unwrap(),
        };
        signed.encode_to_vec().into()
    }

    /// The key of a pod that has credentials already.
    pub fn public_key(&self, identity: &str) -> [u8; 32] {
        let folder = self.folder.path().join(identity.replace('/', "-"));
        let credentials = Credentials::load(&folder).unwrap();
        let root = credentials.root_key().unwrap();
        let certificate = root.certificate_of_any_time(&credentials.certificate_der);
        certificate.unwrap().public_key
    }

    /// An endpoint of a pod that registers as `identity` and shows the certificate of `shown`.
    pub async fn endpoint(
        &self,
        (identity, shown): (&str, &str),
        serves: &[&str],
        proofs: Vec<Bytes>,
    ) -> Endpoint {
        self.endpoint_with((identity, shown), serves, |config| config.proofs = proofs)
            .await
    }

    /// As [`World::endpoint`], with a configuration that may be changed.
    pub async fn endpoint_with(
        &self,
        (identity, shown): (&str, &str),
        serves: &[&str],
        change: impl FnOnce(&mut Config),
    ) -> Endpoint {
        let mut pod = PodConfig::new(self.gateway.registrar().into(), identity);
        pod.prefixes = serves.iter().map(|text| name(text)).collect();
        let mut config = Config::new(self.credentials(shown));
        config.unreachable_after = Duration::from_millis(100);
        change(&mut config);
        Endpoint::new(Pod::connect(pod).await.unwrap(), config).unwrap()
    }

    pub async fn client(&self) -> Endpoint {
        self.endpoint(("web", "web"), &[], Vec::new()).await
    }

    /// A pod that serves `/shop/cart`, proven, and answers with what it is told.
    pub async fn echo(&self, identity: &str) -> Server {
        let proof = self.proof(identity, "/shop/cart", |_| {});
        let serves = &["/shop/cart"];
        let endpoint = self
            .endpoint((identity, identity), serves, vec![proof])
            .await;
        Server::start(endpoint)
    }
}

/// An endpoint that echoes.
pub struct Server {
    pub endpoint: Endpoint,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub fn start(endpoint: Endpoint) -> Self {
        let listener = endpoint.listen();
        Self::serving(endpoint, listener)
    }

    pub fn serving(endpoint: Endpoint, listener: Listener) -> Self {
        Self {
            endpoint,
            task: tokio::spawn(serve(listener)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: Listener) {
    while let Some(connection) = listener.accept().await {
        tokio::spawn(echo(connection));
    }
}

async fn echo(connection: Connection) {
    while let Ok(mut stream) = connection.accept_bi().await {
        tokio::spawn(async move {
            let told = stream.read_to_end(LIMIT).await.unwrap_or_default();
            // Somebody who waits in vain: for tests of instances that are lost.
            if told == b"silence" {
                std::future::pending::<()>().await;
            }
            let _ = stream.write_all(&told).await;
            let _ = stream.shutdown().await;
        });
    }
}

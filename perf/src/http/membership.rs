//! A pod that links the library of names: client and server of the library's column.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use dmsc_pod::{GatewayAddress, Pod, PodConfig};
use dmsc_quic::{Config, Endpoint};
use dmsc_wire::NameBuf;

/// Who a pod is.
#[derive(Debug, Clone, Args)]
pub struct Membership {
    /// The gateway's address
    #[arg(long, required = false, requires_all = ["identity", "credentials"])]
    pub gateway: GatewayAddress,
    /// Who the pod is
    #[arg(long, required = false, requires = "gateway")]
    pub identity: String,
    /// Folder with cert.pem, key.pem and root.pem
    #[arg(long, required = false, requires = "gateway")]
    pub credentials: PathBuf,
}

impl Membership {
    /// As arguments of a command.
    pub fn words(&self) -> Vec<String> {
        let credentials = self.credentials.display().to_string();
        [
            "--gateway",
            &self.gateway.to_string(),
            "--identity",
            &self.identity,
            "--credentials",
            &credentials,
        ]
        .map(String::from)
        .to_vec()
    }

    /// Registers the pod and what it `serves`. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When the gateway does not answer, or refuses a name.
    pub async fn endpoint(&self, serves: Vec<NameBuf>) -> anyhow::Result<Arc<Endpoint>> {
        let mut config = PodConfig::new(self.gateway.clone(), self.identity.clone());
        config.credentials = Some(self.credentials.clone());
        config.prefixes = serves;
        let pod = Pod::connect(config)
            .await
            .with_context(|| format!("{} cannot register", self.identity))?;
        if let Some(refused) = pod.registered().refused.first() {
            bail!("{} is refused: {}", refused.name, refused.reason);
        }
        let config = Config::new(self.credentials.clone());
        Ok(Arc::new(Endpoint::new(pod, config)?))
    }
}
